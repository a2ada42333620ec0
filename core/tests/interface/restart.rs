//! A start with many live leases: what is asked of the interface.

use std::sync::Arc;
use std::time::Duration;

use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::PublicKey;
use mfagate::testing::fake_interface::{FakeInterface, Operation};

use crate::harness::GATE;
use crate::leased::Leased;
use crate::line::psk;

const HOUR: Duration = Duration::from_secs(3600);

fn peer(n: u16) -> PeerConfig {
    let [high, low] = n.to_be_bytes();
    let mut key = [7; 32];
    key[..2].copy_from_slice(&[high, low]);
    let inside = format!("10.9.{high}.{low}/32").parse().unwrap();
    PeerConfig::new(PublicKey::from_bytes(key), Some(psk(1)), vec![inside])
}

#[tokio::test]
async fn a_start_changes_only_the_peers_that_differ() {
    let leased = Leased::new(GATE).await;
    for n in 0..1200 {
        leased.admit(&peer(n), HOUR).await;
    }
    let interface = Arc::new(FakeInterface::new());
    // Five hundred are there, one of them with another key, and two more without a lease.
    let mut there: Vec<_> = (0..500).chain(2000..2002).map(peer).collect();
    there[7].psk = Some(psk(2));
    interface.install(there).await.unwrap();
    let before = interface.calls().len();
    let _gate = leased.gate(interface.clone()).await;

    let calls = interface.calls().split_off(before);
    let of = |operation| calls.iter().filter(move |call| call.operation == operation);
    assert_eq!(of(Operation::List).count(), 1);
    let installed: Vec<_> = of(Operation::Install)
        .map(|call| call.peers.len())
        .collect();
    assert_eq!(installed.iter().sum::<usize>(), 701);
    assert!(installed.iter().all(|part| *part <= 500), "{installed:?}");
    let removed = of(Operation::Remove).flat_map(|call| &call.peers);
    assert_eq!(removed.count(), 2);
    assert_eq!(interface.list().await.unwrap().len(), 1200);
}
