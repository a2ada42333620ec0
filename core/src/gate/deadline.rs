//! Everything that is due at some time, in one ordered structure.

use std::collections::BTreeSet;
use std::time::Duration;

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
    /// The interface is to be compared with what is leased.
    Compare,
    /// First messages that were seen can be forgotten.
    Replays,
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
            Self::Compare => "the interface is compared",
            Self::Fence => "taking the interface down is tried again",
            Self::Replays => "first messages are forgotten",
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
            Due::Attempt(_)
            | Due::Remove(_)
            | Due::Close(_)
            | Due::Fence
            | Due::Compare
            | Due::Replays => self.others.insert((at, due)),
        };
    }

    pub(super) fn clear(&mut self, at: Instant, due: Due) {
        match due {
            Due::Lease(session, what) => self.of_lease(what).remove(&(at, session)),
            Due::Attempt(_)
            | Due::Remove(_)
            | Due::Close(_)
            | Due::Fence
            | Due::Compare
            | Due::Replays => self.others.remove(&(at, due)),
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
        // Either clock may be the one that is right: a suspended system stops some monotonic clocks,
        // and the wall clock can be set.
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

/// How many first messages are remembered at the most: a window's worth of what two cores can
/// verify, in some fifty megabytes.
const MOST: usize = 1 << 20;
/// The same for those whose time stamp is ahead of the window.
const MOST_EARLY: usize = 1 << 12;

/// First messages that verified lately, so that a replayed one is known: each of them, whatever the
/// reply was and whether or not the peer is enrolled, since either can change before the window is
/// over.
///
/// Bounded by time, since a message whose time stamp is outside the window is refused, and by
/// number: where there are more, nothing new is opened until the first of them are forgotten.
#[derive(Debug, Default)]
pub(super) struct ReplayWindow {
    seen: Ephemerals,
    /// Messages from the future. Their window comes later, and no reply waits for them, so that a
    /// full memory drops the furthest.
    early: Ephemerals,
    armed: bool,
}

/// What the window says of a first message.
#[derive(Debug)]
pub(super) enum Remembered {
    /// It was not seen before.
    New,
    /// It was.
    Known,
    /// It was not seen before, and can't be remembered before this time.
    Full {
        /// When there is room again.
        until: Instant,
    },
}

/// Half of an ephemeral key tells it from all others: finding a second one with the same half takes
/// 2^128 tries.
type Half = [u8; 16];

#[derive(Debug, Default)]
struct Ephemerals {
    known: BTreeSet<Half>,
    until: BTreeSet<(Instant, Half)>,
}

impl ReplayWindow {
    /// Remembers an ephemeral key until then.
    pub(super) fn insert(
        &mut self,
        ephemeral: [u8; 32],
        now: Instant,
        until: Instant,
    ) -> Remembered {
        let half = half(&ephemeral);
        self.forget_before(now);
        if self.has(&half) {
            return Remembered::Known;
        }
        match self.seen.until.first() {
            Some((first, _)) if self.seen.until.len() >= MOST => Remembered::Full { until: *first },
            _ => {
                self.seen.insert(half, until);
                Remembered::New
            }
        }
    }

    /// Remembers the ephemeral key of a message whose window is still to come.
    pub(super) fn insert_early(
        &mut self,
        ephemeral: [u8; 32],
        now: Instant,
        until: Instant,
    ) -> Remembered {
        let half = half(&ephemeral);
        self.forget_before(now);
        if self.has(&half) {
            return Remembered::Known;
        }
        self.early.insert(half, until);
        if self.early.until.len() > MOST_EARLY
            && let Some((_, furthest)) = self.early.until.pop_last()
        {
            self.early.known.remove(&furthest);
        }
        Remembered::New
    }

    /// When to forget, where no deadline for that is set yet: when all that is remembered now can
    /// be, so that an idle gate wakes once.
    pub(super) fn arm(&mut self) -> Option<Instant> {
        if self.armed {
            return None;
        }
        let last = |all: &Ephemerals| all.until.last().map(|(at, _)| *at);
        let at = last(&self.seen).or_else(|| last(&self.early))?;
        self.armed = true;
        Some(at)
    }

    /// The deadline has come.
    pub(super) fn disarm(&mut self, now: Instant) {
        self.armed = false;
        self.forget_before(now);
    }

    /// Remembers all that is known now for this much longer.
    pub(super) fn keep_longer(&mut self, longer: Duration) {
        self.seen.keep_longer(longer);
        self.early.keep_longer(longer);
    }

    fn has(&self, half: &Half) -> bool {
        self.seen.known.contains(half) || self.early.known.contains(half)
    }

    fn forget_before(&mut self, now: Instant) {
        self.seen.forget_before(now);
        self.early.forget_before(now);
    }
}

impl Ephemerals {
    fn insert(&mut self, half: Half, until: Instant) {
        if self.known.insert(half) {
            self.until.insert((until, half));
        }
    }

    fn keep_longer(&mut self, longer: Duration) {
        let until = std::mem::take(&mut self.until).into_iter();
        self.until = until.map(|(at, half)| (at + longer, half)).collect();
    }

    /// What is good until `now` is not any more.
    fn forget_before(&mut self, now: Instant) {
        while let Some((_, half)) = self.until.first().copied().filter(|(at, _)| *at <= now) {
            self.until.pop_first();
            self.known.remove(&half);
        }
    }
}

fn half(ephemeral: &[u8; 32]) -> Half {
    let mut half = [0; 16];
    half.iter_mut()
        .zip(ephemeral)
        .for_each(|(to, from)| *to = *from);
    half
}
