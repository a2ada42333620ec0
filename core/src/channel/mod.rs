//! The control channel: Noise over the WireGuard keys, typed messages, and the key schedule of the
//! preshared key. The [`protocol`](crate::manual::protocol) chapter is its specification.
//!
//! It knows bytes and keys. What may be admitted, when a message is fresh and how bodies travel is
//! decided elsewhere.

#![cfg_attr(
    not(feature = "testing"),
    allow(
        unnameable_types,
        unreachable_pub,
        reason = "what `engine` has is public for benches and fuzz targets, behind `testing`"
    )
)]
#![cfg_attr(
    not(all(feature = "gate", feature = "runtime")),
    allow(
        dead_code,
        unused_imports,
        reason = "each end drives its half of the channel, and only `runtime` does"
    )
)]

pub mod binding;
pub mod http;
pub mod message;
pub(crate) mod transport;

mod frame;
mod initiator;
mod json;
mod kem;
mod noise;
mod psk;
mod resolver;
mod responder;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use frame::{Incoming, parse};
pub use frame::{MAX_BODY, Unauthenticated};
pub(crate) use initiator::{ClientSession, Initiator, OpenedReply};
pub(crate) use psk::DecapsulationSecret;
pub(crate) use responder::{Accepted, GateSession, GrantTerms, PreparedGrant, Responder};
#[cfg(feature = "runtime")]
pub use transport::Transport;
pub use transport::TransportError;

/// The channel's two ends and its messages, for benches, fuzz targets and tests of this project. It
/// is not a part of the API: what is here changes without notice.
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod engine {
    pub use super::ChannelError;
    pub use super::frame::{Incoming, parse};
    pub use super::initiator::{ClientSession, Initiator, OpenedReply};
    pub use super::message::bytes::{Ciphertext, EncapsulationKey, Share};
    pub use super::message::wire::{Ended, Granted, Hello, Reply, Request, Status};
    pub use super::psk::DecapsulationSecret;
    pub use super::responder::{
        Accepted, GateSession, GrantTerms, Pending, PreparedGrant, Responder,
    };
}

/// Why a channel can't go on. Nothing of a message's contents is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The bytes are not what the other end would have sent: altered, misdirected, out of order,
    /// or under another key.
    #[error("the message does not come from the other end of this channel")]
    NotAuthentic,
    /// The message is authentic and not one that this version of this crate knows: the other end
    /// is newer, or has a fault.
    #[error("the message is not one that this version knows")]
    Unknown,
    /// The gate refused without authenticating itself: a hint, no more.
    #[error("the gate refused: {0}")]
    Refused(#[from] Unauthenticated),
    /// The message is longer than a body may be.
    #[error("the message is too long")]
    TooLong,
    /// The system has no randomness to give, or a private key is unusable.
    #[error("the channel's cryptography is not available")]
    Crypto,
    /// The client's X-Wing key is none: a coefficient of it is out of range (FIPS 203, section
    /// 7.2).
    #[error("the client's X-Wing encapsulation key is not valid")]
    EncapsulationKey,
    /// The gate's X-Wing ciphertext can't be opened: its X25519 half is of low order.
    #[error("the gate's X-Wing ciphertext is not valid")]
    Ciphertext,
    /// The reply is no grant, so that there is no preshared key to derive.
    #[error("the reply is not a grant")]
    NotAGrant,
}
