//! The text of WireGuard's cross-platform configuration protocol
//! (<https://www.wireguard.com/xplatform/>): requests as they are sent, responses as they are read.

use std::net::SocketAddr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use ipnet::IpNet;
use zeroize::Zeroizing;

use super::UapiFault;
use crate::interface::{Activity, PeerConfig};
use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::time::Timestamp;

/// Asks for everything.
pub(super) const GET: &str = "get=1\n\n";
/// Removes every peer.
pub(super) const EMPTY: &str = "set=1\nreplace_peers=true\n\n";
/// Bytes that a response is given at first.
pub(super) const ROOM: usize = 16 * 1024;

/// What an interface has.
#[derive(Default)]
pub(super) struct Device {
    pub(super) public_key: Option<PublicKey>,
    pub(super) peers: Vec<Peer>,
    /// Whether the program says how long ago a handshake was, and not when.
    tells_ages: bool,
}

/// One peer of an interface.
pub(super) struct Peer {
    pub(super) config: PeerConfig,
    /// But for the last handshake.
    activity: Activity,
    /// Of the last handshake: when, or how long ago.
    handshake_secs: Option<u64>,
}

impl Device {
    pub(super) fn find(&self, key: &PublicKey) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.config.key == *key)
    }

    /// What is told of a peer's traffic, by someone who knows what time it is.
    pub(super) fn activity(&self, key: &PublicKey, now: Timestamp) -> Option<Activity> {
        let Peer {
            mut activity,
            handshake_secs,
            ..
        } = *self.find(key)?;
        activity.last_handshake = match handshake_secs {
            Some(ago) if self.tells_ages => Some(now - Duration::from_secs(ago)),
            None | Some(0) => None,
            Some(secs) => Some(Timestamp::from_millis(secs.saturating_mul(1000))),
        };
        Some(activity)
    }
}

/// Removes a peer, if it is there.
pub(super) fn remove(peer: &PublicKey) -> String {
    format!(
        "set=1\npublic_key={}\nremove=true\n\n",
        hex(peer.as_bytes()).as_str()
    )
}

/// Adds a peer that is not there. Everything is said, so that nothing is inherited.
pub(super) fn add(peer: &PeerConfig) -> Zeroizing<String> {
    request(peer, "")
}

/// Changes a peer, if it is there.
pub(super) fn update(peer: &PeerConfig) -> Zeroizing<String> {
    request(peer, "update_only=true\n")
}

fn request(peer: &PeerConfig, how: &str) -> Zeroizing<String> {
    let lines = peer.uapi_lines(how);
    let mut text = Zeroizing::new(String::with_capacity(lines.len() + 16));
    text.push_str("set=1\n");
    text.push_str(&lines);
    text.push('\n');
    text
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(HEXLOWER.encode(bytes))
}

