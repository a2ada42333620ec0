//! What can be said without a kernel: which messages a batch makes, and what a dump means. The
//! rest is in `tests/kernel`.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's attributes are many and will be more: what isn't asked for is passed over"
)]

use netlink_packet_core::Emitable;
use netlink_packet_wireguard::{
    WireguardPeer, WireguardPeerAttribute as Attribute, WireguardPeerFlags as Flags,
};

use super::*;
use crate::key::PresharedKey;

fn peer(number: u8, networks: u16) -> PeerConfig {
    let networks = (0..networks).map(|n| format!("fd00::{n:x}/128").parse().unwrap());
    let psk = PresharedKey::from_bytes([number; 32]);
    let key = PublicKey::from_bytes([number; 32]);
    PeerConfig::new(key, Some(psk), networks.collect())
}

fn flags(entry: &WireguardPeer) -> Flags {
    let flags = entry.0.iter().find_map(|attribute| match attribute {
        Attribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    flags.unwrap()
}

fn psk(entry: &WireguardPeer) -> Option<[u8; 32]> {
    entry.0.iter().find_map(|attribute| match attribute {
        Attribute::PresharedKey(psk) => Some(*psk),
        _ => None,
    })
}

#[test]
fn to_install_is_to_remove_and_then_to_add() {
    let entries = peer::to_install(&peer(1, 1));
    let [removal, addition] = &entries[..] else {
        panic!("{} entries", entries.len())
    };
    assert_eq!(flags(removal), Flags::RemoveMe | Flags::UpdateOnly);
    assert_eq!(flags(addition), Flags::ReplaceAllowedIps);
    assert_eq!(psk(addition), Some([1; 32]));
}

#[test]
fn no_preshared_key_is_one_of_zeroes() {
    let mut bare = peer(1, 1);
    bare.psk = None;
    let entries = peer::to_renew(&bare, &peer::Known::new());
    assert_eq!(entries.iter().find_map(psk), Some([0; 32]));
}

#[test]
fn a_renewal_replaces_networks_only_when_they_are_others() {
    let mut known = peer::Known::new();
    let renewed = peer(1, 2);
    assert_eq!(
        flags(&peer::to_renew(&renewed, &known)[0]),
        Flags::ReplaceAllowedIps
    );
    known.insert(renewed.key, peer::networks(&renewed));
    assert_eq!(flags(&peer::to_renew(&renewed, &known)[0]), Flags::empty());
    let wider = peer(1, 3);
    assert_eq!(
        flags(&peer::to_renew(&wider, &known)[0]),
        Flags::ReplaceAllowedIps
    );
}

#[test]
fn no_message_is_longer_than_one_may_be_and_nothing_is_lost() {
    let batch: Vec<_> = (0..200).map(|n| peer(n, u16::from(n) * 10)).collect();
    let groups: Vec<_> = batch.iter().map(peer::to_install).collect();
    let wanted: Vec<_> = groups.concat();
    let messages = peer::messages(groups);
    assert!(messages.len() > 1);
    for message in &messages {
        assert!(message.0.iter().map(Emitable::buffer_len).sum::<usize>() < 1 << 16);
    }
    let sent: Vec<_> = messages
        .iter()
        .flat_map(|message| message.0.clone())
        .collect();
    assert!(sent == wanted);
}

#[test]
fn a_peer_that_a_dump_tells_of_in_parts_is_one() {
    let mut told = Vec::new();
    let whole = peer(1, 2000);
    for batch in [&peer(0, 1), &whole, &peer(2, 1)] {
        for entry in peer::to_renew(batch, &peer::Known::new()) {
            peer::collect(&mut told, &entry).unwrap();
        }
    }
    assert_eq!(told.len(), 3);
    assert_eq!(told[1].config.psk, whole.psk);
    assert_eq!(told[1].config.allowed_ips.len(), 2000);
    let nameless = WireguardPeer(vec![Attribute::RxBytes(1)]);
    assert!(peer::collect(&mut told, &nameless).is_err());
}

#[test]
fn what_makes_no_sense_of_a_peers_traffic_keeps_it_on_the_list() {
    let time = netlink_packet_wireguard::WireguardTimeSpec {
        seconds: -1,
        nano_seconds: i64::MIN,
    };
    let at = "[fe80::1%7]:51820".parse().unwrap();
    let entry = WireguardPeer(vec![
        Attribute::PublicKey([1; 32]),
        Attribute::Endpoint(at),
        Attribute::LastHandshake(time),
        Attribute::RxBytes(u64::MAX),
        Attribute::PersistentKeepalive(u16::MAX),
    ]);
    let mut told = Vec::new();
    peer::collect(&mut told, &entry).unwrap();
    let [peer] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(peer.config.endpoint, Some(at));
    assert_eq!(peer.activity.last_handshake, None);
}

#[test]
fn a_batch_is_taken_in_turns_and_whole() {
    let batch: Vec<_> = (0..=255).chain(0..=44).map(|n| peer(n, 0)).collect();
    let turned: Vec<_> = parts(batch.clone()).collect();
    assert_eq!(turned.iter().map(Vec::len).collect::<Vec<_>>(), [TURN, 45]);
    assert!(turned.concat() == batch);
    assert_eq!(parts(Vec::new()).count(), 0);
}

#[test]
fn a_name_that_the_kernel_would_cut_or_refuse_is_refused() {
    for name in ["wg0", "wg-office_1.2", "fifteen-bytes-x"] {
        assert!(check_name(name).is_ok(), "{name}");
    }
    for name in ["", ".", "..", "a b", "a/b", "a:b", "é", "sixteen-bytes-xx"] {
        assert!(check_name(name).is_err(), "{name}");
    }
}
