//! Backends with real packets, each test in network namespaces of its own, which go with it.
//! They need root, `/dev/net/tun`, `ip`, `wg`, `wireguard-go` and `ping`.
#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod harness;
mod network;
mod other_makes;
mod uapi;
mod userspace;
