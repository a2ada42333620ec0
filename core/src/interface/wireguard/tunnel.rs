//! One peer's tunnel: `gotatun`'s protocol, and what it must not be trusted with.
//!
//! The first message of a handshake proves the static key alone. Until its sender has shown that
//! it knows the preshared key too, by a packet that decrypts, it is answered and believed nothing:
//! the endpoint stays, no handshake counts, no traffic is told of, nothing is encrypted to it, and
//! it can't push a session that is in use out of `gotatun`'s ring.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::noise::{Tunn, TunnResult};
use gotatun::packet::{Ip, Packet, WgKind};
use gotatun::tun::MtuWatcher;
use gotatun::x25519;
use ipnet::IpNet;

use super::socket::Path;
use crate::interface::{Activity, PeerConfig, same_networks};
use crate::key::{PresharedKey, PublicKey};
use crate::log;
use crate::scrub::wiping;
use crate::time::{Instant, Now};

/// How many sessions `gotatun` keeps: one more pushes out the oldest.
const RING: usize = 8;
/// The age at which a session ends (WireGuard paper, section 6.1: Reject-After-Time).
const REJECT_AFTER: Duration = Duration::from_secs(180);

pub(super) struct Tunnel {
    /// In a block of its own, since it holds the preshared key in plain bytes: a table that moves
    /// its entries would leave copies.
    noise: Box<Tunn>,
    config: PeerConfig,
    /// When nothing passes any more, anyone who removes the peer then or does not.
    ends: Option<Instant>,
    endpoint: Option<Path>,
    /// Whether a packet from there decrypted: a configured endpoint is none yet.
    is_endpoint_proven: bool,
    /// Every index given out for this peer that may still be in use.
    indices: Vec<u32>,
    /// Sessions answered since the last proven one, oldest first, whose peer has proven nothing.
    unproven: Vec<u32>,
    /// When the last handshake was completed, by both keys.
    proven: Option<Now>,
    received: u64,
    sent: u64,
    payload: u64,
    /// Until when its datagrams are sent one by one, as the system refused a run of them.
    apart: Option<Instant>,
}

/// What came of a message.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) replies: Vec<(WgKind, Path)>,
    pub(super) packet: Option<Packet<Ip>>,
}

impl Tunnel {
    pub(super) fn new(
        config: PeerConfig,
        asked: Instant,
        secret: x25519::StaticSecret,
        indices: IndexTable,
        limiter: Arc<RateLimiter>,
    ) -> Self {
        // Without the preshared key until it is where it stays.
        let mut noise = Box::new(Tunn::new(
            secret,
            x25519::PublicKey::from(*config.key.as_bytes()),
            None,
            keepalive(&config),
            indices,
            limiter,
        ));
        give_key(&mut noise, config.psk.as_ref());
        Self {
            noise,
            ends: config.lease.map(|lease| asked + lease),
            endpoint: config.endpoint.map(Path::to),
            is_endpoint_proven: false,
            config,
            indices: Vec::new(),
            unproven: Vec::new(),
            proven: None,
            received: 0,
            sent: 0,
            payload: 0,
            apart: None,
        }
    }

    /// Renews the preshared key in place, if the addresses stay the same.
    pub(super) fn renew(&mut self, to: &PeerConfig, asked: Instant) -> bool {
        if !same_networks(&self.config.allowed_ips, &to.allowed_ips) {
            return false;
        }
        give_key(&mut self.noise, to.psk.as_ref());
        self.noise.set_persistent_keepalive(keepalive(to));
        if let Some(endpoint) = to.endpoint {
            self.is_endpoint_proven &= self.remote() == to.endpoint;
            self.endpoint = Some(Path::to(endpoint));
        }
        self.ends = to.lease.map(|lease| asked + lease);
        self.config = to.clone();
        true
    }

    /// Gives up these networks; gives what is left, if any was held.
    pub(super) fn give_up(&mut self, networks: &[IpNet]) -> Option<Vec<IpNet>> {
        let held = self.config.allowed_ips.len();
        self.config
            .allowed_ips
            .retain(|own| !networks.contains(&own.trunc()));
        (self.config.allowed_ips.len() < held).then(|| self.config.allowed_ips.clone())
    }

    /// What is installed, with the endpoint as it is now, and what is left of the lease.
    pub(super) fn config(&self, now: Instant) -> PeerConfig {
        let mut config = self.config.clone();
        config.endpoint = self.remote();
        config.lease = self.ends.map(|ends| ends.saturating_since(now));
        config
    }

