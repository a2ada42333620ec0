//! Is the tunnel alive? Where nothing comes back through it, only the gate's own word tells a
//! session that is over from a network that is down.

use std::time::Duration;

use super::action::{Action, Opening, Ticket};
use super::event::{Event, Needs, SessionEnd};
use super::input::Traffic;
use super::machine::{Exchange, Machine};
use super::offset::Offset;
use crate::channel::message::{Refusal, Reply, Status};
use crate::channel::transport::TransportError;
use crate::time::{Instant, Now};

/// A keypair is not used for longer (WireGuard, section 6.1): with packets to send and an older
/// handshake than this, no handshake succeeds.
const REJECT_AFTER: Duration = Duration::from_secs(180);

/// How often a new tunnel is looked at while nothing has come through it, so that an address that
/// does not answer is left soon.
const FIRST_LOOKS: Duration = Duration::from_secs(1);
/// How many looks those are: an app that has nothing to send must not keep the device awake.
const FEW: u32 = 15;

/// What is known of a tunnel that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Health {
    /// Nothing has come through it yet.
    #[default]
    Untried,
    /// Packets come through it.
    Live,
    /// The session is live at the gate, but nothing comes through.
    Silent,
    /// Nothing comes through, or a moment to look again came, and the gate can't be asked.
    Unreachable,
}

/// What has been seen of the tunnel's traffic, and the question that is open with the gate.
#[derive(Debug, Default)]
pub(super) struct Watch {
    traffic: Traffic,
    health: Health,
    sample: Option<Ticket>,
    sample_at: Option<Instant>,
    /// Since when something is sent and nothing comes back.
    unheard_since: Option<Instant>,
    /// Whether anything ever came back.
    was_live: bool,
    looks: u32,
    /// How often another address was tried since something came back, and when that is due again.
    moves: u32,
    move_at: Option<Instant>,
    moving: Option<Ticket>,
    asking: Option<Exchange>,
    ask_at: Option<Instant>,
    asked: u32,
    corrected: bool,
}

impl Watch {
    pub(super) const fn health(&self) -> Health {
        self.health
    }

    pub(super) fn asking(&self) -> Option<&Exchange> {
        self.asking.as_ref()
    }

    /// Forgets all: another tunnel, or none.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    pub(super) fn take_asking(&mut self, ticket: Ticket) -> Option<Exchange> {
        self.asking.take_if(|exchange| exchange.ticket == ticket)
    }

    /// When the silence is long enough to ask, where nothing is asked or planned.
    fn silent_at(&self, silence: Duration) -> Option<Instant> {
        let is_quiet = self.asking.is_none() && self.ask_at.is_none();
        self.unheard_since
            .filter(|_| is_quiet)
            .map(|since| since + silence)
    }

    /// Takes a sample in. `true` when something came back.
    fn take_in(&mut self, now: Instant, traffic: Traffic) -> bool {
        let before = std::mem::replace(&mut self.traffic, traffic);
        let heard = (traffic.received != before.received && traffic.received > 0)
            || (traffic.last_handshake.is_some()
                && traffic.last_handshake != before.last_handshake);
        if heard {
            self.unheard_since = None;
            self.was_live = true;
            self.move_at = None;
            self.moves = 0;
            self.ask_at = None;
            self.asked = 0;
        } else if traffic.sent != before.sent {
            self.unheard_since.get_or_insert(now);
        }
        heard
    }

    /// How long until the traffic is looked at again.
    fn next_look(&mut self, every: Duration) -> Duration {
        let is_new = !self.was_live && self.looks < FEW;
        self.looks = self.looks.saturating_add(1);
        if is_new {
            every.min(FIRST_LOOKS)
        } else {
            every
        }
    }

    fn has_stale_handshake(&self, now: Now) -> bool {
        self.traffic
            .last_handshake
            .is_none_or(|at| now.timestamp.saturating_since(at) > REJECT_AFTER)
    }
}

