//! Payload that the kernel counts, for interfaces that don't.

use std::sync::Arc;

use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::{Activity, InterfaceBackend};
use mfagate::testing::fake_interface::FakeInterface;

use crate::ground::{Flow, Ground, Namespace, Path};
use crate::{HOUR, guard, key, peer};

/// Eight bytes in UDP, there and back.
const ECHO_V4: u64 = 2 * (20 + 8 + 8);
const ECHO_V6: u64 = 2 * (40 + 8 + 8);

async fn payload(guard: &LeaseGuard, peer: u8) -> Option<u64> {
    let seen = guard.activity(&[key(peer)]).await.expect("an answer");
    seen.first().and_then(|seen| seen.payload)
}

/// What ten echoes on this path, which is warm by then, add to the peer's payload.
async fn ten_echoes(ground: &Ground, guard: &LeaseGuard, path: Path, peer: u8) -> u64 {
    let mut flow = Flow::begin(ground, path);
    assert!(flow.echo(3), "{path:?}");
    let before = payload(guard, peer).await.expect("a count");
    assert!((0..10).all(|_| flow.echo(1)), "{path:?}");
    payload(guard, peer).await.expect("a count") - before
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_counted_to_its_peer_and_what_is_dropped_is_not() {
    let ground = Ground::new();
    let inner = Arc::new(FakeInterface::new());
    let guard = guard(&ground, &inner);
    let mut both = vec![
        peer(1, &["10.77.0.5/32", "10.88.0.0/24", "fd77::5/128"], HOUR),
        peer(2, &["fd88::/64"], HOUR),
    ];
    guard.install(both.clone()).await.unwrap();
    for peer in [1, 2] {
        assert_eq!(payload(&guard, peer).await, Some(0));
    }
    for (path, peer, echo) in [
        ((Namespace::Peer, "10.77.0.5", "10.99.0.2"), 1, ECHO_V4),
        ((Namespace::Peer, "10.88.0.200", "10.77.0.1"), 1, ECHO_V4),
        ((Namespace::Gate, "fd77::1", "fd77::5"), 1, ECHO_V6),
        (
            (Namespace::Inside, "fd99::2", "fd88::ffff:ffff:ffff:ffff"),
            2,
            ECHO_V6,
        ),
    ] {
        let other = payload(&guard, 3 - peer).await;
        let added = ten_echoes(&ground, &guard, path, peer).await;
        assert_eq!(added, 10 * echo, "{path:?}");
        assert_eq!(payload(&guard, 3 - peer).await, other, "{path:?}");
    }

    // As an address that no one has.
    let before = payload(&guard, 1).await;
    guard.remove(&[key(2)]).await.unwrap();
    let dropped = (Namespace::Peer, "fd88::200", "fd77::1");
    assert!(!Flow::begin(&ground, dropped).echo(2));
    assert_eq!(payload(&guard, 1).await, before);

    // A lease that is given again counts from zero.
    both.truncate(1);
    guard.renew(both).await.unwrap();
    assert_eq!(payload(&guard, 1).await, Some(0));

    // What the interface itself counts is its word.
    let mut own = Activity::silent(key(1));
    own.payload = Some(7);
    inner.set_activity(own);
    assert_eq!(payload(&guard, 1).await, Some(7));
}
