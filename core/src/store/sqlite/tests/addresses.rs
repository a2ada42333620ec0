//! Addresses, against the store in memory, which compares every peer with every other.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::store::{MemoryStore, Peer};

/// Prefixes that are near one another, or at either end, or everything.
fn prefix() -> impl Strategy<Value = IpNet> {
    let near = |bits: u32| prop_oneof![0..4_u32, Just(u32::MAX), Just(u32::MAX - 1), Just(bits)];
    let v4 = (near(1 << 31), 0..=32_u8).prop_map(|(bits, len)| (IpAddr::V4(bits.into()), len));
    let wide = |bits: u32| (u128::from(bits) << 96) | u128::from(bits);
    let v6 =
        (near(1), 0..=128_u8).prop_map(move |(bits, len)| (IpAddr::V6(wide(bits).into()), len));
    let both = prop_oneof![v4, v6];
    both.prop_map(|(address, len)| IpNet::new(address, len).unwrap())
}

fn peer(n: u8, allowed_ips: Vec<IpNet>) -> Peer {
    Peer {
        location: "office".parse().unwrap(),
        key: PublicKey::from_bytes([n; 32]),
        user: "alice".parse().unwrap(),
        allowed_ips,
        label: "a label".parse().unwrap(),
        enabled: true,
    }
}

/// What becomes of a peer: the address that is taken, if one is.
async fn put(store: &dyn AdminStore, peer: Peer) -> Option<IpNet> {
    let event = AuditEvent::new(
        Timestamp::from_millis(1),
        AuditKind::PeerPut { enabled: true },
    );
    match store.put_peer(peer, event).await {
        Ok(()) => None,
        Err(StoreError::AddressTaken { address, .. }) => Some(address),
        Err(error) => panic!("{error}"),
    }
}

async fn both_agree(peers: Vec<Peer>) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(folder.path().join("gate.db")).unwrap();
    let memory = MemoryStore::new();
    let both: [&dyn AdminStore; 2] = [&sqlite, &memory];
    for store in both {
        let (id, enabled) = ("alice".parse().unwrap(), true);
        let event = AuditEvent::new(Timestamp::from_millis(1), AuditKind::UserPut { enabled });
        let groups = Vec::new();
        let user = User {
            id,
            enabled,
            groups,
        };
        store.put_user(user, event).await.unwrap();
    }
    for peer in peers {
        let expected = put(&memory, peer.clone()).await;
        let found = put(&sqlite, peer).await;
        assert_eq!(
            found.is_some(),
            expected.is_some(),
            "{found:?} {expected:?}"
        );
    }
    let office = "office".parse().unwrap();
    let (theirs, ours) = (memory.peers(&office).await, sqlite.peers(&office).await);
    assert_eq!(ours.unwrap(), theirs.unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn both_stores_refuse_the_same_addresses(
        peers in prop::collection::vec((1..6_u8, prop::collection::vec(prefix(), 0..4)), 1..12),
    ) {
        let peers = peers.into_iter().map(|(n, prefixes)| peer(n, prefixes)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(both_agree(peers));
    }
}
