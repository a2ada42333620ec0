//! An attempt: its steps, how it begins, and how it is given up.

use super::action::{Action, Opening, Ticket};
use super::event::Event;
use super::failure::Failure;
use super::machine::{Exchange, Machine};
use super::question::{NewFactor, Question, Response};
use crate::channel::message::Request;
use crate::id::SessionId;
use crate::time::{Instant, Now};

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Ceremony {
    pub(super) purpose: Purpose,
    pub(super) step: Step,
    /// The channel: the ticket of the greeting.
    pub(super) channel: Ticket,
    /// The gate has corrected the clock of this attempt once.
    pub(super) corrected: bool,
}

/// What an attempt is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A session.
    Begin,
    /// More time for a live one.
    Renew {
        /// The live one.
        session: SessionId,
        /// Whether the user may be asked for a factor.
        may_ask: bool,
    },
    /// A factor.
    Enrol(NewFactor),
}

#[derive(Debug)]
pub(super) enum Step {
    Greeting(Exchange),
    Asking(Asked),
    Answering(Asked, Exchange),
    Confirming(Exchange),
}

/// A challenge that the user has, or had.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ticket: Ticket,
    pub(super) question: Box<Question>,
    pub(super) expires: Instant,
}

impl Ceremony {
    pub(super) const fn is_asking(&self) -> bool {
        matches!(self.step, Step::Asking(_))
    }

    pub(super) const fn is_renewal(&self) -> bool {
        matches!(self.purpose, Purpose::Renew { .. })
    }

    /// Whether it is a renewal that nobody is to be asked about.
    pub(super) const fn is_silent(&self) -> bool {
        matches!(self.purpose, Purpose::Renew { may_ask: false, .. })
    }

    pub(super) const fn channel(&self) -> Ticket {
        self.channel
    }

    /// Whether the gate may have decided already: its decision may get lost.
    pub(super) const fn is_decided(&self) -> bool {
        matches!(self.step, Step::Answering(..) | Step::Confirming(_))
    }

    /// Whether a grant of this session answers what was sent last: an answer to a challenge wins
    /// whichever session the gate opens, a confirmation the one that it is about.
    pub(super) fn asks_for(&self, granted: SessionId) -> bool {
        match (&self.step, &self.purpose) {
            (Step::Answering(..), Purpose::Begin | Purpose::Renew { .. }) => true,
            (Step::Confirming(_), Purpose::Renew { session, .. }) => *session == granted,
            (_, Purpose::Enrol(_))
            | (Step::Confirming(_), Purpose::Begin)
            | (Step::Greeting(_) | Step::Asking(_), _) => false,
        }
    }

    pub(super) const fn exchange(&self) -> Option<&Exchange> {
        match &self.step {
            Step::Greeting(exchange)
            | Step::Answering(_, exchange)
            | Step::Confirming(exchange) => Some(exchange),
            Step::Asking(_) => None,
        }
    }
}

impl Machine {
    pub(super) fn start(&mut self, now: Now) {
        if let Some(ceremony) = &mut self.ceremony {
            if let Purpose::Renew { may_ask, .. } = &mut ceremony.purpose {
                *may_ask = true;
            }
            return;
        }
        let purpose = self
            .lease
            .as_ref()
            .map_or(Purpose::Begin, |lease| Purpose::Renew {
                session: lease.session,
                may_ask: true,
            });
        self.begin(now, purpose, false);
    }

    pub(super) fn begin(&mut self, now: Now, purpose: Purpose, corrected: bool) {
        let opening = match &purpose {
            Purpose::Begin => Opening::Begin,
            Purpose::Renew { session, .. } => Opening::Renew(*session),
            Purpose::Enrol(factor) => Opening::Enrol(factor.clone()),
        };
        let exchange = self.send_hello(now, opening);
        self.ceremony = Some(Ceremony {
            purpose,
            channel: exchange.ticket,
            step: Step::Greeting(exchange),
            corrected,
        });
    }

