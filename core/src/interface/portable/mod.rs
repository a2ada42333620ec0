#![doc = include_str!("docs.md")]

mod device;
mod peer;

use async_trait::async_trait;
use ipnet::IpNet;

use super::serial_device::{NotDone, Turns};
use super::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::{PrivateKey, PublicKey};
use device::Device;

/// A WireGuard interface of this system. A cheap handle: clones share the interface, which goes
/// with the last of them, or by [`close`](Self::close).
#[derive(Clone)]
pub struct PortableInterface {
    name: String,
    key: PublicKey,
    device: Turns<Device>,
}

/// What a [`PortableInterface`] is made of.
pub struct PortableBuilder {
    name: String,
    key: PrivateKey,
    listen_port: u16,
    addresses: Vec<IpNet>,
    mtu: Option<u32>,
}

impl PortableInterface {
    /// Begins with the interface's name, such as `wg0` (on macOS `utun7`), and its private key.
    pub fn builder(name: impl Into<String>, key: PrivateKey) -> PortableBuilder {
        PortableBuilder {
            name: name.into(),
            key,
            listen_port: 0,
            addresses: Vec::new(),
            mtu: None,
        }
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's public key.
    pub const fn public_key(&self) -> PublicKey {
        self.key
    }

    /// The UDP port that WireGuard listens on.
    ///
    /// # Errors
    /// [`InterfaceError`].
    pub async fn listen_port(&self) -> Result<u16, InterfaceError> {
        let port = self.device.ask(|device| device.listen_port());
        port.await.map_err(fault)
    }

    /// Removes the interface, with all that is on it. Cancel safe: once begun, it is done.
    ///
    /// # Errors
    /// [`InterfaceError`].
    pub async fn close(&self) -> Result<(), InterfaceError> {
        self.device.take_down(Device::close).await.map_err(fault)
    }
}

fn fault(fault: NotDone<PortableFault>) -> InterfaceError {
    match fault {
        NotDone::Down | NotDone::Failed(PortableFault::Closed) => InterfaceError::Down,
        NotDone::Failed(error) => InterfaceError::Backend(Box::new(PortableError(error))),
        // The crate may panic.
        NotDone::Panicked(panic) => InterfaceError::Backend(Box::new(panic)),
    }
}

impl PortableBuilder {
    /// The UDP port to listen on. Without it, or with 0: one of the system's choice.
    #[must_use]
    pub const fn listen_port(mut self, port: u16) -> Self {
        self.listen_port = port;
        self
    }

    /// An address of the interface's own inside the tunnel.
    #[must_use]
    pub fn address(mut self, address: IpNet) -> Self {
        self.addresses.push(address);
        self
    }

    /// The longest packet inside the tunnel, in bytes: 576 to 65475, and 1280 at least with an IPv6
    /// address. Without it: the system's own figure.
    #[must_use]
    pub const fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = Some(bytes);
        self
    }

    /// Makes the interface, with no peers on it. Within a tokio runtime.
    ///
    /// Cancel safe: an interface that no one waits for any more is removed, as after an error.
    ///
    /// # Errors
    /// [`PortableError`]; the interface is then not there.
    pub async fn create(self) -> Result<PortableInterface, PortableError> {
        if let Some(mtu) = self.mtu {
            super::mtu::check(mtu, &self.addresses)?;
        }
        let (name, key) = (self.name.clone(), self.key.public_key());
        let made = tokio::task::spawn_blocking(move || Device::create(&self)).await;
        let device = made.map_err(|panic| PortableFault::System {
            doing: "make",
            source: Box::new(panic),
        })??;
        Ok(PortableInterface {
            name,
            key,
            device: Turns::at(device),
        })
    }
}

#[async_trait]
impl InterfaceBackend for PortableInterface {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        let installed = self.device.add(move |device| device.install(&peers)).await;
        installed.map_err(fault)
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        let renewed = self.device.add(move |device| device.renew(&peers)).await;
        renewed.map_err(fault)
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        let peers = peers.to_vec();
        let removed = self.device.ask(move |device| device.remove(&peers)).await;
        match removed.map_err(fault) {
            // What was taken down has no peers.
            Err(InterfaceError::Down) => Ok(()),
            done => done,
        }
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        let listed = self.device.ask(|device| device.list()).await;
        listed.map_err(|why| match why {
            // What is there under the name, if anything, is another's.
            NotDone::Failed(PortableFault::Lost) => InterfaceError::Down,
            NotDone::Down | NotDone::Failed(_) | NotDone::Panicked(_) => fault(why),
        })
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        let peers = peers.iter().copied().collect();
        let told = self.device.ask(move |device| device.activity(&peers)).await;
        told.map_err(fault)
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        self.device.take_down(Device::fence).await.map_err(fault)
    }
}

impl std::fmt::Debug for PortableInterface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PortableInterface")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PortableBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PortableBuilder")
            .field("name", &self.name)
            .field("listen_port", &self.listen_port)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

crate::error_code::opaque! {
    /// Why there is no interface, or why it did not do as told; and what to do.
    pub struct PortableError(PortableFault);
    from super::MtuError;
}

/// What is behind [`PortableError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortableFault {
    /// The MTU can't be.
    #[error(transparent)]
    Mtu(#[from] super::MtuError),
    /// There is an interface of that name.
    #[error(
        "there is a WireGuard interface `{name}` already: pick another name, or remove that one"
    )]
    NameInUse {
        /// The name.
        name: String,
    },
    /// There is neither `resolvconf` nor systemd-resolved.
    #[error(
        "neither `resolvconf` nor systemd-resolved is there, without which the interface could not be removed again: install one (the package openresolv)"
    )]
    NoResolver,
    /// What is there under the name is not the interface that was made.
    #[error(
        "the interface is gone, or another took its place: restart this program, and see what else changes WireGuard interfaces"
    )]
    Lost,
    /// The interface was closed, or taken down for good.
    #[error("the interface was taken down")]
    Closed,
    /// A peer is not there as it was told to be.
    #[error("the system says that it put a peer on the interface, and has not")]
    NotInstalled,
    /// A removed peer is still there.
    #[error("the system says that it removed a peer from the interface, and has not")]
    NotRemoved,
    /// The system refused or failed.
    #[error(
        "the system did not {doing} the WireGuard interface: run as root, on a system that has WireGuard (FreeBSD 13 or later)"
    )]
    System {
        /// What it was asked to do.
        doing: &'static str,
        /// What it says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
