//! The machine's state, what it is told, and when it wants to be woken.

use std::collections::VecDeque;

use super::action::{Action, Opening, Ticket};
use super::ceremony::Ceremony;
use super::config::Config;
use super::event::Event;
use super::input::Input;
use super::lease::{Farewell, Lease};
use super::offset::Offset;
use super::tunnel::Tunnel;
use super::watch::Watch;
use crate::channel::message::{Reply, Request};
use crate::channel::transport::TransportError;
use crate::key::PresharedKey;
use crate::time::{Instant, Now};

/// A client of one location. See the [module](super) for its contract.
#[derive(Debug)]
pub struct Machine {
    pub(super) config: Config,
    pub(super) offset: Offset,
    pub(super) ceremony: Option<Ceremony>,
    /// Attempts that were given up while a message was under way.
    pub(super) abandoned: Vec<Ceremony>,
    pub(super) lease: Option<Lease>,
    pub(super) tunnel: Tunnel,
    pub(super) watch: Watch,
    pub(super) farewells: Vec<Farewell>,
    pub(super) actions: VecDeque<Action>,
    pub(super) events: VecDeque<Event>,
    tickets: u64,
    seen: Option<Now>,
}

/// A message on its way to the gate.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) ticket: Ticket,
    pub(super) sent: Now,
    pub(super) deadline: Instant,
}

impl Machine {
    /// A client with nothing under way.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            offset: Offset::default(),
            ceremony: None,
            abandoned: Vec::new(),
            lease: None,
            tunnel: Tunnel::Absent,
            watch: Watch::default(),
            farewells: Vec::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            tickets: 0,
            seen: None,
        }
    }

    /// Takes in what happened. A lease that is over by then ends before anything else is looked at.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        self.seen = Some(now);
        self.end_if_over(now);
        match input {
            Input::Start => self.start(now),
            Input::Enrol { factor } => self.enrol(now, factor),
            Input::UserResponded {
                challenge,
                response,
            } => self.user_responded(now, challenge, response),
            Input::UserCancelled => self.user_cancelled(),
            Input::Renew => self.renew(now),
            Input::SignOut => self.sign_out(now),
            Input::Woke => self.woke(now),
            Input::NetworkChanged => self.probe(now),
            Input::ReplyReceived { ticket, reply, psk } => self.replied(now, ticket, reply, psk),
            Input::TransportFailed { ticket, error } => self.transport_failed(now, ticket, error),
            Input::TunnelInstalled { ticket } => self.tunnel_installed(now, ticket),
            Input::TunnelFailed { ticket } => self.tunnel_failed(now, ticket),
            Input::TunnelRemoved { ticket } => self.tunnel_removed(ticket),
            Input::TunnelActivity { ticket, traffic } => {
                self.tunnel_activity(now, ticket, traffic);
            }
            Input::TunnelLost { ticket } => self.tunnel_lost(now, ticket),
        }
    }

    /// Does what is due. Calling it early changes nothing.
    pub fn handle_timeout(&mut self, now: Now) {
        self.seen = Some(now);
        self.end_if_over(now);
        self.overdue_exchanges(now);
        self.attempt_due(now);
        self.warning_due(now);
        self.renewal_due(now);
        self.watch_due(now);
        self.removal_due(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, and why; `None` while nothing
    /// is due.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let seen = self.seen?;
        let exchanges = self
            .exchanges()
            .map(|exchange| (exchange.deadline, "a reply is overdue"));
        let others = [
            self.attempt_deadline(),
            self.removal_deadline(),
            self.lease.as_ref().map(|lease| lease.ends(seen)),
            self.lease.as_ref().and_then(Lease::warns),
            self.lease.as_ref().and_then(Lease::renews),
            self.watch_deadline(),
        ];
        exchanges.chain(others.into_iter().flatten()).min()
    }

    /// Whether the tunnel is down and nothing is under way, with the gate or the interface.
    pub const fn is_idle(&self) -> bool {
        self.ceremony.is_none()
            && self.abandoned.is_empty()
            && self.lease.is_none()
            && self.farewells.is_empty()
            && matches!(self.tunnel, Tunnel::Absent)
    }

    /// Whether the channel that this hello opened may still be used.
    pub fn holds_channel(&self, hello: Ticket) -> bool {
        let attempt = self.ceremony.as_ref().map(Ceremony::channel);
        let abandoned = self.abandoned.iter().map(Ceremony::channel);
        abandoned.chain(attempt).any(|channel| channel == hello)
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(super) fn send_hello(&mut self, now: Now, opening: Opening) -> Exchange {
        let ticket = self.ticket();
        let sent_at = self.offset.apply(now.timestamp);
        self.actions.push_back(Action::SendHello {
            ticket,
            opening,
            sent_at,
        });
        self.exchange(now, ticket)
    }

    pub(super) fn send_request(&mut self, now: Now, channel: Ticket, request: Request) -> Exchange {
        let ticket = self.ticket();
        self.actions.push_back(Action::SendRequest {
            ticket,
            channel,
            request,
        });
        self.exchange(now, ticket)
    }

    fn exchange(&self, now: Now, ticket: Ticket) -> Exchange {
        Exchange {
            ticket,
            sent: now,
            deadline: now.instant + self.config.exchange,
        }
    }

    fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        let attempt = self.ceremony.as_ref().and_then(Ceremony::exchange);
        let abandoned = self.abandoned.iter().filter_map(Ceremony::exchange);
        let farewells = self.farewells.iter().map(|farewell| &farewell.exchange);
        abandoned
            .chain(attempt)
            .chain(farewells)
            .chain(self.watch.asking())
    }

    /// A shell that never answers is a transport that failed.
    fn overdue_exchanges(&mut self, now: Now) {
        let is_overdue = |exchange: &&Exchange| exchange.deadline <= now.instant;
        let overdue: Vec<Ticket> = self
            .exchanges()
            .filter(is_overdue)
            .map(|exchange| exchange.ticket)
            .collect();
        for ticket in overdue {
            let gate = self.config.gate.clone();
            self.transport_failed(now, ticket, TransportError::TimedOut { gate });
        }
    }

    fn replied(&mut self, now: Now, ticket: Ticket, reply: Reply, psk: Option<PresharedKey>) {
        if let Some((ceremony, exchange)) = self.take_ceremony(ticket) {
            return self.attempt_replied(now, ceremony, exchange, reply, psk);
        }
        if let Some(exchange) = self.watch.take_asking(ticket) {
            return self.probe_replied(now, exchange, reply);
        }
        if let Some((abandoned, sent)) = self.take_abandoned(ticket) {
            return self.abandoned_replied(now, &abandoned, sent, reply, psk);
        }
        if let Some(farewell) = self.take_farewell(ticket) {
            self.farewell_replied(now, farewell, reply);
        }
    }

    fn transport_failed(&mut self, now: Now, ticket: Ticket, error: TransportError) {
        if let Some((ceremony, _)) = self.take_ceremony(ticket) {
            return self.fail(now, &ceremony, error.into());
        }
        if self.watch.take_asking(ticket).is_some() {
            return self.probe_failed(now, error);
        }
        if self.take_abandoned(ticket).is_some() {
            return;
        }
        if let Some(farewell) = self.take_farewell(ticket) {
            self.farewell_failed(&farewell);
        }
    }
}
