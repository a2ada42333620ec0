//! Ten thousand peers at once, and what one of them costs: printed, and not judged.

use std::sync::Arc;
use std::time::Instant;

use mfagate::interface::InterfaceBackend;
use mfagate::key::PublicKey;
use mfagate::testing::fake_interface::FakeInterface;

use crate::ground::Ground;
use crate::{HOUR, IN, guard, peer};

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_peers_in_one_batch() {
    let ground = Ground::new();
    let inner = Arc::new(FakeInterface::new());
    let guard = guard(&ground, &inner);
    let peers: Vec<_> = (0..10_000_u32)
        .map(|n| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            let address = std::net::Ipv4Addr::from_bits(0x0a4d_0000 + n);
            let mut peer = peer(0, &[&format!("{address}/32")], HOUR);
            peer.key = PublicKey::from_bytes(bytes);
            peer
        })
        .collect();
    let keys: Vec<_> = peers.iter().map(|peer| peer.key).collect();
    let took = |what: &str, begun: Instant, n: u32| {
        let each = begun.elapsed() / n;
        println!("{what}: {each:?} each");
    };
    let n = u32::try_from(peers.len()).unwrap();
    let begun = Instant::now();
    for peer in peers.iter().take(100) {
        guard.renew(vec![peer.clone()]).await.unwrap();
    }
    took("renew, one by one among 100", begun, 100);
    let begun = Instant::now();
    guard.install(peers.clone()).await.unwrap();
    took("install", begun, n);
    assert!(ground.passes(IN));
    let begun = Instant::now();
    guard.renew(peers.clone()).await.unwrap();
    took("renew", begun, n);
    let begun = Instant::now();
    let listed = guard.list().await.unwrap();
    took("list", begun, n);
    assert!(listed.iter().all(|peer| peer.allowed_ips.len() == 1));
    let begun = Instant::now();
    for peer in peers.iter().take(100) {
        guard.renew(vec![peer.clone()]).await.unwrap();
    }
    took("renew, one by one among 10,000", begun, 100);
    let begun = Instant::now();
    guard.remove(&keys).await.unwrap();
    took("remove", begun, n);
    assert!(!ground.passes(IN));
}
