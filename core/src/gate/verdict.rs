//! Verdicts on answers. No outcome, right or wrong, leaves the gate before the store has it.

use super::Machine;
use super::action::{Action, Outcome};
use super::admission::assurances;
use super::attempt::{AttemptState, Candidate};
use super::challenge::kinds;
use super::event::Event;
use super::grant::PassedFactor;
use super::input::Unavailable;
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::channel::message::{Answer, Denied, DeniedReason, Refusal, millis};
use crate::factor::{Verdict, VerifyError};
use crate::id::AttemptId;
use crate::policy::{Hours, Lock, Next, Policy};
use crate::store::{self, FactorFailure, FailureReason, FailureRecorded};
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
        let context = Box::new(candidate.context.clone());
        let state = AttemptState::Verifying(candidate, since);
        let Some(attempt) = self.attempts.enter(id, state) else {
            return;
        };
        let expires = attempt.expires_at;
        self.actions.push_back(Action::Verify {
            attempt: id,
            context,
            answer,
            expires,
        });
    }

    pub(super) fn on_verified(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<Verdict, VerifyError>,
    ) {
        let Some((candidate, since)) = self.attempts.verifying(id) else {
            return;
        };
        let factor = &candidate.context.factor;
        match result {
            // A proof of the very factor that was asked about, and of its kind: a verifier that mixes
            // two up admits no one.
            Ok(Verdict::Proven(proof))
                if proof.factor == factor.id && proof.assurance.kind == factor.kind =>
            {
                let passed = PassedFactor {
                    proof: *proof,
                    sealed: factor.sealed.clone(),
                    since,
                    is_durable: false,
                };
                self.proven(now, id, candidate, passed);
            }
            Ok(Verdict::Ask(issued)) => self.send_challenge(now, id, candidate, issued),
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
    fn proven(&mut self, now: Now, id: AttemptId, candidate: Box<Candidate>, passed: PassedFactor) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        // Counted as passed to see whether it is the last one, and taken out again where it is not:
        // until the store has it, the attempt must not go on with it.
        attempt.passed.push(passed.clone());
        if !attempt.intent.is_enrolment() && self.is_settled(now, id, &candidate.policy) {
            return self.all_passed(now, id, candidate);
        }
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        attempt.passed.pop();
        let kind = passed.proof.assurance.kind.clone();
        let who = (&candidate.context.user, candidate.context.peer);
        let mut event = self.audit_of(now, id, who, AuditKind::FactorPassed { kind });
        event.factor = Some(passed.proof.factor);
        self.actions.push_back(Action::Pass {
            attempt: id,
            context: Box::new(candidate.context.clone()),
            proof: Box::new(passed.proof.clone()),
            event: Box::new(event),
        });
        let state = AttemptState::Passing(candidate, Box::new(passed));
        self.attempts.enter(id, state);
    }

    /// Whether the factors that are passed are all that is asked for.
    fn is_settled(&self, now: Now, id: AttemptId, policy: &Policy) -> bool {
        let passed = self.attempts.get(id).map(|attempt| &*attempt.passed);
        let passed = passed.unwrap_or_default();
        !self.has_authoriser
            && matches!(policy.next(&kinds(passed)), Next::Done)
            && policy
                .require
                .unmet(&assurances(passed), now.timestamp)
                .is_none()
            && policy.hours(now.timestamp) != Hours::Closed
    }

    /// The store has a factor's success, or refuses it.
    pub(super) fn on_passed(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<store::PassOutcome, Unavailable>,
    ) {
        let Some((candidate, mut passed)) = self.attempts.passing(id) else {
            return;
        };
        match result {
            Ok(store::PassOutcome::Recorded) => {
                // The store has used up what the answer takes: the admission has nothing more to take.
                passed.proof.counter = None;
                passed.proof.replace_secret = None;
                passed.proof.credential = None;
                passed.is_durable = true;
                let Some(attempt) = self.attempts.get_mut(id) else {
                    return;
                };
                attempt.passed.push(passed);
                let next = candidate.policy.next(&kinds(&attempt.passed));
                self.tell_of_recovery(now, id, &candidate, &candidate.context.factor.kind);
                let Next::Done = next else {
                    return self.ask(now, id, &candidate.enrolment, &candidate.policy);
                };
                self.all_passed(now, id, candidate);
            }
            Ok(store::PassOutcome::Replayed(lock)) => {
                let replayed = denied(DeniedReason::Replayed, lock, now);
                self.deny(now, id, candidate, replayed);
            }
            Ok(store::PassOutcome::CredentialTaken(lock)) => {
                let taken = denied(FailureReason::CredentialTaken.into(), lock, now);
                self.deny(now, id, candidate, taken);
            }
            Ok(store::PassOutcome::Locked(lock)) => {
                self.deny(now, id, candidate, locked(lock, now))
            }
            Ok(store::PassOutcome::Overtaken) => self.overtaken(now, id, candidate),
            Ok(store::PassOutcome::Gone) => {
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
        let factor = candidate.context.factor.id;
        let (peer, user) = (candidate.context.peer, candidate.context.user.clone());
        let state = AttemptState::Recording(candidate, reason);
        if self.attempts.enter(id, state).is_none() {
            return;
        }
        let mut event = self.audit_of(now, id, (&user, peer), AuditKind::Denied { reason });
        event.factor = Some(factor);
        // The reply waits for the store: an attacker who learned that an answer is wrong before it
        // counts could try without limit by breaking the connection off.
        let throttle = self.policy.throttle;
        let failure = Box::new(FactorFailure {
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

    pub(super) fn on_failure_recorded(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<FailureRecorded, Unavailable>,
    ) {
        let Some((candidate, reason)) = self.attempts.recording(id) else {
            return;
        };
        let reason = DeniedReason::from(reason);
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
            peer: candidate.context.peer,
            user: candidate.context.user.clone(),
            factor: candidate.context.factor.id,
            denied: denied.clone(),
        });
        if self.stopping || now.instant >= attempt.expires {
            // Its time was over while the store was at work on it.
            return self.finish(id, Outcome::Refused(Refusal::NoAttempt {}));
        }
        attempt.state = AttemptState::AwaitingAnswer(candidate);
        self.reply(id, Outcome::Denied(denied));
    }

    /// Tells the embedder and the audit trail that a recovery code was used: its user may have lost
    /// every other factor.
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
                &candidate.context.user,
                AuditKind::RecoveryCodeUsed,
            );
            self.events.push_back(Event::RecoveryCodeUsed {
                peer: candidate.context.peer,
                user: candidate.context.user.clone(),
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
