//! What a location asks of those who want in: plain data, no behaviour of its own.

mod roaming;
mod throttle;

use std::time::Duration;

pub use roaming::EndpointChange;
pub use throttle::{Failures, Lock, Throttle};

use crate::assurance::FactorKind;

/// The rules of one location. [`Policy::default`] asks for a one-time password once per working
/// day; every figure in it can be changed, none can be made infinite.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The factors of which one must be passed.
    pub any_of: Vec<FactorKind>,
    /// How long after a successful verification a lease may last at most, renewals included.
    pub max_age: Duration,
    /// How long one lease lasts. Where it is shorter than `max_age`, a client renews it without a
    /// factor until `max_age` is over.
    pub lease: Duration,
    /// End a lease after this long without payload; `None` does not look.
    pub inactivity: Option<Duration>,
    /// What to do when a peer goes on from another address.
    pub endpoint_change: EndpointChange,
    /// How long before a lease's end an [`Event::Ending`](crate::gate::Event::Ending) warns.
    pub warn_before: Duration,
    /// How long an attempt may take from its first message to its grant.
    pub attempt_ttl: Duration,
    /// How many attempts one peer may have open at a time.
    pub attempts_per_peer: usize,
    /// How many attempts the gate holds open at a time, over all peers.
    pub attempts_in_all: usize,
    /// How far a client's clock may be from the gate's in a first message. A client that is off by
    /// more is told the gate's time and tries again by itself.
    pub clock_skew: Duration,
    /// How the failures of one factor are limited.
    pub throttle: Throttle,
    /// How long removals may keep failing before the interface goes down.
    pub fence_after: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        let working_day = Duration::from_secs(8 * 3600);
        Self {
            any_of: vec![FactorKind::TOTP],
            max_age: working_day,
            lease: working_day,
            inactivity: None,
            endpoint_change: EndpointChange::Off,
            warn_before: Duration::from_secs(5 * 60),
            attempt_ttl: Duration::from_secs(5 * 60),
            attempts_per_peer: 4,
            attempts_in_all: 65_536,
            clock_skew: Duration::from_secs(60),
            throttle: Throttle::default(),
            fence_after: Duration::from_secs(10),
        }
    }
}

impl Policy {
    /// Says what is wrong with the policy, if anything is.
    ///
    /// # Errors
    /// [`InvalidPolicy`] when the policy can admit nobody or holds a figure of zero.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        if self.any_of.is_empty() {
            return Err(InvalidPolicy::NoFactor);
        }
        let spans = [
            ("max_age", self.max_age),
            ("lease", self.lease),
            ("attempt_ttl", self.attempt_ttl),
            ("clock_skew", self.clock_skew),
            ("inactivity", self.inactivity.unwrap_or(Duration::MAX)),
        ];
        if let Some((field, _)) = spans.into_iter().find(|(_, span)| span.is_zero()) {
            return Err(InvalidPolicy::Zero { field });
        }
        if self.max_age > Self::LONGEST {
            return Err(InvalidPolicy::TooLong);
        }
        if self.attempts_per_peer == 0 || self.attempts_in_all == 0 {
            return Err(InvalidPolicy::Zero { field: "attempts" });
        }
        Ok(())
    }

    /// The longest `max_age`: 30 days (NIST SP 800-63B-4, section 2.1.3).
    pub const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
}

/// Why a policy is refused when it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPolicy {
    /// It names no factor, so nobody could be admitted.
    #[error("the policy names no factor, so it would admit nobody: list at least one")]
    NoFactor,
    /// A figure is zero, so nobody could be admitted.
    #[error("`{field}` is zero, so the policy would admit nobody: give it a value above zero")]
    Zero {
        /// The figure's name.
        field: &'static str,
    },
    /// The lease would, in effect, never end.
    #[error("`max_age` is over 30 days, the longest that NIST SP 800-63B-4 allows: shorten it")]
    TooLong,
}