/// Appends to a buffer that leaves nothing behind where it has to grow.
pub(super) fn append(buffer: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    if buffer.capacity() - buffer.len() < bytes.len() {
        let room = 2 * buffer.capacity().max(bytes.len());
        let mut larger = Zeroizing::new(Vec::with_capacity(room));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(bytes);
}

/// Whether a response says that all went well.
pub(super) fn check(response: &[u8]) -> Result<(), UapiFault> {
    parse(response).map(drop)
}

/// Reads a response. Without `errno=0` at its end it says nothing.
pub(super) fn parse(response: &[u8]) -> Result<Device, UapiFault> {
    let mut device = Device::default();
    each_line(response, |name, value| device.take(name, value))?;
    Ok(device)
}

/// Reads from a response who is there, and nothing else. A removal needs to know no more, and so
/// nothing else that a program says of a peer can stand in its way.
pub(super) fn parse_keys(response: &[u8]) -> Result<Vec<PublicKey>, UapiFault> {
    let mut keys = Vec::new();
    each_line(response, |name, value| {
        if name == "public_key" {
            keys.push(PublicKey::from_bytes(*key(value)?));
        }
        Ok(())
    })?;
    Ok(keys)
}

/// Hands on the lines of a response before its last, which must be `errno=0`. The text is not
/// always UTF-8: the zone of an endpoint is the name of a network interface, of any bytes.
fn each_line(
    response: &[u8],
    mut each: impl FnMut(&str, &[u8]) -> Result<(), UapiFault>,
) -> Result<(), UapiFault> {
    let mut errno = None;
    let lines = response.split(|byte| *byte == b'\n');
    for line in lines.take_while(|line| !line.is_empty()) {
        // It is the last line. What comes after could take back what was said before.
        if errno.is_some() {
            return Err(UapiFault::Malformed);
        }
        let middle = line.iter().position(|byte| *byte == b'=');
        let (name, value) = line.split_at(middle.ok_or(UapiFault::Malformed)?);
        let name = std::str::from_utf8(name).map_err(|_| UapiFault::Malformed)?;
        let value = value.get(1..).unwrap_or_default();
        if name == "errno" {
            errno = Some(read(value).ok_or(UapiFault::Malformed)?);
        } else {
            each(name, value)?;
        }
    }
    match errno {
        Some(0) => Ok(()),
        Some(errno) => Err(UapiFault::Refused { errno }),
        None => Err(UapiFault::Malformed),
    }
}

impl Device {
    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), UapiFault> {
        match (name, self.peers.last_mut()) {
            // Programs keep a private key clamped (RFC 7748, section 5): the public half is the same.
            ("private_key", None) => {
                let private = PrivateKey::from_bytes(*key(value)?);
                self.public_key = Some(private.public_key());
            }
            // boringtun says no more than this of its key, and tells ages.
            ("own_public_key", None) => {
                self.public_key = Some(PublicKey::from_bytes(*key(value)?));
                self.tells_ages = true;
            }
            ("public_key", _) => self.peers.push(silent(PublicKey::from_bytes(*key(value)?))),
            (_, Some(peer)) => peer.take(name, value)?,
            // The port, the mark, and what later versions may say of the interface.
            (_, None) => {}
        }
        Ok(())
    }
}

fn silent(key: PublicKey) -> Peer {
    Peer {
        config: PeerConfig::new(key, None, Vec::new()),
        activity: Activity::silent(key),
        handshake_secs: None,
    }
}

impl Peer {
    /// Takes what a line says of the peer. What decides who may pass, and where, must be readable.
    /// What is only known of its traffic need not be: anyone who has the peer's private key has a say
    /// in it, and could otherwise keep this peer and all others from being seen and removed. What
    /// can't be read of that is not known.
    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), UapiFault> {
        let Self {
            config,
            activity,
            handshake_secs,
        } = self;
        match name {
            "preshared_key" => {
                let psk = key(value)?;
                config.psk = PresharedKey::from_slice(psk.as_slice())
                    .filter(|psk| *psk.expose_secret() != [0; 32]);
            }
            "allowed_ip" => {
                let network: IpNet = read(value).ok_or(UapiFault::Malformed)?;
                config.allowed_ips.push(network);
            }
            "endpoint" => {
                config.endpoint = read(value);
                activity.endpoint = config.endpoint.or_else(|| without_zone(value));
            }
            "last_handshake_time_sec" => *handshake_secs = read(value),
            "persistent_keepalive_interval" => {
                let secs = read(value).filter(|secs: &u16| *secs > 0);
                config.keepalive = secs.map(|secs| Duration::from_secs(secs.into()));
            }
            "rx_bytes" => activity.received = read(value).unwrap_or_default(),
            "tx_bytes" => activity.sent = read(value).unwrap_or_default(),
            // The protocol's version, nanoseconds, and what later versions may say of a peer.
            _ => {}
        }
        Ok(())
    }
}

/// The endpoint in a text like `[fe80::1%eth0]:51820`, whose zone has a name (RFC 4007, section
/// 11). It tells where a peer is. It is no address to send to without its zone.
fn without_zone(value: &[u8]) -> Option<SocketAddr> {
    let begins = value.iter().position(|byte| *byte == b'%')?;
    let ends = value.iter().rposition(|byte| *byte == b']')?;
    let plain = [value.get(..begins)?, value.get(ends..)?].concat();
    read(&plain)
}

