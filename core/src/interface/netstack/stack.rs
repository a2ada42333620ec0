//! The TCP/IP stack: `smoltcp` behind one lock, driven by one task that sleeps until a packet, a
//! stream or a timer wants something.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ipnet::IpNet;
use smoltcp::iface::{
    Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet,
};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use tokio::sync::{Notify, mpsc};

use super::NetstackError;
use crate::interface::wireguard::{Inside, Opened};
use crate::time::{Clock, SystemClock};

/// Bytes that one connection may have under way in each direction.
const SOCKET_BUFFER: usize = 128 * 1024;
/// Packets that wait in each direction; what comes on top is dropped, as on any full link.
const QUEUE: usize = 2048;
/// How many sockets listen at one address: they are topped up after every packet.
const LISTENING: usize = 8;
/// How many connections may wait to be accepted at one address.
const BACKLOG: usize = 256;
/// How many connections there may be at a time.
const MAX_CONNECTIONS: usize = 4096;
/// How long the other end may say nothing before a connection is broken.
const ACK_TIMEOUT: Duration = Duration::from_secs(60);
/// How often an idle connection asks whether the other end is there: `smoltcp` counts silence, not
/// only unanswered data, against the time-out.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The stack. Streams and listeners hold it; its task ends with the last of them.
pub(super) struct Stack {
    net: Mutex<Net>,
    /// Wakes the task that polls.
    wake: Notify,
}

/// What `smoltcp` works on.
pub(super) struct Net {
    iface: Interface,
    pub(super) sockets: SocketSet<'static>,
    device: Queues,
    pub(super) listeners: Vec<Listener>,
    /// Connections whose stream is gone: removed once they have closed.
    orphans: Vec<SocketHandle>,
    open: usize,
    next_port: u16,
    families: Vec<IpCidr>,
    /// Sockets for datagrams, and where they are.
    pub(super) bound: Vec<(SocketHandle, SocketAddr)>,
    /// Taken down for good: nothing is sent or accepted any more.
    pub(super) is_down: bool,
}

/// An address that connections are accepted at.
pub(super) struct Listener {
    pub(super) at: SocketAddr,
    waiting: Vec<SocketHandle>,
    accepted: mpsc::Sender<SocketHandle>,
}

struct Queues {
    incoming: VecDeque<Vec<u8>>,
    outgoing: mpsc::Sender<Vec<u8>>,
    mtu: usize,
}

impl Stack {
    /// Starts a stack with these addresses; gives the packets that it sends.
    pub(super) fn start(
        addresses: &[IpNet],
        mtu: u16,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Vec<u8>>), NetstackError> {
        let (sender, outgoing) = mpsc::channel(QUEUE);
        let mut device = Queues {
            incoming: VecDeque::new(),
            outgoing: sender,
            mtu: usize::from(mtu),
        };
        let mut config = Config::new(HardwareAddress::Ip);
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| NetstackError::Device(Box::new(error)))?;
        config.random_seed = u64::from_le_bytes(seed);
        let mut iface = Interface::new(config, &mut device, now());
        let families = assign(&mut iface, addresses)?;
        let net = Net {
            iface,
            sockets: SocketSet::new(Vec::new()),
            device,
            listeners: Vec::new(),
            orphans: Vec::new(),
            open: 0,
            next_port: 49_152 + u16::from_le_bytes([seed[0], seed[1]]) % 16_000,
            families,
            bound: Vec::new(),
            is_down: false,
        };
        let stack = Arc::new(Self {
            net: Mutex::new(net),
            wake: Notify::new(),
        });
        tokio::spawn(run(Arc::downgrade(&stack)));
        Ok((stack, outgoing))
    }

    pub(super) fn net(&self) -> MutexGuard<'_, Net> {
        self.net.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the stack look at what changed.
    pub(super) fn poke(&self) {
        self.wake.notify_one();
    }

    /// Breaks every connection and ends every listener, for good.
    pub(super) fn abort_all(&self) {
        let mut net = self.net();
        net.is_down = true;
        net.abort(|_| true);
        net.drop_datagrams();
        net.listeners.clear(); // anyone who waits to accept learns of it
        drop(net);
        self.poke();
    }

    /// Polls the stack once; says how long it has nothing to do.
    fn poll(&self) -> Option<Duration> {
        let mut net = self.net();
        while net.take_in() {
            net.hand_over(); // at once: the next packet may want the socket that this one took
        }
        let Net {
            iface,
            sockets,
            device,
            ..
        } = &mut *net;
        while iface.poll(now(), device, sockets) == PollResult::SocketStateChanged {}
        net.hand_over();
        net.sweep();
        let Net { iface, sockets, .. } = &mut *net;
        iface.poll_delay(now(), sockets).map(Duration::from)
    }
}

