//! Enrolment and administration: users, peers and factors, over a store and without a running
//! gate. A gate that shares the store sees each change and ends what is no longer allowed.

use std::sync::Arc;

use ipnet::IpNet;

use crate::audit::{AuditEvent, AuditKind};
use crate::id::{FactorId, GroupId, LocationId, UserId};
use crate::key::PublicKey;
use crate::seal::{AssociatedData, KeyRing, SealError, Sealed};
use crate::store::{AdminStore, FactorRecord, Peer, User, UserChange};
use crate::time::Clock;

mod address;
mod error;
mod factor;
mod import;
#[cfg(feature = "oidc")]
mod oidc;
mod token;
#[cfg(feature = "totp")]
mod totp;

pub(crate) use address::AddressReason;
pub use address::{AddressFault, AddressPlan};
pub use error::EnrolError;
pub(crate) use error::EnrolFault;
pub use import::{ImportEntry, ImportError, ImportedEntry, NewPeer};
pub use token::IssuedToken;
#[cfg(feature = "totp")]
pub use totp::TotpEnrolment;

/// Enrols users, peers and factors, and takes them back.
#[derive(Clone)]
pub struct Registrar {
    store: Arc<dyn AdminStore>,
    ring: KeyRing,
    clock: Arc<dyn Clock>,
    addresses: Option<AddressPlan>,
}

impl Registrar {
    /// A registrar over a store, sealing with the gate's own key ring.
    pub fn new(store: Arc<dyn AdminStore>, ring: KeyRing, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            ring,
            clock,
            addresses: None,
        }
    }

    /// The same, and it refuses addresses that a peer can't have by this plan.
    #[must_use]
    pub fn with_addresses(mut self, plan: AddressPlan) -> Self {
        self.addresses = Some(plan);
        self
    }

    /// Adds a user, in no group, or enables or disables a known one, who keeps their groups. A
    /// disabled user's sessions end: in the store at once, and on the interface of a running gate
    /// once that has looked; [`Gate::recheck`](crate::gate::Gate::recheck) waits for it.
    ///
    /// # Errors
    /// what [`StoreError`](crate::store::StoreError) says, also when a user who is to be disabled is unknown.
    pub async fn put_user(&self, user: &UserId, enabled: bool) -> Result<(), EnrolError> {
        let change = UserChange::Enabled(enabled);
        self.change_user(user, change, AuditKind::UserPut { enabled })
            .await
    }

    /// Every user, with their groups.
    ///
    /// # Errors
    /// what [`StoreError`](crate::store::StoreError) says.
    pub async fn users(&self) -> Result<Vec<User>, EnrolError> {
        Ok(self.store.users().await?)
    }

    /// Puts a user into these groups and no others. What the policy asks of the user changes with
    /// them.
    ///
    /// # Errors
    /// what [`StoreError`](crate::store::StoreError) says, also when the user is unknown.
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

    /// Adds a peer, or changes a known one. The session of a peer that is disabled, or loses its
    /// owner or an address, ends, as with [`put_user`](Self::put_user).
    ///
    /// # Errors
    /// `enrol-no-address`, `enrol-address-taken`, what [`AddressFault`] says;
    /// what [`StoreError`](crate::store::StoreError) says, also when the owner is unknown.
    pub async fn put_peer(&self, peer: Peer) -> Result<(), EnrolError> {
        self.check_addresses(&peer)?;
        self.put_checked(peer).await
    }

    async fn put_checked(&self, peer: Peer) -> Result<(), EnrolError> {
        let event = self.peer_event(&peer);
        Ok(self.store.put_peer(peer, event).await?)
    }

    fn check_addresses(&self, peer: &Peer) -> Result<(), EnrolError> {
        if peer.allowed_ips.is_empty() {
            return Err(EnrolError(EnrolFault::NoAddress));
        }
        if let Some(plan) = &self.addresses {
            plan.check(&peer.allowed_ips)?;
        }
        Ok(())
    }

    /// The next free address of each family that the gate has one of
    /// ([`with_addresses`](Self::with_addresses)). Another call may take it first: then
    /// [`put_peer`](Self::put_peer) says so, and this is asked again.
    ///
    /// # Errors
    /// `enrol-no-address` without a plan, `enrol-no-free-address`;
    /// what [`StoreError`](crate::store::StoreError) says.
    pub async fn free_addresses(&self, location: &LocationId) -> Result<Vec<IpNet>, EnrolError> {
        let plan = self.addresses.as_ref().ok_or(EnrolFault::NoAddress)?;
        let peers = self.store.peers(location).await?;
        plan.next_free(&peers)
            .ok_or(EnrolError(EnrolFault::NoFreeAddress))
    }

    /// Lets a known peer in again, or shuts it out; all else about it stays.
    ///
    /// # Errors
    /// `enrol-no-peer`; what [`StoreError`](crate::store::StoreError) says.
    pub async fn enable_peer(
        &self,
        location: &LocationId,
        key: &PublicKey,
        enabled: bool,
    ) -> Result<(), EnrolError> {
        let enrolment = self.store.enrolment(location, key).await?;
        let peer = enrolment.ok_or(EnrolFault::NoPeer)?.peer;
        // Whatever addresses it has: a plan that was made since shuts no one out.
        self.put_checked(Peer { enabled, ..peer }).await
    }

    /// The peers of a location.
    ///
    /// # Errors
    /// what [`StoreError`](crate::store::StoreError) says.
    pub async fn peers(&self, location: &LocationId) -> Result<Vec<Peer>, EnrolError> {
        Ok(self.store.peers(location).await?)
    }

    /// The factors of a user.
    ///
    /// # Errors
    /// what [`StoreError`](crate::store::StoreError) says.
    pub async fn factors(&self, user: &UserId) -> Result<Vec<FactorRecord>, EnrolError> {
        Ok(self.store.factors(user).await?)
    }

    /// Reseals what an older key of the ring sealed: every factor, and the live sessions of
    /// these locations. One record in the audit trail says how many. A factor or a session that
    /// changes meanwhile keeps its change.
    ///
    /// Every gate on the store must run with the new key by then, since one that does not can't
    /// open what this seals, and goes on sealing with the old one. Once this has gone through for
    /// every location, nothing needs the old key any more: with a location left out, its sessions
    /// end when the key is dropped.
    ///
    /// # Errors
    /// what [`SealError`] says at the first factor or session that does not open;
    /// what [`StoreError`](crate::store::StoreError) says. What was resealed by then stays so, and is on record where the
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
                let sealed = self.seal_anew(&AssociatedData::from(&factor), &factor.sealed)?;
                let resealed = self
                    .store
                    .reseal_factor(factor.id, &factor.sealed, sealed)
                    .await;
                *rotated += u64::from(resealed?);
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
                let sealed = self.seal_anew(&AssociatedData::from(&session), &session.psk)?;
                let resealed = self
                    .store
                    .reseal_session(session.id, &session.psk, sealed)
                    .await;
                *rotated += u64::from(resealed?);
            }
        }
        Ok(())
    }

    fn seal_anew(&self, row: &AssociatedData<'_>, sealed: &Sealed) -> Result<Sealed, SealError> {
        let secret = self.ring.open(row, sealed)?;
        self.ring.seal(row, secret.expose_secret())
    }

    fn peer_event(&self, peer: &Peer) -> AuditEvent {
        let mut event = self.event(AuditKind::PeerPut {
            enabled: peer.enabled,
        });
        event.location = Some(peer.location.clone());
        event.user = Some(peer.user.clone());
        event.peer = Some(peer.key);
        event
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

/// What [`Registrar::rotate`] resealed.
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
