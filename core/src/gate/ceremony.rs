//! From a first message to a question.

use std::sync::Arc;

use super::Machine;
use super::action::{Action, Outcome};
use super::attempt::{Attempt, Hello, Step};
use super::deadline::Due;
use super::input::{Intent, Unavailable};
use crate::channel::message::Refusal;
use crate::id::AttemptId;
use crate::store::Enrolment;
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
            Intent::Begin | Intent::Renew(_) | Intent::Enrol(_) => Step::Finding,
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
                posture: hello.posture,
                expires,
                expires_at: now.timestamp + self.policy.attempt_ttl,
                step,
                is_dated: false,
                passed: Vec::new(),
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
            Ok(Some(found)) if found.peer.enabled && found.user.enabled => Arc::new(*found),
            Ok(_) => return self.finish(id, Outcome::Refused(Refusal::NotEnrolled {})),
        };
        match &attempt.step {
            Step::Finding => self.found_first(now, id, &enrolment),
            Step::Refreshing(candidate, reaction, since) => {
                let (candidate, reaction, since) = (candidate.clone(), reaction.clone(), *since);
                self.found_again(now, id, enrolment, candidate, reaction, since);
            }
            // Nothing else waits for an enrolment.
            Step::FindingSession
            | Step::Ending
            | Step::Challenging { .. }
            | Step::AwaitingAnswer(_)
            | Step::Verifying(..)
            | Step::Recording(..)
            | Step::Passing(..)
            | Step::AwaitingConfirm(..)
            | Step::Authorising(..)
            | Step::Opening(_)
            | Step::Renewing
            | Step::Installing
            | Step::Registering(_)
            | Step::AwaitingRegistration(_)
            | Step::Enrolling(_) => {}
        }
    }

    /// The peer is enrolled: from here on the message counts as seen, and the attempt has state.
    fn found_first(&mut self, now: Now, id: AttemptId, enrolment: &Arc<Enrolment>) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let until = now.instant + self.policy.clock_skew * 2;
        if !self.replays.insert(attempt.ephemeral, now.instant, until) {
            return self.finish(id, Outcome::Refused(Refusal::Replay {}));
        }
        let rules = self.rules.of(&enrolment.user.groups);
        match &attempt.intent {
            Intent::Renew(session) => {
                let session = *session;
                self.offer_renewal(now, id, session, enrolment, &rules);
            }
            Intent::Enrol(wish) if wish.token.is_some() => self.redeem(now, id, enrolment),
            Intent::Begin | Intent::Enrol(_) | Intent::Status(_) | Intent::End(_) => {
                self.ask(now, id, enrolment, &rules);
            }
        }
    }
}
