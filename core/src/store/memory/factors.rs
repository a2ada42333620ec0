//! Factors: their life, and their failures.

use super::State;
use crate::audit::{AuditEvent, AuditKind};
use crate::id::{FactorId, UserId};
use crate::policy::{Failures, Throttle};
use crate::store::attribution::{self, instead};
use crate::store::judge::Standing;
use crate::store::{
    Activated, Consume, EndReason, FactorChange, FactorRecord, FactorState, Failure,
    FailureRecorded, LastFactor, NewFactor, SessionRecord, StoreError,
};

impl State {
    pub(super) fn factors_of(&self, user: &UserId) -> Vec<FactorRecord> {
        let theirs = self.factors.iter().filter(|factor| factor.user == *user);
        theirs.cloned().collect()
    }

    pub(super) fn factor(&self, id: FactorId) -> Option<&FactorRecord> {
        self.factors.iter().find(|factor| factor.id == id)
    }

    pub(super) fn standing(&self, id: FactorId) -> Option<Standing> {
        self.factor(id).map(Standing::from)
    }

    pub(super) fn change_factor(&mut self, id: FactorId, change: impl FnOnce(&mut FactorRecord)) {
        if let Some(factor) = self.factors.iter_mut().find(|factor| factor.id == id) {
            change(factor);
        }
    }

    /// Takes the step, makes the swap, sets the credential and clears the count.
    pub(super) fn take(&mut self, consume: &Consume) {
        self.change_factor(consume.factor, |factor| {
            factor.last_step = consume.step.or(factor.last_step);
            if let Some(swap) = &consume.swap {
                factor.sealed = swap.to.clone();
            }
            if let Some(credential) = &consume.credential {
                factor.credential = Some(credential.clone());
            }
            factor.failures = Failures::default();
        });
    }

    pub(super) fn is_credential_taken(&self, factor: &FactorRecord) -> bool {
        factor.credential.is_some()
            && self
                .factors
                .iter()
                .any(|other| other.kind == factor.kind && other.credential == factor.credential)
    }

    /// Whether another factor has the credential that an answer gives its own.
    pub(super) fn takes_anothers(&self, consume: &Consume) -> bool {
        let kind = self.factor(consume.factor).map(|factor| &factor.kind);
        consume.credential.is_some()
            && self.factors.iter().any(|other| {
                other.id != consume.factor
                    && Some(&other.kind) == kind
                    && other.credential == consume.credential
            })
    }

    pub(super) fn add_factor(
        &mut self,
        factor: FactorRecord,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        if !self.users.contains_key(&factor.user) {
            return Err(StoreError::UnknownUser);
        }
        if self.factor(factor.id).is_some() {
            return Err(StoreError::Conflict);
        }
        if self.is_credential_taken(&factor) {
            return Err(StoreError::CredentialTaken);
        }
        self.append(vec![attribution::of_factor(event, factor.id, &factor.user)])?;
        self.factors.push(factor);
        Ok(())
    }

    pub(super) fn activate_factor(
        &mut self,
        consume: &Consume,
        throttle: &Throttle,
        mut event: AuditEvent,
    ) -> Result<Activated, StoreError> {
        event.factor = Some(consume.factor);
        let standing = self.standing(consume.factor);
        let Some(factor) = standing.filter(|factor| factor.state == FactorState::Pending) else {
            self.append(vec![instead(event, AuditKind::NotEligible)])?;
            return Ok(Activated::NotPending);
        };
        let event = attribution::of_user(event, &factor.user);
        if let Some((outcome, kind, failures)) =
            factor.refuses_activation(consume, throttle, event.at)
        {
            self.append(vec![instead(event, kind)])?;
            self.change_factor(consume.factor, |factor| {
                factor.failures = failures.unwrap_or(factor.failures);
            });
            return Ok(outcome);
        }
        if self.takes_anothers(consume) {
            return Err(StoreError::CredentialTaken);
        }
        self.append(vec![event])?;
        self.take(consume);
        self.change_factor(consume.factor, |f| f.state = FactorState::Active);
        Ok(Activated::Activated)
    }

