//! The control channel: Noise over the WireGuard keys, typed messages, and the key schedule of the
//! preshared key. The [`protocol`](crate::manual::protocol) chapter is its specification.

pub mod message;
pub mod transport;
