//! WireGuard in this process: `gotatun`'s protocol between a UDP socket and what is inside, and
//! the backend's contract kept with it.
//!
//! All tunnels are behind one lock, and whatever decrypts, encrypts or sends holds it: once a peer
//! is out of the table, nothing of it is on its way anywhere in this process. Why not `gotatun`'s
//! own device: `docs/adr/0005-wireguard-behind-one-lock.md`. None of its types leave this module.

mod admitted;
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
use gotatun::packet::{Packet, PacketBufPool, WgKind};
use gotatun::x25519;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinSet, spawn_blocking, yield_now};

use crate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::{PrivateKey, PublicKey};
use crate::runtime::SystemClock;
use crate::time::{Clock, Now};
use admitted::Admitted;
use ipnet::IpNet;
use tunnel::Tunnel;
use tunnels::{Makings, Tunnels};

/// Handshake messages that one source may send in a second before it must show that it is there.
const HANDSHAKES_PER_SECOND: u64 = 100;
/// How often the protocol's timers are looked at, while there are peers.
const TICK: Duration = Duration::from_millis(250);
/// Bytes that the UDP socket may hold in each direction: a burst of all that TCP has under way.
const SOCKET_BUFFER: usize = 4 << 20;
/// How many packets are worked on before others get a turn.
const BATCH: usize = 64;
/// How many peers of a batch come or go before packets get a turn.
const TURN: usize = 32;

/// Room for WireGuard's own header on a path of 1500 bytes, IPv6 included.
pub(super) const MTU: u16 = 1420;

