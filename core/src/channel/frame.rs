//! The frame around each message: a version, a kind, and what the receiver needs to find the keys.
//! Parsing decides nothing and allocates nothing; what a frame carries is not authenticated yet.

use super::error::{ChannelError, Unauthenticated};
use crate::id::AttemptId;

/// The version of the protocol: the first byte of every body.
pub const VERSION: u8 = 1;

/// The longest body in either direction, in bytes.
pub const BODY_LIMIT: usize = 65_535;

/// The shortest first message: an ephemeral key, the sealed static key and the tag of a payload.
const SHORTEST_FIRST: usize = 32 + 48 + TAG;
/// The shortest second message: an ephemeral key and the tag of a payload.
const SHORTEST_SECOND: usize = 32 + TAG;
const TAG: usize = 16;

const KIND_REFUSAL: u8 = 0;
const KIND_HANDSHAKE: u8 = 1;
const KIND_TRANSPORT: u8 = 2;

/// What a client sent, as far as its frame tells: nothing of it is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A first message, for [`Responder::accept`](super::Responder::accept).
    Handshake(HandshakeFrame<'a>),
    /// A request in an attempt.
    Request(RequestFrame<'a>),
}

/// A first message of the handshake, not yet verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeFrame<'a>(pub(super) &'a [u8]);

impl HandshakeFrame<'_> {
    /// The client's ephemeral public key, in the clear. [`Accepted`](super::Accepted) has it again,
    /// verified.
    pub fn ephemeral(&self) -> [u8; 32] {
        self.0.first_chunk().copied().unwrap_or_default()
    }
}

/// A request in an attempt, for [`GateSession::open`](super::GateSession::open) of that attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestFrame<'a> {
    /// Which attempt it claims to belong to.
    pub attempt: AttemptId,
    /// Its place in the attempt, from zero.
    pub counter: u64,
    /// The Noise transport message.
    pub ciphertext: &'a [u8],
}

/// Reads a body that a client sent.
///
/// # Errors
/// The [`Unauthenticated`] refusal to answer with.
pub fn parse(body: &[u8]) -> Result<Incoming<'_>, Unauthenticated> {
    let (kind, rest) = split(body)?;
    match kind {
        KIND_HANDSHAKE if rest.len() >= SHORTEST_FIRST => {
            Ok(Incoming::Handshake(HandshakeFrame(rest)))
        }
        KIND_TRANSPORT => {
            let (attempt, rest) = rest.split_first_chunk().ok_or(ChannelError::Malformed)?;
            let (counter, ciphertext) = counted(rest)?;
            let attempt = AttemptId::from_bytes(*attempt);
            Ok(Incoming::Request(RequestFrame {
                attempt,
                counter,
                ciphertext,
            }))
        }
        _ => Err(Unauthenticated::Malformed),
    }
}

/// What came back to a client, as far as its frame tells: nothing of it is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered<'a> {
    /// A refusal, from the gate or from anybody on the way.
    Refused(Unauthenticated),
    /// The second message of the handshake.
    Handshake(&'a [u8]),
    /// The reply to a request.
    Reply {
        /// The counter of the request it claims to answer.
        counter: u64,
        /// The Noise transport message.
        ciphertext: &'a [u8],
    },
}

/// Reads a body that came back to a client.
///
/// # Errors
/// [`ChannelError::Malformed`], [`ChannelError::TooLarge`] and
/// [`ChannelError::UnsupportedVersion`].
pub fn parse_delivered(body: &[u8]) -> Result<Delivered<'_>, ChannelError> {
    let (kind, rest) = split(body)?;
    match (kind, rest) {
        (KIND_REFUSAL, [code]) => Unauthenticated::from_code(*code)
            .map(Delivered::Refused)
            .ok_or(ChannelError::Malformed),
        (KIND_HANDSHAKE, message) if message.len() >= SHORTEST_SECOND => {
            Ok(Delivered::Handshake(message))
        }
        (KIND_TRANSPORT, rest) => {
            let (counter, ciphertext) = counted(rest)?;
            Ok(Delivered::Reply {
                counter,
                ciphertext,
            })
        }
        _ => Err(ChannelError::Malformed),
    }
}

/// A body with a handshake message, in either direction.
pub(super) fn handshake(message: &[u8]) -> Result<Vec<u8>, ChannelError> {
    assemble(KIND_HANDSHAKE, &[message])
}

/// A body with a request.
pub(super) fn request(
    attempt: &AttemptId,
    counter: u64,
    ciphertext: &[u8],
) -> Result<Vec<u8>, ChannelError> {
    let counter = counter.to_be_bytes();
    assemble(KIND_TRANSPORT, &[attempt.as_bytes(), &counter, ciphertext])
}

/// A body with the reply to a request.
pub(super) fn reply(counter: u64, ciphertext: &[u8]) -> Result<Vec<u8>, ChannelError> {
    assemble(KIND_TRANSPORT, &[&counter.to_be_bytes(), ciphertext])
}

/// A body with a refusal.
pub(super) fn refusal(refusal: Unauthenticated) -> Vec<u8> {
    vec![VERSION, KIND_REFUSAL, refusal.code()]
}

fn assemble(kind: u8, parts: &[&[u8]]) -> Result<Vec<u8>, ChannelError> {
    let body = [&[VERSION, kind], parts.concat().as_slice()].concat();
    if body.len() > BODY_LIMIT {
        return Err(ChannelError::TooLarge);
    }
    Ok(body)
}

fn split(body: &[u8]) -> Result<(u8, &[u8]), ChannelError> {
    if body.len() > BODY_LIMIT {
        return Err(ChannelError::TooLarge);
    }
    match body {
        [VERSION, kind, rest @ ..] => Ok((*kind, rest)),
        [] | [VERSION] => Err(ChannelError::Malformed),
        [_, ..] => Err(ChannelError::UnsupportedVersion),
    }
}

fn counted(rest: &[u8]) -> Result<(u64, &[u8]), ChannelError> {
    let (counter, ciphertext) = rest.split_first_chunk().ok_or(ChannelError::Malformed)?;
    if ciphertext.len() < TAG {
        return Err(ChannelError::Malformed);
    }
    Ok((u64::from_be_bytes(*counter), ciphertext))
}
