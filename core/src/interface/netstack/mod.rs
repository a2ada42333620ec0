#![doc = include_str!("docs.md")]

mod forward;
mod socket;
mod socks;
mod stack;
mod stream;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;

pub use forward::Forward;
pub use socket::NetSocket;
pub use stream::{NetListener, NetStream};

use super::mtu::{self, MTU};
use super::wireguard::{Listen, WireGuard};
use super::{Activity, InterfaceBackend, InterfaceError, MtuError, PeerConfig};
use crate::key::{PrivateKey, PublicKey};
use stack::Stack;

/// WireGuard and a TCP/IP stack inside the process. A cheap handle: clones share both.
///
/// When the last clone and every stream are gone, the tunnel is too.
#[derive(Clone)]
pub struct Netstack {
    wireguard: Arc<WireGuard>,
    stack: Arc<Stack>,
}

/// What a [`Netstack`] is made of.
#[derive(Debug)]
pub struct NetstackBuilder {
    key: PrivateKey,
    listen: Listen,
    mtu: u16,
    addresses: Vec<IpNet>,
}

impl Netstack {
    /// Begins with the interface's private key.
    pub const fn builder(key: PrivateKey) -> NetstackBuilder {
        NetstackBuilder {
            key,
            listen: Listen::anywhere(),
            mtu: MTU,
            addresses: Vec::new(),
        }
    }

    /// The UDP address that WireGuard listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.wireguard.local_addr()
    }

    /// Connects to a TCP address through the tunnel.
    ///
    /// Cancel safe: a connection that is dropped half-way is given up.
    ///
    /// # Errors
    /// [`NetstackError::Refused`], [`NetstackError::TimedOut`], [`NetstackError::Unroutable`].
    pub async fn connect(&self, to: SocketAddr) -> Result<NetStream, NetstackError> {
        self.connect_within(to, Duration::from_secs(30)).await
    }

    /// Connects to a TCP address through the tunnel, or gives up after `limit`.
    ///
    /// # Errors
    /// As of [`Netstack::connect`].
    pub async fn connect_within(
        &self,
        to: SocketAddr,
        limit: Duration,
    ) -> Result<NetStream, NetstackError> {
        let connected = tokio::time::timeout(limit, NetStream::connect(&self.stack, to)).await;
        connected.map_err(|_| NetstackError::TimedOut { to })?
    }

    /// Accepts TCP connections to an address inside the tunnel. With an address that is not the
    /// interface's own, the interface answers for it.
    ///
    /// # Errors
    /// [`NetstackError::Listening`] when someone listens there.
    pub fn listen(&self, at: SocketAddr) -> Result<NetListener, NetstackError> {
        NetListener::bind(&self.stack, at)
    }

    /// A UDP socket at an address inside the tunnel; with port 0, at a port that is free. With an
    /// address that is not the interface's own, the interface answers for it.
    ///
    /// # Errors
    /// [`NetstackError::Listening`] when a UDP socket is there.
    pub fn bind_udp(&self, at: SocketAddr) -> Result<NetSocket, NetstackError> {
        NetSocket::bind(&self.stack, at)
    }

    /// Passes TCP connections to an address inside the tunnel on to a target outside: how an
    /// internal service becomes reachable. Ends when the handle is dropped.
    ///
    /// # Errors
    /// [`NetstackError::Listening`] when someone listens there.
    pub fn forward(&self, at: SocketAddr, target: SocketAddr) -> Result<Forward, NetstackError> {
        Ok(forward::into_host(self.listen(at)?, target))
    }

    /// Passes TCP connections to a local address on to a target inside the tunnel. Ends when the
    /// handle is dropped.
    ///
    /// # Errors
    /// [`NetstackError::Exposed`] unless `at` is a loopback address;
    /// [`NetstackError::AddressInUse`].
    pub async fn forward_local(
        &self,
        at: SocketAddr,
        target: SocketAddr,
    ) -> Result<Forward, NetstackError> {
        let listener = forward::bind_local(at).await?;
        forward::into_tunnel(self.clone(), listener, target)
    }

    /// Serves SOCKS5 (RFC 1928, CONNECT, no authentication) at a local address, so that any
    /// program that knows SOCKS reaches the tunnel. Names are not resolved: give addresses. Ends
    /// when the handle is dropped.
    ///
    /// # Errors
    /// [`NetstackError::Exposed`] unless `at` is a loopback address;
    /// [`NetstackError::AddressInUse`].
    pub async fn socks5(&self, at: SocketAddr) -> Result<Forward, NetstackError> {
        let listener = forward::bind_local(at).await?;
        socks::serve(self.clone(), listener)
    }

    /// Takes the tunnel down: no packet passes after it returns, and every stream is broken.
    pub async fn close(&self) {
        self.wireguard.down().await;
        self.stack.abort_all();
    }
}

