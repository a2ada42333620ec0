//! Everything that is due at some time, in one ordered structure.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::id::{AttemptId, SessionId};
use crate::key::PublicKey;
use crate::time::{Instant, Now, Timestamp};

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A lease ends.
    End(PublicKey),
    /// A lease will end soon.
    Warn(PublicKey),
    /// A lease's traffic is to be looked at.
    Sample(PublicKey),
    /// An attempt took too long.
    Attempt(AttemptId),
    /// A removal that failed is to be tried again.
    Remove(PublicKey),
    /// An end that the store did not take is to be tried again.
    Close(SessionId),
    /// Taking the interface down failed and is to be tried again.
    Fence,
}

impl Due {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::End(_) => "a lease ends",
            Self::Warn(_) => "a lease ends soon",
            Self::Sample(_) => "a lease may be inactive",
            Self::Attempt(_) => "an attempt expires",
            Self::Remove(_) => "a removal is tried again",
            Self::Close(_) => "the end of a session is stored again",
            Self::Fence => "taking the interface down is tried again",
        }
    }
}

/// Deadlines by the monotonic clock and, for the ends of leases, by the wall clock too: whichever
/// comes first is due.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    monotonic: BTreeSet<(Instant, Due)>,
    wall: BTreeSet<(Timestamp, PublicKey)>,
}

impl Deadlines {
    pub(super) fn set(&mut self, at: Instant, due: Due) {
        self.monotonic.insert((at, due));
    }

    pub(super) fn clear(&mut self, at: Instant, due: Due) {
        self.monotonic.remove(&(at, due));
    }

    /// The wall clock's opinion on the end of a peer's lease.
    pub(super) fn set_wall(&mut self, at: Timestamp, peer: PublicKey) {
        self.wall.insert((at, peer));
    }

    pub(super) fn clear_wall(&mut self, at: Timestamp, peer: PublicKey) {
        self.wall.remove(&(at, peer));
    }

    /// Takes the next thing that is due.
    pub(super) fn pop(&mut self, now: Now) -> Option<Due> {
        if self
            .wall
            .first()
            .is_some_and(|(at, _)| *at <= now.timestamp)
        {
            return self.wall.pop_first().map(|(_, peer)| Due::End(peer));
        }
        if self
            .monotonic
            .first()
            .is_some_and(|(at, _)| *at <= now.instant)
        {
            return self.monotonic.pop_first().map(|(_, due)| due);
        }
        None
    }

    /// When the next thing is due by the monotonic clock, and why. `now` translates the wall
    /// clock's deadlines: a step of that clock shows at the next call.
    pub(super) fn next(&self, now: Now) -> Option<(Instant, &'static str)> {
        let monotonic = self.monotonic.first().map(|(at, due)| (*at, due.reason()));
        let wall = self.wall.first().map(|(at, peer)| {
            (
                now.instant + at.saturating_since(now.timestamp),
                Due::End(*peer).reason(),
            )
        });
        [monotonic, wall]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }
}

/// First messages seen lately, so that a replayed one is known. Bounded by time: a message whose
/// time stamp is outside the window is refused before it is looked up here.
#[derive(Debug, Default)]
pub(super) struct ReplayWindow {
    seen: BTreeSet<[u8; 32]>,
    until: BTreeSet<(Instant, [u8; 32])>,
}

impl ReplayWindow {
    pub(super) fn has(&self, ephemeral: &[u8; 32]) -> bool {
        self.seen.contains(ephemeral)
    }

    /// Remembers an ephemeral key until `until`; `false` when it is known already.
    pub(super) fn insert(&mut self, ephemeral: [u8; 32], now: Instant, until: Instant) -> bool {
        self.forget_before(now);
        let new = self.seen.insert(ephemeral);
        if new {
            self.until.insert((until, ephemeral));
        }
        new
    }

    fn forget_before(&mut self, now: Instant) {
        let rest = self.until.split_off(&(now, [0; 32]));
        for (_, ephemeral) in std::mem::replace(&mut self.until, rest) {
            self.seen.remove(&ephemeral);
        }
        debug_assert!(
            self.until
                .range((Bound::Unbounded, Bound::Excluded((now, [0; 32]))))
                .next()
                .is_none()
        );
    }
}
