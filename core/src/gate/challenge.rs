//! Challenges: which factor is asked for, by the policy's order or the user's choice, and what the
//! user does about it.

use std::sync::Arc;
use std::time::Duration;

use super::Machine;
use super::action::{Action, FactorContext, Outcome};
use super::attempt::{AttemptState, Candidate, Reaction};
use super::verdict::{denied, locked_for};
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::channel::message::{Challenge, Denied, DeniedReason, Offer, Refusal, Request, millis};
use crate::factor::{IssuedChallenge, VerifyError};
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
        policy: &Arc<Policy>,
    ) {
        if policy.hours(now.timestamp) == Hours::Closed {
            self.record(now, id, &enrolment.user.id, AuditKind::OutsideHours);
            return self.finish(id, Outcome::Refused(Refusal::OutsideHours {}));
        }
        let factors = self.usable(id, enrolment, policy);
        let Some(factor) = factors.first().copied().cloned() else {
            return self.finish(id, Outcome::Refused(Refusal::NoFactor {}));
        };
        let candidate = self.candidate(enrolment, policy, factor);
        self.challenge(id, candidate, None);
    }

    /// The user's active factors that would do now, in the policy's order.
    fn usable<'a>(
        &self,
        id: AttemptId,
        enrolment: &'a Enrolment,
        policy: &Policy,
    ) -> Vec<&'a FactorRecord> {
        let Some(attempt) = self.attempts.get(id) else {
            return Vec::new();
        };
        let is_active = |factor: &&FactorRecord| factor.state == FactorState::Active;
        let held = enrolment.factors.iter().filter(is_active);
        let held: Vec<FactorKind> = held.map(|factor| factor.kind.clone()).collect();
        let Next::Ask(kinds) = policy.next_of(&kinds(&attempt.passed), &held) else {
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
        policy: &Arc<Policy>,
        factor: FactorRecord,
    ) -> Box<Candidate> {
        Box::new(Candidate {
            enrolment: Arc::clone(enrolment),
            policy: Arc::clone(policy),
            context: FactorContext {
                location: self.location.clone(),
                peer: enrolment.peer.key,
                user: enrolment.user.id.clone(),
                factor,
                state: None,
            },
        })
    }

    /// Has the verifier make its challenge. Where it can't now, the one of `standing` goes on.
    fn challenge(
        &mut self,
        id: AttemptId,
        asked: Box<Candidate>,
        standing: Option<Box<Candidate>>,
    ) {
        let context = Box::new(asked.context.clone());
        let state = AttemptState::Challenging { asked, standing };
        let Some(attempt) = self.attempts.enter(id, state) else {
            return;
        };
        let expires = attempt.expires_at;
        self.actions.push_back(Action::Challenge {
            attempt: id,
            context,
            expires,
        });
    }

    pub(super) fn on_challenged(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<IssuedChallenge, VerifyError>,
    ) {
        let Some((asked, standing)) = self.attempts.challenging(id) else {
            return;
        };
        match (result, standing) {
            (Ok(issued), _) => self.send_challenge(now, id, asked, issued),
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

    /// Sends a challenge to the user.
    pub(super) fn send_challenge(
        &mut self,
        now: Now,
        id: AttemptId,
        mut candidate: Box<Candidate>,
        issued: IssuedChallenge,
    ) {
        candidate.context.state = issued.state;
        let current = candidate.context.factor.id;
        let factors = self.usable(id, &candidate.enrolment, &candidate.policy);
        let others = factors.iter().filter(|factor| factor.id != current);
        let others = others.map(|factor| self.offer(factor, now)).collect();
        let factor = Some(self.offer(&candidate.context.factor, now));
        let state = AttemptState::AwaitingAnswer(candidate);
        self.reply_challenge(now, id, state, issued.challenge, factor, others);
    }

    /// Sends a challenge in an attempt that waits for its answer from then on.
    pub(super) fn reply_challenge(
        &mut self,
        now: Now,
        id: AttemptId,
        state: AttemptState,
        challenge: Challenge,
        factor: Option<Offer>,
        others: Vec<Offer>,
    ) {
        let Some(attempt) = self.attempts.enter(id, state) else {
            return;
        };
        let expires_in = attempt.expires.saturating_since(now.instant);
        let challenge = Outcome::Challenge {
            factor,
            challenge: Box::new(challenge),
            others,
            expires_in,
        };
        self.reply(id, challenge);
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

    pub(super) fn on_request(&mut self, now: Now, id: AttemptId, request: Request) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return self.reply(id, Outcome::Refused(Refusal::NoAttempt {}));
        };
        let peer = attempt.peer;
        match (
            request,
            std::mem::replace(&mut attempt.state, AttemptState::Finding),
        ) {
            (Request::Answer { answer }, AttemptState::AwaitingAnswer(candidate)) => {
                attempt.is_answered = true;
                attempt.state = AttemptState::Refreshing(candidate, Reaction::Answer(answer), now);
                attempt.is_dated = false;
                self.actions.push_back(Action::Find { attempt: id, peer });
            }
            (Request::Choose { factor }, AttemptState::AwaitingAnswer(candidate)) => {
                attempt.state = AttemptState::Refreshing(candidate, Reaction::Choose(factor), now);
                attempt.is_dated = false;
                self.actions.push_back(Action::Find { attempt: id, peer });
            }
            (Request::Answer { answer }, AttemptState::AwaitingRegistration(applicant)) => {
                attempt.is_answered = true;
                self.judge_registration(id, applicant, answer);
            }
            (Request::Confirm {}, AttemptState::AwaitingConfirm(enrolment, policy)) => {
                self.on_confirm(now, id, &enrolment, &policy);
            }
            (
                Request::Cancel {},
                AttemptState::AwaitingAnswer(_)
                | AttemptState::AwaitingRegistration(_)
                | AttemptState::AwaitingConfirm(..),
            ) => {
                self.finish(id, Outcome::Done);
            }
            (
                _,
                AttemptState::AwaitingAnswer(_)
                | AttemptState::AwaitingRegistration(_)
                | AttemptState::AwaitingConfirm(..),
            ) => {
                self.finish(id, Outcome::Refused(Refusal::OutOfOrder {}));
            }
            // The attempt is busy with an earlier request, and stays so.
            (_, busy) => {
                attempt.state = busy;
                self.reply(id, Outcome::Refused(Refusal::OutOfOrder {}));
            }
        }
    }

    /// Goes on with what the user did about the challenge, by the enrolment as it is now: an answer
    /// of a factor that is gone or locked meanwhile is not looked at.
    pub(super) fn on_found_again(
        &mut self,
        now: Now,
        id: AttemptId,
        enrolment: Arc<Enrolment>,
        mut candidate: Box<Candidate>,
        reaction: Reaction,
        since: Now,
    ) {
        // The policy, too, is the one of the user's groups as they are now.
        candidate.policy = self.policies.of(&enrolment.user.groups);
        candidate.enrolment = enrolment;
        let wanted = match &reaction {
            Reaction::Answer(_) => candidate.context.factor.id,
            Reaction::Choose(factor) => *factor,
        };
        let factors = self.usable(id, &candidate.enrolment, &candidate.policy);
        let find = |id| factors.iter().copied().find(|factor| factor.id == id);
        let (chosen, current) = (
            find(wanted).cloned(),
            find(candidate.context.factor.id).cloned(),
        );
        let Some(factor) = chosen else {
            // A choice that is not on offer, or not any more, leaves the challenge that stands.
            let Some(current) = current.filter(|_| matches!(reaction, Reaction::Choose(_))) else {
                return self.finish(id, Outcome::Refused(Refusal::NoFactor {}));
            };
            candidate.context.factor = current;
            let unfit = self.unfit(now, &candidate);
            return self.deny(now, id, candidate, unfit);
        };
        match reaction {
            Reaction::Choose(_) => {
                // Should the challenge that stands go on, it says how many tries are left now.
                if let Some(standing) = current {
                    candidate.context.factor = standing;
                }
                let asked = self.candidate(&candidate.enrolment, &candidate.policy, factor);
                self.challenge(id, asked, Some(candidate));
            }
            Reaction::Answer(answer) => {
                candidate.context.factor = factor;
                let factor = &candidate.context.factor;
                match self.policy.throttle.lock(factor.failures, now.timestamp) {
                    Lock::Until(_) | Lock::Disabled => {
                        self.fail(now, id, candidate, FailureReason::Wrong);
                    }
                    Lock::Open { .. } => self.verify(id, candidate, answer, since),
                }
            }
        }
    }

    /// The refusal of an answer that was not counted.
    pub(super) fn unfit(&self, now: Now, candidate: &Candidate) -> Denied {
        let failures = candidate.context.factor.failures;
        let lock = self.policy.throttle.lock(failures, now.timestamp);
        denied(DeniedReason::Unfit, lock, now)
    }

    /// The least wait that a client which asks too often is told.
    pub(super) const LEAST_WAIT: Duration = Duration::from_secs(1);
}

/// The kinds of the factors that were passed.
pub(super) fn kinds(passed: &[super::grant::PassedFactor]) -> Vec<FactorKind> {
    let kinds = passed.iter().map(|passed| &passed.proof.assurance.kind);
    kinds.cloned().collect()
}