#[async_trait]
impl InterfaceBackend for Netstack {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.wireguard.install(peers).await
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.wireguard.renew(peers).await
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        self.wireguard.remove(peers).await
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        self.wireguard.list().await
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        self.wireguard.activity(peers).await
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        self.close().await;
        Ok(())
    }
}

impl std::fmt::Debug for Netstack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Netstack")
            .field("local_addr", &self.local_addr())
            .finish_non_exhaustive()
    }
}

impl NetstackBuilder {
    /// The UDP address to listen on. `[::]` is every address of the machine, IPv4 and IPv6, and
    /// `0.0.0.0` every one of IPv4. Without it: every address, a port of the system's choice.
    #[must_use]
    pub const fn listen(mut self, at: SocketAddr) -> Self {
        self.listen.at = at;
        self
    }

    /// The largest packet inside the tunnel, in bytes: 576 to 65475, and 1280 at least with an
    /// IPv6 address. Without it: 1420, which fits a path of 1500.
    #[must_use]
    pub const fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }

    /// An address of the interface's own inside the tunnel: at most one of IPv4 and one of IPv6.
    #[must_use]
    pub fn address(mut self, address: IpNet) -> Self {
        self.addresses.push(address);
        self
    }

    /// Brings the interface up, with no peers on it. Within a tokio runtime.
    ///
    /// # Errors
    /// [`NetstackError::AddressInUse`]; [`NetstackError::Addresses`]; [`NetstackError::Mtu`];
    /// [`NetstackError::Device`].
    #[expect(
        clippy::unused_async,
        reason = "it needs a tokio runtime, and may wait one day"
    )]
    pub async fn build(self) -> Result<Netstack, NetstackError> {
        let Self {
            key,
            listen,
            mtu,
            addresses,
        } = self;
        mtu::check(mtu.into(), &addresses)?;
        let (stack, outgoing) = Stack::start(&addresses, mtu)?;
        let at = listen.at;
        let wireguard = WireGuard::start(&key, listen, mtu, stack.clone(), outgoing)
            .map_err(|source| NetstackError::AddressInUse { at, source })?;
        Ok(Netstack {
            wireguard: Arc::new(wireguard),
            stack,
        })
    }
}

/// Why the in-process network did not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetstackError {
    /// The local address is taken.
    #[error(
        "{at} is in use by another program, or not an address of this machine: pick another, or stop that program"
    )]
    AddressInUse {
        /// The address.
        at: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A local listener would be open to the network, and with it the tunnel.
    #[error(
        "{at} is not a loopback address: anyone who reaches it could use the tunnel without MFA; listen on 127.0.0.1 or ::1"
    )]
    Exposed {
        /// The address.
        at: SocketAddr,
    },
    /// Someone listens at this address inside the tunnel already.
    #[error("{at} inside the tunnel is taken already: pick another port")]
    Listening {
        /// The address.
        at: SocketAddr,
    },
    /// More than one address of a family, or none at all.
    #[error("give the interface one IPv4 address, one IPv6 address, or one of each")]
    Addresses,
    /// The MTU can't be.
    #[error(transparent)]
    Mtu(#[from] MtuError),
    /// The other end refused or broke off the connection.
    #[error("{to} refused the connection: see whether the service is up, and its port")]
    Refused {
        /// The address.
        to: SocketAddr,
    },
    /// There was no answer in time.
    #[error("{to} did not answer in time: the tunnel may be down, or nothing listens there")]
    TimedOut {
        /// The address.
        to: SocketAddr,
    },
    /// There is no way to the address.
    #[error("there is no way to {to}: give the interface an address of that family")]
    Unroutable {
        /// The address.
        to: SocketAddr,
    },
    /// WireGuard did not come up.
    #[error("the network in this process did not come up: see what the system says, and try again")]
    Device(#[source] Box<dyn std::error::Error + Send + Sync>),
}
