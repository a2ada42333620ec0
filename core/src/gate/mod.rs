//! The gate's machine: all that decides whether a peer may pass traffic.
//!
//! It is sans-IO. Hand it what happened with [`Machine::handle_input`] and the passing of time
//! with [`Machine::handle_timeout`], then drain [`Machine::poll_action`] and
//! [`Machine::poll_event`] until both are empty, carry the actions out, hand their results back
//! in, and call again no later than [`Machine::poll_timeout`] says. It reads no clock, opens no
//! socket, draws no randomness and knows no store; [`crate::runtime`] is the shell that does.
//!
//! It holds attempts and live leases, never the enrolled population. Per peer it has at most one
//! interface operation under way, so that a late answer can't be mistaken for a new one.
//!
//! | file | concern |
//! |---|---|
//! | `grant` | the proof tokens |
//! | `rules` | the policy for each user's groups |
//! | `ceremony` | from a first message to a question |
//! | `question` | what is asked, and what the user does about it |
//! | `verdict` | what became of an answer |
//! | `admission` | from the last verdict to a lease |
//! | `enrolment` | a new factor from a client |
//! | `inquiry` | what a client asks about its session |
//! | `renewal` | more time for a live lease |
//! | `placement` | what is on the interface |
//! | `ending` | how a session ends, and who waits for that |
//! | `standing` | what the store says of live leases, and start and stop |
//! | `activity` | looks at live leases: inactivity |
//! | `roaming` | where a peer is, and whether it has moved |
//! | `deadline` | what is due, and first messages seen |

mod action;
mod activity;
mod admission;
mod attempt;
mod ceremony;
mod deadline;
mod ending;
mod enrolment;
mod event;
mod grant;
mod input;
mod inquiry;
mod placement;
mod question;
mod renewal;
mod roaming;
mod rules;
mod slot;
mod standing;
#[cfg(test)]
#[cfg(feature = "testing")]
mod tests;
mod verdict;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use action::{Action, Outcome, Subject};
pub use event::Event;
pub use grant::{Grant, Lease, Restored, Terms};
pub use input::{Input, Intent, Scope, Standing, Unavailable, Wish};
#[cfg(feature = "runtime")]
pub(crate) use rules::Rules;

use crate::audit::{AuditEvent, AuditKind};
use crate::id::{AttemptId, LocationId, SessionId, UserId};
use crate::key::PublicKey;
use crate::policy::{InvalidPolicy, Policy};
use crate::time::{Instant, Now};
use attempt::Attempts;
use deadline::{Deadlines, Due, OfLease, ReplayWindow};
use ending::{Ending, Ticket};
#[cfg(not(feature = "runtime"))]
use rules::Rules;
use slot::Slot;

/// The gate's state machine. See the [module](self) for its contract.
#[derive(Debug)]
pub struct Machine {
    location: LocationId,
    /// What goes for everybody: attempts, throttling, fencing.
    policy: Policy,
    rules: Rules,
    has_authoriser: bool,
    started: Now,
    phase: Phase,
    stopping: bool,
    attempts: Attempts,
    slots: BTreeMap<PublicKey, Box<Slot>>,
    sessions: BTreeMap<SessionId, PublicKey>,
    endings: BTreeMap<SessionId, Ending>,
    tickets: BTreeMap<u64, Ticket>,
    /// Sessions that a gate which stops leaves in the store.
    parked: BTreeMap<SessionId, (PublicKey, UserId)>,
    deadlines: Deadlines,
    replays: ReplayWindow,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

/// What the gate as a whole is doing.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is known of the interface yet: nobody is admitted.
    Starting,
    /// These peers' operations bring the interface in line: nobody is admitted.
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
    /// A machine that waits for [`Input::Start`]; until it has reconciled it admits nobody.
    ///
    /// # Errors
    /// [`InvalidPolicy`] when the policy could admit nobody.
    pub fn new(location: LocationId, policy: Policy, now: Now) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        Ok(Self {
            location,
            rules: Rules::new(policy.clone()),
            policy,
            has_authoriser: false,
            started: now,
            phase: Phase::Starting,
            stopping: false,
            attempts: Attempts::default(),
            slots: BTreeMap::new(),
            sessions: BTreeMap::new(),
            endings: BTreeMap::new(),
            tickets: BTreeMap::new(),
            parked: BTreeMap::new(),
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
    pub fn handle_input(&mut self, now: Now, input: Input) {
        self.handle_timeout(now);
        match input {
            Input::Start {
                sessions,
                unreadable,
                installed,
            } => {
                self.start(now, sessions, unreadable, installed);
            }
            Input::Hello {
                attempt,
                peer,
                ephemeral,
                sent_at,
                intent,
                posture,
                source,
            } => {
                self.hello(
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
            Input::Request { attempt, request } => self.request(now, attempt, request),
            Input::Found { attempt, result } => self.found(now, attempt, result),
            Input::FoundSession { attempt, result } => self.found_session(now, attempt, result),
            Input::Challenged { attempt, result } => self.challenged(now, attempt, result),
            Input::Verified { attempt, result } => self.verified(now, attempt, result),
            Input::Passed { attempt, result } => self.passed(now, attempt, result),
            Input::Authorised { attempt, result } => self.authorised(now, attempt, result),
            Input::Registering { attempt, result } => self.registering(now, attempt, result),
            Input::Enrolling { attempt, result } => self.enrolling(now, attempt, result),
            Input::FactorAdded { attempt, result } => self.factor_added(attempt, result),
            Input::FailureRecorded { attempt, result } => {
                self.failure_recorded(now, attempt, result);
            }
            Input::Opened {
                attempt,
                grant,
                session,
                result,
            } => {
                self.opened(now, attempt, grant, session, result);
            }
            Input::Renewed {
                attempt,
                session,
                terms,
                result,
            } => {
                self.renewed(now, attempt, session, *terms, result);
            }
            Input::Installed { peers, result } => self.installed(now, &peers, result),
            Input::Removed { peers, result } => self.removed(now, &peers, result),
            Input::Fenced { result } => self.fenced(now, result),
            Input::Closed { session, result } => self.closed(now, session, result),
            Input::Sampled { peers, result } => self.sampled(now, &peers, result),
            Input::Changed {
                sessions,
                peers,
                users,
            } => self.changed(&sessions, &peers, &users),
            Input::Checked {
                peer,
                session,
                result,
            } => self.checked(peer, session, result),
            Input::Revoke { ticket, scope } => self.revoke(now, ticket, &scope),
            Input::Stop => self.stop(),
        }
        self.stopped();
    }

    /// Takes in that time has passed: does what is due, and costs no more than that.
    pub fn handle_timeout(&mut self, now: Now) {
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
                        OfLease::Sample if self.begin_look(peer) => samples.push(peer),
                        OfLease::Sample => {}
                    }
                }
                Due::Attempt(attempt) => self.attempt_over(attempt),
                Due::Remove(peer) => self.begin_removal(peer),
                Due::Close(session) => self.close_again(now, session),
                Due::Fence => self.actions.push_back(Action::Fence),
            }
        }
        if !samples.is_empty() {
            self.actions.push_back(Action::Sample { peers: samples });
        }
        self.stopped();
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
    pub fn lease_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many attempts are open.
    pub fn attempt_count(&self) -> usize {
        self.attempts.len()
    }

    /// Whether the gate admits.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open && !self.stopping
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
