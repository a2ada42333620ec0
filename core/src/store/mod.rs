//! Stores: two traits, written in intents, and one file or folder per engine. A gate asks a
//! [`PeerStore`]; administration asks an [`AdminStore`], which is one as well.
//!
//! Each intent is one transaction and, on an engine that flushes, one flush: it checks, changes
//! and appends its audit record, all or nothing. A store sees no secret in the clear: what is
//! secret reaches it [`Sealed`].

pub mod attribution;
pub mod feed;
pub mod judge;
pub mod keyed;
mod outcome;
mod record;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod token;

use std::pin::Pin;

use async_trait::async_trait;
use futures_core::Stream;
use ipnet::IpNet;

pub use keyed::{Keyed, KeyedBackend};
pub use outcome::{Activated, Enrolled, FailureRecorded, OpenOutcome, PassOutcome, Renewed};
pub use record::{
    ChangeSet, Enrolment, FactorChange, FactorEnrolment, FactorFailure, FactorPass, FactorRecord,
    FactorState, FactorUse, LastFactor, NewSession, Peer, Put, SecretReplacement, SessionRecord,
    SessionRenewal, User, UserChange,
};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use token::EnrolmentToken;

use crate::audit::{AuditEvent, AuditRecord, Head, HeadFile};
pub(crate) use crate::audit::{EndReason, FailureReason};
use crate::id::{FactorId, LocationId, SessionId, TokenId, UserId};
use crate::key::PublicKey;
use crate::policy::Throttle;
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
    /// All users.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn users(&self) -> Result<Vec<User>, StoreError>;

    /// The factors of a user, in the order of their enrolment.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn factors(&self, user: &UserId) -> Result<Vec<FactorRecord>, StoreError>;

    /// Takes what a right answer takes from its factor, and forgets the factor's failures, where
    /// more is to be decided before anybody is admitted: other factors, or an authoriser. Judges as
    /// [`open_session`](Self::open_session) does.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn pass_factor(&self, pass: FactorPass) -> Result<PassOutcome, StoreError>;

    /// Enrols a factor from its owner's client: checks the peer and its owner, who is the factor's
    /// user, and judges and takes `consume`, all exactly as [`open_session`](Self::open_session)
    /// does; uses the token up, which must be the user's, for the factor's kind, and have its end
    /// after `at`; adds the factor; and appends
    /// [`FactorEnrolled`](crate::audit::AuditKind::FactorEnrolled). Where the token names a factor
    /// that the new one replaces and the user still has it, that one goes and the live sessions
    /// that it opened end, as with [`remove_factor`](AdminStore::remove_factor), whether it is the last
    /// or not. All or nothing.
    ///
    /// At least one of `token` and `consume` must name something: else
    /// [`Enrolled::TokenGone`]. A refusal changes nothing but the audit, and the counts of factors
    /// whose steps were used. A token comes after the factors, the credential after that.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Conflict`] when the factor's id is not new, or when a factor is
    /// named twice.
    async fn enrol_factor(&self, new: FactorEnrolment) -> Result<Enrolled, StoreError>;

    /// A peer of a location with its owner and the owner's factors and tokens: one consistent
    /// reading. `None` when no such peer is enrolled.
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
    async fn record_failure(&self, failure: FactorFailure) -> Result<FailureRecorded, StoreError>;

    /// Admits: checks that the peer and its owner, who is `session.user`, are enabled and each
    /// consumed factor is theirs, active and not locked at `session.event.at`, consumes each step
    /// by compare-and-set (greater than the factor's last), makes each [`SecretReplacement`] by another and sets
    /// each credential, clears the counts of those factors and no others, ends the peer's older
    /// session as superseded at `session.event.at`, inserts the new one with the next generation,
    /// and appends the audit records: the end of the older session, if there was one, then the
    /// admission.
    ///
    /// A step that is not greater than the last counts as a failure of its factor in this same
    /// transaction ([`OpenOutcome::Replayed`]; the audit says
    /// [`Denied`](crate::audit::AuditKind::Denied)), and so does a credential that another factor
    /// of the kind has ([`OpenOutcome::CredentialTaken`]); any other refusal changes nothing but the
    /// audit ([`LockedOut`](crate::audit::AuditKind::LockedOut),
    /// [`NotEligible`](crate::audit::AuditKind::NotEligible)). A peer that is gone comes before a
    /// factor that is gone, that before a lock, that before a step that was used, that before a
    /// secret that was changed, that before a credential that is taken, and that before too many
    /// sessions.
    ///
    /// A session counts towards `session.most_per_user` while it is not closed and its `not_after`
    /// is after `session.verified_at`.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Conflict`] when the session's id is not new, or when a factor
    /// is named twice.
    async fn open_session(&self, session: NewSession) -> Result<OpenOutcome, StoreError>;

    /// Gives a live session a later end, a fresh sealed preshared key and the next generation, if
    /// it is still live with the generation that the renewal names, its peer still belongs to its
    /// user, and both are still enabled; else the audit says
    /// [`NotEligible`](crate::audit::AuditKind::NotEligible). Live means not closed: whether its
    /// end has passed is for the gate to know.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn renew_session(&self, renewal: SessionRenewal) -> Result<Renewed, StoreError>;

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

    /// The end of the audit chain, as far as it is durable; [`Head::EMPTY`] before the first record.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn head(&self) -> Result<Head, StoreError>;

    /// Up to `limit` audit records from sequence number `from` on, in order. Fewer than `limit`
    /// only at the end of the trail.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn audit(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>, StoreError>;

    /// Changes from now on that bear on running gates, also those made by other processes that
    /// share the store; a session that was only opened or renewed is none. A change may be seen
    /// again, and several may come as one; none that was made after this call returned is left out.
    /// The stream ends with an error when the store can't promise that any more; the gate then
    /// reconciles again.
    ///
    /// A store whose contents were deleted, replaced, or put back to an earlier state while it was
    /// open ends the stream with [`StoreError::Replaced`] within a second, and every call fails
    /// with that from then on; a change fails with it at once.
    fn watch(&self) -> ChangeStream;
}

