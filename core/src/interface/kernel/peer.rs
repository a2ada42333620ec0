//! Peers as the kernel's messages have them, and back.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's attributes are many and will be more: what isn't asked for is passed over"
)]

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_core::Emitable;
use netlink_packet_wireguard::{
    WireguardAddressFamily as Family, WireguardAllowedIp,
    WireguardAllowedIpAttr as AddressAttribute, WireguardPeer, WireguardPeerAttribute as Attribute,
    WireguardPeerFlags as Flags, WireguardTimeSpec,
};

use super::netlink::Wiped;
use crate::interface::{Activity, PeerConfig};
use crate::key::{PresharedKey, PublicKey};
use crate::time::Timestamp;

/// The peers of one message are in one attribute, whose length has 16 bits.
const LONGEST: usize = 60_000;

/// Allowed IPs in one entry; a peer that has more takes several.
const MOST_ADDRESSES: usize = 512;

/// The networks that a peer was last given, by peer.
pub(super) type Known = BTreeMap<PublicKey, Vec<IpNet>>;

/// Entries that must be in order; those of one peer stay in one message where they can.
type Entries = Vec<WireguardPeer>;

/// What puts a peer there, inheriting nothing: it is removed first.
pub(super) fn to_install(peer: &PeerConfig) -> Entries {
    let mut entries = vec![removal(&peer.key)];
    entries.extend(with_addresses(peer, Flags::ReplaceAllowedIps));
    entries
}

/// What changes a peer in place, or adds it. Networks that it has already are named again, which
/// neither adds nor interrupts; only if it has others are they replaced, and for the blink of an
/// eye it then has none.
pub(super) fn to_renew(peer: &PeerConfig, known: &Known) -> Entries {
    let has_the_same = known.get(&peer.key) == Some(&networks(peer));
    let flags = if has_the_same {
        Flags::empty()
    } else {
        Flags::ReplaceAllowedIps
    };
    with_addresses(peer, flags)
}

/// What takes a peer's networks away: from then on it passes nothing, in either direction.
pub(super) fn to_shut(key: &PublicKey) -> Entries {
    vec![entry(key, Flags::ReplaceAllowedIps | Flags::UpdateOnly)]
}

/// What removes a peer. One that is absent is removed.
pub(super) fn to_remove(key: &PublicKey) -> Entries {
    vec![removal(key)]
}

/// A peer's networks in the one form in which they are compared.
pub(super) fn networks(peer: &PeerConfig) -> Vec<IpNet> {
    let mut networks: Vec<IpNet> = peer.allowed_ips.iter().map(IpNet::trunc).collect();
    networks.sort_unstable();
    networks.dedup();
    networks
}

/// Deals entries out to messages that are as long as one may be.
pub(super) fn messages(groups: impl IntoIterator<Item = Entries>) -> Vec<Wiped> {
    let mut messages: Vec<Wiped> = Vec::new();
    let mut room = 0;
    for group in groups {
        if group.iter().map(Emitable::buffer_len).sum::<usize>() > room {
            messages.push(Wiped(Vec::new()));
            room = LONGEST;
        }
        for entry in group {
            let length = entry.buffer_len();
            if length > room {
                messages.push(Wiped(Vec::new()));
                room = LONGEST;
            }
            room = room.saturating_sub(length);
            if let Some(message) = messages.last_mut() {
                message.0.push(entry);
            }
        }
    }
    messages
}

fn removal(key: &PublicKey) -> WireguardPeer {
    entry(key, Flags::RemoveMe | Flags::UpdateOnly)
}

fn entry(key: &PublicKey, flags: Flags) -> WireguardPeer {
    WireguardPeer(vec![
        Attribute::PublicKey(*key.as_bytes()),
        Attribute::Flags(flags),
    ])
}

