//! What the gate says in an attempt, and what follows. A reply that does not fit the step ends the
//! attempt.

use std::time::Duration;

use super::ceremony::{Asked, Ceremony, Purpose, Step};
use super::event::Event;
use super::failure::Failure;
use super::machine::Machine;
use super::offset::Offset;
use super::question::Question;
use crate::channel::message::{Denied, DeniedReason, Refusal, Reply, Request};
use crate::key::PresharedKey;
use crate::time::{Instant, Now};

impl Machine {
    pub(super) fn attempt_replied(
        &mut self,
        now: Now,
        ceremony: Ceremony,
        sent: Now,
        reply: Reply,
        psk: Option<PresharedKey>,
    ) {
        match (&ceremony.step, reply) {
            (
                Step::Greeting(_) | Step::Answering(..),
                Reply::Challenge {
                    attempt,
                    factor,
                    challenge,
                    others,
                    expires_in_ms,
                },
            ) => {
                let expires = sent.instant + Duration::from_millis(expires_in_ms);
                let question = Box::new(Question {
                    attempt,
                    factor,
                    challenge,
                    others,
                    denied: None,
                    expires_in: Duration::ZERO,
                });
                self.ask(now, ceremony, question, expires);
            }
            (Step::Greeting(_), Reply::Confirm { .. })
                if matches!(ceremony.purpose, Purpose::Renew { .. }) =>
            {
                let confirm = self.send_request(now, ceremony.channel, Request::Confirm {});
                self.ceremony = Some(Ceremony {
                    step: Step::Confirming(confirm),
                    ..ceremony
                });
            }
            (Step::Answering(asked, _), Reply::Denied { denied }) => {
                let (question, expires) = (asked.question.clone(), asked.expires);
                self.denied(now, ceremony, question, expires, denied);
            }
            (Step::Answering(..), Reply::Enrolled { factor })
                if matches!(ceremony.purpose, Purpose::Enrol(_)) =>
            {
                self.tell(Event::Enrolled { factor });
            }
            (Step::Answering(..) | Step::Confirming(_), Reply::Granted { grant }) => {
                match psk.filter(|_| ceremony.asks_for(grant.session)) {
                    Some(psk) => self.admit(now, &ceremony, sent, grant, psk),
                    None => self.fail(now, &ceremony, Failure::Unexpected),
                }
            }
            (
                Step::Greeting(_),
                Reply::Refused {
                    refusal: Refusal::Clock { gate_time },
                },
            ) if !ceremony.corrected => {
                self.offset = Offset::between(gate_time, now.timestamp);
                self.begin(now, ceremony.purpose.clone(), true);
            }
            (_, Reply::Refused { refusal }) => self.fail(now, &ceremony, refusal.into()),
            (
                _,
                Reply::Challenge { .. }
                | Reply::Confirm { .. }
                | Reply::Denied { .. }
                | Reply::Enrolled { .. }
                | Reply::Granted { .. }
                | Reply::Status { .. }
                | Reply::Done {},
            ) => self.fail(now, &ceremony, Failure::Unexpected),
        }
    }

    fn denied(
        &mut self,
        now: Now,
        ceremony: Ceremony,
        mut question: Box<Question>,
        expires: Instant,
        denied: Denied,
    ) {
        // Where another factor would do, a disabled one is no dead end.
        if denied.reason == DeniedReason::Disabled && question.others.is_empty() {
            self.cancel(ceremony.channel);
            return self.fail(now, &ceremony, Failure::Disabled);
        }
        question.denied = Some(denied);
        self.ask(now, ceremony, question, expires);
    }

    fn ask(&mut self, now: Now, ceremony: Ceremony, mut question: Box<Question>, expires: Instant) {
        let left = expires.saturating_since(now.instant);
        let offered = question.factor.as_ref().and_then(|it| it.locked_for_ms);
        let denied = question.denied.as_ref();
        let locked = denied.map_or(offered, |denied| denied.locked_for_ms);
        let wait = Duration::from_millis(locked.unwrap_or(0));
        let failure = if ceremony.is_silent() {
            Some(Failure::NotRenewable)
        } else if !wait.is_zero() && wait >= left && question.others.is_empty() {
            Some(Failure::Locked { wait })
        } else if left.is_zero() {
            Some(Failure::AttemptExpired)
        } else {
            None
        };
        if let Some(failure) = failure {
            self.cancel(ceremony.channel);
            return self.fail(now, &ceremony, failure);
        }
        let ticket = self.ticket();
        question.expires_in = left;
        self.tell(Event::Challenge {
            ticket,
            question: question.clone(),
        });
        self.ceremony = Some(Ceremony {
            step: Step::Asking(Asked {
                ticket,
                question,
                expires,
            }),
            ..ceremony
        });
    }

    /// The reply to what was under way when the attempt was given up.
    pub(super) fn abandoned_replied(
        &mut self,
        now: Now,
        abandoned: &Ceremony,
        sent: Now,
        reply: Reply,
        psk: Option<PresharedKey>,
    ) {
        match reply {
            Reply::Challenge { .. } | Reply::Confirm { .. } | Reply::Denied { .. } => {
                self.cancel(abandoned.channel);
            }
            Reply::Granted { grant } => {
                // A session that was being renewed goes on as the gate believes it does.
                let goes_on = abandoned.asks_for(grant.session)
                    && matches!(abandoned.purpose, Purpose::Renew { session, .. }
                        if self.lease.as_ref().is_some_and(|lease| lease.session == session));
                match psk.filter(|_| goes_on) {
                    Some(psk) => self.put_in_force(now, sent, grant, psk),
                    None => self.say_goodbye(now, grant.session, false),
                }
            }
            Reply::Enrolled { .. }
            | Reply::Status { .. }
            | Reply::Refused { .. }
            | Reply::Done {} => {}
        }
    }
}
