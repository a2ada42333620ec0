//! More time for a live lease: without a factor while `max_age` lasts, with one after. The new
//! terms are durable and the new key is in place before the old terms end.

use std::sync::Arc;

use super::Machine;
use super::action::{Action, Outcome};
use super::attempt::AttemptState;
use super::deadline::{Due, OfLease};
use super::entry::{Install, LeaseEntry, Waiting};
use super::event::Event;
use super::grant::{Lease, Terms};
use super::input::{Intent, Unavailable};
use crate::audit::AuditKind;
use crate::channel::message::Refusal;
use crate::id::{AttemptId, SessionId};
use crate::key::{PresharedKey, PublicKey};
use crate::policy::{Hours, Policy, RenewalRule};
use crate::store::{EndReason, Enrolment, Renewed};
use crate::time::Now;

impl Machine {
    /// Asks the client to confirm where the lease can be renewed as it is, and for a factor where
    /// it can't.
    pub(super) fn offer_renewal(
        &mut self,
        now: Now,
        id: AttemptId,
        session: SessionId,
        enrolment: &Arc<Enrolment>,
        policy: &Arc<Policy>,
    ) {
        let Some(terms) = self
            .lease_for(enrolment.peer.key, session)
            .map(Lease::terms)
        else {
            return self.finish(id, Outcome::Refused(Refusal::NotRenewable {}));
        };
        match policy.renewal {
            RenewalRule::Off => {
                return self.finish(id, Outcome::Refused(Refusal::NotRenewable {}));
            }
            RenewalRule::Factor => return self.ask(now, id, enrolment, policy),
            RenewalRule::Free if terms.renew(policy, now).left(now) <= terms.left(now) => {
                return self.ask(now, id, enrolment, policy);
            }
            RenewalRule::Free => {}
        }
        let state = AttemptState::AwaitingConfirm(Arc::clone(enrolment), Arc::clone(policy));
        let Some(attempt) = self.attempts.enter(id, state) else {
            return;
        };
        let expires_in = attempt.expires.saturating_since(now.instant);
        self.reply(id, Outcome::Confirm { expires_in });
    }

    /// Takes the new terms of a client that is live to the authoriser, or at once to the store.
    pub(super) fn on_confirm(
        &mut self,
        now: Now,
        id: AttemptId,
        enrolment: &Enrolment,
        policy: &Policy,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let peer = attempt.peer;
        let Intent::Renew(session) = attempt.intent else {
            return self.finish(id, Outcome::Refused(Refusal::OutOfOrder {}));
        };
        let Hours::Open { until } = policy.hours(now.timestamp) else {
            self.record(now, id, &enrolment.user.id, AuditKind::OutsideHours);
            return self.finish(id, Outcome::Refused(Refusal::OutsideHours {}));
        };
        let Some(lease) = self.lease_for(peer, session) else {
            return self.finish(id, Outcome::Refused(Refusal::NotRenewable {}));
        };
        let mut terms = Box::new(lease.terms().renew(policy, now));
        if let Some(until) = until {
            terms.end_by(until, now);
        }
        if self.has_authoriser {
            let groups = enrolment.user.groups.clone();
            return self.authorise(id, terms, None, groups, Vec::new());
        }
        self.renew_on(now, id, terms);
    }

    /// Has the store take the renewed terms.
    pub(super) fn renew_on(&mut self, now: Now, id: AttemptId, terms: Box<Terms>) {
        let Some(attempt) = self.attempts.enter(id, AttemptState::Renewing) else {
            return;
        };
        let peer = attempt.peer;
        let Intent::Renew(session) = attempt.intent else {
            return self.finish(id, Outcome::Refused(Refusal::OutOfOrder {}));
        };
        let Some(lease) = self.lease_for(peer, session) else {
            return self.finish(id, Outcome::Refused(Refusal::NotRenewable {}));
        };
        let generation = lease.generation();
        let kind = AuditKind::Renewed {
            not_after: terms.not_after,
        };
        let mut event = self.audit_of(now, id, (&terms.user, peer), kind);
        event.session = Some(session);
        let event = Box::new(event);
        self.actions.push_back(Action::Renew {
            attempt: id,
            session,
            generation,
            terms,
            event,
        });
    }

    pub(super) fn on_renewed(
        &mut self,
        now: Now,
        id: AttemptId,
        session: SessionId,
        terms: Terms,
        result: Result<(Renewed, PresharedKey), Unavailable>,
    ) {
        let peer = terms.peer;
        let terms = self.renewed_terms(now, id, terms);
        if let Some(attempt) = self.attempts.enter(id, AttemptState::Installing) {
            for ticket in std::mem::take(&mut attempt.revoked_by) {
                self.count_down(ticket, None);
            }
        }
        let Ok((renewed, psk)) = result else {
            return self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
        };
        // The store did not renew the session: it is asked whether it still backs the lease.
        let Renewed::Renewed(generation) = renewed else {
            self.check(peer);
            return self.finish(id, Outcome::Refused(Refusal::NotRenewable {}));
        };
        if self.lease_for(peer, session).is_none() || !self.is_open() {
            return self.finish(id, Outcome::Refused(Refusal::NotRenewable {}));
        }
        if terms.are_over(now) {
            // The store took longer than the lease lasts, or the clock was set.
            self.end(peer, EndReason::Expired);
            return self.finish(id, Outcome::Refused(Refusal::NotRenewable {}));
        }
        // Taken out and held again: the deadlines of the old terms go with the old terms.
        let Some(LeaseEntry { mut lease, watch }) = self.take_held(peer) else {
            return;
        };
        let config = Self::config(&terms, psk);
        let event = Event::Renewed {
            session,
            peer,
            not_after: terms.not_after,
        };
        lease.extend(terms, generation);
        self.hold(now, lease, watch);
        let waiting = Waiting { attempt: id, event };
        self.place(
            now,
            peer,
            Some(waiting),
            Install {
                config,
                in_place: true,
            },
        );
    }

    /// Announces that a lease ends soon, and arms its end.
    pub(super) fn lease_ending(&mut self, now: Now, peer: PublicKey) {
        let held = self.slots.get(&peer).and_then(|slot| slot.held.as_ref());
        let Some(held) = held else { return };
        let terms = held.lease.terms();
        let due = Due::Lease(held.lease.session(), OfLease::End);
        self.deadlines.set(terms.ends, due);
        let event = Event::Ending {
            session: held.lease.session(),
            peer,
            left: terms.left(now),
        };
        self.events.push_back(event);
    }
}
