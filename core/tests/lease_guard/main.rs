//! The lease guard with real packets: in network namespaces that the tests make and remove.
//!
//! They need root, `ip` and `nft`; without them they fail.
#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_methods,
    reason = "what passes when is measured by the monotonic clock"
)]

mod count;
mod ground;
mod load;
mod restart;
mod suite;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ground::{Flow, Ground, Namespace, Path, Steady, WG};
use mfagate::code::ErrorCode;
use mfagate::interface::lease_guard::{GuardError, LeaseGuard};
use mfagate::interface::{InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::key::{PresharedKey, PublicKey};
use mfagate::testing::fake_interface::{FakeInterface, Fault, Operation};

const HOUR: Duration = Duration::from_secs(3600);

/// Every way between the peer, the networks behind it, the gate and the service inside.
const PATHS: [Path; 16] = [
    (Namespace::Peer, "10.77.0.5", "10.77.0.1"),
    (Namespace::Peer, "10.77.0.5", "10.99.0.2"),
    (Namespace::Peer, "10.88.0.200", "10.77.0.1"),
    (Namespace::Peer, "10.88.0.1", "10.99.0.2"),
    (Namespace::Gate, "10.77.0.1", "10.77.0.5"),
    (Namespace::Gate, "10.77.0.1", "10.88.0.77"),
    (Namespace::Inside, "10.99.0.2", "10.77.0.5"),
    (Namespace::Inside, "10.99.0.2", "10.88.0.255"),
    (Namespace::Peer, "fd77::5", "fd77::1"),
    (Namespace::Peer, "fd77::5", "fd99::2"),
    (Namespace::Peer, "fd88::200", "fd77::1"),
    (Namespace::Peer, "fd88::1", "fd99::2"),
    (Namespace::Gate, "fd77::1", "fd77::5"),
    (Namespace::Gate, "fd77::1", "fd88::77"),
    (Namespace::Inside, "fd99::2", "fd77::5"),
    (Namespace::Inside, "fd99::2", "fd88::ffff:ffff:ffff:ffff"),
];
const NETWORKS: [&str; 4] = ["10.77.0.5/32", "10.88.0.0/24", "fd77::5/128", "fd88::/64"];
const IN: Path = (Namespace::Peer, "10.77.0.5", "10.99.0.2");
const OUT: Path = (Namespace::Gate, "fd77::1", "fd77::5");

fn key(n: u8) -> PublicKey {
    PublicKey::from_bytes([n; 32])
}

fn peer(n: u8, networks: &[&str], lease: Duration) -> PeerConfig {
    let networks = networks.iter().map(|net| net.parse().expect("a network"));
    let psk = PresharedKey::from_bytes([n; 32]);
    let mut peer = PeerConfig::new(key(n), Some(psk), networks.collect());
    peer.lease = Some(lease);
    peer
}

fn guard(ground: &Ground, inner: &Arc<FakeInterface>) -> LeaseGuard {
    open(ground, inner).expect("a guard")
}

fn open(ground: &Ground, inner: &Arc<FakeInterface>) -> Result<LeaseGuard, GuardError> {
    let inner: Arc<dyn InterfaceBackend> = Arc::<FakeInterface>::clone(inner);
    ground.within(Namespace::Gate, || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(LeaseGuard::around(inner, WG))
    })
}

fn all_pass(ground: &Ground) -> bool {
    // A path's first packet may find a cold cache.
    PATHS.iter().all(|path| {
        let passes = Flow::begin(ground, *path).echo(3);
        if !passes {
            eprintln!("{path:?} does not pass");
        }
        passes
    })
}

