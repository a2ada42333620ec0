//! The tunnel: what was asked of the interface, and what came of it.

use super::action::{Action, Ticket};
use super::event::{Event, SessionEnd};
use super::machine::Machine;
use crate::id::SessionId;
use crate::key::PresharedKey;
use crate::time::{Instant, Now};

/// The gate's peer on this device's interface.
#[derive(Debug)]
pub(super) enum Tunnel {
    /// It is not there.
    Absent,
    /// It may be there, for a saved session that the gate is being asked about. The key is kept
    /// until the gate says that the session is live.
    Resuming(PresharedKey),
    /// It is being put there, or given a renewed key.
    Installing { ticket: Ticket, in_place: bool },
    /// It is there.
    Up,
    /// It is being taken down.
    Removing(Removal),
}

#[derive(Debug)]
pub(super) struct Removal {
    ticket: Ticket,
    session: SessionId,
    reason: SessionEnd,
    failures: u32,
    again_at: Instant,
}

impl Tunnel {
    pub(super) const fn is_up(&self) -> bool {
        matches!(self, Self::Up)
    }

    pub(super) const fn is_resuming(&self) -> bool {
        matches!(self, Self::Resuming(_))
    }

    pub(super) const fn is_first_install(&self) -> bool {
        matches!(
            self,
            Self::Installing {
                in_place: false,
                ..
            }
        )
    }
}

impl Machine {
    pub(super) fn put_up(&mut self, in_place: bool, action: impl FnOnce(Ticket) -> Action) {
        // What replaces a peer removes it: the removal that is under way is over with it.
        if let Tunnel::Removing(Removal {
            session, reason, ..
        }) = self.tunnel
        {
            self.tell(Event::Ended { session, reason });
        }
        let ticket = self.ticket();
        self.tunnel = Tunnel::Installing { ticket, in_place };
        self.actions.push_back(action(ticket));
        if !in_place {
            self.watch.restart();
        }
    }

    /// The gate says that the saved session is live. `false` where there is none to go on with.
    pub(super) fn go_on(&mut self) -> bool {
        if !self.tunnel.is_resuming() {
            return false;
        }
        let before = std::mem::replace(&mut self.tunnel, Tunnel::Absent);
        if let Tunnel::Resuming(psk) = before {
            self.put_up(false, |ticket| Action::ResumeTunnel { ticket, psk });
        }
        true
    }

    pub(super) fn take_down(&mut self, now: Now, session: SessionId, reason: SessionEnd) {
        self.watch.restart();
        self.remove(now, session, reason, 0);
    }

    fn remove(&mut self, now: Now, session: SessionId, reason: SessionEnd, failures: u32) {
        let ticket = self.ticket();
        self.tunnel = Tunnel::Removing(Removal {
            ticket,
            session,
            reason,
            failures,
            again_at: now.instant + self.config.exchange,
        });
        self.actions.push_back(Action::RemoveTunnel { ticket });
    }

    pub(super) fn on_tunnel_installed(&mut self, now: Now, done: Ticket) {
        let Tunnel::Installing { ticket, in_place } = self.tunnel else {
            return;
        };
        let Some(lease) = self.lease.as_ref().filter(|_| ticket == done) else {
            return;
        };
        let (session, addresses, ends_in) =
            (lease.session, lease.addresses.clone(), lease.left(now));
        self.tunnel = Tunnel::Up;
        self.sample_later(now);
        self.tell(if in_place {
            Event::Renewed {
                session,
                addresses,
                ends_in,
            }
        } else {
            Event::TunnelUp {
                session,
                addresses,
                ends_in,
            }
        });
    }

    pub(super) fn on_tunnel_failed(&mut self, now: Now, done: Ticket) {
        match &mut self.tunnel {
            // Any part of it may be in place, and with a key in doubt nothing may stay.
            Tunnel::Installing { ticket, .. } if *ticket == done => {
                self.end_lease(now, SessionEnd::Interface, true);
            }
            Tunnel::Removing(removal) if removal.ticket == done => {
                removal.failures = removal.failures.saturating_add(1);
                removal.again_at = now.instant + self.config.wait(removal.failures);
                if removal.failures == 1 {
                    self.tell(Event::RemovalFailed);
                }
            }
            Tunnel::Absent
            | Tunnel::Resuming(_)
            | Tunnel::Installing { .. }
            | Tunnel::Up
            | Tunnel::Removing(_) => {}
        }
    }

    pub(super) fn on_tunnel_removed(&mut self, done: Ticket) {
        if let Tunnel::Removing(Removal {
            ticket,
            session,
            reason,
            ..
        }) = self.tunnel
            && ticket == done
        {
            self.tunnel = Tunnel::Absent;
            self.tell(Event::Ended { session, reason });
        }
    }

    pub(super) const fn removal_deadline(&self) -> Option<(Instant, &'static str)> {
        match &self.tunnel {
            Tunnel::Removing(removal) => {
                Some((removal.again_at, "the tunnel is to be removed again"))
            }
            Tunnel::Absent | Tunnel::Resuming(_) | Tunnel::Installing { .. } | Tunnel::Up => None,
        }
    }

    pub(super) fn removal_due(&mut self, now: Now) {
        if let Tunnel::Removing(Removal {
            session,
            reason,
            failures,
            again_at,
            ..
        }) = self.tunnel
            && again_at <= now.instant
        {
            self.remove(now, session, reason, failures);
        }
    }
}
