//! A lease as its client keeps it: its end by two clocks, its warning, and signing out.

use std::time::Duration;

use ipnet::IpNet;

use super::action::{Opening, Ticket};
use super::config::{Config, Renewal};
use super::event::{Event, Needs, SessionEnd};
use super::machine::{Exchange, Machine};
use super::offset::Offset;
use super::resume::SavedLease;
use crate::channel::message::{Granted, Refusal, Reply};
use crate::id::SessionId;
use crate::time::{Instant, Now, Timestamp};

/// No lease is taken for longer, whatever a gate says (NIST SP 800-63B-4, section 2.1.3).
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// A renewal that gains less than this is not worth one.
const WORTHWHILE: Duration = Duration::from_secs(1);

/// What the gate has granted.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) session: SessionId,
    pub(super) addresses: Vec<IpNet>,
    end: End,
    warn_at: Option<Instant>,
    /// Whether a renewal without a factor is worth asking for.
    pub(super) renewable: bool,
    /// When one is, by itself.
    pub(super) renew_at: Option<Instant>,
    /// Renewals that failed in a row.
    pub(super) failures: u32,
    /// Whether it ends when the device wakes.
    ends_on_wake: bool,
    /// The user is to be told, once the gate has said that the session is live.
    pub(super) owes_mfa_event: bool,
}

/// The end by both clocks; the earlier one counts.
#[derive(Debug, Clone, Copy)]
struct End {
    instant: Instant,
    timestamp: Timestamp,
}

/// The end of a session, on its way to the gate.
#[derive(Debug)]
pub(super) struct Farewell {
    pub(super) exchange: Exchange,
    session: SessionId,
    /// Whether the user asked for it.
    by_user: bool,
    corrected: bool,
}

impl Lease {
    pub(super) fn new(config: &Config, sent: Now, grant: &Granted) -> Self {
        let span = Duration::from_millis(grant.lease_ms).min(LONGEST);
        let renewable = Duration::from_millis(grant.renewable_ms) > span + WORTHWHILE;
        let renew_after = config.renew_after(span).filter(|_| renewable);
        let warn_after = span.saturating_sub(config.warn_before).max(span * 3 / 4);
        Self {
            session: grant.session,
            addresses: grant.addresses.clone(),
            end: End::after(sent, span),
            warn_at: Some(sent.instant + warn_after),
            renewable,
            renew_at: renew_after.map(|after| sent.instant + after),
            failures: 0,
            ends_on_wake: grant.end_on_wake,
            owes_mfa_event: false,
        }
    }

    /// A lease that another machine has saved, as far as it goes on.
    pub(super) fn restored(
        now: Now,
        left: Duration,
        warn_at: Option<Instant>,
        renew_at: Option<Instant>,
        saved: SavedLease,
    ) -> Self {
        Self {
            session: saved.session,
            addresses: saved.addresses,
            end: End::after(now, left.min(LONGEST)),
            warn_at,
            renewable: saved.renewable,
            renew_at,
            failures: 0,
            ends_on_wake: saved.ends_on_wake,
            owes_mfa_event: false,
        }
    }

    /// What another machine needs to go on with it.
    pub(super) fn saved(&self, now: Now) -> SavedLease {
        let from_now = |at: Instant| at.saturating_since(now.instant);
        SavedLease {
            session: self.session,
            addresses: self.addresses.clone(),
            taken: now,
            left: self.left(now),
            warn_in: self.warn_at.map(from_now),
            renew_in: self.renew_at.map(from_now),
            renewable: self.renewable,
            ends_on_wake: self.ends_on_wake,
        }
    }

    /// What it takes for the session to go on.
    pub(super) const fn needs(&self, config: &Config) -> Needs {
        match config.renewal {
            _ if !self.renewable => Needs::Factor,
            Renewal::Automatic { .. } => Needs::Nothing,
            Renewal::OnRequest => Needs::Request,
        }
    }

    /// Whether the user was told that it ends soon.
    pub(super) const fn is_warned_of(&self) -> bool {
        self.warn_at.is_none()
    }

    pub(super) fn is_over(&self, now: Now) -> bool {
        self.left(now).is_zero()
    }

    /// How long it lasts, by the clock that says less.
    pub(super) fn left(&self, now: Now) -> Duration {
        let by_instant = self.end.instant.saturating_since(now.instant);
        by_instant.min(self.end.timestamp.saturating_since(now.timestamp))
    }

