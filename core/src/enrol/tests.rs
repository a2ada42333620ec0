//! A registrar over a store in memory.

mod import;
mod life;
mod totp;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::factor::totp::TotpSecret;
use crate::key::PublicKey;
use crate::seal::{RingKey, SealError, SealFault, Sealed};
use crate::store::{FactorState, MemoryStore, StoreError};
use crate::testing::SimClock;

/// A registrar with one user, and what it works on.
struct Harness {
    registrar: Registrar,
    store: Arc<dyn AdminStore>,
    clock: SimClock,
    ring: KeyRing,
    user: UserId,
}

impl Harness {
    async fn open() -> Self {
        let store: Arc<dyn AdminStore> = Arc::new(MemoryStore::new());
        let clock = SimClock::default();
        let ring = KeyRing::new("one".parse().unwrap(), RingKey::from_bytes([7; 32]));
        let registrar = Registrar::new(Arc::clone(&store), ring.clone(), Arc::new(clock.clone()));
        let user: UserId = "alice".parse().unwrap();
        registrar.put_user(&user, true).await.unwrap();
        Self {
            registrar,
            store,
            clock,
            ring,
            user,
        }
    }

    async fn factor(&self, id: FactorId) -> FactorRecord {
        let factors = self.registrar.factors(&self.user).await.unwrap();
        factors.into_iter().find(|f| f.id == id).unwrap()
    }

    async fn last_audit(&self) -> AuditKind {
        let mut records = self.store.audit(1, usize::MAX).await.unwrap();
        records.pop().unwrap().event.kind
    }

    fn peer(&self, n: u8, addresses: &[&str]) -> Peer {
        Peer {
            location: "office".parse().unwrap(),
            key: PublicKey::from_bytes([n; 32]),
            user: self.user.clone(),
            allowed_ips: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            label: "a label".parse().unwrap(),
            enabled: true,
        }
    }
}

#[tokio::test]
async fn a_peer_needs_an_address_that_nobody_else_has_and_an_owner() {
    let harness = Harness::open().await;
    let registrar = &harness.registrar;
    let bare = registrar.put_peer(harness.peer(1, &[])).await;
    assert!(matches!(bare, Err(EnrolError(EnrolFault::NoAddress))));

    registrar
        .put_peer(harness.peer(1, &["10.0.0.0/30"]))
        .await
        .unwrap();
    let taken = registrar.put_peer(harness.peer(2, &["10.0.0.2/32"])).await;
    let taken = taken.unwrap_err();
    assert!(
        matches!(&taken, EnrolError(EnrolFault::AddressTaken { address, by })
        if *address == "10.0.0.2/32".parse().unwrap() && by.as_bytes() == &[1; 32])
    );
    assert!(
        taken.to_string().contains("10.0.0.2/32 overlaps"),
        "{taken}"
    );

    let orphan = Peer {
        user: "bob".parse().unwrap(),
        ..harness.peer(3, &["10.0.0.9/32"])
    };
    let orphan = registrar.put_peer(orphan).await;
    assert!(matches!(
        orphan,
        Err(EnrolError(EnrolFault::Store(StoreError::UnknownUser)))
    ));
    let peers = registrar.peers(&"office".parse().unwrap()).await.unwrap();
    assert_eq!(peers, [harness.peer(1, &["10.0.0.0/30"])]);
}

#[tokio::test]
async fn a_factor_of_someone_elses_is_not_touched() {
    let harness = Harness::open().await;
    let registrar = &harness.registrar;
    let bob: UserId = "bob".parse().unwrap();
    registrar.put_user(&bob, true).await.unwrap();
    let phone = registrar
        .begin_totp(&harness.user, &"phone".parse().unwrap(), "test")
        .await
        .unwrap();
    for refused in [
        registrar.remove_factor(&bob, phone.factor).await,
        registrar.reset_failures(&bob, phone.factor).await,
    ] {
        assert!(matches!(refused, Err(EnrolError(EnrolFault::NoFactor))));
    }
    registrar
        .remove_factor(&harness.user, phone.factor)
        .await
        .unwrap();
    assert!(registrar.factors(&harness.user).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_rotation_reseals_and_stops_at_what_does_not_open() {
    let harness = Harness::open().await;
    let phone = harness
        .registrar
        .begin_totp(&harness.user, &"phone".parse().unwrap(), "test")
        .await
        .unwrap();
    let newer = KeyRing::new("two".parse().unwrap(), RingKey::from_bytes([8; 32]));
    let over = |ring: KeyRing| {
        Registrar::new(
            Arc::clone(&harness.store),
            ring,
            Arc::new(harness.clock.clone()),
        )
    };
    let office = ["office".parse().unwrap()];
    let before = harness.last_audit().await;
    let stuck = over(newer.clone()).rotate(&office).await;
    assert!(matches!(
        stuck,
        Err(EnrolError(EnrolFault::Seal(SealError(
            SealFault::UnknownKey { .. }
        ))))
    ));

    let both = newer
        .clone()
        .with_older("one".parse().unwrap(), RingKey::from_bytes([7; 32]));
    assert_eq!(harness.last_audit().await, before, "nothing was done");
    for factors in [1, 0] {
        let rotated = over(both.clone()).rotate(&office).await.unwrap();
        assert_eq!((rotated.factors, rotated.sessions), (factors, 0));
        let told = AuditKind::RingRotated {
            key: "two".parse().unwrap(),
            factors,
            sessions: 0,
        };
        assert_eq!(harness.last_audit().await, told);
    }
    let record = harness.factor(phone.factor).await;
    let opened = newer
        .open(&AssociatedData::from(&record), &record.sealed)
        .unwrap();
    assert_eq!(
        opened.expose_secret(),
        phone.secret.to_secret().expose_secret()
    );
}
