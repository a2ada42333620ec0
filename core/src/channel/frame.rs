//! Frames: what stands around a Noise message in the body of a request or a response.

use crate::id::AttemptId;

use super::ChannelError;

/// The longest body in either direction: the longest Noise message (Noise, section 3).
pub const MAX_BODY: usize = 65_535;

const VERSION: u8 = 1;
const REFUSAL: u8 = 0;
const HANDSHAKE: u8 = 1;
const TRANSPORT: u8 = 2;
const COUNTER_LEN: usize = 8;
const ATTEMPT_LEN: usize = 32;

/// A request's frame, as a gate takes it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming<'a> {
    /// The first message of a handshake.
    Handshake(&'a [u8]),
    /// A message of an attempt.
    Request {
        /// The attempt.
        attempt: AttemptId,
        /// The message's number in it; the first is 0.
        counter: u64,
        /// The sealed message.
        ciphertext: &'a [u8],
    },
}

/// Takes a request's frame apart.
///
/// # Errors
/// [`Unauthenticated`], as the gate is to respond.
pub fn parse(body: &[u8]) -> Result<Incoming<'_>, Unauthenticated> {
    if body.len() > MAX_BODY {
        return Err(Unauthenticated::TooLarge);
    }
    match body {
        [VERSION, HANDSHAKE, message @ ..] => Ok(Incoming::Handshake(message)),
        [VERSION, TRANSPORT, rest @ ..] => {
            let (attempt, rest) = rest.split_first_chunk().ok_or(Unauthenticated::Malformed)?;
            let (counter, ciphertext) =
                rest.split_first_chunk().ok_or(Unauthenticated::Malformed)?;
            Ok(Incoming::Request {
                attempt: AttemptId::from_bytes(*attempt),
                counter: u64::from_be_bytes(*counter),
                ciphertext,
            })
        }
        [VERSION, ..] | [] => Err(Unauthenticated::Malformed),
        [_, ..] => Err(Unauthenticated::Version),
    }
}

/// What a gate responds where there is no channel to respond in. Anyone on the way can make one, so
/// that a client takes it as a hint and never as the gate's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unauthenticated {
    /// The body is not a frame of this protocol, or its message does not verify.
    #[error("the request is not a valid message for this gate")]
    Malformed,
    /// The body is over [`MAX_BODY`].
    #[error("the request is larger than 65,535 bytes")]
    TooLarge,
    /// The frame is of a version that this gate does not speak.
    #[error("the gate does not speak this protocol version")]
    Version,
    /// The attempt is not open here.
    #[error("the attempt is over, or was begun at another gate")]
    NoAttempt,
    /// The gate can't respond now.
    #[error("the gate is not available now")]
    Unavailable,
}

impl Unauthenticated {
    /// The response body.
    pub fn to_body(self) -> Vec<u8> {
        vec![VERSION, REFUSAL, self.code()]
    }

    const fn code(self) -> u8 {
        match self {
            Self::Malformed => 1,
            Self::TooLarge => 2,
            Self::Version => 3,
            Self::NoAttempt => 4,
            Self::Unavailable => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        let all = [
            Self::Malformed,
            Self::TooLarge,
            Self::Version,
            Self::NoAttempt,
            Self::Unavailable,
        ];
        all.into_iter().find(|refusal| refusal.code() == code)
    }
}

/// A response's frame, as a client takes it in.
#[derive(Debug)]
pub(super) enum Response<'a> {
    Handshake(&'a [u8]),
    Transport { counter: u64, ciphertext: &'a [u8] },
}

pub(super) fn parse_response(body: &[u8]) -> Result<Response<'_>, ChannelError> {
    if body.len() > MAX_BODY {
        return Err(ChannelError::TooLong);
    }
    match body {
        [VERSION, REFUSAL, code] => {
            let refusal = Unauthenticated::from_code(*code).ok_or(ChannelError::NotAuthentic)?;
            Err(ChannelError::Refused(refusal))
        }
        [VERSION, HANDSHAKE, message @ ..] => Ok(Response::Handshake(message)),
        [VERSION, TRANSPORT, rest @ ..] => {
            let (counter, ciphertext) =
                rest.split_first_chunk().ok_or(ChannelError::NotAuthentic)?;
            Ok(Response::Transport {
                counter: u64::from_be_bytes(*counter),
                ciphertext,
            })
        }
        [..] => Err(ChannelError::NotAuthentic),
    }
}

pub(super) fn handshake(message: &[u8]) -> Result<Vec<u8>, ChannelError> {
    frame(HANDSHAKE, &[message])
}

pub(super) fn request(
    attempt: &AttemptId,
    counter: u64,
    ciphertext: &[u8],
) -> Result<Vec<u8>, ChannelError> {
    let attempt: &[u8; ATTEMPT_LEN] = attempt.as_bytes();
    let counter: [u8; COUNTER_LEN] = counter.to_be_bytes();
    frame(TRANSPORT, &[attempt, &counter, ciphertext])
}

pub(super) fn response(counter: u64, ciphertext: &[u8]) -> Result<Vec<u8>, ChannelError> {
    frame(TRANSPORT, &[&counter.to_be_bytes(), ciphertext])
}

fn frame(kind: u8, parts: &[&[u8]]) -> Result<Vec<u8>, ChannelError> {
    let mut body = vec![VERSION, kind];
    parts.iter().for_each(|part| body.extend_from_slice(part));
    if body.len() > MAX_BODY {
        Err(ChannelError::TooLong)
    } else {
        Ok(body)
    }
}
