//! The WireGuard device: `gotatun` between a UDP socket and the stack, and the backend's contract
//! kept with it. None of its types leave this file; its `Peer` prints its secrets and is never
//! formatted.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use gotatun::device::{Device, DeviceBuilder, Error, Peer};
use gotatun::packet::{Ip, Packet, PacketBufPool};
use gotatun::tun::{IpRecv, IpSend, MtuWatcher};
use gotatun::udp::socket::UdpSocketFactory;
use gotatun::udp::{UdpSend, UdpTransportFactory, UdpTransportFactoryParams};
use gotatun::x25519;
use tokio::sync::{RwLock, mpsc};

use super::stack::Stack;
use super::{Netstack, NetstackError};
use crate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::runtime::SystemClock;
use crate::time::Clock;

type WgDevice = Device<(Udp, ToStack, FromStack)>;

/// The device, until it is taken down.
pub(super) struct WireGuard {
    device: RwLock<Option<WgDevice>>,
    stack: Arc<Stack>,
    bound: SocketAddr,
}

impl WireGuard {
    pub(super) async fn start(
        key: &PrivateKey,
        listen: SocketAddr,
        mtu: u16,
        stack: Arc<Stack>,
        outgoing: mpsc::Receiver<Vec<u8>>,
    ) -> Result<Self, NetstackError> {
        let bound = Arc::new(OnceLock::new());
        let udp = Udp {
            listen,
            bound: Arc::clone(&bound),
            sockets: UdpSocketFactory::default(),
        };
        let device = DeviceBuilder::new()
            .with_udp(udp)
            .with_ip_pair(ToStack(Arc::clone(&stack)), FromStack { outgoing, mtu })
            .with_private_key(x25519::StaticSecret::from(*key.expose_secret()))
            .with_listen_port(listen.port())
            .build()
            .await
            .map_err(|error| start_failed(listen, error))?;
        // A device that never had a peer listens on nothing until its peers are cleared once.
        device
            .clear_peers()
            .await
            .map_err(|error| start_failed(listen, error))?;
        let bound = bound.get().copied().unwrap_or(listen);
        Ok(Self {
            device: RwLock::new(Some(device)),
            stack,
            bound,
        })
    }

    pub(super) const fn local_addr(&self) -> SocketAddr {
        self.bound
    }

    /// Takes the device down, for good.
    pub(super) async fn down(&self) {
        self.stack.admitted().clear();
        let device = self.device.write().await.take();
        if let Some(device) = device {
            device.stop().await;
        }
    }

    async fn place(&self, peers: Vec<PeerConfig>, in_place: bool) -> Result<(), InterfaceError> {
        let device = self.device.read().await;
        let device = device.as_ref().ok_or(InterfaceError::Down)?;
        let wanted: Vec<(PeerConfig, Peer)> = peers
            .into_iter()
            .map(|peer| to_gotatun(&peer).map(|to| (peer, to)))
            .collect::<Result<_, _>>()?;
        let stack = &self.stack;
        let written = device.write(async |device| {
            for (config, peer) in wanted {
                let key = peer.public_key;
                let psk = peer.preshared_key;
                let is_renewed = in_place
                    && device
                        .modify_peer(&key, |installed| installed.set_preshared_key(psk))
                        .await;
                if !is_renewed {
                    stack.shut_out(&config.key);
                    device.remove_peer(&key).await;
                    device.add_peer(peer);
                }
                stack.admitted().insert(config.key, &config.allowed_ips);
            }
        });
        written.await.map_err(failed)
    }
}

#[async_trait]
impl InterfaceBackend for Netstack {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.wireguard.place(peers, false).await
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.wireguard.place(peers, true).await
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        // First out of the stack: what is queued there goes nowhere from here on.
        peers.iter().for_each(|peer| self.stack.shut_out(peer));
        let device = self.wireguard.device.read().await;
        let Some(device) = device.as_ref() else {
            return Ok(());
        }; // down: no peer is there
        let keys: Vec<_> = peers.iter().map(to_key).collect();
        let removed = device.write(async |device| {
            for key in &keys {
                device.remove_peer(key).await;
            }
        });
        removed.await.map_err(failed)
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        let device = self.wireguard.device.read().await;
        let device = device.as_ref().ok_or(InterfaceError::Down)?;
        let peers = device.peers().await;
        Ok(peers
            .into_iter()
            .map(|peer| from_gotatun(&peer.peer))
            .collect())
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        let device = self.wireguard.device.read().await;
        let device = device.as_ref().ok_or(InterfaceError::Down)?;
        let now = SystemClock::new().now().timestamp;
        let bytes = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let all = device.peers().await.into_iter().map(|seen| Activity {
            key: PublicKey::from_bytes(*seen.peer.public_key.as_bytes()),
            last_handshake: seen.stats.last_handshake.map(|ago| now - ago),
            received: bytes(seen.stats.rx_bytes),
            sent: bytes(seen.stats.tx_bytes),
            endpoint: seen.peer.endpoint,
        });
        Ok(all
            .filter(|activity| peers.contains(&activity.key))
            .collect())
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        self.close().await;
        Ok(())
    }
}

