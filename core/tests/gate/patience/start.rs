//! Starts with many sessions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::assurance::{Assurance, FactorKind};
use mfagate::audit::{AuditEvent, AuditKind};
use mfagate::enrol::Registrar;
use mfagate::factor::totp::TotpVerifier;
use mfagate::gate::Gate;
use mfagate::id::{SessionId, UserId};
use mfagate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::key::PublicKey;
use mfagate::seal::{AssociatedData, KeyRing, Sealed, SecretBytes};
use mfagate::store::{AdminStore, MemoryStore, NewSession, Peer, PeerStore};
use mfagate::testing::FaultyStore;
use mfagate::testing::fake_interface::FakeInterface;
use mfagate::time::{Clock, Timestamp};

use super::{STEP, config, location};

#[tokio::test(start_paused = true)]
async fn a_start_with_more_ends_than_event_places_opens_the_gate() {
    const MANY: u32 = 5000;
    let store = FaultyStore::new(MemoryStore::new());
    let (mut config, clock) = config(&store, Arc::new(FakeInterface::new()));
    config.verifiers.push(Arc::new(TotpVerifier::new()));
    let now = clock.now().timestamp;
    for number in 0..MANY {
        leave_session(&store, number, now, None).await;
    }
    // One thing that opens: a ring that opens nothing would be the wrong one.
    let (shared, ring) = (Arc::new(store.clone()), config.key_ring.clone());
    let registrar = Registrar::new(shared, ring, Arc::clone(&clock));
    let secret = SecretBytes::new(vec![1; 20]);
    let alice = "alice".parse().unwrap();
    let label = "app".parse().unwrap();
    let added = registrar.add_factor(&alice, FactorKind::TOTP, &label, &secret, None);
    added.await.unwrap();

    let gate = Gate::start(config).await.unwrap();

    assert!(gate.sessions().is_empty());
    tokio::time::sleep(STEP).await;
    assert!(store.live_sessions(&location()).await.unwrap().is_empty());
}

/// An interface that takes a second for every call, and on which each lease is to end at one time.
struct Slow {
    inner: FakeInterface,
    clock: Arc<dyn Clock>,
    end: Timestamp,
}

impl Slow {
    fn look_at(&self, peers: &[PeerConfig]) {
        let now = self.clock.now().timestamp;
        for lease in peers.iter().map(|peer| peer.lease) {
            assert_eq!(lease.map(|left| now + left), Some(self.end));
        }
    }
}

#[async_trait]
impl InterfaceBackend for Slow {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.look_at(&peers);
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.inner.install(peers).await
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        self.inner.remove(peers).await
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        self.inner.list().await
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        self.inner.activity(peers).await
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        self.inner.fence().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_restart_on_a_slow_interface_lets_no_lease_last_longer() {
    const MANY: u32 = 1200;
    let store = FaultyStore::new(MemoryStore::new());
    let (mut config, clock) = config(&store, Arc::new(FakeInterface::new()));
    config.verifiers.push(Arc::new(TotpVerifier::new()));
    let now = clock.now().timestamp;
    for number in 0..MANY {
        leave_session(&store, number, now, Some(&config.key_ring)).await;
    }
    config.interface = Arc::new(Slow {
        inner: FakeInterface::new(),
        clock,
        end: now + STEP,
    });

    let gate = Gate::start(config).await.unwrap();

    assert_eq!(gate.sessions().len(), usize::try_from(MANY).unwrap());
}

/// A session of an earlier run. Without a ring it does not open.
async fn leave_session(store: &FaultyStore, number: u32, now: Timestamp, ring: Option<&KeyRing>) {
    // Of many users: a store may look at all that one user has.
    let user: UserId = match number % 100 {
        0 => "alice".to_owned(),
        other => format!("user{other}"),
    }
    .parse()
    .unwrap();
    let mut name = [0; 32];
    name[..4].copy_from_slice(&number.to_be_bytes());
    let peer = PublicKey::from_bytes(name);
    let allowed_ips = vec![std::net::IpAddr::from(number.to_be_bytes()).into()];
    let event = AuditEvent::new(now, AuditKind::UserPut { enabled: true });
    let owner = mfagate::store::User {
        id: user.clone(),
        enabled: true,
        groups: Vec::new(),
    };
    store.put_user(owner, event).await.unwrap();
    let event = AuditEvent::new(now, AuditKind::PeerPut { enabled: true });
    let enrolled = Peer {
        location: location(),
        key: peer,
        user: user.clone(),
        allowed_ips: allowed_ips.clone(),
        label: "a label".parse().unwrap(),
        enabled: true,
    };
    store.put_peer(enrolled, event).await.unwrap();
    let kind = AuditKind::Admitted {
        not_after: now + STEP,
        factors: Vec::new(),
    };
    let (id, location) = (SessionId::generate().unwrap(), location());
    let not_after = now + STEP;
    let row = AssociatedData::Session {
        id: &id,
        location: &location,
        peer: &peer,
        user: &user,
        allowed_ips: &allowed_ips,
        verified_at: now,
        not_after,
        renewable_until: not_after,
        factors: &[],
    };
    let psk = ring.map(|ring| ring.seal(&row, &[1; 32]).unwrap());
    let session = NewSession {
        id,
        location,
        peer,
        user,
        allowed_ips,
        verified_at: now,
        not_after,
        renewable_until: not_after,
        psk: psk.unwrap_or_else(|| Sealed::from_bytes(Vec::new())),
        assurance: vec![Assurance::least(FactorKind::TOTP, now)],
        factor_uses: Vec::new(),
        throttle: mfagate::policy::Throttle::default(),
        most_per_user: None,
        event: AuditEvent::new(now, kind),
    };
    store.open_session(session).await.unwrap();
}
