//! The gate: it runs beside a WireGuard interface and decides who is on it.
//!
//! Give a [`Gate`] a store, an interface and verifiers, hand it the bodies of requests (or have
//! [`http::serve`](fn@crate::http::serve) do that), and it admits, renews and ends.
//!
//! # Inside
//!
//! What decides is a machine, which is not public: `runtime` drives it and carries its actions out.
//! It is sans-IO: it takes in what happened (`handle_input`) and the passing of time
//! (`handle_timeout`), and gives actions, events and its next deadline (`poll_…`). It reads no clock,
//! opens no socket, draws no randomness and knows no store. It holds attempts and live leases,
//! never the enrolled population. Per peer it has at most one interface operation under way, so
//! that a late answer can't be mistaken for a new one.
//!
//! | file | concern |
//! |---|---|
//! | `machine` | the state |
//! | `grant` | the proof tokens |
//! | `policy_cache` | the policy for each user's groups |
//! | `policy_change` | another policy while the gate runs |
//! | `ceremony` | from a first message to a challenge |
//! | `freshness` | first messages, where the clock or the window changes |
//! | `challenge` | what is asked, and what the user does about it |
//! | `verdict` | the verifier's verdict on an answer, and its durable count |
//! | `admission` | from the last verdict to a lease |
//! | `enrolment` | a new factor from a client |
//! | `status` | what a client asks about its session |
//! | `renewal` | more time for a live lease |
//! | `install` | putting peers on the interface, and taking them off |
//! | `session_end` | how a session ends, and who waits for that |
//! | `reconcile` | start, stop, and what the store says of live leases |
//! | `persistence` | the mapping between the machine and the store |
//! | `comparison` | what the interface has, against what is leased |
//! | `activity` | samples of live leases: inactivity |
//! | `roaming` | where a peer is, and whether it has moved |
//! | `deadline` | what is due, and first messages seen |

#![cfg_attr(
    not(feature = "testing"),
    allow(
        unnameable_types,
        unreachable_pub,
        reason = "what `engine` has is public for benches and fuzz targets, behind `testing`"
    )
)]

mod action;
mod activity;
mod admission;
mod attempt;
mod ceremony;
mod challenge;
mod comparison;
mod deadline;
mod enrolment;
mod entry;
mod event;
mod freshness;
mod grant;
mod input;
mod install;
mod machine;
pub(crate) mod persistence;
mod policy_cache;
mod policy_change;
mod reconcile;
mod renewal;
mod roaming;
mod session_end;
mod status;
#[cfg(test)]
#[cfg(feature = "testing")]
mod tests;
mod verdict;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::repeat;

pub(crate) use action::{Action, FactorContext, Outcome};
pub(crate) use comparison::Fingerprint;
pub use event::Event;
pub(crate) use grant::{Grant, Lease, Terms};
pub use input::Scope;
pub(crate) use input::{Input, Intent, KnownSession, LeaseCheck, Unavailable, Unlisted};
pub(crate) use machine::Machine;

#[cfg(feature = "sqlite")]
pub use crate::runtime::OpenError;
pub use crate::runtime::{
    Events, Gate, GateBuilder, GateConfig, LocationRegistrar, PolicyError, ProfileTemplate,
    RevokeError, SessionView, StartError, Timeouts,
};

use crate::audit::{AuditEvent, AuditKind};
use crate::id::{AttemptId, LocationId, SessionId, UserId};
use crate::key::PublicKey;
use crate::policy::{InvalidPolicy, Policy};
use crate::store::EndReason;
use crate::time::{Instant, Now};
use attempt::Attempts;
use comparison::Comparison;
use deadline::{Deadlines, Due, OfLease, ReplayWindow};
use freshness::Freshness;
use policy_cache::PolicyCache;

/// The machine, for benches and tests of this project. It is not a part of the API: what is here
/// changes without notice.
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod engine {
    pub use super::action::{Action, FactorContext, Outcome};
    pub use super::comparison::Fingerprint;
    pub use super::grant::{Grant, Lease, Restored, Terms};
    pub use super::input::{Input, Intent, KnownSession, LeaseCheck, Unavailable, Unlisted};
    pub use super::machine::Machine;
}

/// Why a gate admits no one any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// It was stopped.
    Stopped,
    /// It took its interface down, since a peer could not be removed. Every session has ended.
    Fenced,
    /// Its interface was removed, or taken away, by others. The sessions stay in the store.
    InterfaceGone,
}

/// What the gate as a whole is doing.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is known of the interface yet: no one is admitted.
    Starting,
    /// These peers' operations bring the interface in line: no one is admitted.
    Reconciling(BTreeSet<PublicKey>),
    /// Peers are admitted.
    Open,
    /// The interface is being taken down.
    Fencing,
    /// The interface is down, for good.
    Fenced,
    /// Every peer has left.
    Stopped,
}

