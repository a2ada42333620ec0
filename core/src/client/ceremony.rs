//! An attempt: its steps, how it begins, and how it is given up.

use std::time::Duration;

use super::action::{Opening, Ticket};
use super::attempt_failure::AttemptFailure;
use super::challenge::{AuthChallenge, Response};
use super::config::Config;
use super::event::{Event, SessionEnd};
use super::machine::{Exchange, Machine};
use crate::channel::Unauthenticated;
use crate::channel::message::{EnrolRequest, Request};
use crate::channel::transport::TransportError;
use crate::id::SessionId;
use crate::time::{Instant, Now};

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Ceremony {
    pub(super) purpose: Purpose,
    pub(super) state: AttemptState,
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
    Enrol(EnrolRequest),
}

#[derive(Debug)]
pub(super) enum AttemptState {
    Greeting(Exchange),
    Asking(PendingChallenge),
    Answering(PendingChallenge, Exchange),
    Confirming(Exchange),
}

/// A challenge that the user has, or had.
#[derive(Debug)]
pub(super) struct PendingChallenge {
    pub(super) ticket: Ticket,
    pub(super) question: Box<AuthChallenge>,
    pub(super) expires: Instant,
}

impl Ceremony {
    pub(super) const fn is_asking(&self) -> bool {
        matches!(self.state, AttemptState::Asking(_))
    }

    pub(super) const fn is_renewal(&self) -> bool {
        matches!(self.purpose, Purpose::Renew { .. })
    }

    /// Whether it is a renewal that no one is to be asked about.
    pub(super) const fn is_silent(&self) -> bool {
        matches!(self.purpose, Purpose::Renew { may_ask: false, .. })
    }

    pub(super) const fn channel(&self) -> Ticket {
        self.channel
    }

    /// Whether the gate may have decided already: its decision may get lost.
    pub(super) const fn is_decided(&self) -> bool {
        matches!(
            self.state,
            AttemptState::Answering(..) | AttemptState::Confirming(_)
        )
    }

    /// Whether a grant of this session answers what was sent last: an answer to a challenge wins
    /// whichever session the gate opens, a confirmation the one that it is about.
    pub(super) fn asks_for(&self, granted: SessionId) -> bool {
        match (&self.state, &self.purpose) {
            (AttemptState::Answering(..), Purpose::Begin | Purpose::Renew { .. }) => true,
            (AttemptState::Confirming(_), Purpose::Renew { session, .. }) => *session == granted,
            (_, Purpose::Enrol(_))
            | (AttemptState::Confirming(_), Purpose::Begin)
            | (AttemptState::Greeting(_) | AttemptState::Asking(_), _) => false,
        }
    }

    /// How long someone waits for a reply.
    pub(super) const fn limit(&self, config: &Config) -> Duration {
        self.purpose.limit(config)
    }

    /// Has the exchange that is under way, if there is one, go on until then.
    pub(super) const fn goes_on_until(&mut self, until: Instant) {
        if let AttemptState::Greeting(exchange)
        | AttemptState::Answering(_, exchange)
        | AttemptState::Confirming(exchange) = &mut self.state
        {
            exchange.deadline = until;
        }
    }

    pub(super) const fn exchange(&self) -> Option<&Exchange> {
        match &self.state {
            AttemptState::Greeting(exchange)
            | AttemptState::Answering(_, exchange)
            | AttemptState::Confirming(exchange) => Some(exchange),
            AttemptState::Asking(_) => None,
        }
    }
}

impl Purpose {
    /// How long someone waits for a reply: what goes by itself may take its time.
    const fn limit(&self, config: &Config) -> Duration {
        match self {
            Self::Renew { may_ask: false, .. } => config.exchange,
            Self::Begin | Self::Renew { may_ask: true, .. } | Self::Enrol(_) => config.foreground,
        }
    }
}

