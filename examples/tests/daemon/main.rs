//! `gate-server` and `connect` as their users run them.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod crash;
mod device;
mod policy;
mod site;
mod story;
mod system;

#[path = "../../../core/tests/interface/network.rs"]
mod network;
