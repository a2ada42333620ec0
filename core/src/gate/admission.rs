//! From a verdict to a lease: grant, durable session, lease, interface.

use std::sync::Arc;

use super::Machine;
use super::action::{Action, Outcome};
use super::attempt::{Attempt, Candidate, Step};
use super::event::Event;
use super::grant::{Grant, Passed, Terms};
use super::input::{Intent, Unavailable};
use super::question::kinds;
use super::slot::{Install, Waiting};
use super::verdict::{denied, locked};
use crate::assurance::Assurance;
use crate::audit::{AuditEvent, AuditKind};
use crate::authorise::{Admission, AuthoriseError, Permit};
use crate::channel::message::{DeniedReason, Refusal};
use crate::id::{AttemptId, GroupId, SessionId};
use crate::key::PresharedKey;
use crate::policy::Hours;
use crate::store::{EndReason, FailureReason, Opened};
use crate::time::{Now, Timestamp};

impl Machine {
    /// Every factor that the policy asks for has been passed.
    pub(super) fn all_passed(&mut self, now: Now, id: AttemptId, candidate: Box<Candidate>) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let rules = &candidate.rules;
        let proven = assurances(&attempt.passed);
        if rules.require.unmet(&proven, now.timestamp).is_some() {
            return self.not_admitted(
                now,
                id,
                &candidate,
                AuditKind::AssuranceTooLow,
                Refusal::Assurance {},
            );
        }
        if attempt.intent.is_enrolment() {
            return self.register(id, &candidate.enrolment);
        }
        let Hours::Open { until } = rules.hours(now.timestamp) else {
            return self.not_admitted(
                now,
                id,
                &candidate,
                AuditKind::OutsideHours,
                Refusal::OutsideHours {},
            );
        };
        // What they prove together is as old as the first of their answers.
        let first = attempt.passed.first();
        let since = first.map_or(now, |passed| passed.since);
        let proofs = attempt.passed.iter();
        let ends = proofs.filter_map(|passed| passed.proof.not_after);
        let ends: Vec<Timestamp> = ends.chain(until).collect();
        let peer = &candidate.enrolment.peer;
        let factors = attempt.passed.iter();
        let factors = factors.map(|passed| passed.proof.factor).collect();
        let location = self.location.clone();
        let mut terms = Box::new(Terms::begin(location, peer, factors, rules, since));
        for end in ends {
            terms.end_by(end, now);
        }
        if self.has_authoriser {
            let groups = candidate.enrolment.user.groups.clone();
            return self.authorise(id, terms, Some(candidate), groups, proven);
        }
        self.grant(now, id, *terms, candidate);
    }

    /// Asks the authoriser about an admission, or without a candidate about a renewal.
    pub(super) fn authorise(
        &mut self,
        id: AttemptId,
        terms: Box<Terms>,
        candidate: Option<Box<Candidate>>,
        groups: Vec<GroupId>,
        proven: Vec<Assurance>,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let admission = Box::new(Admission {
            location: terms.location.clone(),
            peer: terms.peer,
            user: terms.user.clone(),
            groups,
            source: attempt.source,
            posture: attempt.posture.clone(),
            proven,
            not_after: terms.not_after,
            is_renewal: candidate.is_none(),
        });
        attempt.step = Step::Authorising(terms, candidate);
        self.actions.push_back(Action::Authorise {
            attempt: id,
            admission,
        });
    }

    pub(super) fn authorised(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<Permit, AuthoriseError>,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let Step::Authorising(terms, candidate) = &mut attempt.step else {
            return;
        };
        let (mut terms, candidate) = (terms.clone(), candidate.take());
        match result {
            Ok(Permit { longest }) => {
                if let Some(longest) = longest {
                    terms.shorten(longest, now);
                }
                match candidate {
                    Some(candidate) => self.grant(now, id, *terms, candidate),
                    None => self.renew_on(now, id, terms),
                }
            }
            Err(AuthoriseError::Refused { reason }) => {
                let who = (&terms.user, terms.peer);
                let event = self.audit_of(now, id, who, AuditKind::NotAuthorised { reason });
                self.refuse_admission(id, event, Refusal::NotAuthorised {});
            }
            Err(AuthoriseError::Backend(_)) => {
                self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
            }
        }
    }

    /// The factors were right, and yet the peer is not admitted.
    fn not_admitted(
        &mut self,
        now: Now,
        id: AttemptId,
        candidate: &Candidate,
        kind: AuditKind,
        refusal: Refusal,
    ) {
        let who = (&candidate.subject.user, candidate.subject.peer);
        let event = self.audit_of(now, id, who, kind);
        self.refuse_admission(id, event, refusal);
    }

    fn refuse_admission(&mut self, id: AttemptId, event: AuditEvent, refusal: Refusal) {
        if let (Some(peer), Some(user)) = (event.peer, event.user.clone()) {
            self.events.push_back(Event::NotAdmitted {
                peer,
                user,
                refusal,
            });
        }
        let event = Box::new(event);
        self.actions.push_back(Action::Record { event });
        self.finish(id, Outcome::Refused(refusal));
    }

    /// Everything that may refuse has been asked: the grant goes to the store.
    fn grant(&mut self, now: Now, id: AttemptId, terms: Terms, candidate: Box<Candidate>) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let passed = std::mem::take(&mut attempt.passed);
        let last = passed.last().map(|passed| passed.proof.factor);
        let kind = AuditKind::Admitted {
            not_after: terms.not_after,
            factors: kinds(&passed),
        };
        let rules = Arc::clone(&candidate.rules);
        attempt.step = Step::Opening(candidate);
        let mut event = self.audit_of(now, id, (&terms.user, terms.peer), kind);
        event.factor = last;
        let grant = Grant::assertion(terms, passed, rules);
        self.actions.push_back(Action::Open {
            attempt: id,
            grant,
            event: Box::new(event),
        });
    }

    pub(super) fn opened(
        &mut self,
        now: Now,
        id: AttemptId,
        grant: Grant,
        session: SessionId,
        result: Result<(Opened, PresharedKey), Unavailable>,
    ) {
        let who = (grant.terms().peer, grant.terms().user.clone());
        let attempt = self.attempts.get_mut(id);
        let (candidate, intent, revoked_by) = match attempt {
            Some(Attempt {
                step: Step::Opening(candidate),
                intent,
                revoked_by,
                ..
            }) => (
                candidate.clone(),
                intent.clone(),
                std::mem::take(revoked_by),
            ),
            // Nobody waits for this admission any more.
            Some(_) | None => return self.discard(now, session, who, EndReason::Revoked, vec![]),
        };
        let is_own = candidate.subject.peer == who.0;
        let (true, Ok((opened, psk))) = (is_own, result) else {
            // A grant that is another peer's admits nobody. The store may or may not hold the
            // session, and may have ended the older one for it.
            self.discard(
                now,
                session,
                who.clone(),
                EndReason::InterfaceFailed,
                revoked_by,
            );
            self.check(who.0);
            return self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
        };
        let generation = match opened {
            Opened::Opened { generation, .. } => generation,
            refused @ (Opened::Replayed { .. }
            | Opened::Locked { .. }
            | Opened::FactorGone { .. }
            | Opened::Overtaken { .. }
            | Opened::CredentialTaken { .. }
            | Opened::TooMany
            | Opened::PeerGone) => {
                for ticket in revoked_by {
                    self.count_down(ticket, None);
                }
                return self.not_opened(now, id, candidate, &grant, refused);
            }
        };
        for passed in grant.passed().iter().filter(|passed| !passed.is_durable) {
            self.tell_of_recovery(now, id, &candidate, &passed.proof.assurance.kind);
        }
        if !revoked_by.is_empty() || !self.is_open() {
            self.discard(now, session, who.clone(), EndReason::Revoked, revoked_by);
            self.check(who.0);
            return self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
        }
        if grant.terms().are_over(now) {
            // The store took longer than the lease lasts, or the clock was set.
            self.discard(now, session, who.clone(), EndReason::Expired, Vec::new());
            self.check(who.0);
            return self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
        }
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.step = Step::Installing;
        }
        let waiting = Waiting {
            attempt: id,
            event: admitted(session, &grant),
        };
        let config = Self::config(grant.terms(), psk);
        let in_place = matches!(intent, Intent::Renew(_));
        self.admit(
            now,
            waiting,
            grant,
            session,
            generation,
            Install { config, in_place },
        );
    }

    fn not_opened(
        &mut self,
        now: Now,
        id: AttemptId,
        candidate: Box<Candidate>,
        grant: &Grant,
        refused: Opened,
    ) {
        // The last factor may be answered again, where the answer has not been accepted yet. That
        // one which the store has accepted does not hold any more ends the attempt.
        let last = grant.passed().last().filter(|last| !last.is_durable);
        let last = last.map(|last| last.proof.factor);
        let denied = match refused {
            Opened::Replayed { lock, factor } if Some(factor) == last => {
                denied(DeniedReason::Replayed, lock, now)
            }
            Opened::CredentialTaken { lock, factor } if Some(factor) == last => {
                denied(FailureReason::CredentialTaken.into(), lock, now)
            }
            Opened::Locked { lock, factor } if Some(factor) == last => locked(lock, now),
            Opened::Overtaken { factor } if Some(factor) == last => {
                self.give_back(id, grant);
                return self.overtaken(now, id, candidate);
            }
            Opened::FactorGone { .. } => {
                return self.finish(id, Outcome::Refused(Refusal::NoFactor {}));
            }
            Opened::PeerGone => {
                return self.finish(id, Outcome::Refused(Refusal::NotEnrolled {}));
            }
            Opened::TooMany => {
                return self.finish(id, Outcome::Refused(Refusal::TooManySessions {}));
            }
            Opened::Opened { .. }
            | Opened::Replayed { .. }
            | Opened::Locked { .. }
            | Opened::Overtaken { .. }
            | Opened::CredentialTaken { .. } => {
                return self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
            }
        };
        self.give_back(id, grant);
        self.deny(now, id, candidate, denied);
    }

    /// The factors before the last one stay passed for the attempt.
    fn give_back(&mut self, id: AttemptId, grant: &Grant) {
        if let (Some(attempt), Some((_, earlier))) =
            (self.attempts.get_mut(id), grant.passed().split_last())
        {
            attempt.passed = earlier.to_vec();
        }
    }
}

/// What the factors that were passed prove.
pub(super) fn assurances(passed: &[Passed]) -> Vec<Assurance> {
    let assurances = passed.iter().map(|passed| &passed.proof.assurance);
    assurances.cloned().collect()
}

fn admitted(session: SessionId, grant: &Grant) -> Event {
    let terms = grant.terms();
    Event::Admitted {
        session,
        peer: terms.peer,
        user: terms.user.clone(),
        not_after: terms.not_after,
        factors: kinds(grant.passed()),
    }
}
