//! What the two ends say to one another: versioned, typed, closed. An unknown value is an error,
//! never a default.
//!
//! Each message is one JSON object, `{"type": …, …}`, inside the encrypted channel. Every field is
//! there: what a field may leave open is `null`, not absent.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{ChannelError, text};
use crate::assurance::FactorKind;
use crate::id::{AttemptId, SessionId};
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
    },
    /// Begin an attempt to renew a live session without a factor.
    Renew {
        /// The client's wall clock, for the gate's replay window.
        sent_at: Timestamp,
        /// The session to renew.
        session: SessionId,
        /// The client's X-Wing encapsulation key for the grant.
        encapsulation_key: EncapsulationKey,
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
        /// What to answer.
        challenge: Challenge,
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

/// What the user is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Challenge {
    /// A code from the factor.
    Code {
        /// The kind of the factor.
        kind: FactorKind,
        /// The label that the user gave the factor: "phone".
        label: String,
        /// How many digits the code has.
        digits: u8,
        /// Whether the factor has a wait now: answers are refused until then.
        #[serde(deserialize_with = "Option::deserialize")]
        locked_for_ms: Option<u64>,
    },
}

/// What the user answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Answer {
    /// A code.
    Code {
        /// The code.
        code: Code,
    },
}

/// A one-time code as the user typed it: digits, spaces and hyphens dropped. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Zeroize, ZeroizeOnDrop)]
pub struct Code(String);

impl Code {
    const SHORTEST: usize = 6;
    const LONGEST: usize = 10;

    /// The digits. Whoever calls this is answerable for where they go.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Code {
    type Err = ParseCodeError;

    fn from_str(text: &str) -> Result<Self, ParseCodeError> {
        // With room for any code, so that no copy is left behind by growing.
        let mut code = Self(String::with_capacity(Self::LONGEST));
        for digit in text.chars().filter(|c| !matches!(c, ' ' | '-')) {
            if !digit.is_ascii_digit() || code.0.len() == Self::LONGEST {
                return Err(ParseCodeError);
            }
            code.0.push(digit);
        }
        if code.0.len() < Self::SHORTEST {
            return Err(ParseCodeError);
        }
        Ok(code)
    }
}

impl TryFrom<String> for Code {
    type Error = ParseCodeError;

    fn try_from(text: String) -> Result<Self, ParseCodeError> {
        zeroize::Zeroizing::new(text).parse()
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer, "6 to 10 digits", |text| text.parse().ok())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code([redacted])")
    }
}

/// A text that is not a one-time code. It does not repeat the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a one-time code: expected 6 to 10 digits")]
pub struct ParseCodeError;

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
    /// The answer does not fit the challenge. Not counted.
    Unfit,
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

macro_rules! bytes {
    ($(#[$doc:meta])* $name:ident, $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(pub(crate) Box<[u8; $len]>);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({} bytes)"), self.0.len())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                // One of these types is secret: its text is zeroized too.
                let text = zeroize::Zeroizing::new(data_encoding::BASE64.encode(&*self.0));
                serializer.serialize_str(&text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let expected = concat!(stringify!($len), " bytes as Base64");
                text::deserialize(deserializer, expected, text::bytes).map(Self)
            }
        }
    };
}

bytes! {
    /// An X-Wing encapsulation key: 1216 bytes, public.
    EncapsulationKey, 1216
}
bytes! {
    /// An X-Wing ciphertext: 1120 bytes, public.
    Ciphertext, 1120
}
bytes! {
    /// A random share of a preshared key: 32 bytes, secret.
    Share, 32
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Milliseconds of a span, for a message.
#[cfg(any(feature = "gate", test))]
pub(crate) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
