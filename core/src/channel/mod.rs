//! The control channel: Noise over the WireGuard keys, typed messages, and the key schedule of the
//! preshared key. The [`protocol`](crate::manual::protocol) chapter is its specification.
//!
//! It knows bytes and keys. What may be admitted, when a message is fresh and how bodies travel is
//! decided elsewhere.

pub mod binding;
pub mod message;
pub mod transport;

mod frame;
mod initiator;
mod kem;
mod noise;
mod psk;
mod resolver;
mod responder;
#[cfg(test)]
mod tests;
mod text;

pub use frame::{Incoming, MAX_BODY, Unauthenticated, parse};
pub use initiator::{ClientSession, Initiator, Opened};
pub use psk::DecapsulationSecret;
pub use responder::{Accepted, GateSession, GrantTerms, Pending, PreparedGrant, Responder};

/// Why a channel can't go on. Nothing of a message's contents is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The bytes are not what the other end would have sent: altered, misdirected, out of order,
    /// or under another key.
    #[error("the message does not come from the other end of this channel")]
    NotAuthentic,
    /// The message is authentic, and not one of this version's.
    #[error("the message is not one of this protocol version's")]
    Unknown,
    /// The gate refused without authenticating itself: a hint, no more.
    #[error("the gate refused: {0}")]
    Refused(#[from] Unauthenticated),
    /// The message is longer than a body may be.
    #[error("the message is too long")]
    TooLong,
    /// The system has no randomness to give, or a key is unusable.
    #[error("the channel's cryptography is not available")]
    Crypto,
    /// The reply is no grant, so that there is no preshared key to derive.
    #[error("the reply is not a grant")]
    NotAGrant,
}