/// One entry with all there is to say of a peer, and more of them if it has many networks.
fn with_addresses(peer: &PeerConfig, flags: Flags) -> Entries {
    let networks = networks(peer);
    let mut chunks = networks.chunks(MOST_ADDRESSES);
    let mut first = entry(&peer.key, flags);
    // A key of zeroes is WireGuard's own way to say that there is none.
    let psk = peer
        .psk
        .as_ref()
        .map_or([0; 32], |psk| *psk.expose_secret());
    first.0.push(Attribute::PresharedKey(psk));
    first.0.extend(peer.endpoint.map(Attribute::Endpoint));
    first
        .0
        .push(Attribute::PersistentKeepalive(keepalive(peer)));
    first.0.extend(chunks.next().map(addresses));
    let more = chunks.map(|chunk| {
        let mut more = entry(&peer.key, Flags::UpdateOnly);
        more.0.push(addresses(chunk));
        more
    });
    std::iter::once(first).chain(more).collect()
}

/// Seconds; zero is off.
fn keepalive(peer: &PeerConfig) -> u16 {
    peer.keepalive.map_or(0, |every| {
        u16::try_from(every.as_secs().max(1)).unwrap_or(u16::MAX)
    })
}

fn addresses(networks: &[IpNet]) -> Attribute {
    let attributes = networks.iter().map(|network| {
        let family = match network {
            IpNet::V4(_) => Family::Ipv4,
            IpNet::V6(_) => Family::Ipv6,
        };
        WireguardAllowedIp(vec![
            AddressAttribute::Family(family),
            AddressAttribute::IpAddr(network.addr()),
            AddressAttribute::Cidr(network.prefix_len()),
        ])
    });
    Attribute::AllowedIps(attributes.collect())
}

/// A peer as the kernel tells of it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) config: PeerConfig,
    pub(super) activity: Activity,
}

/// Adds an entry of a dump to those before it. A peer whose networks don't fit one message goes on
/// in the next, by its key and the networks that are left.
pub(super) fn collect(peers: &mut Vec<Told>, entry: &WireguardPeer) -> io::Result<()> {
    let key = entry.0.iter().find_map(|attribute| match attribute {
        Attribute::PublicKey(key) => Some(PublicKey::from_bytes(*key)),
        _ => None,
    });
    let key = key.ok_or_else(|| io::Error::other("the kernel lists a peer without a key"))?;
    if peers.last().is_none_or(|last| last.config.key != key) {
        peers.push(Told {
            config: PeerConfig::new(key, None, Vec::new()),
            activity: Activity::silent(key),
        });
    }
    if let Some(peer) = peers.last_mut() {
        for attribute in &entry.0 {
            peer.take(attribute)?;
        }
    }
    Ok(())
}

impl Told {
    fn take(&mut self, attribute: &Attribute) -> io::Result<()> {
        match attribute {
            Attribute::PresharedKey(psk) if *psk != [0; 32] => {
                self.config.psk = PresharedKey::from_slice(psk);
            }
            Attribute::Endpoint(endpoint) => {
                self.config.endpoint = Some(*endpoint);
                self.activity.endpoint = Some(*endpoint);
            }
            Attribute::PersistentKeepalive(seconds) if *seconds > 0 => {
                self.config.keepalive = Some(Duration::from_secs((*seconds).into()));
            }
            Attribute::LastHandshake(time) => self.activity.last_handshake = timestamp(*time),
            Attribute::RxBytes(bytes) => self.activity.received = *bytes,
            Attribute::TxBytes(bytes) => self.activity.sent = *bytes,
            Attribute::AllowedIps(addresses) => {
                for address in addresses {
                    self.config.allowed_ips.push(network(address)?);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn network(address: &WireguardAllowedIp) -> io::Result<IpNet> {
    let (mut ip, mut length) = (None, None);
    for attribute in &address.0 {
        match attribute {
            AddressAttribute::IpAddr(address) => ip = Some(*address),
            AddressAttribute::Cidr(cidr) => length = Some(*cidr),
            _ => {}
        }
    }
    ip.zip(length)
        .and_then(|(ip, length)| IpNet::new(ip, length).ok())
        .ok_or_else(|| io::Error::other("the kernel lists an allowed IP that is none"))
}

/// The kernel says zero when there was no handshake.
fn timestamp(time: WireguardTimeSpec) -> Option<Timestamp> {
    let seconds = u64::try_from(time.seconds).ok()?;
    let nanos = u64::try_from(time.nano_seconds).ok()?;
    let millis = seconds
        .saturating_mul(1000)
        .saturating_add(nanos / 1_000_000);
    (millis > 0).then(|| Timestamp::from_millis(millis))
}
