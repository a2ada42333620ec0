//! Faults inside the gate, which end the process: each in a process of its own. And what a gate
//! keeps.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::channel::message::{Hello, Posture, Reply, Request};
use crate::channel::{DecapsulationSecret, Initiator};
use crate::enrol::Registrar;
use crate::factor::totp::{TotpSecret, TotpVerifier};
use crate::key::PrivateKey;
use crate::runtime::SystemClock;
use crate::seal::RingKey;
use crate::store::{MemoryStore, Peer};
use crate::testing::fake_interface::FakeInterface;

/// What tells a test that it is the process that is to end, and by which fault.
const FAULT: &str = "MFAGATE_TEST_FAULT";

/// A fault that is brought about once the gate is up.
type Fault = (&'static str, fn(&Gate, &FaultyClock));

const FAULTS: [Fault; 4] = [
    ("the machine panics in the driver's tick", |gate, _| {
        let shared = Arc::clone(&gate.shared);
        tokio::spawn(async move { shared.advance(|_, _| panic!("a fault")) });
    }),
    ("a panic while the machine is looked at", |gate, _| {
        let shared = Arc::clone(&gate.shared);
        tokio::spawn(async move {
            let _machine = shared.machine();
            panic!("a fault");
        });
    }),
    ("the clock panics in the driver", |gate, clock| {
        clock.0.store(true, Ordering::Relaxed);
        gate.shared.wake.notify_one();
    }),
    ("the clock panics in a tick", |gate, clock| {
        clock.0.store(true, Ordering::Relaxed);
        let gate = gate.clone();
        tokio::spawn(async move { gate.time_changed() });
    }),
];

/// The system's clock, until it is told to panic.
#[derive(Clone, Default)]
struct FaultyClock(Arc<AtomicBool>);

impl Clock for FaultyClock {
    fn now(&self) -> Now {
        assert!(!self.0.load(Ordering::Relaxed), "a fault");
        SystemClock::new().now()
    }
}

impl GateConfig {
    /// A gate at an office where no one is, which asks for one-time passwords.
    pub(crate) fn of_an_office() -> Self {
        let ring = KeyRing::new("test".parse().unwrap(), RingKey::generate().unwrap());
        let mut config = Self::new(
            "office".parse().unwrap(),
            PrivateKey::generate().unwrap(),
            ring,
            Arc::new(MemoryStore::new()),
            Arc::new(FakeInterface::new()),
        );
        config.verifiers.push(Arc::new(TotpVerifier::new()));
        config
    }
}

/// What the process does that is to end. It ends well only if the fault does not end it.
async fn go_on(fault: &str) {
    let clock = FaultyClock::default();
    let mut config = GateConfig::of_an_office();
    config.clock = Arc::new(clock.clone());
    let gate = Gate::start(config).await.unwrap();
    let (_, bring_about) = FAULTS.into_iter().find(|(name, _)| *name == fault).unwrap();
    bring_about(&gate, &clock);
    tokio::time::sleep(Duration::from_secs(5)).await;
}

#[test]
fn invariant_7_a_fault_inside_the_gate_ends_the_process_at_once() {
    if let Ok(fault) = std::env::var(FAULT) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(go_on(&fault));
        return;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    for (fault, _) in FAULTS {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture"])
            .env(FAULT, fault)
            .output()
            .unwrap();
        // Neither well nor by the failure of a test: aborted.
        let code = child.status.code();
        assert!(!matches!(code, Some(0 | 101)), "{fault}: {child:?}");
    }
}

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

/// An office with a user, whose peer has a factor.
async fn office_of_one(peer: PublicKey) -> (GateConfig, Arc<dyn Clock>) {
    let clock: Arc<dyn Clock> = Arc::new(Virtual(tokio::time::Instant::now()));
    let mut config = GateConfig::of_an_office();
    config.clock = Arc::clone(&clock);
    let store = Arc::new(MemoryStore::new());
    config.store = store.clone();
    let registrar = Registrar::new(store, config.key_ring.clone(), Arc::clone(&clock));
    let user: UserId = "alice".parse().unwrap();
    registrar.put_user(&user, true).await.unwrap();
    let peer = Peer {
        location: config.location.clone(),
        key: peer,
        user: user.clone(),
        allowed_ips: vec!["10.9.0.2/32".parse().unwrap()],
        label: "laptop".parse().unwrap(),
        enabled: true,
    };
    registrar.put_peer(peer).await.unwrap();
    let (label, secret) = ("app".parse().unwrap(), TotpSecret::generate().unwrap());
    let secret = secret.to_secret();
    let added = registrar
        .add_factor(&user, FactorKind::TOTP, &label, &secret, None)
        .await;
    added.unwrap();
    (config, clock)
}

#[tokio::test(start_paused = true)]
async fn the_last_reply_of_an_attempt_is_kept_for_its_time() {
    let key = PrivateKey::generate().unwrap();
    let (config, clock) = office_of_one(key.public_key()).await;
    let gate = Gate::start(config).await.unwrap();
    let (_, encapsulation_key) = DecapsulationSecret::generate().unwrap();
    let hello = Hello::Begin {
        sent_at: clock.now().timestamp,
        encapsulation_key,
        posture: Posture::default(),
    };
    let (initiator, body) = Initiator::begin(&key, &gate.public_key(), &hello).unwrap();
    let body = gate.handle(body, None).await.unwrap();
    let (mut session, reply) = initiator.finish(&body).unwrap();
    let Reply::Challenge { attempt, .. } = reply else {
        panic!("not asked: {reply:?}")
    };
    let cancel = session.request(&attempt, &Request::Cancel {}).unwrap();
    let reply = gate.handle(cancel.clone(), None).await;
    assert!(reply.is_ok());

    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(gate.handle(cancel.clone(), None).await, reply);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let gone = gate.handle(cancel, None).await;
    assert_eq!(gone, Err(Unauthenticated::NoAttempt));
    assert_eq!(gate.shared.conversations.expire(clock.now().instant), None);
    gate.shutdown().await;
}

#[test]
fn what_unwinds_already_may_look_at_the_machine() {
    struct Looks;
    impl Drop for Looks {
        fn drop(&mut self) {
            drop(NoUnwinding::new());
        }
    }
    let unwound = std::panic::catch_unwind(|| {
        let _looks = Looks;
        panic!("a fault that a test asked for");
    });
    assert!(unwound.is_err());
}
