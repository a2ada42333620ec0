//! Which WireGuard carries the packets.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use ipnet::IpNet;
use mfagate::code::ErrorCode;
use mfagate::interface::InterfaceBackend;
use mfagate::interface::kernel::{KernelError, KernelInterface};
use mfagate::interface::netstack::Netstack;
use mfagate::interface::routes::{Reserved, Routes};
use mfagate::interface::uapi::{self, Uapi, UapiError};
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

/// The program that runs an interface of [`Backend::Uapi`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Program<'a> {
    /// Its socket, where it is not where such programs put it.
    pub socket: Option<&'a Path>,
    /// Whether it changes an installed peer without harm, as wireguard-go does.
    pub renews_in_place: bool,
    /// The largest packet that may pass, in bytes. The interface's own MTU is its program's to set.
    pub mtu: Option<u16>,
}

impl Program<'_> {
    fn builder(self, name: &str) -> uapi::UapiBuilder {
        let mut builder = Uapi::builder(name);
        if let Some(socket) = self.socket {
            builder = builder.socket(socket);
        }
        if self.renews_in_place {
            builder = builder.renews_in_place();
        }
        builder
    }

    /// Reaches the interface, which comes up where it is down.
    ///
    /// # Errors
    /// What is in the way, in words.
    pub async fn bring_up(self, name: &str, key: &PrivateKey) -> Result<Interface, Box<dyn Error>> {
        let mut builder = self.builder(name);
        if let Some(mtu) = self.mtu {
            builder = builder.mtu(mtu);
        }
        Ok(builder.build(key).await?.into())
    }
}

