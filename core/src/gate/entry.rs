//! A peer's place: the lease that it holds and what the interface is doing about it.

use super::activity::Watch;
use super::comparison::Fingerprint;
use super::event::Event;
use super::grant::Lease;
use crate::id::{AttemptId, SessionId};
use crate::interface::PeerConfig;
use crate::time::Instant;

/// One peer that is on the interface, or on its way there or away.
#[derive(Debug, Default)]
pub(super) struct PeerEntry {
    /// The lease.
    pub(super) held: Option<LeaseEntry>,
    /// What the interface is doing.
    pub(super) place: InstallState,
    /// What it was last told to have of the peer.
    pub(super) fingerprint: Option<Fingerprint>,
    /// How often the peer was put right during this term of its lease. Here and not in
    /// [`LeaseEntry`], where it would cost a word.
    pub(super) repairs: u8,
    /// What depends on that operation: nothing, for nearly every one of many live leases.
    under_way: Option<Box<PendingOperation>>,
}

/// What depends on an operation of the interface.
#[derive(Debug, Default)]
pub(super) struct PendingOperation {
    /// What to install once the operation under way is over.
    pub(super) queued: Option<Install>,
    /// The attempt that waits for the installation.
    pub(super) waiting: Option<Waiting>,
    /// Sessions that wait for the peer to be gone.
    pub(super) leaving: Vec<SessionId>,
    /// The removals that have been failing.
    pub(super) failing: Option<Failing>,
    /// Whether the store was asked for the lease's preshared key, with which the peer is to be
    /// installed again.
    pub(super) restoring: bool,
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
pub(super) struct LeaseEntry {
    pub(super) lease: Lease,
    /// What is known of its traffic, where the policy asks.
    pub(super) watch: Option<Box<Watch>>,
}

/// What the interface is doing about a peer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstallState {
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

impl PeerEntry {
    pub(super) fn lease(&self) -> Option<&Lease> {
        self.held.as_ref().map(|held| &held.lease)
    }

    pub(super) fn under_way(&mut self) -> &mut PendingOperation {
        self.under_way.get_or_insert_default()
    }

    pub(super) fn is_restoring(&self) -> bool {
        let under_way = self.under_way.as_ref();
        under_way.is_some_and(|under_way| under_way.restoring)
    }

    /// Gives the memory back, if nothing depends on an operation any more.
    pub(super) fn settle(&mut self) {
        self.under_way.take_if(|under_way| {
            let PendingOperation {
                queued,
                waiting,
                leaving,
                failing,
                restoring,
            } = &**under_way;
            let waits = queued.is_some() || waiting.is_some() || !leaving.is_empty();
            !waits && failing.is_none() && !restoring
        });
    }
}
