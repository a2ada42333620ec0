//! An [`AdminStore`] around another one, that fails where a test tells it to.
//!
//! It changes nothing about what the inner store does: only whether it is asked, and whether the
//! caller hears of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::audit::{AuditEvent, AuditRecord, Head};
use crate::id::{FactorId, LocationId, SessionId, TokenId, UserId};
use crate::key::PublicKey;
use crate::policy::Throttle;
use crate::seal::Sealed;
use crate::store::{
    Activated, AdminStore, ChangeStream, EndReason, Enrolled, Enrolment, EnrolmentToken,
    FactorChange, FactorEnrolment, FactorFailure, FactorPass, FactorRecord, FactorUse,
    FailureRecorded, LastFactor, NewSession, OpenOutcome, PassOutcome, Peer, PeerStore, Put,
    Renewed, SessionRecord, SessionRenewal, StoreError, User, UserChange,
};

/// A store that fails on a schedule. Clones share their schedule and the store inside.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn AdminStore>,
    schedule: Arc<Mutex<Schedule>>,
}

impl std::fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyStore").finish_non_exhaustive()
    }
}

/// What goes wrong in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// Nothing happens, and the call fails.
    Fail,
    /// The call takes effect and fails anyway, as when the connection is lost before the
    /// answer to a commit.
    ApplyThenFail,
    /// Nothing happens, and the call never returns.
    Hang,
    /// The call takes effect and never returns.
    ApplyThenHang,
    /// Nothing happens, and the call panics.
    Panic,
}

/// A call that a store can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StoreCall {
    /// [`AdminStore::put_user`]
    PutUser,
    /// [`AdminStore::change_user`]
    ChangeUser,
    /// [`PeerStore::users`]
    Users,
    /// [`AdminStore::put_peer`]
    PutPeer,
    /// [`AdminStore::put_all`]
    PutAll,
    /// [`AdminStore::peers`]
    Peers,
    /// [`AdminStore::add_factor`]
    AddFactor,
    /// [`PeerStore::factors`]
    Factors,
    /// [`AdminStore::activate_factor`]
    ActivateFactor,
    /// [`PeerStore::pass_factor`]
    PassFactor,
    /// [`PeerStore::enrol_factor`]
    EnrolFactor,
    /// [`AdminStore::change_factor`]
    ChangeFactor,
    /// [`AdminStore::remove_factor`]
    RemoveFactor,
    /// [`AdminStore::reset_failures`]
    ResetFailures,
    /// [`AdminStore::reseal_factor`]
    ResealFactor,
    /// [`AdminStore::put_token`]
    PutToken,
    /// [`AdminStore::tokens`]
    Tokens,
    /// [`AdminStore::remove_token`]
    RemoveToken,
    /// [`PeerStore::enrolment`]
    Enrolment,
    /// [`PeerStore::record_failure`]
    RecordFailure,
    /// [`PeerStore::open_session`]
    OpenSession,
    /// [`PeerStore::renew_session`]
    RenewSession,
    /// [`PeerStore::close_session`]
    CloseSession,
    /// [`AdminStore::reseal_session`]
    ResealSession,
    /// [`PeerStore::session`]
    Session,
    /// [`PeerStore::live_sessions`]
    LiveSessions,
    /// [`PeerStore::append_audit`]
    AppendAudit,
    /// [`PeerStore::head`]
    Head,
    /// [`PeerStore::audit`]
    Audit,
    /// [`PeerStore::watch`]: every fault is an error at once, or a panic when it is read.
    Watch,
    /// [`PeerStore::watch`] before it has a stream to give: every fault is a panic of the call.
    /// Only [`FaultyStore::fail_next`] schedules these.
    BeginWatch,
}

#[derive(Debug, Default)]
struct Schedule {
    next: BTreeMap<StoreCall, VecDeque<StoreFault>>,
    any: VecDeque<Option<StoreFault>>,
    always: BTreeMap<StoreCall, StoreFault>,
    down: Option<StoreFault>,
    calls: u64,
}

impl FaultyStore {
    /// A store around this one that works until told otherwise.
    pub fn new(inner: impl AdminStore) -> Self {
        Self::around(Arc::new(inner))
    }

    /// The same around a store that is shared, of whatever type.
    pub fn around(inner: Arc<dyn AdminStore>) -> Self {
        Self {
            inner,
            schedule: Arc::default(),
        }
    }

    /// Schedules a fault for the next call of this kind that has none scheduled yet. These come
    /// before all others.
    pub fn fail_next(&self, call: StoreCall, fault: StoreFault) {
        self.lock().next.entry(call).or_default().push_back(fault);
    }

    /// Schedules what becomes of the next calls, of whatever kind: `None` works.
    pub fn schedule(&self, faults: impl IntoIterator<Item = Option<StoreFault>>) {
        self.lock().any.extend(faults);
    }

    /// Every call of this kind meets this fault until [`heal`](Self::heal).
    pub fn fail_always(&self, call: StoreCall, fault: StoreFault) {
        self.lock().always.insert(call, fault);
    }

