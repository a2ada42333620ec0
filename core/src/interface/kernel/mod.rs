#![doc = include_str!("docs.md")]

mod device;
mod link;
mod netlink;
mod peer;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;

use crate::interface::netlink::{LinkFault, NetlinkHandle};
use crate::interface::serial_device::{NotDone, Turns};
use crate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::{PrivateKey, PublicKey};
use device::{Device, Identity};

/// Peers of a batch that go to the kernel in one turn. Other calls come in between turns.
const TURN: usize = 256;

/// A WireGuard interface of the Linux kernel. A cheap handle: clones share the interface.
///
/// One that this process [made](KernelBuilder::create) is removed with the last handle, or by
/// [`close`](Self::close); one that it [adopted](Self::adopt) is left as it is.
#[derive(Clone)]
pub struct KernelInterface {
    identity: Arc<Identity>,
    device: Turns<Device>,
}

/// What a [`KernelInterface`] is made of.
#[derive(Debug)]
pub struct KernelBuilder {
    name: String,
    key: PrivateKey,
    listen_port: u16,
    addresses: Vec<IpNet>,
    routes: Vec<IpNet>,
    mtu: Option<u32>,
    fwmark: Option<u32>,
}

impl KernelInterface {
    /// Begins with the interface's name, such as `wg0`, and its private key.
    pub fn builder(name: impl Into<String>, key: PrivateKey) -> KernelBuilder {
        KernelBuilder {
            name: name.into(),
            key,
            listen_port: 0,
            addresses: Vec::new(),
            routes: Vec::new(),
            mtu: None,
            fwmark: None,
        }
    }

    /// Takes an interface that is there, and leaves its key, its addresses and its peers as they
    /// are: what is not leased goes when a gate reconciles. Within a tokio runtime.
    ///
    /// Cancel safe: nothing changes.
    ///
    /// # Errors
    /// `kernel-missing`, `kernel-not-wire-guard`, `kernel-no-key`,
    /// `kernel-no-privilege`.
    pub async fn adopt(name: impl Into<String>) -> Result<Self, KernelError> {
        let name = name.into();
        check_name(&name)?;
        opened(move || Device::adopt(&name))
            .await
            .map_err(KernelError)
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// The interface's public key.
    pub fn public_key(&self) -> PublicKey {
        self.identity.key
    }

    /// The UDP port that WireGuard listens on, at every address of the machine.
    pub fn listen_port(&self) -> u16 {
        self.identity.port
    }

    /// The addresses and routes that it was to have and goes without, as IPv6 is switched off.
    pub fn left_out(&self) -> &[IpNet] {
        &self.identity.left_out
    }

    fn goes_without(&mut self, networks: Vec<IpNet>) {
        Arc::make_mut(&mut self.identity).left_out.extend(networks);
    }

    /// Removes an interface that this process made, with all that is on it, and leaves one that it
    /// adopted. This handle and its clones are of no use afterwards.
    ///
    /// Cancel safe: once begun, it is done.
    ///
    /// # Errors
    /// `kernel-system`.
    pub async fn close(&self) -> Result<(), KernelError> {
        let closed = self.device.take_down(Device::close).await;
        closed
            .map_err(|fault| KernelFault::System {
                doing: "remove",
                source: source(fault),
            })
            .map_err(KernelError)
    }

    /// The kernel says that it has put a peer with the interface's own key, and has not.
    fn refuse_own_key(&self, peers: &[PeerConfig]) -> Result<(), InterfaceError> {
        if peers.iter().any(|peer| peer.key == self.identity.key) {
            return Err(InterfaceError::Backend(Box::new(KernelError(
                KernelFault::OwnKey,
            ))));
        }
        Ok(())
    }
}

impl KernelBuilder {
    /// The UDP port to listen on. Without it, or with 0: one of the kernel's choice.
    #[must_use]
    pub const fn listen_port(mut self, port: u16) -> Self {
        self.listen_port = port;
        self
    }

    /// An address of the interface's own inside the tunnel. Its network is routed to the
    /// interface.
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

    /// The longest packet inside the tunnel, in bytes: 576 to 65475, and 1280 at least with an IPv6
    /// address. Without it: 1420.
    #[must_use]
    pub const fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = Some(bytes);
        self
    }

    /// The mark that the kernel puts on WireGuard's own packets, for rules of routing.
    #[must_use]
    pub const fn fwmark(mut self, mark: u32) -> Self {
        self.fwmark = Some(mark);
        self
    }

