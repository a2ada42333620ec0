//! The table of tunnels: who is on the interface, and which message is whose. It sends, and never
//! waits: what the socket has no room for stays here, where a removal finds it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::packet::{Ip, Packet, WgKind};
use gotatun::tun::MtuWatcher;
use gotatun::x25519;
use ipnet::IpNet;

use super::run::Run;
use super::socket::{Path, Socket};
use super::tunnel::Tunnel;
use crate::interface::{Activity, PeerConfig};
use crate::key::PublicKey;
use crate::log;
use crate::time::{Instant, Now};

/// Runs of datagrams that wait for the socket; what comes on top is dropped, as on any full link.
const UNSENT: usize = 512;
/// How many bytes they may have.
const UNSENT_BYTES: usize = 4 << 20;
/// How long a peer's datagrams are sent one by one after the system refused a run of them: as
/// long as a path that is too narrow is likely to stay so, and short enough to see it widen.
const APART: Duration = Duration::from_secs(10);

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

    /// Their leases count from `asked`.
    pub(super) fn tunnels(&self, peers: Vec<PeerConfig>, asked: Instant) -> Vec<Tunnel> {
        let tunnel = |peer| {
            let (secret, limiter) = (self.secret.clone(), Arc::clone(&self.limiter));
            Tunnel::new(peer, asked, secret, self.indices.clone(), limiter)
        };
        peers.into_iter().map(tunnel).collect()
    }
}

pub(super) struct Tunnels {
    /// Gone once the tunnels are closed.
    socket: Option<Arc<Socket>>,
    mtu: MtuWatcher,
    peers: BTreeMap<PublicKey, Tunnel>,
    /// Whose handshake or session an index in a message belongs to.
    by_index: HashMap<u32, PublicKey>,
    indices: IndexTable,
    /// What a batch has for one peer so far. Nothing of it is left when the lock is given back.
    run: Run,
    unsent: VecDeque<Run>,
    unsent_bytes: usize,
    clock: fn() -> Now,
}

impl Tunnels {
    pub(super) fn new(
        socket: Arc<Socket>,
        indices: IndexTable,
        mtu: u16,
        clock: fn() -> Now,
    ) -> Self {
        Self {
            socket: Some(socket),
            mtu: MtuWatcher::new(mtu),
            peers: BTreeMap::new(),
            by_index: HashMap::new(),
            indices,
            run: Run::default(),
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            clock,
        }
    }

