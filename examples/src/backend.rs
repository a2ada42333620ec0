//! Which WireGuard carries the packets.

use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use ipnet::IpNet;
use mfagate::interface::InterfaceBackend;
use mfagate::interface::kernel::{KernelError, KernelInterface};
use mfagate::interface::netstack::Netstack;
use mfagate::interface::uapi::{Uapi, UapiError};
use mfagate::interface::userspace::Userspace;
use mfagate::key::PrivateKey;
use serde::{Deserialize, Serialize};

use crate::in_a_line;

/// Which WireGuard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// In this process, with a TCP/IP stack of its own: no privileges.
    Netstack,
    /// In this process, on a TUN device.
    Userspace,
    /// The kernel's.
    Kernel,
    /// Another program's, over its configuration socket.
    Uapi,
}

/// The interface that is wanted.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Its name on the system.
    pub name: &'a str,
    /// Its private key.
    pub key: PrivateKey,
    /// Where WireGuard listens. The kernel's takes the port of it, at every address.
    pub listen: SocketAddr,
    /// Its addresses.
    pub addresses: &'a [IpNet],
    /// What the system is to reach through it.
    pub routes: &'a [IpNet],
    /// The largest packet inside, in bytes.
    pub mtu: Option<u16>,
}

/// An interface that is up.
pub struct Interface {
    /// As the gate and the client use it.
    pub backend: Arc<dyn InterfaceBackend>,
    /// The in-process network, where it is one.
    pub netstack: Option<Netstack>,
}

impl Backend {
    /// Whether an interface of it outlives the process, with its peers.
    #[must_use]
    pub const fn outlives(self) -> bool {
        match self {
            Self::Netstack | Self::Userspace => false,
            Self::Kernel | Self::Uapi => true,
        }
    }

    /// Brings the interface up. For [`Backend::Uapi`] it is up already, and only its peers are
    /// anyone's but its owner's.
    ///
    /// # Errors
    /// What is in the way, in words.
    pub async fn bring_up(self, wanted: &Wanted<'_>) -> Result<Interface, Box<dyn Error>> {
        let Wanted { name, key, .. } = wanted;
        Ok(match self {
            Self::Netstack => {
                let mut builder = Netstack::builder(key.clone()).listen(wanted.listen);
                for address in wanted.addresses {
                    builder = builder.address(*address);
                }
                let netstack = builder.build().await?;
                Interface {
                    backend: Arc::new(netstack.clone()),
                    netstack: Some(netstack),
                }
            }
            Self::Userspace => {
                let mut builder = Userspace::builder(*name, key.clone()).listen(wanted.listen);
                for address in wanted.addresses {
                    builder = builder.address(*address);
                }
                for route in wanted.routes {
                    builder = builder.route(*route);
                }
                if let Some(mtu) = wanted.mtu {
                    builder = builder.mtu(mtu);
                }
                builder.build().await?.into()
            }
            Self::Kernel => kernel(wanted).await?.into(),
            Self::Uapi => Uapi::builder(*name).build(key).await?.into(),
        })
    }

    /// Reaches an interface that outlives whoever serves it, as it was left. There is none where it
    /// goes with its process, and where nothing of the kind has this name.
    ///
    /// # Errors
    /// [`Unreached`].
    pub async fn reach(
        self,
        name: &str,
        key: &PrivateKey,
    ) -> Result<Option<Arc<dyn InterfaceBackend>>, Unreached> {
        match self {
            Self::Netstack | Self::Userspace => Ok(None),
            Self::Kernel => match KernelInterface::adopt(name).await {
                Ok(left) if left.public_key() == key.public_key() => Ok(Some(Arc::new(left))),
                Ok(_) => {
                    let name = name.to_owned();
                    let why = in_a_line(&KernelError::OtherKey { name });
                    Err(Unreached::OtherKey(why))
                }
                Err(
                    KernelError::Missing { .. }
                    | KernelError::NotWireGuard { .. }
                    | KernelError::Name,
                ) => Ok(None),
                Err(error) => Err(Unreached::Failed(in_a_line(&error))),
            },
            Self::Uapi => match Uapi::builder(name).build(key).await {
                Ok(left) => Ok(Some(Arc::new(left))),
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// Why it can't be told what is on an interface, in words.
#[derive(Debug)]
pub enum Unreached {
    /// It is another's: it has another key.
    OtherKey(String),
    /// Nobody listens at its socket: it has none, or there is no such interface.
    NoSocket(String),
    /// The program that runs it does not answer.
    Hangs,
    /// It did not answer as it should.
    Failed(String),
}

impl From<UapiError> for Unreached {
    fn from(error: UapiError) -> Self {
        let why = in_a_line(&error);
        if matches!(error, UapiError::OtherKey { .. }) {
            return Self::OtherKey(why);
        }
        if matches!(error, UapiError::Unanswered { .. }) {
            return Self::Hangs;
        }
        let UapiError::Socket { source, .. } = error else {
            return Self::Failed(why);
        };
        let nobody = [ErrorKind::NotFound, ErrorKind::ConnectionRefused];
        if nobody.contains(&source.kind()) {
            Self::NoSocket(why)
        } else {
            Self::Failed(why)
        }
    }
}

/// Whether an interface of this name is one of WireGuard's, whoever runs it.
pub async fn is_wireguard(name: &str) -> bool {
    let socket = Path::new("/var/run/wireguard").join(format!("{name}.sock"));
    socket.exists() || KernelInterface::adopt(name).await.is_ok()
}

/// The kernel's interface: a new one, or the one that a killed process left.
async fn kernel(wanted: &Wanted<'_>) -> Result<KernelInterface, KernelError> {
    let builder = || {
        let mut builder = KernelInterface::builder(wanted.name, wanted.key.clone());
        builder = builder.listen_port(wanted.listen.port());
        for address in wanted.addresses {
            builder = builder.address(*address);
        }
        for route in wanted.routes {
            builder = builder.route(*route);
        }
        match wanted.mtu {
            Some(mtu) => builder.mtu(mtu.into()),
            None => builder,
        }
    };
    match builder().adopt().await {
        Err(KernelError::Missing { .. }) => builder().create().await,
        adopted => adopted,
    }
}

impl<B: InterfaceBackend> From<B> for Interface {
    fn from(backend: B) -> Self {
        Self {
            backend: Arc::new(backend),
            netstack: None,
        }
    }
}
