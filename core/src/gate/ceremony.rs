//! From a first message to a challenge.

use std::sync::Arc;
use std::time::Duration;

use super::Machine;
use super::action::{Action, Outcome};
use super::attempt::{Attempt, AttemptState, Hello};
use super::deadline::{Due, Remembered};
use super::freshness::UNNOTICED;
use super::input::{Intent, Unavailable};
use crate::channel::message::{Refusal, millis};
use crate::id::AttemptId;
use crate::store::Enrolment;
use crate::time::{Instant, Now};

impl Machine {
    pub(super) fn on_hello(&mut self, now: Now, hello: Hello) {
        let attempt = hello.attempt;
        // Before any reply: whatever that is, and whether or not the peer is enrolled, the same
        // message opens nothing later.
        let remembered = self.remember(now, &hello);
        let unavailable = Outcome::Refused(Refusal::Unavailable {});
        if !self.serves() {
            return self.reply(attempt, unavailable);
        }
        if let (Remembered::Known, Intent::Status(_) | Intent::End(_)) =
            (&remembered, &hello.intent)
        {
            return self.reply(attempt, Outcome::Refused(Refusal::Replay {}));
        }
        let state = match hello.intent {
            Intent::Status(session) => return self.on_status(now, hello, session),
            Intent::End(session) => return self.on_sign_out(now, hello, session),
            Intent::Begin | Intent::Renew(_) | Intent::Enrol(_) => AttemptState::Finding,
        };
        if !self.is_open() {
            return self.reply(attempt, unavailable);
        }
        let refusal = self.stale(now, &hello).or(match remembered {
            Remembered::New => None,
            Remembered::Known => Some(Refusal::Replay {}),
            // Nothing opens that could be opened a second time.
            Remembered::Full { until } => Some(busy(now, Some(until))),
        });
        if let Some(refusal) = refusal.or_else(|| self.crowded(now, &hello)) {
            return self.reply(attempt, Outcome::Refused(refusal));
        }
        let peer = hello.peer;
        if self.open_attempt(now, hello, state) {
            self.actions.push_back(Action::Find { attempt, peer });
        }
    }

    /// Remembers a first message for as long as its time stamp may be within the window.
    fn remember(&mut self, now: Now, hello: &Hello) -> Remembered {
        // A message is good up to the very edge of the window, and remembered a little longer.
        let (skew, edge) = (self.policy.clock_skew, UNNOTICED + Duration::from_millis(1));
        let ahead = hello.sent_at.saturating_since(self.freshness.time(now));
        let remembered = if ahead > skew {
            let until = now.instant + ahead + skew + edge;
            self.replays
                .insert_early(hello.ephemeral, now.instant, until)
        } else {
            let until = now.instant + skew * 2 + edge;
            self.replays.insert(hello.ephemeral, now.instant, until)
        };
        self.arm_forgetting();
        remembered
    }

    /// Has first messages forgotten in time, also where no other one comes.
    fn arm_forgetting(&mut self) {
        if let Some(at) = self.replays.arm() {
            self.deadlines.set(at, Due::Replays);
        }
    }

    pub(super) fn forget_replays(&mut self, now: Now) {
        self.replays.disarm(now.instant);
        self.arm_forgetting();
    }

    /// Refuses a first message outside the replay window.
    fn stale(&self, now: Now, hello: &Hello) -> Option<Refusal> {
        let gate_time = self.freshness.time(now);
        let ahead = hello.sent_at.saturating_since(gate_time);
        let behind = gate_time.saturating_since(hello.sent_at);
        let off = ahead.max(behind) > self.policy.clock_skew;
        (off || self.freshness.is_too_old(hello.sent_at)).then_some(Refusal::Clock { gate_time })
    }

