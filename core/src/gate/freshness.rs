//! The clock that judges the time stamps of first messages. It is never set back.
//!
//! A first message is remembered for as long as its time stamp can be within the window, by the
//! monotonic clock. A system's clock that is set back would bring time stamps into the window again
//! whose messages are forgotten already. So this clock goes on as the monotonic one does, and is then
//! ahead of the system's. That keeps no one out: a client whose time stamp is refused is told what
//! this clock says, and sends another message by that.
//!
//! A policy that allows more skew than before makes the window wider: what is remembered is kept for
//! longer, and what was too old stays too old.

use std::time::Duration;

use super::Machine;
use crate::time::{Now, Timestamp};

/// How far back the system's clock goes unnoticed: its two readings are taken one after the other,
/// and it may be slowed down. First messages are remembered for that much longer.
pub(super) const UNNOTICED: Duration = Duration::from_secs(1);

/// What is known of the clock, and of what is too old by now.
#[derive(Debug)]
pub(super) struct Freshness {
    /// The reading of the system's clock from which a step is told.
    anchor: Now,
    /// How far this clock is ahead of the system's.
    ahead: Duration,
    /// First messages that were sent before this are too old, whatever the clock says.
    since: Timestamp,
}

impl Freshness {
    /// A gate that starts knows no older first messages, and so takes none.
    pub(super) const fn from_start(now: Now) -> Self {
        Self {
            anchor: now,
            ahead: Duration::ZERO,
            since: now.timestamp,
        }
    }

    /// What this clock says.
    pub(super) fn time(&self, now: Now) -> Timestamp {
        now.timestamp + self.ahead
    }

    /// Whether a first message was too old at some time, or was sent before the gate's start.
    pub(super) fn is_too_old(&self, sent_at: Timestamp) -> bool {
        sent_at < self.since
    }

    /// Takes notice of a step of the system's clock, in either direction.
    fn on_reading(&mut self, now: Now) {
        let passed = now.instant.saturating_since(self.anchor.instant);
        let expected = self.anchor.timestamp + passed;
        let back = expected.saturating_since(now.timestamp);
        if back > UNNOTICED {
            self.ahead = self.ahead.saturating_add(back);
            self.anchor = now;
        } else if now.timestamp > expected {
            // The system's clock catches up before it takes this one along.
            let forward = now.timestamp.saturating_since(expected);
            self.ahead = self.ahead.saturating_sub(forward);
            self.anchor = now;
        }
    }
}

impl Machine {
    /// Before anything is judged by the clock.
    pub(super) fn see_clock(&mut self, now: Now) {
        self.freshness.on_reading(now);
    }

    /// Before the policy allows this much skew: what the window was too narrow for stays refused.
    pub(super) fn widen_window(&mut self, now: Now, clock_skew: Duration) {
        let more = clock_skew.saturating_sub(self.policy.clock_skew);
        if more.is_zero() {
            return;
        }
        let oldest = self.freshness.time(now) - self.policy.clock_skew;
        self.freshness.since = self.freshness.since.max(oldest);
        self.replays.keep_longer(more);
    }
}