    /// Takes a shorter word of the gate's; a longer one is a renewal's to bring.
    pub(super) fn shorten(&mut self, sent: Now, span: Duration) {
        let end = End::after(sent, span.min(LONGEST));
        self.end.instant = self.end.instant.min(end.instant);
        self.end.timestamp = self.end.timestamp.min(end.timestamp);
    }

    pub(super) fn ends(&self, seen: Now) -> (Instant, &'static str) {
        (seen.instant + self.left(seen), "the lease ends")
    }

    pub(super) fn warns(&self) -> Option<(Instant, &'static str)> {
        self.warn_at.map(|at| (at, "the lease ends soon"))
    }

    pub(super) fn renews(&self) -> Option<(Instant, &'static str)> {
        self.renew_at.map(|at| (at, "a renewal is due"))
    }
}

impl End {
    fn after(sent: Now, span: Duration) -> Self {
        Self {
            instant: sent.instant + span,
            timestamp: sent.timestamp + span,
        }
    }
}

impl Machine {
    pub(super) fn end_if_over(&mut self, now: Now) {
        if self.lease.as_ref().is_some_and(|lease| lease.is_over(now)) {
            self.end_lease(now, SessionEnd::Expired, false);
        }
    }

    /// The session is over: the tunnel goes first, then the gate is told where it does not know.
    pub(super) fn end_lease(&mut self, now: Now, reason: SessionEnd, tell_gate: bool) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        self.take_down(now, lease.session, reason);
        self.abandon_renewal(now);
        if tell_gate {
            self.say_goodbye(now, lease.session, reason == SessionEnd::SignedOut);
        }
    }

    /// The device was asleep, or locked.
    pub(super) fn on_woke(&mut self, now: Now) {
        if self.lease.as_ref().is_some_and(|lease| lease.ends_on_wake) {
            return self.end_lease(now, SessionEnd::Woke, true);
        }
        self.probe(now);
    }

    pub(super) fn warning_due(&mut self, now: Now) {
        let Some(lease) = self.lease.as_mut() else {
            return;
        };
        if lease.warn_at.take_if(|at| *at <= now.instant).is_some() {
            let (ends_in, needs) = (lease.left(now), lease.needs(&self.config));
            self.tell(Event::Ending { ends_in, needs });
        }
    }

    pub(super) fn on_sign_out(&mut self, now: Now) {
        self.on_user_cancelled(now);
        self.end_lease(now, SessionEnd::SignedOut, true);
    }

    pub(super) fn say_goodbye(&mut self, now: Now, session: SessionId, by_user: bool) {
        self.send_farewell(now, session, by_user, false);
    }

    fn send_farewell(&mut self, now: Now, session: SessionId, by_user: bool, corrected: bool) {
        let exchange = self.send_hello(now, Opening::End(session), self.config.exchange);
        self.farewells.push(Farewell {
            exchange,
            session,
            by_user,
            corrected,
        });
    }

    pub(super) fn take_farewell(&mut self, ticket: Ticket) -> Option<Farewell> {
        let is_asked = |farewell: &Farewell| farewell.exchange.ticket == ticket;
        let at = self.farewells.iter().position(is_asked)?;
        Some(self.farewells.swap_remove(at))
    }

    pub(super) fn on_farewell_reply(&mut self, now: Now, farewell: Farewell, reply: Reply) {
        match reply {
            Reply::Done {} => {}
            Reply::Refused {
                refusal: Refusal::Clock { gate_time },
            } if !farewell.corrected => {
                self.offset = Offset::between(gate_time, now.timestamp);
                self.send_farewell(now, farewell.session, farewell.by_user, true);
            }
            // A peer that may not come in has no session.
            Reply::Refused {
                refusal: Refusal::NotEnrolled {},
            } => {}
            Reply::Challenge { .. }
            | Reply::Confirm { .. }
            | Reply::Denied { .. }
            | Reply::Enrolled { .. }
            | Reply::Granted { .. }
            | Reply::Status { .. }
            | Reply::Refused { .. } => self.on_farewell_failed(&farewell),
        }
    }

    pub(super) fn on_farewell_failed(&mut self, farewell: &Farewell) {
        if farewell.by_user {
            self.tell(Event::SignOutUnconfirmed);
        }
    }
}