    /// Refuses a first message where too many attempts are open, of this peer or over all. A peer that
    /// begins again takes the place of its own oldest attempt that was never answered, such as one
    /// that its user has left.
    fn crowded(&mut self, now: Now, hello: &Hello) -> Option<Refusal> {
        let most = self.policy.attempts_per_peer;
        let of_peer = self.attempts.of_peer(hello.peer).take(most).count();
        let is_too_many = of_peer >= most;
        if !is_too_many && self.full(now).is_none() {
            return None;
        }
        let Some(oldest) = self.attempts.oldest_replaceable(hello.peer) else {
            return if is_too_many {
                Some(busy(now, self.attempts.first_end_of(hello.peer)))
            } else {
                self.full(now)
            };
        };
        self.replace(oldest);
        self.full(now)
    }

    /// Ends an attempt whose place a later one takes. A client that waits for a reply gets a last
    /// one.
    fn replace(&mut self, id: AttemptId) {
        let attempt = self.attempts.get(id);
        if attempt.is_some_and(super::attempt::Attempt::waits_for_client) {
            self.attempt_over(id);
        } else {
            self.finish(id, Outcome::Refused(Refusal::NoAttempt {}));
        }
    }

    /// Refuses a first message where too many attempts are open over all.
    pub(super) fn full(&self, now: Now) -> Option<Refusal> {
        let is_full = self.attempts.len() >= self.policy.attempts_in_all;
        is_full.then(|| busy(now, self.attempts.first_end()))
    }

    pub(super) fn open_attempt(&mut self, now: Now, hello: Hello, state: AttemptState) -> bool {
        let expires = now.instant + self.policy.attempt_ttl;
        let opened = self.attempts.insert(
            hello.attempt,
            Attempt {
                peer: hello.peer,
                source: hello.source,
                intent: hello.intent,
                posture: hello.posture,
                expires,
                expires_at: now.timestamp + self.policy.attempt_ttl,
                state,
                is_answered: false,
                is_dated: false,
                is_outdated: false,
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

    /// Ends an attempt that took too long, or that is called off while the client waits for no
    /// reply. One that is past recall ends when its operation does.
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

    pub(super) fn on_found(
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
        match &attempt.state {
            AttemptState::Finding => self.on_found_first(now, id, &enrolment),
            AttemptState::Refreshing(candidate, reaction, since) => {
                let (candidate, reaction, since) = (candidate.clone(), reaction.clone(), *since);
                self.on_found_again(now, id, enrolment, candidate, reaction, since);
            }
            // Nothing else waits for an enrolment.
            AttemptState::FindingSession
            | AttemptState::Ending
            | AttemptState::Challenging { .. }
            | AttemptState::AwaitingAnswer(_)
            | AttemptState::Verifying(..)
            | AttemptState::Recording(..)
            | AttemptState::Passing(..)
            | AttemptState::AwaitingConfirm(..)
            | AttemptState::Authorising(..)
            | AttemptState::Opening(_)
            | AttemptState::Renewing
            | AttemptState::Installing
            | AttemptState::Registering(_)
            | AttemptState::AwaitingRegistration(_)
            | AttemptState::Enrolling(_) => {}
        }
    }

    /// The peer is enrolled: from here on the attempt has state.
    fn on_found_first(&mut self, now: Now, id: AttemptId, enrolment: &Arc<Enrolment>) {
        let Some(attempt) = self.attempts.get(id) else {
            return;
        };
        let policy = self.policies.of(&enrolment.user.groups);
        match &attempt.intent {
            Intent::Renew(session) => {
                let session = *session;
                self.offer_renewal(now, id, session, enrolment, &policy);
            }
            Intent::Enrol(request) if request.token.is_some() => self.redeem(now, id, enrolment),
            Intent::Begin | Intent::Enrol(_) | Intent::Status(_) | Intent::End(_) => {
                self.ask(now, id, enrolment, &policy);
            }
        }
    }
}

/// Tells a client to wait until the first of what is under way is over, which is then at the
/// latest.
fn busy(now: Now, until: Option<Instant>) -> Refusal {
    let wait = until.map(|at| at.saturating_since(now.instant));
    let wait = wait.unwrap_or_default().max(Machine::LEAST_WAIT);
    // Rounded up: a millisecond early is too early.
    Refusal::Busy {
        retry_ms: millis(wait).saturating_add(1),
    }
}
