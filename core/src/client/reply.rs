//! What the gate says in an attempt, and what follows. A reply that does not fit the step ends the
//! attempt.

use std::time::Duration;

use super::ceremony::{Asked, Ceremony, Purpose, Step};
use super::event::Event;
use super::failure::Failure;
use super::machine::Machine;
use super::offset::Offset;
use crate::channel::message::{Challenge, Denied, DeniedReason, Refusal, Reply, Request};
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
                    challenge,
                    expires_in_ms,
                    ..
                },
            ) => {
                let expires = sent.instant + Duration::from_millis(expires_in_ms);
                self.ask(now, ceremony, challenge, expires, None);
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
                let (challenge, expires) = (asked.challenge.clone(), asked.expires);
                self.denied(now, ceremony, challenge, expires, denied);
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
                self.begin(now, ceremony.purpose, true);
            }
            (_, Reply::Refused { refusal }) => self.fail(now, &ceremony, refusal.into()),
            (
                _,
                Reply::Challenge { .. }
                | Reply::Confirm { .. }
                | Reply::Denied { .. }
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
        challenge: Challenge,
        expires: Instant,
        denied: Denied,
    ) {
        if denied.reason == DeniedReason::Disabled {
            self.cancel(ceremony.channel);
            return self.fail(now, &ceremony, Failure::Disabled);
        }
        self.ask(now, ceremony, challenge, expires, Some(denied));
    }

    fn ask(
        &mut self,
        now: Now,
        ceremony: Ceremony,
        challenge: Challenge,
        expires: Instant,
        denied: Option<Denied>,
    ) {
        let left = expires.saturating_since(now.instant);
        let Challenge::Code { locked_for_ms, .. } = &challenge;
        let locked = denied
            .as_ref()
            .map_or(*locked_for_ms, |denied| denied.locked_for_ms);
        let wait = Duration::from_millis(locked.unwrap_or(0));
        let failure = if let Purpose::Renew { may_ask: false, .. } = ceremony.purpose {
            Some(Failure::NotRenewable)
        } else if !wait.is_zero() && wait >= left {
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
        self.tell(Event::Challenge {
            ticket,
            challenge: challenge.clone(),
            denied,
            expires_in: left,
        });
        self.ceremony = Some(Ceremony {
            step: Step::Asking(Asked {
                ticket,
                challenge,
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
            Reply::Status { .. } | Reply::Refused { .. } | Reply::Done {} => {}
        }
    }
}
