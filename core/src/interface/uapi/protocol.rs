//! The text of WireGuard's cross-platform configuration protocol
//! (<https://www.wireguard.com/xplatform/>): requests as they are sent, responses as they are read.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use ipnet::IpNet;
use zeroize::Zeroizing;

use super::UapiError;
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

    /// What is told of a peer's traffic, by somebody who knows what time it is.
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
    request(peer, "replace_allowed_ips=true\n")
}

/// Changes a peer, if it is there.
pub(super) fn update(peer: &PeerConfig) -> Zeroizing<String> {
    request(peer, "update_only=true\nreplace_allowed_ips=true\n")
}

fn request(peer: &PeerConfig, how: &str) -> Zeroizing<String> {
    let room = 512 + 64 * peer.allowed_ips.len();
    let mut text = Zeroizing::new(String::with_capacity(room));
    let psk = peer
        .psk
        .as_ref()
        .map_or([0; 32], |psk| *psk.expose_secret());
    let (key, psk) = (hex(peer.key.as_bytes()), hex(&Zeroizing::new(psk)[..]));
    let keepalive = peer.keepalive.map_or(0, |every| every.as_secs().max(1));
    text.push_str("set=1\npublic_key=");
    text.push_str(&key);
    text.push_str("\npreshared_key=");
    text.push_str(&psk);
    text.push('\n');
    text.push_str(how);
    // Writing to a string does not fail.
    _ = writeln!(text, "persistent_keepalive_interval={keepalive}");
    if let Some(endpoint) = peer.endpoint {
        _ = writeln!(text, "endpoint={endpoint}");
    }
    for network in &peer.allowed_ips {
        _ = writeln!(text, "allowed_ip={network}");
    }
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
pub(super) fn check(response: &str) -> Result<(), UapiError> {
    parse(response).map(drop)
}

/// Reads a response. Without `errno=0` at its end it says nothing.
pub(super) fn parse(response: &str) -> Result<Device, UapiError> {
    let mut device = Device::default();
    let mut errno = None;
    for line in response.lines().take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once('=').ok_or(UapiError::Malformed)?;
        // It is the last line. What comes after could take back what was said before.
        if errno.is_some() {
            return Err(UapiError::Malformed);
        }
        match (name, device.peers.last_mut()) {
            ("errno", _) => errno = Some(number(value)?),
            // Programs keep a private key clamped (RFC 7748, section 5): the public half is the same.
            ("private_key", None) => {
                let private = PrivateKey::from_bytes(*key(value)?);
                device.public_key = Some(private.public_key());
            }
            // boringtun says no more than this of its key, and tells ages.
            ("own_public_key", None) => {
                device.public_key = Some(PublicKey::from_bytes(*key(value)?));
                device.tells_ages = true;
            }
            ("public_key", _) => device
                .peers
                .push(silent(PublicKey::from_bytes(*key(value)?))),
            (_, Some(peer)) => peer.take(name, value)?,
            // The port, the mark, and what later versions may say of the interface.
            (_, None) => {}
        }
    }
    match errno {
        Some(0) => Ok(device),
        Some(errno) => Err(UapiError::Refused { errno }),
        None => Err(UapiError::Malformed),
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
    fn take(&mut self, name: &str, value: &str) -> Result<(), UapiError> {
        let Self {
            config,
            activity,
            handshake_secs,
        } = self;
        match name {
            "preshared_key" => {
                let psk = key(value)?;
                config.psk = (*psk != [0; 32]).then(|| PresharedKey::from_bytes(*psk));
            }
            "allowed_ip" => {
                let network: IpNet = value.parse().map_err(|_| UapiError::Malformed)?;
                config.allowed_ips.push(network);
            }
            "endpoint" => {
                let endpoint: SocketAddr = value.parse().map_err(|_| UapiError::Malformed)?;
                activity.endpoint = Some(endpoint);
                config.endpoint = Some(endpoint);
            }
            "last_handshake_time_sec" => *handshake_secs = Some(number(value)?),
            "persistent_keepalive_interval" => {
                let secs: u64 = number(value)?;
                let every = Duration::from_secs(secs);
                config.keepalive = (secs > 0).then_some(every);
            }
            "rx_bytes" => activity.received = number(value)?,
            "tx_bytes" => activity.sent = number(value)?,
            // The protocol's version, nanoseconds, and what later versions may say of a peer.
            _ => {}
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, UapiError> {
    value.parse().map_err(|_| UapiError::Malformed)
}

fn key(value: &str) -> Result<Zeroizing<[u8; 32]>, UapiError> {
    let mut key = Zeroizing::new([0; 32]);
    let is_long_enough = HEXLOWER.decode_len(value.len()) == Ok(key.len());
    if !is_long_enough {
        return Err(UapiError::Malformed);
    }
    let decoded = HEXLOWER.decode_mut(value.as_bytes(), &mut key[..]);
    decoded.map_err(|_| UapiError::Malformed)?;
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
        let read = parse(&response(&format!("{asked}\n"))).unwrap();
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
        let read = parse(&response(&text)).unwrap();
        assert_eq!(read.peers[0].config.psk, None);
        let now = Timestamp::from_millis(9000);
        let activity = read.activity(&PublicKey::from_bytes([2; 32]), now).unwrap();
        assert_eq!((activity.received, activity.sent), (7, 8));
        assert_eq!(activity.last_handshake, Some(Timestamp::from_millis(5000)));
    }

    #[test]
    fn a_program_that_tells_its_public_key_alone_tells_how_long_ago_a_handshake_was() {
        let own = PrivateKey::from_bytes([7; 32]).public_key();
        let peer = PublicKey::from_bytes([2; 32]);
        let now = Timestamp::from_millis(9000);
        let read = |handshake: &str| {
            let (own, peer) = (hex(own.as_bytes()), hex(peer.as_bytes()));
            let (own, peer) = (own.as_str(), peer.as_str());
            let text = format!("own_public_key={own}\npublic_key={peer}\n{handshake}errno=0\n\n");
            parse(&text).unwrap()
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
    fn nothing_is_concluded_from_a_response_that_is_not_whole_or_not_good() {
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
            assert!(check(bad).is_err(), "{bad:?}");
        }
        let cut = response("").replace("errno=0\n", "");
        assert!(matches!(parse(&cut), Err(UapiError::Malformed)));
        assert!(matches!(
            check("errno=-22\n\n"),
            Err(UapiError::Refused { errno: -22 })
        ));
    }
}
