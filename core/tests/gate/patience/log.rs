//! A log that blocks or panics, each in a process of its own: there is one log in a process.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mfagate::enrol::Registrar;
use mfagate::factor::totp::TotpVerifier;
use mfagate::gate::{Gate, Scope};
use mfagate::store::{AdminStore, MemoryStore};
use mfagate::testing::FaultyStore;
use mfagate::testing::fake_interface::{FakeInterface, Fault, Operation};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

use super::{STEP, Visitor, config, is_granted};

/// What tells a test that it is the process with such a log.
const LOG: &str = "MFAGATE_TEST_LOG";
/// How often is looked whether that process has ended, 50 ms apart.
const LOOKS: u32 = 2400;

/// An embedder's log, once it can't be written.
struct Broken {
    panics: bool,
    is_met: Arc<AtomicBool>,
}

impl Subscriber for Broken {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, _: &Event<'_>) {
        self.is_met.store(true, Ordering::SeqCst);
        assert!(!self.panics, "a fault that a test asked for");
        loop {
            std::thread::park(); // as a write does to a pipe that no one reads
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Admissions, an expiry, a revocation, a removal that fails, and a fence.
async fn go_on(panics: bool) {
    let is_met = Arc::<AtomicBool>::default();
    let log = Broken {
        panics,
        is_met: is_met.clone(),
    };
    tracing::subscriber::set_global_default(log).unwrap();
    let interface = Arc::new(FakeInterface::new());
    let store = FaultyStore::new(MemoryStore::new());
    let (mut config, clock) = config(&store, interface.clone());
    config.verifiers.push(Arc::new(TotpVerifier::new()));
    config.policy.lease = Duration::from_secs(600);
    config.policy.max_age = Duration::from_secs(600);
    let shared: Arc<dyn AdminStore> = Arc::new(store.clone());
    let registrar = Registrar::new(shared, config.key_ring.clone(), Arc::clone(&clock));
    let gate = Gate::start(config).await.unwrap();
    let alice = Visitor::enrol(&registrar, gate.clone(), Arc::clone(&clock), "alice").await;
    let bob = Visitor::enrol(&registrar, gate.clone(), clock, "bob").await;
    for visitor in [&alice, &bob] {
        assert!(is_granted(&visitor.sign_in(true).await));
    }
    assert_eq!(interface.installed().len(), 2);

    gate.revoke(Scope::Peer(bob.peer())).await.unwrap();
    assert_eq!(interface.installed().len(), 1);
    tokio::time::sleep(Duration::from_secs(600) + STEP).await;
    assert!(interface.installed().is_empty(), "the lease goes on");

    assert!(is_granted(&alice.sign_in(true).await));
    interface.fail_always(Operation::Remove, Fault::Fail);
    _ = gate.revoke(Scope::All).await;
    tokio::time::sleep(STEP).await;
    assert!(interface.is_fenced());
    assert!(is_met.load(Ordering::SeqCst), "nothing was logged");
}

fn in_a_process_of_its_own(kind: &str) {
    if std::env::var(LOG).is_ok() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        return runtime.block_on(go_on(kind == "panics"));
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(LOG, kind)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut looks = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        looks += 1;
        if looks > LOOKS {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

#[test]
fn a_log_that_blocks_holds_up_no_end_and_no_fence() {
    in_a_process_of_its_own("blocks");
}

#[test]
fn a_log_that_panics_ends_no_gate_and_holds_up_no_end() {
    in_a_process_of_its_own("panics");
}
