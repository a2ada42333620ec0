//! A store, a verifier, an authoriser or an interface that hangs or panics: it holds up the attempt
//! that met it, no one else's, and none forever.
//!
//! All of it is in one virtual time, which passes only while everything waits: a time-out takes
//! none, and who was not held up has seen none pass. None of it writes a secret to the log.

mod log;
mod policy;
mod restart;
mod start;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mfagate::assurance::FactorKind;
use mfagate::audit::{AuditEvent, AuditKind};
use mfagate::authorise::{Admission, AuthoriseError, Authoriser, Permit};
use mfagate::channel::engine::{DecapsulationSecret, Hello, Initiator, Reply, Request};
use mfagate::channel::message::{Answer, Code, Refusal};
use mfagate::enrol::Registrar;
use mfagate::factor::totp::{TotpSecret, TotpVerifier};
use mfagate::factor::{Context, IssuedChallenge, MfaVerifier, Verdict, VerifyError};
use mfagate::gate::{Gate, GateConfig, Scope};
use mfagate::id::{LocationId, UserId};
use mfagate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::key::{PrivateKey, PublicKey};
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::{AdminStore, MemoryStore, Peer, PeerStore, UserChange};
use mfagate::testing::fake_interface::{FakeInterface, Fault, Operation};
use mfagate::testing::{FaultyStore, SecretWatch, StoreCall, StoreFault};
use mfagate::time::{Clock, Instant, Now, Timestamp};
use tracing::subscriber::{DefaultGuard, set_default};

const MOMENT: Duration = Duration::from_millis(1);
const STEP: Duration = Duration::from_secs(30);

/// The executor's time, on both clocks.
struct Virtual(tokio::time::Instant);

