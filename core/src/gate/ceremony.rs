//! From a first message to a grant.

use super::Machine;
use super::attempt::{Attempt, Candidate, Hello, Step};
use super::deadline::Due;
use super::input::{Action, Event, Intent, Outcome, Subject, Unavailable};
use crate::audit::AuditKind;
use crate::channel::message::{Answer, Challenge, Denied, DeniedReason, Refusal, Request, millis};
use crate::factor::{Proof, VerifyError};
use crate::id::{AttemptId, FactorId};
use crate::policy::Lock;
use crate::store::{Enrolment, FactorRecord, FactorState, Failure, FailureReason, FailureRecorded};
use crate::time::Now;

/// What a client is told to wait when too many attempts are open.
const BUSY: Refusal = Refusal::Busy { retry_ms: 5000 };

impl Machine {
    pub(super) fn hello(&mut self, now: Now, hello: Hello) {
        let attempt = hello.attempt;
        if !self.is_open() {
            return self.reply(attempt, Outcome::Refused(Refusal::Unavailable {}));
        }
        let step = match hello.intent {
            Intent::Status(session) => return self.status(now, hello, session),
            Intent::End(session) => return self.sign_out(now, hello, session),
            Intent::Begin | Intent::Renew(_) => Step::Finding,
        };
        if let Some(refusal) = self.stale(now, &hello).or_else(|| self.crowded(&hello)) {
            return self.reply(attempt, Outcome::Refused(refusal));
        }
        let peer = hello.peer;
        if self.open_attempt(now, hello, step) {
            self.actions.push_back(Action::Find { attempt, peer });
        }
    }

    /// A first message outside the replay window, or one that was seen in it.
    fn stale(&self, now: Now, hello: &Hello) -> Option<Refusal> {
        let gate_time = now.timestamp;
        let ahead = hello.sent_at.saturating_since(gate_time);
        let behind = gate_time.saturating_since(hello.sent_at);
        let off = ahead.max(behind) > self.policy.clock_skew;
        if off || hello.sent_at < self.started.timestamp {
            return Some(Refusal::Clock { gate_time });
        }
        self.replays
            .has(&hello.ephemeral)
            .then_some(Refusal::Replay {})
    }

    /// Too many attempts, of this peer or over all.
    fn crowded(&self, hello: &Hello) -> Option<Refusal> {
        let most = self.policy.attempts_per_peer;
        let of_peer = self.attempts.of_peer(hello.peer).take(most).count();
        if of_peer >= most {
            Some(BUSY)
        } else {
            self.full()
        }
    }

    /// Too many conversations over all.
    pub(super) fn full(&self) -> Option<Refusal> {
        (self.attempts.len() >= self.policy.attempts_in_all).then_some(BUSY)
    }

    pub(super) fn open_attempt(&mut self, now: Now, hello: Hello, step: Step) -> bool {
        let expires = now.instant + self.policy.attempt_ttl;
        let opened = self.attempts.insert(
            hello.attempt,
            Attempt {
                peer: hello.peer,
                source: hello.source,
                ephemeral: hello.ephemeral,
                intent: hello.intent,
                expires,
                step,
                is_dated: false,
                revoked_by: Vec::new(),
            },
        );
        if opened {
            self.deadlines.set(expires, Due::Attempt(hello.attempt));
        } else {
            self.reply(hello.attempt, Outcome::Refused(Refusal::Unavailable {}));
        }
        opened
    }

    /// Ends an attempt with a last reply.
    pub(super) fn finish(&mut self, attempt: AttemptId, reply: Outcome) {
        if self.close_attempt(attempt).is_some() {
            self.reply(attempt, reply);
        }
    }

    pub(super) fn close_attempt(&mut self, id: AttemptId) -> Option<Attempt> {
        let attempt = self.attempts.remove(id)?;
        self.deadlines.clear(attempt.expires, Due::Attempt(id));
        Some(attempt)
    }