/// The interface that is wanted.
#[derive(Debug)]
pub struct InterfaceOptions<'a> {
    /// Its name on the system.
    pub name: &'a str,
    /// Its private key.
    pub key: PrivateKey,
    /// Where WireGuard listens. The kernel's takes the port of it, at every address.
    pub listen: SocketAddr,
    /// Its addresses.
    pub addresses: &'a [IpNet],
    /// What the system is to reach through it while a peer is there: a client's networks.
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
    /// The system's routes, where a peer brings some.
    pub routes: Option<Routes>,
    /// Addresses that it was to have and goes without, as IPv6 is switched off.
    pub left_out: Vec<IpNet>,
    /// The kernel's interface, where it is one.
    pub kernel: Option<KernelInterface>,
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
    pub async fn bring_up(
        self,
        wanted: &InterfaceOptions<'_>,
    ) -> Result<Interface, Box<dyn Error>> {
        let InterfaceOptions { name, key, .. } = wanted;
        if self == Self::Netstack {
            let mut builder = Netstack::builder(key.clone()).listen(wanted.listen);
            for address in wanted.addresses {
                builder = builder.address(*address);
            }
            if let Some(mtu) = wanted.mtu {
                builder = builder.mtu(mtu);
            }
            let netstack = builder.build().await?;
            return Ok(Interface {
                netstack: Some(netstack.clone()),
                ..netstack.into()
            });
        }
        let reserved = match wanted.routes {
            [] => None,
            _ => Some(Routes::reserve().await?),
        };
        let mark = reserved.as_ref().map(Reserved::fwmark);
        let mut interface = match self {
            Self::Netstack | Self::Userspace => userspace(wanted, mark).await?,
            Self::Kernel => kernel(wanted, mark).await?,
            Self::Uapi => {
                let mtu = wanted.mtu;
                let program = Program {
                    mtu,
                    ..Program::default()
                };
                program.bring_up(name, key).await?
            }
        };
        if let Some(reserved) = reserved {
            let routes = reserved.over(*name, interface.backend).await?;
            routes.check_free(wanted.routes).await?;
            interface.backend = Arc::new(routes.clone());
            interface.routes = Some(routes);
        }
        Ok(interface)
    }

    /// Reaches an interface that outlives the process that serves it, as it was left. There is none where it
    /// goes with its process, and where nothing of the kind has this name.
    ///
    /// # Errors
    /// [`Unreached`].
    pub async fn reach(
        self,
        name: &str,
        key: &PrivateKey,
        program: Program<'_>,
    ) -> Result<Option<Arc<dyn InterfaceBackend>>, Unreached> {
        match self {
            Self::Netstack | Self::Userspace => Ok(None),
            Self::Kernel => match KernelInterface::adopt(name).await {
                Ok(left) if left.public_key() == key.public_key() => Ok(Some(Arc::new(left))),
                Ok(_) => {
                    let why = format!(
                        "there is an interface {name} with another key: pick another name, or remove it (`ip link delete {name}`)"
                    );
                    Err(Unreached::OtherKey(why))
                }
                Err(error) if NO_WIREGUARD.contains(&error.code()) => Ok(None),
                Err(error) => Err(Unreached::Failed(in_a_line(&error))),
            },
            Self::Uapi => match program.builder(name).stays_down().build(key).await {
                Ok(left) => Ok(Some(Arc::new(left))),
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// The codes that say that there is no WireGuard interface of a name.
const NO_WIREGUARD: [&str; 3] = ["kernel-missing", "kernel-not-wire-guard", "kernel-name"];

/// Why it can't be told what is on an interface, in words.
#[derive(Debug)]
pub enum Unreached {
    /// It is another's: it has another key.
    OtherKey(String),
    /// No program listens at its socket: it has none, or there is no such interface.
    NoSocket(String),
    /// The program that runs it does not answer.
    Hangs,
    /// It did not answer as it should.
    Failed(String),
}

impl From<UapiError> for Unreached {
    fn from(error: UapiError) -> Self {
        let why = in_a_line(&error);
        let source = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>());
        let absent = [ErrorKind::NotFound, ErrorKind::ConnectionRefused];
        match error.code() {
            "uapi-other-key" => Self::OtherKey(why),
            "uapi-unanswered" => Self::Hangs,
            "uapi-socket" if source.is_some_and(|source| absent.contains(&source.kind())) => {
                Self::NoSocket(why)
            }
            _ => Self::Failed(why),
        }
    }
}

/// Says whether an interface of this name is a WireGuard one, of the kernel or of any program.
pub async fn is_wireguard(name: &str) -> bool {
    let socket = Path::new("/var/run/wireguard").join(format!("{name}.sock"));
    socket.exists() || KernelInterface::adopt(name).await.is_ok()
}

async fn userspace(
    wanted: &InterfaceOptions<'_>,
    mark: Option<u32>,
) -> Result<Interface, Box<dyn Error>> {
    let mut builder = Userspace::builder(wanted.name, wanted.key.clone()).listen(wanted.listen);
    for address in wanted.addresses {
        builder = builder.address(*address);
    }
    if let Some(mtu) = wanted.mtu {
        builder = builder.mtu(mtu);
    }
    if let Some(mark) = mark {
        builder = builder.fwmark(mark);
    }
    let interface = builder.build().await?;
    Ok(Interface {
        left_out: interface.left_out().to_vec(),
        ..interface.into()
    })
}

/// The kernel's interface: a new one, or the one that a killed process left.
async fn kernel(
    wanted: &InterfaceOptions<'_>,
    mark: Option<u32>,
) -> Result<Interface, KernelError> {
    let builder = || {
        let mut builder = KernelInterface::builder(wanted.name, wanted.key.clone());
        builder = builder.listen_port(wanted.listen.port());
        for address in wanted.addresses {
            builder = builder.address(*address);
        }
        if let Some(mtu) = wanted.mtu {
            builder = builder.mtu(mtu.into());
        }
        match mark {
            Some(mark) => builder.fwmark(mark),
            None => builder,
        }
    };
    let interface = match builder().adopt().await {
        Err(error) if error.code() == "kernel-missing" => builder().create().await,
        adopted => adopted,
    }?;
    Ok(Interface {
        left_out: interface.left_out().to_vec(),
        kernel: Some(interface.clone()),
        ..interface.into()
    })
}

impl<B: InterfaceBackend> From<B> for Interface {
    fn from(backend: B) -> Self {
        Self {
            backend: Arc::new(backend),
            netstack: None,
            routes: None,
            left_out: Vec::new(),
            kernel: None,
        }
    }
}
