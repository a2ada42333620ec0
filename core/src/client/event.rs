//! What an app is told. No secret is in any of it.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;

use super::action::Ticket;
use super::failure::Failure;
use super::question::Question;
use crate::channel::message::Ended;
use crate::channel::transport::TransportError;
use crate::id::{FactorId, SessionId};

/// Something to know, and sometimes to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The user is to answer.
    Challenge {
        /// Goes back with the answer.
        ticket: Ticket,
        /// What to ask.
        question: Box<Question>,
    },
    /// The factor is enrolled.
    Enrolled {
        /// The factor.
        factor: FactorId,
    },
    /// The attempt is over without a new lease. A live session, where there is one, goes on.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// The gate granted a session, or more time for one. The tunnel follows.
    Granted {
        /// The session.
        session: SessionId,
    },
    /// The tunnel is up.
    TunnelUp {
        /// The session.
        session: SessionId,
        /// This device's own addresses inside the tunnel.
        addresses: Vec<IpNet>,
        /// How long the lease lasts.
        ends_in: Duration,
    },
    /// The lease lasts longer now. The tunnel stayed up.
    Renewed {
        /// The session; another than before where a factor was asked for.
        session: SessionId,
        /// This device's own addresses inside the tunnel.
        addresses: Vec<IpNet>,
        /// How long the lease lasts.
        ends_in: Duration,
    },
    /// Packets come through the tunnel: for the first time, or again after trouble.
    Live,
    /// The lease ends soon.
    Ending {
        /// How soon.
        ends_in: Duration,
        /// Whether it can be renewed without asking the user.
        renewable: bool,
    },
    /// The lease can't be renewed without the user: offer to sign in again.
    MfaRequired {
        /// How soon it ends.
        ends_in: Duration,
    },
    /// The gate can't be reached, to renew or to ask why the tunnel is silent. The tunnel stays
    /// until the lease ends; the client keeps trying.
    Unreachable {
        /// Why.
        error: TransportError,
        /// How long the lease lasts.
        ends_in: Duration,
    },
    /// The gate is reached again and says that the session is live.
    Reachable,
    /// The gate is reached and says that the session is live, but no packets come through the
    /// tunnel: its UDP port may be blocked on the way.
    TunnelSilent,
    /// The tunnel is down and the session over.
    Ended {
        /// The session.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// The user signed out and the tunnel is down, but the gate could not be told: the session is
    /// open there until its own end.
    SignOutUnconfirmed,
    /// The interface did not take the tunnel down. The client keeps trying.
    RemovalFailed,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// Its time was over.
    Expired,
    /// It carried no payload for as long as the policy allows.
    Inactive,
    /// The device went on from another network address, and the gate asks for the factors anew.
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

impl EndReason {
    /// Whether signing in again is what comes next.
    pub const fn requires_sign_in(self) -> bool {
        match self {
            Self::Expired
            | Self::Inactive
            | Self::EndpointChanged
            | Self::Woke
            | Self::GateInterface
            | Self::Unknown => true,
            Self::Revoked | Self::SignedOut | Self::Superseded | Self::Interface => false,
        }
    }
}

impl From<Option<Ended>> for EndReason {
    fn from(reason: Option<Ended>) -> Self {
        match reason {
            Some(Ended::Expired) => Self::Expired,
            Some(Ended::Inactive) => Self::Inactive,
            Some(Ended::EndpointChanged) => Self::EndpointChanged,
            Some(Ended::Revoked) => Self::Revoked,
            Some(Ended::SignedOut) => Self::SignedOut,
            Some(Ended::Superseded) => Self::Superseded,
            Some(Ended::InterfaceFailed) => Self::GateInterface,
            None => Self::Unknown,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "your session's time is over: sign in again",
            Self::Inactive => "your session ended because it was not used: sign in again",
            Self::EndpointChanged => {
                "your session ended because this device went to another network: sign in again"
            }
            Self::Revoked => {
                "your session was revoked: ask your administrator if you did not expect this"
            }
            Self::SignedOut => "you are signed out",
            Self::Woke => "your session ended because this device slept or was locked: sign in again",
            Self::Superseded => {
                "a newer session of this device took this one's place: if that was not you, tell your administrator"
            }
            Self::GateInterface => {
                "the gate could not keep the tunnel up: sign in again, and tell your administrator if it goes on"
            }
            Self::Interface => {
                "this device could not keep the tunnel up: check that no other program uses the WireGuard interface, then sign in again"
            }
            Self::Unknown => "your session is over: sign in again",
        })
    }
}
