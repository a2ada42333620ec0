//! A clock that stands still until told otherwise.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::time::{Clock, Instant, Now, Timestamp};

/// A settable [`Clock`]: both readings move together with [`advance`](Self::advance), and apart
/// with [`step_wall_to`](Self::step_wall_to). Clones show the same time.
#[derive(Debug, Clone)]
pub struct SimClock(Arc<Mutex<Now>>);

impl SimClock {
    /// A clock that shows this wall-clock time, and a second on the monotonic one.
    pub fn at(timestamp: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Now {
            instant: Instant::from_nanos(1_000_000_000),
            timestamp,
        })))
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, span: Duration) {
        self.change(|now| {
            now.instant = now.instant + span;
            now.timestamp = now.timestamp + span;
        });
    }

    /// Lets time pass on the monotonic clock only: a wall clock that runs behind.
    pub fn advance_monotonic(&self, span: Duration) {
        self.change(|now| now.instant = now.instant + span);
    }

    /// Sets the wall clock, forward or back, as an operator or NTP might. No time passes.
    pub fn step_wall_to(&self, timestamp: Timestamp) {
        self.change(|now| now.timestamp = timestamp);
    }

    /// Sets both readings, as a restart of the machine might.
    pub fn set(&self, now: Now) {
        self.change(|shown| *shown = now);
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        // A reading is plain data: a panic elsewhere leaves nothing half-made.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Default for SimClock {
    /// A clock that shows 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::at(Timestamp::from_millis(1_767_225_600_000))
    }
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_on_both_clocks_and_a_step_is_on_one() {
        let clock = SimClock::default();
        let before = clock.now();
        let other = clock.clone();

        clock.advance(Duration::from_secs(5));
        clock.step_wall_to(before.timestamp - Duration::from_secs(60));

        let after = other.now();
        assert_eq!(
            after.instant.saturating_since(before.instant),
            Duration::from_secs(5)
        );
        assert_eq!(
            before.timestamp.saturating_since(after.timestamp),
            Duration::from_secs(60)
        );
        assert_eq!(
            SimClock::default().now().timestamp.to_string(),
            "2026-01-01T00:00:00.000Z"
        );
    }
}
