//! Why an answer failed and why a session ended, as the trail has it.

use serde::{Deserialize, Serialize};

use crate::channel::message::{DeniedReason, Ended};

/// Why an answer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureReason {
    /// The answer was wrong.
    Wrong,
    /// The answer was right, and used before.
    Replayed,
    /// The answer came too late for its challenge.
    Expired,
    /// The answer was right, and by a credential that another factor has, perhaps another user's.
    CredentialTaken,
}

impl From<FailureReason> for DeniedReason {
    fn from(reason: FailureReason) -> Self {
        match reason {
            // Whose credential it is is no one's business but the audit's.
            FailureReason::Wrong | FailureReason::CredentialTaken => Self::Wrong,
            FailureReason::Replayed => Self::Replayed,
            FailureReason::Expired => Self::Expired,
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
    /// Its peer went on from another address, and the policy asks for the factors again.
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
    /// A factor that opened it was removed, suspended or reset.
    FactorChanged,
    /// The policy was changed, and what was proven is not enough any more.
    PolicyChanged,
}

impl From<EndReason> for Ended {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Expired => Self::Expired,
            EndReason::Inactive => Self::Inactive,
            EndReason::Revoked
            | EndReason::Unreadable
            | EndReason::FactorChanged
            | EndReason::PolicyChanged => Self::Revoked,
            EndReason::EndpointChanged => Self::EndpointChanged,
            EndReason::SignedOut => Self::SignedOut,
            EndReason::Superseded => Self::Superseded,
            EndReason::InterfaceFailed => Self::InterfaceFailed,
        }
    }
}
