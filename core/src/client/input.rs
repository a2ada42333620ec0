//! What the machine is told.

use super::action::Ticket;
use super::challenge::Response;
use crate::channel::message::{EnrolRequest, Reply};
use crate::channel::transport::TransportError;
use crate::key::PresharedKey;
use crate::time::Timestamp;

/// Something that happened. An input whose ticket is not, or no longer, waited for changes nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// The user wants in: begins an attempt, or with a live session, one to renew it.
    Start,
    /// The user wants to enrol a factor. A live session goes on.
    Enrol {
        /// The factor.
        factor: EnrolRequest,
    },
    /// The user did something about the challenge of this ticket.
    UserResponded {
        /// The challenge: the ticket that came with it.
        challenge: Ticket,
        /// What.
        response: Response,
    },
    /// The user gave the attempt up. A live session goes on.
    UserCancelled,
    /// The user wants the live session to last longer; a factor may be asked for.
    Renew,
    /// The user wants out.
    SignOut,
    /// The device was asleep, or was locked and is not any more: where the policy says so, the
    /// session ends; else a moment to look again.
    Woke,
    /// The network changed: a moment to look again.
    NetworkChanged,
    /// The app reports wake-ups, changes of the network and the tunnel's traffic from now on, or does
    /// so no more. While it does, the machine does not look at the traffic by itself.
    Quiet {
        /// Whether it does.
        is_quiet: bool,
    },
    /// What the app knows of the tunnel's traffic.
    TrafficReported {
        /// The traffic.
        traffic: Traffic,
    },
    /// The gate replied, and the channel vouches for it.
    ReplyReceived {
        /// Of the hello or the request.
        ticket: Ticket,
        /// The reply.
        reply: Reply,
        /// The derived key, with a grant.
        psk: Option<PresharedKey>,
    },
    /// No reply that the channel vouches for came, however often it was tried.
    TransportFailed {
        /// Of the hello or the request.
        ticket: Ticket,
        /// Why.
        error: TransportError,
    },
    /// The tunnel is up, or renewed.
    TunnelInstalled {
        /// Of the action.
        ticket: Ticket,
    },
    /// The interface did not do as it was told, or not in time.
    TunnelFailed {
        /// Of the action.
        ticket: Ticket,
    },
    /// The tunnel is down: no packet of it passes any more.
    TunnelRemoved {
        /// Of the action.
        ticket: Ticket,
    },
    /// What the interface knows of the tunnel; `None` when it could not say.
    TunnelActivity {
        /// Of the action.
        ticket: Ticket,
        /// The traffic.
        traffic: Option<Traffic>,
    },
    /// The tunnel's packets go to another of the endpoint's addresses, where it has one.
    TunnelMoved {
        /// Of the action.
        ticket: Ticket,
    },
    /// The interface is down, or does not have the gate's peer any more.
    TunnelLost {
        /// Of the action.
        ticket: Ticket,
    },
}

/// The tunnel's traffic since it was put up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// When the last handshake completed.
    pub last_handshake: Option<Timestamp>,
    /// Bytes that came from the gate.
    pub received: u64,
    /// Bytes that went to the gate.
    pub sent: u64,
}
