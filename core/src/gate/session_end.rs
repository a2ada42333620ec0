//! How a session ends: its peer leaves the interface first, then the end becomes durable, and only
//! then is it reported as done.

use std::time::Duration;

use super::Machine;
use super::action::{Action, Outcome};
use super::attempt::AttemptState;
use super::deadline::{Due, OfLease};
use super::entry::{InstallState, LeaseEntry};
use super::event::Event;
use super::grant::Lease;
use super::input::{Scope, Unavailable};
use crate::audit::AuditKind;
use crate::channel::message::Refusal;
use crate::id::{AttemptId, SessionId, UserId};
use crate::key::PublicKey;
use crate::store::EndReason;
use crate::time::Now;

/// How long after the store failed to take an end it is given it again.
const CLOSE_AGAIN: Duration = Duration::from_secs(1);

/// A session on its way out.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) peer: PublicKey,
    pub(super) user: UserId,
    pub(super) reason: EndReason,
    /// Whether the store has the end already, so that only the interface is waited for.
    stored: bool,
    failing: bool,
    waiters: Vec<Waiter>,
}

/// What waits for an end to be durable.
#[derive(Debug, Clone, Copy)]
pub(super) enum Waiter {
    /// A client that signs out.
    Attempt(AttemptId),
    /// A revocation.
    Ticket(u64),
}

/// A revocation under way.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    waiting: usize,
    sessions: Vec<SessionId>,
}

impl Machine {
    /// Ends a peer's lease, if it holds one.
    pub(super) fn end(&mut self, peer: PublicKey, reason: EndReason) {
        self.end_as(peer, reason, false);
    }

    /// Ends a peer's lease whose session the store has ended already.
    pub(super) fn end_stored(&mut self, peer: PublicKey, reason: EndReason) {
        self.end_as(peer, reason, true);
    }

    fn end_as(&mut self, peer: PublicKey, reason: EndReason, stored: bool) {
        let Some(lease) = self.take_lease(peer) else {
            return;
        };
        let Some(slot) = self.slots.get_mut(&peer) else {
            return;
        };
        // What was still to be installed for this lease is not. The session waits in `leaving`: its
        // end is stored and told when the peer is off the interface, and not before.
        let under_way = slot.under_way();
        under_way.queued = None;
        under_way.leaving.push(lease.session());
        let waiting = under_way.waiting.take();
        let place = slot.place;
        self.endings.insert(
            lease.session(),
            Ending {
                peer,
                user: lease.terms().user.clone(),
                reason,
                stored,
                failing: false,
                waiters: Vec::new(),
            },
        );
        self.refuse_waiting(waiting);
        match place {
            InstallState::Present | InstallState::Absent => self.begin_removal(peer),
            // The operation under way is over soon, and finds no lease.
            InstallState::Installing | InstallState::Removing | InstallState::Stuck => {}
        }
    }

    /// A newer session takes the place of a peer's lease: the store has ended it already, and the
    /// interface is about to replace it.
    pub(super) fn supersede(&mut self, peer: PublicKey) {
        let Some(lease) = self.take_lease(peer) else {
            return;
        };
        self.events.push_back(Event::Ended {
            session: lease.session(),
            peer,
            user: lease.terms().user.clone(),
            reason: EndReason::Superseded,
        });
    }

    /// Takes the lease out of its slot and disarms its deadlines.
    pub(super) fn take_lease(&mut self, peer: PublicKey) -> Option<Lease> {
        self.take_held(peer).map(|held| held.lease)
    }

    /// The same, with what is known of its traffic.
    pub(super) fn take_held(&mut self, peer: PublicKey) -> Option<LeaseEntry> {
        let held = self.slots.get_mut(&peer)?.held.take()?;
        let session = held.lease.session();
        let deadlines = &mut self.deadlines;
        for (at, what) in [
            (held.lease.warns(), OfLease::Warn),
            (held.lease.terms().ends, OfLease::End),
        ] {
            deadlines.clear(at, Due::Lease(session, what));
        }
        deadlines.clear_wall(held.lease.terms().not_after, session);
        if let Some(watch) = &held.watch {
            deadlines.clear(watch.next, Due::Lease(session, OfLease::Sample));
        }
        self.sessions.remove(&session);
        Some(held)
    }

