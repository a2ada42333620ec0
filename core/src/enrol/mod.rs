//! Enrolment and administration: users, peers and factors, over a store and without a running
//! gate. A gate that shares the store sees each change and ends what is no longer allowed.

use std::sync::Arc;

use crate::audit::{AuditEvent, AuditKind};
use crate::id::{FactorId, GroupId, LocationId, UserId};
use crate::seal::{KeyRing, Row};
use crate::store::{FactorRecord, Peer, PeerStore, User, UserChange};
use crate::time::Clock;

mod error;
mod factor;
#[cfg(feature = "oidc")]
mod oidc;
mod token;
#[cfg(feature = "totp")]
mod totp;

pub use error::EnrolError;
pub use token::IssuedToken;
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

    /// Adds a user, in no group, or enables or disables a known one, who keeps their groups. A
    /// disabled user's sessions end.
    ///
    /// # Errors
    /// [`EnrolError::Store`].
    pub async fn put_user(&self, user: &UserId, enabled: bool) -> Result<(), EnrolError> {
        let change = UserChange::Enabled(enabled);
        self.change_user(user, change, AuditKind::UserPut { enabled })
            .await
    }

    /// Every user, with their groups.
    ///
    /// # Errors
    /// [`EnrolError::Store`].
    pub async fn users(&self) -> Result<Vec<User>, EnrolError> {
        Ok(self.store.users().await?)
    }

    /// Puts a user into these groups and no others. What the policy asks of the user changes with
    /// them.
    ///
    /// # Errors
    /// [`EnrolError::Store`], also when the user is unknown.
    pub async fn put_groups(&self, user: &UserId, groups: Vec<GroupId>) -> Result<(), EnrolError> {
        let change = UserChange::Groups(groups.clone());
        self.change_user(user, change, AuditKind::GroupsPut { groups })
            .await
    }

    async fn change_user(
        &self,
        user: &UserId,
        change: UserChange,
        kind: AuditKind,
    ) -> Result<(), EnrolError> {
        let event = self.user_event(kind, user);
        Ok(self.store.change_user(user.clone(), change, event).await?)
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
        Ok(self.store.put_peer(peer, event).await?)
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

    fn event(&self, kind: AuditKind) -> AuditEvent {
        AuditEvent::new(self.clock.now().timestamp, kind)
    }

    fn factor_event(&self, kind: AuditKind, user: &UserId, factor: FactorId) -> AuditEvent {
        let mut event = self.user_event(kind, user);
        event.factor = Some(factor);
        event
    }

    fn user_event(&self, kind: AuditKind, user: &UserId) -> AuditEvent {
        let mut event = self.event(kind);
        event.user = Some(user.clone());
        event
    }
}

impl std::fmt::Debug for Registrar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registrar").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(all(feature = "totp", feature = "testing"))]
mod tests;
