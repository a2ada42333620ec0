//! What a store keeps, as plain data.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::assurance::{Assurance, FactorKind};
use crate::audit::AuditEvent;
use crate::channel::message::Ended;
use crate::id::{FactorId, Generation, LocationId, SessionId, UserId};
use crate::key::PublicKey;
use crate::policy::{Failures, Throttle};
use crate::seal::Sealed;
use crate::time::Timestamp;

/// A person or a machine account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's name.
    pub id: UserId,
    /// A disabled user's peers are not admitted.
    pub enabled: bool,
}

/// An enrolled WireGuard public key. Enrolled is not installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Where the peer may ask for admission.
    pub location: LocationId,
    /// The key.
    pub key: PublicKey,
    /// The owner.
    pub user: UserId,
    /// What the peer may use as its own addresses inside the tunnel.
    pub allowed_ips: Vec<IpNet>,
    /// A label for people: "Alice's laptop".
    pub label: String,
    /// A disabled peer is not admitted.
    pub enabled: bool,
}

impl Peer {
    /// The first of this peer's addresses that overlaps with one of another peer's.
    pub fn overlap(&self, other: &Self) -> Option<IpNet> {
        let clash = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        let is_theirs = |a: &&IpNet| other.allowed_ips.iter().any(|b| clash(a, b));
        self.allowed_ips.iter().find(is_theirs).copied()
    }
}

/// An enrolled credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorRecord {
    /// Its id.
    pub id: FactorId,
    /// Its owner.
    pub user: UserId,
    /// Its kind.
    pub kind: FactorKind,
    /// A label for people: "phone".
    pub label: String,
    /// Its secret and parameters, sealed to this row.
    pub sealed: Sealed,
    /// Whether it can be used.
    pub state: FactorState,
    /// The greatest step consumed so far.
    pub last_step: Option<u64>,
    /// Consecutive failures.
    pub failures: Failures,
}

/// Whether a factor can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactorState {
    /// Waits for a first right answer.
    Pending,
    /// In use.
    Active,
}

/// A peer with its owner and the owner's factors, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The peer.
    pub peer: Peer,
    /// Its owner.
    pub user: User,
    /// The owner's factors, in the order of their enrolment.
    pub factors: Vec<FactorRecord>,
}

/// A factor and the step that a right answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consume {
    /// The factor.
    pub factor: FactorId,
    /// The step; `None` for a factor that has none.
    pub step: Option<u64>,
}

/// A wrong or reused answer, for [`record_failure`](super::PeerStore::record_failure).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The factor that was tried.
    pub factor: FactorId,
    /// When.
    pub at: Timestamp,
    /// The limit.
    pub throttle: Throttle,
    /// The audit record of a counted failure.
    pub event: AuditEvent,
}

/// Why an answer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureReason {
    /// The answer was wrong.
    Wrong,
    /// The answer was right, and used before.
    Replayed,
}

/// An admission to be, for [`open_session`](super::PeerStore::open_session).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Where.
    pub location: LocationId,
    /// Who.
    pub peer: PublicKey,
    /// The peer's owner.
    pub user: UserId,
    /// The addresses that the peer gets.
    pub allowed_ips: Vec<IpNet>,
    /// When the factors were verified; also the time at which locks are judged.
    pub verified_at: Timestamp,
    /// When the lease ends at the latest.
    pub not_after: Timestamp,
    /// The preshared key, sealed to this session.
    pub psk: Sealed,
    /// What was proven.
    pub assurance: Vec<Assurance>,
    /// The factors passed, each with its step.
    pub consume: Vec<Consume>,
    /// The limit that each of them is judged by.
    pub throttle: Throttle,
    /// The audit record of the admission.
    pub event: AuditEvent,
}

/// A renewal without a factor, for [`renew_session`](super::PeerStore::renew_session).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The session.
    pub id: SessionId,
    /// The generation that it must have.
    pub generation: Generation,
    /// Its new end.
    pub not_after: Timestamp,
    /// Its new preshared key, sealed to the session and its new end.
    pub psk: Sealed,
    /// The audit record.
    pub event: AuditEvent,
}

/// What the store knows of an admitted peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Where.
    pub location: LocationId,
    /// Who.
    pub peer: PublicKey,
    /// The peer's owner.
    pub user: UserId,
    /// The addresses that the peer has.
    pub allowed_ips: Vec<IpNet>,
    /// How often the peer has been admitted or renewed here.
    pub generation: Generation,
    /// When the factors were verified.
    pub verified_at: Timestamp,
    /// When the lease ends at the latest.
    pub not_after: Timestamp,
    /// The preshared key, sealed to this session and its end.
    pub psk: Sealed,
    /// What was proven.
    pub assurance: Vec<Assurance>,
    /// Why and when it ended, once it has.
    pub ended: Option<(EndReason, Timestamp)>,
}

impl NewSession {
    /// What a store keeps of the admission once it has given it its generation.
    pub fn into_record(self, generation: Generation) -> SessionRecord {
        SessionRecord {
            id: self.id,
            location: self.location,
            peer: self.peer,
            user: self.user,
            allowed_ips: self.allowed_ips,
            generation,
            verified_at: self.verified_at,
            not_after: self.not_after,
            psk: self.psk,
            assurance: self.assurance,
            ended: None,
        }
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndReason {
    /// Its time was over.
    Expired,
    /// It carried no payload for as long as the policy allows.
    Inactive,
    /// Its peer went on from another address, and the policy asks for the factors anew.
    EndpointChanged,
    /// An administrator or the embedder ended it.
    Revoked,
    /// Its own client ended it.
    SignedOut,
    /// A newer session of the same peer took its place.
    Superseded,
    /// The interface could not take the peer, or lost it.
    InterfaceFailed,
    /// Its record did not open under the gate's key ring.
    Unreadable,
}

impl From<EndReason> for Ended {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Expired => Self::Expired,
            EndReason::Inactive => Self::Inactive,
            EndReason::EndpointChanged => Self::EndpointChanged,
            EndReason::Revoked | EndReason::Unreadable => Self::Revoked,
            EndReason::SignedOut => Self::SignedOut,
            EndReason::Superseded => Self::Superseded,
            EndReason::InterfaceFailed => Self::InterfaceFailed,
        }
    }
}

/// What changed in a store that bears on a running gate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeSet {
    /// Sessions that ended: closed, or superseded by a newer one. Not those that were only opened
    /// or renewed, so that a gate need not read its own admissions again.
    pub sessions: Vec<SessionId>,
    /// Peers that were added or changed.
    pub peers: Vec<PublicKey>,
    /// Users that were added or changed, or whose factors were.
    pub users: Vec<UserId>,
}
