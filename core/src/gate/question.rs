//! Questions: which factor is asked for, by the policy's order or the user's choice, and what the
//! user does about it.

use std::sync::Arc;
use std::time::Duration;

use super::Machine;
use super::action::{Action, Outcome, Subject};
use super::attempt::{Candidate, Reaction, Step};
use super::verdict::{denied, locked_for};
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::channel::message::{Denied, DeniedReason, Offer, Refusal, Request, millis};
use crate::factor::{Asked, VerifyError};
use crate::id::{AttemptId, FactorId};
use crate::policy::{Hours, Lock, Next, Policy};
use crate::store::{Enrolment, FactorRecord, FactorState, FailureReason};
use crate::time::Now;

impl Machine {
    /// Asks for the next factor by the policy's order, of those that are not passed yet.
    pub(super) fn ask(
        &mut self,
        now: Now,
        id: AttemptId,
        enrolment: &Arc<Enrolment>,
        rules: &Arc<Policy>,
    ) {
        if rules.hours(now.timestamp) == Hours::Closed {
            self.record(now, id, &enrolment.user.id, AuditKind::OutsideHours);
            return self.finish(id, Outcome::Refused(Refusal::OutsideHours {}));
        }
        let factors = self.usable(id, enrolment, rules);
        let Some(factor) = factors.first().copied().cloned() else {
            return self.finish(id, Outcome::Refused(Refusal::NoFactor {}));
        };
        let candidate = self.candidate(enrolment, rules, factor);
        self.challenge(id, candidate, None);
    }

