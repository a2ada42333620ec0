//! What a peer asks for on the strength of the factors that its owner passed: an admission, or
//! another factor.

use super::backend::KeyedBackend;
use super::encoding::{LiveSession, PeerEntry, SessionEntry, UserEntry, keys};
use super::tx::Tx;
use crate::audit::AuditKind;
use crate::id::{FactorId, LocationId, UserId};
use crate::key::PublicKey;
use crate::store::attribution;
use crate::store::judge::{Claim, FactorSnapshot, Refused, is_entitled, is_one_too_many};
use crate::store::{
    EndReason, Enrolled, FactorEnrolment, FactorPass, FactorUse, NewSession, OpenOutcome,
    PassOutcome, SessionRecord, StoreError,
};

/// What the outcome of a claim depends on, to be read in one call.
pub(super) fn of_claim(claim: &Claim<'_>) -> Vec<Vec<u8>> {
    vec![
        keys::peer(claim.location, claim.peer),
        keys::user(claim.user),
    ]
}

/// The same of an admission.
pub(super) fn of_session(new: &NewSession) -> Vec<Vec<u8>> {
    let mut all = of_claim(&Claim::from(new));
    all.push(keys::session(new.id));
    all.push(keys::live(&new.location, new.peer));
    all
}

impl<B: KeyedBackend> Tx<'_, B> {
    pub(super) async fn open_session(
        &mut self,
        new: &NewSession,
    ) -> Result<OpenOutcome, StoreError> {
        let claim = Claim::from(new);
        let id = keys::session(new.id);
        if self.get::<SessionEntry>(id).await?.is_some() || claim.names_a_factor_twice() {
            return Err(StoreError::Conflict);
        }
        let (peer, user) = match self.judge(&claim).await? {
            Ok(found) => found,
            Err(refused) => return Ok(refused.into()),
        };
        let others = user
            .live
            .iter()
            .filter(|live| live.location == new.location && live.peer != new.peer)
            .map(|live| live.not_after);
        let is_too_many = |most| is_one_too_many(most, new.verified_at, others);
        if new.most_per_user.is_some_and(is_too_many) {
            self.append(attribution::claimed(&claim, AuditKind::NotEligible, None))?;
            return Ok(OpenOutcome::TooMany);
        }
        self.admit(new, peer, user).await
    }

    async fn admit(
        &mut self,
        new: &NewSession,
        mut peer: PeerEntry,
        mut user: UserEntry,
    ) -> Result<OpenOutcome, StoreError> {
        let place = keys::live(&new.location, new.peer);
        let old: Option<SessionRecord> = self.get(place.clone()).await?;
        for factor_use in &new.factor_uses {
            self.take(&mut user, factor_use);
        }
        let superseded = old.as_ref().map(|old| old.id);
        if let Some(old) = old {
            self.append(attribution::superseded(new, old.id, &old.user))?;
            self.end(&mut user, old, EndReason::Superseded, new.event.at)
                .await?;
        }
        self.append(attribution::admitted(new))?;

        peer.generation = peer.generation.next();
        let generation = peer.generation;
        user.live.push(LiveSession {
            session: new.id,
            location: new.location.clone(),
            peer: new.peer,
            not_after: new.not_after,
        });
        self.put(keys::peer(&new.location, new.peer), &peer);
        self.put_entry(&user);
        self.put(place, &new.clone().into_record(generation));
        let whereabouts = SessionEntry::Live(new.location.clone(), new.peer);
        self.put(keys::session(new.id), &whereabouts);
        Ok(OpenOutcome::Opened {
            generation,
            superseded,
        })
    }

    pub(super) async fn pass_factor(
        &mut self,
        pass: &FactorPass,
    ) -> Result<PassOutcome, StoreError> {
        let (_, mut user) = match self.judge(&Claim::from(pass)).await? {
            Ok(found) => found,
            Err(refused) => return Ok(refused.into()),
        };
        self.append(attribution::passed(pass))?;
        self.take(&mut user, &pass.factor_use);
        self.put_entry(&user);
        Ok(PassOutcome::Recorded)
    }

    pub(super) async fn enrol_factor(
        &mut self,
        new: FactorEnrolment,
    ) -> Result<Enrolled, StoreError> {
        let claim = Claim::from(&new);
        let index = keys::factor(new.factor.id);
        if self.get::<UserId>(index.clone()).await?.is_some() || claim.names_a_factor_twice() {
            return Err(StoreError::Conflict);
        }
        let (_, mut user) = match self.judge(&claim).await? {
            Ok(found) => found,
            Err(refused) => return Ok(refused.into()),
        };
        let named = user.tokens.iter().find(|token| Some(token.id) == new.token);
        let named = named.cloned();
        let refused = if !is_entitled(&new, named.as_ref()) {
            Some(Enrolled::TokenGone)
        } else if self.is_credential_taken(&new.factor).await? {
            Some(Enrolled::CredentialTaken)
        } else {
            None
        };
        if let Some(refused) = refused {
            self.append(attribution::claimed(&claim, AuditKind::NotEligible, None))?;
            return Ok(refused);
        }
        self.append(attribution::enrolled(&new))?;
        for factor_use in &new.factor_uses {
            self.take(&mut user, factor_use);
        }
        if let Some(token) = &named {
            user.tokens.retain(|other| other.id != token.id);
            self.remove(keys::token(token.id));
        }
        let old = named.and_then(|token| token.replaces);
        if let Some(old) = old.filter(|old| user.factors.iter().any(|f| f.id == *old)) {
            let event = attribution::replaced(&new, old);
            self.remove_with_sessions(&mut user, old, event).await?;
        }
        self.insert(&mut user, new.factor);
        self.put_entry(&user);
        Ok(Enrolled::Enrolled)
    }

    /// Judges a claim: the peer and its owner where it stands, and why it does not where not, once
    /// that has been recorded and counted.
    async fn judge(
        &mut self,
        claim: &Claim<'_>,
    ) -> Result<Result<(PeerEntry, UserEntry), Refused>, StoreError> {
        let found = self
            .eligible(claim.location, claim.peer, claim.user)
            .await?;
        let Some((peer, mut user)) = found else {
            return self.refuse(claim, None, Refused::PeerGone);
        };
        let mut snapshots = Vec::with_capacity(claim.factor_uses.len());
        let mut taken: Vec<FactorId> = Vec::new();
        for factor_use in claim.factor_uses {
            let factor = user.factors.iter().find(|f| f.id == factor_use.factor);
            snapshots.push(factor.map(FactorSnapshot::from));
            if self.takes_anothers(&user, factor_use).await? {
                taken.push(factor_use.factor);
            }
        }
        match claim.judge(&snapshots, &taken) {
            Ok(()) => Ok(Ok((peer, user))),
            Err(refused) => self.refuse(claim, Some(&mut user), refused),
        }
    }

    fn refuse<T>(
        &mut self,
        claim: &Claim<'_>,
        user: Option<&mut UserEntry>,
        refused: Refused,
    ) -> Result<Result<T, Refused>, StoreError> {
        for event in refused.events(claim) {
            self.append(event)?;
        }
        if let (Some(user), false) = (user, refused.counts().is_empty()) {
            for (id, failures) in refused.counts() {
                if let Some(factor) = user.factors.iter_mut().find(|f| f.id == *id) {
                    factor.failures = *failures;
                }
            }
            self.put_entry(user);
        }
        Ok(Err(refused))
    }

    /// The peer and its owner, if the peer is enrolled and enabled, and its owner is this user and
    /// enabled.
    pub(super) async fn eligible(
        &mut self,
        location: &LocationId,
        peer: PublicKey,
        user: &UserId,
    ) -> Result<Option<(PeerEntry, UserEntry)>, StoreError> {
        let entry: Option<PeerEntry> = self.get(keys::peer(location, peer)).await?;
        let peer = entry.filter(|entry| entry.peer.enabled && entry.peer.user == *user);
        let user = self.user(user).await?.filter(|entry| entry.user.enabled);
        Ok(peer.zip(user))
    }

    /// Whether another factor has the credential that an answer gives its own.
    pub(super) async fn takes_anothers(
        &mut self,
        user: &UserEntry,
        factor_use: &FactorUse,
    ) -> Result<bool, StoreError> {
        let factor = user.factors.iter().find(|f| f.id == factor_use.factor);
        let (Some(factor), Some(credential)) = (factor, &factor_use.credential) else {
            return Ok(false);
        };
        let holder: Option<FactorId> = self.get(keys::credential(&factor.kind, credential)).await?;
        Ok(holder.is_some_and(|holder| holder != factor.id))
    }
}
