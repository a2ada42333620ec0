//! `Keyed` over backends that are shared, that fail, and that lie: nothing admits twice by one counter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use mfagate::assurance::FactorKind;
use mfagate::audit::{AuditEvent, AuditKind, EndReason, verify};
use mfagate::id::{FactorId, Label, LocationId, SessionId, UserId};
use mfagate::key::PublicKey;
use mfagate::policy::{Failures, Throttle};
use mfagate::seal::Sealed;
use mfagate::store::keyed::{
    BackendError, Commit, Entry, Expected, Keyed, KeyedBackend, Memory, Page, Versioned, Write,
};
use mfagate::store::{
    AdminStore, FactorRecord, FactorState, FactorUse, NewSession, OpenOutcome, Peer, PeerStore,
    StoreError, User,
};
use mfagate::testing::store::{conformance, replaced, sharing};
use mfagate::time::Timestamp;
use tokio::task::JoinSet;

const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn location() -> LocationId {
    "office".parse().expect("a name")
}

fn alice() -> UserId {
    "alice".parse().expect("a name")
}

/// Peer and factor `n` of one user.
async fn enrol(store: &dyn AdminStore, n: u8) {
    let event = || AuditEvent::new(AT, AuditKind::UserPut { enabled: true });
    let user = User {
        id: alice(),
        enabled: true,
        groups: Vec::new(),
    };
    store.put_user(user, event()).await.expect("works");
    let peer = Peer {
        location: location(),
        key: PublicKey::from_bytes([n; 32]),
        user: alice(),
        allowed_ips: vec![format!("10.9.0.{n}/32").parse().expect("a prefix")],
        label: Label::from_stored("laptop"),
        enabled: true,
    };
    store.put_peer(peer, event()).await.expect("works");
    let factor = FactorRecord {
        id: FactorId::from_bytes([n; 16]),
        user: alice(),
        kind: FactorKind::TOTP,
        label: Label::from_stored("phone"),
        credential: None,
        sealed: Sealed::from_bytes(vec![n; 60]),
        state: FactorState::Active,
        last_counter: None,
        failures: Failures::default(),
    };
    store.add_factor(factor, event()).await.expect("works");
}

/// An admission of peer `n` by a counter of factor `n`.
fn admission(id: u8, n: u8, counter: u64) -> NewSession {
    NewSession {
        id: SessionId::from_bytes([id; 16]),
        location: location(),
        peer: PublicKey::from_bytes([n; 32]),
        user: alice(),
        allowed_ips: Vec::new(),
        verified_at: AT,
        not_after: AT + Duration::from_secs(3600),
        renewable_until: AT + Duration::from_secs(3600),
        psk: Sealed::from_bytes(vec![id; 60]),
        assurance: Vec::new(),
        factor_uses: vec![FactorUse {
            factor: FactorId::from_bytes([n; 16]),
            counter: Some(counter),
            replace_secret: None,
            credential: None,
        }],
        throttle: Throttle::default(),
        most_per_user: None,
        event: AuditEvent::new(
            AT,
            AuditKind::Admitted {
                not_after: AT,
                factors: Vec::new(),
            },
        ),
    }
}

async fn admissions(store: &dyn PeerStore) -> usize {
    let records = store.audit(1, usize::MAX).await.expect("it is read");
    verify(&records).expect("the chain verifies");
    let is_admission = |kind: &AuditKind| matches!(kind, AuditKind::Admitted { .. });
    let kinds = records.iter().map(|record| &record.event.kind);
    kinds.filter(|kind| is_admission(kind)).count()
}

/// All at once; what each was told.
async fn storm(calls: Vec<(Keyed<Memory>, NewSession)>) -> Vec<OpenOutcome> {
    let mut running = JoinSet::new();
    for (store, new) in calls {
        running.spawn(async move { store.open_session(new).await.expect("it is decided") });
    }
    running.join_all().await
}

fn opened(outcomes: &[OpenOutcome]) -> usize {
    let is_opened = |outcome: &&OpenOutcome| matches!(outcome, OpenOutcome::Opened { .. });
    outcomes.iter().filter(is_opened).count()
}

