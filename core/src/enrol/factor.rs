//! The life of a factor, in an administrator's hands. Who changes a factor ends what it opened.

use super::{EnrolError, EnrolFault, Registrar};
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::id::{CredentialId, FactorId, Label, UserId};
use crate::policy::Failures;
use crate::seal::{AssociatedData, SecretBytes};
use crate::store::{FactorChange, FactorRecord, FactorState, LastFactor};

impl Registrar {
    /// Adds a factor that is in use at once: for secrets that an administrator hands out. Where the
    /// user is to prove to have it, enrol it from the client instead.
    ///
    /// # Errors
    /// `enrol-credential-taken`; `enrol-randomness`, what [`SealError`](crate::seal::SealError) says;
    /// what [`StoreError`](crate::store::StoreError) says, also when the user is unknown.
    pub async fn add_factor(
        &self,
        user: &UserId,
        kind: FactorKind,
        label: &Label,
        secret: &SecretBytes,
        credential: Option<CredentialId>,
    ) -> Result<FactorId, EnrolError> {
        let id = FactorId::generate().map_err(|_| EnrolFault::Randomness)?;
        let row = AssociatedData::Factor {
            id: &id,
            user,
            kind: &kind,
        };
        let sealed = self.ring.seal(&row, secret.expose_secret())?;
        let event = self.factor_event(AuditKind::FactorAdded { kind: kind.clone() }, user, id);
        let factor = FactorRecord {
            id,
            user: user.clone(),
            kind,
            label: label.clone(),
            credential,
            sealed,
            state: FactorState::Active,
            last_counter: None,
            failures: Failures::default(),
        };
        self.store.add_factor(factor, event).await?;
        Ok(id)
    }

    /// Gives a factor another label.
    ///
    /// # Errors
    /// `enrol-no-factor`; what [`StoreError`](crate::store::StoreError) says.
    pub async fn rename_factor(
        &self,
        user: &UserId,
        factor: FactorId,
        label: &Label,
    ) -> Result<(), EnrolError> {
        let change = FactorChange::Rename(label.clone());
        self.change_factor(user, factor, change, AuditKind::FactorRenamed)
            .await
    }

    /// Suspends an active factor: it is kept, can't be used, and the sessions that it opened end.
    ///
    /// # Errors
    /// `enrol-last-factor` when the user has no other active one; `enrol-no-factor`
    /// when it is not active; what [`StoreError`](crate::store::StoreError) says.
    pub async fn suspend_factor(&self, user: &UserId, factor: FactorId) -> Result<(), EnrolError> {
        self.suspend(user, factor, LastFactor::Keep).await
    }

    /// Suspends an active factor, even if the user has no other.
    ///
    /// # Errors
    /// `enrol-no-factor` when it is not active; what [`StoreError`](crate::store::StoreError) says.
    pub async fn danger_suspend_last_factor(
        &self,
        user: &UserId,
        factor: FactorId,
    ) -> Result<(), EnrolError> {
        self.suspend(user, factor, LastFactor::Danger).await
    }

    /// Puts a suspended factor to use again.
    ///
    /// # Errors
    /// `enrol-no-factor` when it is not suspended; what [`StoreError`](crate::store::StoreError) says.
    pub async fn resume_factor(&self, user: &UserId, factor: FactorId) -> Result<(), EnrolError> {
        let change = FactorChange::Resume;
        self.change_factor(user, factor, change, AuditKind::FactorResumed)
            .await
    }

    /// Removes a factor, and ends the sessions that it opened. To replace one, add the other first.
    ///
    /// # Errors
    /// `enrol-last-factor` when it is active and the user has no other active one;
    /// `enrol-no-factor`; what [`StoreError`](crate::store::StoreError) says.
    pub async fn remove_factor(&self, user: &UserId, factor: FactorId) -> Result<(), EnrolError> {
        self.remove(user, factor, LastFactor::Keep).await
    }

    /// Removes a factor, even if the user has no other. Without any, the user can't sign in until
    /// one is enrolled with a token.
    ///
    /// # Errors
    /// `enrol-no-factor`; what [`StoreError`](crate::store::StoreError) says.
    pub async fn danger_remove_last_factor(
        &self,
        user: &UserId,
        factor: FactorId,
    ) -> Result<(), EnrolError> {
        self.remove(user, factor, LastFactor::Danger).await
    }

    /// Forgets a factor's failures, so that it can be used again at once, and ends the sessions
    /// that it opened.
    ///
    /// # Errors
    /// `enrol-no-factor`; what [`StoreError`](crate::store::StoreError) says.
    pub async fn reset_failures(&self, user: &UserId, factor: FactorId) -> Result<(), EnrolError> {
        self.owned(user, factor).await?;
        let event = self.factor_event(AuditKind::FailuresReset, user, factor);
        done(self.store.reset_failures(factor, event).await?)
    }

    async fn suspend(
        &self,
        user: &UserId,
        factor: FactorId,
        last: LastFactor,
    ) -> Result<(), EnrolError> {
        let change = FactorChange::Suspend(last);
        self.change_factor(user, factor, change, AuditKind::FactorSuspended)
            .await
    }

    async fn remove(
        &self,
        user: &UserId,
        factor: FactorId,
        last: LastFactor,
    ) -> Result<(), EnrolError> {
        self.owned(user, factor).await?;
        let event = self.factor_event(AuditKind::FactorRemoved, user, factor);
        done(self.store.remove_factor(factor, last, event).await?)
    }

    async fn change_factor(
        &self,
        user: &UserId,
        factor: FactorId,
        change: FactorChange,
        kind: AuditKind,
    ) -> Result<(), EnrolError> {
        self.owned(user, factor).await?;
        let event = self.factor_event(kind, user, factor);
        done(self.store.change_factor(factor, change, event).await?)
    }

    /// A factor of someone else's is no factor of this user's. A factor's owner never changes.
    pub(super) async fn owned(&self, user: &UserId, factor: FactorId) -> Result<(), EnrolError> {
        let factors = self.store.factors(user).await?;
        done(factors.iter().any(|record| record.id == factor))
    }
}

/// What a store says of a factor that was, or was not, there.
fn done(found: bool) -> Result<(), EnrolError> {
    found.then_some(()).ok_or(EnrolError(EnrolFault::NoFactor))
}