impl Clock for Virtual {
    fn now(&self) -> Now {
        let passed = self.0.elapsed();
        Now {
            instant: Instant::from_nanos(1_000_000_000) + passed,
            timestamp: Timestamp::from_millis(1_800_000_000_000) + passed,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Mood {
    Hangs,
    Panics,
}

/// One-time passwords, with something wrong for some.
#[derive(Default)]
struct FaultyVerifier(Mutex<BTreeMap<PublicKey, Mood>>);

#[async_trait]
impl MfaVerifier for FaultyVerifier {
    fn kind(&self) -> FactorKind {
        FactorKind::TOTP
    }

    async fn challenge(&self, context: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        TotpVerifier::new().challenge(context).await
    }

    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Verdict, VerifyError> {
        let mood = self.0.lock().unwrap().remove(context.attempt.peer);
        match mood {
            None => TotpVerifier::new().verify(context, answer).await,
            Some(Mood::Hangs) => std::future::pending().await,
            Some(Mood::Panics) => panic!("a fault that a test asked for"),
        }
    }
}

/// Lets everybody in, with something wrong for some.
#[derive(Default)]
struct Doubtful(Mutex<BTreeMap<PublicKey, Mood>>);

#[async_trait]
impl Authoriser for Doubtful {
    async fn authorise(&self, admission: &Admission) -> Result<Permit, AuthoriseError> {
        let mood = self.0.lock().unwrap().remove(&admission.peer);
        match mood {
            None => Ok(Permit::as_is()),
            Some(Mood::Hangs) => std::future::pending().await,
            Some(Mood::Panics) => panic!("a fault that a test asked for"),
        }
    }
}

struct Site {
    gate: Gate,
    store: FaultyStore,
    interface: Arc<FakeInterface>,
    verifier: Arc<FaultyVerifier>,
    authoriser: Arc<Doubtful>,
    alice: Visitor,
    bob: Visitor,
    /// Of this thread, which is all that the test has.
    _log: DefaultGuard,
    watch: SecretWatch,
}

/// A device, its owner's authenticator app, and the gate that it knows.
#[derive(Clone)]
pub(crate) struct Visitor {
    gate: Gate,
    key: PrivateKey,
    app: TotpSecret,
    clock: Arc<dyn Clock>,
    used: Arc<Mutex<Vec<Code>>>,
}

impl Site {
    async fn open() -> Self {
        let interface = Arc::new(FakeInterface::new());
        Self::around(interface.clone(), interface, false).await
    }

    /// A gate with an authoriser, so that factors are made durable before they admit.
    async fn guarded() -> Self {
        let interface = Arc::new(FakeInterface::new());
        Self::around(interface.clone(), interface, true).await
    }

    /// A gate on `backend`, which is `interface` or something around it.
    async fn around(
        interface: Arc<FakeInterface>,
        backend: Arc<dyn InterfaceBackend>,
        is_guarded: bool,
    ) -> Self {
        let watch = SecretWatch::new();
        let log = set_default(watch.subscriber());
        let store = FaultyStore::new(MemoryStore::new());
        let (mut config, clock) = config(&store, backend);
        watch.secret("the gate's private key", config.private_key.expose_secret());
        let verifier = Arc::new(FaultyVerifier::default());
        config.verifiers.push(verifier.clone());
        let authoriser = Arc::new(Doubtful::default());
        if is_guarded {
            config.authoriser = Some(authoriser.clone());
        }
        let shared: Arc<dyn AdminStore> = Arc::new(store.clone());
        let registrar = Registrar::new(shared, config.key_ring.clone(), Arc::clone(&clock));
        let gate = Gate::start(config).await.unwrap();
        let [alice, bob] = ["alice", "bob"].map(|name| {
            let (registrar, gate, clock) = (&registrar, gate.clone(), Arc::clone(&clock));
            async move { Visitor::enrol(registrar, gate, clock, name).await }
        });
        Self {
            alice: alice.await,
            bob: bob.await,
            gate,
            store,
            interface,
            verifier,
            authoriser,
            _log: log,
            watch,
        }
    }

    /// The peers that are on the interface.
    fn installed(&self) -> Vec<PublicKey> {
        self.interface.installed().into_keys().collect()
    }

    async fn live(&self) -> Vec<PublicKey> {
        let records = self.store.live_sessions(&location()).await.unwrap();
        records.into_iter().map(|record| record.peer).collect()
    }
}

impl Drop for Site {
    /// The watch looks through the log when it goes.
    fn drop(&mut self) {
        for visitor in [&self.alice, &self.bob] {
            let key = visitor.key.expose_secret();
            self.watch.secret("a device's private key", key);
            let app = visitor.app.expose_base32();
            self.watch.secret("an app's secret", app.as_bytes());
            for code in visitor.used.lock().unwrap().iter() {
                self.watch.secret("a code", code.expose_secret());
            }
        }
        for peer in self.interface.installed().into_values() {
            let psk = peer.psk.expect("the gate installs none without");
            self.watch.secret("a preshared key", psk.expose_secret());
        }
    }
}

pub(crate) fn location() -> LocationId {
    "office".parse().unwrap()
}

fn config(store: &FaultyStore, backend: Arc<dyn InterfaceBackend>) -> (GateConfig, Arc<dyn Clock>) {
    let ring = KeyRing::new("test".parse().unwrap(), RingKey::generate().unwrap());
    let key = PrivateKey::generate().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(Virtual(tokio::time::Instant::now()));
    let mut config = GateConfig::new(location(), key, ring, Arc::new(store.clone()), backend);
    config.clock = Arc::clone(&clock);
    (config, clock)
}

impl Visitor {
    pub(crate) async fn enrol(
        registrar: &Registrar,
        gate: Gate,
        clock: Arc<dyn Clock>,
        name: &str,
    ) -> Self {
        let user: UserId = name.parse().unwrap();
        registrar.put_user(&user, true).await.unwrap();
        let key = PrivateKey::generate().unwrap();
        let number = if name == "alice" { 2 } else { 3 };
        let peer = Peer {
            location: location(),
            key: key.public_key(),
            user: user.clone(),
            allowed_ips: vec![format!("10.9.0.{number}/32").parse().unwrap()],
            label: name.parse().unwrap(),
            enabled: true,
        };
        registrar.put_peer(peer).await.unwrap();
        let app = registrar
            .begin_totp(&user, &"app".parse().unwrap(), "test")
            .await
            .unwrap();
        let earlier = app.secret.code(clock.now().timestamp - STEP).unwrap();
        let confirmed = registrar.confirm_totp(&user, app.factor, earlier).await;
        confirmed.unwrap();
        let app = app.secret.clone();
        Self {
            gate,
            key,
            app,
            clock,
            used: Arc::default(),
        }
    }

    pub(crate) fn peer(&self) -> PublicKey {
        self.key.public_key()
    }

    /// Signs in with the code of now, or with another one; gives the gate's last word.
    pub(crate) async fn sign_in(&self, is_right: bool) -> Reply {
        let now = self.clock.now().timestamp;
        let (_, encapsulation_key) = DecapsulationSecret::generate().unwrap();
        let hello = Hello::Begin {
            sent_at: now,
            encapsulation_key,
            posture: mfagate::channel::message::Posture::default(),
        };
        let (channel, body) = Initiator::begin(&self.key, &self.gate.public_key(), &hello).unwrap();
        let body = self.gate.handle(body, None).await.unwrap();
        let (mut channel, reply) = channel.finish(&body).unwrap();
        let Reply::Challenge { attempt, .. } = reply else {
            return reply;
        };
        let at = if is_right { now } else { now + STEP * 100 };
        let code = self.app.code(at).unwrap();
        self.used.lock().unwrap().push(code.clone());
        let answer = Answer::Code { code };
        let body = channel.request(&attempt, &Request::Answer { answer });
        let body = self.gate.handle(body.unwrap(), None).await.unwrap();
        channel.reply(&body).unwrap().reply
    }
}

pub(crate) fn is_granted(reply: &Reply) -> bool {
    matches!(reply, Reply::Granted { .. })
}

fn is_unavailable(reply: &Reply) -> bool {
    let unavailable = Refusal::Unavailable {};
    matches!(reply, Reply::Refused { refusal } if *refusal == unavailable)
}

/// What goes wrong.
struct Trouble {
    /// Whether the code is right.
    is_right: bool,
    /// Whether there is an authoriser.
    is_guarded: bool,
    cause: Box<dyn Fn(&Site)>,
}

impl Trouble {
    fn new(is_right: bool, is_guarded: bool, cause: impl Fn(&Site) + 'static) -> Self {
        let cause = Box::new(cause);
        Self {
            is_right,
            is_guarded,
            cause,
        }
    }
}

/// Each way in which Alice's sign-in can be held up.
fn troubles() -> Vec<Trouble> {
    let mut troubles: Vec<Trouble> = Vec::new();
    for fault in [
        StoreFault::Hang,
        StoreFault::ApplyThenHang,
        StoreFault::Panic,
    ] {
        for (call, is_right, is_guarded) in [
            (StoreCall::Enrolment, true, false),
            (StoreCall::OpenSession, true, false),
            (StoreCall::RecordFailure, false, false),
            (StoreCall::PassFactor, true, true),
            (StoreCall::OpenSession, true, true),
        ] {
            let cause = move |site: &Site| site.store.fail_next(call, fault);
            troubles.push(Trouble::new(is_right, is_guarded, cause));
        }
    }
    for mood in [Mood::Hangs, Mood::Panics] {
        troubles.push(Trouble::new(true, false, move |site| {
            let mut moods = site.verifier.0.lock().unwrap();
            moods.insert(site.alice.peer(), mood);
        }));
        troubles.push(Trouble::new(true, true, move |site| {
            let mut moods = site.authoriser.0.lock().unwrap();
            moods.insert(site.alice.peer(), mood);
        }));
    }
    for fault in [Fault::Hang, Fault::ApplyThenHang] {
        let cause = move |site: &Site| site.interface.fail_next(Operation::Install, fault);
        troubles.push(Trouble::new(true, false, cause));
    }
    troubles
}

#[tokio::test(start_paused = true)]
async fn invariant_7_a_hang_or_panic_ends_its_own_attempt_alone() {
    for (index, trouble) in troubles().into_iter().enumerate() {
        let site = if trouble.is_guarded {
            Site::guarded().await
        } else {
            Site::open().await
        };
        (trouble.cause)(&site);
        let (alice, is_right) = (site.alice.clone(), trouble.is_right);
        let alice = tokio::spawn(async move { alice.sign_in(is_right).await });
        // Passes once nothing else can go on: Alice is held up, or through with it.
        tokio::time::sleep(MOMENT).await;

        let begun = tokio::time::Instant::now();
        let reply = site.bob.sign_in(true).await;
        assert!(is_granted(&reply), "{index}: {reply:?}");
        assert_eq!(begun.elapsed(), Duration::ZERO, "{index}: Bob had to wait");

        let reply = alice.await.unwrap();
        assert!(is_unavailable(&reply), "{index}: {reply:?}");
        assert!(begun.elapsed() <= Duration::from_secs(10), "{index}");
        tokio::time::sleep(STEP).await;
        assert_eq!(site.installed(), [site.bob.peer()], "{index}");
        assert_eq!(site.live().await, [site.bob.peer()], "{index}");

        let reply = site.alice.sign_in(true).await;
        assert!(is_granted(&reply), "{index}: {reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn invariant_9_a_revocation_is_acknowledged_once_durable() {
    for fault in [StoreFault::Fail, StoreFault::Hang, StoreFault::Panic] {
        let site = Site::open().await;
        assert!(is_granted(&site.alice.sign_in(true).await));
        site.store.fail_always(StoreCall::CloseSession, fault);

        assert!(site.gate.revoke(Scope::All).await.is_err(), "{fault:?}");
        assert!(site.installed().is_empty());

        site.store.heal();
        tokio::time::sleep(STEP).await;
        assert!(site.live().await.is_empty(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_graceful_shutdown_takes_every_peer_off_and_keeps_the_sessions() {
    let site = Site::open().await;
    for visitor in [&site.alice, &site.bob] {
        assert!(is_granted(&visitor.sign_in(true).await));
    }

    let begun = tokio::time::Instant::now();
    site.gate.shutdown().await;

    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(site.installed().is_empty() && !site.interface.is_fenced());
    assert_eq!(site.live().await.len(), 2);
    assert!(is_unavailable(&site.alice.sign_in(true).await));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_a_hanging_store() {
    let site = Site::open().await;
    assert!(is_granted(&site.alice.sign_in(true).await));
    site.store.fail_always(StoreCall::Session, StoreFault::Hang);
    let at = site.alice.clock.now().timestamp;
    let event = AuditEvent::new(at, AuditKind::UserPut { enabled: true });
    let change = UserChange::Enabled(true);
    let changed = site
        .store
        .change_user("alice".parse().unwrap(), change, event);
    changed.await.unwrap();
    tokio::time::sleep(MOMENT).await;

    let begun = tokio::time::Instant::now();
    site.gate.shutdown().await;

    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(site.installed().is_empty() && !site.interface.is_fenced());
    assert_eq!(site.live().await, [site.alice.peer()]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_takes_the_interface_down_where_peers_do_not_leave() {
    for fault in [Fault::Fail, Fault::Hang] {
        let site = Site::open().await;
        assert!(is_granted(&site.alice.sign_in(true).await));
        site.interface.fail_always(Operation::Remove, fault);

        let shutdown = site.gate.shutdown();
        let ended = tokio::time::timeout(STEP, shutdown).await;

        assert!(ended.is_ok() && site.interface.is_fenced(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_record_is_retried_until_the_store_takes_it() {
    for fault in [StoreFault::Fail, StoreFault::Hang, StoreFault::Panic] {
        let site = Site::open().await;
        assert!(is_granted(&site.alice.sign_in(true).await));
        site.interface.fail_always(Operation::Remove, Fault::Fail);
        site.store.fail_next(StoreCall::AppendAudit, fault);
        assert!(site.gate.revoke(Scope::All).await.is_ok(), "{fault:?}");
        assert!(site.interface.is_fenced(), "{fault:?}");

        tokio::time::sleep(STEP).await;

        let trail = site.store.audit(1, usize::MAX).await.unwrap();
        let is_fence = |event: &AuditEvent| event.kind == AuditKind::Fenced;
        let told = trail.iter().filter(|record| is_fence(&record.event));
        assert_eq!(told.count(), 1, "{fault:?}");
    }
}

/// An interface that lets no one leave, and panics when it is to go down.
struct Stubborn(Arc<FakeInterface>);

#[async_trait]
impl InterfaceBackend for Stubborn {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.0.install(peers).await
    }

    async fn remove(&self, _: &[PublicKey]) -> Result<(), InterfaceError> {
        panic!("a fault that a test asked for")
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        self.0.list().await
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        self.0.activity(peers).await
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        panic!("a fault that a test asked for")
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_comes_to_its_end_even_if_the_interface_panics() {
    let interface = Arc::new(FakeInterface::new());
    let site = Site::around(interface.clone(), Arc::new(Stubborn(interface)), false).await;
    assert!(is_granted(&site.alice.sign_in(true).await));

    let ended = tokio::time::timeout(STEP, site.gate.shutdown()).await;

    assert!(ended.is_ok());
}
