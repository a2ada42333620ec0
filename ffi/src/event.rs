//! What an app is told. No secret is in any of it.

use crate::challenge::millis;
use crate::error::Failure;

/// Something to know, and sometimes to do.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum Event {
    /// The factor is enrolled.
    Enrolled {
        /// The factor.
        factor: String,
    },
    /// The attempt is over without a new lease. A live session, where there is one, goes on.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// The gate granted a session, or more time for one. The tunnel follows.
    Granted {
        /// The session.
        session: String,
    },
    /// The tunnel is up.
    TunnelUp {
        /// The session.
        session: String,
        /// This device's own addresses inside the tunnel.
        addresses: Vec<String>,
        /// How long the lease lasts, in milliseconds.
        ends_in_ms: u64,
    },
    /// The lease lasts longer now. The tunnel stayed up.
    Renewed {
        /// The session; another than before where a factor was asked for.
        session: String,
        /// This device's own addresses inside the tunnel.
        addresses: Vec<String>,
        /// How long the lease lasts, in milliseconds.
        ends_in_ms: u64,
    },
    /// Packets come through the tunnel: for the first time, or again after trouble.
    Live,
    /// The lease ends soon.
    Ending {
        /// How soon, in milliseconds.
        ends_in_ms: u64,
        /// What it takes for the session to go on.
        needs: Needs,
    },
    /// The gate will not renew the lease without the user.
    MfaRequired {
        /// How soon it ends, in milliseconds.
        ends_in_ms: u64,
    },
    /// The gate can't be reached. The tunnel stays until the lease ends; the client keeps trying.
    Unreachable {
        /// Why.
        failure: Failure,
        /// How long the lease lasts, in milliseconds.
        ends_in_ms: u64,
    },
    /// The gate is reached again and says that the session is live.
    Reachable,
    /// The session is live at the gate, but no packets come through the tunnel.
    TunnelSilent,
    /// The tunnel's packets go to another address from now on.
    EndpointMoved {
        /// The address.
        endpoint: String,
    },
    /// The tunnel is down and the session over.
    Ended {
        /// The session.
        session: String,
        /// Why.
        reason: SessionEnd,
        /// The same as a failure, with words for people.
        failure: Failure,
    },
    /// The user signed out and the tunnel is down, but the gate could not be told.
    SignOutUnconfirmed,
    /// An attempt was given up, but the gate could not be told.
    CancelUnconfirmed,
    /// The tunnel could not be taken down. The client keeps trying.
    RemovalFailed,
    /// The reader was too slow and has missed events: ask for the status.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// Something that this version does not know: ask for the status.
    Other,
}

/// What it takes for a session to go on after the end of its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Needs {
    /// Nothing: the client renews the lease by itself.
    Nothing,
    /// The app's word, by a call to renew: no factor.
    Request,
    /// A factor of the user's, by a call to renew or to re-authenticate.
    Factor,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum SessionEnd {
    /// Its time was over.
    Expired,
    /// It carried no payload for as long as the policy allows.
    Inactive,
    /// The device went on from another network address.
    EndpointChanged,
    /// It was revoked.
    Revoked,
    /// The user signed out.
    SignedOut,
    /// The device slept or was locked, and the policy lets no session outlive that.
    Woke,
    /// A newer session of this same peer took its place.
    Superseded,
    /// The gate's interface could not take the peer, or lost it.
    GateInterface,
    /// This device's interface could not take the gate's peer, or lost it.
    Interface,
    /// The gate does not know why.
    Unknown,
}

impl From<mfagate::client::Event> for Event {
    fn from(event: mfagate::client::Event) -> Self {
        use mfagate::client::Event as Core;
        match event {
            Core::Enrolled { factor } => Self::Enrolled {
                factor: factor.to_string(),
            },
            Core::Failed { failure } => Self::Failed {
                failure: (&failure).into(),
            },
            Core::Granted { session } => Self::Granted {
                session: session.to_string(),
            },
            Core::TunnelUp {
                session,
                addresses,
                ends_in,
            } => Self::TunnelUp {
                session: session.to_string(),
                addresses: texts(&addresses),
                ends_in_ms: millis(ends_in),
            },
            Core::Renewed {
                session,
                addresses,
                ends_in,
            } => Self::Renewed {
                session: session.to_string(),
                addresses: texts(&addresses),
                ends_in_ms: millis(ends_in),
            },
            Core::Live => Self::Live,
            Core::Ending { ends_in, needs } => Self::Ending {
                ends_in_ms: millis(ends_in),
                needs: needs.into(),
            },
            Core::MfaRequired { ends_in } => Self::MfaRequired {
                ends_in_ms: millis(ends_in),
            },
            Core::Unreachable { error, ends_in } => Self::Unreachable {
                failure: (&error).into(),
                ends_in_ms: millis(ends_in),
            },
            Core::Reachable => Self::Reachable,
            Core::TunnelSilent => Self::TunnelSilent,
            Core::EndpointMoved { endpoint } => Self::EndpointMoved {
                endpoint: endpoint.to_string(),
            },
            Core::Ended { session, reason } => Self::Ended {
                session: session.to_string(),
                reason: reason.into(),
                failure: reason.into(),
            },
            Core::SignOutUnconfirmed => Self::SignOutUnconfirmed,
            Core::CancelUnconfirmed => Self::CancelUnconfirmed,
            Core::RemovalFailed => Self::RemovalFailed,
            Core::Lagged { missed } => Self::Lagged { missed },
            // A challenge goes to the authenticators.
            Core::Challenge { .. } | _ => Self::Other,
        }
    }
}

/// Values as the other languages get them.
pub(crate) fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

impl From<mfagate::client::Needs> for Needs {
    fn from(needs: mfagate::client::Needs) -> Self {
        use mfagate::client::Needs as Core;
        match needs {
            Core::Nothing => Self::Nothing,
            Core::Request => Self::Request,
            // With a factor a session goes on, whatever else it needs.
            Core::Factor | _ => Self::Factor,
        }
    }
}

impl From<mfagate::client::SessionEnd> for SessionEnd {
    fn from(reason: mfagate::client::SessionEnd) -> Self {
        use mfagate::client::SessionEnd as Core;
        match reason {
            Core::Expired => Self::Expired,
            Core::Inactive => Self::Inactive,
            Core::EndpointChanged => Self::EndpointChanged,
            Core::Revoked => Self::Revoked,
            Core::SignedOut => Self::SignedOut,
            Core::Woke => Self::Woke,
            Core::Superseded => Self::Superseded,
            Core::GateInterface => Self::GateInterface,
            Core::Interface => Self::Interface,
            Core::Unknown | _ => Self::Unknown,
        }
    }
}