/// What is written as text, if it can be read.
fn read<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn key(value: &[u8]) -> Result<Zeroizing<[u8; 32]>, UapiFault> {
    let mut key = Zeroizing::new([0; 32]);
    let is_long_enough = HEXLOWER.decode_len(value.len()) == Ok(key.len());
    if !is_long_enough {
        return Err(UapiFault::Malformed);
    }
    let decoded = HEXLOWER.decode_mut(value, &mut key[..]);
    decoded.map_err(|_| UapiFault::Malformed)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(peer: &str) -> String {
        format!(
            "private_key={}\nlisten_port=51820\n{peer}errno=0\n\n",
            "07".repeat(32)
        )
    }

    #[test]
    fn what_is_asked_for_reads_back() {
        let psk = PresharedKey::from_bytes([3; 32]);
        let networks = vec!["10.0.0.2/32".parse().unwrap(), "fd00::/64".parse().unwrap()];
        let peer = PeerConfig::new(PublicKey::from_bytes([2; 32]), Some(psk), networks)
            .with_endpoint("[2001:db8::1]:9".parse().unwrap())
            .with_keepalive(Duration::from_secs(25));
        let asked = add(&peer);
        let asked = asked.trim_start_matches("set=1\n").trim_end();
        let read = parse(response(&format!("{asked}\n")).as_bytes()).unwrap();
        let key = PrivateKey::from_bytes([7; 32]).public_key();
        assert_eq!(read.public_key, Some(key));
        assert_eq!(read.peers.len(), 1);
        assert_eq!(read.peers[0].config, peer);
    }

    #[test]
    fn traffic_is_told_and_no_preshared_key_is_none() {
        let text = format!(
            "public_key={}\npreshared_key={}\nlast_handshake_time_sec=5\nlast_handshake_time_nsec=9\nrx_bytes=7\ntx_bytes=8\nprotocol_version=1\n",
            "02".repeat(32),
            "00".repeat(32)
        );
        let read = parse(response(&text).as_bytes()).unwrap();
        assert_eq!(read.peers[0].config.psk, None);
        let now = Timestamp::from_millis(9000);
        let activity = read.activity(&PublicKey::from_bytes([2; 32]), now).unwrap();
        assert_eq!((activity.received, activity.sent), (7, 8));
        assert_eq!(activity.last_handshake, Some(Timestamp::from_millis(5000)));
    }

    #[test]
    fn a_program_without_a_private_key_tells_handshakes_by_age() {
        let own = PrivateKey::from_bytes([7; 32]).public_key();
        let peer = PublicKey::from_bytes([2; 32]);
        let now = Timestamp::from_millis(9000);
        let read = |handshake: &str| {
            let (own, peer) = (hex(own.as_bytes()), hex(peer.as_bytes()));
            let (own, peer) = (own.as_str(), peer.as_str());
            let text = format!("own_public_key={own}\npublic_key={peer}\n{handshake}errno=0\n\n");
            parse(text.as_bytes()).unwrap()
        };
        for (ago, at) in [(5, 4000), (0, 9000)] {
            let read = read(&format!("last_handshake_time_sec={ago}\n"));
            assert_eq!(read.public_key, Some(own));
            let seen = read.activity(&peer, now).unwrap();
            assert_eq!(seen.last_handshake, Some(Timestamp::from_millis(at)));
        }
        let seen = read("").activity(&peer, now).unwrap();
        assert_eq!(seen.last_handshake, None);
    }

    #[test]
    fn nothing_is_concluded_from_a_partial_or_bad_response() {
        for bad in [
            "",
            "errno=1\n\n",
            "private_key=07\nerrno=0\n\n",
            "no sense\nerrno=0\n\n",
            "errno=zero\n\n",
            "errno=5\nerrno=0\n\n",
            "errno=0\nerrno=0\n\n",
            "errno=0\nlisten_port=1\n\n",
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad:?}");
            // Of who is there, the interface's own key says nothing.
            let keys = parse_keys(bad.as_bytes());
            assert!(keys.is_err() || bad.starts_with("private_key"), "{bad:?}");
        }
        let cut = response("").replace("errno=0\n", "");
        assert!(matches!(parse(cut.as_bytes()), Err(UapiFault::Malformed)));
        assert!(matches!(
            check(b"errno=-22\n\n"),
            Err(UapiFault::Refused { errno: -22 })
        ));
    }
    /// The example is an endpoint with a zone, as newer versions of wireguard-go print it.
    #[test]
    fn unreadable_traffic_keeps_no_peer_off_the_list() {
        let key = |n: u8| PublicKey::from_bytes([n; 32]);
        let psk = "07".repeat(32);
        for odd in [
            &b"endpoint=[fe80::1%eth0]:51820"[..],
            b"endpoint=[fe80::1%\xff=]:51820",
            b"endpoint=(none)",
            b"endpoint=",
            b"last_handshake_time_sec=-1",
            b"last_handshake_time_sec=18446744073709551616",
            b"last_handshake_time_nsec=x",
            b"rx_bytes=many",
            b"tx_bytes=-1",
            b"persistent_keepalive_interval=off",
            b"persistent_keepalive_interval=65536",
            b"something_new=\xff\xfe",
        ] {
            let shown = odd.escape_ascii().to_string();
            let peer = |n: u8, more: &[u8]| {
                let named = format!("public_key={}\n", hex(key(n).as_bytes()).as_str());
                let rest = format!("\npreshared_key={psk}\nallowed_ip=10.9.0.{n}/32\n");
                [named.as_bytes(), more, rest.as_bytes()].concat()
            };
            let peers = [peer(1, odd), peer(2, b"endpoint=192.0.2.1:9")].concat();
            let text = [&peers, &b"errno=0\n\n"[..]].concat();

            let read = parse(&text).unwrap_or_else(|error| panic!("{shown}: {error}"));
            assert_eq!(read.peers.len(), 2, "{shown}");
            for (n, peer) in (1..).zip(&read.peers) {
                let networks = vec![format!("10.9.0.{n}/32").parse().unwrap()];
                let psk = Some(PresharedKey::from_bytes([7; 32]));
                let expected = PeerConfig::new(key(n), psk, networks);
                assert!(peer.config.admits_as(&expected), "{shown}");
                assert_eq!(peer.config.keepalive, None, "{shown}");
            }
            assert_eq!(parse_keys(&text).unwrap(), [key(1), key(2)], "{shown}");
        }
    }

    #[test]
    fn an_endpoint_with_a_zone_shows_the_peers_address() {
        let read = |endpoint: &str| {
            let peer = hex(&[2; 32]);
            let peer = peer.as_str();
            let text = format!("public_key={peer}\nendpoint={endpoint}\nerrno=0\n\n");
            let peer = parse(text.as_bytes()).unwrap().peers.remove(0);
            (peer.activity.endpoint, peer.config.endpoint)
        };
        let at = |text: &str| Some(text.parse().unwrap());
        assert_eq!(read("[fe80::1%eth0]:9"), (at("[fe80::1]:9"), None));
        let numbered = at("[fe80::1%3]:9");
        assert_eq!(read("[fe80::1%3]:9"), (numbered, numbered));
        assert_eq!(read("fe80::1%eth0"), (None, None));
    }

    #[test]
    fn who_is_there_is_read_where_networks_can_not_be() {
        let peer = hex(&[2; 32]);
        let peer = peer.as_str();
        let text = format!("public_key={peer}\nallowed_ip=everywhere\nerrno=0\n\n");
        assert!(
            parse(text.as_bytes()).is_err(),
            "where it may go is not known"
        );
        let keys = parse_keys(text.as_bytes()).unwrap();
        assert_eq!(keys, [PublicKey::from_bytes([2; 32])]);
        let cut = text.replace("errno=0\n", "");
        assert!(parse_keys(cut.as_bytes()).is_err());
        let other = text.replace("public_key=02", "public_key=0x");
        assert!(parse_keys(other.as_bytes()).is_err());
    }
}
