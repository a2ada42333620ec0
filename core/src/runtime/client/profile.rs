//! What an administrator hands out to a client.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::Endpoint;
use crate::id::LocationId;
use crate::key::{PrivateKey, PublicKey};

/// All that a client needs to know of its location. Holds the device's private key: whoever has it
/// still needs to pass the factors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The location's name, for people.
    pub location: LocationId,
    /// The location's WireGuard public key; the gate proves itself by it.
    pub location_key: PublicKey,
    /// The control URLs of the location's gates, in the order to try them. May be empty where the
    /// app brings a transport of its own.
    pub control: Vec<String>,
    /// Where the location's WireGuard listens.
    pub endpoint: Endpoint,
    /// The device's WireGuard private key.
    pub private_key: PrivateKey,
    /// The device's own addresses inside the tunnel.
    pub addresses: Vec<IpNet>,
    /// What is routed into the tunnel.
    pub allowed_ips: Vec<IpNet>,
    /// Persistent keepalive, in whole seconds; `None` is off.
    pub keepalive: Option<Duration>,
    /// Resolvers inside the tunnel, for whoever sets the device's up: the client itself does not.
    pub dns: Vec<IpAddr>,
    /// The largest packet inside the tunnel, in bytes, for whoever makes the interface; `None`
    /// leaves it to them.
    pub mtu: Option<u16>,
}
