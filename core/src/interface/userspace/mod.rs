#![doc = include_str!("docs.md")]

mod tun;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::task::JoinSet;

use super::link::{Link, LinkError};
use super::wireguard::{MTU, WireGuard};
use super::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::{PrivateKey, PublicKey};
use tun::Tun;

/// The longest name of a Linux network interface, in bytes.
const LONGEST_NAME: usize = 15;

/// WireGuard in this process, on a TUN device. A cheap handle: clones share both.
///
/// When the last clone is gone, so is the device, with its addresses and routes.
#[derive(Clone)]
pub struct Userspace {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    wireguard: WireGuard,
    link: Link,
    /// Reads the device until it is dropped.
    _tasks: JoinSet<()>,
}

/// What a [`Userspace`] interface is made of.
#[derive(Debug)]
pub struct Builder {
    name: String,
    key: PrivateKey,
    listen: SocketAddr,
    mtu: u16,
    addresses: Vec<IpNet>,
    routes: Vec<IpNet>,
}

impl Userspace {
    /// Begins with a name for the interface, such as `wg0`, and its private key.
    pub fn builder(name: impl Into<String>, key: PrivateKey) -> Builder {
        Builder {
            name: name.into(),
            key,
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            mtu: MTU,
            addresses: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The UDP address that WireGuard listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.wireguard.local_addr()
    }
}

impl Builder {
    /// The UDP address to listen on. Without it: any address, a port of the system's choice.
    #[must_use]
    pub const fn listen(mut self, at: SocketAddr) -> Self {
        self.listen = at;
        self
    }

    /// The largest packet inside the tunnel, in bytes. Without it: 1420, which fits a path of 1500.
    #[must_use]
    pub const fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }

    /// An address of the interface's own; its prefix is what the system reaches through it.
    #[must_use]
    pub fn address(mut self, address: IpNet) -> Self {
        self.addresses.push(address);
        self
    }

    /// A network that the system is to reach through the interface.
    #[must_use]
    pub fn route(mut self, network: IpNet) -> Self {
        self.routes.push(network);
        self
    }

    /// Brings the interface up, with no peers on it. Within a tokio runtime. Whatever fails,
    /// nothing is left behind.
    ///
    /// # Errors
    /// [`UserspaceError`].
    pub async fn build(self) -> Result<Userspace, UserspaceError> {
        let Self { name, key, .. } = &self;
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains(['/', ' ', '%', '\0']) {
            return Err(UserspaceError::Name { name: name.clone() });
        }
        if Link::find(name).await?.is_some() {
            return Err(UserspaceError::NameTaken { name: name.clone() });
        }
        Link::check_free(name, &self.addresses, &self.routes).await?;
        let tun = Arc::new(Tun::create(name, self.mtu)?);
        // From here on the device goes with `tun`, and all that it was given with it.
        let link = Link::find(name).await?;
        let link = link.ok_or_else(|| UserspaceError::Lost { name: name.clone() })?;
        let mut tasks = JoinSet::new();
        let outgoing = Arc::clone(&tun).read_in(&mut tasks);
        let wireguard = WireGuard::start(key, self.listen, self.mtu, tun, outgoing)
            .await
            .map_err(|source| UserspaceError::AddressInUse {
                at: self.listen,
                source,
            })?;
        link.set_mtu(self.mtu.into()).await?;
        for address in &self.addresses {
            link.add_address(*address).await?;
        }
        link.set_up().await?;
        for route in &self.routes {
            link.add_route(route.trunc()).await?;
        }
        Ok(Userspace {
            shared: Arc::new(Shared {
                name: self.name,
                wireguard,
                link,
                _tasks: tasks,
            }),
        })
    }
}

#[async_trait]
impl InterfaceBackend for Userspace {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.shared.wireguard.install(peers).await
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.shared.wireguard.renew(peers).await
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        self.shared.wireguard.remove(peers).await
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        self.shared.wireguard.list().await
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        self.shared.wireguard.activity(peers).await
    }

    /// Takes WireGuard down, for good, and then the device.
    async fn fence(&self) -> Result<(), InterfaceError> {
        self.shared.wireguard.fence().await?;
        let down = self.shared.link.set_down().await;
        down.map_err(|error| InterfaceError::Backend(Box::new(error)))
    }
}

impl std::fmt::Debug for Userspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Userspace")
            .field("name", &self.shared.name)
            .field("local_addr", &self.local_addr())
            .finish_non_exhaustive()
    }
}

/// Why a userspace interface did not come up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserspaceError {
    /// The name is none for an interface.
    #[error("{name:?} can't be an interface's name: use 1 to 15 letters and digits, such as wg0")]
    Name {
        /// The name.
        name: String,
    },
    /// There is an interface of that name.
    #[error(
        "there is a network interface {name} already: pick another name, or remove it (`ip link delete {name}`) if nothing uses it"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// There is no TUN driver.
    #[error(
        "/dev/net/tun is not there: load the kernel module (`modprobe tun`), or pass the device into the container"
    )]
    NoTun,
    /// This process may not make interfaces.
    #[error(
        "this process may not make network interfaces: run it as root, or with the capability CAP_NET_ADMIN"
    )]
    Privilege,
    /// The TUN device did not come up.
    #[error("the TUN device {name} did not come up")]
    Tun {
        /// The name.
        name: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The device went away while it was set up.
    #[error("the TUN device {name} is gone: another program removed it")]
    Lost {
        /// The name.
        name: String,
    },
    /// The UDP address is taken.
    #[error(
        "UDP {at} is in use by another program, or not an address of this machine: pick another, or stop that program"
    )]
    AddressInUse {
        /// The address.
        at: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The interface could not be set up.
    #[error(transparent)]
    Link(#[from] LinkError),
}