    /// Makes the interface and takes it up, with no peers on it. Within a tokio runtime.
    ///
    /// Cancel safe: an interface that no one waits for any more is removed, as after an error.
    ///
    /// # Errors
    /// [`KernelError`]; the interface is then not there.
    pub async fn create(mut self) -> Result<KernelInterface, KernelError> {
        let routes = self.checked_routes().await?;
        // From here on the interface goes with its handle, and its routes with it.
        let mut interface = opened(move || Device::create(&self)).await?;
        if !routes.is_empty() {
            let left_out = link_of(&interface).await?.add_routes(&routes).await?;
            interface.goes_without(left_out);
        }
        Ok(interface)
    }

    /// Takes over the interface of this name and key that a process left behind which was killed,
    /// and puts right what is not as it would be made: its port and its mark, if they are set, its
    /// addresses, its MTU, if one is set, its routes, and that it is up. Its peers stay, and their traffic goes
    /// on, unless it was down: then it comes up without any. Within a tokio runtime.
    ///
    /// Not cancel safe: some of it may be done.
    ///
    /// # Errors
    /// `kernel-other-key`, `kernel-port-in-use`; as [`KernelInterface::adopt`] and
    /// [`create`](Self::create). Some of it may be done.
    pub async fn adopt(mut self) -> Result<KernelInterface, KernelError> {
        let routes = self.checked_routes().await?;
        let (addresses, mtu) = (self.addresses.clone(), self.mtu);
        let mut interface = opened(move || Device::adopt_as(&self)).await?;
        let link = link_of(&interface).await?;
        interface.goes_without(link.have_addresses(&addresses).await?);
        if let Some(mtu) = mtu {
            link.set_mtu(mtu).await?;
        }
        link.set_up().await?;
        interface.goes_without(link.add_routes(&routes).await?);
        Ok(interface)
    }

    /// Takes the routes out, once it is known that nothing of what is wanted is another's.
    async fn checked_routes(&mut self) -> Result<Vec<IpNet>, KernelFault> {
        check_name(&self.name)?;
        if let Some(mtu) = self.mtu {
            super::mtu::check(mtu, &self.addresses)?;
        }
        NetlinkHandle::check_free(&self.name, &self.addresses, &self.routes).await?;
        Ok(std::mem::take(&mut self.routes))
    }
}

impl std::fmt::Debug for KernelInterface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelInterface")
            .field("name", &self.name())
            .field("listen_port", &self.listen_port())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl InterfaceBackend for KernelInterface {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.refuse_own_key(&peers)?;
        for part in parts(peers) {
            let installed = self.device.add(move |device| device.install(&part)).await;
            installed.map_err(fault)?;
        }
        Ok(())
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.refuse_own_key(&peers)?;
        for part in parts(peers) {
            let renewed = self.device.add(move |device| device.renew(&part)).await;
            renewed.map_err(fault)?;
        }
        Ok(())
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        // The kernel takes its time to drain each peer: none of the others passes anything
        // meanwhile.
        if peers.len() > 1 {
            let keys = peers.to_vec();
            let shut = self.device.ask(move |device| device.shut(&keys));
            shut.await.map_err(fault)?;
        }
        for part in peers.chunks(TURN) {
            let part = part.to_vec();
            let removed = self.device.ask(move |device| device.remove(&part)).await;
            removed.map_err(fault)?;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        self.device.ask(Device::list).await.map_err(fault)
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        let keys: BTreeSet<_> = peers.iter().copied().collect();
        let told = self.device.ask(move |device| device.activity(&keys)).await;
        told.map_err(fault)
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        let fenced = self.device.take_down(Device::fence).await;
        fenced.map_err(|fault| failed("take down", source(fault)))
    }

    fn outlives_process(&self) -> bool {
        true
    }

    async fn leave(&self) -> Result<(), InterfaceError> {
        let left = self.device.ask(|device| {
            device.leave();
            Ok(())
        });
        left.await.map_err(fault)
    }
}

/// Makes or takes an interface where it may block.
async fn opened(
    open: impl FnOnce() -> Result<(Device, Identity), KernelFault> + Send + 'static,
) -> Result<KernelInterface, KernelFault> {
    let done = tokio::task::spawn_blocking(open).await;
    let (device, identity) = done.map_err(|error| KernelFault::System {
        doing: "open",
        source: io::Error::other(error),
    })??;
    Ok(KernelInterface {
        identity: Arc::new(identity),
        device: Turns::at(device),
    })
}

