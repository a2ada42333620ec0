//! Where a client stands, at a glance.

use std::time::Duration;

use super::ceremony::Ceremony;
use super::machine::Machine;
use super::tunnel::Tunnel;
use super::watch::Health;
use crate::id::SessionId;
use crate::time::Now;

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// No tunnel, nothing under way.
    Idle,
    /// An attempt at a session is under way.
    SigningIn {
        /// Whether it waits for the user.
        waits_for_user: bool,
    },
    /// The session is granted and the tunnel is being put up, or the gate is being asked about a
    /// session that was saved.
    Connecting,
    /// The tunnel is up.
    Connected {
        /// The session.
        session: SessionId,
        /// How long the lease lasts.
        ends_in: Duration,
        /// What is known of the tunnel.
        health: Health,
        /// Whether the lease is being renewed.
        renewing: bool,
    },
    /// The session is over; the tunnel is being taken down.
    Closing,
}

impl Machine {
    /// Where the client stands.
    pub fn phase(&self, now: Now) -> Phase {
        let Some(lease) = self.lease.as_ref() else {
            return match (&self.ceremony, &self.tunnel) {
                (Some(ceremony), _) => Phase::SigningIn {
                    waits_for_user: ceremony.is_asking(),
                },
                (None, Tunnel::Removing(_)) => Phase::Closing,
                (None, _) => Phase::Idle,
            };
        };
        if self.tunnel.is_first_install() || self.tunnel.is_resuming() {
            return Phase::Connecting;
        }
        Phase::Connected {
            session: lease.session,
            ends_in: lease.left(now),
            health: self.watch.health(),
            renewing: self.ceremony.as_ref().is_some_and(Ceremony::is_renewal),
        }
    }
}