    /// Ends a lease whose time is over by one of the clocks.
    pub(super) fn lease_over(&mut self, now: Now, peer: PublicKey) {
        let lease = self.lease_of(peer);
        if lease.is_some_and(|lease| lease.terms().are_over(now)) {
            self.end(peer, EndReason::Expired);
        }
    }

    /// Makes a session's end durable, now that its peer is off the interface.
    pub(super) fn left(&mut self, now: Now, session: SessionId) {
        let Some(ending) = self.endings.get(&session) else {
            return;
        };
        self.events.push_back(Event::Ended {
            session,
            peer: ending.peer,
            user: ending.user.clone(),
            reason: ending.reason,
        });
        if ending.stored {
            self.ended(session);
        } else {
            self.close_again(now, session);
        }
    }

    /// Hands a session's end to the store.
    pub(super) fn close_again(&mut self, now: Now, session: SessionId) {
        let Some(ending) = self.endings.get(&session) else {
            return;
        };
        let reason = ending.reason;
        let (peer, user) = (ending.peer, ending.user.clone());
        let mut event = self.audit(now, AuditKind::Ended { reason });
        event.session = Some(session);
        event.peer = Some(peer);
        event.user = Some(user);
        self.actions.push_back(Action::Close {
            session,
            reason,
            event: Box::new(event),
        });
    }

    /// Ends a session that the store may hold, but whose peer was never installed.
    pub(super) fn discard(
        &mut self,
        now: Now,
        session: SessionId,
        (peer, user): (PublicKey, UserId),
        reason: EndReason,
        tickets: Vec<u64>,
    ) {
        let waiters = tickets.into_iter().map(Waiter::Ticket).collect();
        let ending = Ending {
            peer,
            user,
            reason,
            stored: false,
            failing: false,
            waiters,
        };
        self.endings.insert(session, ending);
        self.close_again(now, session);
    }

    /// Ends a session whose peer has no lease any more, once the peer is off the interface.
    pub(super) fn end_unleased(
        &mut self,
        now: Now,
        session: SessionId,
        (peer, user): (PublicKey, UserId),
        reason: EndReason,
    ) {
        let ending = Ending {
            peer,
            user,
            reason,
            stored: false,
            failing: false,
            waiters: Vec::new(),
        };
        self.endings.insert(session, ending);
        match self.slots.get_mut(&peer) {
            Some(slot) => slot.under_way().leaving.push(session),
            None => self.left(now, session),
        }
    }

    pub(super) fn on_closed(
        &mut self,
        now: Now,
        session: SessionId,
        result: Result<(), Unavailable>,
    ) {
        let Some(ending) = self.endings.get_mut(&session) else {
            return;
        };
        if result.is_ok() {
            self.ended(session);
            return;
        }
        if !std::mem::replace(&mut ending.failing, true) {
            self.events.push_back(Event::StoreFailing { session });
        }
        self.deadlines
            .set(now.instant + CLOSE_AGAIN, Due::Close(session));
    }

    /// Tells those that wait that a session's end is durable.
    fn ended(&mut self, session: SessionId) {
        let Some(ending) = self.endings.remove(&session) else {
            return;
        };
        for waiter in ending.waiters {
            match waiter {
                Waiter::Attempt(attempt) => self.finish(attempt, Outcome::Done),
                Waiter::Ticket(ticket) => self.count_down(ticket, Some(session)),
            }
        }
    }

    /// Has `waiter` told when the session's end is durable.
    pub(super) fn wait_for_end(&mut self, session: SessionId, waiter: Waiter) {
        if let Some(ending) = self.endings.get_mut(&session) {
            ending.waiters.push(waiter);
        }
    }

    /// Ends the sessions and attempts in a scope, also those that are ending already and those that
    /// a gate which stops leaves in the store: when the ticket is answered, none is left.
    pub(super) fn on_revoke(&mut self, now: Now, ticket: u64, scope: &Scope) {
        let peers: Vec<PublicKey> = match scope {
            Scope::Session(session) => self.sessions.get(session).copied().into_iter().collect(),
            Scope::Peer(peer) => vec![*peer],
            Scope::User(user) => {
                let owned = self.leases().filter(|lease| lease.terms().user == *user);
                owned.map(|lease| lease.terms().peer).collect()
            }
            Scope::All => self.slots.keys().copied().collect(),
        };
        for peer in peers {
            self.end(peer, EndReason::Revoked);
        }
        let parked = self.parked.extract_if(.., |session, (peer, user)| {
            scope.includes(*session, *peer, user)
        });
        for (session, who) in parked.collect::<Vec<_>>() {
            if self.kept.remove(&who.0) {
                self.slots.entry(who.0).or_default().place = InstallState::Present;
                self.begin_removal(who.0);
            }
            self.end_unleased(now, session, who, EndReason::Revoked);
        }
        self.on_settle(ticket, scope);
    }

