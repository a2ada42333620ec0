//! A gate that takes an interface with peers on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use mfagate::assurance::FactorKind;
use mfagate::channel::message::Answer;
use mfagate::code::ErrorCode;
use mfagate::factor::totp::TotpVerifier;
use mfagate::factor::{Context, IssuedChallenge, MfaVerifier, Verdict, VerifyError};
use mfagate::gate::{Gate, GateConfig};
use mfagate::interface::PeerConfig;
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::MemoryStore;
use mfagate::testing::fake_interface::{FakeInterface, Fault, Operation};
use mfagate::testing::{FaultyStore, StoreCall, StoreFault};
use mfagate::time::{Clock, Now, SystemClock};

const STATIC: PublicKey = PublicKey::from_bytes([1; 32]);
const ORPHAN: PublicKey = PublicKey::from_bytes([2; 32]);

fn config(interface: &Arc<FakeInterface>, store: FaultyStore) -> GateConfig {
    let ring = KeyRing::new("test".parse().unwrap(), RingKey::generate().unwrap());
    let mut config = GateConfig::new(
        "office".parse().unwrap(),
        PrivateKey::generate().unwrap(),
        ring,
        Arc::new(store),
        interface.clone(),
    );
    config.verifiers.push(Arc::new(TotpVerifier::new()));
    config.danger_unmanaged_peers.insert(STATIC);
    config
}

/// An interface with a peer of each kind on it, and the one that is to be left alone.
fn interface() -> (Arc<FakeInterface>, PeerConfig) {
    let interface = Arc::new(FakeInterface::default());
    let psk = Some(PresharedKey::from_bytes([1; 32]));
    let hand_made = PeerConfig::new(STATIC, None, vec!["10.9.0.8/32".parse().unwrap()]);
    interface.plant(hand_made.clone());
    interface.plant(PeerConfig::new(ORPHAN, psk, Vec::new()));
    (interface, hand_made)
}

fn left(interface: &FakeInterface) -> Vec<PeerConfig> {
    interface.installed().into_values().collect()
}

#[tokio::test]
async fn what_holds_no_lease_goes_and_what_is_to_be_left_alone_stays() {
    let (interface, hand_made) = interface();
    let store = FaultyStore::new(MemoryStore::default());
    let gate = Gate::start(config(&interface, store)).await.unwrap();
    assert_eq!(left(&interface), std::slice::from_ref(&hand_made));
    gate.shutdown().await;
    assert_eq!(left(&interface), [hand_made]);
}

#[tokio::test]
async fn invariant_7_a_failed_start_leaves_no_peer_on_the_interface() {
    for fault in [StoreFault::Fail, StoreFault::Panic] {
        let (interface, hand_made) = interface();
        let store = FaultyStore::new(MemoryStore::default());
        store.fail_next(StoreCall::LiveSessions, fault);
        assert!(Gate::start(config(&interface, store)).await.is_err());
        assert_eq!(left(&interface), [hand_made], "{fault:?}");
    }
    let spoil: [fn(&mut GateConfig); 5] = [
        |config| config.policy.lease = std::time::Duration::ZERO,
        |config| config.verifiers.clear(),
        |config| config.verifiers.push(Arc::new(Nameless)),
        |config| config.clock = Arc::new(Stopwatch::after(0)),
        |config| config.clock = Arc::new(Stopwatch::after(1)),
    ];
    for spoil in spoil {
        let (interface, hand_made) = interface();
        let mut config = config(&interface, FaultyStore::new(MemoryStore::default()));
        spoil(&mut config);
        assert!(Gate::start(config).await.is_err());
        assert_eq!(left(&interface), [hand_made]);
    }
    let (interface, hand_made) = interface();
    let store = FaultyStore::new(MemoryStore::default());
    store.fail_next(StoreCall::BeginWatch, StoreFault::Panic);
    let started = Gate::start(config(&interface, store)).await;
    assert!(
        matches!(&started, Err(error) if error.code() == "start-panicked"),
        "{started:?}"
    );
    assert_eq!(left(&interface), [hand_made]);
}

/// A verifier that panics when it is asked what it is.
struct Nameless;

#[async_trait]
impl MfaVerifier for Nameless {
    fn kind(&self) -> FactorKind {
        panic!("a fault that a test asked for")
    }

    async fn challenge(&self, _: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        Err(VerifyError::Unfit)
    }

    async fn verify(&self, _: &Context<'_>, _: &Answer) -> Result<Verdict, VerifyError> {
        Err(VerifyError::Unfit)
    }
}

/// A clock that panics after so many readings.
struct Stopwatch(AtomicU32);

impl Stopwatch {
    fn after(readings: u32) -> Self {
        Self(AtomicU32::new(readings))
    }
}

impl Clock for Stopwatch {
    fn now(&self) -> Now {
        let left = self.0.load(Ordering::Relaxed).checked_sub(1);
        self.0.store(
            left.expect("a fault that a test asked for"),
            Ordering::Relaxed,
        );
        SystemClock::new().now()
    }
}

#[tokio::test]
async fn invariant_7_a_failed_start_takes_an_uncleared_interface_down() {
    let (interface, _) = interface();
    interface.fail_next(Operation::List, Fault::Fail);
    interface.fail_next(Operation::List, Fault::Fail);
    let store = FaultyStore::new(MemoryStore::default());
    assert!(Gate::start(config(&interface, store)).await.is_err());
    assert!(interface.is_fenced());
}
