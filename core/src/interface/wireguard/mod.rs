//! WireGuard in this process: `gotatun`'s protocol between a UDP socket and what is inside, and
//! the backend's contract kept with it.
//!
//! All tunnels are behind one lock, and whatever decrypts, encrypts or sends holds it: once a peer
//! is out of the table, nothing of it is on its way anywhere in this process. Why not `gotatun`'s
//! own device: `docs/adr/0005-wireguard-behind-one-lock.md`. None of its types leave this module.

mod admitted;
mod batch;
mod run;
mod socket;
#[cfg(test)]
#[cfg(feature = "netstack")]
mod tests;
mod tunnel;
mod tunnels;

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use async_trait::async_trait;
use gotatun::noise::TunnResult;
use gotatun::noise::handshake::parse_handshake_anon;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::packet::{Packet, WgKind};
use gotatun::x25519;
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_blocking, yield_now};

use crate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::{PrivateKey, PublicKey};
use crate::log;
use crate::time::{Clock, Instant, Now, SystemClock};
use admitted::Admitted;
pub(super) use batch::{Batch, Opened, Outgoing};
use batch::{MOST, Pool, pooled};
use ipnet::IpNet;
pub(super) use socket::Listen;
use socket::{Path, Received, Socket};
use tunnel::Tunnel;
use tunnels::{Makings, Tunnels};

/// Handshake messages that one source may send in a second before it must show that it is there.
const HANDSHAKES_PER_SECOND: u64 = 100;
/// How often the protocol's timers are looked at, while there are peers.
const TICK: Duration = Duration::from_millis(250);
/// How many peers of a batch come or go before packets get a turn.
const TURN: usize = 32;

/// What is on the inner side of the tunnels: a TCP/IP stack, or a TUN device. It is called with
/// the tunnels locked, and never waits.
pub(super) trait Inside: Send + Sync + 'static {
    /// Takes in packets that came through tunnels. Nothing of them is held back for later: once
    /// this returns, they are the other side's.
    fn deliver(&self, packets: &Opened);

    /// These networks have lost their peer: what is under way of theirs goes no further.
    fn break_off(&self, networks: &[IpNet]);
}

/// The tunnels, until they are taken down.
pub(super) struct WireGuard {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
    bound: SocketAddr,
}

struct Shared {
    tunnels: Mutex<Tunnels>,
    makings: Makings,
    admitted: Admitted,
    inside: Arc<dyn Inside>,
    secret: x25519::StaticSecret,
    public: x25519::PublicKey,
    limiter: Arc<RateLimiter>,
    /// Wakes the timers: there are peers.
    peopled: Notify,
    /// Wakes the sender: there are datagrams that the socket had no room for.
    blocked: Notify,
}

