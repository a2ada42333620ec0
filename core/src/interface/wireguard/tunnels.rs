//! The table of tunnels: who is on the interface, and which message is whose. It sends, and never
//! waits: what the socket has no room for stays here, where a removal finds it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::packet::{Ip, Packet, WgKind};
use gotatun::tun::MtuWatcher;
use gotatun::x25519;
use ipnet::IpNet;
use tokio::net::UdpSocket;

use super::tunnel::Tunnel;
use crate::interface::{Activity, PeerConfig};
use crate::key::PublicKey;
use crate::time::Now;

/// Datagrams that wait for the socket; what comes on top is dropped, as on any full link.
const UNSENT: usize = 512;

/// What tunnels are made of. Making one takes the agreement of two keys, a hundred times as long as
/// putting it into the table, and needs no lock.
#[derive(Clone)]
pub(super) struct Makings {
    secret: x25519::StaticSecret,
    limiter: Arc<RateLimiter>,
    indices: IndexTable,
}

impl Makings {
    pub(super) fn new(secret: x25519::StaticSecret, limiter: Arc<RateLimiter>) -> Self {
        Self {
            secret,
            limiter,
            indices: IndexTable::from_os_rng(),
        }
    }

    /// Which indices are in use: one table for all tunnels.
    pub(super) fn indices(&self) -> IndexTable {
        self.indices.clone()
    }

    pub(super) fn tunnels(&self, peers: Vec<PeerConfig>) -> Vec<Tunnel> {
        let tunnel = |peer| {
            let (secret, limiter) = (self.secret.clone(), Arc::clone(&self.limiter));
            Tunnel::new(peer, secret, self.indices.clone(), limiter)
        };
        peers.into_iter().map(tunnel).collect()
    }
}

pub(super) struct Tunnels {
    /// Gone once the tunnels are closed.
    socket: Option<Arc<UdpSocket>>,
    mtu: MtuWatcher,
    peers: BTreeMap<PublicKey, Tunnel>,
    /// Whose handshake or session an index in a message belongs to.
    by_index: HashMap<u32, PublicKey>,
    indices: IndexTable,
    unsent: VecDeque<(Option<PublicKey>, SocketAddr, Packet)>,
}

impl Tunnels {
    pub(super) fn new(socket: Arc<UdpSocket>, indices: IndexTable, mtu: u16) -> Self {
        Self {
            socket: Some(socket),
            mtu: MtuWatcher::new(mtu),
            peers: BTreeMap::new(),
            by_index: HashMap::new(),
            indices,
            unsent: VecDeque::new(),
        }
    }

