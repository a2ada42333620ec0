//! The conformance suite for [`InterfaceBackend`]: what its contract says, as checks that anyone
//! can run against a backend of their own with real traffic.
//!
//! It does not measure throughput. That nothing passes is shown by waiting for
//! [`InterfaceHarness::silence`], so a longer silence is a stronger check.
#![expect(
    clippy::disallowed_methods,
    reason = "a suite measures by the monotonic clock of its process"
)]

use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::interface::{InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::{PresharedKey, PrivateKey, PublicKey};

/// What the suite needs to know of a backend: how to reach it, and peers that try to.
#[async_trait]
pub trait InterfaceHarness: Send + Sync {
    /// One WireGuard client with a private key of its own.
    type Client: InterfaceClient;

    /// The backend under test, with no peers on it; always the same one.
    fn backend(&self) -> &dyn InterfaceBackend;

    /// A new client, not yet installed, that offers this preshared key to the backend. Clients of
    /// one `slot`, of 1 to 200, have the same address inside the tunnel; their keys are their own.
    async fn client(&self, key: PrivateKey, psk: Option<PresharedKey>, slot: u8) -> Self::Client;

    /// What to install for a client of that slot.
    fn peer(&self, key: PublicKey, psk: Option<PresharedKey>, slot: u8) -> PeerConfig;

    /// Whether a renewal leaves the peer's streams alone. Otherwise the client has to take the
    /// renewed preshared key before its traffic goes on, as where a renewal removes the peer and
    /// adds it.
    fn renews_in_place(&self) -> bool {
        true
    }

    /// Whether the backend ends a lease ([`PeerConfig::lease`]) by itself, with no one there to
    /// remove the peer.
    fn ends_leases(&self) -> bool {
        false
    }

    /// Puts a peer on the interface, or changes one that is there, without the backend under test:
    /// as an operator does by hand. Returns whether it was done; without it, that it can't be.
    async fn put_by_hand(&self, peer: &PeerConfig) -> bool {
        let _ = peer;
        false
    }

    /// From now on, what the interface says of every peer's traffic makes no sense, where it is
    /// read as a text that others have a say in; or it does again. Returns whether it was done.
    async fn garble(&self, is_garbled: bool) -> bool {
        let _ = is_garbled;
        false
    }

    /// Takes the interface away from under the backend: deletes it, or ends its program. Needed by
    /// [`conformance_of_loss`] alone.
    async fn take_away(&self) {}

    /// How long nothing must pass to say that nothing does.
    fn silence(&self) -> Duration {
        Duration::from_secs(2)
    }
}

/// A WireGuard client of the suite.
#[async_trait]
pub trait InterfaceClient: Send + Sync {
    /// Tries for `limit` to have one probe answered through a new connection.
    async fn probe(&self, limit: Duration) -> bool;

    /// Opens a connection that echoes; its probes fail for good once it is broken.
    async fn stream(&self) -> Option<Box<dyn InterfaceStream>>;
}

/// An established connection through the tunnel.
#[async_trait]
pub trait InterfaceStream: Send {
    /// Sends a few bytes and waits up to `limit` for them to come back.
    async fn echo(&mut self, limit: Duration) -> bool;
}

/// What the suite measured.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct InterfaceReport {
    /// How long `remove` took under a running stream.
    pub remove_took: Duration,
    /// From the call of `remove` to the last echo that came back.
    pub remove_to_last_packet: Duration,
}

/// How long what must work may take, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long after `remove` has returned a packet may still be sent that passes: nothing by the
/// contract, but the suite's own clock is read by tasks that wait for a processor.
const ALLOWANCE: Duration = Duration::from_millis(250);

/// Runs every check against one backend, which is down afterwards.
///
/// # Panics
/// When the backend doesn't do what the contract says.
pub async fn conformance<H: InterfaceHarness>(harness: &H) -> InterfaceReport {
    only_the_installed_preshared_key_is_answered(harness).await;
    a_batch_gives_each_peer_its_own_key(harness).await;
    a_large_batch_is_all_there_and_all_gone(harness).await;
    who_came_by_hand_is_listed_as_they_are_and_leave(harness).await;
    an_odd_peer_keeps_nobody_from_being_listed_and_removed(harness).await;
    let report = a_removed_peer_passes_nothing(harness).await;
    if harness.renews_in_place() {
        a_renewal_keeps_the_stream(harness).await;
    } else {
        a_renewal_takes_the_new_preshared_key(harness).await;
    }
    if harness.ends_leases() {
        a_lease_that_is_over_passes_nothing(harness).await;
    }
    a_fence_is_final(harness).await;
    report
}

