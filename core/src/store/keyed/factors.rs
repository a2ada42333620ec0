//! Factors: their life, and their failures.

use super::backend::KeyedBackend;
use super::encoding::{UserEntry, keys};
use super::tx::Tx;
use crate::audit::{AuditEvent, AuditKind};
use crate::id::{FactorId, UserId};
use crate::policy::{Failures, Throttle};
use crate::seal::Sealed;
use crate::store::attribution::{self, instead};
use crate::store::judge::FactorSnapshot;
use crate::store::{
    Activated, EndReason, FactorChange, FactorFailure, FactorRecord, FactorState, FactorUse,
    FailureRecorded, LastFactor, StoreError,
};

impl UserEntry {
    fn factor(&self, id: FactorId) -> Option<&FactorRecord> {
        self.factors.iter().find(|factor| factor.id == id)
    }

    fn change(&mut self, id: FactorId, change: impl FnOnce(&mut FactorRecord)) {
        if let Some(factor) = self.factors.iter_mut().find(|factor| factor.id == id) {
            change(factor);
        }
    }

    fn snapshot(&self, id: FactorId) -> Option<FactorSnapshot> {
        self.factor(id).map(FactorSnapshot::from)
    }

    /// Refuses to let the user's last active factor go, unless that is what is wanted.
    fn keep_one(&self, id: FactorId, last: LastFactor) -> Result<(), StoreError> {
        let is_active = |factor: &&FactorRecord| factor.state == FactorState::Active;
        let mut active = self.factors.iter().filter(is_active);
        let is_last = active.clone().any(|f| f.id == id) && active.all(|f| f.id == id);
        if is_last && last == LastFactor::Keep {
            return Err(StoreError::LastFactor);
        }
        Ok(())
    }
}