/// What administration does with a store beside what a gate asks of it: users, peers, factors and
/// tokens. A [`Registrar`](crate::enrol::Registrar) takes one. The contract is [`PeerStore`]'s.
#[async_trait]
pub trait AdminStore: PeerStore {
    /// Adds or replaces a user. One who is disabled from now on loses their live sessions, in the
    /// same transaction: each ends as of `event.at` with the reason [`EndReason::Revoked`], and has
    /// a record of its own after the user's. So they are out even where they are enabled again
    /// before a gate has looked.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_user(&self, user: User, event: AuditEvent) -> Result<(), StoreError>;

    /// Changes one thing about a user and leaves the rest, so that two changes at once are both
    /// made. See [`UserChange`] for what becomes of an unknown user. Disabling ends the user's live
    /// sessions, as [`put_user`](Self::put_user) does.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`]; [`StoreError`].
    async fn change_user(
        &self,
        user: UserId,
        change: UserChange,
        event: AuditEvent,
    ) -> Result<(), StoreError>;

    /// Adds or replaces a peer. Its owner must be known, and no other peer of the location, enabled
    /// or not, may have an address of its ([`Peer::overlap`]).
    ///
    /// Ends the peer's live session in the same transaction where the peer is disabled now, is
    /// another user's, or has lost an address that the session has: as of `event.at`, with the
    /// reason [`EndReason::Revoked`] and a record of its own after the peer's.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`]; [`StoreError::AddressTaken`]; [`StoreError`].
    async fn put_peer(&self, peer: Peer, event: AuditEvent) -> Result<(), StoreError>;

    /// Makes many changes in one transaction, in their order, each as the call of its name does:
    /// all of them, or none.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with every change that can't be made; [`StoreError`].
    async fn put_all(&self, all: Vec<(Put, AuditEvent)>) -> Result<(), StoreError>;

    /// All peers of a location.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn peers(&self, location: &LocationId) -> Result<Vec<Peer>, StoreError>;

    /// Adds a factor, in whatever state the record says. Its user must be known, its id new, and
    /// its credential, if it has one, no other factor's of its kind.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`], [`StoreError::Conflict`], [`StoreError::CredentialTaken`];
    /// [`StoreError`].
    async fn add_factor(&self, factor: FactorRecord, event: AuditEvent) -> Result<(), StoreError>;

    /// Turns a pending factor active and takes what its confirming answer takes, if the
    /// failure limit allows an answer at `event.at`; clears its count.
    ///
    /// The audit says what `event` says, or [`LockedOut`](crate::audit::AuditKind::LockedOut), or
    /// [`NotEligible`](crate::audit::AuditKind::NotEligible) where the factor is not pending or its
    /// secret was changed meanwhile. A step that is not greater than the last counts as a failure
    /// in this same transaction. The order of judgement is that of
    /// [`open_session`](PeerStore::open_session).
    ///
    /// # Errors
    /// [`StoreError`].
    async fn activate_factor(
        &self,
        factor_use: FactorUse,
        throttle: Throttle,
        event: AuditEvent,
    ) -> Result<Activated, StoreError>;

