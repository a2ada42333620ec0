//! A peer in the two texts that WireGuard implementations read: `wg-quick`'s and the cross-platform
//! configuration protocol's. Both hold secrets, and are zeroized on drop.

use std::fmt::{Display, Write};

use data_encoding::{BASE64, HEXLOWER};
use zeroize::Zeroizing;

use super::PeerConfig;

impl PeerConfig {
    /// The peer's lines of a `set` operation of the cross-platform configuration protocol
    /// (<https://www.wireguard.com/xplatform/>), without the `set=1` before and the empty line after
    /// them. Everything is said, so that nothing is inherited from an earlier peer of the key.
    pub fn to_uapi(&self) -> Zeroizing<String> {
        self.uapi_lines("")
    }

    /// The same, with lines of the operation's between the keys and the rest.
    pub(crate) fn uapi_lines(&self, how: &str) -> Zeroizing<String> {
        let mut text = self.room();
        let none = Zeroizing::new([0; 32]);
        let psk = self.psk.as_ref().map_or(&*none, |psk| psk.expose_secret());
        let psk = Zeroizing::new(HEXLOWER.encode(psk));
        // An interval of less than a second would be off.
        let keepalive = self.keepalive.map_or(0, |every| every.as_secs().max(1));
        // Writing to a string does not fail.
        _ = writeln!(text, "public_key={}", HEXLOWER.encode(self.key.as_bytes()));
        _ = writeln!(text, "preshared_key={}", *psk);
        text.push_str(how);
        text.push_str("replace_allowed_ips=true\n");
        _ = writeln!(text, "persistent_keepalive_interval={keepalive}");
        if let Some(endpoint) = self.endpoint {
            _ = writeln!(text, "endpoint={endpoint}");
        }
        for network in &self.allowed_ips {
            _ = writeln!(text, "allowed_ip={network}");
        }
        text
    }

    /// The peer's section of a `wg-quick` file.
    pub fn to_wg_quick(&self) -> Zeroizing<String> {
        let mut text = self.room();
        _ = writeln!(text, "[Peer]\nPublicKey = {}", self.key);
        if let Some(psk) = &self.psk {
            let psk = Zeroizing::new(BASE64.encode(psk.expose_secret()));
            _ = writeln!(text, "PresharedKey = {}", *psk);
        }
        _ = writeln!(text, "AllowedIPs = {}", list(&self.allowed_ips));
        if let Some(endpoint) = self.endpoint {
            _ = writeln!(text, "Endpoint = {endpoint}");
        }
        if let Some(keepalive) = self.keepalive {
            _ = writeln!(text, "PersistentKeepalive = {}", keepalive.as_secs().max(1));
        }
        text
    }

    /// Room for either text, so that it does not grow and leave a copy behind.
    fn room(&self) -> Zeroizing<String> {
        let room = 512 + 64 * self.allowed_ips.len();
        Zeroizing::new(String::with_capacity(room))
    }
}

/// Values of one line of a `wg-quick` file.
pub(crate) fn list<T: Display>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::key::{PresharedKey, PublicKey};

    fn peer() -> PeerConfig {
        let networks = ["10.9.0.0/24", "fd09::/64"].map(|it| it.parse().unwrap());
        PeerConfig::new(
            PublicKey::from_bytes([1; 32]),
            Some(PresharedKey::from_bytes([2; 32])),
            networks.to_vec(),
        )
        .with_endpoint("[2001:db8::1]:51820".parse().unwrap())
        .with_keepalive(Duration::from_millis(500))
    }

    #[test]
    fn a_peer_is_written_as_wireguard_reads_it() {
        insta::assert_snapshot!(peer().to_uapi().as_str(), @r"
        public_key=0101010101010101010101010101010101010101010101010101010101010101
        preshared_key=0202020202020202020202020202020202020202020202020202020202020202
        replace_allowed_ips=true
        persistent_keepalive_interval=1
        endpoint=[2001:db8::1]:51820
        allowed_ip=10.9.0.0/24
        allowed_ip=fd09::/64
        ");
        insta::assert_snapshot!(peer().to_wg_quick().as_str(), @r"
        [Peer]
        PublicKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=
        PresharedKey = AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=
        AllowedIPs = 10.9.0.0/24, fd09::/64
        Endpoint = [2001:db8::1]:51820
        PersistentKeepalive = 1
        ");
    }

    #[test]
    fn a_peer_without_a_preshared_key_says_so_and_its_text_does_not_grow() {
        let mut bare = PeerConfig::new(PublicKey::from_bytes([1; 32]), None, Vec::new());
        assert!(
            bare.to_uapi()
                .contains(&format!("preshared_key={}\n", "0".repeat(64)))
        );
        assert!(!bare.to_wg_quick().contains("PresharedKey"));

        bare = peer();
        bare.allowed_ips = vec![
            "2001:db8:1111:2222:3333:4444:5555:6666/128"
                .parse()
                .unwrap();
            50
        ];
        for text in [bare.to_uapi(), bare.to_wg_quick()] {
            assert_eq!(text.capacity(), 512 + 64 * 50);
        }
    }
}
