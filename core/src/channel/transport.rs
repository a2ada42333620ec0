//! How the channel's messages travel: any carrier of one request and one response.
//!
//! A transport is not trusted: it sees ciphertext only, and what it reports is a hint.

use super::Unauthenticated;

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
    /// The reply is no message of this protocol's, or does not come from the location's key.
    #[error(
        "the reply from {gate} did not come from the gate of this profile: check that the profile is up to date, and that no network sign-in page is in between"
    )]
    NotTheGate {
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
