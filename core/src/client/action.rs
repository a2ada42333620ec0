//! What the machine asks its shell to do.

use crate::channel::message::{EnrolRequest, Request};
use crate::id::SessionId;
use crate::key::PresharedKey;
use crate::time::Timestamp;

/// Names one action, so that its outcome can be told from those of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// What a handshake's first message is to say; the shell adds the encapsulation key and what it
/// knows of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Opening {
    /// [`Hello::Begin`](crate::channel::message::Hello::Begin).
    Begin,
    /// [`Hello::Renew`](crate::channel::message::Hello::Renew).
    Renew(SessionId),
    /// [`Hello::Enrol`](crate::channel::message::Hello::Enrol).
    Enrol(EnrolRequest),
    /// [`Hello::Status`](crate::channel::message::Hello::Status).
    Status(SessionId),
    /// [`Hello::End`](crate::channel::message::Hello::End).
    End(SessionId),
}

/// Something to do. Each is answered by one input with its ticket. Exchanges with the gate may
/// overlap; the actions on the tunnel are to be carried out in their order, one after the other.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action {
    /// Open a channel. Answered by [`ReplyReceived`](super::Input::ReplyReceived) or
    /// [`TransportFailed`](super::Input::TransportFailed). To repeat it, the shell makes a fresh
    /// handshake: a gate takes the same first message once.
    SendHello {
        /// The action's name, and from here on that of the channel.
        ticket: Ticket,
        /// What to say.
        opening: Opening,
        /// The time to say, by the gate's clock as far as it is known.
        sent_at: Timestamp,
    },
    /// Send a request through a channel that is open. Answered as [`Action::SendHello`]. To repeat
    /// it, the shell sends the very same bytes: the gate then gives the very same reply.
    SendRequest {
        /// The action's name.
        ticket: Ticket,
        /// The channel: the ticket of the hello that opened it.
        channel: Ticket,
        /// What to ask.
        request: Request,
    },
    /// Put the gate's peer on the interface with this key, in place of whatever was there.
    /// Answered by [`TunnelInstalled`](super::Input::TunnelInstalled) or
    /// [`TunnelFailed`](super::Input::TunnelFailed).
    InstallTunnel {
        /// The action's name.
        ticket: Ticket,
        /// The key.
        psk: PresharedKey,
    },
    /// Have the gate's peer on the interface with this key: leave it as it is where it is there
    /// already, so that its traffic goes on, and else put it there. Answered as
    /// [`Action::InstallTunnel`].
    ResumeTunnel {
        /// The action's name.
        ticket: Ticket,
        /// The key.
        psk: PresharedKey,
    },
    /// Give the installed peer a renewed key without a gap in its traffic. Answered as
    /// [`Action::InstallTunnel`].
    RenewTunnel {
        /// The action's name.
        ticket: Ticket,
        /// The key.
        psk: PresharedKey,
    },
    /// Take the gate's peer off the interface. Answered by
    /// [`TunnelRemoved`](super::Input::TunnelRemoved) or
    /// [`TunnelFailed`](super::Input::TunnelFailed).
    RemoveTunnel {
        /// The action's name.
        ticket: Ticket,
    },
    /// Nothing comes back from the address that the tunnel's packets go to: look the endpoint's
    /// name up, and send to another address that it has, if there is one. Answered by
    /// [`TunnelMoved`](super::Input::TunnelMoved).
    MoveTunnel {
        /// The action's name.
        ticket: Ticket,
    },
    /// Look at the tunnel's traffic. Answered by
    /// [`TunnelActivity`](super::Input::TunnelActivity) or
    /// [`TunnelLost`](super::Input::TunnelLost).
    SampleTunnel {
        /// The action's name.
        ticket: Ticket,
    },
}