/// Runs the checks of an interface that goes away by itself, and is gone afterwards.
///
/// # Panics
/// When the backend doesn't do what the contract says.
pub async fn conformance_of_loss<H: InterfaceHarness>(harness: &H) {
    let (_, key) = identity(1);
    install(harness, vec![(key, psk(1), 1)]).await;
    harness.take_away().await;
    let backend = harness.backend();
    let begun = Instant::now();
    loop {
        match backend.list().await {
            Err(InterfaceError::Down | InterfaceError::Away) => break,
            Ok(_) | Err(InterfaceError::Backend(_)) => {
                let waited = begun.elapsed();
                assert!(waited < PATIENCE, "it does not say that it is not there");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    let late = harness.peer(key, Some(psk(2)), 1);
    let late = backend.install(vec![late]).await;
    let is_down = matches!(backend.list().await, Err(InterfaceError::Down));
    // In the process peers are kept also without a device, and nothing of theirs gets anywhere.
    assert!(late.is_err() || is_down, "a peer was let on nothing");
    backend.fence().await.expect("nothing passes it");
}

async fn only_the_installed_preshared_key_is_answered<H: InterfaceHarness>(harness: &H) {
    let (secret, key) = identity(1);
    let (right, wrong) = (psk(1), psk(2));
    let quiet = harness.silence();
    {
        let client = harness.client(secret, Some(right.clone()), 1).await;
        assert!(!client.probe(quiet).await, "answered before install");
        install(harness, vec![(key, right.clone(), 1)]).await;
        assert!(client.probe(PATIENCE).await, "no traffic after install");
        install(harness, vec![(key, wrong.clone(), 1)]).await;
        assert!(!client.probe(quiet).await, "a replaced preshared key works");
        let wanted = harness.peer(key, Some(wrong.clone()), 1);
        let listed = harness.backend().list().await.expect("list");
        let found = listed.iter().find(|peer| peer.key == key).expect("listed");
        let left = found.lease.zip(wanted.lease);
        let is_left = left.is_none_or(|(left, wanted)| left + quiet / 2 < wanted);
        assert!(is_left, "listed with more of its lease than is left");
    }
    let client = harness.client(identity(1).0, None, 1).await;
    assert!(!client.probe(quiet).await, "answered with no preshared key");
    drop(client);
    let client = harness.client(identity(1).0, Some(wrong), 1).await;
    assert!(client.probe(PATIENCE).await, "the new preshared key fails");
    remove(harness, key).await;
}

/// No one removes the peer, and a renewal gives it its new time.
async fn a_lease_that_is_over_passes_nothing<H: InterfaceHarness>(harness: &H) {
    let (secret, key) = identity(1);
    let leased = |lease| {
        let mut peer = harness.peer(key, Some(psk(1)), 1);
        peer.lease = Some(lease);
        vec![peer]
    };
    let backend = harness.backend();
    backend
        .install(leased(PATIENCE * 10))
        .await
        .expect("install");
    let client = harness.client(secret, Some(psk(1)), 1).await;
    let mut stream = client.stream().await.expect("a stream");
    assert!(stream.echo(PATIENCE).await, "the stream does not echo");
    let short = Duration::from_secs(1);
    backend.renew(leased(short)).await.expect("renew");
    tokio::time::sleep(short + ALLOWANCE).await;
    let quiet = harness.silence();
    assert!(!stream.echo(quiet).await, "a stream outlives its lease");
    assert!(!client.probe(quiet).await, "answered after the lease");
    backend.renew(leased(PATIENCE * 10)).await.expect("renew");
    assert!(client.probe(PATIENCE).await, "no traffic after a renewal");
    remove(harness, key).await;
}

async fn a_batch_gives_each_peer_its_own_key<H: InterfaceHarness>(harness: &H) {
    let batch: Vec<_> = (1..=3).map(|n| (identity(n).1, psk(n), n)).collect();
    install(harness, batch.clone()).await;
    let listed = harness.backend().list().await.expect("list");
    assert_eq!(listed.len(), batch.len(), "the list is not complete");
    for (key, psk, _) in &batch {
        let found = listed.iter().find(|peer| peer.key == *key);
        let found = found.expect("an installed peer is not listed");
        assert!(found.psk.as_ref() == Some(psk), "listed with another PSK");
    }
    for (key, right, n) in batch {
        let stranger = harness.client(identity(n).0, Some(psk(n % 3 + 1)), n).await;
        let answered = stranger.probe(harness.silence()).await;
        assert!(!answered, "a neighbour's preshared key works");
        drop(stranger);
        let client = harness.client(identity(n).0, Some(right), n).await;
        assert!(client.probe(PATIENCE).await, "a peer of a batch fails");
        let seen = harness.backend().activity(&[key]).await.expect("activity");
        assert!(
            matches!(&seen[..], [one] if one.key == key && one.received > 0 && one.sent > 0
                && one.last_handshake.is_some()),
            "activity does not tell of the traffic"
        );
        remove(harness, key).await;
    }
}

async fn a_large_batch_is_all_there_and_all_gone<H: InterfaceHarness>(harness: &H) {
    let backend = harness.backend();
    let numbers = 1..=200;
    let keys: Vec<_> = numbers.clone().map(|n| identity(n).1).collect();
    let batch = |psk: fn(u8) -> PresharedKey| -> Vec<_> {
        let numbered = keys.iter().zip(numbers.clone());
        numbered
            .map(|(key, n)| harness.peer(*key, Some(psk(n)), n))
            .collect()
    };
    backend.install(batch(psk)).await.expect("install");
    assert!(holds(harness, &batch(psk)).await, "not all are installed");
    let another = |n: u8| psk(255 - n);
    backend.renew(batch(another)).await.expect("renew");
    assert!(holds(harness, &batch(another)).await, "not all are renewed");
    backend.remove(&keys).await.expect("remove");
    assert!(holds(harness, &[]).await, "not all are removed");
}

async fn who_came_by_hand_is_listed_as_they_are_and_leave<H: InterfaceHarness>(harness: &H) {
    let backend = harness.backend();
    let (_, key) = identity(77);
    let stranger = harness.peer(key, Some(psk(77)), 77);
    if !harness.put_by_hand(&stranger).await {
        return;
    }
    let listed = backend.list().await.expect("list");
    let is_seen = listed.iter().any(|found| found.key == key);
    assert!(is_seen, "a stranger isn't listed");
    remove(harness, key).await;
    assert!(holds(harness, &[]).await, "a stranger isn't removed");
    // The list says what is there, and not what the backend was told.
    install(harness, vec![(key, psk(1), 1)]).await;
    let mut changed = harness.peer(key, Some(psk(2)), 1);
    changed.allowed_ips = harness.peer(key, None, 2).allowed_ips;
    harness.put_by_hand(&changed).await;
    let listed = backend.list().await.expect("list");
    let found = listed.iter().find(|peer| peer.key == key);
    let is_seen = found.is_some_and(|found| found.psk == changed.psk);
    assert!(is_seen, "a change by hand isn't listed");
    remove(harness, key).await;
}

async fn an_odd_peer_keeps_nobody_from_being_listed_and_removed<H: InterfaceHarness>(harness: &H) {
    if !harness.garble(true).await {
        return;
    }
    let batch: Vec<_> = (1..=2).map(|n| (identity(n).1, psk(n), n)).collect();
    install(harness, batch.clone()).await;
    let listed = harness.backend().list().await.expect("list");
    assert_eq!(listed.len(), batch.len(), "an odd peer isn't listed");
    let keys: Vec<_> = batch.iter().map(|(key, ..)| *key).collect();
    harness.backend().activity(&keys).await.expect("activity");
    for key in keys {
        remove(harness, key).await;
    }
    assert!(holds(harness, &[]).await, "an odd peer isn't removed");
    harness.garble(false).await;
}

/// Whether the backend lists these peers, with their keys, and no others.
async fn holds<H: InterfaceHarness>(harness: &H, peers: &[PeerConfig]) -> bool {
    let listed = harness.backend().list().await.expect("list");
    let is_listed = |peer: &PeerConfig| {
        let mut same = listed.iter().filter(|other| other.key == peer.key);
        same.any(|other| other.psk == peer.psk && other.allowed_ips == peer.allowed_ips)
    };
    listed.len() == peers.len() && peers.iter().all(is_listed)
}

pub(crate) async fn a_removed_peer_passes_nothing<H: InterfaceHarness>(
    harness: &H,
) -> InterfaceReport {
    let (secret, key) = identity(1);
    remove(harness, key).await; // absent
    install(harness, vec![(key, psk(1), 1)]).await;
    let client = harness.client(secret, Some(psk(1)), 1).await;
    assert!(client.probe(PATIENCE).await, "no traffic after install");
    let mut stream = client.stream().await.expect("a stream");
    assert!(stream.echo(PATIENCE).await, "the stream does not echo");
    let quiet = harness.silence();
    let begun = Instant::now();
    let echoes = async {
        let (mut last_sent, mut last) = (begun, begun);
        loop {
            let sent = Instant::now();
            if !stream.echo(quiet).await {
                break (last_sent, last);
            }
            (last_sent, last) = (sent, Instant::now());
        }
    };
    let removal = async {
        tokio::time::sleep(Duration::from_millis(50)).await; // in the middle of the stream
        let called = Instant::now();
        remove(harness, key).await;
        (called, Instant::now())
    };
    let ((last_sent, last), (called, returned)) = tokio::join!(echoes, removal);
    let late = last_sent.saturating_duration_since(returned);
    assert!(
        late <= ALLOWANCE,
        "a packet passed that was sent {late:?} after remove returned"
    );
    assert!(!client.probe(quiet).await, "a removed peer is answered");
    install(harness, vec![(key, psk(1), 1)]).await;
    assert!(client.probe(PATIENCE).await, "remove, then install fails");
    remove(harness, key).await;
    InterfaceReport {
        remove_took: returned - called,
        remove_to_last_packet: last.saturating_duration_since(called),
    }
}

async fn a_renewal_keeps_the_stream<H: InterfaceHarness>(harness: &H) {
    let (secret, key) = identity(1);
    install(harness, vec![(key, psk(1), 1)]).await;
    let client = harness.client(secret, Some(psk(1)), 1).await;
    assert!(client.probe(PATIENCE).await, "no traffic after install");
    let mut stream = client.stream().await.expect("a stream");
    let renewed = harness.peer(key, Some(psk(2)), 1);
    let renewal = harness.backend().renew(vec![renewed]).await;
    renewal.expect("renew");
    assert!(stream.echo(PATIENCE).await, "a renewal broke a stream");
    remove(harness, key).await;
}

async fn a_renewal_takes_the_new_preshared_key<H: InterfaceHarness>(harness: &H) {
    let (secret, key) = identity(1);
    install(harness, vec![(key, psk(1), 1)]).await;
    let client = harness.client(secret, Some(psk(1)), 1).await;
    assert!(client.probe(PATIENCE).await, "no traffic after install");
    let renewed = harness.peer(key, Some(psk(2)), 1);
    let renewal = harness.backend().renew(vec![renewed]).await;
    renewal.expect("renew");
    drop(client);
    let client = harness.client(identity(1).0, Some(psk(1)), 1).await;
    let answered = client.probe(harness.silence()).await;
    assert!(!answered, "the preshared key before the renewal works");
    drop(client);
    let client = harness.client(identity(1).0, Some(psk(2)), 1).await;
    assert!(client.probe(PATIENCE).await, "a renewal broke a peer");
    remove(harness, key).await;
}

async fn a_fence_is_final<H: InterfaceHarness>(harness: &H) {
    let (secret, key) = identity(1);
    install(harness, vec![(key, psk(1), 1)]).await;
    let client = harness.client(secret, Some(psk(1)), 1).await;
    assert!(client.probe(PATIENCE).await, "no traffic after install");
    harness.backend().fence().await.expect("fence");
    let answered = client.probe(harness.silence()).await;
    assert!(!answered, "answered after a fence");
    let late = harness.peer(key, Some(psk(1)), 1);
    let late = harness.backend().install(vec![late]).await;
    assert!(matches!(late, Err(InterfaceError::Down)), "not down");
}

fn identity(n: u8) -> (PrivateKey, PublicKey) {
    let mut bytes = [n; 32];
    bytes[1] = !n; // the interface's own key may be one of 32 like bytes
    let secret = PrivateKey::from_bytes(bytes);
    let key = secret.public_key();
    (secret, key)
}

fn psk(n: u8) -> PresharedKey {
    PresharedKey::from_bytes([n; 32])
}

async fn install<H: InterfaceHarness>(harness: &H, peers: Vec<(PublicKey, PresharedKey, u8)>) {
    let peers = peers
        .into_iter()
        .map(|(key, psk, slot)| harness.peer(key, Some(psk), slot))
        .collect();
    harness.backend().install(peers).await.expect("install");
}

async fn remove<H: InterfaceHarness>(harness: &H, key: PublicKey) {
    harness.backend().remove(&[key]).await.expect("remove");
}
