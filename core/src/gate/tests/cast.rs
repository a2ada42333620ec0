//! Who is enrolled, by which policy, and what a right code is.

use std::time::Duration;

use crate::assurance::{Assurance, FactorKind};
use crate::audit::{AuditEvent, AuditKind};
use crate::channel::message::Answer;
use crate::factor::{Proof, Verdict, VerifyError};
use crate::gate::Subject;
use crate::id::{FactorId, LocationId, UserId};
use crate::key::PublicKey;
use crate::policy::{Failures, Policy, Throttle};
use crate::seal::Sealed;
use crate::store::{FactorRecord, FactorState, Peer, PeerStore, User};
use crate::time::Timestamp;

use super::world::ready;

pub(super) const LAPTOP: PublicKey = PublicKey::from_bytes([0xA1; 32]);
pub(super) const PHONE: PublicKey = PublicKey::from_bytes([0xA2; 32]);
pub(super) const BOBS: PublicKey = PublicKey::from_bytes([0xB1; 32]);
pub(super) const PEERS: [PublicKey; 3] = [LAPTOP, PHONE, BOBS];
pub(super) const USERS: [&str; 2] = ["ada", "bob"];
pub(super) const WRONG: &str = "000000";

/// Short spans, so that few steps reach far: three leases to a factor, two free tries.
pub(super) fn policy() -> Policy {
    Policy {
        max_age: Duration::from_secs(1800),
        lease: Duration::from_secs(600),
        warn_before: Duration::from_secs(60),
        attempt_ttl: Duration::from_secs(120),
        throttle: Throttle {
            free: 2,
            disable_at: 6,
            ..Throttle::default()
        },
        ..Policy::default()
    }
}

pub(super) fn location() -> LocationId {
    "office".parse().unwrap()
}

pub(super) fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

pub(super) fn owner(peer: PublicKey) -> UserId {
    user(if peer == BOBS { "bob" } else { "ada" })
}

/// Enrols everybody.
pub(super) fn enrol(store: &dyn PeerStore, now: Timestamp) {
    for (n, name) in (1..).zip(USERS) {
        put_user(store, name, true, now);
        add_factor(store, name, FactorId::from_bytes([n; 16]), now);
    }
    for peer in PEERS {
        put_peer(store, peer, true, now);
    }
}

pub(super) fn put_user(store: &dyn PeerStore, name: &str, enabled: bool, now: Timestamp) {
    let event = AuditEvent::new(now, AuditKind::UserPut { enabled });
    let id = user(name);
    let groups = Vec::new();
    let user = User {
        id,
        enabled,
        groups,
    };
    ready(store.put_user(user, event)).unwrap();
}

pub(super) fn put_peer(store: &dyn PeerStore, key: PublicKey, enabled: bool, now: Timestamp) {
    let address = format!("10.0.0.{}/32", key.as_bytes()[0]);
    put_peer_at(store, key, &address, enabled, now);
}

pub(super) fn put_peer_at(
    store: &dyn PeerStore,
    key: PublicKey,
    address: &str,
    enabled: bool,
    now: Timestamp,
) {
    let event = AuditEvent::new(now, AuditKind::PeerPut { enabled });
    let peer = Peer {
        location: location(),
        key,
        user: owner(key),
        allowed_ips: vec![address.parse().unwrap()],
        label: String::new(),
        enabled,
    };
    ready(store.put_peer(peer, event)).unwrap();
}

pub(super) fn add_factor(store: &dyn PeerStore, name: &str, id: FactorId, now: Timestamp) {
    let kind = FactorKind::TOTP;
    let event = AuditEvent::new(now, AuditKind::FactorAdded { kind: kind.clone() });
    let factor = FactorRecord {
        id,
        user: user(name),
        kind,
        label: String::new(),
        credential: None,
        sealed: Sealed::from_bytes(Vec::new()),
        state: FactorState::Active,
        last_step: None,
        failures: Failures::default(),
    };
    ready(store.add_factor(factor, event)).unwrap();
}

fn step_at(now: Timestamp) -> u64 {
    now.as_secs() / 30
}

/// The right code at that time: its time step.
pub(super) fn code_at(now: Timestamp) -> String {
    format!("{:010}", step_at(now))
}

/// A verifier that, like a real one, takes the codes of this time step and its neighbours, and
/// leaves it to the store whether one was used.
pub(super) fn verify(
    subject: &Subject,
    answer: &Answer,
    now: Timestamp,
) -> Result<Verdict, VerifyError> {
    let Answer::Code { code } = answer else {
        return Err(VerifyError::Unfit);
    };
    let step: u64 = code.expose_secret().parse().unwrap();
    if step.abs_diff(step_at(now)) > 1 {
        return Err(VerifyError::Wrong);
    }
    let assurance = Assurance {
        replay_resistant: true,
        ..Assurance::least(FactorKind::TOTP, now)
    };
    let proof = Proof {
        consume: Some(step),
        ..Proof::new(subject.factor.id, assurance)
    };
    Ok(proof.into())
}
