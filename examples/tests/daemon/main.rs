//! `gate-server` and `connect` as their users run them.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod adoption;
mod app;
mod before;
mod clock;
mod crash;
mod device;
mod enrolling;
mod exclusion;
mod factors;
mod faults;
mod flood;
mod idle;
mod inner;
mod json_client;
mod kernel;
mod memory;
mod openid;
mod outlets;
mod policy;
mod programs;
mod quickstart;
mod report;
mod restarts;
mod roaming;
mod rotate;
mod routes;
mod secrets;
mod settings;
mod signals;
mod site;
mod stale_interfaces;
mod stopping;
mod storage;
mod system;
mod taken;
mod upkeep;
mod wiped;

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