    /// An attempt took too long, or is called off while the client is not waiting for a reply. One
    /// that is past recall comes to its own end.
    pub(super) fn attempt_over(&mut self, id: AttemptId) {
        if self
            .attempts
            .get_mut(id)
            .is_some_and(|attempt| attempt.is_recallable())
        {
            self.close_attempt(id);
            self.actions.push_back(Action::Forget { attempt: id });
        }
    }

    pub(super) fn found(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<Option<Box<Enrolment>>, Unavailable>,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let enrolment = match result {
            Err(Unavailable) => {
                return self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
            }
            Ok(Some(found)) if found.peer.enabled && found.user.enabled => found,
            Ok(_) => return self.finish(id, Outcome::Refused(Refusal::NotEnrolled {})),
        };
        if matches!(attempt.step, Step::Finding) {
            return self.found_first(now, id, &enrolment);
        }
        if let Step::Refreshing(candidate, answer, since) = &attempt.step {
            let (old, answer, since) = (candidate.subject.factor.id, answer.clone(), *since);
            self.found_again(now, id, &enrolment, old, answer, since);
        }
    }

    /// The peer is enrolled: from here on the message counts as seen, and the attempt has state.
    fn found_first(&mut self, now: Now, id: AttemptId, enrolment: &Enrolment) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let until = now.instant + self.policy.clock_skew * 2;
        if !self.replays.insert(attempt.ephemeral, now.instant, until) {
            return self.finish(id, Outcome::Refused(Refusal::Replay {}));
        }
        match attempt.intent {
            Intent::Renew(session) => self.offer_renewal(now, id, session, enrolment),
            Intent::Begin | Intent::Status(_) | Intent::End(_) => self.ask(id, enrolment),
        }
    }

    /// Picks the factor by the policy's order and asks for its challenge.
    pub(super) fn ask(&mut self, id: AttemptId, enrolment: &Enrolment) {
        let usable = |kind| {
            let mut active = enrolment
                .factors
                .iter()
                .filter(|factor| factor.kind == kind && factor.state == FactorState::Active);
            active.next().cloned()
        };
        let Some(factor) = self.policy.any_of.clone().into_iter().find_map(usable) else {
            return self.finish(id, Outcome::Refused(Refusal::NoFactor {}));
        };
        let candidate = self.candidate(enrolment, factor);
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let subject = Box::new(candidate.subject.clone());
        attempt.step = Step::Challenging(Box::new(candidate));
        self.actions.push_back(Action::Challenge {
            attempt: id,
            subject,
        });
    }

    fn candidate(&self, enrolment: &Enrolment, factor: FactorRecord) -> Candidate {
        Candidate {
            peer: enrolment.peer.clone(),
            subject: Subject {
                location: self.location.clone(),
                peer: enrolment.peer.key,
                user: enrolment.user.id.clone(),
                factor,
            },
        }
    }

    pub(super) fn challenged(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<Challenge, Unavailable>,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let Step::Challenging(candidate) = &attempt.step else {
            return;
        };
        let Ok(mut challenge) = result else {
            return self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
        };
        let lock = self
            .policy
            .throttle
            .lock(candidate.subject.factor.failures, now.timestamp);
        match &mut challenge {
            Challenge::Code { locked_for_ms, .. } => *locked_for_ms = locked_for(lock, now),
        }
        attempt.step = Step::AwaitingAnswer(candidate.clone());
        let expires_in = attempt.expires.saturating_since(now.instant);
        self.reply(
            id,
            Outcome::Challenge {
                challenge,
                expires_in,
            },
        );
    }

    pub(super) fn request(&mut self, now: Now, id: AttemptId, request: Request) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return self.reply(id, Outcome::Refused(Refusal::NoAttempt {}));
        };
        match (request, std::mem::replace(&mut attempt.step, Step::Finding)) {
            (Request::Answer { answer }, Step::AwaitingAnswer(candidate)) => {
                attempt.step = Step::Refreshing(candidate, answer, now);
                attempt.is_dated = false;
                let peer = attempt.peer;
                self.actions.push_back(Action::Find { attempt: id, peer });
            }
            (Request::Confirm {}, Step::AwaitingConfirm) => self.confirmed(now, id),
            (Request::Cancel {}, Step::AwaitingAnswer(_) | Step::AwaitingConfirm) => {
                self.finish(id, Outcome::Done);
            }
            (_, Step::AwaitingAnswer(_) | Step::AwaitingConfirm) => {
                self.finish(id, Outcome::Refused(Refusal::OutOfOrder {}));
            }
            // The attempt is busy with an earlier request, and stays so.
            (_, busy) => {
                attempt.step = busy;
                self.reply(id, Outcome::Refused(Refusal::OutOfOrder {}));
            }
        }
    }

    /// An answer came in, and this is the enrolment as it is now: a factor that is gone or locked
    /// is not looked at.
    fn found_again(
        &mut self,
        now: Now,
        id: AttemptId,
        enrolment: &Enrolment,
        old: FactorId,
        answer: Answer,
        since: Now,
    ) {
        let factor = enrolment
            .factors
            .iter()
            .find(|factor| factor.id == old && factor.state == FactorState::Active);
        let Some(factor) = factor else {
            return self.finish(id, Outcome::Refused(Refusal::NoFactor {}));
        };
        let candidate = Box::new(self.candidate(enrolment, factor.clone()));
        match self.policy.throttle.lock(factor.failures, now.timestamp) {
            Lock::Until(_) | Lock::Disabled => self.fail(now, id, candidate, FailureReason::Wrong),
            Lock::Open { .. } => {
                let Some(attempt) = self.attempts.get_mut(id) else {
                    return;
                };
                let subject = Box::new(candidate.subject.clone());
                attempt.step = Step::Verifying(candidate, since);
                self.actions.push_back(Action::Verify {
                    attempt: id,
                    subject,
                    answer,
                });
            }
        }
    }

    pub(super) fn verified(&mut self, now: Now, id: AttemptId, result: Result<Proof, VerifyError>) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let Step::Verifying(candidate, since) = &attempt.step else {
            return;
        };
        let (candidate, since) = (candidate.clone(), *since);
        let factor = &candidate.subject.factor;
        match result {
            Ok(proof) if proof.factor == factor.id && proof.assurance.kind == factor.kind => {
                self.grant(now, id, candidate, since, proof);
            }
            Err(VerifyError::Wrong) => self.fail(now, id, candidate, FailureReason::Wrong),
            Err(VerifyError::Replayed) => self.fail(now, id, candidate, FailureReason::Replayed),
            Err(VerifyError::Unfit) => {
                let lock = self.policy.throttle.lock(factor.failures, now.timestamp);
                let denied = denied(DeniedReason::Unfit, lock, now);
                self.deny(now, id, candidate, denied);
            }
            // A proof of something else is a verifier's fault, not the user's.
            Ok(_) | Err(VerifyError::Backend(_)) => {
                self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
            }
        }
    }

    fn fail(&mut self, now: Now, id: AttemptId, candidate: Box<Candidate>, reason: FailureReason) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let source = attempt.source;
        let factor = candidate.subject.factor.id;
        let (peer, user) = (candidate.subject.peer, candidate.subject.user.clone());
        attempt.step = Step::Recording(candidate, reason);
        let mut event = self.audit(now, AuditKind::Denied { reason });
        event.user = Some(user);
        event.peer = Some(peer);
        event.factor = Some(factor);
        event.source = source;
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
        let reason = match reason {
            FailureReason::Wrong => DeniedReason::Wrong,
            FailureReason::Replayed => DeniedReason::Replayed,
        };
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
}

fn locked_for(lock: Lock, now: Now) -> Option<u64> {
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
