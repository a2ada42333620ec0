//! A location with live sessions in its store, as a gate leaves it that is killed.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mfagate::audit::{AuditEvent, AuditKind};
use mfagate::factor::totp::TotpVerifier;
use mfagate::gate::{Gate, GateConfig};
use mfagate::id::SessionId;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use mfagate::policy::{Policy, Throttle};
use mfagate::seal::{AssociatedData, KeyRing, RingKey};
use mfagate::store::sqlite::SqliteStore;
use mfagate::store::{AdminStore, FactorUse, NewSession, OpenOutcome, PeerStore, User};
use mfagate::time::{Clock, SystemClock, Timestamp};

use crate::floor::Error;
use crate::gate::records::{assurance, enrolment, factor, fill, location, session, user};

/// How long the leases last: longer than any bench.
const LEASE: Duration = Duration::from_secs(3600);
/// Admissions that are under way at once.
const AT_ONCE: u32 = 64;
const PSK: [u8; 32] = [7; 32];

/// The store, and what opens it.
pub(super) struct Fleet {
    store: Arc<SqliteStore>,
    ring: KeyRing,
    pub(super) key: PrivateKey,
    _folder: tempfile::TempDir,
}

impl Fleet {
    /// So many live sessions, each of a peer of its own.
    pub(super) async fn admit(count: u32) -> Result<Self, Error> {
        let folder = match tempfile::tempdir_in(Path::new("target")) {
            Ok(folder) => folder,
            Err(_) => tempfile::tempdir()?, // not in the workspace
        };
        let fleet = Self {
            store: Arc::new(SqliteStore::open(folder.path().join("bench.db"))?),
            ring: KeyRing::new("bench".parse()?, RingKey::generate()?),
            key: PrivateKey::generate()?,
            _folder: folder,
        };
        let owner = User {
            id: user(),
            enabled: true,
            groups: Vec::new(),
        };
        fleet.store.put_user(owner, event()).await?;
        let now = SystemClock::new().now().timestamp;
        let mut tasks = tokio::task::JoinSet::new();
        for first in 0..AT_ONCE.min(count) {
            let (store, ring) = (Arc::clone(&fleet.store), fleet.ring.clone());
            tasks.spawn(async move {
                // A user's factor is used by one admission at a time.
                store.add_factor(factor(first), event()).await?;
                let step = usize::try_from(AT_ONCE).unwrap_or(1);
                for number in (first..count).step_by(step) {
                    let mut enrolled = enrolment(key(number)).peer;
                    enrolled.allowed_ips = peer(number).allowed_ips;
                    store.put_peer(enrolled, event()).await?;
                    let new = new_session(&ring, number, first, now)?;
                    let opened = store.open_session(new).await?;
                    if !matches!(opened, OpenOutcome::Opened { .. }) {
                        return Err(format!("an admission failed: {opened:?}").into());
                    }
                }
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done?.map_err(|error| error.to_string())?;
        }
        Ok(fleet)
    }

    /// Starts a gate on an interface; returns when it is open.
    pub(super) async fn open(&self, interface: Arc<dyn InterfaceBackend>) -> Result<Gate, Error> {
        let store: Arc<dyn PeerStore> = self.store.clone();
        let mut config = GateConfig::new(
            location(),
            self.key.clone(),
            self.ring.clone(),
            store,
            interface,
        );
        config.policy = Policy::default();
        config.verifiers.push(Arc::new(TotpVerifier::new()));
        Ok(Gate::start(config).await?)
    }
}

/// The private key of the peer that sends packets, which is the first.
pub(super) const fn first_key() -> PrivateKey {
    PrivateKey::from_bytes([5; 32])
}

/// The peer of this number, as a gate installs it.
pub(super) fn peer(number: u32) -> PeerConfig {
    let [_, a, b, c] = number.to_be_bytes();
    let address = IpAddr::from([10, a + 1, b, c]);
    let mut peer = PeerConfig::new(
        key(number),
        Some(PresharedKey::from_bytes(PSK)),
        vec![address.into()],
    );
    peer.lease = Some(LEASE);
    peer
}

fn key(number: u32) -> PublicKey {
    if number == 0 {
        first_key().public_key()
    } else {
        PublicKey::from_bytes(fill(number))
    }
}

fn new_session(
    ring: &KeyRing,
    number: u32,
    by: u32,
    now: Timestamp,
) -> Result<NewSession, mfagate::seal::SealError> {
    let (id, location, user, peer) = (session(number), location(), user(), peer(number));
    let factor = factor(by).id;
    let not_after = now + LEASE;
    let row = AssociatedData::Session {
        id: &id,
        location: &location,
        peer: &peer.key,
        user: &user,
        allowed_ips: &peer.allowed_ips,
        verified_at: now,
        not_after,
        renewable_until: not_after,
        factors: &[factor],
    };
    let psk = ring.seal(&row, &PSK)?;
    Ok(NewSession {
        id: SessionId::from_bytes(*id.as_bytes()),
        location,
        peer: peer.key,
        user,
        allowed_ips: peer.allowed_ips,
        verified_at: now,
        not_after,
        renewable_until: not_after,
        psk,
        assurance: vec![assurance(now)],
        factor_uses: vec![FactorUse {
            factor,
            counter: Some(u64::from(number) + 1),
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
    })
}

fn event() -> AuditEvent {
    AuditEvent::new(
        Timestamp::from_millis(1),
        AuditKind::UserPut { enabled: true },
    )
}