    /// Changes a factor. `false`, and no audit record, when there is none of that id in a state
    /// that the change needs: any to be renamed, active to be suspended, suspended to be resumed.
    ///
    /// A suspension ends the live sessions that the factor opened, each with a record of its own,
    /// as [`remove_factor`](Self::remove_factor) does.
    ///
    /// # Errors
    /// [`StoreError::LastFactor`]; [`StoreError`].
    async fn change_factor(
        &self,
        factor: FactorId,
        change: FactorChange,
        event: AuditEvent,
    ) -> Result<bool, StoreError>;

    /// Removes a factor. `false`, and no audit record, when there is none of that id.
    ///
    /// Ends the live sessions that the factor opened ([`SessionRecord::is_opened_by`]) in the same
    /// transaction, as of `event.at` and with the reason [`EndReason::FactorChanged`], each with a
    /// record of its own after the factor's.
    ///
    /// # Errors
    /// [`StoreError::LastFactor`]; [`StoreError`].
    async fn remove_factor(
        &self,
        factor: FactorId,
        last: LastFactor,
        event: AuditEvent,
    ) -> Result<bool, StoreError>;

    /// Sets a factor's failure count to zero: an administrator's act. `false`, and no audit
    /// record, when there is none of that id. Ends the live sessions that the factor opened, as
    /// [`remove_factor`](Self::remove_factor) does.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn reset_failures(&self, factor: FactorId, event: AuditEvent)
    -> Result<bool, StoreError>;

    /// Puts a factor's secret into another envelope, if it is still in the envelope `from`, as
    /// for a key ring's rotation; else `false`. Bears on no one's access: no audit record.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn reseal_factor(
        &self,
        factor: FactorId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError>;

    /// Adds an enrolment token. Its user must be known and its id new.
    ///
    /// # Errors
    /// [`StoreError::UnknownUser`], [`StoreError::Conflict`]; [`StoreError`].
    async fn put_token(&self, token: EnrolmentToken, event: AuditEvent) -> Result<(), StoreError>;

    /// The tokens of a user that have not been used, in the order of their issue, those that are
    /// over included.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tokens(&self, user: &UserId) -> Result<Vec<EnrolmentToken>, StoreError>;

    /// Takes a token back. `false`, and no audit record, when there is none of that id, as when it
    /// has been used.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove_token(&self, token: TokenId, event: AuditEvent) -> Result<bool, StoreError>;

    /// Puts a live session's preshared key into another envelope, if it is still in the envelope
    /// `from`; else `false`. Bears on no one's access: no audit record, and its generation stays.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn reseal_session(
        &self,
        session: SessionId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError>;
}

/// A store in memory: for tests and demonstrations. Nothing outlives the process, failure counts
/// included; a gate that lets people in for real needs a store that does.
pub type MemoryStore = Keyed<keyed::Memory>;

/// What [`PeerStore::watch`] returns.
pub type ChangeStream = Pin<Box<dyn Stream<Item = Result<ChangeSet, StoreError>> + Send>>;

/// Why a store did not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The user is not in the store.
    #[error("no such user: add the user first")]
    UnknownUser,
    /// Something of that id is there already.
    #[error("something with that id is in the store already: make a new id")]
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
    /// Another factor of the kind has the credential.
    #[error("it is enrolled already: use another one, or remove the factor that it is enrolled as")]
    CredentialTaken,
    /// The factor is the user's last active one.
    #[error("it is the user's last factor in use: add another one first, or say that it may go")]
    LastFactor,
    /// Some of many changes can't be made, so none was.
    #[error("{} of the changes can't be made, so none was", faults.len())]
    Refused {
        /// Which, by their places from 0, and why.
        faults: Vec<(usize, StoreError)>,
    },
    /// What the store kept was deleted, replaced, or put back to an earlier state while it was open.
    #[error(
        "the store is not the one that was opened: it was deleted, replaced or put back to an older copy; stop the gate, put the newest copy in its place, and start again"
    )]
    Replaced,
    /// What was read is not what was written.
    #[error("the store holds a record that can't be read: {what}; restore it from a backup")]
    Corrupt {
        /// Which record, in words; no contents.
        what: &'static str,
    },
    /// The engine can't be reached, is full, or failed.
    #[error("the store is not available: see what it says, and try again")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        let Self::Backend(source) = self else {
            return false;
        };
        let of_backend = source.downcast_ref::<keyed::BackendError>();
        of_backend.is_none_or(keyed::BackendError::is_retryable)
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

impl HeadFile {
    /// Whether a store's chain has this head, be it at its end or further back. `false` says that
    /// the store is an older copy, or another.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_on(head: &Head, store: &dyn PeerStore) -> Result<bool, StoreError> {
        if head.seq == 0 {
            return Ok(true);
        }
        let found = store.audit(head.seq, 1).await?;
        Ok(found.first().and_then(AuditRecord::head).as_ref() == Some(head))
    }
}
