//! MFA-gated WireGuard® connections as an embeddable library.
//!
//! A WireGuard peer is on the interface only while it holds a *lease*, and the only way to a lease
//! is to pass multi-factor authentication. Whatever fails, the lease ends.
//!
//! Two halves, one core:
//!
//! - the [`gate`] runs beside a WireGuard interface and decides who is on it;
//! - the [`client`] runs inside an app or a script, proves the factors and brings the tunnel up.
//!
//! Both are sans-IO state machines; [`runtime`] drives them with tokio. Embedders supply, or pick
//! from ours, three traits: [`store::PeerStore`], [`factor::MfaVerifier`] and
//! [`interface::InterfaceBackend`].
//!
//! The [`manual`] has the chapters: threat model, protocol, expiry, policy, and how to write a
//! store, a verifier or a backend.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod assurance;
pub mod channel;
pub mod client;
pub mod id;
#[cfg(any(feature = "gate", feature = "runtime"))]
pub mod interface;
pub mod key;
pub mod manual;
pub mod prove;
#[cfg(feature = "device-key")]
pub mod signature;
pub mod time;

#[cfg(any(feature = "gate", feature = "device-key", feature = "runtime"))]
mod private_file;

#[cfg(feature = "gate")]
pub mod audit;
#[cfg(feature = "gate")]
pub mod authorise;
#[cfg(feature = "gate")]
pub mod enrol;
#[cfg(feature = "gate")]
pub mod factor;
#[cfg(feature = "gate")]
pub mod gate;
#[cfg(feature = "gate")]
pub mod policy;
#[cfg(feature = "gate")]
pub mod seal;
#[cfg(feature = "gate")]
pub mod store;

#[cfg(any(feature = "http-server", feature = "http-client"))]
pub mod http;
#[cfg(feature = "runtime")]
pub mod runtime;
#[cfg(feature = "testing")]
pub mod testing;

/// A passkey in software, for the tests of either end.
#[cfg(all(test, any(feature = "webauthn", feature = "ctap")))]
#[path = "../tests/support/passkey.rs"]
#[cfg_attr(
    not(all(feature = "webauthn", feature = "ctap")),
    allow(dead_code, reason = "each end needs a part of it")
)]
mod passkey;

/// An OpenID provider of the tests' own.
#[cfg(all(test, feature = "oidc"))]
#[path = "../tests/support/oidc_provider.rs"]
#[expect(dead_code, reason = "the verifiers' suite needs more of it")]
#[expect(clippy::unwrap_used, reason = "a provider stops at the first surprise")]
mod oidc_provider;

/// The snippets of the README, compiled.
#[cfg(all(
    doctest,
    feature = "sqlite",
    feature = "totp",
    feature = "netstack",
    feature = "http-server",
    feature = "http-client",
    feature = "profile"
))]
#[doc = include_str!("../../README.md")]
struct Readme;
