//! The key ring gets another key, and the old one goes: those who are in stay in.

use std::collections::BTreeMap;
use std::sync::Arc;

use mfagate::audit::{AuditEvent, AuditKind, EndReason, verify};
use mfagate::code::ErrorCode;
use mfagate::enrol::Registrar;
use mfagate::factor::totp::TotpVerifier;
use mfagate::gate::{Gate, GateConfig, StartError};
use mfagate::interface::PeerConfig;
use mfagate::key::{PrivateKey, PublicKey};
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::sqlite::SqliteStore;
use mfagate::store::{AdminStore, MemoryStore};
use mfagate::testing::fake_interface::FakeInterface;
use mfagate::time::{Clock, SystemClock};

use super::patience::{Visitor, is_granted, location};

/// What stays the same over restarts, but for the ring.
struct Site {
    store: Arc<dyn AdminStore>,
    interface: Arc<FakeInterface>,
    key: PrivateKey,
    clock: Arc<dyn Clock>,
}

impl Site {
    fn new(store: Arc<dyn AdminStore>) -> Self {
        Self {
            store,
            interface: Arc::new(FakeInterface::new()),
            key: PrivateKey::generate().unwrap(),
            clock: Arc::new(SystemClock::new()),
        }
    }

    async fn start(&self, ring: &KeyRing) -> Gate {
        self.try_start(ring).await.unwrap()
    }

    async fn try_start(&self, ring: &KeyRing) -> Result<Gate, StartError> {
        let mut config = GateConfig::new(
            location(),
            self.key.clone(),
            ring.clone(),
            self.store.clone(),
            self.interface.clone(),
        );
        config.verifiers.push(Arc::new(TotpVerifier::new()));
        Gate::start(config).await
    }

    fn registrar(&self, ring: &KeyRing) -> Registrar {
        Registrar::new(
            Arc::clone(&self.store),
            ring.clone(),
            Arc::clone(&self.clock),
        )
    }
}

#[tokio::test]
async fn a_live_session_survives_the_key_that_sealed_it() {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = SqliteStore::open(folder.path().join("gate.db")).unwrap();
    let stores: [Arc<dyn AdminStore>; 2] = [Arc::new(MemoryStore::new()), Arc::new(on_disk)];
    for store in stores {
        let site = Site::new(store);
        let (old, new) = (RingKey::generate().unwrap(), RingKey::generate().unwrap());
        let old_ring = KeyRing::new("old".parse().unwrap(), old.clone());
        let new_ring = KeyRing::new("new".parse().unwrap(), new);
        let both = new_ring.clone().with_older("old".parse().unwrap(), old);
        let gate = site.start(&old_ring).await;
        let registrar = site.registrar(&old_ring);
        let alice = Visitor::enrol(&registrar, gate.clone(), site.clock.clone(), "alice").await;
        assert!(is_granted(&alice.sign_in(true).await));
        let peers = site.interface.installed();
        gate.shutdown().await;

        // With both keys, while the gate is up.
        let gate = site.start(&both).await;
        let rotated = site.registrar(&both).rotate(&[location()]).await.unwrap();
        assert_eq!((rotated.factors, rotated.sessions), (1, 1));
        let again = site.registrar(&both).rotate(&[location()]).await.unwrap();
        assert_eq!((again.factors, again.sessions), (0, 0));
        let trail = site.store.audit(1, 1000).await.unwrap();
        verify(&trail).unwrap();
        let told = AuditKind::RingRotated {
            key: "new".parse().unwrap(),
            factors: 1,
            sessions: 1,
        };
        assert_eq!(trail.iter().filter(|it| it.event.kind == told).count(), 1);
        gate.shutdown().await;

        let gate = site.start(&new_ring).await;
        assert_eq!(gate.sessions().len(), 1);
        assert_eq!(site.interface.installed().len(), 1);
        let psk = |peers: &BTreeMap<PublicKey, PeerConfig>| {
            let psk = peers[&alice.peer()].psk.as_ref();
            *psk.expect("a key of the lease's").expose_secret()
        };
        assert_eq!(psk(&site.interface.installed()), psk(&peers));
        gate.shutdown().await;
    }
}

fn ring_of_one(name: &str) -> KeyRing {
    KeyRing::new(name.parse().unwrap(), RingKey::generate().unwrap())
}

/// Another ring by mistake, as after a move to another machine: nothing ends that the right one
/// would have opened, and who is on an interface that outlived the gate is off it.
#[tokio::test]
async fn a_ring_that_opens_nothing_is_refused_and_ends_nothing() {
    let site = Site::new(Arc::new(MemoryStore::new()));
    let (right, wrong) = (ring_of_one("test"), ring_of_one("test"));
    let gate = site.start(&right).await;
    let registrar = site.registrar(&right);
    let alice = Visitor::enrol(&registrar, gate.clone(), site.clock.clone(), "alice").await;
    assert!(is_granted(&alice.sign_in(true).await));
    let peers = site.interface.installed();
    gate.shutdown().await;

    for ring in [&wrong, &ring_of_one("other")] {
        peers
            .values()
            .cloned()
            .for_each(|peer| site.interface.plant(peer));
        let refused = site.try_start(ring).await;
        assert!(
            matches!(&refused, Err(error) if error.code() == "start-wrong-key-ring"),
            "{refused:?}"
        );
        assert!(
            site.interface.installed().is_empty(),
            "as for any failed start"
        );
        let live = site.store.live_sessions(&location()).await.unwrap();
        assert_eq!(live.len(), 1, "nothing has ended");
    }

    let gate = site.start(&right).await;
    assert_eq!(gate.sessions().len(), 1);
    gate.shutdown().await;

    // Factors alone tell it, too.
    let live = site.store.live_sessions(&location()).await.unwrap();
    let event = AuditEvent::new(site.clock.now().timestamp, AuditKind::Fenced);
    let closed = site
        .store
        .close_session(live[0].id, EndReason::Revoked, event);
    assert!(closed.await.unwrap());
    let refused = site.try_start(&wrong).await;
    assert!(
        matches!(&refused, Err(error) if error.code() == "start-wrong-key-ring"),
        "{refused:?}"
    );
    site.start(&right).await.shutdown().await;
}

#[tokio::test]
async fn a_ring_that_opens_some_ends_the_sessions_that_do_not() {
    let site = Site::new(Arc::new(MemoryStore::new()));
    let (old, new) = (ring_of_one("old"), ring_of_one("new"));
    let gate = site.start(&old).await;
    let registrar = site.registrar(&old);
    let alice = Visitor::enrol(&registrar, gate.clone(), site.clock.clone(), "alice").await;
    assert!(is_granted(&alice.sign_in(true).await));
    let registrar = site.registrar(&new);
    Visitor::enrol(&registrar, gate.clone(), site.clock.clone(), "bob").await;
    gate.shutdown().await;

    let gate = site.start(&new).await;
    assert!(gate.sessions().is_empty());
    gate.shutdown().await;
    let live = site.store.live_sessions(&location()).await.unwrap();
    assert!(live.is_empty());
}
