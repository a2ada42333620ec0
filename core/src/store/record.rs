//! What a store keeps, as plain data.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::assurance::{Assurance, FactorKind};
use crate::audit::{AuditEvent, EndReason};
use crate::id::{
    CredentialId, FactorId, Generation, GroupId, Label, LocationId, SessionId, TokenId, UserId,
};
use crate::key::PublicKey;
use crate::policy::{Failures, Throttle};
use crate::seal::{AssociatedData, Sealed};
use crate::time::Timestamp;

use super::EnrolmentToken;

/// A person or a machine account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's name.
    pub id: UserId,
    /// A disabled user's peers are not admitted.
    pub enabled: bool,
    /// The groups that the user is in, for the policy.
    pub groups: Vec<GroupId>,
}

/// A change of one thing about a user, for [`change_user`](super::AdminStore::change_user).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserChange {
    /// The user may or may not be admitted. `true` adds an unknown user, in no group; `false` is
    /// an error for one, since a name that was mistyped shuts no one out.
    Enabled(bool),
    /// The user is in these groups and no others.
    Groups(Vec<GroupId>),
}

/// One of many changes, for [`put_all`](super::AdminStore::put_all).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// As by [`put_user`](super::AdminStore::put_user).
    User(User),
    /// As by [`change_user`](super::AdminStore::change_user) with [`UserChange::Groups`]: the user
    /// stays enabled or disabled, whatever they were when the caller looked.
    Groups(UserId, Vec<GroupId>),
    /// As by [`put_peer`](super::AdminStore::put_peer).
    Peer(Peer),
    /// As by [`put_token`](super::AdminStore::put_token).
    Token(EnrolmentToken),
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
    #[serde(deserialize_with = "crate::id::label::stored")]
    pub label: Label,
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
    pub label: Label,
    /// What makes it unlike all others of its kind, where it has such a thing. No two factors of a
    /// kind have the same, anyone who has them.
    pub credential: Option<CredentialId>,
    /// Its secret and parameters, sealed to this row.
    pub sealed: Sealed,
    /// Whether it can be used.
    pub state: FactorState,
    /// The greatest step consumed so far.
    pub last_counter: Option<u64>,
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
    /// Kept, and not to be used until it is resumed.
    Suspended,
}

/// A change of a factor, for [`change_factor`](super::AdminStore::change_factor).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FactorChange {
    /// It has this label.
    Rename(Label),
    /// An active factor is not to be used, and the sessions that it opened end.
    Suspend(LastFactor),
    /// A suspended factor is in use again.
    Resume,
}

/// What becomes of a user's last active factor when it is to be removed or suspended. Judged in the
/// store's transaction, so that two removals at once don't take the last two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastFactor {
    /// It stays: [`StoreError::LastFactor`](super::StoreError::LastFactor).
    Keep,
    /// It goes like any other.
    Danger,
}

/// A peer with its owner and the owner's factors and tokens, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The peer.
    pub peer: Peer,
    /// Its owner.
    pub user: User,
    /// The owner's factors, in the order of their enrolment.
    pub factors: Vec<FactorRecord>,
    /// The owner's enrolment tokens that have not been used, in the order of their issue.
    pub tokens: Vec<EnrolmentToken>,
}

/// A factor and what a right answer takes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorUse {
    /// The factor.
    pub factor: FactorId,
    /// The step; `None` for a factor that has none.
    pub counter: Option<u64>,
    /// Its secret from now on, where the answer changes it; `None` leaves it.
    pub replace_secret: Option<SecretReplacement>,
    /// Its credential from now on, where the answer shows that it is this one; `None` leaves it.
    pub credential: Option<CredentialId>,
}

/// One envelope in the place of another, if that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretReplacement {
    /// The envelope that was read.
    pub from: Sealed,
    /// The envelope from now on.
    pub to: Sealed,
}

