//! Is the tunnel alive? Where nothing comes back through it, only the gate's own word tells a
//! session that is over from a network that is down.

use std::time::Duration;

use super::action::{Action, Opening, Ticket};
use super::event::{EndReason, Event};
use super::input::Traffic;
use super::machine::{Exchange, Machine};
use super::offset::Offset;
use crate::channel::message::{Refusal, Reply, Status};
use crate::channel::transport::TransportError;
use crate::time::{Instant, Now};

/// A keypair is not used for longer (WireGuard, section 6.1): with packets to send and an older
/// handshake than this, no handshake succeeds.
const REJECT_AFTER: Duration = Duration::from_secs(180);

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

    pub(super) const fn sample_after(&mut self, at: Instant) {
        self.sample_at = Some(at);
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
            self.ask_at = None;
            self.asked = 0;
        } else if traffic.sent != before.sent {
            self.unheard_since.get_or_insert(now);
        }
        heard
    }

    fn has_stale_handshake(&self, now: Now) -> bool {
        self.traffic
            .last_handshake
            .is_none_or(|at| now.timestamp.saturating_since(at) > REJECT_AFTER)
    }
}

impl Machine {
    pub(super) fn tunnel_activity(&mut self, now: Now, done: Ticket, traffic: Option<Traffic>) {
        if self
            .watch
            .sample
            .take_if(|ticket| *ticket == done)
            .is_none()
        {
            return;
        }
        let Some(traffic) = traffic else { return };
        if self.watch.take_in(now.instant, traffic) && self.watch.health != Health::Live {
            self.watch.health = Health::Live;
            self.tell(Event::Live);
        }
    }

    pub(super) fn tunnel_lost(&mut self, now: Now, done: Ticket) {
        if self.watch.sample == Some(done) && self.tunnel.is_up() {
            self.end_lease(now, EndReason::Interface, true);
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
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn watch_due(&mut self, now: Now) {
        if self.watch.sample_at.is_some_and(|at| at <= now.instant) {
            self.watch.sample_at = Some(now.instant + self.config.sample_every);
            if self.tunnel.is_up() {
                let ticket = self.ticket();
                self.watch.sample = Some(ticket);
                self.actions.push_back(Action::SampleTunnel { ticket });
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
        self.watch.asking = Some(self.send_hello(now, opening));
    }

    fn probe_later(&mut self, now: Now) {
        self.watch.ask_at = Some(now.instant + self.config.wait(self.watch.asked));
    }

    pub(super) fn probe_replied(&mut self, now: Now, exchange: Exchange, reply: Reply) {
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
            } => self.end_lease(now, EndReason::Revoked, false),
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
            | Reply::Done {} => self.probe_later(now),
        }
    }

    fn probe_found_live(&mut self, now: Now, sent: Now, left: Duration) {
        let Some(lease) = self.lease.as_mut() else {
            return;
        };
        lease.shorten(sent, left);
        let (ends_in, owes_mfa_event) =
            (lease.left(now), std::mem::take(&mut lease.owes_mfa_event));
        if ends_in.is_zero() {
            return self.end_lease(now, EndReason::Expired, false);
        }
        if owes_mfa_event {
            self.tell(Event::MfaRequired { ends_in });
        }
        if self.watch.health == Health::Unreachable {
            self.watch.health = Health::Untried;
            self.tell(Event::Reachable);
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

    pub(super) fn probe_failed(&mut self, now: Now, error: TransportError) {
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
