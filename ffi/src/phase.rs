//! Where a client stands, at a glance.

use crate::challenge::millis;

/// Where a client stands.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum Phase {
    /// No tunnel, nothing under way.
    Idle,
    /// An attempt at a session is under way.
    SigningIn {
        /// Whether it waits for the user.
        waits_for_user: bool,
    },
    /// The session is granted and the tunnel is being brought up, or the gate is being asked about
    /// a session that was saved.
    Connecting,
    /// The tunnel is up.
    Connected {
        /// The session.
        session: String,
        /// How long the lease lasts, in milliseconds.
        ends_in_ms: u64,
        /// What is known of the tunnel.
        health: Health,
        /// Whether the lease is being renewed.
        renewing: bool,
    },
    /// The session is over; the tunnel is being taken down.
    Closing,
    /// The client was closed, or stands where this version does not know.
    Closed,
}

/// What is known of a tunnel that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Health {
    /// Nothing has come through it yet.
    Untried,
    /// Packets come through it.
    Live,
    /// The session is live at the gate, but nothing comes through.
    Silent,
    /// Nothing comes through, or a moment to look again came, and the gate can't be asked.
    Unreachable,
}

impl From<mfagate::client::Phase> for Phase {
    fn from(phase: mfagate::client::Phase) -> Self {
        use mfagate::client::Phase as Core;
        match phase {
            Core::Idle => Self::Idle,
            Core::SigningIn { waits_for_user } => Self::SigningIn { waits_for_user },
            Core::Connecting => Self::Connecting,
            Core::Connected {
                session,
                ends_in,
                health,
                renewing,
            } => Self::Connected {
                session: session.to_string(),
                ends_in_ms: millis(ends_in),
                health: health.into(),
                renewing,
            },
            Core::Closing => Self::Closing,
            _ => Self::Closed,
        }
    }
}

impl From<mfagate::client::Health> for Health {
    fn from(health: mfagate::client::Health) -> Self {
        use mfagate::client::Health as Core;
        match health {
            Core::Untried => Self::Untried,
            Core::Live => Self::Live,
            Core::Silent => Self::Silent,
            // Of a health that this crate does not know, the worse is assumed.
            Core::Unreachable | _ => Self::Unreachable,
        }
    }
}
