//! The machine's state. What becomes of it is in the other files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Phase;
use super::action::Action;
use super::attempt::Attempts;
use super::comparison::Comparison;
use super::deadline::{Deadlines, ReplayWindow};
use super::entry::PeerEntry;
use super::event::Event;
use super::freshness::Freshness;
use super::policy_cache::PolicyCache;
use super::session_end::{Ending, Ticket};
use crate::id::{LocationId, SessionId, UserId};
use crate::key::PublicKey;
use crate::policy::Policy;

/// The gate's state machine. See the [module](super) for its contract.
#[derive(Debug)]
pub struct Machine {
    pub(super) location: LocationId,
    /// The location's own policy, for what does not depend on groups: attempts, throttling, fencing.
    pub(super) policy: Policy,
    pub(super) policies: PolicyCache,
    pub(super) has_authoriser: bool,
    pub(super) freshness: Freshness,
    pub(super) phase: Phase,
    pub(super) stopping: bool,
    /// Whether a stop leaves peers with a live lease on the interface.
    pub(super) keeps_peers: bool,
    /// Whether the store was replaced or put back to an older copy.
    pub(super) is_store_replaced: bool,
    pub(super) attempts: Attempts,
    pub(super) slots: BTreeMap<PublicKey, Box<PeerEntry>>,
    pub(super) sessions: BTreeMap<SessionId, PublicKey>,
    pub(super) endings: BTreeMap<SessionId, Ending>,
    pub(super) tickets: BTreeMap<u64, Ticket>,
    /// Sessions that a gate which stops leaves in the store.
    pub(super) parked: BTreeMap<SessionId, (PublicKey, UserId)>,
    /// Peers that such a gate leaves on the interface.
    pub(super) kept: BTreeSet<PublicKey>,
    pub(super) comparison: Comparison,
    /// Whether the interface was removed by others and does not come back.
    pub(super) is_gone: bool,
    pub(super) deadlines: Deadlines,
    pub(super) replays: ReplayWindow,
    pub(super) actions: VecDeque<Action>,
    pub(super) events: VecDeque<Event>,
}
