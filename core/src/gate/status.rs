//! What a client asks about its session: what became of it, or its end.

use super::Machine;
use super::action::{Action, Outcome};
use super::attempt::{AttemptState, Hello};
use super::input::Unavailable;
use super::session_end::Waiter;
use crate::channel::message::{Refusal, Status, millis};
use crate::id::{AttemptId, SessionId};
use crate::store::{EndReason, SessionRecord};
use crate::time::Now;

impl Machine {
    /// Tells what became of a session: from memory where it is live here, else from the store.
    pub(super) fn on_status(&mut self, now: Now, hello: Hello, session: SessionId) {
        if let Some(lease) = self.lease_for(hello.peer, session) {
            let status = Status::Live {
                lease_ms: millis(lease.terms().left(now)),
            };
            return self.reply(hello.attempt, Outcome::Status(status));
        }
        if let Some(ending) = self
            .endings
            .get(&session)
            .filter(|end| end.peer == hello.peer)
        {
            let status = Status::Ended {
                reason: Some(ending.reason.into()),
            };
            return self.reply(hello.attempt, Outcome::Status(status));
        }
        if let Some(refusal) = self.full(now) {
            return self.reply(hello.attempt, Outcome::Refused(refusal));
        }
        let attempt = hello.attempt;
        if self.open_attempt(now, hello, AttemptState::FindingSession) {
            self.actions
                .push_back(Action::FindSession { attempt, session });
        }
    }

    pub(super) fn on_found_session(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<Option<Box<SessionRecord>>, Unavailable>,
    ) {
        let Some(peer) = self.attempts.finding_session(id) else {
            return;
        };
        let reason = match result {
            Err(Unavailable) => {
                return self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
            }
            Ok(Some(record)) if record.peer == peer => match record.ended {
                Some((reason, _)) => Some(reason.into()),
                None if now.timestamp >= record.not_after => Some(EndReason::Expired.into()),
                None => None,
            },
            // A peer is not told of another peer's session.
            Ok(_) => None,
        };
        self.finish(id, Outcome::Status(Status::Ended { reason }));
    }

    /// Ends a session for its own client.
    pub(super) fn on_sign_out(&mut self, now: Now, hello: Hello, session: SessionId) {
        if self.lease_for(hello.peer, session).is_some() {
            self.end(hello.peer, EndReason::SignedOut);
        }
        let attempt = hello.attempt;
        let is_ending = self
            .endings
            .get(&session)
            .is_some_and(|end| end.peer == hello.peer);
        if !is_ending {
            return self.reply(attempt, Outcome::Done);
        }
        if self.open_attempt(now, hello, AttemptState::Ending) {
            self.wait_for_end(session, Waiter::Attempt(attempt));
        }
    }
}
