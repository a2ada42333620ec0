//! How the failures of one factor are limited (NIST SP 800-63B-4, section 3.2.2).
//!
//! A pure function of a durable count: stores call it inside the transaction that changes the
//! count, so that the limit can't be raced.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
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
    /// The count after one more failure at `at`. A time before the last failure's does not bring
    /// that forward, unless it was noted by a clock that was wrong (see
    /// [`Throttle::CLOCKS_DIFFER`]).
    #[must_use]
    pub(crate) fn plus_one(self, at: Timestamp) -> Self {
        let is_wrong = self.last_at > at + Throttle::CLOCKS_DIFFER;
        Self {
            count: self.count.saturating_add(1),
            last_at: if is_wrong { at } else { at.max(self.last_at) },
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
    #[serde(with = "duration")]
    pub first_wait: Duration,
    /// No wait is longer than this.
    #[serde(with = "duration")]
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
    /// It may.
    Open {
        /// How many more failures cost no wait: at 0 the next one does.
        tries_left: u32,
    },
    /// Not before this time.
    Until(Timestamp),
    /// Not before an administrator resets it.
    Disabled,
}

impl Throttle {
    /// By how much the clocks of gates that share a store may differ. A failure that is further
    /// ahead of the present than this was noted by a clock that was wrong.
    pub(crate) const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

    /// Whether a factor with these failures may be tried at `now`. Whatever the clock was when they
    /// were noted, no wait is longer than `longest_wait`.
    pub fn lock(&self, failures: Failures, now: Timestamp) -> Lock {
        if failures.count >= self.disable_at {
            return Lock::Disabled;
        }
        let Some(waits) = failures.count.checked_sub(self.free) else {
            return Lock::Open {
                tries_left: self.free.min(self.disable_at) - failures.count - 1,
            };
        };
        let wait = self
            .first_wait
            .saturating_mul(2_u32.saturating_pow(waits))
            .min(self.longest_wait);
        // A failure that is noted later than now was noted by a clock that was ahead. By a little,
        // as gates that share a store may differ, it counts as it stands. By more, that clock was
        // wrong, and when the failure was can't be known: it costs no wait any more, or a user
        // would be kept out for years. Its count stays, and the next failure has a right time.
        if failures.last_at > now + Self::CLOCKS_DIFFER {
            return Lock::Open { tries_left: 0 };
        }
        let until = (failures.last_at + wait).min(now + self.longest_wait);
        if now < failures.last_at + wait {
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
    fn five_tries_are_free_then_the_wait_doubles_to_an_hour() {
        assert_eq!([0, 1, 2, 3, 4].map(wait_secs), [0; 5]);
        assert_eq!([5, 6, 7, 8].map(wait_secs), [30, 60, 120, 240]);
        assert_eq!([12, 50, 99].map(wait_secs), [3600; 3]);
        assert_eq!([100, u32::MAX].map(wait_secs), [u64::MAX; 2]);
    }

    #[test]
    fn no_wait_is_longer_than_the_longest_whatever_the_clock_was() {
        let throttle = Throttle::default();
        let now = after(0).last_at;
        let year = Duration::from_secs(365 * 24 * 3600);
        for ahead in [
            Duration::from_secs(1),
            Throttle::CLOCKS_DIFFER,
            year,
            year * 50,
        ] {
            for count in 0..throttle.disable_at {
                let last_at = now + ahead;
                let lock = throttle.lock(Failures { count, last_at }, now);
                if let Lock::Until(until) = lock {
                    let wait = until.saturating_since(now);
                    assert!(wait <= throttle.longest_wait, "{count}: {wait:?}");
                }
                if ahead > Throttle::CLOCKS_DIFFER {
                    assert!(matches!(lock, Lock::Open { .. }), "{count}: {lock:?}");
                }
            }
        }
    }

    #[test]
    fn a_clock_that_is_ahead_does_not_give_tries_back() {
        let throttle = Throttle::default();
        let now = after(0).last_at;
        let ahead = |count, ahead| Failures {
            count,
            last_at: now + ahead,
        };
        let a_little = ahead(5, Duration::from_secs(2));
        let until = now + Duration::from_secs(32);
        assert_eq!(throttle.lock(a_little, now), Lock::Until(until));
        let far = ahead(12, Duration::from_secs(7200));
        assert_eq!(throttle.lock(far, now), Lock::Open { tries_left: 0 });
        let again = far.plus_one(now);
        assert_eq!(again.count, 13);
        let until = now + throttle.longest_wait;
        assert_eq!(throttle.lock(again, now), Lock::Until(until));
        let disabled = ahead(100, Duration::from_secs(7200));
        assert_eq!(throttle.lock(disabled, now), Lock::Disabled);
    }

    #[test]
    fn a_wait_ends_when_it_is_over_and_gives_one_try() {
        let throttle = Throttle::default();
        let over = after(5).last_at + Duration::from_secs(30);
        assert_eq!(throttle.lock(after(5), over), Lock::Open { tries_left: 0 });
    }

    #[test]
    fn as_many_failures_cost_no_wait_as_tries_are_left() {
        for count in 0..5 {
            let left = 5 - 1 - count;
            let now = after(count).last_at;
            let lock = Throttle::default().lock(after(count), now);
            assert_eq!(lock, Lock::Open { tries_left: left });
            assert_eq!(wait_secs(count + left), 0, "{left} more cost nothing");
            assert_eq!(wait_secs(count + left + 1), 30, "the one after does");
        }
    }
}