    /// Ends the attempts in a scope, and has the ticket answered once they have ended and every
    /// session in the scope that is ending already has: for changes whose leases were looked at.
    pub(super) fn on_settle(&mut self, ticket: u64, scope: &Scope) {
        let mut open = Ticket::default();
        for (session, ending) in &mut self.endings {
            if scope.includes(*session, ending.peer, &ending.user) {
                ending.waiters.push(Waiter::Ticket(ticket));
                open.waiting += 1;
            }
        }
        // One more than there is to wait for, and counted down at once: a ticket that waits for
        // nothing is answered, too.
        open.waiting += self.revoke_attempts(ticket, scope) + 1;
        self.tickets.insert(ticket, open);
        self.count_down(ticket, None);
    }

    /// Ends the attempts in a scope; returns how many are past recall and end later.
    fn revoke_attempts(&mut self, ticket: u64, scope: &Scope) -> usize {
        let meant: Vec<AttemptId> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| match scope {
                Scope::Session(_) => false,
                Scope::Peer(peer) => attempt.peer == *peer,
                Scope::User(user) => {
                    let lease = self.lease_of(attempt.peer);
                    let renews = matches!(attempt.state, AttemptState::Renewing)
                        && lease.is_some_and(|lease| lease.terms().user == *user);
                    // The owner of one that is still looked up is not known yet. It ends too, and its
                    // client begins again.
                    let is_looked_up = matches!(attempt.state, AttemptState::Finding);
                    is_looked_up || renews || attempt.user() == Some(user)
                }
                Scope::All => true,
            })
            .map(|(id, _)| *id)
            .collect();
        let mut later = 0;
        for id in meant {
            let Some(attempt) = self.attempts.get_mut(id) else {
                continue;
            };
            match attempt.state {
                // The store may have committed already, so that neither can be called off. Each is
                // undone when it is answered, and the revocation waits for that.
                AttemptState::Opening(_) | AttemptState::Renewing => {
                    attempt.revoked_by.push(ticket);
                    later += 1;
                }
                // Its lease ends, or its session has: it is told with that.
                AttemptState::Installing | AttemptState::Ending => {}
                AttemptState::AwaitingAnswer(_)
                | AttemptState::AwaitingRegistration(_)
                | AttemptState::AwaitingConfirm(..) => self.attempt_over(id),
                AttemptState::Finding
                | AttemptState::FindingSession
                | AttemptState::Challenging { .. }
                | AttemptState::Refreshing(..)
                | AttemptState::Verifying(..)
                | AttemptState::Recording(..)
                | AttemptState::Passing(..)
                | AttemptState::Authorising(..)
                | AttemptState::Registering(_)
                | AttemptState::Enrolling(_) => {
                    self.finish(id, Outcome::Refused(Refusal::NoAttempt {}));
                }
            }
        }
        later
    }

    /// Counts one thing that a revocation waits for as done, and answers it after the last.
    pub(super) fn count_down(&mut self, ticket: u64, ended: Option<SessionId>) {
        let Some(open) = self.tickets.get_mut(&ticket) else {
            return;
        };
        open.sessions.extend(ended);
        open.waiting -= 1;
        if open.waiting == 0
            && let Some(Ticket { sessions, .. }) = self.tickets.remove(&ticket)
        {
            self.actions.push_back(Action::Revoked { ticket, sessions });
        }
    }
}

impl Scope {
    /// Whether a session of this peer and user is meant.
    pub(crate) fn includes(&self, session: SessionId, peer: PublicKey, user: &UserId) -> bool {
        match self {
            Self::Session(wanted) => *wanted == session,
            Self::Peer(wanted) => *wanted == peer,
            Self::User(wanted) => wanted == user,
            Self::All => true,
        }
    }
}