/// Stores as 64 processes have them, or 64 callers of one.
async fn sixty_four(memory: &Memory, processes: bool) -> Vec<Keyed<Memory>> {
    let one = Keyed::open(memory.clone()).await.expect("it opens");
    let mut stores = vec![one; 64];
    if processes {
        for store in &mut stores {
            *store = Keyed::open(memory.clone()).await.expect("it opens");
        }
    }
    stores
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_one_counter_admits_once() {
    for processes in [false, true] {
        let memory = Memory::new();
        let stores = sixty_four(&memory, processes).await;
        enrol(&stores[0], 1).await;
        let calls = (1..)
            .zip(&stores)
            .map(|(id, store)| (store.clone(), admission(id, 1, 7)));
        let outcomes = storm(calls.collect()).await;
        assert_eq!(outcomes.len(), 64, "each is decided");
        assert_eq!(opened(&outcomes), 1, "{outcomes:?}");
        assert_eq!(admissions(&stores[1]).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_one_users_devices_admits_each_once() {
    for processes in [false, true] {
        let memory = Memory::new();
        let stores = sixty_four(&memory, processes).await;
        for n in 1..=64 {
            enrol(&stores[0], n).await;
        }
        let calls = (1..)
            .zip(&stores)
            .map(|(n, store)| (store.clone(), admission(n, n, 7)));
        let outcomes = storm(calls.collect()).await;
        assert_eq!(opened(&outcomes), 64, "{outcomes:?}");
        assert_eq!(admissions(&stores[1]).await, 64);
        let live = stores[2].live_sessions(&location()).await.expect("works");
        assert_eq!(live.len(), 64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keyed_stores_on_one_backend_act_as_one() {
    let both = || async {
        let memory = Memory::new();
        let open = async || Keyed::open(memory.clone()).await.expect("it opens");
        (open().await, open().await)
    };
    sharing(both).await;
}

/// What a backend does wrong in its next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing is done, and it says so.
    Fails,
    /// It is done, and the reply is lost.
    LosesReply,
    /// It never returns: without having done it, or once it has.
    Hangs { done: bool },
    /// It says that it is done.
    Forgets,
}

/// A backend that does as a test tells it. Clones share their contents.
#[derive(Clone, Default)]
struct Faulty(Arc<Mutex<State>>);

type Entries = BTreeMap<Vec<u8>, Versioned>;

#[derive(Default)]
struct State {
    entries: Entries,
    version: u64,
    next: Option<Fault>,
    /// What is read, where that is not what is there.
    earlier: Option<Entries>,
}

impl Faulty {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics under it")
    }

    fn fail_next(&self, fault: Fault) {
        self.lock().next = Some(fault);
    }

    fn entries(&self) -> Entries {
        self.lock().entries.clone()
    }

    async fn store(&self) -> Keyed<Self> {
        Keyed::open(self.clone()).await.expect("it opens")
    }
}

impl State {
    fn read(&self) -> &Entries {
        self.earlier.as_ref().unwrap_or(&self.entries)
    }

    fn commit(&mut self, expected: &[Expected], writes: Vec<Write>) -> Commit {
        let version = |key: &Vec<u8>| self.entries.get(key).map(|found| found.version);
        if expected.iter().any(|one| version(&one.key) != one.version) {
            return Commit::Conflict;
        }
        self.version += 1;
        let version = self.version;
        for Write { key, value } in writes {
            match value {
                Some(value) => self.entries.insert(key, Versioned { value, version }),
                None => self.entries.remove(&key),
            };
        }
        Commit::Committed
    }
}

#[async_trait]
impl KeyedBackend for Faulty {
    async fn read(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Versioned>>, BackendError> {
        let state = self.lock();
        Ok(keys
            .iter()
            .map(|key| state.read().get(key).cloned())
            .collect())
    }

    async fn commit(
        &self,
        expected: Vec<Expected>,
        writes: Vec<Write>,
    ) -> Result<Commit, BackendError> {
        let lost = Err(BackendError::unavailable("the connection was lost"));
        let fault = self.lock().next.take();
        match fault {
            Some(Fault::Fails) => return lost,
            Some(Fault::Forgets) => return Ok(Commit::Committed),
            Some(Fault::Hangs { done: false }) => return std::future::pending().await,
            Some(Fault::LosesReply | Fault::Hangs { done: true }) | None => {}
        }
        let outcome = self.lock().commit(&expected, writes);
        match fault {
            Some(Fault::LosesReply) => lost,
            Some(Fault::Hangs { .. }) => std::future::pending().await,
            Some(Fault::Fails | Fault::Forgets) | None => Ok(outcome),
        }
    }

    /// One entry a page, to have every page asked for.
    async fn scan(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        _limit: usize,
    ) -> Result<Page, BackendError> {
        let state = self.lock();
        let mut found = state.read().iter().filter(|(key, _)| {
            key.starts_with(&prefix) && after.as_ref().is_none_or(|after| *key > after)
        });
        let entries = found.next().map(|(key, found)| Entry {
            key: key.clone(),
            found: found.clone(),
        });
        Ok(Page {
            entries: entries.into_iter().collect(),
            has_more: found.next().is_some(),
        })
    }

    async fn changes(&self, key: Vec<u8>, after: Option<u64>) -> Result<(), BackendError> {
        let version = || self.lock().read().get(&key).map(|found| found.version);
        while version() == after {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_conforms_over_a_backend_of_small_pages() {
    conformance(|| async { Faulty::default().store().await }).await;
}

#[tokio::test]
async fn a_lost_reply_admits_no_one_and_the_counter_is_spent() {
    for (fault, is_spent) in [(Fault::LosesReply, true), (Fault::Fails, false)] {
        let backend = Faulty::default();
        let store = backend.store().await;
        enrol(&store, 1).await;
        backend.fail_next(fault);
        let told = store.open_session(admission(1, 1, 7)).await;
        let Err(error @ StoreError::Backend(_)) = told else {
            panic!("the outcome is not known: {told:?}");
        };
        assert!(error.is_retryable());

        let again = store.open_session(admission(2, 1, 7)).await.expect("works");
        let is_replayed = matches!(again, OpenOutcome::Replayed { .. });
        assert_eq!(is_replayed, is_spent, "the next reading decides: {again:?}");
        assert_eq!(admissions(&store).await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_hangs_holds_up_no_one_once_it_is_dropped() {
    for done in [false, true] {
        let backend = Faulty::default();
        let store = backend.store().await;
        enrol(&store, 1).await;
        backend.fail_next(Fault::Hangs { done });
        let hung = store.open_session(admission(1, 1, 7));
        let hung = tokio::time::timeout(Duration::from_secs(5), hung).await;
        assert!(hung.is_err(), "it hangs");
        let again = store.open_session(admission(2, 1, 7)).await.expect("works");
        assert_eq!(
            matches!(again, OpenOutcome::Replayed { .. }),
            done,
            "{again:?}"
        );
        assert_eq!(admissions(&store).await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn reading_an_earlier_state_admits_nothing_twice() {
    let backend = Faulty::default();
    let store = backend.store().await;
    enrol(&store, 1).await;
    let earlier = backend.entries();
    let first = store.open_session(admission(1, 1, 7)).await.expect("works");
    assert!(matches!(first, OpenOutcome::Opened { .. }));

    backend.lock().earlier = Some(earlier);
    // To one that knows nothing, what it reads looks right.
    for (id, store) in [(2, &store), (3, &backend.store().await)] {
        let told = store.open_session(admission(id, 1, 7)).await;
        assert!(matches!(told, Err(StoreError::Backend(_))), "{told:?}");
        let told = store
            .close_session(SessionId::from_bytes([1; 16]), END, ended())
            .await;
        assert!(
            matches!(told, Err(StoreError::Backend(_))),
            "nor is it gone: {told:?}"
        );
    }
    backend.lock().earlier = None;
    let again = store.open_session(admission(4, 1, 7)).await.expect("works");
    assert!(matches!(again, OpenOutcome::Replayed { .. }), "{again:?}");
    assert_eq!(admissions(&store).await, 1);
}

const END: EndReason = EndReason::Revoked;

fn ended() -> AuditEvent {
    AuditEvent::new(AT, AuditKind::Ended { reason: END })
}

#[tokio::test]
async fn a_commit_that_was_never_made_is_another_store() {
    let backend = Faulty::default();
    let store = backend.store().await;
    enrol(&store, 1).await;
    backend.fail_next(Fault::Forgets);
    let told = store
        .open_session(admission(1, 1, 7))
        .await
        .expect("so it says");
    assert!(matches!(told, OpenOutcome::Opened { .. }));
    let again = store.open_session(admission(2, 1, 7)).await;
    assert!(matches!(again, Err(StoreError::Replaced)), "{again:?}");
}

#[tokio::test]
async fn a_keyed_store_that_is_put_back_says_so_for_good() {
    let backend = Faulty::default();
    let store = backend.store().await;
    let kept = Mutex::new(Entries::new());
    let keep = async || *kept.lock().expect("it is ours") = backend.entries();
    let put_back = async || backend.lock().entries = kept.lock().expect("it is ours").clone();
    replaced(store, keep, put_back).await;
}

#[tokio::test]
async fn a_value_of_an_unknown_form_is_not_read() {
    let backend = Faulty::default();
    let store = backend.store().await;
    enrol(&store, 1).await;
    let find = |entries: &Entries| entries.keys().find(|key| key.starts_with(b"u")).cloned();
    let key = find(&backend.entries()).expect("the user's");
    let whole = backend.entries()[&key].value.clone();
    let mut later = whole.clone();
    later[0] = 2;
    let longer = [&whole[..], &[0]].concat();
    let cut = whole[..whole.len() - 1].to_vec();
    for value in [later, longer, cut, Vec::new()] {
        let entry = |entries: &mut Entries| {
            entries.get_mut(&key).expect("it is there").value = value;
        };
        entry(&mut backend.lock().entries);
        let read = store.factors(&alice()).await;
        assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
        let told = store.open_session(admission(1, 1, 7)).await;
        assert!(matches!(told, Err(StoreError::Corrupt { .. })), "{told:?}");
    }
}
