//! Enrolment and administration: users, peers and factors, over a store and without a running
//! gate. A gate that shares the store sees each change and ends what is no longer allowed.

use std::sync::Arc;

use ipnet::IpNet;

use crate::audit::{AuditEvent, AuditKind};
use crate::id::{FactorId, LocationId, UserId};
use crate::key::PublicKey;
use crate::policy::Lock;
use crate::seal::{KeyRing, Row, SealError};
use crate::store::{FactorRecord, Peer, PeerStore, StoreError, User};
use crate::time::Clock;

#[cfg(feature = "totp")]
mod totp;
#[cfg(feature = "totp")]
pub use totp::TotpEnrolment;

/// Enrols users, peers and factors, and takes them back.
#[derive(Clone)]
pub struct Registrar {
    store: Arc<dyn PeerStore>,
    ring: KeyRing,
    clock: Arc<dyn Clock>,
}

impl Registrar {
    /// A registrar over a store, sealing with the gate's own key ring.
    pub fn new(store: Arc<dyn PeerStore>, ring: KeyRing, clock: Arc<dyn Clock>) -> Self {
        Self { store, ring, clock }
    }

    /// Adds a user, or enables or disables a known one. A disabled user's sessions end.
    ///
    /// # Errors
    /// [`EnrolError::Store`].
    pub async fn put_user(&self, user: &UserId, enabled: bool) -> Result<(), EnrolError> {
        let mut event = self.event(AuditKind::UserPut { enabled });
        event.user = Some(user.clone());
        Ok(self
            .store
            .put_user(
                User {
                    id: user.clone(),
                    enabled,
                },
                event,
            )
            .await?)
    }

    /// Adds a peer, or changes a known one. A disabled peer's session ends.
    ///
    /// # Errors
    /// [`EnrolError::NoAddress`], [`EnrolError::AddressTaken`]; [`EnrolError::Store`], also when
    /// the owner is unknown.
    pub async fn put_peer(&self, peer: Peer) -> Result<(), EnrolError> {
        if peer.allowed_ips.is_empty() {
            return Err(EnrolError::NoAddress);
        }
        let mut event = self.event(AuditKind::PeerPut {
            enabled: peer.enabled,
        });
        event.location = Some(peer.location.clone());
        event.user = Some(peer.user.clone());
        event.peer = Some(peer.key);
        match self.store.put_peer(peer, event).await {
            Err(StoreError::AddressTaken { address, by }) => {
                Err(EnrolError::AddressTaken { address, by })
            }
            other => Ok(other?),
        }
    }

    /// The peers of a location.
    ///
    /// # Errors
    /// [`EnrolError::Store`].
    pub async fn peers(&self, location: &LocationId) -> Result<Vec<Peer>, EnrolError> {
        Ok(self.store.peers(location).await?)
    }

    /// The factors of a user.
    ///
    /// # Errors
    /// [`EnrolError::Store`].
    pub async fn factors(&self, user: &UserId) -> Result<Vec<FactorRecord>, EnrolError> {
        Ok(self.store.factors(user).await?)
    }

    /// Removes a factor.
    ///
    /// # Errors
    /// [`EnrolError::NoFactor`]; [`EnrolError::Store`].
    pub async fn remove_factor(&self, user: &UserId, factor: FactorId) -> Result<(), EnrolError> {
        self.owned(user, factor).await?;
        let event = self.factor_event(AuditKind::FactorRemoved, user, factor);
        let removed = self.store.remove_factor(factor, event).await?;
        removed.then_some(()).ok_or(EnrolError::NoFactor)
    }

    /// Forgets a factor's failures, so that it can be used again at once.
    ///
    /// # Errors
    /// [`EnrolError::NoFactor`]; [`EnrolError::Store`].
    pub async fn reset_failures(&self, user: &UserId, factor: FactorId) -> Result<(), EnrolError> {
        self.owned(user, factor).await?;
        let event = self.factor_event(AuditKind::FailuresReset, user, factor);
        let reset = self.store.reset_failures(factor, event).await?;
        reset.then_some(()).ok_or(EnrolError::NoFactor)
    }

    /// Seals every factor anew that an older key of the ring sealed; returns how many. A factor
    /// that changes meanwhile keeps its change.
    ///
    /// # Errors
    /// [`EnrolError::Seal`] at the first factor that does not open; [`EnrolError::Store`].
    pub async fn rotate(&self) -> Result<usize, EnrolError> {
        let mut rotated = 0;
        for user in self.store.users().await? {
            for factor in self.store.factors(&user.id).await? {
                if self.ring.is_current(&factor.sealed) {
                    continue;
                }
                let row = Row::from(&factor);
                let secret = self.ring.open(&row, &factor.sealed)?;
                let sealed = self.ring.seal(&row, secret.expose_secret())?;
                if self
                    .store
                    .reseal_factor(factor.id, &factor.sealed, sealed)
                    .await?
                {
                    rotated += 1;
                }
            }
        }
        Ok(rotated)
    }

    /// A factor of someone else's is no factor of this user's.
    async fn owned(&self, user: &UserId, factor: FactorId) -> Result<(), EnrolError> {
        let factors = self.store.factors(user).await?;
        let is_owned = factors.iter().any(|record| record.id == factor);
        is_owned.then_some(()).ok_or(EnrolError::NoFactor)
    }

    fn event(&self, kind: AuditKind) -> AuditEvent {
        AuditEvent::new(self.clock.now().timestamp, kind)
    }

    fn factor_event(&self, kind: AuditKind, user: &UserId, factor: FactorId) -> AuditEvent {
        let mut event = self.event(kind);
        event.user = Some(user.clone());
        event.factor = Some(factor);
        event
    }
}

impl std::fmt::Debug for Registrar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registrar").finish_non_exhaustive()
    }
}

/// Why an enrolment or an administrative act was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// A peer without an address could send nothing.
    #[error("the peer has no address inside the tunnel: give it at least one, such as 10.0.0.2/32")]
    NoAddress,
    /// Another peer of the location has the address.
    #[error(
        "{address} overlaps with the addresses of the peer {by}: pick another, or remove that peer"
    )]
    AddressTaken {
        /// The address.
        address: IpNet,
        /// Who has it.
        by: PublicKey,
    },
    /// There is no such factor, or it is not in the state that this needs.
    #[error("no such factor: list the user's factors to see which there are")]
    NoFactor,
    /// The confirming code is wrong.
    #[error(
        "the code is wrong: check that the app shows the code for this very entry, and that this machine's clock is right"
    )]
    WrongCode,
    /// The confirming code is right, and was used before.
    #[error("the code has been used before: wait until the app shows the next one")]
    UsedCode,
    /// The factor's record opened, and what is in it is no secret of its kind.
    #[error(
        "the factor's stored secret can't be read by this version: remove the factor and begin its enrolment anew"
    )]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The factor has had too many wrong codes.
    #[error("too many wrong codes: wait a little, or begin the enrolment anew")]
    Locked(Lock),
    /// The names don't fit the authenticator app's format.
    #[error(
        "the issuer or the user's name can't be shown in an authenticator app: neither may hold a colon"
    )]
    Name,
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Randomness,
    /// A secret could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store did not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
#[cfg(all(feature = "totp", feature = "testing"))]
mod tests;
