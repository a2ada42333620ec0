//! What is left of a guard that is dropped or killed, and what the next one makes of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mfagate::interface::InterfaceBackend;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::testing::fake_interface::FakeInterface;

use crate::ground::{Flow, Ground, Namespace, Steady, WG};
use crate::{HOUR, IN, NETWORKS, OUT, PATHS, all_pass, guard, key, none_passes, peer};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_guard_over_the_table_of_an_old_one_loses_no_packet() {
    let ground = Ground::new();
    let inner = Arc::new(FakeInterface::new());
    let mut old = guard(&ground, &inner);
    let (here, gone) = (peer(1, &NETWORKS, HOUR), peer(2, &["10.77.0.9/32"], HOUR));
    old.install(vec![here, gone]).await.unwrap();
    inner.remove(&[key(2)]).await.unwrap(); // behind the guard's back

    let flows = [IN, OUT].map(|path| Steady::begin(&ground, path));
    for _ in 0..20 {
        drop(old);
        ground.within(Namespace::Gate, || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let shut = runtime.expect("a runtime").block_on(LeaseGuard::shut(WG));
            shut.expect("it is shut, and takes no one's lease");
        });
        old = guard(&ground, &inner);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let listed = old.list().await.unwrap();
    for flow in flows {
        let (sent, lost) = flow.end();
        println!("{sent} echoes, {lost} lost, during 20 restarts");
        assert!(sent > 20 && lost == 0, "{lost} of {sent} lost by a restart");
    }
    assert_eq!(listed[0].allowed_ips.len(), NETWORKS.len());
    assert!(
        !ground
            .nft("list table inet mfagate-wg0")
            .contains("10.77.0.9")
    );
    old.remove(&[key(1)]).await.unwrap();
    assert!(none_passes(&ground), "an old lease after its removal");
}

/// Also one whose table lost an address: it is told, and given its lease as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_guard_lists_an_old_peer_with_no_time_left() {
    let ground = Ground::new();
    let inner = Arc::new(FakeInterface::new());
    let there = peer(1, &NETWORKS, HOUR);
    inner.plant(there.clone());
    let guard = guard(&ground, &inner);
    let listed = async || guard.list().await.expect("list").remove(0);
    let mut expected = there.clone();
    expected.lease = Some(Duration::ZERO);
    assert_eq!(listed().await, expected);
    assert!(none_passes(&ground), "it has no lease");

    guard.renew(vec![there]).await.unwrap();
    assert!(all_pass(&ground));
    assert!(listed().await.lease.is_some_and(|left| left > HOUR / 2));
}

/// How long the child's lease is; its presence makes this test binary the child.
const CHILD: &str = "MFAGATE_TEST_LEASE_MS";

/// Not a test of its own: the gate that `a_lease_ends_on_time_after_sigkill` kills.
#[tokio::test]
async fn child_that_is_killed() {
    let Ok(lease) = std::env::var(CHILD) else {
        return;
    };
    let lease = Duration::from_millis(lease.parse().expect("a number"));
    let inner = Arc::new(FakeInterface::new());
    let guard = LeaseGuard::around(inner, WG).await.expect("a guard");
    guard
        .install(vec![peer(1, &NETWORKS, lease)])
        .await
        .unwrap();
    println!("\ninstalled");
    std::future::pending().await
}

fn child(ground: &Ground, lease: Duration) -> Child {
    let mut child = Command::new("ip")
        .args(["netns", "exec", &ground.space(Namespace::Gate)])
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", "restart::child_that_is_killed", "--nocapture"])
        .env(CHILD, lease.as_millis().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child runs");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let installed = lines.map_while(Result::ok).any(|line| line == "installed");
    assert!(installed, "the child did not install its peer");
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_on_time_after_sigkill() {
    let ground = Ground::new();
    let lease = Duration::from_secs(3);
    let earliest = Instant::now() + lease;
    let mut child = child(&ground, lease);
    let latest = Instant::now() + lease;
    child.kill().unwrap();
    child.wait().unwrap();
    let ended: Vec<_> = std::thread::scope(|scope| {
        let flow = |path| Flow::begin(&ground, path).last_echo();
        let flows = PATHS.map(|path| scope.spawn(move || flow(path)));
        flows.into_iter().map(|flow| flow.join().unwrap()).collect()
    });
    for (ended, path) in ended.into_iter().zip(PATHS) {
        let late = ended.saturating_duration_since(latest);
        let early = earliest.saturating_duration_since(ended);
        assert!(
            late < Duration::from_secs(1),
            "{path:?} ended {late:?} late"
        );
        assert!(
            early < Duration::from_millis(300),
            "{path:?} ended {early:?} early"
        );
    }
    assert!(none_passes(&ground));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_flow_does_not_notice_a_sigkill_and_the_next_start() {
    let ground = Ground::new();
    let mut child = child(&ground, HOUR);
    let steady = Steady::begin(&ground, IN);
    tokio::time::sleep(Duration::from_millis(100)).await;
    child.kill().unwrap();
    child.wait().unwrap();

    let inner = Arc::new(FakeInterface::new());
    inner.plant(peer(1, &NETWORKS, HOUR)); // as the kernel's WireGuard would have kept it
    let guard = guard(&ground, &inner);
    let listed = guard.list().await.unwrap();
    assert_eq!(listed[0].allowed_ips.len(), NETWORKS.len());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (sent, lost) = steady.end();
    assert!(sent > 20 && lost == 0, "{lost} of {sent} lost");
}
