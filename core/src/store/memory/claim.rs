//! What a peer asks for on the strength of the factors that its owner passed: an admission, or
//! another factor.

use super::State;
use crate::audit::AuditKind;
use crate::store::attribution;
use crate::store::judge::{Claim, Refused, is_entitled, is_one_too_many};
use crate::store::{
    EndReason, Enrolled, FactorPass, NewFactor, NewSession, Opened, Passed, StoreError,
};

impl State {
    pub(super) fn open_session(&mut self, new: NewSession) -> Result<Opened, StoreError> {
        let claim = Claim::from(&new);
        if self.sessions.contains_key(&new.id) || claim.names_a_factor_twice() {
            return Err(StoreError::Conflict);
        }
        if let Some(refused) = self.refuses(&claim)? {
            return Ok(refused.into());
        }
        if self.is_too_many(&new) {
            let refusal = attribution::claimed(&claim, AuditKind::NotEligible, None);
            self.append(vec![refusal])?;
            return Ok(Opened::TooMany);
        }
        self.admit(new)
    }

    pub(super) fn pass_factor(&mut self, pass: &FactorPass) -> Result<Passed, StoreError> {
        let claim = Claim::from(pass);
        if let Some(refused) = self.refuses(&claim)? {
            return Ok(refused.into());
        }
        self.append(vec![attribution::passed(pass)])?;
        self.take(&pass.consume);
        Ok(Passed::Passed)
    }

    pub(super) fn enrol_factor(&mut self, new: NewFactor) -> Result<Enrolled, StoreError> {
        let claim = Claim::from(&new);
        if self.factor(new.factor.id).is_some() || claim.names_a_factor_twice() {
            return Err(StoreError::Conflict);
        }
        if let Some(refused) = self.refuses(&claim)? {
            return Ok(refused.into());
        }
        let token = new.token.and_then(|id| self.token(id));
        let refused = if !is_entitled(&new, token) {
            Some(Enrolled::TokenGone)
        } else if self.is_credential_taken(&new.factor) {
            Some(Enrolled::CredentialTaken)
        } else {
            None
        };
        if let Some(refused) = refused {
            let refusal = attribution::claimed(&claim, AuditKind::NotEligible, None);
            self.append(vec![refusal])?;
            return Ok(refused);
        }
        let replaced = token.and_then(|token| token.replaces);
        self.append(vec![attribution::enrolled(&new)])?;
        for consume in &new.consume {
            self.take(consume);
        }
        self.tokens.retain(|token| Some(token.id) != new.token);
        if let Some(old) = replaced {
            self.replace(&new, old)?;
        }
        self.factors.push(new.factor);
        Ok(Enrolled::Enrolled)
    }

    /// Judges a claim. Where it is refused, records that and counts what must be.
    fn refuses(&mut self, claim: &Claim<'_>) -> Result<Option<Refused>, StoreError> {
        let judged = if self.is_eligible(claim.location, claim.peer, claim.user) {
            let consume = claim.consume.iter();
            let standings: Vec<_> = consume.map(|c| self.standing(c.factor)).collect();
            let taken = claim.consume.iter().filter(|c| self.takes_anothers(c));
            let taken: Vec<_> = taken.map(|c| c.factor).collect();
            claim.judge(&standings, &taken)
        } else {
            Err(Refused::PeerGone)
        };
        let Err(refused) = judged else {
            return Ok(None);
        };
        self.append(refused.events(claim))?;
        for (factor, failures) in refused.counts() {
            self.change_factor(*factor, |factor| factor.failures = *failures);
        }
        Ok(Some(refused))
    }

    fn is_too_many(&self, new: &NewSession) -> bool {
        let Some(most) = new.most_per_user else {
            return false;
        };
        let others = self.live_sessions().filter(|session| {
            session.user == new.user && session.location == new.location && session.peer != new.peer
        });
        is_one_too_many(most, new.verified_at, others.map(|other| other.not_after))
    }

    fn admit(&mut self, new: NewSession) -> Result<Opened, StoreError> {
        let place = (new.location.clone(), new.peer);
        let superseded = self.live.get(&place).copied();
        let mut events = Vec::with_capacity(2);
        if let Some(old) = superseded.and_then(|old| self.sessions.get(&old)) {
            events.push(attribution::superseded(&new, old.id, &old.user));
        }
        events.push(attribution::admitted(&new));
        self.append(events)?;

        for consume in &new.consume {
            self.take(consume);
        }
        if let Some(old) = superseded {
            self.end(old, EndReason::Superseded, new.event.at);
        }
        let generation = self.next_generation(&new.location, new.peer);
        self.live.insert(place, new.id);
        self.sessions.insert(new.id, new.into_record(generation));
        Ok(Opened::Opened {
            generation,
            superseded,
        })
    }
}
