#![doc = include_str!("docs.md")]

mod checksum;
mod coalesce;
mod segment;
#[cfg(test)]
mod tests;
mod tun;
mod virtio;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;

use super::mtu::{self, MTU};
use super::netlink::{LinkFault, NetlinkHandle};
use super::wireguard::{Listen, WireGuard};
use super::{Activity, InterfaceBackend, InterfaceError, MtuError, PeerConfig};
use crate::key::{PrivateKey, PublicKey};
use crate::log;
use tun::Tun;

/// How many bytes a run of datagrams can have.
const LONGEST_RUN: u32 = 65_507;
/// What WireGuard adds to a packet.
const OVERHEAD: u32 = 32;
/// How many datagrams can be sent by one call.
const MOST_SEGMENTS: u32 = 64;
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
    link: NetlinkHandle,
    left_out: Vec<IpNet>,
    tun: Arc<Tun>,
}

/// What a [`Userspace`] interface is made of.
#[derive(Debug)]
pub struct UserspaceBuilder {
    name: String,
    key: PrivateKey,
    listen: Listen,
    mtu: u16,
    addresses: Vec<IpNet>,
    routes: Vec<IpNet>,
    has_device_offloads: bool,
}

impl Userspace {
    /// Begins with a name for the interface, such as `wg0`, and its private key.
    pub fn builder(name: impl Into<String>, key: PrivateKey) -> UserspaceBuilder {
        UserspaceBuilder {
            name: name.into(),
            key,
            listen: Listen::anywhere(),
            mtu: MTU,
            addresses: Vec::new(),
            routes: Vec::new(),
            has_device_offloads: true,
        }
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The addresses and routes that it was to have and goes without, as IPv6 is switched off.
    pub fn left_out(&self) -> &[IpNet] {
        &self.shared.left_out
    }

    /// The UDP address that WireGuard listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.wireguard.local_addr()
    }
}

impl UserspaceBuilder {
    /// The UDP address to listen on. `[::]` is every address of the machine, IPv4 and IPv6, and
    /// `0.0.0.0` every one of IPv4. Without it: every address, a port of the system's choice.
    #[must_use]
    pub const fn listen(mut self, at: SocketAddr) -> Self {
        self.listen.at = at;
        self
    }

    /// Marks WireGuard's own packets (`SO_MARK`), so that a routing rule keeps them out of the
    /// tunnel that they carry. Zero is no mark, as without it.
    #[must_use]
    pub const fn fwmark(mut self, mark: u32) -> Self {
        self.listen.fwmark = Some(mark);
        self
    }

    /// The largest packet inside the tunnel, in bytes: 576 to 65475, and 1280 at least with an
    /// IPv6 address. Without it: 1420, which fits a path of 1500.
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

    /// A network that the system is to reach through the interface, from the start and while it is
    /// there. A client's [`Routes`](super::routes::Routes) come and go with its session instead.
    #[must_use]
    pub fn route(mut self, network: IpNet) -> Self {
        self.routes.push(network);
        self
    }

    /// Whether the kernel and this process pass each other many packets in one piece (TCP and UDP
    /// segmentation offloads of the TUN device). Without it: where the kernel can. A device without
    /// them carries much less in one stream.
    #[must_use]
    pub const fn device_offloads(mut self, are_used: bool) -> Self {
        self.has_device_offloads = are_used;
        self
    }

    /// Whether one call sends many datagrams to a peer (UDP segmentation, GSO). Without it: where
    /// the kernel can, and one by one for some seconds on a path that refuses.
    #[must_use]
    pub const fn udp_segmentation(mut self, is_used: bool) -> Self {
        self.listen.has_runs = is_used;
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
            return Err(UserspaceError(UserspaceFault::Name { name: name.clone() }));
        }
        mtu::check(self.mtu.into(), &self.addresses)?;
        if NetlinkHandle::find(name).await?.is_some() {
            return Err(UserspaceError(UserspaceFault::NameTaken {
                name: name.clone(),
            }));
        }
        NetlinkHandle::check_free(name, &self.addresses, &self.routes).await?;
        let tun = Arc::new(Tun::create(name, self.has_device_offloads)?);
        // From here on the device goes with `tun`, and all that it was given with it.
        let link = NetlinkHandle::find(name).await?;
        let link = link.ok_or_else(|| UserspaceFault::Lost { name: name.clone() })?;
        let at = self.listen.at;
        let wireguard = WireGuard::start(
            key,
            self.listen,
            self.mtu,
            Arc::<Tun>::clone(&tun),
            Arc::clone(&tun).outgoing(),
        )
        .map_err(|source| {
            if source.kind() == ErrorKind::PermissionDenied {
                UserspaceFault::Privilege
            } else {
                UserspaceFault::AddressInUse { at, source }
            }
        })?;
        link.set_mtu(self.mtu.into()).await?;
        if tun.has_offloads()
            && let Err(error) = link.set_most_segments(segments(self.mtu)).await
        {
            // More segments in one piece cost one more call to send them, and nothing else.
            log::later(move || tracing::debug!(%error, "pieces of the TUN device keep their size"));
        }
        let mut left_out = link.add_addresses(&self.addresses).await?;
        link.set_up().await?;
        left_out.extend(link.add_routes(&self.routes).await?);
        Ok(Userspace {
            shared: Arc::new(Shared {
                name: self.name,
                wireguard,
                link,
                left_out,
                tun,
            }),
        })
    }
}

/// How many full packets may come in one piece, so that they go out as one run of datagrams.
fn segments(mtu: u16) -> u32 {
    (LONGEST_RUN / (u32::from(mtu) + OVERHEAD)).clamp(1, MOST_SEGMENTS)
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
        if self.shared.tun.is_gone() {
            return Err(InterfaceError::Down);
        }
        self.shared.wireguard.list().await
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        self.shared.wireguard.activity(peers).await
    }

    /// Takes WireGuard down, for good, and then the device.
    async fn fence(&self) -> Result<(), InterfaceError> {
        self.shared.wireguard.fence().await?;
        if self.shared.tun.is_gone() {
            return Ok(());
        }
        let down = self.shared.link.set_down().await;
        // One that has been deleted meanwhile passes nothing either.
        let down = down.map(|_was_there| ());
        down.map_err(|error| InterfaceError::Backend(Box::new(crate::interface::LinkError(error))))
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

crate::error_code::opaque! {
    /// Why a userspace interface did not come up.
    pub struct UserspaceError(UserspaceFault);
    from MtuError;
    from LinkFault;
}

/// What is behind [`UserspaceError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserspaceFault {
    /// The name is none for an interface.
    #[error("{name:?} can't be an interface's name: use 1 to 15 letters and digits, such as wg0")]
    Name {
        /// The name.
        name: String,
    },
    /// The MTU can't be.
    #[error(transparent)]
    Mtu(#[from] MtuError),
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
    Link(#[from] LinkFault),
}
