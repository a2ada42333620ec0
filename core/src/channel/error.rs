//! Why the channel refuses something, named by reason. No variant carries a byte of what was
//! refused.

/// Why a frame or a message was not taken, or could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The bytes are no frame of this protocol, or the JSON inside is no message of it.
    #[error("malformed")]
    Malformed,
    /// The body is longer than [`BODY_LIMIT`](super::BODY_LIMIT).
    #[error("longer than a body may be")]
    TooLarge,
    /// The frame is of a version that this build does not speak.
    #[error("unsupported protocol version")]
    UnsupportedVersion,
    /// The bytes do not come from the holder of the expected key, or were changed on their way.
    #[error("does not verify")]
    Unverified,
    /// A counter that is neither the next nor a repetition of the last, a reply that nobody waits
    /// for, or a request while another waits for its reply.
    #[error("out of order")]
    OutOfOrder,
    /// A grant where none may be: in a handshake, or not made by [`GateSession::grant`].
    ///
    /// [`GateSession::grant`]: super::GateSession::grant
    #[error("a grant does not belong here")]
    MisplacedGrant,
    /// The X-Wing encapsulation key or ciphertext is not a valid one.
    #[error("invalid key encapsulation")]
    InvalidEncapsulation,
    /// The operating system has no randomness to give, or the cryptographic library failed.
    #[error("no cryptography to be had")]
    Cryptography,
    /// The answer was an unauthenticated refusal. It may come from the gate or from anybody on the
    /// way: show it, never act on it beyond trying again.
    #[error("refused without authentication: {0}")]
    Refused(Unauthenticated),
}

impl ChannelError {
    /// What the gate tells the sender of a body that it could not take. Says no more than the
    /// sender could know.
    pub const fn refusal(self) -> Unauthenticated {
        match self {
            Self::Malformed => Unauthenticated::Malformed,
            Self::TooLarge => Unauthenticated::TooLarge,
            Self::UnsupportedVersion => Unauthenticated::UnsupportedVersion,
            Self::Unverified => Unauthenticated::Unverified,
            Self::OutOfOrder => Unauthenticated::OutOfOrder,
            Self::MisplacedGrant | Self::InvalidEncapsulation | Self::Cryptography => {
                Unauthenticated::Unavailable
            }
            Self::Refused(refusal) => refusal,
        }
    }
}

/// A refusal outside the encrypted channel, for what could not be authenticated or belongs to no
/// attempt: one byte on the wire. A client treats it as a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Unauthenticated {
    /// The body is no frame of this protocol, or its message is none.
    #[error("malformed")]
    Malformed,
    /// The body is longer than [`BODY_LIMIT`](super::BODY_LIMIT).
    #[error("too large")]
    TooLarge,
    /// The gate does not speak the frame's version.
    #[error("unsupported version")]
    UnsupportedVersion,
    /// The message does not verify: meant for another location, from another client, or changed.
    #[error("does not verify")]
    Unverified,
    /// The gate knows no attempt by this handle: it is over, or the gate has restarted.
    #[error("no such attempt")]
    NoAttempt,
    /// The request's counter is neither the next nor the last one.
    #[error("out of order")]
    OutOfOrder,
    /// The gate can't serve this now.
    #[error("unavailable")]
    Unavailable,
}

impl Unauthenticated {
    /// The code on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Malformed => 1,
            Self::TooLarge => 2,
            Self::UnsupportedVersion => 3,
            Self::Unverified => 4,
            Self::NoAttempt => 5,
            Self::OutOfOrder => 6,
            Self::Unavailable => 7,
        }
    }

    /// The refusal with this code on the wire; `None` for a code that this version has not.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Malformed),
            2 => Some(Self::TooLarge),
            3 => Some(Self::UnsupportedVersion),
            4 => Some(Self::Unverified),
            5 => Some(Self::NoAttempt),
            6 => Some(Self::OutOfOrder),
            7 => Some(Self::Unavailable),
            _ => None,
        }
    }

    /// The response body that says so.
    pub fn to_body(self) -> Vec<u8> {
        super::frame::refusal(self)
    }
}

impl From<ChannelError> for Unauthenticated {
    fn from(error: ChannelError) -> Self {
        error.refusal()
    }
}
