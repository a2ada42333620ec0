//! The messages themselves, as they travel. The two machines read and write them; no one else does.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Answer, Challenge, Ciphertext, Denied, EncapsulationKey, Offer, Posture, Refusal, SecretString,
    Share,
};
use crate::assurance::FactorKind;
use crate::id::{AttemptId, FactorId, Label, SessionId};
use crate::time::Timestamp;

/// The payload of the handshake's first message: what the client wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Hello {
    /// Begin an attempt at a new session.
    Begin {
        /// The client's wall clock, for the gate's replay window.
        sent_at: Timestamp,
        /// The client's X-Wing encapsulation key for the grant.
        encapsulation_key: EncapsulationKey,
        /// What the client says of its device, for the gate's authoriser. No one vouches for it.
        posture: Posture,
    },
    /// Begin an attempt to renew a live session without a factor.
    Renew {
        /// The client's wall clock, for the gate's replay window.
        sent_at: Timestamp,
        /// The session to renew.
        session: SessionId,
        /// The client's X-Wing encapsulation key for the grant.
        encapsulation_key: EncapsulationKey,
        /// What the client says of its device, for the gate's authoriser. No one vouches for it.
        posture: Posture,
    },
    /// Begin an attempt to enrol a factor.
    Enrol {
        /// The client's wall clock, for the gate's replay window.
        sent_at: Timestamp,
        /// The factor; its fields are the message's own.
        #[serde(flatten)]
        request: EnrolRequest,
    },
    /// Ask what became of a session.
    Status {
        /// The client's wall clock, for the gate's replay window.
        sent_at: Timestamp,
        /// The session.
        session: SessionId,
    },
    /// End a session: the user signs out.
    End {
        /// The client's wall clock, for the gate's replay window.
        sent_at: Timestamp,
        /// The session.
        session: SessionId,
    },
}

/// The factor that a client wants to enrol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// Its kind.
    #[serde(deserialize_with = "kind")]
    pub kind: FactorKind,
    /// A label for people: "phone".
    pub label: Label,
    /// A one-time enrolment token. Without one, the gate asks for the policy's factors first.
    #[serde(deserialize_with = "Option::deserialize")]
    pub token: Option<SecretString>,
}

/// A client's message in an attempt, after the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Answers the current challenge.
    Answer {
        /// The answer.
        answer: Answer,
    },
    /// Asks for the challenge of another factor on offer, or for a fresh one of the same.
    Choose {
        /// The factor.
        factor: FactorId,
    },
    /// Confirms that the client is live, where no challenge was asked (a renewal).
    Confirm {},
    /// Gives the attempt up.
    Cancel {},
}

/// The gate's reply, to a [`Hello`] or a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// The attempt is open and waits for an answer to the challenge.
    Challenge {
        /// The handle of the attempt, for the requests that follow.
        attempt: AttemptId,
        /// The factor that is asked for; `None` while one is being enrolled.
        #[serde(deserialize_with = "Option::deserialize")]
        factor: Option<Offer>,
        /// What to answer.
        challenge: Challenge,
        /// The factors that would do in its place.
        others: Vec<Offer>,
        /// How long the attempt stays open, in milliseconds.
        expires_in_ms: u64,
    },
    /// The attempt is open and waits for a [`Request::Confirm`].
    Confirm {
        /// The handle of the attempt, for the request that follows.
        attempt: AttemptId,
        /// How long the attempt stays open, in milliseconds.
        expires_in_ms: u64,
    },
    /// The answer was refused. The attempt stays open for another until its time is
    /// over.
    Denied {
        /// Why, and what is left.
        denied: Denied,
    },
    /// The factor is enrolled. Ends the attempt.
    Enrolled {
        /// The factor.
        factor: FactorId,
    },
    /// The lease is in force: the peer is on the interface.
    Granted {
        /// The grant.
        grant: Granted,
    },
    /// What became of the session that was asked for.
    Status {
        /// Its state.
        status: Status,
    },
    /// The gate does not do what was asked.
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// The attempt was given up, or the session ended, as asked.
    Done {},
}

/// A lease, as its client learns of it. The preshared key is not in it: both ends derive it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// The session.
    pub session: SessionId,
    /// How long the lease lasts from now, in milliseconds.
    pub lease_ms: u64,
    /// How long it can last with renewals and without a factor, in milliseconds from now.
    pub renewable_ms: u64,
    /// The client's own addresses inside the tunnel.
    pub addresses: Vec<IpNet>,
    /// Whether the client is to end the session when its device wakes or is unlocked.
    pub end_on_wake: bool,
    /// The gate's X-Wing ciphertext.
    pub ciphertext: Ciphertext,
    /// The gate's random share of the preshared key.
    pub share: Share,
}

/// What became of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Status {
    /// The peer is on the interface.
    Live {
        /// How long the lease lasts from now, in milliseconds.
        lease_ms: u64,
    },
    /// The session has ended, or this peer never had it.
    Ended {
        /// Why, where the gate knows.
        #[serde(deserialize_with = "Option::deserialize")]
        reason: Option<Ended>,
    },
}

/// Why a session ended, as its client learns of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ended {
    /// Its time was over.
    Expired,
    /// It carried no payload for as long as the policy allows.
    Inactive,
    /// Its peer went on from another address, and the policy asks for the factors again.
    EndpointChanged,
    /// It was revoked.
    Revoked,
    /// The client ended it.
    SignedOut,
    /// A newer session of the same peer took its place.
    Superseded,
    /// The gate's interface could not take the peer, or lost it.
    InterfaceFailed,
}

/// Reads a kind: a name of 1 to 64 printable characters. Which there are is not for a decoder to say:
/// a gate refuses what it has no verifier for, and a client can't answer what it does not know.
pub(super) fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FactorKind, D::Error> {
    let name = Label::deserialize(deserializer)?;
    Ok(FactorKind::from_string(name.to_string()))
}

#[cfg(any(test, feature = "testing"))]
macro_rules! from_json {
    ($($name:ident),*) => {$(
        impl $name {
            /// Reads a message's text, with nothing before, after or beside it.
            ///
            /// # Errors
            /// [`Unknown`](crate::channel::ChannelError::Unknown) for anything else than one message of this version. It
            /// does not repeat the text, which may hold a secret.
            pub fn from_json(text: &[u8]) -> Result<Self, crate::channel::ChannelError> {
                crate::channel::json::from_json(text)
            }
        }
    )*};
}

#[cfg(any(test, feature = "testing"))]
from_json!(Hello, Request, Reply);