impl Inside for Stack {
    fn deliver(&self, packets: &Opened) {
        let mut net = self.net();
        let room = QUEUE.saturating_sub(net.device.incoming.len());
        let packets = packets.packets().take(room).map(<[u8]>::to_vec);
        net.device.incoming.extend(packets);
        drop(net);
        self.poke();
    }

    /// Breaks the connections of these networks.
    fn break_off(&self, networks: &[IpNet]) {
        let mut net = self.net();
        net.device.incoming.clear(); // rather a few packets of others, which TCP sends again
        net.abort(|remote| networks.iter().any(|network| network.contains(&remote)));
        net.drop_datagrams();
        drop(net);
        self.poke();
    }
}

impl Net {
    /// Works on one packet, if one waits.
    fn take_in(&mut self) -> bool {
        let Self {
            iface,
            sockets,
            device,
            ..
        } = self;
        iface.poll_ingress_single(now(), device, sockets) != PollIngressSingleResult::None
    }

    /// A new socket, while there is room for one more connection.
    pub(super) fn socket(&mut self) -> Option<SocketHandle> {
        if self.open >= MAX_CONNECTIONS {
            return None;
        }
        self.open += 1;
        let buffer = || tcp::SocketBuffer::new(vec![0; SOCKET_BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(tcp::CongestionControl::Cubic);
        socket.set_timeout(Some(ACK_TIMEOUT.into()));
        socket.set_keep_alive(Some(KEEP_ALIVE.into()));
        Some(self.sockets.add(socket))
    }

    pub(super) fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Begins a connection.
    pub(super) fn connect(&mut self, to: SocketAddr) -> Result<SocketHandle, NetstackError> {
        if !self.has_family_of(to) {
            return Err(NetstackError::Unroutable { to });
        }
        if self.is_down {
            return Err(NetstackError::TimedOut { to });
        }
        let handle = self.socket().ok_or(NetstackError::Refused { to })?;
        let port = self.port();
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        if socket.connect(self.iface.context(), to, port).is_err() {
            self.release(handle);
            return Err(NetstackError::Unroutable { to });
        }
        Ok(handle)
    }

    /// Whether there is an own address to reach this one from.
    pub(super) fn has_family_of(&self, to: SocketAddr) -> bool {
        let mut own = self.families.iter();
        own.any(|own| matches!(own, IpCidr::Ipv4(_)) == to.is_ipv4())
    }

    /// A port for the next connection or socket (RFC 6335, section 6: 49152 to 65535).
    pub(super) const fn port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port == u16::MAX { 49_152 } else { port + 1 };
        port
    }

    pub(super) const fn mtu(&self) -> usize {
        self.device.mtu
    }

    /// Begins to listen; gives the connections as they come.
    pub(super) fn listen(
        &mut self,
        at: SocketAddr,
    ) -> Result<mpsc::Receiver<SocketHandle>, NetstackError> {
        if self.listeners.iter().any(|listener| listener.at == at) {
            return Err(NetstackError::Listening { at });
        }
        let (accepted, connections) = mpsc::channel(BACKLOG);
        self.listeners.push(Listener {
            at,
            waiting: Vec::new(),
            accepted,
        });
        self.hand_over();
        Ok(connections)
    }

    pub(super) fn unlisten(&mut self, at: SocketAddr) {
        let gone = self.listeners.iter().position(|listener| listener.at == at);
        if let Some(listener) = gone.map(|index| self.listeners.swap_remove(index)) {
            listener
                .waiting
                .into_iter()
                .for_each(|handle| self.release(handle));
        }
    }

    /// Hands connections that were made to the person who accepts them, and listens for the next ones.
    fn hand_over(&mut self) {
        let mut listeners = std::mem::take(&mut self.listeners);
        for listener in &mut listeners {
            let mut still = Vec::with_capacity(LISTENING);
            let mut listening = 0;
            for handle in std::mem::take(&mut listener.waiting) {
                match self.tcp(handle).state() {
                    tcp::State::Listen => {
                        listening += 1;
                        still.push(handle);
                    }
                    tcp::State::SynReceived => still.push(handle),
                    tcp::State::Closed => self.release(handle),
                    tcp::State::SynSent
                    | tcp::State::Established
                    | tcp::State::FinWait1
                    | tcp::State::FinWait2
                    | tcp::State::CloseWait
                    | tcp::State::Closing
                    | tcp::State::LastAck
                    | tcp::State::TimeWait => {
                        // No one has room to accept it: the client may try again.
                        if listener.accepted.try_send(handle).is_err() {
                            self.tcp(handle).abort();
                            self.orphans.push(handle);
                        }
                    }
                }
            }
            while listening < LISTENING && still.len() < BACKLOG {
                let Some(handle) = self.socket() else { break };
                if self.tcp(handle).listen(listener.at).is_err() {
                    self.release(handle);
                    break;
                }
                listening += 1;
                still.push(handle);
            }
            listener.waiting = still;
        }
        self.listeners = listeners;
    }

    /// Leaves a connection to close by itself.
    pub(super) fn orphan(&mut self, handle: SocketHandle) {
        let socket = self.tcp(handle);
        // Without keep-alives it times out, should the other end never close its half.
        socket.set_keep_alive(None);
        if socket.can_recv() {
            socket.abort(); // what came will never be read: the other end must not think it was
        } else {
            socket.close();
        }
        self.orphans.push(handle);
    }

    /// Removes connections that no one holds once they have closed.
    fn sweep(&mut self) {
        for handle in std::mem::take(&mut self.orphans) {
            let socket = self.tcp(handle);
            if socket.can_recv() {
                socket.abort(); // still sending to no one
            }
            match socket.state() {
                // The reset that an abort owes has not gone out yet.
                tcp::State::Closed if socket.remote_endpoint().is_some() => {
                    self.orphans.push(handle);
                }
                tcp::State::Closed | tcp::State::TimeWait => self.release(handle),
                tcp::State::Listen
                | tcp::State::SynSent
                | tcp::State::SynReceived
                | tcp::State::Established
                | tcp::State::FinWait1
                | tcp::State::FinWait2
                | tcp::State::CloseWait
                | tcp::State::Closing
                | tcp::State::LastAck => self.orphans.push(handle),
            }
        }
    }

    fn release(&mut self, handle: SocketHandle) {
        self.sockets.remove(handle);
        self.open -= 1;
    }

    /// Breaks the connections with the remote addresses that `is_meant` picks.
    fn abort(&mut self, is_meant: impl Fn(IpAddr) -> bool) {
        for (_, socket) in self.sockets.iter_mut() {
            let smoltcp::socket::Socket::Tcp(socket) = socket else {
                continue;
            };
            if socket
                .remote_endpoint()
                .is_some_and(|remote| is_meant(remote.addr.into()))
            {
                // What it sent and no one read yet doesn't pass either.
                while socket.can_recv() && socket.recv(|data| (data.len(), ())).is_ok() {}
                socket.abort();
            }
        }
    }
}

/// Gives the interface its addresses, and answers for any other that someone listens at.
fn assign(iface: &mut Interface, addresses: &[IpNet]) -> Result<Vec<IpCidr>, NetstackError> {
    let mut own = Vec::new();
    for address in addresses {
        let cidr = IpCidr::new(IpAddress::from(address.addr()), address.prefix_len());
        let gateway = match address.addr() {
            IpAddr::V4(addr) => iface.routes_mut().add_default_ipv4_route(addr).map(drop),
            IpAddr::V6(addr) => iface.routes_mut().add_default_ipv6_route(addr).map(drop),
        };
        gateway.map_err(|_| NetstackError::Addresses)?;
        own.push(cidr);
    }
    let v4 = addresses
        .iter()
        .filter(|address| address.addr().is_ipv4())
        .count();
    if own.is_empty() || v4 > 1 || own.len() - v4 > 1 {
        return Err(NetstackError::Addresses);
    }
    iface.update_ip_addrs(|list| own.iter().for_each(|cidr| _ = list.push(*cidr)));
    iface.set_any_ip(true);
    Ok(own)
}

/// Polls whenever something wants it, until the last handle is gone.
async fn run(stack: Weak<Stack>) {
    loop {
        let Some(strong) = stack.upgrade() else {
            return;
        };
        if strong.net().is_down {
            return; // with nowhere to send to, polling would spin
        }
        let delay = strong.poll();
        let woken = async { strong.wake.notified().await };
        match delay {
            Some(Duration::ZERO) => {
                // With the way out full, this waits instead of spinning.
                let outgoing = strong.net().device.outgoing.clone();
                if outgoing.reserve().await.is_err() {
                    return strong.abort_all();
                }
                tokio::task::yield_now().await;
            }
            Some(delay) => _ = tokio::time::timeout(delay, woken).await,
            // Looks up now and then whether anyone is left to serve.
            None => _ = tokio::time::timeout(Duration::from_secs(60), woken).await,
        }
    }
}

fn now() -> Instant {
    let nanos = SystemClock::new().now().instant.as_nanos();
    Instant::from_micros(i64::try_from(nanos / 1000).unwrap_or(i64::MAX))
}

impl Device for Queues {
    type RxToken<'a> = Received;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Room<'_>)> {
        // No packet is taken in while none could be answered.
        let room = self.outgoing.try_reserve().ok()?;
        let packet = self.incoming.pop_front()?;
        Some((Received(packet), Room(room)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        self.outgoing.try_reserve().ok().map(Room)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Room<'a>(mpsc::Permit<'a, Vec<u8>>);

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut packet = vec![0; len];
        let result = write(&mut packet);
        self.0.send(packet);
        result
    }
}