/// What is on the inner side of the tunnels: a TCP/IP stack, or a TUN device. It is called with
/// the tunnels locked, and never waits.
pub(super) trait Inside: Send + Sync + 'static {
    /// Takes in a packet that came through a tunnel.
    fn deliver(&self, packet: &[u8]);

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
    pub(super) async fn start(
        key: &PrivateKey,
        listen: SocketAddr,
        mtu: u16,
        inside: Arc<dyn Inside>,
        outgoing: mpsc::Receiver<Vec<u8>>,
    ) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::bind(listen).await?);
        let bound = socket.local_addr()?;
        make_room(&socket);
        let secret = x25519::StaticSecret::from(*key.expose_secret());
        let public = x25519::PublicKey::from(&secret);
        let limiter = Arc::new(RateLimiter::new(&public, HANDSHAKES_PER_SECOND));
        let makings = Makings::new(secret.clone(), Arc::clone(&limiter));
        let tunnels = Tunnels::new(Arc::clone(&socket), makings.indices(), mtu);
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
    async fn place(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        if peers.len() <= TURN {
            return self.put(self.shared.makings.tunnels(peers));
        }
        // A share for each processor, made while packets go on and the share before is put in
        // place.
        let processors = available_parallelism().map_or(1, NonZero::get);
        let shares = peers.chunks(peers.len().div_ceil(processors).max(TURN));
        let shares: Vec<_> = shares
            .map(|share| {
                let (makings, share) = (self.shared.makings.clone(), share.to_vec());
                spawn_blocking(move || makings.tunnels(share))
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
            let PeerConfig {
                key, allowed_ips, ..
            } = &tunnel.config();
            tunnels.remove(key);
            shared.shut_out(key);
            // An address moves with all that belongs to it: its earlier holder's connections break.
            for holder in shared.admitted.holders(allowed_ips) {
                let left = tunnels.take_networks(&holder, allowed_ips);
                shared.shut_out(&holder);
                shared.admitted.insert(holder, &left.unwrap_or_default());
            }
            shared.admitted.insert(*key, allowed_ips);
            tunnels.insert(*key, tunnel);
        }
        drop(tunnels);
        shared.peopled.notify_one();
        Ok(())
    }

    /// Renews peers in place; gives those that have to be placed instead.
    fn renew_some(&self, peers: &[PeerConfig]) -> Result<Vec<PeerConfig>, InterfaceError> {
        let mut tunnels = self.shared.open_tunnels()?;
        let others = peers.iter().filter(|peer| !tunnels.renew(peer));
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
        self.place(peers).await
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        let mut others = Vec::new();
        for turn in peers.chunks(TURN) {
            others.extend(self.renew_some(turn)?);
            yield_now().await;
        }
        self.place(others).await
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
        Ok(tunnels.list())
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

    /// Takes one datagram in. Finding out whose handshake it is needs no lock.
    fn take_in(&self, datagram: Packet, from: SocketAddr) {
        let message = match self.limiter.verify_packet(from, datagram) {
            Ok(message) => message,
            Err(TunnResult::WriteToNetwork(cookie)) => {
                return self.tunnels().reply(cookie, from);
            }
            Err(TunnResult::Done | TunnResult::Err(_) | TunnResult::WriteToTunnel(_)) => return,
        };
        let initiator = match &message {
            WgKind::HandshakeInit(init) => {
                let Ok(half) = parse_handshake_anon(&self.secret, &self.public, init) else {
                    return;
                };
                Some(PublicKey::from_bytes(half.peer_static_public))
            }
            WgKind::HandshakeResp(_) | WgKind::CookieReply(_) | WgKind::Data(_) => None,
        };
        let mut tunnels = self.tunnels();
        if let Some((peer, packet)) = tunnels.take_in(message, initiator, from, now()) {
            // Only from an address that leads back to the same peer.
            let sender = packet.source();
            if sender.and_then(|source| self.admitted.holder(source)) == Some(peer) {
                self.inside.deliver(&packet.into_bytes());
            }
        }
        if tunnels.is_blocked() {
            self.blocked.notify_one();
        }
    }

    fn send_out(&self, packets: impl Iterator<Item = Vec<u8>>, pool: &PacketBufPool) {
        let mut tunnels = self.tunnels();
        let now = now();
        for bytes in packets {
            let mut packet = pool.get();
            let Some(room) = packet.get_mut(..bytes.len()) else {
                continue;
            };
            room.copy_from_slice(&bytes);
            packet.truncate(bytes.len());
            let Ok(packet) = packet.try_into_ip() else {
                continue;
            };
            let holder = packet.destination().and_then(|to| self.admitted.holder(to));
            if let Some(peer) = holder {
                tunnels.send(&peer, packet.into_bytes(), now);
            }
        }
    }
}

async fn receive(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let pool: PacketBufPool = PacketBufPool::new(BATCH);
    while socket.readable().await.is_ok() {
        for _ in 0..BATCH {
            let mut datagram = pool.get();
            match socket.try_recv_from(&mut datagram) {
                Ok((len, from)) => {
                    datagram.truncate(len);
                    shared.take_in(datagram, from);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    // What one peer's host refuses must not end the others' reception.
                    tracing::debug!(%error, "a datagram was not received");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    break;
                }
            }
        }
        yield_now().await;
    }
}

async fn send(shared: Arc<Shared>, socket: Arc<UdpSocket>, mut outgoing: mpsc::Receiver<Vec<u8>>) {
    let pool: PacketBufPool = PacketBufPool::new(BATCH);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        if shared.tunnels().is_blocked() {
            if socket.writable().await.is_err() {
                return;
            }
            shared.tunnels().flush();
            continue;
        }
        tokio::select! {
            count = outgoing.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    return; // what was inside is gone
                }
                shared.send_out(batch.drain(..), &pool);
            }
            () = shared.blocked.notified() => {}
        }
    }
}

async fn keep_time(shared: Arc<Shared>) {
    loop {
        let is_idle = {
            let mut tunnels = shared.tunnels();
            tunnels.tick();
            tunnels.is_empty()
        };
        if is_idle {
            shared.peopled.notified().await;
        } else {
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Asks for room for a burst in each direction; the system gives what it allows.
fn make_room(socket: &UdpSocket) {
    let socket = socket2::SockRef::from(socket);
    let given = socket
        .set_recv_buffer_size(SOCKET_BUFFER)
        .and_then(|()| socket.set_send_buffer_size(SOCKET_BUFFER));
    if let Err(error) = given {
        tracing::debug!(%error, "the UDP socket keeps its usual buffers");
    }
}

fn now() -> Now {
    SystemClock::new().now()
}
