//! `gate-server` and `connect` as their users run them.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod adoption;
mod app;
mod before;
mod crash;
mod desk;
mod device;
mod factors;
mod faults;
mod idle;
mod inner;
mod kernel;
mod left;
mod openid;
mod policy;
mod programs;
mod quickstart;
mod ring;
mod roaming;
mod secrets;
mod settings;
mod site;
mod story;
mod system;
mod upkeep;

#[path = "../../../core/tests/support/mail.rs"]
#[expect(dead_code, reason = "the sender's own tests need more of it")]
mod mail;
#[path = "../../../core/tests/interface/network.rs"]
mod network;
#[path = "../../../core/tests/support/oidc_provider.rs"]
#[expect(dead_code, reason = "the verifier's own tests need more of it")]
mod oidc_provider;
#[path = "../../../core/tests/support/passkey.rs"]
#[expect(dead_code, reason = "the verifier's own tests need more of it")]
mod passkey;