    pub(super) fn change_factor_by(
        &mut self,
        id: FactorId,
        change: FactorChange,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let standing = self.standing(id);
        let Some(factor) = standing.filter(|factor| factor.is_fit_for(&change)) else {
            return Ok(false);
        };
        let event = attribution::of_factor(event, id, &factor.user);
        match change {
            FactorChange::Rename(label) => {
                self.append(vec![event])?;
                self.change_factor(id, |factor| factor.label = label);
            }
            FactorChange::Suspend(last) => {
                self.keep_one(id, &factor, last)?;
                self.append_and_end_opened_by(id, &factor, event)?;
                self.change_factor(id, |factor| factor.state = FactorState::Suspended);
            }
            FactorChange::Resume => {
                self.append(vec![event])?;
                self.change_factor(id, |factor| factor.state = FactorState::Active);
            }
        }
        Ok(true)
    }

    pub(super) fn remove_factor(
        &mut self,
        id: FactorId,
        last: LastFactor,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let Some(factor) = self.standing(id) else {
            return Ok(false);
        };
        self.keep_one(id, &factor, last)?;
        let event = attribution::of_factor(event, id, &factor.user);
        self.append_and_end_opened_by(id, &factor, event)?;
        self.factors.retain(|factor| factor.id != id);
        Ok(true)
    }

    /// Makes room for a factor that takes the place of another of its user's, if that is still
    /// there.
    pub(super) fn replace(&mut self, new: &NewFactor, old: FactorId) -> Result<(), StoreError> {
        let standing = self.standing(old);
        let Some(factor) = standing.filter(|factor| factor.user == new.factor.user) else {
            return Ok(());
        };
        self.append_and_end_opened_by(old, &factor, attribution::replaced(new, old))?;
        self.factors.retain(|factor| factor.id != old);
        Ok(())
    }

    pub(super) fn reset_failures(
        &mut self,
        id: FactorId,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let Some(factor) = self.standing(id) else {
            return Ok(false);
        };
        let event = attribution::of_factor(event, id, &factor.user);
        self.append_and_end_opened_by(id, &factor, event)?;
        self.change_factor(id, |factor| factor.failures = Failures::default());
        Ok(true)
    }

    pub(super) fn record_failure(
        &mut self,
        failure: Failure,
    ) -> Result<FailureRecorded, StoreError> {
        let mut event = failure.event;
        event.factor = Some(failure.factor);
        let Some(factor) = self.standing(failure.factor) else {
            self.append(vec![instead(event, AuditKind::NotEligible)])?;
            return Ok(FailureRecorded::FactorGone);
        };
        let event = attribution::of_user(event, &factor.user);
        if let Some(lock) = factor.locked(&failure.throttle, failure.at) {
            self.append(vec![instead(event, AuditKind::LockedOut)])?;
            return Ok(FailureRecorded::Locked(lock));
        }
        self.append(vec![event])?;
        let failures = factor.failures.plus_one(failure.at);
        self.change_factor(failure.factor, |factor| factor.failures = failures);
        let lock = failure.throttle.lock(failures, failure.at);
        Ok(FailureRecorded::Counted(lock))
    }

    /// Refuses to let a user's last active factor go, unless that is what is wanted.
    fn keep_one(
        &self,
        id: FactorId,
        factor: &Standing,
        last: LastFactor,
    ) -> Result<(), StoreError> {
        if last == LastFactor::Danger || factor.state != FactorState::Active {
            return Ok(());
        }
        let is_another = |other: &FactorRecord| {
            other.user == factor.user && other.state == FactorState::Active && other.id != id
        };
        let another = self.factors.iter().any(is_another);
        another.then_some(()).ok_or(StoreError::LastFactor)
    }

    /// Appends the record of a factor's change, and ends the live sessions that the factor opened,
    /// each with a record of its own.
    fn append_and_end_opened_by(
        &mut self,
        id: FactorId,
        factor: &Standing,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        let is_over =
            |session: &&SessionRecord| session.user == factor.user && session.is_opened_by(id);
        let at = event.at;
        let mut events = vec![event.clone()];
        let mut over = Vec::new();
        for session in self.live_sessions().filter(is_over) {
            events.push(attribution::factor_changed(&event, session));
            over.push(session.id);
        }
        self.append(events)?;
        for session in over {
            self.end(session, EndReason::FactorChanged, at);
        }
        Ok(())
    }
}
