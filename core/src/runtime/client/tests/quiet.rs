//! A client that is told what happens wakes for its deadlines only.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::runtime::SystemClock;
use crate::time::{Clock, Instant, Now, Timestamp};

/// Tokio's own time, which a test may pause, and how often it was read: the client's task reads it
/// whenever it wakes.
struct CountingClock {
    start: tokio::time::Instant,
    wall: Timestamp,
    reads: AtomicU64,
}

impl CountingClock {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            start: tokio::time::Instant::now(),
            wall: SystemClock::new().now().timestamp,
            reads: AtomicU64::new(0),
        })
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

impl Clock for CountingClock {
    fn now(&self) -> Now {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let passed = self.start.elapsed();
        Now {
            instant: Instant::from_nanos(1) + passed,
            timestamp: self.wall + passed,
        }
    }
}

/// How often the clock is read in ten idle minutes, and the events up to the lease's end.
async fn an_hour(is_quiet: bool) -> (u64, Vec<Event>) {
    let clock = CountingClock::new();
    let bench = Bench::with(|builder| {
        let config = Config {
            renewal: Renewal::OnRequest,
            ..Config::default()
        };
        builder.config(config).clock(clock.clone())
    });
    bench.interface.wires(|wires| wires.is_idle = true);
    bench.connected().await;
    bench.client.set_quiet(is_quiet);
    let mut events = bench.client.events();
    tokio::time::sleep(Duration::from_secs(60)).await;

    let before = clock.reads();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let reads = clock.reads() - before;

    let mut told = Vec::new();
    while !matches!(told.last(), Some(Event::Ended { .. })) {
        told.extend(events.next().await);
    }
    assert!(bench.interface.is_empty());
    (reads, told)
}

#[tokio::test(start_paused = true)]
async fn a_quiet_idle_client_does_not_wake_between_its_deadlines() {
    let (reads, told) = an_hour(true).await;

    assert_eq!(reads, 0);
    let [Event::Ending { .. }, Event::Ended { reason, .. }] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(*reason, SessionEnd::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_told_nothing_looks_every_few_seconds() {
    let (reads, _) = an_hour(false).await;

    assert!(reads > 120, "{reads}");
}

#[cfg(feature = "testing")]
#[tokio::test(start_paused = true)]
async fn a_quiet_client_that_slept_past_its_lease_ends_it_when_it_is_woken() {
    let gate = ScriptedGate::new();
    let interface = MapInterface::new();
    let clock = crate::testing::SimClock::default();
    clock.step_wall_to(SystemClock::new().now().timestamp);
    let client = Client::builder(profile(&gate))
        .transport(gate.clone())
        .interface(interface.clone())
        .clock(Arc::new(clock.clone()))
        .build()
        .unwrap();
    client.set_quiet(true);
    client.connect(&mut Codes::of(&[CODE])).await.unwrap();

    clock.advance(Duration::from_secs(8 * 3600));
    client.woke();

    let mut events = client.events();
    while !interface.is_empty() {
        events.next().await;
    }
    assert_eq!(client.status(), Phase::Idle);
}
