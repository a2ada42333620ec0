//! What the two ends say to one another: versioned, typed, closed. An unknown value is an error,
//! never a default.
//!
//! Each message is one JSON object, `{"type": …, …}`, inside the encrypted channel. Every field is
//! there: what a field may leave open is `null`, not absent.

mod answer;
mod bytes;
mod challenge;
mod code;

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use answer::{Answer, Hidden};
pub use bytes::{Ciphertext, EncapsulationKey, Nonce, Share};
pub use challenge::{Challenge, Offer, Protection, Redirect, Workload};
pub use code::{Code, ParseCodeError};

use super::ChannelError;
use crate::assurance::FactorKind;
use crate::id::{AttemptId, FactorId, SessionId};
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
        /// What the client says of its device, for the gate's authoriser. Nobody vouches for it.
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
        /// What the client says of its device, for the gate's authoriser. Nobody vouches for it.
        posture: Posture,
    },
    /// Begin an attempt to enrol a factor.
    Enrol {
        /// The client's wall clock, for the gate's replay window.
        sent_at: Timestamp,
        /// The kind of the factor to be.
        kind: FactorKind,
        /// A label for people: "phone".
        label: String,
        /// A one-time enrolment token. Without one, the policy's factors are asked for first.
        #[serde(deserialize_with = "Option::deserialize")]
        token: Option<Hidden>,
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

/// A client's message in an attempt, after the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Answers the challenge at hand.
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

/// What a client says of its device, by name: at most 32 entries of at most 256 bytes each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Posture(BTreeMap<String, String>);

impl Posture {
    const MOST: usize = 32;
    const LONGEST: usize = 256;

    /// What was said; `None` when it is too much.
    pub fn new(said: BTreeMap<String, String>) -> Option<Self> {
        let is_short = |text: &String| text.len() <= Self::LONGEST;
        let fits = said.len() <= Self::MOST
            && said
                .iter()
                .all(|(name, value)| is_short(name) && is_short(value));
        fits.then_some(Self(said))
    }

    /// What was said of one thing.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All that was said, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl<'de> Deserialize<'de> for Posture {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let said = BTreeMap::deserialize(deserializer)?;
        Self::new(said).ok_or_else(|| serde::de::Error::custom("too much is said of the device"))
    }
}

/// Why an answer was refused, and what is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denied {
    /// Why.
    pub reason: DeniedReason,
    /// How many more failures cost no wait.
    pub tries_left: u32,
    /// How long answers to this factor are refused from now on, in milliseconds; `None` when they
    /// are not.
    #[serde(deserialize_with = "Option::deserialize")]
    pub locked_for_ms: Option<u64>,
}

/// Why an answer was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeniedReason {
    /// It is wrong.
    Wrong,
    /// It was right once, and has been used.
    Replayed,
    /// The factor is locked for a while: the answer was not looked at.
    Locked,
    /// The factor is disabled until an administrator resets it.
    Disabled,
    /// The answer does not fit the challenge, or the factor that was chosen is not on offer: the
    /// challenge stands. Not counted.
    Unfit,
    /// It came too late for its challenge: choose the factor again for a fresh one.
    Expired,
    /// Asked too often: not before the time given. Not counted.
    Busy,
    /// Another sign-in changed the factor meanwhile. Not counted: answer again.
    Overtaken,
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
    /// Its peer went on from another address, and the policy asks for the factors anew.
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

/// Why the gate does not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Refusal {
    /// The peer is not enrolled here, or it or its owner is disabled.
    NotEnrolled {},
    /// The user has no active factor that the policy accepts.
    NoFactor {},
    /// The client's clock is off; this is the gate's.
    Clock {
        /// The gate's wall clock.
        gate_time: Timestamp,
    },
    /// This first message has been seen before.
    Replay {},
    /// Too many attempts are open; one may begin after this long, in milliseconds.
    Busy {
        /// How long to wait.
        retry_ms: u64,
    },
    /// The attempt is over, or there was none.
    NoAttempt {},
    /// The request does not fit the state of the attempt.
    OutOfOrder {},
    /// The session to renew is not live, or can't be renewed without a factor any more.
    NotRenewable {},
    /// What the factors proved is less than the policy asks for.
    Assurance {},
    /// The gate's authoriser said no.
    NotAuthorised {},
    /// The policy admits nobody at this time of day or week.
    OutsideHours {},
    /// The user has as many sessions as the policy allows.
    TooManySessions {},
    /// The enrolment token is not good, or not for this.
    BadToken {},
    /// A factor of this kind can't be enrolled by a client, or this very one is enrolled already.
    NotEnrollable {},
    /// The gate can't decide now: its store, a verifier or its interface does not answer.
    Unavailable {},
}

macro_rules! from_json {
    ($($name:ident),*) => {$(
        impl $name {
            /// Reads a message's text, with nothing before, after or beside it.
            ///
            /// # Errors
            /// [`ChannelError::Unknown`] for anything else than one message of this version. It
            /// does not repeat the text, which may hold a secret.
            pub fn from_json(text: &[u8]) -> Result<Self, ChannelError> {
                super::noise::from_json(text)
            }
        }
    )*};
}

from_json!(Hello, Request, Reply);

/// Milliseconds of a span, for a message.
#[cfg(any(feature = "gate", test))]
pub(crate) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
