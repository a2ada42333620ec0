//! How the channel's messages travel: any carrier of one request and one response.
//!
//! A transport is not trusted: it sees ciphertext only, and what it reports is a hint.

#[cfg(feature = "runtime")]
use std::net::IpAddr;

#[cfg(feature = "runtime")]
use async_trait::async_trait;

use super::Unauthenticated;

/// Carries one request's body to a gate and the response's body back.
///
/// # Contract
/// - Bodies are at most [`MAX_BODY`](crate::channel::MAX_BODY) bytes in either direction; a longer
///   response is an error and is not read to its end.
/// - What came back is not to be judged: a gate's refusal is a body as well.
/// - Calls may overlap. A call that is dropped at an await may or may not have reached the gate.
/// - The client repeats what failed; a transport does not.
#[cfg(feature = "runtime")]
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// What the gate is called in texts for people: its control URL, without credentials.
    fn gate(&self) -> &str;

    /// The address at which something answered last, where that is known: the tunnel begins with
    /// the same family, IPv4 or IPv6. It is a hint and need not be the gate's own.
    fn reached_at(&self) -> Option<IpAddr> {
        None
    }

    /// Sends a body and gives the one that came back.
    ///
    /// # Errors
    /// [`TransportError`]; nothing of a body's contents is in it.
    async fn round_trip(&self, body: Vec<u8>) -> Result<Vec<u8>, TransportError>;
}

/// Why a message did not get through, or nothing that the gate has said came back. Nothing of a
/// body is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection could be made, or it broke.
    #[error(
        "the gate at {gate} can't be reached: check this device's network connection, and that the control URL in the profile is right"
    )]
    Unreachable {
        /// The control URL.
        gate: String,
    },
    /// There was no reply in time.
    #[error(
        "the gate at {gate} did not reply in time: check this device's network connection, then try again"
    )]
    TimedOut {
        /// The control URL.
        gate: String,
    },
    /// The secure connection to the server could not be made: its certificate is not accepted.
    #[error(
        "the certificate of the server at {gate} is not accepted: check this device's date and time, and that the control URL in the profile is right"
    )]
    Certificate {
        /// The control URL.
        gate: String,
    },
    /// Something in front of the gate answered in its place.
    #[error(
        "the server at {gate} answered with HTTP status {status} instead of the gate's reply: check the control URL in the profile, or ask your administrator whether the gate is running"
    )]
    BadGateway {
        /// The control URL.
        gate: String,
        /// The HTTP status.
        status: u16,
    },
    /// The reply does not come from the location's key.
    #[error(
        "the reply from {gate} did not come from the gate of this profile: check that the profile is up to date, and that no network sign-in page is in between"
    )]
    NotTheGate {
        /// The control URL.
        gate: String,
    },
    /// The reply comes from the gate, and this version of the crate does not know what it says.
    #[error(
        "the gate at {gate} said something that this program does not know: this program is older than the gate; update it"
    )]
    TooOld {
        /// The control URL.
        gate: String,
    },
    /// The control URL can't be used.
    #[error(
        "the control URL {gate} can't be used: it must begin with https:// or http:// and hold no password; correct it in the profile"
    )]
    BadUrl {
        /// The control URL.
        gate: String,
    },
    /// Something refused that did not prove to be the gate: a hint of what is wrong, no more.
    #[error(
        "the server at {gate} refused the message ({hint}): try again; if that does not help, check the control URL in the profile"
    )]
    Refused {
        /// The control URL.
        gate: String,
        /// What it said.
        hint: Unauthenticated,
    },
    /// The transport of the app failed in a way of its own.
    #[error("the message to the gate at {gate} could not be sent: {what}")]
    Other {
        /// The control URL, or what the app calls its gate.
        gate: String,
        /// What went wrong, in words.
        what: String,
    },
}
