//! Backends with real packets, each test in network namespaces of its own, which go with it.
//! They need root, `/dev/net/tun`, `ip`, `wg`, `wireguard-go`, `ping` and
//! `ethtool`.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![expect(
    clippy::disallowed_methods,
    reason = "what is measured is measured by the machine's clock"
)]

mod bound;
mod families;
mod files;
mod harness;
mod in_process;
mod line;
mod names;
mod network;
mod offloads;
mod other_makes;
mod restart;
mod routes;
mod uapi;
mod userspace;
mod watch;

#[path = "../support/fencing.rs"]
mod fencing;
#[path = "../support/flow.rs"]
mod flow;
#[path = "../support/leased.rs"]
mod leased;
#[path = "../support/stubborn.rs"]
mod stubborn;
