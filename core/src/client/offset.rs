//! How far the gate's clock is from this one, so that first messages carry a time it accepts.

use std::time::Duration;

use crate::time::Timestamp;

/// What to add to this clock to have the gate's. Used for what is sent, never for a lease's end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Offset {
    ahead: Duration,
    behind: Duration,
}

impl Offset {
    pub(super) fn between(gate: Timestamp, here: Timestamp) -> Self {
        Self {
            ahead: gate.saturating_since(here),
            behind: here.saturating_since(gate),
        }
    }

    pub(super) fn apply(self, here: Timestamp) -> Timestamp {
        here + self.ahead - self.behind
    }
}
