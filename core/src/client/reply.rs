//! What the gate says in an attempt, and what follows. A reply that does not fit the step ends the
//! attempt.

use std::time::Duration;

use super::attempt_failure::AttemptFailure;
use super::ceremony::{AttemptState, Ceremony, PendingChallenge, Purpose};
use super::challenge::AuthChallenge;
use super::event::Event;
use super::machine::Machine;
use super::offset::Offset;
use crate::channel::message::{Denied, DeniedReason, Refusal, Reply, Request};
use crate::key::PresharedKey;
use crate::time::{Instant, Now};

impl Machine {
    pub(super) fn on_attempt_reply(
        &mut self,
        now: Now,
        ceremony: Ceremony,
        sent: Now,
        reply: Reply,
        psk: Option<PresharedKey>,
    ) {
        match (&ceremony.state, reply) {
            (
                AttemptState::Greeting(_) | AttemptState::Answering(..),
                Reply::Challenge {
                    attempt,
                    factor,
                    challenge,
                    others,
                    expires_in_ms,
                },
            ) => {
                let expires = sent.instant + Duration::from_millis(expires_in_ms);
                let question = Box::new(AuthChallenge {
                    attempt,
                    factor,
                    challenge,
                    others,
                    denied: None,
                    expires_in: Duration::ZERO,
                });
                self.ask(now, ceremony, question, expires);
            }
            (AttemptState::Greeting(_), Reply::Confirm { .. })
                if matches!(ceremony.purpose, Purpose::Renew { .. }) =>
            {
                let limit = ceremony.limit(&self.config);
                let confirm = self.send_request(now, ceremony.channel, Request::Confirm {}, limit);
                self.ceremony = Some(Ceremony {
                    state: AttemptState::Confirming(confirm),
                    ..ceremony
                });
            }
            (AttemptState::Answering(asked, _), Reply::Denied { denied }) => {
                let (question, expires) = (asked.question.clone(), asked.expires);
                self.on_denied(now, ceremony, question, expires, denied);
            }
            (AttemptState::Answering(..), Reply::Enrolled { factor })
                if matches!(ceremony.purpose, Purpose::Enrol(_)) =>
            {
                self.tell(Event::Enrolled { factor });
            }
            (
                AttemptState::Answering(..) | AttemptState::Confirming(_),
                Reply::Granted { grant },
            ) => match psk.filter(|_| ceremony.asks_for(grant.session)) {
                Some(psk) => self.admit(now, &ceremony, sent, grant, psk),
                None => self.fail(now, &ceremony, AttemptFailure::Unexpected),
            },
            (
                AttemptState::Greeting(_),
                Reply::Refused {
                    refusal: Refusal::Clock { gate_time },
                },
            ) if !ceremony.corrected => {
                self.offset = Offset::between(gate_time, now.timestamp);
                self.begin(now, ceremony.purpose.clone(), true);
            }
            // The session can't be renewed, whatever the user proves: a new one can take its place
            // while the tunnel stays up.
            (
                AttemptState::Greeting(_),
                Reply::Refused {
                    refusal: Refusal::NotRenewable {},
                },
            ) if matches!(ceremony.purpose, Purpose::Renew { may_ask: true, .. }) => {
                self.begin(now, Purpose::Begin, ceremony.corrected);
            }
            (_, Reply::Refused { refusal }) => self.fail(now, &ceremony, refusal.into()),
            // The attempt is open there, in a state that makes no sense here.
            (_, Reply::Challenge { .. } | Reply::Confirm { .. } | Reply::Denied { .. }) => {
                self.cancel(now, ceremony.channel);
                self.fail(now, &ceremony, AttemptFailure::Unexpected);
            }
            (
                _,
                Reply::Enrolled { .. }
                | Reply::Granted { .. }
                | Reply::Status { .. }
                | Reply::Done {},
            ) => self.fail(now, &ceremony, AttemptFailure::Unexpected),
        }
    }

    fn on_denied(
        &mut self,
        now: Now,
        ceremony: Ceremony,
        mut question: Box<AuthChallenge>,
        expires: Instant,
        denied: Denied,
    ) {
        // Where another factor would do, a disabled one is no dead end.
        if denied.reason == DeniedReason::Disabled && question.others.is_empty() {
            self.cancel(now, ceremony.channel);
            return self.fail(now, &ceremony, AttemptFailure::Disabled);
        }
        question.denied = Some(denied);
        self.ask(now, ceremony, question, expires);
    }

    fn ask(
        &mut self,
        now: Now,
        ceremony: Ceremony,
        mut question: Box<AuthChallenge>,
        expires: Instant,
    ) {
        let left = expires.saturating_since(now.instant);
        let offered = question.factor.as_ref().and_then(|it| it.locked_for_ms);
        let denied = question.denied.as_ref();
        let locked = denied.map_or(offered, |denied| denied.locked_for_ms);
        let wait = Duration::from_millis(locked.unwrap_or(0));
        let failure = if ceremony.is_silent() {
            Some(AttemptFailure::NotRenewable)
        } else if !wait.is_zero() && wait >= left && question.others.is_empty() {
            let until = now.timestamp + wait;
            Some(AttemptFailure::Locked { wait, until })
        } else if left.is_zero() {
            Some(AttemptFailure::AttemptExpired)
        } else {
            None
        };
        if let Some(failure) = failure {
            self.cancel(now, ceremony.channel);
            return self.fail(now, &ceremony, failure);
        }
        let ticket = self.ticket();
        question.expires_in = left;
        self.tell(Event::Challenge {
            ticket,
            question: question.clone(),
        });
        self.ceremony = Some(Ceremony {
            state: AttemptState::Asking(PendingChallenge {
                ticket,
                question,
                expires,
            }),
            ..ceremony
        });
    }

    /// The reply to what was under way when the attempt was given up.
    pub(super) fn on_abandoned_reply(
        &mut self,
        now: Now,
        abandoned: &Ceremony,
        sent: Now,
        reply: Reply,
        psk: Option<PresharedKey>,
    ) {
        match reply {
            Reply::Challenge { .. } | Reply::Confirm { .. } | Reply::Denied { .. } => {
                self.cancel(now, abandoned.channel);
            }
            Reply::Granted { grant } => {
                // A session that was being renewed goes on as the gate believes it does.
                let goes_on = abandoned.asks_for(grant.session)
                    && matches!(abandoned.purpose, Purpose::Renew { session, .. }
                        if self.lease.as_ref().is_some_and(|lease| lease.session == session));
                match psk.filter(|_| goes_on) {
                    Some(psk) => self.put_in_force(now, sent, grant, psk, true),
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