    /// Every call meets this fault until [`heal`](Self::heal): the store is down.
    pub fn go_down(&self, fault: StoreFault) {
        self.lock().down = Some(fault);
    }

    /// Takes back every fault that is still to come.
    pub fn heal(&self) {
        let mut schedule = self.lock();
        let calls = schedule.calls;
        *schedule = Schedule {
            calls,
            ..Schedule::default()
        };
    }

    /// How many calls there were, faulty ones included.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, call: StoreCall) -> Option<StoreFault> {
        let mut schedule = self.lock();
        schedule.calls += 1;
        if let Some(fault) = schedule.next.get_mut(&call).and_then(VecDeque::pop_front) {
            return Some(fault);
        }
        if let Some(fault) = schedule.any.pop_front() {
            return fault;
        }
        schedule.always.get(&call).copied().or(schedule.down)
    }

    async fn through<T: Send>(
        &self,
        call: StoreCall,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match self.fault(call) {
            None => work.await,
            Some(StoreFault::Fail) => Err(injected()),
            Some(StoreFault::ApplyThenFail) => work.await.and_then(|_| Err(injected())),
            Some(StoreFault::Hang) => std::future::pending().await,
            Some(StoreFault::Panic) => panic!("a fault that a test asked for"),
            Some(StoreFault::ApplyThenHang) => {
                drop(work.await);
                std::future::pending().await
            }
        }
    }
}

fn injected() -> StoreError {
    StoreError::Backend("a fault that a test asked for".into())
}

#[async_trait]
impl PeerStore for FaultyStore {
    async fn users(&self) -> Result<Vec<User>, StoreError> {
        self.through(StoreCall::Users, self.inner.users()).await
    }

    async fn factors(&self, user: &UserId) -> Result<Vec<FactorRecord>, StoreError> {
        self.through(StoreCall::Factors, self.inner.factors(user))
            .await
    }

    async fn pass_factor(&self, pass: FactorPass) -> Result<PassOutcome, StoreError> {
        self.through(StoreCall::PassFactor, self.inner.pass_factor(pass))
            .await
    }

    async fn enrol_factor(&self, new: FactorEnrolment) -> Result<Enrolled, StoreError> {
        self.through(StoreCall::EnrolFactor, self.inner.enrol_factor(new))
            .await
    }

    async fn enrolment(
        &self,
        location: &LocationId,
        peer: &PublicKey,
    ) -> Result<Option<Enrolment>, StoreError> {
        self.through(StoreCall::Enrolment, self.inner.enrolment(location, peer))
            .await
    }

    async fn record_failure(&self, failure: FactorFailure) -> Result<FailureRecorded, StoreError> {
        self.through(StoreCall::RecordFailure, self.inner.record_failure(failure))
            .await
    }

    async fn open_session(&self, session: NewSession) -> Result<OpenOutcome, StoreError> {
        self.through(StoreCall::OpenSession, self.inner.open_session(session))
            .await
    }

    async fn renew_session(&self, renewal: SessionRenewal) -> Result<Renewed, StoreError> {
        self.through(StoreCall::RenewSession, self.inner.renew_session(renewal))
            .await
    }

    async fn close_session(
        &self,
        session: SessionId,
        reason: EndReason,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        self.through(
            StoreCall::CloseSession,
            self.inner.close_session(session, reason, event),
        )
        .await
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        self.through(StoreCall::Session, self.inner.session(session))
            .await
    }

    async fn live_sessions(&self, location: &LocationId) -> Result<Vec<SessionRecord>, StoreError> {
        self.through(StoreCall::LiveSessions, self.inner.live_sessions(location))
            .await
    }

    async fn append_audit(&self, event: AuditEvent) -> Result<(), StoreError> {
        self.through(StoreCall::AppendAudit, self.inner.append_audit(event))
            .await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.through(StoreCall::Head, self.inner.head()).await
    }

    async fn audit(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        self.through(StoreCall::Audit, self.inner.audit(from, limit))
            .await
    }

    fn watch(&self) -> ChangeStream {
        let at_once = {
            let mut schedule = self.lock();
            let faults = schedule.next.get_mut(&StoreCall::BeginWatch);
            faults.and_then(VecDeque::pop_front)
        };
        assert!(at_once.is_none(), "a fault that a test asked for");
        match self.fault(StoreCall::Watch) {
            None => self.inner.watch(),
            Some(StoreFault::Panic) => Box::pin(Fails(None)),
            Some(_) => Box::pin(Fails(Some(injected()))),
        }
    }
}

#[async_trait]
impl AdminStore for FaultyStore {
    async fn put_user(&self, user: User, event: AuditEvent) -> Result<(), StoreError> {
        self.through(StoreCall::PutUser, self.inner.put_user(user, event))
            .await
    }

    async fn change_user(
        &self,
        user: UserId,
        change: UserChange,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        self.through(
            StoreCall::ChangeUser,
            self.inner.change_user(user, change, event),
        )
        .await
    }