impl Machine {
    pub(super) fn on_tunnel_activity(&mut self, now: Now, done: Ticket, traffic: Option<Traffic>) {
        let sample = &mut self.watch.sample;
        let is_expected = sample.take_if(|ticket| *ticket == done).is_some();
        if let Some(traffic) = traffic.filter(|_| is_expected) {
            self.take_traffic_in(now, traffic);
        }
    }

    /// The app says by itself what the tunnel's traffic is.
    pub(super) fn on_traffic_reported(&mut self, now: Now, traffic: Traffic) {
        if self.tunnel.is_up() {
            self.take_traffic_in(now, traffic);
        }
    }

    /// The app begins, or ceases, to report what the machine would else look at by itself.
    pub(super) fn on_quiet(&mut self, now: Now, is_quiet: bool) {
        self.is_quiet = is_quiet;
        self.watch.sample_at = None;
        if self.tunnel.is_up() {
            self.sample_later(now);
        }
    }

    /// Plans the next look at the tunnel's traffic.
    pub(super) fn sample_later(&mut self, now: Now) {
        if !self.is_quiet {
            let next = self.watch.next_look(self.config.sample_every);
            self.watch.sample_at = Some(now.instant + next);
        }
    }

    fn take_traffic_in(&mut self, now: Now, traffic: Traffic) {
        if self.watch.take_in(now.instant, traffic) && self.watch.health != Health::Live {
            self.watch.health = Health::Live;
            self.tell(Event::Live);
        }
        let is_still = self.watch.move_at.is_none() && self.watch.moving.is_none();
        if let Some(since) = self.watch.unheard_since.filter(|_| is_still) {
            let patience = self.config.patience(self.watch.was_live, self.watch.moves);
            self.watch.move_at = Some(since + patience);
        }
    }

    /// Another address has its time from now on.
    pub(super) fn on_tunnel_moved(&mut self, now: Now, done: Ticket) {
        let moving = &mut self.watch.moving;
        if moving.take_if(|ticket| *ticket == done).is_some() && self.watch.unheard_since.is_some()
        {
            let patience = self.config.patience(self.watch.was_live, self.watch.moves);
            self.watch.move_at = Some(now.instant + patience);
        }
    }

    pub(super) fn on_tunnel_lost(&mut self, now: Now, done: Ticket) {
        if self.watch.sample == Some(done) && self.tunnel.is_up() {
            self.end_lease(now, SessionEnd::Interface, true);
        }
    }

