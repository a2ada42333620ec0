//! A client on another host: in-process WireGuard on a TUN device there, with sockets to send from.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use mfagate::interface::userspace::Userspace;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Runtime;

use crate::flow::{Receiver, Sender};
use crate::network::Host;

/// Between two packets of a flow.
pub(crate) const EVERY: Duration = Duration::from_millis(2);

/// A tunnel's end on another host. The network inside is 10.`number`.0.0/24, the gate is its first
/// address and the client its second.
pub(crate) struct Line<'a> {
    host: &'a Host,
    client: Userspace,
    runtime: Option<Runtime>,
    number: u8,
    gate: PublicKey,
    endpoint: SocketAddr,
}

impl<'a> Line<'a> {
    /// A client of the gate that has this key and listens there.
    pub(crate) fn new(host: &'a Host, number: u8, gate: PublicKey, endpoint: SocketAddr) -> Self {
        Self::wide(host, number, gate, endpoint, 1420)
    }

    /// One with another MTU inside.
    pub(crate) fn wide(
        host: &'a Host,
        number: u8,
        gate: PublicKey,
        endpoint: SocketAddr,
        mtu: u16,
    ) -> Self {
        let (runtime, client) = within(host, move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let address = format!("10.{number}.0.2/24").parse().unwrap();
            let client = Userspace::builder(format!("line{number}"), key(number)).mtu(mtu);
            let client = runtime.block_on(client.address(address).build()).unwrap();
            (runtime, client)
        });
        Self {
            host,
            client,
            runtime: Some(runtime),
            number,
            gate,
            endpoint,
        }
    }

    /// What a gate installs for the client.
    pub(crate) fn peer(&self) -> PeerConfig {
        let inside = format!("10.{}.0.2/32", self.number).parse().unwrap();
        let mut peer = PeerConfig::new(key(self.number).public_key(), Some(psk(1)), vec![inside]);
        peer.lease = Some(Duration::from_secs(3600));
        peer
    }

    /// Begins again with this preshared key, as a client does that was admitted.
    pub(crate) async fn begin(&self, psk: PresharedKey) {
        self.client.install(vec![self.gate(psk)]).await.unwrap();
    }

    /// Has the client know a renewed preshared key, and go on.
    pub(crate) async fn renew(&self, psk: PresharedKey) {
        self.client.renew(vec![self.gate(psk)]).await.unwrap();
    }

    /// What the client installs.
    pub(crate) fn gate(&self, psk: PresharedKey) -> PeerConfig {
        let inside = format!("10.{}.0.0/24", self.number).parse().unwrap();
        let gate = PeerConfig::new(self.gate, Some(psk), vec![inside]);
        gate.with_endpoint(self.endpoint)
    }

    /// A flow from the client to the gate, which must have its address.
    pub(crate) fn up(&self, every: Duration, epoch: Instant) -> (Sender, Receiver) {
        let to = format!("10.{}.0.1:9", self.number);
        let receiver = Receiver::start(UdpSocket::bind(&to).unwrap(), epoch);
        let from = format!("10.{}.0.2:9", self.number);
        let socket = within(self.host, move || UdpSocket::bind(from).unwrap());
        (Sender::start(socket, to.leak(), every, epoch), receiver)
    }

    /// Flows in both directions; the gate must have its address.
    pub(crate) fn both_ways(&self, every: Duration, epoch: Instant) -> Traffic {
        let (to_gate, up) = self.up(every, epoch);
        let (to_client, down) = self.down(every, epoch);
        Traffic {
            up,
            down,
            senders: [to_gate, to_client],
        }
    }

    /// A flow from the gate to the client.
    pub(crate) fn down(&self, every: Duration, epoch: Instant) -> (Sender, Receiver) {
        let to = format!("10.{}.0.2:10", self.number);
        let at = to.clone();
        let socket = within(self.host, move || UdpSocket::bind(at).unwrap());
        let receiver = Receiver::start(socket, epoch);
        let from = UdpSocket::bind(format!("10.{}.0.1:10", self.number)).unwrap();
        (Sender::start(from, to.leak(), every, epoch), receiver)
    }
}

/// Flows in both directions of a line.
pub(crate) struct Traffic {
    pub(crate) up: Receiver,
    pub(crate) down: Receiver,
    senders: [Sender; 2],
}

impl Traffic {
    /// Waits until more have arrived in each direction.
    pub(crate) fn wait_for(&self, more: u64) {
        self.up.wait_for(more);
        self.down.wait_for(more);
    }

    pub(crate) fn stop(&mut self) {
        for sender in &mut self.senders {
            sender.stop();
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // it may be dropped inside another
        }
    }
}

pub(crate) fn psk(n: u8) -> PresharedKey {
    PresharedKey::from_bytes([n; 32])
}

pub(crate) const fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes([100 + number; 32]) // not the gate's own
}

/// Runs a closure on a thread of its own on another host.
pub(crate) fn within<T: Send + 'static>(
    host: &Host,
    closure: impl FnOnce() -> T + Send + 'static,
) -> T {
    let path = format!("/proc/{}/ns/net", host.pid());
    let inside = std::thread::spawn(move || {
        let space = File::open(path).unwrap();
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(space.as_fd(), network).unwrap();
        closure()
    });
    inside.join().unwrap()
}
