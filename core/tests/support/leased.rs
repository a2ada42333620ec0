//! A gate whose store holds live sessions already, so that a test can have peers admitted without
//! a ceremony of each: as after a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mfagate::assurance::{Assurance, FactorKind};
use mfagate::audit::{AuditEvent, AuditKind};
use mfagate::factor::totp::TotpVerifier;
use mfagate::gate::{Gate, GateConfig};
use mfagate::id::{FactorId, LocationId, SessionId, UserId};
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::PrivateKey;
use mfagate::policy::{Failures, Policy, Throttle};
use mfagate::seal::{AssociatedData, KeyRing, RingKey, Sealed};
use mfagate::store::{
    AdminStore, FactorRecord, FactorState, FactorUse, MemoryStore, NewSession, OpenOutcome, Peer,
    PeerStore, User,
};
use mfagate::time::{Clock, SystemClock, Timestamp};

/// The store of one location, and what opens it.
pub(crate) struct Leased {
    store: Arc<MemoryStore>,
    ring: KeyRing,
    key: PrivateKey,
    user: UserId,
    location: LocationId,
    factor: FactorId,
    sessions: AtomicU64,
}

impl Leased {
    pub(crate) async fn new(key: PrivateKey) -> Self {
        let leased = Self {
            store: Arc::new(MemoryStore::new()),
            ring: KeyRing::new("test".parse().unwrap(), RingKey::generate().unwrap()),
            key,
            user: "alice".parse().unwrap(),
            location: "office".parse().unwrap(),
            factor: FactorId::from_bytes([1; 16]),
            sessions: AtomicU64::new(0),
        };
        let user = User {
            id: leased.user.clone(),
            enabled: true,
            groups: Vec::new(),
        };
        leased.store.put_user(user, event()).await.unwrap();
        let factor = FactorRecord {
            id: leased.factor,
            user: leased.user.clone(),
            kind: FactorKind::TOTP,
            label: "a label".parse().unwrap(),
            credential: None,
            sealed: Sealed::from_bytes(vec![7; 80]),
            state: FactorState::Active,
            last_counter: None,
            failures: Failures::default(),
        };
        leased.store.add_factor(factor, event()).await.unwrap();
        leased
    }

    /// Has the store hold a session of this peer.
    pub(crate) async fn admit(&self, peer: &PeerConfig, lease: Duration) {
        let nth = self.sessions.fetch_add(1, Ordering::SeqCst) + 1;
        let enrolled = Peer {
            location: self.location.clone(),
            key: peer.key,
            user: self.user.clone(),
            allowed_ips: peer.allowed_ips.clone(),
            label: "a label".parse().unwrap(),
            enabled: true,
        };
        self.store.put_peer(enrolled, event()).await.unwrap();
        let opened = self
            .store
            .open_session(self.session(peer, nth, lease))
            .await;
        assert!(
            matches!(opened, Ok(OpenOutcome::Opened { .. })),
            "{opened:?}"
        );
    }

    /// Starts a gate: when it is open, who was admitted is on the interface.
    pub(crate) async fn gate(&self, interface: Arc<dyn InterfaceBackend>) -> Gate {
        self.gate_under(Policy::default(), interface).await
    }

    /// The same, under a policy.
    pub(crate) async fn gate_under(
        &self,
        policy: Policy,
        interface: Arc<dyn InterfaceBackend>,
    ) -> Gate {
        let store: Arc<dyn PeerStore> = self.store.clone();
        let mut config = GateConfig::new(
            self.location.clone(),
            self.key.clone(),
            self.ring.clone(),
            store,
            interface,
        );
        config.policy = policy;
        config.verifiers.push(Arc::new(TotpVerifier::new()));
        Gate::start(config).await.unwrap()
    }

    fn session(&self, peer: &PeerConfig, nth: u64, lease: Duration) -> NewSession {
        let now = SystemClock::new().now().timestamp;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&nth.to_be_bytes());
        let (id, not_after) = (SessionId::from_bytes(id), now + lease);
        let row = AssociatedData::Session {
            id: &id,
            location: &self.location,
            peer: &peer.key,
            user: &self.user,
            allowed_ips: &peer.allowed_ips,
            verified_at: now,
            not_after,
            renewable_until: not_after,
            factors: &[self.factor],
        };
        let psk = self
            .ring
            .seal(&row, peer.psk.as_ref().unwrap().expose_secret());
        let assurance = Assurance {
            replay_resistant: true,
            ..Assurance::least(FactorKind::TOTP, now)
        };
        NewSession {
            psk: psk.unwrap(),
            id,
            location: self.location.clone(),
            peer: peer.key,
            user: self.user.clone(),
            allowed_ips: peer.allowed_ips.clone(),
            verified_at: now,
            not_after,
            renewable_until: not_after,
            assurance: vec![assurance],
            factor_uses: vec![FactorUse {
                factor: self.factor,
                counter: Some(nth),
                replace_secret: None,
                credential: None,
            }],
            throttle: Throttle::default(),
            most_per_user: None,
            event: AuditEvent::new(
                now,
                AuditKind::Admitted {
                    not_after,
                    factors: Vec::new(),
                },
            ),
        }
    }
}

fn event() -> AuditEvent {
    AuditEvent::new(
        Timestamp::from_millis(1),
        AuditKind::UserPut { enabled: true },
    )
}