    pub(super) fn watch_deadline(&self) -> Option<(Instant, &'static str)> {
        let silent = self.watch.silent_at(self.config.silence);
        [
            self.watch
                .sample_at
                .map(|at| (at, "the tunnel's traffic is looked at")),
            silent.map(|at| (at, "the tunnel has been silent")),
            self.watch.ask_at.map(|at| (at, "the gate is asked again")),
            self.watch
                .move_at
                .map(|at| (at, "the endpoint's address does not answer")),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn watch_due(&mut self, now: Now) {
        if self.watch.sample_at.is_some_and(|at| at <= now.instant) {
            self.sample_later(now);
            if self.tunnel.is_up() {
                let ticket = self.ticket();
                self.watch.sample = Some(ticket);
                self.actions.push_back(Action::SampleTunnel { ticket });
            }
        }
        if self.watch.move_at.is_some_and(|at| at <= now.instant) {
            self.watch.move_at = None;
            if self.tunnel.is_up() {
                let ticket = self.ticket();
                self.watch.moves = self.watch.moves.saturating_add(1);
                self.watch.moving = Some(ticket);
                self.actions.push_back(Action::MoveTunnel { ticket });
            }
        }
        let silent = self.watch.silent_at(self.config.silence);
        let again = self.watch.ask_at;
        if silent.into_iter().chain(again).any(|at| at <= now.instant) {
            self.probe(now);
        }
    }

    /// Asks the gate what became of the session, unless it is being asked.
    pub(super) fn probe(&mut self, now: Now) {
        let Some(lease) = self.lease.as_ref().filter(|_| self.watch.asking.is_none()) else {
            return;
        };
        let opening = Opening::Status(lease.session);
        self.watch.ask_at = None;
        self.watch.asked = self.watch.asked.saturating_add(1);
        self.watch.asking = Some(self.send_hello(now, opening, self.config.exchange));
    }

    fn probe_later(&mut self, now: Now) {
        self.watch.ask_at = Some(now.instant + self.config.wait(self.watch.asked));
    }

    pub(super) fn on_probe_reply(&mut self, now: Now, exchange: Exchange, reply: Reply) {
        let was_corrected = std::mem::take(&mut self.watch.corrected);
        match reply {
            Reply::Status {
                status: Status::Live { lease_ms },
            } => self.probe_found_live(now, exchange.sent, Duration::from_millis(lease_ms)),
            Reply::Status {
                status: Status::Ended { reason },
            } => self.end_lease(now, reason.into(), false),
            Reply::Refused {
                refusal: Refusal::NotEnrolled {},
            } => self.end_lease(now, SessionEnd::Revoked, false),
            Reply::Refused {
                refusal: Refusal::Clock { gate_time },
            } if !was_corrected => {
                self.offset = Offset::between(gate_time, now.timestamp);
                self.probe(now);
                self.watch.corrected = true;
            }
            Reply::Challenge { .. }
            | Reply::Confirm { .. }
            | Reply::Denied { .. }
            | Reply::Enrolled { .. }
            | Reply::Granted { .. }
            | Reply::Refused { .. }
            | Reply::Done {} => self.probe_undecided(now),
        }
    }

    /// The gate replied, and said nothing about the session.
    fn probe_undecided(&mut self, now: Now) {
        if !self.tunnel.is_resuming() {
            return self.probe_later(now);
        }
        // Someone waits to hear how resuming went.
        let gate = self.config.gate.clone();
        let what = "the gate can't say now whether the session is live".to_owned();
        self.on_probe_failed(now, TransportError::Other { gate, what });
    }

    fn probe_found_live(&mut self, now: Now, sent: Now, left: Duration) {
        let Some(lease) = self.lease.as_mut() else {
            return;
        };
        lease.shorten(sent, left);
        let (ends_in, owes_mfa_event, is_warned_of) = (
            lease.left(now),
            std::mem::take(&mut lease.owes_mfa_event),
            lease.is_warned_of(),
        );
        if ends_in.is_zero() {
            return self.end_lease(now, SessionEnd::Expired, false);
        }
        if owes_mfa_event {
            self.tell(Event::MfaRequired { ends_in });
            // The warning said that nothing was needed.
            if is_warned_of {
                let needs = Needs::Factor;
                self.tell(Event::Ending { ends_in, needs });
            }
        }
        if self.watch.health == Health::Unreachable {
            self.watch.health = Health::Untried;
            self.tell(Event::Reachable);
        }
        if self.go_on() {
            return;
        }
        let silence = self.config.silence;
        let is_unheard = self
            .watch
            .unheard_since
            .is_some_and(|since| now.instant >= since + silence);
        if !is_unheard {
            self.watch.asked = 0;
            return;
        }
        self.probe_later(now);
        // With a fresh handshake, the silence may be that of an app that only sends.
        if self.watch.has_stale_handshake(now) && self.watch.health != Health::Silent {
            self.watch.health = Health::Silent;
            self.tell(Event::TunnelSilent);
        }
    }

    pub(super) fn on_probe_failed(&mut self, now: Now, error: TransportError) {
        self.watch.corrected = false;
        self.probe_later(now);
        let Some(lease) = self.lease.as_ref() else {
            return;
        };
        let ends_in = lease.left(now);
        if self.watch.health != Health::Unreachable {
            self.watch.health = Health::Unreachable;
            self.tell(Event::Unreachable { error, ends_in });
        }
    }
}
