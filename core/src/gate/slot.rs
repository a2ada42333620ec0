//! A peer's place: the lease that it holds and what the interface is doing about it.

use super::activity::Watch;
use super::event::Event;
use super::grant::Lease;
use crate::id::{AttemptId, SessionId};
use crate::interface::PeerConfig;
use crate::time::Instant;

/// One peer that is on the interface, or on its way there or away.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The lease.
    pub(super) held: Option<Held>,
    /// What the interface is doing.
    pub(super) place: Place,
    /// What hangs on that: nothing, for nearly every one of many live leases.
    under_way: Option<Box<UnderWay>>,
}

/// What hangs on an operation of the interface.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    /// What to install once the operation under way is over.
    pub(super) queued: Option<Install>,
    /// The attempt that waits for the installation.
    pub(super) waiting: Option<Waiting>,
    /// Sessions that wait for the peer to be gone.
    pub(super) leaving: Vec<SessionId>,
    /// The removals that have been failing.
    pub(super) failing: Option<Failing>,
}

/// Removals that fail, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failing {
    /// Since when.
    pub(super) since: Instant,
    /// When the next one is due, where none is under way.
    pub(super) again: Instant,
}

/// An attempt that waits for an installation, and what to announce when it is done.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) attempt: AttemptId,
    pub(super) event: Event,
}

/// A lease and what is known of it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lease: Lease,
    /// What is known of its traffic, where the policy asks.
    pub(super) watch: Option<Box<Watch>>,
}

/// What the interface is doing about a peer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing is known to be there.
    #[default]
    Absent,
    /// An installation is under way.
    Installing,
    /// The peer is there.
    Present,
    /// A removal is under way.
    Removing,
    /// A removal failed and is tried again.
    Stuck,
}

/// An installation to be.
#[derive(Debug)]
pub(super) struct Install {
    pub(super) config: PeerConfig,
    pub(super) in_place: bool,
}

impl Slot {
    pub(super) fn lease(&self) -> Option<&Lease> {
        self.held.as_ref().map(|held| &held.lease)
    }

    pub(super) fn under_way(&mut self) -> &mut UnderWay {
        self.under_way.get_or_insert_default()
    }

    /// Gives the room back, if nothing hangs on an operation any more.
    pub(super) fn settle(&mut self) {
        self.under_way.take_if(|under_way| {
            let UnderWay {
                queued,
                waiting,
                leaving,
                failing,
            } = &**under_way;
            queued.is_none() && waiting.is_none() && leaving.is_empty() && failing.is_none()
        });
    }
}
