//! Verdicts on answers. No outcome, right or wrong, leaves the gate before the store has it.

use super::Machine;
use super::action::{Action, Outcome};
use super::admission::assurances;
use super::attempt::{Candidate, Step};
use super::event::Event;
use super::grant::Passed;
use super::input::Unavailable;
use super::question::kinds;
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::channel::message::{Answer, Denied, DeniedReason, Refusal, millis};
use crate::factor::{Verdict, VerifyError};
use crate::id::AttemptId;
use crate::policy::{Hours, Lock, Next, Policy};
use crate::store::{self, Failure, FailureReason, FailureRecorded};
use crate::time::Now;

impl Machine {
    /// Asks the verifier about an answer that came in at `since`.
    pub(super) fn verify(
        &mut self,
        id: AttemptId,
        candidate: Box<Candidate>,
        answer: Answer,
        since: Now,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let expires = attempt.expires_at;
        let subject = Box::new(candidate.subject.clone());
        attempt.step = Step::Verifying(candidate, since);
        self.actions.push_back(Action::Verify {
            attempt: id,
            subject,
            answer,
            expires,
        });
    }

    pub(super) fn verified(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<Verdict, VerifyError>,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let Step::Verifying(candidate, since) = &attempt.step else {
            return;
        };
        let (candidate, since) = (candidate.clone(), *since);
        let factor = &candidate.subject.factor;
        match result {
            Ok(Verdict::Proven(proof))
                if proof.factor == factor.id && proof.assurance.kind == factor.kind =>
            {
                let passed = Passed {
                    proof: *proof,
                    sealed: factor.sealed.clone(),
                    since,
                    is_durable: false,
                };
                self.proven(now, id, candidate, passed);
            }
            Ok(Verdict::Ask(question)) => self.put_question(now, id, candidate, question),
            Err(VerifyError::Wrong) => self.fail(now, id, candidate, FailureReason::Wrong),
            Err(VerifyError::Replayed) => self.fail(now, id, candidate, FailureReason::Replayed),
            Err(VerifyError::Expired) => self.fail(now, id, candidate, FailureReason::Expired),
            Err(VerifyError::Unfit) => {
                let unfit = self.unfit(now, &candidate);
                self.deny(now, id, candidate, unfit);
            }
            Err(VerifyError::Busy { retry }) => {
                let mut busy = self.unfit(now, &candidate);
                busy.reason = DeniedReason::Busy;
                busy.locked_for_ms = Some(millis(retry.max(Self::LEAST_WAIT)));
                self.deny(now, id, candidate, busy);
            }
            // A proof of something else is a verifier's fault, not the user's.
            Ok(Verdict::Proven(_)) | Err(VerifyError::NotEnrollable | VerifyError::Backend(_)) => {
                self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
            }
        }
    }

