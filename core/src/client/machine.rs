//! The machine's state, what it is told, and when it wants to be woken.

use std::collections::VecDeque;
use std::time::Duration;

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
    /// Cancellations on their way to the gate.
    pub(super) cancels: Vec<Exchange>,
    pub(super) lease: Option<Lease>,
    pub(super) tunnel: Tunnel,
    pub(super) watch: Watch,
    /// Whether the app reports the tunnel's traffic.
    pub(super) is_quiet: bool,
    pub(super) farewells: Vec<Farewell>,
    pub(super) actions: VecDeque<Action>,
    pub(super) events: VecDeque<Event>,
    /// Leases that were put in force.
    pub(super) grants: u64,
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

impl Exchange {
    fn new(now: Now, ticket: Ticket, limit: Duration) -> Self {
        Self {
            ticket,
            sent: now,
            deadline: now.instant + limit,
        }
    }
}

impl Machine {
    /// A client with nothing under way.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            offset: Offset::default(),
            ceremony: None,
            abandoned: Vec::new(),
            cancels: Vec::new(),
            lease: None,
            tunnel: Tunnel::Absent,
            watch: Watch::default(),
            is_quiet: false,
            farewells: Vec::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            grants: 0,
            tickets: 0,
            seen: None,
        }
    }

    /// Takes in what happened. A lease that is over by then ends before anything else is looked at.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        self.seen = Some(now);
        self.end_if_over(now);
        match input {
            Input::Start => self.on_start(now),
            Input::Enrol { factor } => self.on_enrol(now, factor),
            Input::UserResponded {
                challenge,
                response,
            } => self.on_user_responded(now, challenge, response),
            Input::UserCancelled => self.on_user_cancelled(now),
            Input::Renew => self.on_renew(now),
            Input::SignOut => self.on_sign_out(now),
            Input::Woke => self.on_woke(now),
            Input::Quiet { is_quiet } => self.on_quiet(now, is_quiet),
            Input::TrafficReported { traffic } => self.on_traffic_reported(now, traffic),
            Input::NetworkChanged => self.probe(now),
            Input::ReplyReceived { ticket, reply, psk } => self.on_reply(now, ticket, reply, psk),
            Input::TransportFailed { ticket, error } => {
                self.on_transport_failed(now, ticket, error)
            }
            Input::TunnelInstalled { ticket } => self.on_tunnel_installed(now, ticket),
            Input::TunnelFailed { ticket } => self.on_tunnel_failed(now, ticket),
            Input::TunnelRemoved { ticket } => self.on_tunnel_removed(ticket),
            Input::TunnelActivity { ticket, traffic } => {
                self.on_tunnel_activity(now, ticket, traffic);
            }
            Input::TunnelMoved { ticket } => self.on_tunnel_moved(now, ticket),
            Input::TunnelLost { ticket } => self.on_tunnel_lost(now, ticket),
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
            && self.farewells.is_empty()
            && !self.is_cancelling()
            && self.is_down()
    }

    /// Whether the tunnel is down, whatever is still under way with the gate.
    pub const fn is_down(&self) -> bool {
        self.lease.is_none() && matches!(self.tunnel, Tunnel::Absent)
    }

    /// Whether the app reports what the machine would else have looked at.
    pub const fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// Whether the gate does not know yet that a session is over.
    pub const fn is_ending(&self) -> bool {
        !self.farewells.is_empty()
    }

    /// Whether the gate does not know yet that an attempt was given up.
    pub const fn is_cancelling(&self) -> bool {
        !self.cancels.is_empty() || !self.abandoned.is_empty()
    }

    /// Whether the channel that this hello opened may still be used.
    pub fn holds_channel(&self, hello: Ticket) -> bool {
        let attempt = self.ceremony.as_ref().map(Ceremony::channel);
        let abandoned = self.abandoned.iter().map(Ceremony::channel);
        abandoned.chain(attempt).any(|channel| channel == hello)
    }

    /// How many leases were put in force so far: each has brought another preshared key.
    pub const fn grants(&self) -> u64 {
        self.grants
    }

    /// Takes a moment in at which nothing happened.
    pub(super) const fn see(&mut self, now: Now) {
        self.seen = Some(now);
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Sends a hello whose failure is to be told after `limit`.
    pub(super) fn send_hello(&mut self, now: Now, opening: Opening, limit: Duration) -> Exchange {
        let ticket = self.ticket();
        let sent_at = self.offset.apply(now.timestamp);
        self.actions.push_back(Action::SendHello {
            ticket,
            opening,
            sent_at,
        });
        Exchange::new(now, ticket, limit)
    }

    /// Sends a request whose failure is to be told after `limit`.
    pub(super) fn send_request(
        &mut self,
        now: Now,
        channel: Ticket,
        request: Request,
        limit: Duration,
    ) -> Exchange {
        let ticket = self.ticket();
        self.actions.push_back(Action::SendRequest {
            ticket,
            channel,
            request,
        });
        Exchange::new(now, ticket, limit)
    }

    fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        let attempt = self.ceremony.as_ref().and_then(Ceremony::exchange);
        let abandoned = self.abandoned.iter().filter_map(Ceremony::exchange);
        let farewells = self.farewells.iter().map(|farewell| &farewell.exchange);
        abandoned
            .chain(attempt)
            .chain(farewells)
            .chain(&self.cancels)
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
            self.overdue(now, ticket);
        }
    }

    /// No one waits longer for a reply. Where the exchange itself goes on, an attempt is kept in
    /// the background: the gate may have opened it, or granted, and has to be told that no one
    /// wants it any more.
    fn overdue(&mut self, now: Now, ticket: Ticket) {
        let gate = self.config.gate.clone();
        let error = TransportError::TimedOut { gate };
        let Some((mut ceremony, sent)) = self.take_ceremony(ticket) else {
            return self.on_transport_failed(now, ticket, error);
        };
        self.fail(now, &ceremony, error.into());
        let until = sent.instant + self.config.exchange;
        if until > now.instant {
            ceremony.goes_on_until(until);
            self.abandoned.push(ceremony);
        }
    }

    fn on_reply(&mut self, now: Now, ticket: Ticket, reply: Reply, psk: Option<PresharedKey>) {
        if let Some((ceremony, exchange)) = self.take_ceremony(ticket) {
            return self.on_attempt_reply(now, ceremony, exchange, reply, psk);
        }
        if let Some(exchange) = self.watch.take_asking(ticket) {
            return self.on_probe_reply(now, exchange, reply);
        }
        if let Some((abandoned, sent)) = self.take_abandoned(ticket) {
            return self.on_abandoned_reply(now, &abandoned, sent, reply, psk);
        }
        if let Some(farewell) = self.take_farewell(ticket) {
            return self.on_farewell_reply(now, farewell, reply);
        }
        // Whatever the reply to a cancellation is, the gate has heard it.
        self.take_cancel(ticket);
    }

    fn on_transport_failed(&mut self, now: Now, ticket: Ticket, error: TransportError) {
        if let Some((ceremony, _)) = self.take_ceremony(ticket) {
            return self.fail(now, &ceremony, error.into());
        }
        if self.watch.take_asking(ticket).is_some() {
            return self.on_probe_failed(now, error);
        }
        if let Some((abandoned, _)) = self.take_abandoned(ticket) {
            return self.on_abandoned_failed(&abandoned, &error);
        }
        if let Some(farewell) = self.take_farewell(ticket) {
            return self.on_farewell_failed(&farewell);
        }
        if self.take_cancel(ticket) {
            self.on_cancel_failed(&error);
        }
    }
}
