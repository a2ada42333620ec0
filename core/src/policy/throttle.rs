//! How the failures of one factor are limited (NIST SP 800-63B-4, section 3.2.2).
//!
//! A pure function of a durable count: stores call it inside the transaction that changes the
//! count, so that the limit can't be raced.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::human;
use crate::time::Timestamp;

/// The consecutive failures of one (user, factor), as a store keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Failures {
    /// How many there were since the last success or the last reset by an administrator.
    pub count: u32,
    /// When the last one was.
    pub last_at: Timestamp,
}

impl Failures {
    /// The count after one more failure at `at`.
    #[must_use]
    pub fn plus_one(self, at: Timestamp) -> Self {
        Self {
            count: self.count.saturating_add(1),
            last_at: at.max(self.last_at),
        }
    }
}

/// The limit: a few free tries, then waits that double, then an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Throttle {
    /// Failures that cost no wait.
    pub free: u32,
    /// The first wait; each further failure doubles it.
    #[serde(with = "human")]
    pub first_wait: Duration,
    /// No wait is longer than this.
    #[serde(with = "human")]
    pub longest_wait: Duration,
    /// At this many consecutive failures the factor is disabled until an administrator resets it.
    pub disable_at: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            free: 5,
            first_wait: Duration::from_secs(30),
            longest_wait: Duration::from_secs(3600),
            disable_at: 100,
        }
    }
}

/// Whether a factor may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// It may; this many failures are left before the next one costs a wait.
    Open {
        /// Failures left before a wait; at least 1 while no wait has begun, 0 after.
        tries_left: u32,
    },
    /// Not before this time.
    Until(Timestamp),
    /// Not before an administrator resets it.
    Disabled,
}

impl Throttle {
    /// Whether a factor with these failures may be tried at `now`.
    pub fn lock(&self, failures: Failures, now: Timestamp) -> Lock {
        if failures.count >= self.disable_at {
            return Lock::Disabled;
        }
        let Some(waits) = failures.count.checked_sub(self.free) else {
            return Lock::Open {
                tries_left: self.free - failures.count,
            };
        };
        let wait = self
            .first_wait
            .saturating_mul(2_u32.saturating_pow(waits))
            .min(self.longest_wait);
        let until = failures.last_at + wait;
        if now < until {
            Lock::Until(until)
        } else {
            Lock::Open { tries_left: 0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(count: u32) -> Failures {
        Failures {
            count,
            last_at: Timestamp::from_millis(1_000_000),
        }
    }

    fn wait_secs(count: u32) -> u64 {
        let failures = after(count);
        match Throttle::default().lock(failures, failures.last_at) {
            Lock::Open { .. } => 0,
            Lock::Until(until) => until.saturating_since(failures.last_at).as_secs(),
            Lock::Disabled => u64::MAX,
        }
    }

    #[test]
    fn five_tries_are_free_then_the_wait_doubles_up_to_an_hour_and_ends_at_a_hundred() {
        assert_eq!([0, 1, 2, 3, 4].map(wait_secs), [0; 5]);
        assert_eq!([5, 6, 7, 8].map(wait_secs), [30, 60, 120, 240]);
        assert_eq!([12, 50, 99].map(wait_secs), [3600; 3]);
        assert_eq!([100, u32::MAX].map(wait_secs), [u64::MAX; 2]);
    }

    #[test]
    fn a_wait_ends_when_it_is_over_and_gives_one_try() {
        let throttle = Throttle::default();
        let over = after(5).last_at + Duration::from_secs(30);
        assert_eq!(throttle.lock(after(5), over), Lock::Open { tries_left: 0 });
        assert_eq!(throttle.lock(after(3), over), Lock::Open { tries_left: 2 });
    }
}