    /// A factor is passed. It becomes durable with the admission where nothing but the store can
    /// refuse that any more, and else by itself, before anything is said.
    fn proven(&mut self, now: Now, id: AttemptId, candidate: Box<Candidate>, passed: Passed) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        attempt.passed.push(passed.clone());
        if !attempt.intent.is_enrolment() && self.is_settled(now, id, &candidate.rules) {
            return self.all_passed(now, id, candidate);
        }
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        attempt.passed.pop();
        let kind = passed.proof.assurance.kind.clone();
        let who = (&candidate.subject.user, candidate.subject.peer);
        let mut event = self.audit_of(now, id, who, AuditKind::FactorPassed { kind });
        event.factor = Some(passed.proof.factor);
        self.actions.push_back(Action::Pass {
            attempt: id,
            subject: Box::new(candidate.subject.clone()),
            proof: Box::new(passed.proof.clone()),
            event: Box::new(event),
        });
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.step = Step::Passing(candidate, Box::new(passed));
        }
    }

    /// Whether the factors that are passed are all that is asked for.
    fn is_settled(&self, now: Now, id: AttemptId, rules: &Policy) -> bool {
        let passed = self.attempts.get(id).map(|attempt| &*attempt.passed);
        let passed = passed.unwrap_or_default();
        !self.has_authoriser
            && matches!(rules.next(&kinds(passed)), Next::Done)
            && rules
                .require
                .unmet(&assurances(passed), now.timestamp)
                .is_none()
            && rules.hours(now.timestamp) != Hours::Closed
    }

    /// The store has a factor's success, or refuses it.
    pub(super) fn passed(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<store::Passed, Unavailable>,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let Step::Passing(candidate, passed) = &attempt.step else {
            return;
        };
        let candidate = candidate.clone();
        match result {
            Ok(store::Passed::Passed) => {
                // What it used up is used up: the admission has nothing more to take from it.
                let mut passed = (**passed).clone();
                passed.proof.consume = None;
                passed.proof.update = None;
                passed.proof.credential = None;
                passed.is_durable = true;
                attempt.passed.push(passed);
                let next = candidate.rules.next(&kinds(&attempt.passed));
                self.tell_of_recovery(now, id, &candidate, &candidate.subject.factor.kind);
                let Next::Done = next else {
                    return self.ask(now, id, &candidate.enrolment, &candidate.rules);
                };
                self.all_passed(now, id, candidate);
            }
            Ok(store::Passed::Replayed(lock)) => {
                let replayed = denied(DeniedReason::Replayed, lock, now);
                self.deny(now, id, candidate, replayed);
            }
            Ok(store::Passed::CredentialTaken(lock)) => {
                let taken = denied(FailureReason::CredentialTaken.into(), lock, now);
                self.deny(now, id, candidate, taken);
            }
            Ok(store::Passed::Locked(lock)) => self.deny(now, id, candidate, locked(lock, now)),
            Ok(store::Passed::Overtaken) => self.overtaken(now, id, candidate),
            Ok(store::Passed::Gone) => {
                self.finish(id, Outcome::Refused(Refusal::NoFactor {}));
            }
            Err(Unavailable) => self.finish(id, Outcome::Refused(Refusal::Unavailable {})),
        }
    }

    /// Another sign-in changed the factor: the answer was not counted, and may be given again.
    pub(super) fn overtaken(&mut self, now: Now, id: AttemptId, candidate: Box<Candidate>) {
        let mut overtaken = self.unfit(now, &candidate);
        overtaken.reason = DeniedReason::Overtaken;
        self.deny(now, id, candidate, overtaken);
    }

    pub(super) fn fail(
        &mut self,
        now: Now,
        id: AttemptId,
        candidate: Box<Candidate>,
        reason: FailureReason,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let factor = candidate.subject.factor.id;
        let (peer, user) = (candidate.subject.peer, candidate.subject.user.clone());
        attempt.step = Step::Recording(candidate, reason);
        let mut event = self.audit_of(now, id, (&user, peer), AuditKind::Denied { reason });
        event.factor = Some(factor);
        let throttle = self.policy.throttle;
        let failure = Box::new(Failure {
            factor,
            at: now.timestamp,
            throttle,
            event,
        });
        self.actions.push_back(Action::RecordFailure {
            attempt: id,
            failure,
        });
    }

    pub(super) fn failure_recorded(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<FailureRecorded, Unavailable>,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let Step::Recording(candidate, reason) = &attempt.step else {
            return;
        };
        let candidate = candidate.clone();
        let reason = DeniedReason::from(*reason);
        match result {
            Ok(FailureRecorded::Counted(lock)) => {
                self.deny(now, id, candidate, denied(reason, lock, now))
            }
            Ok(FailureRecorded::Locked(lock)) => self.deny(now, id, candidate, locked(lock, now)),
            Ok(FailureRecorded::FactorGone) => {
                self.finish(id, Outcome::Refused(Refusal::NoFactor {}));
            }
            Err(Unavailable) => self.finish(id, Outcome::Refused(Refusal::Unavailable {})),
        }
    }

    /// Refuses an answer; the attempt goes back to waiting for one, unless its time is over.
    pub(super) fn deny(
        &mut self,
        now: Now,
        id: AttemptId,
        candidate: Box<Candidate>,
        denied: Denied,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        self.events.push_back(Event::Denied {
            peer: candidate.subject.peer,
            user: candidate.subject.user.clone(),
            factor: candidate.subject.factor.id,
            denied: denied.clone(),
        });
        if self.stopping || now.instant >= attempt.expires {
            // It was past recall when it should have ended.
            return self.finish(id, Outcome::Refused(Refusal::NoAttempt {}));
        }
        attempt.step = Step::AwaitingAnswer(candidate);
        self.reply(id, Outcome::Denied(denied));
    }

    /// A recovery code is for those who lost everything else: the embedder is to know once one is
    /// used, and the trail says so in a record of its own.
    pub(super) fn tell_of_recovery(
        &mut self,
        now: Now,
        id: AttemptId,
        candidate: &Candidate,
        passed: &FactorKind,
    ) {
        if *passed == FactorKind::RECOVERY_CODES {
            self.record(
                now,
                id,
                &candidate.subject.user,
                AuditKind::RecoveryCodeUsed,
            );
            self.events.push_back(Event::RecoveryCodeUsed {
                peer: candidate.subject.peer,
                user: candidate.subject.user.clone(),
            });
        }
    }
}

pub(super) fn locked_for(lock: Lock, now: Now) -> Option<u64> {
    match lock {
        Lock::Open { .. } | Lock::Disabled => None,
        Lock::Until(until) => Some(millis(until.saturating_since(now.timestamp))),
    }
}

pub(super) fn denied(reason: DeniedReason, lock: Lock, now: Now) -> Denied {
    let (reason, tries_left) = match lock {
        Lock::Open { tries_left } => (reason, tries_left),
        Lock::Until(_) => (reason, 0),
        Lock::Disabled => (DeniedReason::Disabled, 0),
    };
    Denied {
        reason,
        tries_left,
        locked_for_ms: locked_for(lock, now),
    }
}

pub(super) fn locked(lock: Lock, now: Now) -> Denied {
    denied(DeniedReason::Locked, lock, now)
}