impl Machine {
    /// A machine that waits for [`Input::Start`]; until it has reconciled it admits no one.
    ///
    /// # Errors
    /// [`InvalidPolicy`] when the policy could admit no one.
    pub fn new(location: LocationId, policy: Policy, now: Now) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        Ok(Self {
            location,
            policies: PolicyCache::new(policy.clone()),
            policy,
            has_authoriser: false,
            freshness: Freshness::from_start(now),
            phase: Phase::Starting,
            stopping: false,
            keeps_peers: false,
            is_store_replaced: false,
            attempts: Attempts::default(),
            slots: BTreeMap::new(),
            sessions: BTreeMap::new(),
            endings: BTreeMap::new(),
            tickets: BTreeMap::new(),
            parked: BTreeMap::new(),
            kept: BTreeSet::new(),
            comparison: Comparison::default(),
            is_gone: false,
            deadlines: Deadlines::default(),
            replays: ReplayWindow::default(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
        })
    }

    /// Has every admission and renewal authorised, by [`Action::Authorise`].
    #[must_use]
    pub const fn with_authoriser(mut self) -> Self {
        self.has_authoriser = true;
        self
    }

    /// Takes in what happened.
    ///
    /// What is due by now happens first, so that no input finds a lease or an attempt whose time
    /// is over.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        self.handle_timeout(now);
        match input {
            // The life of the gate.
            Input::Start {
                sessions,
                unreadable,
                refused,
                installed,
            } => {
                let unreadable = unreadable.into_iter().zip(repeat(EndReason::Unreadable));
                let refused = refused.into_iter().zip(repeat(EndReason::PolicyChanged));
                self.on_start(now, sessions, unreadable.chain(refused), installed);
            }
            // An attempt, from its first message to its last factor.
            Input::Hello {
                attempt,
                peer,
                ephemeral,
                sent_at,
                intent,
                posture,
                source,
            } => {
                self.on_hello(
                    now,
                    attempt::Hello {
                        attempt,
                        peer,
                        ephemeral,
                        sent_at,
                        intent,
                        posture,
                        source,
                    },
                );
            }
            Input::Request { attempt, request } => self.on_request(now, attempt, request),
            Input::Found { attempt, result } => self.on_found(now, attempt, result),
            Input::FoundSession { attempt, result } => self.on_found_session(now, attempt, result),
            Input::Challenged { attempt, result } => self.on_challenged(now, attempt, result),
            Input::Verified { attempt, result } => self.on_verified(now, attempt, result),
            Input::Passed { attempt, result } => self.on_passed(now, attempt, result),
            Input::Authorised { attempt, result } => self.on_authorised(now, attempt, result),
            Input::Registering { attempt, result } => self.on_registering(now, attempt, result),
            Input::Enrolling { attempt, result } => self.on_enrolling(now, attempt, result),
            Input::FactorAdded { attempt, result } => self.on_factor_added(attempt, result),
            Input::FailureRecorded { attempt, result } => {
                self.on_failure_recorded(now, attempt, result);
            }
            // From a grant to a lease, and from a lease to its end.
            Input::Opened {
                attempt,
                grant,
                session,
                result,
            } => {
                self.on_opened(now, attempt, grant, session, result);
            }
            Input::Renewed {
                attempt,
                session,
                terms,
                result,
            } => {
                self.on_renewed(now, attempt, session, *terms, result);
            }
            Input::Installed { peers, result } => self.on_installed(now, &peers, result),
            Input::Removed { peers, result } => self.on_removed(now, &peers, result),
            Input::Fenced { result } => self.on_fenced(now, result),
            Input::Closed { session, result } => self.on_closed(now, session, result),
            // What others do to the interface, the store and the policy, and what they ask for.
            Input::Sampled { peers, result } => self.on_sampled(now, &peers, result),
            Input::Listed { result } => self.on_listed(now, result),
            Input::Restored {
                peer,
                session,
                result,
            } => self.on_restored(now, peer, session, result),
            Input::Changed {
                sessions,
                peers,
                users,
            } => self.on_changed(&sessions, &peers, &users),
            Input::Checked {
                peer,
                session,
                result,
            } => self.on_checked(peer, session, result),
            Input::Revoke { ticket, scope } => self.on_revoke(now, ticket, &scope),
            Input::Settle { ticket, scope } => self.on_settle(ticket, &scope),
            Input::Policy { policy, known } => self.on_policy(now, *policy, known),
            Input::Judge { known } => self.on_judge(now, known),
            // The end of the gate.
            Input::Stop => self.on_stop(false),
            Input::StopKeepingPeers => self.on_stop(true),
            Input::StoreReplaced => self.on_store_replaced(),
        }
        // Any of these may have been the last thing that a gate which stops waited for.
        self.stop_if_idle();
    }

    /// Takes in that time has passed: does what is due, and costs no more than that.
    pub fn handle_timeout(&mut self, now: Now) {
        self.see_clock(now);
        // One read of the interface tells of all its peers: what is due together is asked for at
        // once.
        let mut samples = Vec::new();
        while let Some(due) = self.deadlines.pop(now) {
            match due {
                Due::Lease(session, what) => {
                    let Some(peer) = self.sessions.get(&session).copied() else {
                        continue;
                    };
                    match what {
                        OfLease::End => self.lease_over(now, peer),
                        OfLease::Warn => self.lease_ending(now, peer),
                        OfLease::Sample if self.begin_sample(peer) => samples.push(peer),
                        OfLease::Sample => {}
                    }
                }
                Due::Attempt(attempt) => self.attempt_over(attempt),
                Due::Remove(peer) => self.begin_removal(peer),
                Due::Close(session) => self.close_again(now, session),
                Due::Fence => self.actions.push_back(Action::Fence),
                Due::Compare => self.compare_now(now),
                Due::Replays => self.forget_replays(now),
            }
        }
        if !samples.is_empty() {
            self.actions.push_back(Action::Sample { peers: samples });
        }
        self.stop_if_idle();
    }

    /// The next thing for the shell to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next thing for the embedder to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Machine::handle_timeout`] is due, and why; `None` while nothing is.
    pub fn poll_timeout(&self, now: Now) -> Option<(Instant, &'static str)> {
        self.deadlines.next(now)
    }

    /// The live leases, in the order of their peers' keys.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.slots.values().filter_map(|slot| slot.lease())
    }

    /// How many leases are live.
    #[cfg(feature = "testing")]
    pub fn lease_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many attempts are open.
    #[cfg(feature = "testing")]
    pub fn attempt_count(&self) -> usize {
        self.attempts.len()
    }

    /// Whether the gate admits.
    pub fn is_open(&self) -> bool {
        self.serves() && !self.is_store_replaced && !self.comparison.is_away
    }

    /// Whether the gate answers clients at all, if only to end sessions.
    fn serves(&self) -> bool {
        self.phase == Phase::Open && !self.stopping
    }

    /// Why the gate admits no one any more, and never will; `None` while it may.
    pub const fn why_closed(&self) -> Option<Closed> {
        match self.phase {
            Phase::Fenced if self.is_gone => Some(Closed::InterfaceGone),
            Phase::Fenced => Some(Closed::Fenced),
            Phase::Stopped => Some(Closed::Stopped),
            Phase::Starting | Phase::Reconciling(_) | Phase::Open | Phase::Fencing => None,
        }
    }

    /// Whether the gate has stopped, or is about to, without taking live peers off the interface.
    pub const fn keeps_peers(&self) -> bool {
        self.keeps_peers
    }

    /// The store's enrolments may be out of date: no one is admitted by them. Live leases need no
    /// store to end on time.
    fn on_store_replaced(&mut self) {
        if !std::mem::replace(&mut self.is_store_replaced, true) {
            self.events.push_back(Event::StoreReplaced);
        }
    }

    /// The lease that a peer holds.
    fn lease_of(&self, peer: PublicKey) -> Option<&Lease> {
        self.slots.get(&peer)?.lease()
    }

    /// The lease that a peer holds for this very session.
    fn lease_for(&self, peer: PublicKey, session: SessionId) -> Option<&Lease> {
        self.lease_of(peer)
            .filter(|lease| lease.session() == session)
    }

    fn reply(&mut self, attempt: AttemptId, reply: Outcome) {
        self.actions.push_back(Action::Reply { attempt, reply });
    }

    /// Has something recorded that an attempt of this user's met.
    fn record(&mut self, now: Now, id: AttemptId, user: &UserId, kind: AuditKind) {
        let Some(attempt) = self.attempts.get(id) else {
            return;
        };
        let event = Box::new(self.audit_of(now, id, (user, attempt.peer), kind));
        self.actions.push_back(Action::Record { event });
    }

    /// A record of something that an attempt of this user's, from this peer, comes to.
    fn audit_of(
        &self,
        now: Now,
        id: AttemptId,
        (user, peer): (&UserId, PublicKey),
        kind: AuditKind,
    ) -> AuditEvent {
        let mut event = self.audit(now, kind);
        event.user = Some(user.clone());
        event.peer = Some(peer);
        event.source = self.attempts.get(id).and_then(|attempt| attempt.source);
        event
    }

    fn audit(&self, now: Now, kind: AuditKind) -> AuditEvent {
        let mut event = AuditEvent::new(now.timestamp, kind);
        event.location = Some(self.location.clone());
        event
    }
}
