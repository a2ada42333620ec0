//! What carries a code to its user.

use std::time::Duration;

use async_trait::async_trait;

use super::EmailAddress;
use crate::channel::message::Code;
use crate::id::{LocationId, UserId};
use crate::time::Timestamp;

/// Sends codes.
///
/// # Contract
/// - `send` returns when the letter is in the hands of the next mail server, within a time shorter than the
///   gate's own ([`Timeouts::verifier`](crate::gate::Timeouts), ten seconds).
/// - It may be dropped at any await; the letter may have gone out then, or not.
/// - Calls run at the same time and must not wait on one another.
/// - Neither the code nor the address goes into a log or an error.
#[async_trait]
pub trait CodeSender: Send + Sync + 'static {
    /// Sends a letter.
    ///
    /// # Errors
    /// [`SendError`], see its variants.
    async fn send(&self, letter: &Letter<'_>) -> Result<(), SendError>;
}

/// What is to be told to the user.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Letter<'a> {
    /// Where it goes.
    pub to: &'a EmailAddress,
    /// The code.
    pub code: &'a Code,
    /// What the code is for.
    pub occasion: Occasion,
    /// Where it is asked for.
    pub location: &'a LocationId,
    /// Whose code it is.
    pub user: &'a UserId,
    /// For how long it is good.
    pub good_for: Duration,
    /// When it was asked for, by the gate's clock.
    pub at: Timestamp,
}

impl<'a> Letter<'a> {
    /// What the verifier hands to a sender; for tests of your own.
    pub const fn new(
        to: &'a EmailAddress,
        code: &'a Code,
        occasion: Occasion,
        (location, user): (&'a LocationId, &'a UserId),
        good_for: Duration,
        at: Timestamp,
    ) -> Self {
        Self {
            to,
            code,
            occasion,
            location,
            user,
            good_for,
            at,
        }
    }
}

/// What a code is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Occasion {
    /// To sign in.
    SignIn,
    /// To enrol the address that it goes to.
    Enrol,
}

/// Why a letter was not sent. No text repeats the address or what a server said of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no such mailbox, or mail to it is not taken.
    #[error("the mail server takes no mail for this address")]
    Undeliverable,
    /// The server refused, with this reply code (RFC 5321, section 4.2).
    #[error(
        "the mail server refused the message with the reply {status}: check the sender's address, the user and the password, and the server's log"
    )]
    Refused {
        /// The reply code.
        status: u16,
    },
    /// The server can't be reached, or hung up.
    #[error("the mail server can't be reached: check its name, its port and the network")]
    Unreachable,
    /// The server took too long.
    #[error("the mail server did not answer in time")]
    TimedOut,
    /// There is no TLS to be had with the server, or its certificate is not to be trusted.
    #[error(
        "no TLS with the mail server: check that its port speaks it in the way that is configured, and its certificate"
    )]
    Tls,
    /// Something else failed. What is in here must name neither the code nor the address.
    #[error("the message can't be sent")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}
