//! Who is enrolled, with which factors, and by which policy.

use std::time::Duration;

use crate::assurance::FactorKind;
use crate::audit::{AuditEvent, AuditKind};
use crate::id::{FactorId, GroupId, LocationId, UserId};
use crate::key::PublicKey;
use crate::policy::{Failures, Policy, Step, Throttle};
use crate::seal::{AssociatedData, KeyRing};
use crate::store::{AdminStore, FactorRecord, FactorState, Peer, User, UserChange};
use crate::time::Timestamp;

use super::factors;
use super::world::ready;

pub(super) const LAPTOP: PublicKey = PublicKey::from_bytes([0xA1; 32]);
pub(super) const PHONE: PublicKey = PublicKey::from_bytes([0xA2; 32]);
pub(super) const BOBS: PublicKey = PublicKey::from_bytes([0xB1; 32]);
pub(super) const PEERS: [PublicKey; 3] = [LAPTOP, PHONE, BOBS];
pub(super) const USERS: [&str; 2] = ["ada", "bob"];
pub(super) const WRONG: &str = "000000";
/// The kinds of factors that there are; `factors` says what each asks for.
pub(super) const KINDS: [FactorKind; 4] = [
    FactorKind::TOTP,
    FactorKind::PASSWORD,
    FactorKind::RECOVERY_CODES,
    FactorKind::DEVICE_KEY,
];

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

/// The same with other steps.
pub(super) fn in_steps(steps: impl IntoIterator<Item = Step>) -> Policy {
    Policy {
        steps: steps.into_iter().collect(),
        ..policy()
    }
}

/// A step of one factor.
pub(super) fn one(kind: FactorKind) -> Step {
    Step::AnyOf(vec![kind])
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

/// A user's factor of a kind, as everybody has one of each from the beginning.
pub(super) fn factor_of(name: &str, kind: &FactorKind) -> FactorId {
    let user = USERS.iter().position(|known| *known == name).unwrap();
    let kind = KINDS.iter().position(|known| known == kind).unwrap();
    FactorId::from_bytes([u8::try_from(kind * 16 + user + 1).unwrap(); 16])
}

/// Enrols everybody.
pub(super) fn enrol(store: &dyn AdminStore, ring: &KeyRing, now: Timestamp) {
    for name in USERS {
        put_user(store, name, true, now);
        for kind in KINDS {
            let id = factor_of(name, &kind);
            add_factor(store, ring, name, id, kind, now);
        }
    }
    for peer in PEERS {
        put_peer(store, peer, true, now);
    }
}

pub(super) fn put_user(store: &dyn AdminStore, name: &str, enabled: bool, now: Timestamp) {
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

/// Puts a user into these groups and no others.
pub(super) fn put_into(store: &dyn AdminStore, name: &str, groups: &[&str], now: Timestamp) {
    let groups = groups.iter().map(|group| group.parse().unwrap());
    let groups: Vec<GroupId> = groups.collect();
    let kind = AuditKind::GroupsPut {
        groups: groups.clone(),
    };
    let change = UserChange::Groups(groups);
    let event = AuditEvent::new(now, kind);
    ready(store.change_user(user(name), change, event)).unwrap();
}

pub(super) fn put_peer(store: &dyn AdminStore, key: PublicKey, enabled: bool, now: Timestamp) {
    put_peer_at(store, key, &address(key), enabled, now);
}

pub(super) fn put_peer_at(
    store: &dyn AdminStore,
    key: PublicKey,
    address: &str,
    enabled: bool,
    now: Timestamp,
) {
    put(store, peer(key, address, owner(key), enabled), now);
}

/// A peer gets another owner.
pub(super) fn give_peer(store: &dyn AdminStore, key: PublicKey, name: &str, now: Timestamp) {
    put(store, peer(key, &address(key), user(name), true), now);
}

fn put(store: &dyn AdminStore, peer: Peer, now: Timestamp) {
    let enabled = peer.enabled;
    let event = AuditEvent::new(now, AuditKind::PeerPut { enabled });
    ready(store.put_peer(peer, event)).unwrap();
}

fn address(key: PublicKey) -> String {
    format!("10.0.0.{}/32", key.as_bytes()[0])
}

fn peer(key: PublicKey, address: &str, user: UserId, enabled: bool) -> Peer {
    Peer {
        location: location(),
        key,
        user,
        allowed_ips: vec![address.parse().unwrap()],
        label: "a label".parse().unwrap(),
        enabled,
    }
}

pub(super) fn add_factor(
    store: &dyn AdminStore,
    ring: &KeyRing,
    name: &str,
    id: FactorId,
    kind: FactorKind,
    now: Timestamp,
) {
    let has_codes = kind == FactorKind::RECOVERY_CODES;
    let secret: &[u8] = if has_codes { &factors::CODES } else { &[] };
    let user = user(name);
    let row = AssociatedData::Factor {
        id: &id,
        user: &user,
        kind: &kind,
    };
    let sealed = ring.seal(&row, secret).unwrap();
    let event = AuditEvent::new(now, AuditKind::FactorAdded { kind: kind.clone() });
    let factor = FactorRecord {
        id,
        user,
        kind,
        label: "a label".parse().unwrap(),
        credential: None,
        sealed,
        state: FactorState::Active,
        last_counter: None,
        failures: Failures::default(),
    };
    ready(store.add_factor(factor, event)).unwrap();
}
