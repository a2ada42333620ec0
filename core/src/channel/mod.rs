//! The control channel: Noise over the WireGuard keys, typed messages, and the key schedule of the
//! preshared key. The [`protocol`](crate::manual::protocol) chapter is its specification.
//!
//! Bytes in, bytes out: nothing here opens a socket, reads a clock, remembers what it has seen or
//! decides who gets in. Freshness, replays of a first message and attempts are the gate's machine's
//! business; [`Accepted`] hands it what it needs for that.
//!
//! ```
//! use mfagate::channel::message::{Hello, Refusal, Reply};
//! use mfagate::channel::{DecapsulationSecret, Incoming, Initiator, Responder, parse};
//! use mfagate::key::PrivateKey;
//! use mfagate::time::Timestamp;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (client, location) = (PrivateKey::generate()?, PrivateKey::generate()?);
//! let (_secret, encapsulation_key) = DecapsulationSecret::generate()?;
//! let hello = Hello::Begin { sent_at: Timestamp::from_millis(0), encapsulation_key };
//! let (initiator, body) = Initiator::begin(&client, &location.public_key(), &hello)?;
//!
//! let responder = Responder::new(&location)?;
//! let Incoming::Handshake(handshake) = parse(&body)? else { panic!("not a handshake") };
//! let accepted = responder.accept(handshake)?;
//! assert_eq!(accepted.peer, client.public_key());
//! let refused = Reply::Refused { refusal: Refusal::NotEnrolled {} };
//! let (_session, body) = accepted.pending.reply(&refused)?;
//!
//! let (_session, reply) = initiator.finish(&body)?;
//! assert_eq!(reply, refused);
//! # Ok(())
//! # }
//! ```

mod error;
mod frame;
mod initiator;
mod kem;
pub mod message;
mod noise;
mod resolver;
mod responder;
mod schedule;
#[cfg(test)]
mod tests;

pub use error::{ChannelError, Unauthenticated};
pub use frame::{
    BODY_LIMIT, Delivered, HandshakeFrame, Incoming, RequestFrame, VERSION, parse, parse_delivered,
};
pub use initiator::{ClientSession, Initiator};
pub use kem::DecapsulationSecret;
pub use responder::{Accepted, GateSession, GrantTerms, Opened, Pending, PreparedReply, Responder};