    /// Begins to enrol a factor, in place of a renewal that asks nobody.
    pub(super) fn enrol(&mut self, now: Now, factor: NewFactor) {
        let is_silent = |ceremony: &Ceremony| ceremony.is_silent();
        if self.ceremony.as_ref().is_some_and(is_silent) {
            self.abandon();
        }
        if self.ceremony.is_some() {
            return self.tell(Event::Failed {
                failure: Failure::Busy {
                    wait: self.config.wait(1),
                },
            });
        }
        self.begin(now, Purpose::Enrol(factor), false);
    }

    pub(super) fn user_responded(&mut self, now: Now, challenge: Ticket, response: Response) {
        let Some(mut ceremony) = self.ceremony.take() else {
            return;
        };
        ceremony.step = match ceremony.step {
            Step::Asking(asked) if asked.ticket == challenge && now.instant < asked.expires => {
                let request = match response {
                    Response::Answer(answer) => Request::Answer { answer },
                    Response::Choose(factor) => Request::Choose { factor },
                };
                Step::Answering(asked, self.send_request(now, ceremony.channel, request))
            }
            other @ (Step::Greeting(_)
            | Step::Asking(_)
            | Step::Answering(..)
            | Step::Confirming(_)) => other,
        };
        self.ceremony = Some(ceremony);
    }

    pub(super) fn user_cancelled(&mut self) {
        if self
            .ceremony
            .as_ref()
            .is_some_and(|ceremony| !ceremony.is_silent())
        {
            self.abandon();
            self.tell(Event::Failed {
                failure: Failure::Cancelled,
            });
        }
    }

    /// Gives the attempt up. One request at a time goes through a channel, so that while one is
    /// under way its reply decides what is left to do.
    pub(super) fn abandon(&mut self) {
        let Some(ceremony) = self.ceremony.take() else {
            return;
        };
        if ceremony.is_asking() {
            self.cancel(ceremony.channel);
        } else {
            self.abandoned.push(ceremony);
        }
    }

    /// Frees the gate of an attempt. Nobody waits for the reply.
    pub(super) fn cancel(&mut self, channel: Ticket) {
        let ticket = self.ticket();
        self.actions.push_back(Action::SendRequest {
            ticket,
            channel,
            request: Request::Cancel {},
        });
    }

    pub(super) fn take_ceremony(&mut self, ticket: Ticket) -> Option<(Ceremony, Now)> {
        let sent = self
            .ceremony
            .as_ref()?
            .exchange()
            .filter(|it| it.ticket == ticket)?
            .sent;
        Some((self.ceremony.take()?, sent))
    }

    pub(super) fn take_abandoned(&mut self, ticket: Ticket) -> Option<(Ceremony, Now)> {
        let is_it = |exchange: &Exchange| exchange.ticket == ticket;
        let mut exchanges = self.abandoned.iter().map(Ceremony::exchange);
        let at = exchanges.position(|exchange| exchange.is_some_and(is_it))?;
        let sent = self.abandoned.get(at)?.exchange()?.sent;
        Some((self.abandoned.swap_remove(at), sent))
    }

    /// The attempt, taken out by the caller, is over without a new lease.
    pub(super) fn fail(&mut self, now: Now, ceremony: &Ceremony, failure: Failure) {
        match ceremony.purpose {
            Purpose::Begin | Purpose::Enrol(_) => self.tell(Event::Failed { failure }),
            Purpose::Renew { may_ask, .. } => {
                self.renewal_failed(now, may_ask, ceremony.is_decided(), failure);
            }
        }
    }

    pub(super) fn attempt_deadline(&self) -> Option<(Instant, &'static str)> {
        match &self.ceremony.as_ref()?.step {
            Step::Asking(asked) => Some((asked.expires, "the attempt expires")),
            Step::Greeting(_) | Step::Answering(..) | Step::Confirming(_) => None,
        }
    }

    pub(super) fn attempt_due(&mut self, now: Now) {
        let due = self
            .attempt_deadline()
            .is_some_and(|(at, _)| at <= now.instant);
        if let Some(ceremony) = self.ceremony.take_if(|_| due) {
            self.fail(now, &ceremony, Failure::AttemptExpired);
        }
    }
}
