//! How often codes are sent: so that no one's mailbox is filled, no matter who asks, and the mail server
//! does not take the gate for a spammer.
//!
//! It is kept in memory. A gate that starts again forgets it, and two gates each have their own:
//! what must hold across them, the count of wrong codes, is the store's.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::id::{AttemptId, FactorId, UserId};
use crate::time::Timestamp;

const HOUR: Duration = Duration::from_secs(3600);

/// Recipients that are kept before those of the last hour are told from the others.
const SWEEP_AT: usize = 64;

/// Whose codes are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Recipient {
    /// A factor's address.
    Enrolled(FactorId),
    /// Whatever addresses a user would enrol.
    New(UserId),
}

/// The codes that were sent within the hour.
pub(super) struct Pace {
    resend_after: Duration,
    most_an_hour: usize,
    sent: Mutex<Sent>,
}

#[derive(Default)]
struct Sent {
    to: BTreeMap<Recipient, Vec<One>>,
    sweep_at: usize,
}

/// A code that was sent: when, and in which attempt, unless it went nowhere.
struct One {
    attempt: Option<AttemptId>,
    at: Timestamp,
}

impl Pace {
    pub(super) fn new(resend_after: Duration, most_an_hour: usize) -> Self {
        Self {
            resend_after,
            most_an_hour,
            sent: Mutex::default(),
        }
    }

    pub(super) const fn resend_after(&self) -> Duration {
        self.resend_after
    }

    /// Counts a code that is about to be sent; or how long to wait until one may be.
    pub(super) fn take(
        &self,
        recipient: Recipient,
        attempt: AttemptId,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.sweep(now);
        let to = sent.to.entry(recipient).or_default();
        // A clock that was set back forgets what is ahead of it, rather than wait for it.
        to.retain(|one| is_recent(one.at, now));
        let in_attempt = to.iter().filter(|one| one.attempt == Some(attempt));
        if let Some(last) = in_attempt.map(|one| one.at).max() {
            let wait = (last + self.resend_after).saturating_since(now);
            if !wait.is_zero() {
                return Err(wait);
            }
        }
        if to.len() >= self.most_an_hour {
            let first = to.iter().map(|one| one.at).min();
            return Err(first.map_or(HOUR, |first| (first + HOUR).saturating_since(now)));
        }
        to.push(One {
            attempt: Some(attempt),
            at: now,
        });
        Ok(())
    }

    /// The last code in the attempt went nowhere, so that another address need not wait. It counts
    /// within the hour anyway: no one is to try mailboxes without end.
    pub(super) fn went_nowhere(&self, recipient: &Recipient, attempt: AttemptId) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        for one in sent.to.get_mut(recipient).into_iter().flatten() {
            if one.attempt == Some(attempt) {
                one.attempt = None;
            }
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(Duration::from_secs(30), 10)
    }
}

impl Sent {
    /// Forgets recipients who were sent nothing within the hour, each time they may have become half.
    fn sweep(&mut self, now: Timestamp) {
        if self.to.len() < self.sweep_at.max(SWEEP_AT) {
            return;
        }
        self.to
            .retain(|_, sent| sent.iter().any(|one| is_recent(one.at, now)));
        self.sweep_at = self.to.len().saturating_mul(2);
    }
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    at <= now && now.saturating_since(at) < HOUR
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const ONE: AttemptId = AttemptId::from_bytes([1; 32]);
    const OTHER: AttemptId = AttemptId::from_bytes([2; 32]);

    fn factor(n: u8) -> Recipient {
        Recipient::Enrolled(FactorId::from_bytes([n; 16]))
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn another_code_waits_in_its_attempt_and_not_in_another() {
        let pace = Pace::new(secs(30), 10);
        assert_eq!(pace.take(factor(1), ONE, NOW), Ok(()));
        assert_eq!(pace.take(factor(1), ONE, NOW + secs(10)), Err(secs(20)));
        assert_eq!(pace.take(factor(1), OTHER, NOW + secs(10)), Ok(()));
        assert_eq!(pace.take(factor(1), ONE, NOW + secs(30)), Ok(()));
    }

    #[test]
    fn attempts_share_what_an_hour_allows_and_factors_do_not() {
        let pace = Pace::new(secs(0), 2);
        assert_eq!(pace.take(factor(1), ONE, NOW), Ok(()));
        assert_eq!(pace.take(factor(1), OTHER, NOW + secs(60)), Ok(()));
        let third = AttemptId::from_bytes([3; 32]);
        assert_eq!(
            pace.take(factor(1), third, NOW + secs(120)),
            Err(secs(3480))
        );
        assert_eq!(pace.take(factor(2), third, NOW + secs(120)), Ok(()));
        assert_eq!(pace.take(factor(1), third, NOW + secs(3600)), Ok(()));
    }

    #[test]
    fn what_is_refused_is_not_counted() {
        let pace = Pace::new(secs(30), 2);
        assert_eq!(pace.take(factor(1), ONE, NOW), Ok(()));
        for _ in 0..10 {
            assert!(pace.take(factor(1), ONE, NOW).is_err());
        }
        assert_eq!(pace.take(factor(1), ONE, NOW + secs(30)), Ok(()));
    }

    #[test]
    fn undelivered_mail_delays_no_one_and_counts_within_the_hour() {
        let pace = Pace::new(secs(30), 2);
        for _ in 0..2 {
            assert_eq!(pace.take(factor(1), ONE, NOW), Ok(()));
            pace.went_nowhere(&factor(1), ONE);
        }
        assert_eq!(pace.take(factor(1), ONE, NOW), Err(HOUR));
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let pace = Pace::new(secs(30), 1);
        let far = NOW + secs(1 << 31);
        assert_eq!(pace.take(factor(1), ONE, far), Ok(()));
        assert_eq!(pace.take(factor(1), ONE, NOW), Ok(()));
    }

    #[test]
    fn those_of_another_hour_are_forgotten() {
        let pace = Pace::new(secs(30), 1);
        for n in 0..200 {
            assert_eq!(pace.take(factor(n), ONE, NOW), Ok(()));
        }
        let later = NOW + secs(7200);
        for n in 0..=255 {
            assert_eq!(pace.take(factor(n), ONE, later), Ok(()));
        }
        assert!(pace.sent.lock().unwrap().to.len() <= 256);
        assert_eq!(pace.take(factor(9), ONE, later + secs(7200)), Ok(()));
        assert_eq!(pace.sent.lock().unwrap().to.len(), 1);
    }
}