async fn link_of(interface: &KernelInterface) -> Result<NetlinkHandle, KernelFault> {
    let name = interface.name();
    NetlinkHandle::find(name)
        .await?
        .ok_or_else(|| KernelFault::Missing {
            name: name.to_owned(),
        })
}

/// Why a turn came to nothing.
fn fault(fault: NotDone<io::Error>) -> InterfaceError {
    match fault {
        NotDone::Down => InterfaceError::Down,
        NotDone::Failed(error) if link::is_gone(&error) => InterfaceError::Down,
        NotDone::Failed(_) | NotDone::Panicked(_) => failed("change or read", source(fault)),
    }
}

fn source(fault: NotDone<io::Error>) -> io::Error {
    match fault {
        NotDone::Down => io::Error::other(InterfaceError::Down),
        NotDone::Failed(error) => error,
        NotDone::Panicked(panic) => io::Error::other(panic),
    }
}

/// A batch in parts, each of which is forgotten when it is done.
fn parts(mut peers: Vec<PeerConfig>) -> impl Iterator<Item = Vec<PeerConfig>> {
    std::iter::from_fn(move || {
        let rest = peers.split_off(peers.len().min(TURN));
        let part = std::mem::replace(&mut peers, rest);
        (!part.is_empty()).then_some(part)
    })
}

/// The kernel cuts or refuses other names, each in its own way.
fn check_name(name: &str) -> Result<(), KernelFault> {
    let is_plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if (1..=15).contains(&name.len()) && is_plain && !matches!(name, "." | "..") {
        Ok(())
    } else {
        Err(KernelFault::Name)
    }
}

fn failed(doing: &'static str, source: io::Error) -> InterfaceError {
    InterfaceError::Backend(Box::new(KernelError(KernelFault::System { doing, source })))
}

crate::error_code::opaque! {
    /// Why there is no interface, or why it did not do as told; and what to do.
    pub struct KernelError(KernelFault);
    from LinkFault;
}

/// What is behind [`KernelError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelFault {
    /// Not a name that an interface can have.
    #[error(
        "an interface's name has 1 to 15 letters, digits, dots, dashes and underscores: pick another"
    )]
    Name,
    /// There is an interface of that name.
    #[error(
        "there is an interface `{name}` already: pick another name, adopt it, or remove it with `ip link delete {name}`"
    )]
    NameInUse {
        /// The name.
        name: String,
    },
    /// There is no interface of that name.
    #[error(
        "there is no interface `{name}` in this network namespace: make one, or see `ip link` for its name"
    )]
    Missing {
        /// The name.
        name: String,
    },
    /// The interface is one of another kind.
    #[error("the interface `{name}` is not one of WireGuard's: pick another name")]
    NotWireGuard {
        /// The name.
        name: String,
    },
    /// The interface that was to be adopted has no private key.
    #[error(
        "the interface `{name}` has no private key: give it one with `wg set`, or make a new interface"
    )]
    NoKey {
        /// The name.
        name: String,
    },
    /// Another program has the UDP port.
    #[error(
        "UDP port {port} is in use: stop the program that has it (see `ss -lup`), or pick another port"
    )]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// The process may not change network interfaces.
    #[error(
        "this process may not change network interfaces: run it as root, or give it the capability CAP_NET_ADMIN (with systemd, `AmbientCapabilities=CAP_NET_ADMIN`)"
    )]
    NoPrivilege,
    /// The kernel has no WireGuard.
    #[error(
        "this kernel has no WireGuard: load it with `modprobe wireguard`, or run a kernel from 5.6 on that has it; a container uses its host's"
    )]
    NoWireGuard,
    /// The MTU can't be.
    #[error(transparent)]
    Mtu(#[from] super::MtuError),
    /// A network is another interface's too, or a route could not be made.
    #[error(transparent)]
    Link(#[from] LinkFault),
    /// An address could not be given to the interface.
    #[error("the interface can't have the address {address}: check that it is one of a machine")]
    Address {
        /// The address.
        address: IpNet,
        /// What the system says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The interface that was to be taken over has another key.
    #[error(
        "there is an interface {name} with another key: pick another name, or remove it (`ip link delete {name}`)"
    )]
    OtherKey {
        /// The name.
        name: String,
    },
    /// A peer has the interface's own key.
    #[error("a peer can't have the interface's own key: one of the two must make a new key")]
    OwnKey,
    /// The kernel refused or failed.
    #[error("the kernel did not {doing} the WireGuard interface")]
    System {
        /// What it was asked to do.
        doing: &'static str,
        /// What it says.
        #[source]
        source: io::Error,
    },
}