    /// Removes all peers, and sends and accepts nothing any more.
    pub(super) fn close(&mut self) {
        self.socket = None;
        self.peers.clear();
        self.by_index.clear();
        self.unsent.clear();
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.socket.is_none()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Adds a peer that is not there.
    pub(super) fn insert(&mut self, peer: PublicKey, tunnel: Tunnel) {
        self.peers.insert(peer, tunnel);
    }

    /// Renews a peer that is there with the same addresses; says whether it is.
    pub(super) fn renew(&mut self, peer: &PeerConfig) -> bool {
        self.peers
            .get_mut(&peer.key)
            .is_some_and(|tunnel| tunnel.renew(peer))
    }

    /// Removes a peer with its keys, and with what was still to be sent to it.
    pub(super) fn remove(&mut self, peer: &PublicKey) {
        let Some(tunnel) = self.peers.remove(peer) else {
            return;
        };
        for index in tunnel.indices() {
            self.by_index.remove(index);
        }
        self.unsent.retain(|(to, ..)| to.as_ref() != Some(peer));
    }

    /// Takes networks from a peer that holds some of them; gives what it has left.
    pub(super) fn take_networks(
        &mut self,
        holder: &PublicKey,
        networks: &[IpNet],
    ) -> Option<Vec<IpNet>> {
        let wanted: Vec<IpNet> = networks.iter().map(IpNet::trunc).collect();
        self.peers.get_mut(holder)?.give_up(&wanted)
    }

    pub(super) fn list(&self) -> Vec<PeerConfig> {
        self.peers.values().map(Tunnel::config).collect()
    }

    pub(super) fn activity(&self, peer: &PublicKey) -> Option<Activity> {
        self.peers.get(peer).map(Tunnel::activity)
    }

    /// Takes in a message; gives the packet that was inside, and whose it was.
    pub(super) fn take_in(
        &mut self,
        message: WgKind,
        initiator: Option<PublicKey>,
        from: SocketAddr,
        now: Now,
    ) -> Option<(PublicKey, Packet<Ip>)> {
        let index = match &message {
            WgKind::HandshakeInit(_) => None,
            WgKind::HandshakeResp(response) => Some(response.receiver_idx.get()),
            WgKind::CookieReply(cookie) => Some(cookie.receiver_idx.get()),
            WgKind::Data(data) => Some(data.header.receiver_idx.get()),
        };
        let known = index.and_then(|index| self.by_index.get(&index).copied());
        let key = initiator.or(known)?;
        let taken = self
            .peers
            .get_mut(&key)?
            .take_in(message, from, now, &mut self.mtu);
        for (message, to) in taken.replies {
            self.transmit(key, message, to);
        }
        taken.packet.map(|packet| (key, packet))
    }

    /// Sends a packet to a peer, or begins the handshake that it has to wait for.
    pub(super) fn send(&mut self, peer: &PublicKey, packet: Packet, now: Now) {
        let tunnel = self.peers.get_mut(peer);
        let message = tunnel.and_then(|tunnel| tunnel.send(packet, now, &mut self.mtu));
        if let Some((message, to)) = message {
            self.transmit(*peer, message, to);
        }
    }

    /// Answers someone who may be nobody's peer.
    pub(super) fn reply(&mut self, message: WgKind, to: SocketAddr) {
        self.put(None, to, message.into());
    }

    /// Has every tunnel look at its timers, and forgets indices that are not in use any more.
    pub(super) fn tick(&mut self) {
        let mut due = Vec::new();
        for (key, tunnel) in &mut self.peers {
            for index in tunnel.forget_indices(&self.indices) {
                self.by_index.remove(&index);
            }
            due.extend(tunnel.tick().map(|(message, to)| (*key, message, to)));
        }
        for (key, message, to) in due {
            self.transmit(key, message, to);
        }
    }

    /// Whether datagrams wait for the socket.
    pub(super) fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some((peer, to, datagram)) = self.unsent.pop_front() {
            if !self.try_send(&datagram, to) {
                return self.unsent.push_front((peer, to, datagram));
            }
        }
    }

    fn transmit(&mut self, peer: PublicKey, message: WgKind, to: SocketAddr) {
        let index = match &message {
            WgKind::HandshakeInit(init) => Some(init.sender_idx.get()),
            WgKind::HandshakeResp(response) => Some(response.sender_idx.get()),
            WgKind::CookieReply(_) | WgKind::Data(_) => None,
        };
        // Whoever is answered has proven nothing yet.
        let is_answer = matches!(message, WgKind::HandshakeResp(_));
        let datagram = Packet::from(message);
        if let Some(tunnel) = self.peers.get_mut(&peer) {
            if !is_answer {
                tunnel.count_sent(datagram.len());
            }
            if let Some(index) = index {
                tunnel.remember_index(index);
                self.by_index.insert(index, peer);
            }
        }
        self.put(Some(peer), to, datagram);
    }

    fn put(&mut self, peer: Option<PublicKey>, to: SocketAddr, datagram: Packet) {
        let is_sent = self.unsent.is_empty() && self.try_send(&datagram, to);
        if !is_sent && self.unsent.len() < UNSENT {
            self.unsent.push_back((peer, to, datagram));
        }
    }

    /// `false` when the socket has no room now. Any other failure loses the datagram.
    fn try_send(&self, datagram: &Packet, to: SocketAddr) -> bool {
        let Some(socket) = &self.socket else {
            return true;
        };
        match socket.try_send_to(datagram, to) {
            Ok(_) => true,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            Err(error) => {
                tracing::trace!(%error, "a datagram was not sent");
                true
            }
        }
    }
}
