//! What an administrator hands out to a client.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::Endpoint;
use crate::id::LocationId;
use crate::interface::{PeerConfig, list};
use crate::key::{PrivateKey, PublicKey};

/// All that a client needs to know of its location. Holds the device's private key: anyone who has it
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
    /// Resolvers inside the tunnel, for anyone who sets the device's up: the client itself does not.
    pub dns: Vec<IpAddr>,
    /// The largest packet inside the tunnel, in bytes, for anyone who makes the interface; `None`
    /// leaves it to them.
    pub mtu: Option<u16>,
}

impl Profile {
    /// The text of a file for `wg-quick`: this device's section with its private key, further lines
    /// of it such as `PostUp`, each with its line end, and the peer's section. Zeroized on drop.
    ///
    /// Anyone who has it may use the tunnel until the session of its preshared key ends.
    pub fn to_wg_quick(&self, peer: &PeerConfig, more: &str) -> Zeroizing<String> {
        let peer = peer.to_wg_quick();
        let lists = 64 * (self.addresses.len() + self.dns.len());
        let room = 256 + lists + more.len() + peer.len();
        let mut text = Zeroizing::new(String::with_capacity(room));
        let key = self.private_key.expose_base64();
        // Writing to a string does not fail.
        _ = writeln!(text, "[Interface]\nPrivateKey = {}", *key);
        _ = writeln!(text, "Address = {}", list(&self.addresses));
        if !self.dns.is_empty() {
            _ = writeln!(text, "DNS = {}", list(&self.dns));
        }
        if let Some(mtu) = self.mtu {
            _ = writeln!(text, "MTU = {mtu}");
        }
        text.push_str(more);
        text.push('\n');
        text.push_str(&peer);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::PresharedKey;

    #[test]
    fn a_profile_and_its_peer_are_a_file_for_wg_quick() {
        let profile = Profile {
            location: "office".parse().unwrap(),
            location_key: PublicKey::from_bytes([1; 32]),
            control: Vec::new(),
            endpoint: "192.0.2.1:51820".parse().unwrap(),
            private_key: PrivateKey::from_bytes([7; 32]),
            addresses: vec![
                "10.9.0.2/32".parse().unwrap(),
                "fd09::2/128".parse().unwrap(),
            ],
            allowed_ips: vec!["10.9.0.0/24".parse().unwrap()],
            keepalive: None,
            dns: vec!["10.9.0.1".parse().unwrap()],
            mtu: Some(1380),
        };
        let psk = Some(PresharedKey::from_bytes([2; 32]));
        let peer = PeerConfig::new(profile.location_key, psk, profile.allowed_ips.clone())
            .with_endpoint("192.0.2.1:51820".parse().unwrap());

        insta::assert_snapshot!(profile.to_wg_quick(&peer, "PostUp = true\n").as_str(), @r"
        [Interface]
        PrivateKey = BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=
        Address = 10.9.0.2/32, fd09::2/128
        DNS = 10.9.0.1
        MTU = 1380
        PostUp = true

        [Peer]
        PublicKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=
        PresharedKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=
        AllowedIPs = 10.9.0.0/24
        Endpoint = 192.0.2.1:51820
        ");
    }
}
