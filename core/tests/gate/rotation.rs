//! The key ring gets another key, and the old one goes: those who are in stay in.

use std::collections::BTreeMap;
use std::sync::Arc;

use mfagate::audit::{AuditKind, verify};
use mfagate::enrol::Registrar;
use mfagate::factor::totp::TotpVerifier;
use mfagate::interface::PeerConfig;
use mfagate::key::{PrivateKey, PublicKey};
use mfagate::runtime::{Gate, GateConfig, SystemClock};
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::sqlite::SqliteStore;
use mfagate::store::{MemoryStore, PeerStore};
use mfagate::testing::fake_interface::FakeInterface;
use mfagate::time::Clock;

use super::patience::{Visitor, is_granted, location};

/// What stays the same over restarts, but for the ring.
struct Site {
    store: Arc<dyn PeerStore>,
    interface: Arc<FakeInterface>,
    key: PrivateKey,
    clock: Arc<dyn Clock>,
}

impl Site {
    async fn start(&self, ring: &KeyRing) -> Gate {
        let mut config = GateConfig::new(
            location(),
            self.key.clone(),
            ring.clone(),
            Arc::clone(&self.store),
            self.interface.clone(),
        );
        config.verifiers.push(Arc::new(TotpVerifier::new()));
        Gate::start(config).await.unwrap()
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
async fn a_live_session_goes_on_when_the_key_that_sealed_it_is_dropped_after_a_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = SqliteStore::open(folder.path().join("gate.db")).unwrap();
    let stores: [Arc<dyn PeerStore>; 2] = [Arc::new(MemoryStore::new()), Arc::new(on_disk)];
    for store in stores {
        let site = Site {
            store,
            interface: Arc::new(FakeInterface::new()),
            key: PrivateKey::generate().unwrap(),
            clock: Arc::new(SystemClock::new()),
        };
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
