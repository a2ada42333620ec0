//! A file of the first version, written by the library as it was then, with its secrets sealed.
//!
//! `v1.sql` is the dump of that file: alice has a peer, three factors of four that there were, a
//! session that was superseded and one that is live; bob is disabled.

use super::*;
use crate::audit::AuditKind;
use crate::id::CredentialId;
use crate::seal::{AssociatedData, KeyRing, RingKey};
use crate::store::{FactorState, LastFactor};

fn first_version(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("gate.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(include_str!("v1.sql")).unwrap();
    path
}

fn alice() -> UserId {
    "alice".parse().unwrap()
}

fn factor_id(n: u8) -> FactorId {
    FactorId::from_bytes([n; 16])
}

fn ring() -> KeyRing {
    KeyRing::new("one".parse().unwrap(), RingKey::from_bytes([7; 32]))
}

#[tokio::test]
async fn a_file_of_the_first_version_keeps_all_that_it_holds() {
    let directory = directory();
    let path = first_version(&directory);
    drop(SqliteStore::open(&path).unwrap());
    let store = SqliteStore::open(&path).unwrap();

    let users = store.users().await.unwrap();
    let users: Vec<_> = users
        .iter()
        .map(|user| (user.id.as_str(), user.enabled, user.groups.len()))
        .collect();
    assert_eq!(users, [("alice", true, 0), ("bob", false, 0)]);

    let factors = store.factors(&alice()).await.unwrap();
    let found: Vec<_> = factors
        .iter()
        .map(|f| (f.id, f.state, f.last_counter, f.failures.count))
        .collect();
    let expected = [
        (factor_id(1), FactorState::Active, Some(2), 0),
        (factor_id(2), FactorState::Pending, None, 0),
        (factor_id(3), FactorState::Active, None, 1),
    ];
    assert_eq!(found, expected);
    for factor in &factors {
        assert_eq!(factor.credential, None);
        let secret = ring()
            .open(&AssociatedData::from(factor), &factor.sealed)
            .unwrap();
        assert_eq!(secret.expose_secret(), b"secret");
    }

    let location = "office".parse().unwrap();
    let peers = store.peers(&location).await.unwrap();
    assert_eq!(peers.len(), 1);
    let live = store.live_sessions(&location).await.unwrap();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].generation.get(), 2);
    assert!(live[0].factors.is_empty(), "they were not kept then");
    assert_eq!(live[0].renewable_until, live[0].not_after, "nor was this");
    let psk = ring()
        .open(&AssociatedData::from(&live[0]), &live[0].psk)
        .unwrap();
    assert_eq!(psk.expose_secret(), [9; 32], "its lease goes on");

    let records = store.audit(1, usize::MAX).await.unwrap();
    crate::audit::verify(&records).unwrap();
    assert_eq!(records.len(), 12);
}

#[tokio::test]
async fn a_first_versions_session_ends_with_any_of_its_factors() {
    let directory = directory();
    let store = SqliteStore::open(first_version(&directory)).unwrap();
    let event = AuditEvent::new(Timestamp::from_millis(1), AuditKind::FactorRemoved);
    let removed = store.remove_factor(factor_id(3), LastFactor::Keep, event);
    assert!(removed.await.unwrap());
    let live = store.live_sessions(&"office".parse().unwrap()).await;
    assert!(live.unwrap().is_empty(), "which one opened it is not known");
}

#[tokio::test]
async fn a_file_of_the_first_version_takes_what_the_second_has() {
    let directory = directory();
    let store = SqliteStore::open(first_version(&directory)).unwrap();
    let old = store.factors(&alice()).await.unwrap().remove(0);
    let new = |n| FactorRecord {
        id: factor_id(n),
        state: FactorState::Suspended,
        credential: CredentialId::new(vec![1]),
        ..old.clone()
    };
    let kind = AuditKind::FactorAdded {
        kind: old.kind.clone(),
    };
    let event = AuditEvent::new(Timestamp::from_millis(1), kind);
    store.add_factor(new(9), event.clone()).await.unwrap();
    let again = store.add_factor(new(8), event).await;
    assert!(matches!(again, Err(StoreError::CredentialTaken)));
    let factors = store.factors(&alice()).await.unwrap();
    assert_eq!(factors.last(), Some(&new(9)), "the newest is the last");
}

/// Such a label was taken from a client once, and the challenge that offered two of them was longer
/// than a body may be: their user could not sign in any more.
#[tokio::test]
async fn labels_older_than_their_rule_fit_into_a_challenge() {
    let directory = directory();
    let path = first_version(&directory);
    let long = format!("a\u{1b}[2J\n{}", "x".repeat(50_000));
    let old = Connection::open(&path).unwrap();
    for table in ["factors", "peers"] {
        let sql = format!("UPDATE {table} SET label = ?");
        assert!(old.execute(&sql, [&long]).unwrap() > 0);
    }
    drop(old);

    let store = SqliteStore::open(path).unwrap();
    let factors = store.factors(&alice()).await.unwrap();
    let peers = store.peers(&"office".parse().unwrap()).await.unwrap();
    let labels = factors.iter().map(|factor| &factor.label);
    for label in labels.chain(peers.iter().map(|peer| &peer.label)) {
        assert_eq!(label.as_str().parse().as_ref(), Ok(label));
        assert!(label.as_str().starts_with("a\u{fffd}[2J\u{fffd}xx"));
    }
}
