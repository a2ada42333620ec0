//! Enrolment and administration: users, peers and factors, over a store and without a running
//! gate. A gate that shares the store sees each change and ends what is no longer allowed.

use std::sync::Arc;

use crate::audit::{AuditEvent, AuditKind};
use crate::id::{FactorId, GroupId, LocationId, UserId};
use crate::seal::{KeyRing, Row, SealError, Sealed};
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

    /// Seals anew what an older key of the ring sealed: every factor, and the live sessions of
    /// these locations. One record in the audit trail says how many. A factor or a session that
    /// changes meanwhile keeps its change.
    ///
    /// Every gate on the store must run with the new key by then, since one that does not can't
    /// open what this seals, and goes on sealing with the old one. Once this has gone through for
    /// every location, nothing needs the old key any more: with a location left out, its sessions
    /// end when the key is dropped.
    ///
    /// # Errors
    /// [`EnrolError::Seal`] at the first factor or session that does not open;
    /// [`EnrolError::Store`]. What was sealed anew by then stays so, and is on record where the
    /// store takes it.
    pub async fn rotate(&self, locations: &[LocationId]) -> Result<Rotated, EnrolError> {
        let mut rotated = Rotated::default();
        let outcome = match self.rotate_factors(&mut rotated.factors).await {
            Ok(()) => self.rotate_sessions(locations, &mut rotated.sessions).await,
            Err(error) => Err(error),
        };
        let recorded = if outcome.is_ok() || rotated != Rotated::default() {
            let Rotated { factors, sessions } = rotated;
            let key = self.ring.active().clone();
            let kind = AuditKind::RingRotated {
                key,
                factors,
                sessions,
            };
            self.store.append_audit(self.event(kind)).await
        } else {
            Ok(())
        };
        outcome?;
        recorded?;
        Ok(rotated)
    }

    async fn rotate_factors(&self, rotated: &mut u64) -> Result<(), EnrolError> {
        for user in self.store.users().await? {
            for factor in self.store.factors(&user.id).await? {
                if self.ring.is_current(&factor.sealed) {
                    continue;
                }
                let sealed = self.seal_anew(&Row::from(&factor), &factor.sealed)?;
                let resealed = self.store.reseal_factor(factor.id, &factor.sealed, sealed);
                *rotated += u64::from(resealed.await?);
            }
        }
        Ok(())
    }

    async fn rotate_sessions(
        &self,
        locations: &[LocationId],
        rotated: &mut u64,
    ) -> Result<(), EnrolError> {
        for location in locations {
            for session in self.store.live_sessions(location).await? {
                if self.ring.is_current(&session.psk) {
                    continue;
                }
                let sealed = self.seal_anew(&Row::from(&session), &session.psk)?;
                let resealed = self.store.reseal_session(session.id, &session.psk, sealed);
                *rotated += u64::from(resealed.await?);
            }
        }
        Ok(())
    }

    fn seal_anew(&self, row: &Row<'_>, sealed: &Sealed) -> Result<Sealed, SealError> {
        let secret = self.ring.open(row, sealed)?;
        self.ring.seal(row, secret.expose_secret())
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

/// What [`Registrar::rotate`] sealed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Rotated {
    /// So many factors.
    pub factors: u64,
    /// So many live sessions.
    pub sessions: u64,
}

impl std::fmt::Debug for Registrar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registrar").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(all(feature = "totp", feature = "testing"))]
mod tests;