impl<B: KeyedBackend> Tx<'_, B> {
    pub(super) async fn add_factor(
        &mut self,
        factor: FactorRecord,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        let index = keys::factor(factor.id);
        self.load(vec![keys::user(&factor.user), index.clone()])
            .await?;
        let known = self.user(&factor.user).await?;
        let mut user = known.ok_or(StoreError::UnknownUser)?;
        if self.get::<UserId>(index).await?.is_some() {
            return Err(StoreError::Conflict);
        }
        if self.is_credential_taken(&factor).await? {
            return Err(StoreError::CredentialTaken);
        }
        self.append(attribution::of_factor(event, factor.id, &factor.user))?;
        self.insert(&mut user, factor);
        self.put_entry(&user);
        Ok(())
    }

    pub(super) async fn activate_factor(
        &mut self,
        factor_use: &FactorUse,
        throttle: &Throttle,
        mut event: AuditEvent,
    ) -> Result<Activated, StoreError> {
        let id = factor_use.factor;
        event.factor = Some(id);
        let owner = self.owner(id).await?;
        let pending = owner.and_then(|user| {
            let factor = user.snapshot(id)?;
            (factor.state == FactorState::Pending).then_some((user, factor))
        });
        let Some((mut user, factor)) = pending else {
            self.append(instead(event, AuditKind::NotEligible))?;
            return Ok(Activated::NotPending);
        };
        let event = attribution::of_user(event, &factor.user);
        if let Some((outcome, kind, failures)) =
            factor.refuses_activation(factor_use, throttle, event.at)
        {
            self.append(instead(event, kind))?;
            if let Some(failures) = failures {
                user.change(id, |factor| factor.failures = failures);
                self.put_entry(&user);
            }
            return Ok(outcome);
        }
        if self.takes_anothers(&user, factor_use).await? {
            return Err(StoreError::CredentialTaken);
        }
        self.append(event)?;
        self.take(&mut user, factor_use);
        user.change(id, |factor| factor.state = FactorState::Active);
        self.put_entry(&user);
        Ok(Activated::Activated)
    }

    pub(super) async fn change_factor(
        &mut self,
        id: FactorId,
        change: FactorChange,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let Some(mut user) = self.owner(id).await? else {
            return Ok(false);
        };
        let is_fit = user.snapshot(id).is_some_and(|f| f.is_fit_for(&change));
        if !is_fit {
            return Ok(false);
        }
        let event = attribution::of_factor(event, id, &user.user.id);
        match change {
            FactorChange::Rename(label) => {
                self.append(event)?;
                user.change(id, |factor| factor.label = label);
            }
            FactorChange::Suspend(last) => {
                user.keep_one(id, last)?;
                self.append_and_end_opened_by(&mut user, id, event).await?;
                user.change(id, |factor| factor.state = FactorState::Suspended);
            }
            FactorChange::Resume => {
                self.append(event)?;
                user.change(id, |factor| factor.state = FactorState::Active);
            }
        }
        self.put_entry(&user);
        Ok(true)
    }

    pub(super) async fn remove_factor(
        &mut self,
        id: FactorId,
        last: LastFactor,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let Some(mut user) = self.owner(id).await? else {
            return Ok(false);
        };
        user.keep_one(id, last)?;
        let event = attribution::of_factor(event, id, &user.user.id);
        self.remove_with_sessions(&mut user, id, event).await?;
        self.put_entry(&user);
        Ok(true)
    }

    pub(super) async fn reset_failures(
        &mut self,
        id: FactorId,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let Some(mut user) = self.owner(id).await? else {
            return Ok(false);
        };
        let event = attribution::of_factor(event, id, &user.user.id);
        self.append_and_end_opened_by(&mut user, id, event).await?;
        user.change(id, |factor| factor.failures = Failures::default());
        self.put_entry(&user);
        Ok(true)
    }

    pub(super) async fn reseal_factor(
        &mut self,
        id: FactorId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError> {
        let Some(mut user) = self.owner(id).await? else {
            return Ok(false);
        };
        if user.factor(id).is_none_or(|factor| factor.sealed != *from) {
            return Ok(false);
        }
        user.change(id, |factor| factor.sealed = to);
        self.put_entry(&user);
        Ok(true)
    }

    pub(super) async fn record_failure(
        &mut self,
        failure: FactorFailure,
    ) -> Result<FailureRecorded, StoreError> {
        let id = failure.factor;
        let mut event = failure.event;
        event.factor = Some(id);
        let owner = self.owner(id).await?;
        let found = owner.and_then(|user| user.snapshot(id).map(|factor| (user, factor)));
        let Some((mut user, factor)) = found else {
            self.append(instead(event, AuditKind::NotEligible))?;
            return Ok(FailureRecorded::FactorGone);
        };
        let event = attribution::of_user(event, &factor.user);
        if let Some(lock) = factor.locked(&failure.throttle, failure.at) {
            self.append(instead(event, AuditKind::LockedOut))?;
            return Ok(FailureRecorded::Locked(lock));
        }
        self.append(event)?;
        let failures = factor.failures.plus_one(failure.at);
        user.change(id, |factor| factor.failures = failures);
        self.put_entry(&user);
        let lock = failure.throttle.lock(failures, failure.at);
        Ok(FailureRecorded::Counted(lock))
    }

    pub(super) async fn is_credential_taken(
        &mut self,
        factor: &FactorRecord,
    ) -> Result<bool, StoreError> {
        let Some(credential) = &factor.credential else {
            return Ok(false);
        };
        let key = keys::credential(&factor.kind, credential);
        Ok(self.get::<FactorId>(key).await?.is_some())
    }

    /// Gives the user a factor whose id and credential are known to be free.
    pub(super) fn insert(&mut self, user: &mut UserEntry, factor: FactorRecord) {
        self.put(keys::factor(factor.id), &factor.user);
        if let Some(credential) = &factor.credential {
            self.put(keys::credential(&factor.kind, credential), &factor.id);
        }
        user.factors.push(factor);
    }

    /// Takes the counter, makes the replacement, sets the credential and clears the count.
    pub(super) fn take(&mut self, user: &mut UserEntry, factor_use: &FactorUse) {
        let id = factor_use.factor;
        let Some(factor) = user.factors.iter_mut().find(|factor| factor.id == id) else {
            return;
        };
        factor.last_counter = factor_use.counter.or(factor.last_counter);
        if let Some(replacement) = &factor_use.replace_secret {
            factor.sealed = replacement.to.clone();
        }
        if let Some(credential) = &factor_use.credential {
            if let Some(before) = factor.credential.replace(credential.clone()) {
                self.remove(keys::credential(&factor.kind, &before));
            }
            self.put(keys::credential(&factor.kind, credential), &id);
        }
        factor.failures = Failures::default();
    }

    /// Takes a factor from its user, with the record of it, and ends what the factor opened.
    pub(super) async fn remove_with_sessions(
        &mut self,
        user: &mut UserEntry,
        id: FactorId,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        self.append_and_end_opened_by(user, id, event).await?;
        self.remove(keys::factor(id));
        let credential = user.factor(id).and_then(|factor| {
            let credential = factor.credential.as_ref()?;
            Some(keys::credential(&factor.kind, credential))
        });
        if let Some(credential) = credential {
            self.remove(credential);
        }
        user.factors.retain(|factor| factor.id != id);
        Ok(())
    }

    /// Appends the record of a factor's change, and ends the live sessions that the factor opened,
    /// each with a record of its own.
    async fn append_and_end_opened_by(
        &mut self,
        user: &mut UserEntry,
        id: FactorId,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        let mut over = self.live_of(user).await?;
        over.retain(|session| session.is_opened_by(id));
        self.append(event.clone())?;
        self.end_all(user, over, EndReason::FactorChanged, &event)
            .await
    }
}
