//! Faults inside the gate, which end the process: each in a process of its own.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::factor::totp::TotpVerifier;
use crate::key::PrivateKey;
use crate::runtime::SystemClock;
use crate::seal::RingKey;
use crate::store::MemoryStore;
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
    /// A gate at an office where nobody is, which asks for one-time passwords.
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
