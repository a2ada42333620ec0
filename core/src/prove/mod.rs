//! What a client answers challenges with, where it takes more than a text that a user types.
//!
//! Nothing here decides who is admitted: the gate's verifiers do.

#[cfg(feature = "device-key")]
pub mod device_key;
#[cfg(feature = "oidc-login")]
pub mod oidc;
pub mod webauthn;
