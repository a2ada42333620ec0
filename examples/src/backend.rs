//! Which WireGuard carries the packets.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::ValueEnum;
use ipnet::IpNet;
use mfagate::interface::InterfaceBackend;
use mfagate::interface::kernel::{KernelError, KernelInterface};
use mfagate::interface::netstack::Netstack;
use mfagate::interface::uapi::Uapi;
use mfagate::interface::userspace::Userspace;
use mfagate::key::PrivateKey;
use serde::Deserialize;

/// Which WireGuard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
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
    /// Where WireGuard listens.
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
}

/// The kernel's interface: a new one, or the one that a killed process left.
async fn kernel(wanted: &Wanted<'_>) -> Result<KernelInterface, Box<dyn Error>> {
    let Wanted { name, key, .. } = wanted;
    match KernelInterface::adopt(*name).await {
        Err(KernelError::Missing { .. }) => {}
        Ok(left) if left.public_key() == key.public_key() => return Ok(left),
        Ok(_) => {
            return Err(format!(
                "there is an interface {name} with another key: pick another name, or remove it (`ip link delete {name}`)"
            )
            .into());
        }
        Err(error) => return Err(error.into()),
    }
    let mut builder = KernelInterface::builder(*name, key.clone());
    builder = builder.listen_port(wanted.listen.port());
    for address in wanted.addresses {
        builder = builder.address(*address);
    }
    for route in wanted.routes {
        builder = builder.route(*route);
    }
    if let Some(mtu) = wanted.mtu {
        builder = builder.mtu(mtu.into());
    }
    Ok(builder.create().await?)
}

impl<B: InterfaceBackend> From<B> for Interface {
    fn from(backend: B) -> Self {
        Self {
            backend: Arc::new(backend),
            netstack: None,
        }
    }
}