impl WireGuard {
    pub(super) fn start(
        key: &PrivateKey,
        listen: Listen,
        mtu: u16,
        inside: Arc<dyn Inside>,
        outgoing: impl Outgoing,
    ) -> io::Result<Self> {
        let socket = Arc::new(Socket::bind(listen)?);
        let bound = socket.local_addr();
        let secret = x25519::StaticSecret::from(*key.expose_secret());
        let public = x25519::PublicKey::from(&secret);
        let limiter = Arc::new(RateLimiter::new(&public, HANDSHAKES_PER_SECOND));
        let makings = Makings::new(secret.clone(), Arc::clone(&limiter));
        let tunnels = Tunnels::new(Arc::clone(&socket), makings.indices(), mtu, now);
        let shared = Arc::new(Shared {
            tunnels: Mutex::new(tunnels),
            makings,
            admitted: Admitted::default(),
            inside,
            secret,
            public,
            limiter,
            peopled: Notify::new(),
            blocked: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(receive(Arc::clone(&shared), Arc::clone(&socket)));
        tasks.spawn(send(Arc::clone(&shared), socket, outgoing));
        tasks.spawn(keep_time(Arc::clone(&shared)));
        Ok(Self {
            shared,
            tasks: Mutex::new(tasks),
            bound,
        })
    }

    pub(super) const fn local_addr(&self) -> SocketAddr {
        self.bound
    }

    /// Takes all tunnels down, for good, and gives the port back.
    pub(super) async fn down(&self) {
        self.cut();
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }

    /// From here on nothing passes.
    fn cut(&self) {
        let mut tunnels = self.shared.tunnels();
        tunnels.close();
        self.shared.admitted.clear();
    }

    /// Puts a batch in place: each peer with no packet in between, and all of them in turns, as
    /// those who send meanwhile wait for a turn to end.
    /// Leases count from `asked`.
    async fn place(&self, peers: Vec<PeerConfig>, asked: Instant) -> Result<(), InterfaceError> {
        if peers.len() <= TURN {
            return self.put(self.shared.makings.tunnels(peers, asked));
        }
        // A share for each processor, made while packets go on and the share before is put in
        // place.
        let processors = available_parallelism().map_or(1, NonZero::get);
        let shares = peers.chunks(peers.len().div_ceil(processors).max(TURN));
        let shares: Vec<_> = shares
            .map(|share| {
                let (makings, share) = (self.shared.makings.clone(), share.to_vec());
                spawn_blocking(move || makings.tunnels(share, asked))
            })
            .collect();
        for share in shares {
            let made = share.await;
            let mut made = made
                .map_err(|error| InterfaceError::Backend(error.into()))?
                .into_iter();
            while made.len() > 0 {
                self.put(made.by_ref().take(TURN).collect())?;
                yield_now().await;
            }
        }
        Ok(())
    }

    fn put(&self, turn: Vec<Tunnel>) -> Result<(), InterfaceError> {
        let shared = &self.shared;
        let mut tunnels = shared.open_tunnels()?;
        for tunnel in turn {
            let (key, allowed_ips) = tunnel.holds();
            tunnels.remove(key);
            shared.shut_out(key);
            // An address moves with all that belongs to it: its earlier holder's connections break.
            for holder in shared.admitted.holders(allowed_ips) {
                let left = tunnels.take_networks(&holder, allowed_ips);
                shared.shut_out(&holder);
                shared.admitted.insert(holder, &left.unwrap_or_default());
            }
            shared.admitted.insert(*key, allowed_ips);
            tunnels.insert(tunnel);
        }
        drop(tunnels);
        shared.peopled.notify_one();
        Ok(())
    }

    /// Renews peers in place; gives those that have to be placed instead.
    fn renew_some(
        &self,
        peers: &[PeerConfig],
        asked: Instant,
    ) -> Result<Vec<PeerConfig>, InterfaceError> {
        let mut tunnels = self.shared.open_tunnels()?;
        let others = peers.iter().filter(|peer| !tunnels.renew(peer, asked));
        Ok(others.cloned().collect())
    }

    fn remove_some(&self, peers: &[PublicKey]) {
        let mut tunnels = self.shared.tunnels(); // when down, no peer is there
        for peer in peers {
            tunnels.remove(peer);
            self.shared.shut_out(peer);
        }
    }
}

impl Drop for WireGuard {
    fn drop(&mut self) {
        self.cut(); // the tasks end with their set
    }
}

#[async_trait]
impl InterfaceBackend for WireGuard {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.place(peers, now().instant).await
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        let asked = now().instant;
        let mut others = Vec::new();
        for turn in peers.chunks(TURN) {
            others.extend(self.renew_some(turn, asked)?);
            yield_now().await;
        }
        self.place(others, asked).await
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        for turn in peers.chunks(TURN) {
            self.remove_some(turn);
            yield_now().await;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        let tunnels = self.shared.tunnels();
        if tunnels.is_closed() {
            return Err(InterfaceError::Down);
        }
        Ok(tunnels.list(now().instant))
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        let tunnels = self.shared.tunnels();
        if tunnels.is_closed() {
            return Err(InterfaceError::Down);
        }
        Ok(peers
            .iter()
            .filter_map(|peer| tunnels.activity(peer))
            .collect())
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        self.down().await;
        Ok(())
    }
}

impl Shared {
    fn tunnels(&self) -> MutexGuard<'_, Tunnels> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_tunnels(&self) -> Result<MutexGuard<'_, Tunnels>, InterfaceError> {
        let tunnels = self.tunnels();
        if tunnels.is_closed() {
            return Err(InterfaceError::Down);
        }
        Ok(tunnels)
    }

    /// Shuts a peer's networks out. With the tunnels locked.
    fn shut_out(&self, peer: &PublicKey) {
        let networks = self.admitted.remove(peer);
        if !networks.is_empty() {
            self.inside.break_off(&networks);
        }
    }

    /// Looks at a datagram. Finding out whose handshake it is needs no lock.
    fn verify(&self, datagram: Packet, from: Path) -> Option<Verified> {
        let message = match self.limiter.verify_packet(from.remote, datagram) {
            Ok(message) => message,
            Err(TunnResult::WriteToNetwork(cookie)) => {
                return Some(Verified::Unknown(cookie, from));
            }
            Err(TunnResult::Done | TunnResult::Err(_) | TunnResult::WriteToTunnel(_)) => {
                return None;
            }
        };
        let initiator = match &message {
            WgKind::HandshakeInit(init) => {
                let half = parse_handshake_anon(&self.secret, &self.public, init).ok()?;
                Some(PublicKey::from_bytes(half.peer_static_public))
            }
            WgKind::HandshakeResp(_) | WgKind::CookieReply(_) | WgKind::Data(_) => None,
        };
        Some(Verified::Message(message, initiator, from))
    }

    /// Takes datagrams in, with the tunnels locked once: decrypts them, and gives what they carry to
    /// the inside, before a removal can begin.
    fn take_in(&self, datagrams: &mut Vec<Verified>, opened: &mut Opened) {
        let mut tunnels = self.tunnels();
        // The time is read with the lock held: the process may have been stopped for any time since
        // these were received.
        let begun = now();
        let mut admitted = self.admitted.read();
        for verified in datagrams.drain(..) {
            let (message, initiator, from) = match verified {
                Verified::Message(message, initiator, from) => (message, initiator, from),
                Verified::Unknown(cookie, from) => {
                    tunnels.reply(cookie, from);
                    continue;
                }
            };
            if let Some((peer, packet)) = tunnels.take_in(message, initiator, from, begun) {
                // Only from an address that leads back to the same peer.
                let sender = packet.source();
                if sender.and_then(|source| admitted.holder(source)) == Some(peer) {
                    opened.push(peer, packet.into_bytes());
                }
            }
        }
        tunnels.settle();
        if !opened.is_empty() {
            // And once more, as it may have been stopped while these were decrypted.
            let now = now();
            opened.keep(|peer| tunnels.is_leased(peer, now));
            self.inside.deliver(opened);
            opened.clear();
        }
        if tunnels.is_blocked() {
            self.blocked.notify_one();
        }
    }

    /// Encrypts and sends packets, with the tunnels locked once for each share of them.
    fn send_out(&self, batch: &mut Batch) {
        while !batch.is_empty() {
            let mut tunnels = self.tunnels();
            let mut admitted = self.admitted.read();
            let now = now();
            for packet in batch.share() {
                let Ok(packet) = packet.try_into_ip() else {
                    continue;
                };
                let holder = packet.destination().and_then(|to| admitted.holder(to));
                if let Some(peer) = holder {
                    tunnels.send(&peer, packet.into_bytes(), now);
                }
            }
            tunnels.settle();
        }
    }
}

/// A datagram that may be a peer's.
enum Verified {
    /// A message, and who begins a handshake by it.
    Message(WgKind, Option<PublicKey>, Path),
    /// The cookie that someone has to come back with, who sends too many handshakes.
    Unknown(WgKind, Path),
}

impl Verified {
    /// Whether keys have to be agreed for it.
    const fn is_slow(&self) -> bool {
        matches!(
            self,
            Self::Message(WgKind::HandshakeInit(_) | WgKind::HandshakeResp(_), ..)
        )
    }
}

async fn receive(shared: Arc<Shared>, socket: Arc<Socket>) {
    let pool = Pool::new(MOST);
    let mut received = Received::new();
    let mut verified = Vec::with_capacity(MOST);
    let mut opened = Opened::default();
    while socket.readable().await.is_ok() {
        match socket.try_receive(&mut received) {
            Ok(()) => {
                for (datagram, from) in received.datagrams() {
                    verified.extend(shared.verify(pooled(&pool, &[datagram]), from));
                    // A handshake takes as long as a batch, so a removal waits for one of either.
                    if verified.len() == MOST || verified.last().is_some_and(Verified::is_slow) {
                        shared.take_in(&mut verified, &mut opened);
                    }
                }
                if !verified.is_empty() {
                    shared.take_in(&mut verified, &mut opened);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // What one peer's host refuses must not end the others' reception.
                log::later(move || tracing::debug!(%error, "a datagram was not received"));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        yield_now().await;
    }
}

async fn send(shared: Arc<Shared>, socket: Arc<Socket>, mut outgoing: impl Outgoing) {
    let mut batch = Batch::new();
    loop {
        if shared.tunnels().is_blocked() {
            if socket.writable().await.is_err() {
                return;
            }
            shared.tunnels().flush();
            continue;
        }
        tokio::select! {
            is_open = outgoing.fill(&mut batch) => {
                if !is_open {
                    return; // what was inside is gone
                }
                shared.send_out(&mut batch);
                yield_now().await;
            }
            () = shared.blocked.notified() => {}
        }
    }
}

async fn keep_time(shared: Arc<Shared>) {
    loop {
        let is_idle = {
            let mut tunnels = shared.tunnels();
            tunnels.tick(now());
            tunnels.is_empty()
        };
        if is_idle {
            shared.peopled.notified().await;
        } else {
            tokio::time::sleep(TICK).await;
        }
    }
}

fn now() -> Now {
    SystemClock::new().now()
}
