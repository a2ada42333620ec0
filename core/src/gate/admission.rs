//! From a verdict to a lease: grant, durable session, lease, interface.

use std::sync::Arc;

use super::Machine;
use super::action::{Action, Outcome};
use super::attempt::{AttemptState, Candidate};
use super::challenge::kinds;
use super::entry::{Install, Waiting};
use super::event::Event;
use super::grant::{Grant, PassedFactor, Terms};
use super::input::{Intent, Unavailable};
use super::verdict::{denied, locked};
use crate::assurance::Assurance;
use crate::audit::{AuditEvent, AuditKind};
use crate::authorise::{Admission, AuthoriseError, Permit};
use crate::channel::message::{DeniedReason, Refusal};
use crate::id::{AttemptId, GroupId, SessionId, UserId};
use crate::key::{PresharedKey, PublicKey};
use crate::policy::Hours;
use crate::store::{EndReason, FailureReason, OpenOutcome};
use crate::time::{Now, Timestamp};

impl Machine {
    /// Goes on to an admission, now that every factor that the policy asks for has been passed.
    pub(super) fn all_passed(&mut self, now: Now, id: AttemptId, candidate: Box<Candidate>) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let policy = &candidate.policy;
        let proven = assurances(&attempt.passed);
        if policy.require.unmet(&proven, now.timestamp).is_some() {
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
        let Hours::Open { until } = policy.hours(now.timestamp) else {
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
        let mut terms = Box::new(Terms::begin(location, peer, factors, policy, since));
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
        attempt.state = AttemptState::Authorising(terms, candidate);
        self.actions.push_back(Action::Authorise {
            attempt: id,
            admission,
        });
    }

    pub(super) fn on_authorised(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<Permit, AuthoriseError>,
    ) {
        let Some((mut terms, candidate)) = self.attempts.authorising(id) else {
            return;
        };
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

    /// Refuses a peer whose factors were all correct.
    fn not_admitted(
        &mut self,
        now: Now,
        id: AttemptId,
        candidate: &Candidate,
        kind: AuditKind,
        refusal: Refusal,
    ) {
        let who = (&candidate.context.user, candidate.context.peer);
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

    /// Makes the grant, now that everything that may refuse has been asked, and hands it to the
    /// store.
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
        let policy = Arc::clone(&candidate.policy);
        attempt.state = AttemptState::Opening(candidate);
        let mut event = self.audit_of(now, id, (&terms.user, terms.peer), kind);
        event.factor = last;
        let grant = Grant::assertion(terms, passed, policy);
        self.actions.push_back(Action::Open {
            attempt: id,
            grant,
            event: Box::new(event),
        });
    }

    pub(super) fn on_opened(
        &mut self,
        now: Now,
        id: AttemptId,
        grant: Grant,
        session: SessionId,
        result: Result<(OpenOutcome, PresharedKey), Unavailable>,
    ) {
        let who = (grant.terms().peer, grant.terms().user.clone());
        let Some((candidate, attempt)) = self.attempts.opening(id) else {
            // No one waits for this admission any more, so that no one may be admitted by it.
            return self.discard(now, session, who, EndReason::Revoked, vec![]);
        };
        let revoked_by = std::mem::take(&mut attempt.revoked_by);
        let is_outdated = attempt.is_outdated;
        let in_place = matches!(attempt.intent, Intent::Renew(_));
        let is_own = candidate.context.peer == who.0;
        let (true, Ok((opened, psk))) = (is_own, result) else {
            // A grant that is another peer's admits no one. And a store that failed may still hold
            // the session: without its end, the next start would restore it.
            let reason = EndReason::InterfaceFailed;
            return self.discard_admission(now, id, session, who, reason, revoked_by);
        };
        let generation = match opened {
            OpenOutcome::Opened { generation, .. } => generation,
            refused @ (OpenOutcome::Replayed { .. }
            | OpenOutcome::Locked { .. }
            | OpenOutcome::FactorGone { .. }
            | OpenOutcome::Overtaken { .. }
            | OpenOutcome::CredentialTaken { .. }
            | OpenOutcome::TooMany
            | OpenOutcome::PeerGone) => {
                // The store has no session that a revocation would have to wait for.
                for ticket in revoked_by {
                    self.count_down(ticket, None);
                }
                return self.not_opened(now, id, candidate, &grant, refused);
            }
        };
        // A recovery code is used up with the session, whatever becomes of the admission.
        for passed in grant.passed().iter().filter(|passed| !passed.is_durable) {
            self.tell_of_recovery(now, id, &candidate, &passed.proof.assurance.kind);
        }
        // From here on the store has the session, so that every way out makes a lease of it or ends
        // it. What was decided while the store was at work counts, although the grant was good when
        // it was made.
        let obstacle = if !revoked_by.is_empty() || !self.is_open() {
            Some(EndReason::Revoked)
        } else if is_outdated {
            Some(EndReason::PolicyChanged)
        } else if grant.terms().are_over(now) {
            // The store took longer than the lease lasts, or the clock was set.
            Some(EndReason::Expired)
        } else {
            None
        };
        if let Some(reason) = obstacle {
            return self.discard_admission(now, id, session, who, reason, revoked_by);
        }
        // The client is told only when the interface has the peer.
        self.attempts.enter(id, AttemptState::Installing);
        let waiting = Waiting {
            attempt: id,
            event: admitted(session, &grant),
        };
        let config = Self::config(grant.terms(), psk);
        self.admit(
            now,
            waiting,
            grant,
            session,
            generation,
            Install { config, in_place },
        );
    }

    /// Ends a session that the store has, or may have, and that is not to become a lease.
    fn discard_admission(
        &mut self,
        now: Now,
        id: AttemptId,
        session: SessionId,
        who: (PublicKey, UserId),
        reason: EndReason,
        revoked_by: Vec<u64>,
    ) {
        let peer = who.0;
        self.discard(now, session, who, reason, revoked_by);
        // The store may have ended the peer's older session in its favour.
        self.check(peer);
        self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
    }

    fn not_opened(
        &mut self,
        now: Now,
        id: AttemptId,
        candidate: Box<Candidate>,
        grant: &Grant,
        refused: OpenOutcome,
    ) {
        // The last factor may be answered again, where the answer has not been accepted yet. That
        // one which the store has accepted does not hold any more ends the attempt.
        let last = grant.passed().last().filter(|last| !last.is_durable);
        let last = last.map(|last| last.proof.factor);
        let denied = match refused {
            OpenOutcome::Replayed { lock, factor } if Some(factor) == last => {
                denied(DeniedReason::Replayed, lock, now)
            }
            OpenOutcome::CredentialTaken { lock, factor } if Some(factor) == last => {
                denied(FailureReason::CredentialTaken.into(), lock, now)
            }
            OpenOutcome::Locked { lock, factor } if Some(factor) == last => locked(lock, now),
            OpenOutcome::Overtaken { factor } if Some(factor) == last => {
                self.give_back(id, grant);
                return self.overtaken(now, id, candidate);
            }
            OpenOutcome::FactorGone { .. } => {
                return self.finish(id, Outcome::Refused(Refusal::NoFactor {}));
            }
            OpenOutcome::PeerGone => {
                return self.finish(id, Outcome::Refused(Refusal::NotEnrolled {}));
            }
            OpenOutcome::TooMany => {
                return self.finish(id, Outcome::Refused(Refusal::TooManySessions {}));
            }
            OpenOutcome::Opened { .. }
            | OpenOutcome::Replayed { .. }
            | OpenOutcome::Locked { .. }
            | OpenOutcome::Overtaken { .. }
            | OpenOutcome::CredentialTaken { .. } => {
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
pub(super) fn assurances(passed: &[PassedFactor]) -> Vec<Assurance> {
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
