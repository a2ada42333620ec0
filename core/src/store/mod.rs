//! Stores: one trait, written in intents, and one file or folder per engine.
//!
//! Each intent is one transaction and, on an engine that flushes, one flush: it checks, changes
//! and appends its audit record, all or nothing. A store sees no secret in the clear: what is
//! secret reaches it [`Sealed`].

mod attribution;
mod feed;
mod judge;
mod memory;
mod record;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use std::pin::Pin;

use async_trait::async_trait;
use futures_core::Stream;
use ipnet::IpNet;

pub use memory::MemoryStore;
pub use record::{
    ChangeSet, Consume, EndReason, Enrolment, FactorRecord, FactorState, Failure, FailureReason,
    NewSession, Peer, Renewal, SessionRecord, User,
};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

use crate::audit::{AuditEvent, AuditRecord};
use crate::id::{FactorId, Generation, LocationId, SessionId, UserId};
use crate::key::PublicKey;
use crate::policy::{Lock, Throttle};
use crate::seal::Sealed;
use crate::time::Timestamp;

/// Where enrolments, sessions, failure counts and the audit trail live.
///
/// # Contract
/// - Every method is atomic, also against other processes that share the store. When it returns
///   `Ok` from a change, the change is durable.
/// - A dropped future may or may not have taken effect; nothing in between.
/// - An outcome that is not a success is an `Ok` of its outcome type where it is part of the
///   protocol, and a [`StoreError`] only where the store itself failed.
/// - After [`StoreError::Backend`] from a change, the change may or may not have taken effect;
///   any other error changed nothing.
/// - Each intent appends its [`AuditEvent`] to the chain (see [`crate::audit`]) in the same
///   transaction, with the outcome's own kind where the intent says so. The store fills in the
///   event's location, user, peer, session and factor from what the intent touched, as far as it
///   knows them; [`ChangeSet::of`] an event tells the change from that.
/// - A store reads no clock: each time that it judges or keeps came in with the call.
#[async_trait]
pub trait PeerStore: Send + Sync + 'static {
    /// Adds or replaces a user.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_user(&self, user: User, event: AuditEvent) -> Result<(), StoreError>;

    /// All users.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn users(&self) -> Result<Vec<User>, StoreError>;

    /// Adds or replaces a peer. Its owner must be known, and no other peer of the location, enabled
    /// or not, may have an address of its ([`Peer::overlap`]).
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`]; [`StoreError::AddressTaken`]; [`StoreError`].
    async fn put_peer(&self, peer: Peer, event: AuditEvent) -> Result<(), StoreError>;

    /// All peers of a location.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn peers(&self, location: &LocationId) -> Result<Vec<Peer>, StoreError>;

    /// Adds a factor, in whatever state the record says. Its user must be known and its id new.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`], [`StoreError::Conflict`]; [`StoreError`].
    async fn add_factor(&self, factor: FactorRecord, event: AuditEvent) -> Result<(), StoreError>;

    /// The factors of a user, in the order of their enrolment.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn factors(&self, user: &UserId) -> Result<Vec<FactorRecord>, StoreError>;

    /// Turns a pending factor active and consumes the step of its confirming answer, if the
    /// failure limit allows an answer at `event.at`; clears its count.
    ///
    /// The audit says what `event` says, or [`LockedOut`](crate::audit::AuditKind::LockedOut), or
    /// [`NotEligible`](crate::audit::AuditKind::NotEligible) where the factor is not pending. A
    /// step that is not greater than the last counts as a failure in this same transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn activate_factor(
        &self,
        consume: Consume,
        throttle: Throttle,
        event: AuditEvent,
    ) -> Result<Activated, StoreError>;

    /// Removes a factor. `false`, and no audit record, when there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove_factor(&self, factor: FactorId, event: AuditEvent) -> Result<bool, StoreError>;

    /// Sets a factor's failure count to zero: an administrator's act. `false`, and no audit
    /// record, when there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn reset_failures(&self, factor: FactorId, event: AuditEvent)
    -> Result<bool, StoreError>;

    /// Puts a factor's secret into another envelope, if it is still in the envelope `from`, as
    /// for a key ring's rotation; else `false`. Bears on nobody's access: no audit record.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn reseal_factor(
        &self,
        factor: FactorId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError>;

    /// A peer of a location with its owner and the owner's factors: one consistent reading.
    /// `None` when no such peer is enrolled.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn enrolment(
        &self,
        location: &LocationId,
        peer: &PublicKey,
    ) -> Result<Option<Enrolment>, StoreError>;

    /// Records a wrong or reused answer. Where the factor is locked at `failure.at`, the count
    /// stays and the audit says [`LockedOut`](crate::audit::AuditKind::LockedOut); else the count
    /// rises by one and the audit says what `failure.event` says. Where the factor is gone, the
    /// audit says [`NotEligible`](crate::audit::AuditKind::NotEligible). A pending factor's
    /// failures count like an active one's.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn record_failure(&self, failure: Failure) -> Result<FailureRecorded, StoreError>;

    /// Admits: checks that the peer and its owner, who is `session.user`, are enabled and each
    /// consumed factor is theirs, active and not locked at `session.verified_at`, consumes each
    /// step by compare-and-set (greater than the factor's last), clears the counts of those
    /// factors and no others, ends the peer's older session as superseded at `session.event.at`,
    /// inserts the new one with the next generation, and appends the audit records: the end of
    /// the older session, if there was one, then the admission.
    ///
    /// A step that is not greater than the last counts as a failure of its factor in this same
    /// transaction ([`Opened::Replayed`]; the audit says
    /// [`Denied`](crate::audit::AuditKind::Denied)); any other refusal changes nothing but the
    /// audit ([`LockedOut`](crate::audit::AuditKind::LockedOut),
    /// [`NotEligible`](crate::audit::AuditKind::NotEligible)). A peer that is gone comes before a
    /// factor that is gone, that before a lock, and that before a step that was used.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Conflict`] when the session's id is not new, or when a factor
    /// is named twice.
    async fn open_session(&self, session: NewSession) -> Result<Opened, StoreError>;

    /// Gives a live session a later end, a fresh sealed preshared key and the next generation, if
    /// it is still live with the generation that the renewal names, its peer still belongs to its
    /// user, and both are still enabled; else the audit says
    /// [`NotEligible`](crate::audit::AuditKind::NotEligible). Live means not closed: whether its
    /// end has passed is for the gate to know.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn renew_session(&self, renewal: Renewal) -> Result<Renewed, StoreError>;

    /// Ends a session, as of `event.at`. `false`, and no audit record, when it was not live.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn close_session(
        &self,
        session: SessionId,
        reason: EndReason,
        event: AuditEvent,
    ) -> Result<bool, StoreError>;

    /// Puts a live session's preshared key into another envelope, if it is still in the envelope
    /// `from`; else `false`. Bears on nobody's access: no audit record, and its generation stays.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn reseal_session(
        &self,
        session: SessionId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError>;

    /// One session, live or ended, if the store still has it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn session(&self, session: SessionId) -> Result<Option<SessionRecord>, StoreError>;

    /// The sessions of a location that have not been closed, whatever their end.
    ///
    /// # Errors
    /// [`StoreError`]; never a shorter list.
    async fn live_sessions(&self, location: &LocationId) -> Result<Vec<SessionRecord>, StoreError>;

    /// Appends an audit record that belongs to no other intent.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn append_audit(&self, event: AuditEvent) -> Result<(), StoreError>;

    /// Up to `limit` audit records from sequence number `from` on, in order. Fewer than `limit`
    /// only at the end of the trail.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn audit(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>, StoreError>;

    /// Changes from now on that bear on running gates, also those made by other processes that
    /// share the store; a session that was only opened or renewed is none. A change may be seen again, and several may come as one; none that was
    /// made after this call returned is left out. The stream ends with an
    /// error when the store can't promise that any more; the gate then reconciles anew.
    fn watch(&self) -> ChangeStream;
}

