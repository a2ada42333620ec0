//! What the two ends say to one another: versioned, typed, closed. An unknown value is an error,
//! never a default.
//!
//! Each message is one JSON object, `{"type": …, …}`, inside the encrypted channel. Every field is
//! there: what a field may leave open is `null`, not absent.

mod answer;
pub(super) mod bytes;
mod challenge;
mod code;
pub(super) mod wire;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

pub use answer::{Answer, SecretString};
pub use bytes::Nonce;
pub(crate) use bytes::{Ciphertext, EncapsulationKey, Share};
pub use challenge::{Challenge, Offer, Protection, Redirect, Workload};
pub use code::{Code, ParseCodeError};
pub use wire::EnrolRequest;
pub(crate) use wire::{Ended, Granted, Hello, Reply, Request, Status};

use crate::time::Timestamp;

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
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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
    /// The policy admits no one at this time of day or week.
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

/// Milliseconds of a span, for a message.
#[cfg(any(feature = "gate", feature = "runtime", test))]
pub(crate) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
