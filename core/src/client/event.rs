//! What an app is told. No secret is in any of it.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::action::Ticket;
use super::attempt_failure::AttemptFailure;
use super::challenge::AuthChallenge;
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
        question: Box<AuthChallenge>,
    },
    /// The factor is enrolled.
    Enrolled {
        /// The factor.
        factor: FactorId,
    },
    /// The attempt is over without a new lease. A live session, where there is one, goes on.
    Failed {
        /// Why.
        failure: AttemptFailure,
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
    /// The lease lasts longer now. The tunnel stayed up; where a new session took the place of one
    /// that can't be renewed, with another handshake, and connections inside this process broke.
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
    /// The lease ends soon. Told once for each lease,
    /// [`warn_before`](super::Config::warn_before) its end, and a second time only where it shows
    /// after that that a factor is needed.
    Ending {
        /// How soon.
        ends_in: Duration,
        /// What it takes for the session to go on. With [`Needs::Factor`], ask the user in time:
        /// signing in again while the tunnel is up leaves no gap.
        needs: Needs,
    },
    /// The gate will not renew the lease without the user. It need not be soon: see
    /// [`Event::Ending`] for the moment to ask.
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
    /// The tunnel's packets go to another address from now on: the one before did not answer, or
    /// the endpoint's name does not have it any more.
    EndpointMoved {
        /// The address.
        endpoint: SocketAddr,
    },
    /// The tunnel is down and the session over.
    Ended {
        /// The session.
        session: SessionId,
        /// Why.
        reason: SessionEnd,
    },
    /// The user signed out and the tunnel is down, but the gate could not be told: the session is
    /// open there until its own end.
    SignOutUnconfirmed,
    /// An attempt was given up, but the gate could not be told: it is open there until it forgets
    /// it by itself, some minutes later.
    CancelUnconfirmed,
    /// The interface did not take the tunnel down. The client keeps trying.
    RemovalFailed,
    /// The reader was too slow and has missed events: ask for the status. The machine never says so;
    /// the runtime's readers do.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// What it takes for a session to go on after the end of its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Needs {
    /// Nothing: the client renews the lease by itself.
    Nothing,
    /// The app's word, by a call to renew: no factor, but the client does not renew by itself.
    Request,
    /// A factor of the user's, by a call to renew or to sign in.
    Factor,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionEnd {
    /// Its time was over.
    Expired,
    /// It carried no payload for as long as the policy allows.
    Inactive,
    /// The device went on from another network address, and the gate asks for the factors again.
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

impl SessionEnd {
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

impl From<Option<Ended>> for SessionEnd {
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

impl fmt::Display for SessionEnd {
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