fn none_passes(ground: &Ground) -> bool {
    let passes = |path: Path| {
        let passes = ground.passes(path);
        if passes {
            eprintln!("{path:?} passes");
        }
        passes
    };
    // All at once, as each waits for an answer that doesn't come.
    std::thread::scope(|scope| {
        let tries = PATHS.map(|path| scope.spawn(move || passes(path)));
        let passed = tries.map(|path| path.join().expect("it ends"));
        !passed.contains(&true)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_lease_lets_packets_pass_both_ways_in_both_families() {
    let ground = Ground::new();
    assert!(all_pass(&ground), "the ground itself is at fault");
    let inner = Arc::new(FakeInterface::new());
    let guard = guard(&ground, &inner);
    assert!(none_passes(&ground), "before the installation");

    guard.install(vec![peer(1, &NETWORKS, HOUR)]).await.unwrap();
    assert!(all_pass(&ground), "during the lease");
    let listed = guard.list().await.unwrap();
    assert_eq!(
        listed[0].allowed_ips,
        inner.installed()[&key(1)].allowed_ips
    );
    let left = listed[0].lease.unwrap();
    assert!(
        left <= HOUR && left > HOUR - Duration::from_secs(60),
        "{left:?}"
    );

    guard.remove(&[key(1)]).await.unwrap();
    assert!(none_passes(&ground), "after the removal");
    guard.remove(&[key(1), key(2)]).await.unwrap(); // absent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_on_time_and_its_neighbours_do_not() {
    let ground = Ground::new();
    let inner = Arc::new(FakeInterface::new());
    let guard = guard(&ground, &inner);
    let lease = Duration::from_secs(2);
    let begun = Instant::now();
    let three = vec![
        peer(1, &["10.88.0.4/32", "fd88::4/128"], HOUR),
        peer(2, &["10.88.0.5/32", "fd88::5/128"], lease),
        peer(3, &["10.88.0.6/31", "fd88::6/127"], HOUR),
    ];
    guard.install(three).await.unwrap();
    let mut flow = Flow::begin(&ground, (Namespace::Peer, "10.88.0.5", "10.99.0.2"));
    let lasted = flow.last_echo() - begun;
    println!("a lease of {lease:?} lasted {lasted:?}");
    assert!(lasted > lease - Duration::from_millis(300), "{lasted:?}");
    assert!(lasted < lease + Duration::from_secs(1), "{lasted:?}");

    // While the kernel clears away what is over, and after.
    for _ in 0..3 {
        for (of, passes) in [("4", true), ("5", false), ("6", true), ("7", true)] {
            for net in ["10.88.0.", "fd88::"] {
                let to: &str = format!("{net}{of}").leak();
                let from = if net.contains(':') {
                    "fd77::1"
                } else {
                    "10.77.0.1"
                };
                assert_eq!(ground.passes((Namespace::Gate, from, to)), passes, "{to}");
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let listed: Vec<_> = guard.list().await.unwrap();
    let is_over = |peer: &PeerConfig| peer.lease == Some(Duration::ZERO);
    let over: Vec<_> = listed.iter().map(is_over).collect();
    assert_eq!(over, [false, true, false]);
    assert!(listed.iter().all(|peer| peer.allowed_ips.len() == 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_replaced_by_a_longer_or_a_shorter_one() {
    let ground = Ground::new();
    let inner = Arc::new(FakeInterface::new());
    let guard = guard(&ground, &inner);
    let short = Duration::from_secs(1);
    guard
        .install(vec![peer(1, &NETWORKS, short)])
        .await
        .unwrap();
    let steady = Steady::begin(&ground, IN);
    guard.renew(vec![peer(1, &NETWORKS, HOUR)]).await.unwrap();
    tokio::time::sleep(2 * short).await;
    let (sent, lost) = steady.end();
    assert!(sent > 50 && lost == 0, "{lost} of {sent} lost by a renewal");

    let begun = Instant::now();
    guard
        .install(vec![peer(1, &NETWORKS, short)])
        .await
        .unwrap();
    let lasted = Flow::begin(&ground, IN).last_echo() - begun;
    assert!(lasted < 2 * short, "{lasted:?}");
    assert!(none_passes(&ground), "after a lease that was shortened");
    // What was over before comes back by a renewal.
    guard.renew(vec![peer(1, &NETWORKS, HOUR)]).await.unwrap();
    assert!(all_pass(&ground), "after a renewal");
    // An address that the peer no longer has.
    guard
        .renew(vec![peer(1, &NETWORKS[1..], HOUR)])
        .await
        .unwrap();
    assert!(!ground.passes(IN), "an address that was given up");
    guard
        .install(vec![peer(1, &NETWORKS, Duration::ZERO)])
        .await
        .unwrap();
    assert!(none_passes(&ground), "a lease that is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_shuts_out_at_once_even_if_the_interface_hangs() {
    let ground = Ground::new();
    let inner = Arc::new(FakeInterface::new());
    let guard = guard(&ground, &inner);
    guard.install(vec![peer(1, &NETWORKS, HOUR)]).await.unwrap();
    assert!(all_pass(&ground));

    inner.fail_next(Operation::Remove, Fault::Hang);
    let limit = Duration::from_millis(200);
    let hangs = tokio::time::timeout(limit, guard.remove(&[key(1)])).await;
    assert!(hangs.is_err() && none_passes(&ground));
    inner.fail_next(Operation::Remove, Fault::Fail);
    assert!(guard.remove(&[key(1)]).await.is_err());
    guard.remove(&[key(1)]).await.unwrap();
    assert!(inner.installed().is_empty());

    inner.fail_next(Operation::Install, Fault::ApplyThenFail);
    let failed = guard.install(vec![peer(1, &NETWORKS, HOUR)]).await;
    assert!(failed.is_err() && none_passes(&ground));
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_up_to_the_last_address_there_is() {
    let ground = Ground::new();
    let inner = Arc::new(FakeInterface::new());
    let guard = guard(&ground, &inner);
    for networks in [
        &["0.0.0.0/0", "::/0"][..],
        &["0.0.0.0/1", "128.0.0.0/1", "8000::/1"],
    ] {
        for _ in 0..2 {
            guard.renew(vec![peer(1, networks, HOUR)]).await.unwrap();
            let listed = guard.list().await.unwrap();
            assert_eq!(listed[0].allowed_ips.len(), networks.len());
            assert!(ground.passes(IN));
        }
        guard.remove(&[key(1)]).await.unwrap();
        assert!(none_passes(&ground), "after {networks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_guarded_is_refused() {
    let ground = Ground::new();
    let inner = Arc::new(FakeInterface::new());
    let guard = guard(&ground, &inner);
    let text = |error: InterfaceError| {
        let source = std::error::Error::source(&error);
        source.expect("the guard's own words").to_string()
    };
    let mut endless = peer(1, &NETWORKS, HOUR);
    endless.lease = None;
    let refused = guard.install(vec![endless]).await.unwrap_err();
    assert!(text(refused).contains("without a lease"));

    guard.install(vec![peer(1, &NETWORKS, HOUR)]).await.unwrap();
    let inside = peer(2, &["10.88.0.5/32"], HOUR);
    let refused = guard.install(vec![inside]).await.unwrap_err();
    let refused = text(refused);
    assert!(
        refused.contains("10.88.0.5/32") && refused.contains("10.88.0.0/24"),
        "{refused}"
    );
    assert!(!inner.installed().contains_key(&key(2)));

    let taken = open(&ground, &inner);
    if owns_tables() {
        let refused = taken.unwrap_err();
        assert!(refused.code() == "lease-guard-taken", "{refused}");
    }
    let inner: Arc<dyn InterfaceBackend> = inner;
    let long = LeaseGuard::around(inner, "a-name-too-long-").await;
    assert!(matches!(&long, Err(error) if error.code() == "lease-guard-interface-name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_is_final_and_a_close_takes_the_table() {
    let ground = Ground::new();
    let operator = "add table inet operator; add set inet operator s { type ipv4_addr; elements = { 10.77.0.5 } }; \
        add chain inet operator c { type filter hook forward priority 0; }; add rule inet operator c ip saddr @s accept";
    for command in operator.split("; add ") {
        let command = command.trim_start_matches("add ");
        ground.nft(&format!("add {command}"));
    }
    let operators = ground.nft("list table inet operator");
    let inner = Arc::new(FakeInterface::new());
    let guard = guard(&ground, &inner);
    guard.install(vec![peer(1, &NETWORKS, HOUR)]).await.unwrap();
    println!("{}", ground.nft("list table inet mfagate-wg0"));
    let in_use = guard.close().await.unwrap_err();
    assert_eq!(in_use.code(), "lease-guard-in-use");

    guard.fence().await.unwrap();
    assert!(none_passes(&ground) && inner.is_fenced());
    inner.restart();
    let late = guard.install(vec![peer(1, &NETWORKS, HOUR)]).await;
    assert!(matches!(late, Err(InterfaceError::Down)));
    assert!(none_passes(&ground), "after a fence");
    guard.remove(&[key(1)]).await.unwrap();

    guard.close().await.unwrap();
    guard.close().await.unwrap();
    assert_eq!(ground.nft("list tables"), "table inet operator\n");
    assert_eq!(ground.nft("list table inet operator"), operators);
    assert!(all_pass(&ground), "the table is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_deleted_is_made_again_with_what_it_held() {
    let ground = Ground::new();
    // One that no one owns, as on a kernel before 6.9.
    ground.nft("add table inet mfagate-wg0");
    let inner = Arc::new(FakeInterface::new());
    let guard = guard(&ground, &inner);
    let two = vec![
        peer(1, &["10.77.0.5/32"], HOUR),
        peer(2, &["fd77::5/128"], HOUR),
    ];
    guard.install(two).await.unwrap();
    ground.nft("flush ruleset");
    assert!(all_pass(&ground), "this is what the manual warns of");

    guard.remove(&[key(2)]).await.unwrap();
    assert!(ground.passes(IN), "the lease of another");
    assert!(!ground.passes(OUT), "the address of the removed peer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_an_owner_is_not_flushed_by_an_operator() {
    if !owns_tables() {
        println!("this kernel has no owners of tables that stay: nothing to show");
        return;
    }
    let ground = Ground::new();
    let inner = Arc::new(FakeInterface::new());
    let guard = guard(&ground, &inner);
    ground.nft("flush ruleset");
    assert!(none_passes(&ground));
    guard.install(vec![peer(1, &NETWORKS, HOUR)]).await.unwrap();
    ground.nft("flush ruleset");
    assert!(all_pass(&ground));
    guard.remove(&[key(1)]).await.unwrap();
    assert!(none_passes(&ground));
}

/// Since Linux 6.9.
fn owns_tables() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    let mut numbers = release.split(['.', '-']).map(|n| n.parse().unwrap_or(0));
    let major: u32 = numbers.next().unwrap_or(0);
    (major, numbers.next().unwrap_or(0)) >= (6, 9)
}