    async fn put_peer(&self, peer: Peer, event: AuditEvent) -> Result<(), StoreError> {
        self.through(StoreCall::PutPeer, self.inner.put_peer(peer, event))
            .await
    }

    async fn put_all(&self, all: Vec<(Put, AuditEvent)>) -> Result<(), StoreError> {
        self.through(StoreCall::PutAll, self.inner.put_all(all))
            .await
    }

    async fn peers(&self, location: &LocationId) -> Result<Vec<Peer>, StoreError> {
        self.through(StoreCall::Peers, self.inner.peers(location))
            .await
    }

    async fn add_factor(&self, factor: FactorRecord, event: AuditEvent) -> Result<(), StoreError> {
        self.through(StoreCall::AddFactor, self.inner.add_factor(factor, event))
            .await
    }

    async fn activate_factor(
        &self,
        factor_use: FactorUse,
        throttle: Throttle,
        event: AuditEvent,
    ) -> Result<Activated, StoreError> {
        self.through(
            StoreCall::ActivateFactor,
            self.inner.activate_factor(factor_use, throttle, event),
        )
        .await
    }

    async fn change_factor(
        &self,
        factor: FactorId,
        change: FactorChange,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        self.through(
            StoreCall::ChangeFactor,
            self.inner.change_factor(factor, change, event),
        )
        .await
    }

    async fn remove_factor(
        &self,
        factor: FactorId,
        last: LastFactor,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        self.through(
            StoreCall::RemoveFactor,
            self.inner.remove_factor(factor, last, event),
        )
        .await
    }

    async fn reset_failures(
        &self,
        factor: FactorId,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        self.through(
            StoreCall::ResetFailures,
            self.inner.reset_failures(factor, event),
        )
        .await
    }

    async fn reseal_factor(
        &self,
        factor: FactorId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError> {
        self.through(
            StoreCall::ResealFactor,
            self.inner.reseal_factor(factor, from, to),
        )
        .await
    }

    async fn put_token(&self, token: EnrolmentToken, event: AuditEvent) -> Result<(), StoreError> {
        self.through(StoreCall::PutToken, self.inner.put_token(token, event))
            .await
    }

    async fn tokens(&self, user: &UserId) -> Result<Vec<EnrolmentToken>, StoreError> {
        self.through(StoreCall::Tokens, self.inner.tokens(user))
            .await
    }

    async fn remove_token(&self, token: TokenId, event: AuditEvent) -> Result<bool, StoreError> {
        self.through(
            StoreCall::RemoveToken,
            self.inner.remove_token(token, event),
        )
        .await
    }

    async fn reseal_session(
        &self,
        session: SessionId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError> {
        self.through(
            StoreCall::ResealSession,
            self.inner.reseal_session(session, from, to),
        )
        .await
    }
}

/// A stream of one error; without one, it panics.
struct Fails(Option<StoreError>);

impl futures_core::Stream for Fails {
    type Item = Result<crate::store::ChangeSet, StoreError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let error = self.0.take().expect("a fault that a test asked for");
        std::task::Poll::Ready(Some(Err(error)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::audit::AuditKind;
    use crate::store::MemoryStore;
    use crate::time::Timestamp;

    fn event() -> AuditEvent {
        AuditEvent::new(Timestamp::from_millis(1), AuditKind::Fenced)
    }

    async fn records(store: &MemoryStore) -> usize {
        store.audit(1, 100).await.expect("works").len()
    }

    #[tokio::test]
    async fn a_fault_happens_once_before_or_after_the_call_takes_effect() {
        let inner = MemoryStore::new();
        let store = FaultyStore::new(inner.clone());

        store.fail_next(StoreCall::AppendAudit, StoreFault::Fail);
        store.append_audit(event()).await.expect_err("a fault");
        assert_eq!(records(&inner).await, 0);

        store.fail_next(StoreCall::AppendAudit, StoreFault::ApplyThenFail);
        assert!(store.users().await.is_ok(), "a call of another kind");
        store.append_audit(event()).await.expect_err("a fault");
        assert_eq!(records(&inner).await, 1);

        store.append_audit(event()).await.expect("no fault is left");
        assert_eq!(records(&inner).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_never_returns() {
        let inner = MemoryStore::new();
        let store = FaultyStore::new(inner.clone());
        for (fault, then) in [(StoreFault::Hang, 0), (StoreFault::ApplyThenHang, 1)] {
            store.fail_next(StoreCall::AppendAudit, fault);
            let call = tokio::time::timeout(Duration::from_secs(3600), store.append_audit(event()));
            assert!(call.await.is_err());
            assert_eq!(records(&inner).await, then);
        }
    }

    #[tokio::test]
    async fn a_store_that_is_down_is_up_again_once_healed() {
        let store = FaultyStore::new(MemoryStore::new());
        store.go_down(StoreFault::Fail);
        assert!(store.users().await.is_err());
        store.heal();
        store.schedule([None, Some(StoreFault::Fail)]);
        assert!(store.users().await.is_ok());
        assert!(store.users().await.is_err());
        assert!(store.users().await.is_ok());
        assert_eq!(store.calls(), 4);
    }
}