    /// The user's active factors that would do now, in the policy's order.
    fn usable<'a>(
        &self,
        id: AttemptId,
        enrolment: &'a Enrolment,
        rules: &Policy,
    ) -> Vec<&'a FactorRecord> {
        let Some(attempt) = self.attempts.get(id) else {
            return Vec::new();
        };
        let is_active = |factor: &&FactorRecord| factor.state == FactorState::Active;
        let held = enrolment.factors.iter().filter(is_active);
        let held: Vec<FactorKind> = held.map(|factor| factor.kind.clone()).collect();
        let Next::Ask(kinds) = rules.next_of(&kinds(&attempt.passed), &held) else {
            return Vec::new();
        };
        let is_passed = |factor: &FactorId| {
            let mut passed = attempt.passed.iter();
            passed.any(|passed| passed.proof.factor == *factor)
        };
        let of_kind = |kind: FactorKind| {
            enrolment
                .factors
                .iter()
                .filter(move |factor| factor.kind == kind && factor.state == FactorState::Active)
        };
        let usable = kinds.into_iter().flat_map(of_kind);
        usable.filter(|factor| !is_passed(&factor.id)).collect()
    }

    fn candidate(
        &self,
        enrolment: &Arc<Enrolment>,
        rules: &Arc<Policy>,
        factor: FactorRecord,
    ) -> Box<Candidate> {
        Box::new(Candidate {
            enrolment: Arc::clone(enrolment),
            rules: Arc::clone(rules),
            subject: Subject {
                location: self.location.clone(),
                peer: enrolment.peer.key,
                user: enrolment.user.id.clone(),
                factor,
                state: None,
            },
        })
    }

    /// Has the verifier make its question; `standing` is the one that goes on if it can't now.
    fn challenge(
        &mut self,
        id: AttemptId,
        asked: Box<Candidate>,
        standing: Option<Box<Candidate>>,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let expires = attempt.expires_at;
        let subject = Box::new(asked.subject.clone());
        attempt.step = Step::Challenging { asked, standing };
        self.actions.push_back(Action::Challenge {
            attempt: id,
            subject,
            expires,
        });
    }

    pub(super) fn challenged(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<Asked, VerifyError>,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let Step::Challenging { asked, standing } = &mut attempt.step else {
            return;
        };
        match (result, standing.take()) {
            (Ok(question), _) => {
                let candidate = asked.clone();
                self.put_question(now, id, candidate, question);
            }
            (Err(VerifyError::Busy { retry }), Some(standing)) => {
                let mut busy = self.unfit(now, &standing);
                busy.reason = DeniedReason::Busy;
                busy.locked_for_ms = Some(millis(retry));
                self.deny(now, id, standing, busy);
            }
            (Err(VerifyError::Busy { retry }), None) => {
                let retry_ms = millis(retry);
                self.finish(id, Outcome::Refused(Refusal::Busy { retry_ms }));
            }
            (Err(_), _) => self.finish(id, Outcome::Refused(Refusal::Unavailable {})),
        }
    }

    /// Puts a question to the user.
    pub(super) fn put_question(
        &mut self,
        now: Now,
        id: AttemptId,
        mut candidate: Box<Candidate>,
        question: Asked,
    ) {
        candidate.subject.state = question.state;
        let at_hand = candidate.subject.factor.id;
        let factors = self.usable(id, &candidate.enrolment, &candidate.rules);
        let others = factors.iter().filter(|factor| factor.id != at_hand);
        let others = others.map(|factor| self.offer(factor, now)).collect();
        let factor = Some(self.offer(&candidate.subject.factor, now));
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        attempt.step = Step::AwaitingAnswer(candidate);
        let expires_in = attempt.expires.saturating_since(now.instant);
        self.reply(
            id,
            Outcome::Challenge {
                factor,
                challenge: Box::new(question.challenge),
                others,
                expires_in,
            },
        );
    }

    fn offer(&self, factor: &FactorRecord, now: Now) -> Offer {
        let lock = self.policy.throttle.lock(factor.failures, now.timestamp);
        Offer {
            factor: factor.id,
            kind: factor.kind.clone(),
            label: factor.label.clone(),
            locked_for_ms: locked_for(lock, now),
        }
    }

    pub(super) fn request(&mut self, now: Now, id: AttemptId, request: Request) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return self.reply(id, Outcome::Refused(Refusal::NoAttempt {}));
        };
        let peer = attempt.peer;
        match (request, std::mem::replace(&mut attempt.step, Step::Finding)) {
            (Request::Answer { answer }, Step::AwaitingAnswer(candidate)) => {
                attempt.step = Step::Refreshing(candidate, Reaction::Answer(answer), now);
                attempt.is_dated = false;
                self.actions.push_back(Action::Find { attempt: id, peer });
            }
            (Request::Choose { factor }, Step::AwaitingAnswer(candidate)) => {
                attempt.step = Step::Refreshing(candidate, Reaction::Choose(factor), now);
                attempt.is_dated = false;
                self.actions.push_back(Action::Find { attempt: id, peer });
            }
            (Request::Answer { answer }, Step::AwaitingRegistration(applicant)) => {
                self.judge_registration(id, applicant, answer);
            }
            (Request::Confirm {}, Step::AwaitingConfirm(enrolment, rules)) => {
                self.confirmed(now, id, &enrolment, &rules);
            }
            (
                Request::Cancel {},
                Step::AwaitingAnswer(_) | Step::AwaitingRegistration(_) | Step::AwaitingConfirm(..),
            ) => {
                self.finish(id, Outcome::Done);
            }
            (
                _,
                Step::AwaitingAnswer(_) | Step::AwaitingRegistration(_) | Step::AwaitingConfirm(..),
            ) => {
                self.finish(id, Outcome::Refused(Refusal::OutOfOrder {}));
            }
            // The attempt is busy with an earlier request, and stays so.
            (_, busy) => {
                attempt.step = busy;
                self.reply(id, Outcome::Refused(Refusal::OutOfOrder {}));
            }
        }
    }

    /// The user did something about the question, and this is the enrolment as it is now: a factor
    /// that is gone or locked is not looked at.
    pub(super) fn found_again(
        &mut self,
        now: Now,
        id: AttemptId,
        enrolment: Arc<Enrolment>,
        mut candidate: Box<Candidate>,
        reaction: Reaction,
        since: Now,
    ) {
        // The rules are those of the user's groups as they are now, too.
        candidate.rules = self.rules.of(&enrolment.user.groups);
        candidate.enrolment = enrolment;
        let wanted = match &reaction {
            Reaction::Answer(_) => candidate.subject.factor.id,
            Reaction::Choose(factor) => *factor,
        };
        let factors = self.usable(id, &candidate.enrolment, &candidate.rules);
        let find = |id| factors.iter().copied().find(|factor| factor.id == id);
        let (chosen, at_hand) = (
            find(wanted).cloned(),
            find(candidate.subject.factor.id).cloned(),
        );
        let Some(factor) = chosen else {
            // Where it was not on offer, or is not any more, the question that stands goes on.
            let Some(at_hand) = at_hand.filter(|_| matches!(reaction, Reaction::Choose(_))) else {
                return self.finish(id, Outcome::Refused(Refusal::NoFactor {}));
            };
            candidate.subject.factor = at_hand;
            let unfit = self.unfit(now, &candidate);
            return self.deny(now, id, candidate, unfit);
        };
        match reaction {
            Reaction::Choose(_) => {
                // Should the question that stands go on, it is to say how many tries are left now.
                if let Some(standing) = at_hand {
                    candidate.subject.factor = standing;
                }
                let asked = self.candidate(&candidate.enrolment, &candidate.rules, factor);
                self.challenge(id, asked, Some(candidate));
            }
            Reaction::Answer(answer) => {
                candidate.subject.factor = factor;
                let factor = &candidate.subject.factor;
                match self.policy.throttle.lock(factor.failures, now.timestamp) {
                    Lock::Until(_) | Lock::Disabled => {
                        self.fail(now, id, candidate, FailureReason::Wrong);
                    }
                    Lock::Open { .. } => self.verify(id, candidate, answer, since),
                }
            }
        }
    }

    /// What to say of an answer that was not counted.
    pub(super) fn unfit(&self, now: Now, candidate: &Candidate) -> Denied {
        let failures = candidate.subject.factor.failures;
        let lock = self.policy.throttle.lock(failures, now.timestamp);
        denied(DeniedReason::Unfit, lock, now)
    }

    /// How long a client is told to wait at the least when it asks too often.
    pub(super) const LEAST_WAIT: Duration = Duration::from_secs(1);
}

/// The kinds of the factors that were passed.
pub(super) fn kinds(passed: &[super::grant::Passed]) -> Vec<FactorKind> {
    let kinds = passed.iter().map(|passed| &passed.proof.assurance.kind);
    kinds.cloned().collect()
}