/// What [`PeerStore::watch`] returns.
pub type ChangeStream = Pin<Box<dyn Stream<Item = Result<ChangeSet, StoreError>> + Send>>;

/// What became of [`PeerStore::record_failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureRecorded {
    /// The count rose; this is the factor's lock now.
    Counted(Lock),
    /// The factor was locked; the count stays.
    Locked(Lock),
    /// There is no such factor any more.
    FactorGone,
}

/// What became of [`PeerStore::open_session`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The session is live and durable.
    Opened {
        /// Its generation.
        generation: Generation,
        /// The session that it ended.
        superseded: Option<SessionId>,
    },
    /// A step had been consumed before. It counted as a failure; this is the factor's lock now.
    Replayed {
        /// The factor.
        factor: FactorId,
        /// Its lock.
        lock: Lock,
    },
    /// A factor was locked: right or wrong, the answer is refused.
    Locked {
        /// The factor.
        factor: FactorId,
        /// Its lock.
        lock: Lock,
    },
    /// A factor is gone or not active.
    FactorGone {
        /// The factor.
        factor: FactorId,
    },
    /// The peer or its owner is gone or disabled.
    PeerGone,
}

/// What became of [`PeerStore::renew_session`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// The session has its new end and key; this is its generation now.
    Renewed(Generation),
    /// The session was not live with that generation, or its peer or owner is gone or disabled.
    Gone,
}

/// What became of [`PeerStore::activate_factor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activated {
    /// The factor is active.
    Activated,
    /// The factor was locked.
    Locked(Lock),
    /// There is no pending factor of that id.
    NotPending,
    /// The step had been consumed before. It counted as a failure; this is the factor's lock now.
    Replayed(Lock),
}

/// Why a store did not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The user is not in the store.
    #[error("no such user: add the user first")]
    UnknownUser,
    /// Something of that id is there already.
    #[error("something with that id is in the store already")]
    Conflict,
    /// Another peer of the location has one of the peer's addresses.
    #[error(
        "{address} overlaps with the addresses of the peer {by}: pick another, or remove that peer"
    )]
    AddressTaken {
        /// The address, as the refused peer has it.
        address: IpNet,
        /// Who has it.
        by: PublicKey,
    },
    /// What was read is not what was written.
    #[error("the store holds a record that can't be read: {what}")]
    Corrupt {
        /// Which record, in words; no contents.
        what: &'static str,
    },
    /// The engine can't be reached, is full, or failed.
    #[error("the store is not available")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Backend(_))
    }
}

/// The time limit of a session as a store must see it: live means not closed. The end is the
/// gate's business, since it needs no store to keep it.
impl SessionRecord {
    /// Whether the session has not been closed and its end is after `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended.is_none() && now < self.not_after
    }
}
