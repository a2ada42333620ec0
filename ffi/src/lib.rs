//! The core for other languages, by UniFFI. Thin: types are converted, errors mapped, and nothing is
//! decided here. Each language has a hand-written package over what is generated from this crate.
//!
//! What holds for every item:
//!
//! - each exported method has an error type, so that a panic is an error in the other language;
//! - each foreign method is async and has an error type, and is called with a time-out: what an
//!   app's code throws, does not finish or answers wrongly means *denied* or *down*;
//! - times are milliseconds, and secrets are objects that do not print.
//!
//! | file | concern |
//! |---|---|
//! | `client` | the client |
//! | `call` | a call under way: on our runtime, cancelled, ended by closing |
//! | `profile`, `settings` | what a client is made of |
//! | `authenticators` | what an app brings to prove its user's factors |
//! | `challenge`, `response` | what a user is asked, and answers |
//! | `event`, `phase` | what an app is told |
//! | `tunnel` | the app's WireGuard |
//! | `transport` | the app's HTTP stack |
//! | `passkey` | the parts of WebAuthn's JSON |
//! | `secret` | secrets as objects |
//! | `error`, `callback` | errors, ours and the app's |
//! | `log` | log lines for the app |
//! | `adaptor` | the core's traits over the app's |
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic))]

mod adaptor;
pub mod authenticators;
pub mod call;
pub mod callback;
pub mod challenge;
pub mod client;
pub mod error;
pub mod event;
pub mod log;
pub mod passkey;
pub mod phase;
pub mod profile;
pub mod response;
mod runtime;
pub mod secret;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod transport;
pub mod tunnel;

uniffi::setup_scaffolding!("mfagate");

/// The version of this library.
#[uniffi::export]
pub fn version() -> Result<String, error::MfagateError> {
    Ok(env!("CARGO_PKG_VERSION").to_owned())
}