impl Machine {
    pub(super) fn on_start(&mut self, now: Now) {
        if let Some(ceremony) = &mut self.ceremony {
            if ceremony.is_silent()
                && let Purpose::Renew { may_ask, .. } = &mut ceremony.purpose
            {
                *may_ask = true;
                // From now on someone waits for it.
                let deadline = ceremony.exchange().map(|exchange| exchange.deadline);
                let until = now.instant + self.config.foreground;
                ceremony.goes_on_until(deadline.map_or(until, |at| at.min(until)));
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
        let limit = purpose.limit(&self.config);
        let exchange = self.send_hello(now, opening, limit);
        self.ceremony = Some(Ceremony {
            purpose,
            channel: exchange.ticket,
            state: AttemptState::Greeting(exchange),
            corrected,
        });
    }

    /// Begins to enrol a factor, in place of a renewal that asks no one.
    pub(super) fn on_enrol(&mut self, now: Now, factor: EnrolRequest) {
        let is_silent = |ceremony: &Ceremony| ceremony.is_silent();
        if self.ceremony.as_ref().is_some_and(is_silent) {
            self.abandon(now);
        }
        if self.ceremony.is_some() {
            return self.tell(Event::Failed {
                failure: AttemptFailure::Busy {
                    wait: self.config.wait(1),
                },
            });
        }
        self.begin(now, Purpose::Enrol(factor), false);
    }

    pub(super) fn on_user_responded(&mut self, now: Now, challenge: Ticket, response: Response) {
        let Some(mut ceremony) = self.ceremony.take() else {
            return;
        };
        let limit = ceremony.limit(&self.config);
        ceremony.state = match ceremony.state {
            AttemptState::Asking(asked)
                if asked.ticket == challenge && now.instant < asked.expires =>
            {
                let request = match response {
                    Response::Answer(answer) => Request::Answer { answer },
                    Response::Choose(factor) => Request::Choose { factor },
                };
                let exchange = self.send_request(now, ceremony.channel, request, limit);
                AttemptState::Answering(asked, exchange)
            }
            other @ (AttemptState::Greeting(_)
            | AttemptState::Asking(_)
            | AttemptState::Answering(..)
            | AttemptState::Confirming(_)) => other,
        };
        self.ceremony = Some(ceremony);
    }

    pub(super) fn on_user_cancelled(&mut self, now: Now) {
        if self
            .ceremony
            .as_ref()
            .is_some_and(|ceremony| !ceremony.is_silent())
        {
            self.abandon(now);
            self.tell(Event::Failed {
                failure: AttemptFailure::Cancelled,
            });
        } else if self.tunnel.is_first_install() {
            // What was granted and is not up yet is given back: no one waits for it any more.
            self.end_lease(now, SessionEnd::SignedOut, true);
        }
    }

    /// Gives the attempt up. One request at a time goes through a channel, so that while one is
    /// under way its reply decides what is left to do.
    pub(super) fn abandon(&mut self, now: Now) {
        let Some(mut ceremony) = self.ceremony.take() else {
            return;
        };
        if ceremony.is_asking() {
            return self.cancel(now, ceremony.channel);
        }
        let sent = ceremony.exchange().map_or(now, |exchange| exchange.sent);
        ceremony.goes_on_until(sent.instant + self.config.exchange);
        self.abandoned.push(ceremony);
    }

    /// Frees the gate of an attempt. No one waits for the reply but a client that leaves.
    pub(super) fn cancel(&mut self, now: Now, channel: Ticket) {
        let limit = self.config.exchange;
        let cancel = self.send_request(now, channel, Request::Cancel {}, limit);
        self.cancels.push(cancel);
    }

    /// `false` where it was no cancellation.
    pub(super) fn take_cancel(&mut self, ticket: Ticket) -> bool {
        let mut cancels = self.cancels.iter();
        let Some(at) = cancels.position(|exchange| exchange.ticket == ticket) else {
            return false;
        };
        self.cancels.swap_remove(at);
        true
    }

    /// The gate could not be told that an attempt was given up.
    pub(super) fn on_cancel_failed(&mut self, error: &TransportError) {
        // That there is no such attempt is what a cancellation is for.
        let is_gone = matches!(
            error,
            TransportError::Refused {
                hint: Unauthenticated::NoAttempt,
                ..
            }
        );
        if !is_gone {
            self.tell(Event::CancelUnconfirmed);
        }
    }

    /// What was under way when the attempt was given up did not reach the gate, or its reply got
    /// lost: the attempt may be open there.
    pub(super) fn on_abandoned_failed(&mut self, abandoned: &Ceremony, error: &TransportError) {
        if !abandoned.is_silent() {
            self.on_cancel_failed(error);
        }
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
    pub(super) fn fail(&mut self, now: Now, ceremony: &Ceremony, failure: AttemptFailure) {
        match ceremony.purpose {
            Purpose::Begin | Purpose::Enrol(_) => self.tell(Event::Failed { failure }),
            Purpose::Renew { may_ask, .. } => {
                self.on_renewal_failed(now, may_ask, ceremony.is_decided(), failure);
            }
        }
    }

    pub(super) fn attempt_deadline(&self) -> Option<(Instant, &'static str)> {
        match &self.ceremony.as_ref()?.state {
            AttemptState::Asking(asked) => Some((asked.expires, "the attempt expires")),
            AttemptState::Greeting(_)
            | AttemptState::Answering(..)
            | AttemptState::Confirming(_) => None,
        }
    }

    pub(super) fn attempt_due(&mut self, now: Now) {
        let due = self
            .attempt_deadline()
            .is_some_and(|(at, _)| at <= now.instant);
        if let Some(ceremony) = self.ceremony.take_if(|_| due) {
            self.fail(now, &ceremony, AttemptFailure::AttemptExpired);
        }
    }
}