    /// Removes all peers, and sends and accepts nothing any more.
    pub(super) fn close(&mut self) {
        self.socket = None;
        self.peers.clear();
        self.by_index.clear();
        self.run.clear();
        self.unsent.clear();
        self.unsent_bytes = 0;
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.socket.is_none()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Adds a peer that is not there.
    pub(super) fn insert(&mut self, tunnel: Tunnel) {
        self.peers.insert(*tunnel.holds().0, tunnel);
    }

    /// Renews a peer that is there with the same addresses; says whether it is.
    pub(super) fn renew(&mut self, peer: &PeerConfig, asked: Instant) -> bool {
        let Some(tunnel) = self.peers.get_mut(&peer.key) else {
            return false;
        };
        let before = tunnel.remote();
        if !tunnel.renew(peer, asked) {
            return false;
        }
        // Anyone who is elsewhere now is asked at once, not after the 15 s that WireGuard waits.
        if peer.endpoint.is_some()
            && peer.endpoint != before
            && let Some((message, to)) = tunnel.greet()
        {
            self.transmit(peer.key, message, to);
            self.settle();
        }
        true
    }

    /// Removes a peer with its keys, and with what was still to be sent to it.
    pub(super) fn remove(&mut self, peer: &PublicKey) {
        let Some(tunnel) = self.peers.remove(peer) else {
            return;
        };
        for index in tunnel.indices() {
            self.by_index.remove(index);
        }
        if self.run.peer().as_ref() == Some(peer) {
            self.run.clear();
        }
        self.unsent.retain(|unsent| {
            let is_kept = unsent.peer().as_ref() != Some(peer);
            if !is_kept {
                self.unsent_bytes -= unsent.bytes().len();
            }
            is_kept
        });
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

    pub(super) fn list(&self, now: Instant) -> Vec<PeerConfig> {
        let tunnels = self.peers.values();
        tunnels.map(|tunnel| tunnel.config(now)).collect()
    }

    pub(super) fn activity(&self, peer: &PublicKey) -> Option<Activity> {
        self.peers.get(peer).map(Tunnel::activity)
    }

    /// Whether the peer is there, and anything of it may pass now.
    pub(super) fn is_leased(&self, peer: &PublicKey, now: Now) -> bool {
        let tunnel = self.peers.get(peer);
        tunnel.is_some_and(|tunnel| tunnel.is_leased(now.instant))
    }

    /// Takes in a message; gives the packet that was inside, and whose it was. Answers go out with
    /// [`settle`](Self::settle).
    pub(super) fn take_in(
        &mut self,
        message: WgKind,
        initiator: Option<PublicKey>,
        from: Path,
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
        let tunnel = self.peers.get_mut(&key)?;
        if !tunnel.is_leased(now.instant) {
            return None;
        }
        let taken = tunnel.take_in(message, from, now, &mut self.mtu);
        for (message, to) in taken.replies {
            self.transmit(key, message, to);
        }
        taken.packet.map(|packet| (key, packet))
    }

    /// Encrypts a packet to a peer, or begins the handshake that it has to wait for. It goes out with
    /// [`settle`](Self::settle), at the latest.
    pub(super) fn send(&mut self, peer: &PublicKey, packet: Packet, now: Now) {
        let tunnel = self.peers.get_mut(peer);
        let tunnel = tunnel.filter(|tunnel| tunnel.is_leased(now.instant));
        let message = tunnel.and_then(|tunnel| tunnel.send(packet, now, &mut self.mtu));
        if let Some((message, to)) = message {
            self.transmit(*peer, message, to);
        }
    }

    /// Answers someone who may be no one's peer.
    pub(super) fn reply(&mut self, message: WgKind, to: Path) {
        self.put(None, to, &Packet::from(message), 1);
        self.settle();
    }

    /// Has every tunnel look at its timers, and forgets indices that are not in use any more.
    pub(super) fn tick(&mut self, now: Now) {
        let mut due = Vec::new();
        for (key, tunnel) in &mut self.peers {
            for index in tunnel.forget_indices(&self.indices) {
                self.by_index.remove(&index);
            }
            if tunnel.is_leased(now.instant) {
                due.extend(tunnel.tick().map(|(message, to)| (*key, message, to)));
            }
        }
        for (key, message, to) in due {
            self.transmit(key, message, to);
        }
        self.settle();
    }

    /// Whether datagrams wait for the socket.
    pub(super) fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some(mut run) = self.unsent.pop_front() {
            self.unsent_bytes -= run.bytes().len();
            if self.may_leave(&run) && !self.try_send(&mut run) {
                self.unsent_bytes += run.bytes().len();
                return self.unsent.push_front(run);
            }
        }
    }

    fn transmit(&mut self, peer: PublicKey, message: WgKind, to: Path) {
        let index = match &message {
            WgKind::HandshakeInit(init) => Some(init.sender_idx.get()),
            WgKind::HandshakeResp(response) => Some(response.sender_idx.get()),
            WgKind::CookieReply(_) | WgKind::Data(_) => None,
        };
        // Anyone who is answered has proven nothing yet.
        let is_answer = matches!(message, WgKind::HandshakeResp(_));
        let datagram = Packet::from(message);
        let mut most = self
            .socket
            .as_ref()
            .map_or(1, |socket| socket.most_in_run());
        if let Some(tunnel) = self.peers.get_mut(&peer) {
            if !is_answer {
                tunnel.count_sent(datagram.len());
            }
            if let Some(index) = index {
                tunnel.remember_index(index);
                self.by_index.insert(index, peer);
            }
            if tunnel.is_sent_apart(self.clock) {
                most = 1;
            }
        }
        self.put(Some(peer), to, &datagram, most);
    }

    /// Adds a datagram to the run, or sends that and begins another.
    fn put(&mut self, peer: Option<PublicKey>, path: Path, datagram: &[u8], most: usize) {
        if !self.run.add(peer, path, datagram, most) {
            self.settle();
            self.run.add(peer, path, datagram, most);
        }
    }

    /// Sends the run that was begun. Anyone who has put datagrams into it calls this before giving the
    /// lock back: a removal finds nothing of the peer anywhere but here.
    pub(super) fn settle(&mut self) {
        if self.run.count() == 0 {
            return;
        }
        let mut run = std::mem::take(&mut self.run);
        let is_done = !self.may_leave(&run) || (self.unsent.is_empty() && self.try_send(&mut run));
        let bytes = self.unsent_bytes + run.bytes().len();
        if !is_done && self.unsent.len() < UNSENT && bytes <= UNSENT_BYTES {
            self.unsent_bytes = bytes;
            self.unsent.push_back(run);
        } else {
            run.clear();
            self.run = run; // with its buffer
        }
    }

    /// Whether a run may be sent now. The time is read for each, right before: the process may have
    /// been stopped for any time since its datagrams were encrypted.
    fn may_leave(&self, run: &Run) -> bool {
        let now = self.clock;
        run.peer().is_none_or(|peer| self.is_leased(&peer, now()))
    }

    /// `false` when the socket has no room now for what is left of the run. Any other failure loses
    /// it.
    fn try_send(&mut self, run: &mut Run) -> bool {
        let (Some(socket), Some(path)) = (self.socket.clone(), run.path()) else {
            return true;
        };
        if run.count() > 1 {
            match socket.try_send_run(run.bytes(), run.segment(), path) {
                Ok(()) => return true,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    log::later(move || {
                        tracing::debug!(%error, "datagrams are sent one by one for a while");
                    });
                    let until = (self.clock)().instant + APART;
                    if let Some(tunnel) = run.peer().and_then(|peer| self.peers.get_mut(&peer)) {
                        tunnel.send_apart(until);
                    }
                }
            }
        }
        self.send_apart(&socket, run)
    }

    /// Sends the datagrams of a run one by one.
    fn send_apart(&mut self, socket: &Socket, run: &mut Run) -> bool {
        while let (Some(datagram), Some(path)) = (run.first(), run.path()) {
            match socket.try_send(datagram, path) {
                Ok(taken) if taken != path => {
                    if let Some(tunnel) = run.peer().and_then(|peer| self.peers.get_mut(&peer)) {
                        tunnel.forget_local();
                    }
                    run.reroute(taken);
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    log::later(move || tracing::trace!(%error, "a datagram was not sent"));
                }
            }
            run.forget(1);
        }
        true
    }
}
