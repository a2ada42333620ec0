//! Many at once, as an embedder meets it.

use super::*;
use crate::enrol::{AddressPlan, ImportEntry, ImportError, NewPeer};
use crate::store::PeerStore;

fn entry(user: &str, key: Option<u8>, addresses: &[&str]) -> ImportEntry {
    let peer = key.map(|key| NewPeer {
        location: "office".parse().unwrap(),
        key: PublicKey::from_bytes([key; 32]),
        label: "laptop".parse().unwrap(),
        addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
    });
    ImportEntry {
        user: user.parse().unwrap(),
        groups: None,
        peer,
        token: None,
    }
}

#[tokio::test]
async fn an_import_is_all_or_nothing_and_tells_every_fault() {
    let store = Arc::new(MemoryStore::new());
    let ring = KeyRing::new("test".parse().unwrap(), RingKey::generate().unwrap());
    let clock = Arc::new(SimClock::default());
    let plan = AddressPlan::new(["10.9.0.1/24".parse().unwrap()], []);
    let registrar = Registrar::new(store.clone(), ring, clock).with_addresses(plan);

    let faulty = vec![
        entry("alice", Some(1), &[]),
        entry("bob", Some(2), &["10.9.0.1/32"]),
        entry("carol", Some(1), &[]),
        entry("dave", Some(3), &["10.9.0.2/32"]),
    ];
    let refused = registrar.import(faulty).await;
    let Err(ImportError::Refused(faults)) = refused else {
        panic!("should have been refused: {refused:?}");
    };
    assert!(
        matches!(
            &*faults,
            [
                (1, EnrolError(EnrolFault::Address(_))),
                (2, EnrolError(EnrolFault::KnownPeer)),
                (3, EnrolError(EnrolFault::AddressTaken { .. }))
            ]
        ),
        "{faults:?}"
    );
    assert!(registrar.users().await.unwrap().is_empty());

    let mut disabled = entry("alice", Some(2), &[]);
    disabled.groups = Some(vec!["staff".parse().unwrap()]);
    registrar
        .import(vec![entry("alice", Some(1), &[])])
        .await
        .unwrap();
    registrar
        .put_user(&"alice".parse().unwrap(), false)
        .await
        .unwrap();
    let imported = registrar.import(vec![disabled]).await.unwrap();
    let peer = imported[0].peer.as_ref().unwrap();
    assert_eq!(peer.allowed_ips, ["10.9.0.3/32".parse().unwrap()]);
    let users = registrar.users().await.unwrap();
    assert_eq!(
        (users.len(), users[0].enabled),
        (1, false),
        "enabled by none"
    );
    assert_eq!(users[0].groups.len(), 1);

    let records = store.audit(0, 100).await.unwrap();
    let puts = records
        .iter()
        .filter(|record| matches!(record.event.kind, AuditKind::UserPut { .. }));
    assert_eq!(puts.count(), 2, "added once, and disabled");
}