fn to_key(key: &PublicKey) -> x25519::PublicKey {
    x25519::PublicKey::from(*key.as_bytes())
}

fn to_gotatun(config: &PeerConfig) -> Result<Peer, InterfaceError> {
    let mut peer = Peer::new(to_key(&config.key));
    peer.endpoint = config.endpoint;
    peer.preshared_key = config.psk.as_ref().map(|psk| *psk.expose_secret());
    peer.keepalive = config
        .keepalive
        .map(|every| u16::try_from(every.as_secs().max(1)).unwrap_or(u16::MAX));
    for network in &config.allowed_ips {
        let network = ipnetwork::IpNetwork::new(network.network(), network.prefix_len());
        peer.allowed_ips
            .push(network.map_err(|error| InterfaceError::Backend(Box::new(error)))?);
    }
    Ok(peer)
}

fn from_gotatun(peer: &Peer) -> PeerConfig {
    let networks = peer.allowed_ips.iter();
    let allowed_ips =
        networks.filter_map(|network| ipnet::IpNet::new(network.ip(), network.prefix()).ok());
    PeerConfig {
        key: PublicKey::from_bytes(*peer.public_key.as_bytes()),
        psk: peer.preshared_key.map(PresharedKey::from_bytes),
        allowed_ips: allowed_ips.collect(),
        endpoint: peer.endpoint,
        keepalive: peer
            .keepalive
            .map(|every| Duration::from_secs(u64::from(every))),
    }
}

fn failed(error: Error) -> InterfaceError {
    InterfaceError::Backend(Box::new(error))
}

fn start_failed(at: SocketAddr, error: Error) -> NetstackError {
    if let Error::Bind(source, _) = error {
        return NetstackError::AddressInUse { at, source };
    }
    NetstackError::Device(Box::new(error))
}

/// UDP sockets at one given address.
struct Udp {
    listen: SocketAddr,
    bound: Arc<OnceLock<SocketAddr>>,
    sockets: UdpSocketFactory,
}

impl UdpTransportFactory for Udp {
    type Send = <UdpSocketFactory as UdpTransportFactory>::Send;
    type Recv = <UdpSocketFactory as UdpTransportFactory>::Recv;

    async fn bind(
        &mut self,
        params: &UdpTransportFactoryParams,
    ) -> io::Result<(Self::Send, Self::Recv)> {
        let mut params = params.clone();
        params.addr = Some(self.listen.ip());
        let (send, recv) = self.sockets.bind(&params).await?;
        if let Some(addr) = UdpSend::local_addr(&send)? {
            _ = self
                .bound
                .set(SocketAddr::new(self.listen.ip(), addr.port()));
        }
        Ok((send, recv))
    }
}

/// What WireGuard has decrypted, on its way to the stack.
struct ToStack(Arc<Stack>);

impl IpSend for ToStack {
    async fn send(&mut self, packet: Packet<Ip>) -> io::Result<()> {
        if packet
            .source()
            .is_some_and(|source| self.0.admitted().has(source))
        {
            self.0.deliver(packet.into_bytes().to_vec());
        }
        Ok(())
    }
}

/// What the stack sends, on its way to WireGuard.
struct FromStack {
    outgoing: mpsc::Receiver<Vec<u8>>,
    mtu: u16,
}

impl IpRecv for FromStack {
    async fn recv<'a>(
        &'a mut self,
        pool: &mut PacketBufPool,
    ) -> io::Result<impl Iterator<Item = Packet<Ip>> + Send + 'a> {
        loop {
            let Some(bytes) = self.outgoing.recv().await else {
                return std::future::pending().await; // the stack is gone, and the device with it
            };
            let mut packet = pool.get();
            let Some(room) = packet.get_mut(..bytes.len()) else {
                continue;
            };
            room.copy_from_slice(&bytes);
            packet.truncate(bytes.len());
            if let Ok(packet) = packet.try_into_ip() {
                return Ok(std::iter::once(packet));
            }
        }
    }

    fn mtu(&self) -> MtuWatcher {
        MtuWatcher::new(self.mtu)
    }
}