/// A wrong or reused answer, for [`record_failure`](super::PeerStore::record_failure).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorFailure {
    /// The factor that was tried.
    pub factor: FactorId,
    /// When.
    pub at: Timestamp,
    /// The limit.
    pub throttle: Throttle,
    /// The audit record of a counted failure.
    pub event: AuditEvent,
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
    /// When the factors were verified: the first of them, where there are several.
    pub verified_at: Timestamp,
    /// When the lease ends at the latest.
    pub not_after: Timestamp,
    /// When it ends at the latest with all renewals that ask for no factor.
    pub renewable_until: Timestamp,
    /// The preshared key, sealed to this session.
    pub psk: Sealed,
    /// What was proven.
    pub assurance: Vec<Assurance>,
    /// The factors passed, each with what its answer takes.
    pub factor_uses: Vec<FactorUse>,
    /// The limit that each of them is judged by.
    pub throttle: Throttle,
    /// How many sessions the user may have live at the location, this one included and the one
    /// that it supersedes not; `None` for any number.
    pub most_per_user: Option<u32>,
    /// The audit record of the admission, at the time at which locks are judged.
    pub event: AuditEvent,
}

/// A right answer after which more is to be decided, for
/// [`pass_factor`](super::PeerStore::pass_factor).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorPass {
    /// Where.
    pub location: LocationId,
    /// Who.
    pub peer: PublicKey,
    /// The peer's owner.
    pub user: UserId,
    /// The factor and what the answer takes from it.
    pub factor_use: FactorUse,
    /// The limit that it is judged by.
    pub throttle: Throttle,
    /// The audit record, at the time at which locks are judged.
    pub event: AuditEvent,
}

/// An enrolment from a client, for [`enrol_factor`](super::PeerStore::enrol_factor).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorEnrolment {
    /// The factor; its user is the peer's owner.
    pub factor: FactorRecord,
    /// Where the client is.
    pub location: LocationId,
    /// The peer that the client has.
    pub peer: PublicKey,
    /// The enrolment token that is used up, if there is one.
    pub token: Option<TokenId>,
    /// The factors that the owner passed in the same attempt, each with what its answer takes.
    pub factor_uses: Vec<FactorUse>,
    /// The limit that each of them is judged by.
    pub throttle: Throttle,
    /// When they were verified; also the time at which locks and the token are judged.
    pub at: Timestamp,
    /// What else the audit record says: its kind is the store's to say.
    pub event: AuditEvent,
}

/// A renewal without a factor, for [`renew_session`](super::PeerStore::renew_session).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRenewal {
    /// The session.
    pub id: SessionId,
    /// The generation that it must have.
    pub generation: Generation,
    /// Its new end.
    pub not_after: Timestamp,
    /// Its new end with all renewals, which may be earlier than before.
    pub renewable_until: Timestamp,
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
    /// When it ends at the latest with all renewals that ask for no factor.
    pub renewable_until: Timestamp,
    /// The preshared key, sealed to this session and its ends.
    pub psk: Sealed,
    /// What was proven.
    pub assurance: Vec<Assurance>,
    /// The factors that opened it. None are named only where they are not known.
    pub factors: Vec<FactorId>,
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
            renewable_until: self.renewable_until,
            psk: self.psk,
            assurance: self.assurance,
            factors: self
                .factor_uses
                .iter()
                .map(|factor_use| factor_use.factor)
                .collect(),
            ended: None,
        }
    }
}

impl SessionRecord {
    /// Whether this factor opened the session. Where it is not known which did, each may have.
    pub fn is_opened_by(&self, factor: FactorId) -> bool {
        self.factors.is_empty() || self.factors.contains(&factor)
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

impl<'a> From<&'a FactorRecord> for AssociatedData<'a> {
    fn from(factor: &'a FactorRecord) -> Self {
        Self::Factor {
            id: &factor.id,
            user: &factor.user,
            kind: &factor.kind,
        }
    }
}

impl<'a> From<&'a SessionRecord> for AssociatedData<'a> {
    fn from(session: &'a SessionRecord) -> Self {
        Self::Session {
            id: &session.id,
            location: &session.location,
            peer: &session.peer,
            user: &session.user,
            allowed_ips: &session.allowed_ips,
            verified_at: session.verified_at,
            not_after: session.not_after,
            renewable_until: session.renewable_until,
            factors: &session.factors,
        }
    }
}
