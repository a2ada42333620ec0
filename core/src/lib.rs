//! MFA-gated WireGuard® connections as an embeddable library.
//!
//! A WireGuard peer is on the interface only while it holds a *lease*, and the only way to a lease
//! is to pass multi-factor authentication. Whatever fails, the lease ends.
//!
//! Two halves, one core:
//!
//! - the [`Gate`] runs beside a WireGuard interface and decides who is on it;
//! - the [`Client`] runs inside an app or a script, proves the factors and brings the tunnel up.
//!
//! Embedders supply, or pick from ours, three traits: [`PeerStore`], [`MfaVerifier`] and
//! [`InterfaceBackend`]. What nearly every program needs is here at the top; the rest is one module
//! deep.
//!
//! The [`manual`] has the chapters: threat model, protocol, expiry, policy, lease guard, and how to
//! write a store, a verifier or a backend.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod assurance;
pub mod channel;
#[cfg(feature = "runtime")]
pub mod client;
pub mod code;
mod error_code;
pub mod id;
#[cfg(any(feature = "gate", feature = "runtime"))]
pub mod interface;
pub mod key;
pub mod manual;
pub mod prove;
#[cfg(feature = "device-key")]
pub mod signature;
pub mod time;

#[cfg(any(feature = "runtime", feature = "webauthn", feature = "oidc"))]
mod log;
#[cfg(any(feature = "totp", feature = "terminal-prompt"))]
mod qr;
mod scrub;

#[cfg(any(feature = "gate", feature = "device-key", feature = "profile"))]
mod private_file;

#[cfg(feature = "gate")]
pub mod audit;
#[cfg(feature = "gate")]
pub mod authorise;
#[cfg(feature = "gate")]
pub mod enrol;
#[cfg(feature = "gate")]
pub mod factor;
#[cfg(all(feature = "gate", feature = "runtime"))]
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
mod runtime;
#[cfg(all(feature = "terminal-prompt", unix))]
pub mod terminal;
#[cfg(feature = "testing")]
pub mod testing;

pub use id::{LocationId, SessionId, UserId};
pub use key::{PrivateKey, PublicKey};

#[cfg(any(feature = "gate", feature = "runtime"))]
pub use interface::{InterfaceBackend, InterfaceError};

#[cfg(feature = "runtime")]
pub use client::{Client, ClientBuilder, ConnectError, Onboarding, Profile, Prompt, prompt_fn};
#[cfg(feature = "runtime")]
pub use runtime::IntoArc;

#[cfg(feature = "gate")]
pub use enrol::{EnrolError, Registrar};
#[cfg(feature = "gate")]
pub use factor::{MfaVerifier, VerifyError};
#[cfg(all(feature = "gate", feature = "runtime"))]
pub use gate::{Gate, GateBuilder, GateConfig, RevokeError, Scope, StartError};
#[cfg(feature = "gate")]
pub use policy::Policy;
#[cfg(feature = "gate")]
pub use seal::KeyRing;
#[cfg(feature = "gate")]
pub use store::{PeerStore, StoreError};

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
