//! The audit trail: hash-chained records of everything that bears on access.
//!
//! Each record holds the hash of the one before it, so that a change, a gap or a swap shows
//! ([`verify`], [`Verifier`]). A chain that was cut off at its end, or rewritten from its
//! start, is as good a chain as any: to notice, keep a [`Head`] in another place and compare, as a
//! gate does with a [`HeadFile`]. Writing records is the store's work.

mod chain;
mod head_file;
mod jsonl;
mod reason;

use std::net::IpAddr;

pub(crate) use chain::BreakReason;
pub(crate) use chain::link;
pub use chain::{BrokenChain, Head, ParseHeadError, Verifier, verify};
pub(crate) use head_file::HeadFileFault;
pub use head_file::{HeadFile, HeadFileError};
pub(crate) use jsonl::ReadFault;
pub use jsonl::{ReadError, read_jsonl, write_jsonl};
pub use reason::{EndReason, FailureReason};

use serde::{Deserialize, Serialize};

use crate::assurance::FactorKind;
use crate::id::{FactorId, GroupId, LocationId, SessionId, TokenId, UserId};
use crate::key::PublicKey;
use crate::seal::KeyId;
use crate::time::Timestamp;

/// One thing that happened. Holds no secret, by construction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEvent {
    /// When, by the wall clock of its writer.
    pub at: Timestamp,
    /// What.
    pub kind: AuditKind,
    /// Where, if it belongs to a location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationId>,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Which peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PublicKey>,
    /// Which session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Which factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<FactorId>,
    /// The address that the request came from, as the transport saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
}

impl AuditEvent {
    /// An event with nothing but its time and kind.
    pub const fn new(at: Timestamp, kind: AuditKind) -> Self {
        Self {
            at,
            kind,
            location: None,
            user: None,
            peer: None,
            session: None,
            factor: None,
            source: None,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "snake_case")]
#[non_exhaustive]
pub enum AuditKind {
    /// A peer was admitted.
    Admitted {
        /// When the lease ends at the latest.
        not_after: Timestamp,
        /// The kinds of the factors passed.
        factors: Vec<FactorKind>,
    },
    /// A session got a later end.
    Renewed {
        /// When the lease ends at the latest now.
        not_after: Timestamp,
    },
    /// An answer was refused.
    Denied {
        /// Why.
        reason: FailureReason,
    },
    /// An answer was refused unseen, since its factor is locked.
    LockedOut,
    /// An answer, an admission or a renewal was refused since its peer, owner, factor or session
    /// is gone or disabled.
    NotEligible,
    /// A session's peer went on from another address.
    EndpointChanged {
        /// Where it was.
        from: IpAddr,
        /// Where it is.
        to: IpAddr,
    },
    /// A session ended.
    Ended {
        /// Why.
        reason: EndReason,
    },
    /// A user was added or changed.
    UserPut {
        /// Whether the user may be admitted.
        enabled: bool,
    },
    /// A user is in other groups.
    GroupsPut {
        /// These, and no others.
        groups: Vec<GroupId>,
    },
    /// A peer was added or changed.
    PeerPut {
        /// Whether the peer may be admitted.
        enabled: bool,
    },
    /// A factor was added.
    FactorAdded {
        /// Its kind.
        kind: FactorKind,
    },
    /// A factor was enrolled from a client, and is in use.
    FactorEnrolled {
        /// Its kind.
        kind: FactorKind,
        /// The enrolment token that was used up for it, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<TokenId>,
    },
    /// A factor was passed, and more is to be decided before its peer is admitted.
    FactorPassed {
        /// Its kind.
        kind: FactorKind,
    },
    /// A factor gave its first right answer and is in use.
    FactorActivated,
    /// A factor has another label.
    FactorRenamed,
    /// A factor is kept, and not to be used until it is resumed.
    FactorSuspended,
    /// A suspended factor is in use again.
    FactorResumed,
    /// A factor was removed.
    FactorRemoved,
    /// A factor's failures were forgotten by an administrator.
    FailuresReset,
    /// A one-time enrolment token was issued.
    TokenIssued {
        /// Which.
        token: TokenId,
        /// The kinds of factors that it is good for; empty for any.
        kinds: Vec<FactorKind>,
        /// When it is no longer good.
        not_after: Timestamp,
    },
    /// A client brought an enrolment token that is not good: unknown, used up, out of time, another
    /// user's, or not for this.
    TokenRefused {
        /// The kind of the factor that it was to enrol.
        kind: FactorKind,
    },
    /// An answer was refused while a factor was being enrolled from a client.
    EnrolmentDenied {
        /// The kind of the factor to be.
        kind: FactorKind,
        /// Why.
        reason: FailureReason,
    },
    /// An enrolment token was taken back before its use.
    TokenRemoved {
        /// Which.
        token: TokenId,
    },
    /// The factors were passed, and the embedder's authoriser refused.
    NotAuthorised {
        /// Why, in the authoriser's words.
        reason: String,
    },
    /// One of the user's recovery codes was used up. Recorded in addition to what it was passed for.
    RecoveryCodeUsed,
    /// The factors were passed, and proved less than the policy asks for.
    AssuranceTooLow,
    /// An attempt was refused since the policy admits no one at this time.
    OutsideHours,
    /// What older keys of the ring had sealed was resealed.
    RingRotated {
        /// The name of the key that seals now.
        key: KeyId,
        /// How many factors.
        factors: u64,
        /// How many live sessions.
        sessions: u64,
    },
    /// A gate took its interface down, since peers could not be removed.
    Fenced,
    /// A peer that holds no lease was on the interface, put there by others, and was removed.
    UnleasedPeer,
    /// A leased peer had another preshared key or other networks on the interface, given by others,
    /// and was removed to be installed again.
    PeerChanged,
    /// A gate's interface was removed, or moved away, by others.
    InterfaceGone,
}

/// An event with its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord {
    /// Its number; the first is 1, and there are no gaps.
    pub seq: u64,
    /// The hash of the record before, as lower-case hexadecimal; of the first, 64 zeros.
    pub previous: String,
    /// What happened.
    pub event: AuditEvent,
    /// The hash of this record over all of the above, as lower-case hexadecimal.
    pub hash: String,
}
