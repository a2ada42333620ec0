//! Everything that is due at some time, in one ordered structure.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::id::{AttemptId, SessionId};
use crate::key::PublicKey;
use crate::time::{Instant, Now, Timestamp};

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Something about a live lease, by its session.
    Lease(SessionId, OfLease),
    /// An attempt took too long.
    Attempt(AttemptId),
    /// A removal that failed is to be tried again.
    Remove(PublicKey),
    /// An end that the store did not take is to be tried again.
    Close(SessionId),
    /// Taking the interface down failed and is to be tried again.
    Fence,
}

/// What of a lease is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OfLease {
    /// It ends.
    End,
    /// It will end soon.
    Warn,
    /// Its traffic, or where its peer is, is to be looked at.
    Sample,
}

impl Due {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Lease(_, OfLease::End) => "a lease ends",
            Self::Lease(_, OfLease::Warn) => "a lease ends soon",
            Self::Lease(_, OfLease::Sample) => "a lease is looked at",
            Self::Attempt(_) => "an attempt expires",
            Self::Remove(_) => "a removal is tried again",
            Self::Close(_) => "the end of a session is stored again",
            Self::Fence => "taking the interface down is tried again",
        }
    }
}

/// Deadlines by the monotonic clock and, for the ends of leases, by the wall clock too: whichever
/// comes first is due.
///
/// Those of live leases, of which there may be a million, are by session in sets of their own: an
/// entry is less than half as large as one that has room for any [`Due`].
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    ends: BTreeSet<(Instant, SessionId)>,
    warnings: BTreeSet<(Instant, SessionId)>,
    samples: BTreeSet<(Instant, SessionId)>,
    others: BTreeSet<(Instant, Due)>,
    wall: BTreeSet<(Timestamp, SessionId)>,
}

impl Deadlines {
    pub(super) fn set(&mut self, at: Instant, due: Due) {
        match due {
            Due::Lease(session, what) => self.of_lease(what).insert((at, session)),
            Due::Attempt(_) | Due::Remove(_) | Due::Close(_) | Due::Fence => {
                self.others.insert((at, due))
            }
        };
    }

    pub(super) fn clear(&mut self, at: Instant, due: Due) {
        match due {
            Due::Lease(session, what) => self.of_lease(what).remove(&(at, session)),
            Due::Attempt(_) | Due::Remove(_) | Due::Close(_) | Due::Fence => {
                self.others.remove(&(at, due))
            }
        };
    }

    const fn of_lease(&mut self, what: OfLease) -> &mut BTreeSet<(Instant, SessionId)> {
        match what {
            OfLease::End => &mut self.ends,
            OfLease::Warn => &mut self.warnings,
            OfLease::Sample => &mut self.samples,
        }
    }

    /// The wall clock's opinion on the end of a session's lease.
    pub(super) fn set_wall(&mut self, at: Timestamp, session: SessionId) {
        self.wall.insert((at, session));
    }

    pub(super) fn clear_wall(&mut self, at: Timestamp, session: SessionId) {
        self.wall.remove(&(at, session));
    }

    /// Takes the next thing that is due.
    pub(super) fn pop(&mut self, now: Now) -> Option<Due> {
        if self
            .wall
            .first()
            .is_some_and(|(at, _)| *at <= now.timestamp)
        {
            let (_, session) = self.wall.pop_first()?;
            return Some(Due::Lease(session, OfLease::End));
        }
        let (at, due) = self.first()?;
        if at > now.instant {
            return None;
        }
        self.clear(at, due);
        Some(due)
    }

    /// The first by the monotonic clock.
    fn first(&self) -> Option<(Instant, Due)> {
        let of_lease = |set: &BTreeSet<(Instant, SessionId)>, what| {
            let (at, session) = set.first()?;
            Some((*at, Due::Lease(*session, what)))
        };
        [
            of_lease(&self.ends, OfLease::End),
            of_lease(&self.warnings, OfLease::Warn),
            of_lease(&self.samples, OfLease::Sample),
            self.others.first().copied(),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    /// When the next thing is due by the monotonic clock, and why. `now` translates the wall
    /// clock's deadlines: a step of that clock shows at the next call.
    pub(super) fn next(&self, now: Now) -> Option<(Instant, &'static str)> {
        let monotonic = self.first().map(|(at, due)| (at, due.reason()));
        let wall = self.wall.first().map(|(at, session)| {
            (
                now.instant + at.saturating_since(now.timestamp),
                Due::Lease(*session, OfLease::End).reason(),
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
