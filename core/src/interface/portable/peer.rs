//! Peers as the crate has them, and back. Its keys have no secret's manners, so they stay here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use defguard_wireguard_rs::key::Key;
use defguard_wireguard_rs::net::IpAddrMask;
use defguard_wireguard_rs::peer::Peer;
use ipnet::IpNet;

use crate::interface::{Activity, PeerConfig};
use crate::key::{PresharedKey, PublicKey};
use crate::time::Timestamp;

/// What keeps a renewed peer's path open: the figure that WireGuard's own documentation names.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(25);

/// A peer with everything said: what is left unsaid is left as it was.
pub(super) fn foreign(peer: &PeerConfig) -> Peer {
    let mut foreign = Peer::new(foreign_key(&peer.key));
    // A key of zeroes is WireGuard's own way to say that there is none.
    let psk = peer
        .psk
        .as_ref()
        .map_or([0; 32], |psk| *psk.expose_secret());
    foreign.preshared_key = Some(Key::new(psk));
    foreign.endpoint = peer.endpoint;
    foreign.persistent_keepalive_interval = Some(peer.keepalive.map_or(0, |every| {
        u16::try_from(every.as_secs().max(1)).unwrap_or(u16::MAX)
    }));
    foreign.allowed_ips = peer.allowed_ips.iter().map(address).collect();
    foreign
}

pub(super) fn foreign_key(key: &PublicKey) -> Key {
    Key::new(*key.as_bytes())
}

pub(super) fn address(net: &IpNet) -> IpAddrMask {
    IpAddrMask::new(net.addr(), net.prefix_len())
}

/// A peer as the interface tells of it, by its key.
pub(super) fn own(peer: &Peer) -> (PublicKey, (PeerConfig, Activity)) {
    let key = PublicKey::from_bytes(peer.public_key.as_array());
    let psk = peer.preshared_key.as_ref().map(Key::as_array);
    let psk = psk
        .filter(|psk| *psk != [0; 32])
        .map(PresharedKey::from_bytes);
    let networks = peer.allowed_ips.iter();
    let networks = networks.filter_map(|net| IpNet::new(net.address, net.cidr).ok());
    let mut config = PeerConfig::new(key, psk, networks.collect());
    config.endpoint = peer.endpoint;
    let keepalive = peer
        .persistent_keepalive_interval
        .filter(|every| *every > 0);
    config.keepalive = keepalive.map(|every| Duration::from_secs(every.into()));
    let mut activity = Activity::silent(key);
    activity.last_handshake = peer.last_handshake.and_then(timestamp);
    activity.received = peer.rx_bytes;
    activity.sent = peer.tx_bytes;
    activity.endpoint = peer.endpoint;
    (key, (config, activity))
}

/// Whether a peer has the preshared key and the networks that it was given.
pub(super) fn is_as_told(found: &PeerConfig, wanted: &PeerConfig) -> bool {
    let networks = |peer: &PeerConfig| {
        let mut networks: Vec<_> = peer.allowed_ips.iter().map(IpNet::trunc).collect();
        networks.sort_unstable();
        networks.dedup();
        networks
    };
    found.psk == wanted.psk && networks(found) == networks(wanted)
}

/// Zero is what some say when there was no handshake.
fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    let millis = u64::try_from(since.as_millis()).ok()?;
    (millis > 0).then(|| Timestamp::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(psk: Option<PresharedKey>) -> PeerConfig {
        let networks = vec!["10.0.0.2/32".parse().unwrap(), "fd00::/64".parse().unwrap()];
        PeerConfig::new(PublicKey::from_bytes([2; 32]), psk, networks)
    }

    #[test]
    fn what_is_told_reads_back() {
        let told = peer(Some(PresharedKey::from_bytes([3; 32])))
            .with_endpoint("[2001:db8::1]:9".parse().unwrap())
            .with_keepalive(Duration::from_secs(25));
        let (key, (read, activity)) = own(&foreign(&told));
        assert_eq!((key, &read), (told.key, &told));
        assert_eq!(activity.last_handshake, None);
        assert!(is_as_told(&read, &told));
    }

    #[test]
    fn no_preshared_key_is_said_and_clears_one() {
        let said = foreign(&peer(None));
        assert_eq!(said.preshared_key.map(|key| key.as_array()), Some([0; 32]));
        assert_eq!(own(&foreign(&peer(None))).1.0.psk, None);
        assert_eq!(said.persistent_keepalive_interval, Some(0));
    }

    #[test]
    fn what_makes_no_sense_of_a_peers_traffic_keeps_it_on_the_list() {
        let mut odd = foreign(&peer(None));
        odd.last_handshake = UNIX_EPOCH.checked_sub(Duration::from_secs(1));
        (odd.rx_bytes, odd.persistent_keepalive_interval) = (u64::MAX, Some(u16::MAX));
        let (key, (read, activity)) = own(&odd);
        assert_eq!(key, peer(None).key);
        assert!(is_as_told(&read, &peer(None)));
        assert_eq!(activity.last_handshake, None);
    }

    #[test]
    fn another_key_or_other_networks_are_not_as_told() {
        let told = peer(Some(PresharedKey::from_bytes([3; 32])));
        assert!(!is_as_told(&peer(None), &told));
        let mut fewer = told.clone();
        fewer.allowed_ips.pop();
        assert!(!is_as_told(&fewer, &told));
        let mut turned = told.clone();
        turned.allowed_ips.reverse();
        assert!(is_as_told(&turned, &told));
    }
}