    /// Whose it is, and what may pass through it.
    pub(super) const fn holds(&self) -> (&PublicKey, &[IpNet]) {
        (&self.config.key, self.config.allowed_ips.as_slice())
    }

    /// Whether anything may pass. The removal at the lease's end comes from outside, and may be
    /// late: a process that was stopped goes on with what has queued up.
    pub(super) fn is_leased(&self, now: Instant) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }

    /// Leaves it to the system which address to send from, where it refused the one in use.
    pub(super) fn forget_local(&mut self) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.local = None;
        }
    }

    /// Has its datagrams sent one by one until then.
    pub(super) const fn send_apart(&mut self, until: Instant) {
        self.apart = Some(until);
    }

    /// Whether its datagrams are sent one by one. The clock is read where they were.
    pub(super) fn is_sent_apart(&mut self, clock: fn() -> Now) -> bool {
        self.apart = self.apart.filter(|until| clock().instant < *until);
        self.apart.is_some()
    }

    pub(super) fn remote(&self) -> Option<SocketAddr> {
        self.endpoint.map(|path| path.remote)
    }

    pub(super) fn activity(&self) -> Activity {
        Activity {
            key: self.config.key,
            last_handshake: self.proven.map(|at| at.timestamp),
            received: self.received,
            sent: self.sent,
            payload: Some(self.payload),
            endpoint: self.remote(),
            is_endpoint_proven: self.is_endpoint_proven,
        }
    }

    pub(super) fn take_in(
        &mut self,
        message: WgKind,
        from: Path,
        now: Now,
        mtu: &mut MtuWatcher,
    ) -> Taken {
        match message {
            WgKind::HandshakeInit(_) => self.answer(message, from, now),
            WgKind::HandshakeResp(_) => self.complete(message, from, now, mtu),
            WgKind::CookieReply(_) => {
                self.noise.handle_incoming_packet(message);
                Taken::default()
            }
            WgKind::Data(_) => self.open(message, from, now, mtu),
        }
    }

    /// Encrypts a packet, or begins the handshake that it has to wait for.
    pub(super) fn send(
        &mut self,
        packet: Packet,
        now: Now,
        mtu: &mut MtuWatcher,
    ) -> Option<(WgKind, Path)> {
        let to = self.endpoint?;
        let message = if self.is_in_use(now) || self.unproven.is_empty() {
            let len = count(packet.len());
            let message = self.noise.handle_outgoing_packet(packet, Some(mtu));
            if matches!(message, Some(WgKind::Data(_))) {
                self.payload = self.payload.saturating_add(len);
            }
            message
        } else {
            // The only sessions are with someone unknown: nothing is encrypted to those.
            self.noise
                .format_handshake_initiation(false)
                .map(Into::into)
        };
        message.map(|message| (message, to))
    }

    /// Begins a handshake, whatever is under way.
    pub(super) fn greet(&mut self) -> Option<(WgKind, Path)> {
        let message = self.noise.format_handshake_initiation(true)?;
        Some((message.into(), self.endpoint?))
    }

    /// What the protocol's timers want to be sent.
    pub(super) fn tick(&mut self) -> Option<(WgKind, Path)> {
        let message = self.noise.update_timers().ok().flatten()?;
        Some((message, self.endpoint?))
    }

    pub(super) fn count_sent(&mut self, len: usize) {
        self.sent = self.sent.saturating_add(count(len));
    }

    pub(super) fn indices(&self) -> &[u32] {
        &self.indices
    }

    pub(super) fn remember_index(&mut self, index: u32) {
        self.indices.push(index);
    }

    /// Drops the indices that are not in use any more; gives them.
    pub(super) fn forget_indices(&mut self, table: &IndexTable) -> Vec<u32> {
        self.indices
            .extract_if(.., |index| !table.in_use(*index))
            .collect()
    }

    /// Answers the first message of a handshake, to where it came from.
    fn answer(&mut self, message: WgKind, from: Path, now: Now) -> Taken {
        // The ring's last place but the one in use is taken: a further answer would end it.
        if self.is_in_use(now) && self.unproven.len() >= RING - 1 {
            let peer = self.config.key;
            log::later(move || {
                tracing::debug!(%peer, "a handshake is refused: too many are open");
            });
            return Taken::default();
        }
        let TunnResult::WriteToNetwork(response) = self.shake_hands(message) else {
            return Taken::default();
        };
        if let WgKind::HandshakeResp(response) = &response {
            self.unproven.push(response.sender_idx.get());
        }
        if self.unproven.len() > RING {
            self.unproven.remove(0);
        }
        Taken {
            replies: vec![(response, from)],
            packet: None,
        }
    }

    /// Takes the answer to a handshake of ours, which proves both keys.
    fn complete(&mut self, message: WgKind, from: Path, now: Now, mtu: &mut MtuWatcher) -> Taken {
        let len = length(&message);
        let TunnResult::WriteToNetwork(keepalive) = self.shake_hands(message) else {
            return Taken::default();
        };
        self.received = self.received.saturating_add(len);
        self.believe(from);
        self.proven = Some(now);
        self.unproven.clear();
        let waiting = self.noise.get_queued_packets(mtu);
        Taken {
            replies: std::iter::once(keepalive)
                .chain(waiting)
                .map(|message| (message, from))
                .collect(),
            packet: None,
        }
    }

    /// Hands `gotatun` a message of a handshake, into which it mixes copies of the preshared key.
    fn shake_hands(&mut self, message: WgKind) -> TunnResult {
        wiping(|| self.noise.handle_incoming_packet(message))
    }

    /// Decrypts a packet, which proves both keys.
    fn open(&mut self, message: WgKind, from: Path, now: Now, mtu: &mut MtuWatcher) -> Taken {
        let len = length(&message);
        let session = match &message {
            WgKind::Data(data) => Some(data.header.receiver_idx.get()),
            WgKind::HandshakeInit(_) | WgKind::HandshakeResp(_) | WgKind::CookieReply(_) => None,
        };
        let TunnResult::WriteToTunnel(packet) = self.noise.handle_incoming_packet(message) else {
            return Taken::default();
        };
        self.received = self.received.saturating_add(len);
        self.payload = self.payload.saturating_add(count(packet.len()));
        self.believe(from);
        let mut replies = Vec::new();
        let place = self
            .unproven
            .iter()
            .position(|index| Some(*index) == session);
        if let Some(place) = place {
            self.unproven.drain(..=place);
            self.proven = Some(now);
            let waiting = self.noise.get_queued_packets(mtu);
            replies.extend(waiting.map(|message| (message, from)));
        }
        Taken {
            replies,
            packet: parse(packet),
        }
    }

    /// A packet from there decrypted.
    const fn believe(&mut self, mut from: Path) {
        // One that is called at an address of its own does not ask for one of ours: this machine
        // may move to another network, whose address is then the right one to send from.
        if self.config.endpoint.is_some() {
            from.local = None;
        }
        self.endpoint = Some(from);
        self.is_endpoint_proven = true;
    }

    /// Whether a session may be in use that both keys were proven for.
    fn is_in_use(&self, now: Now) -> bool {
        self.proven
            .is_some_and(|at| now.instant.saturating_since(at.instant) < REJECT_AFTER)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // `gotatun` does not wipe its copy.
        self.noise.set_preshared_key(Some([0; 32]));
        // As if it were read, so that the compiler writes it though the block goes next.
        std::hint::black_box(&mut *self.noise);
    }
}

/// Has `gotatun` know a preshared key, which it takes by value.
fn give_key(noise: &mut Tunn, psk: Option<&PresharedKey>) {
    wiping(|| noise.set_preshared_key(psk.map(|psk| *psk.expose_secret())));
}

/// The IP packet, cut to the length that it states; a keepalive has none.
fn parse(packet: Packet) -> Option<Packet<Ip>> {
    if packet.is_empty() {
        return None;
    }
    let packet = packet.try_into_ipvx().ok()?;
    Some(packet.either(Into::into, Into::into))
}

fn keepalive(config: &PeerConfig) -> Option<u16> {
    config
        .keepalive
        .map(|every| u16::try_from(every.as_secs().max(1)).unwrap_or(u16::MAX))
}

fn length(message: &WgKind) -> u64 {
    count(match message {
        WgKind::HandshakeInit(init) => size_of_val(&**init),
        WgKind::HandshakeResp(response) => size_of_val(&**response),
        WgKind::CookieReply(cookie) => size_of_val(&**cookie),
        WgKind::Data(data) => size_of_val(&**data),
    })
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
