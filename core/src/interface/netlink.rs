//! A network interface of this Linux machine: its addresses, routes and state, over netlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_core::ErrorMessage;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::LinkAttribute;
#[cfg(feature = "uapi")]
use rtnetlink::packet_route::link::{InfoKind, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{
    Handle, LinkGetRequest, LinkHandle, LinkUnspec, RouteMessageBuilder, new_connection,
};
use tokio_util::task::AbortOnDropHandle;

use crate::log;

/// A connection to the system's network configuration. Anyone who may have to take an interface down
/// opens it beforehand: a process whose file limit is used up gets no other.
#[derive(Clone)]
pub(super) struct Links {
    handle: Handle,
    _connection: Arc<AbortOnDropHandle<()>>,
}

/// One interface, and a connection to ask for changes to it.
pub(super) struct NetlinkHandle {
    handle: Handle,
    index: u32,
    #[cfg(feature = "uapi")]
    kind: Option<InfoKind>,
    #[cfg(feature = "uapi")]
    is_up: bool,
    #[cfg(feature = "uapi")]
    mtu: Option<u32>,
    _connection: Links,
}

impl Links {
    /// Connects, in the network namespace of this thread.
    pub(super) fn open() -> Result<Self, LinkFault> {
        let (connection, handle, _) = new_connection().map_err(LinkFault::Netlink)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        Ok(Self {
            handle,
            _connection: Arc::new(connection),
        })
    }

    /// The interface of this name; `None` when there is none.
    pub(super) async fn named(&self, name: &str) -> Result<Option<NetlinkHandle>, LinkFault> {
        self.first(|links| links.get().match_name(name.to_owned()))
            .await
    }

    /// The interface of this number; `None` when there is none.
    #[cfg(feature = "uapi")]
    pub(super) async fn numbered(&self, index: u32) -> Result<Option<NetlinkHandle>, LinkFault> {
        self.first(|links| links.get().match_index(index)).await
    }

    async fn first(
        &self,
        wanted: impl FnOnce(LinkHandle) -> LinkGetRequest,
    ) -> Result<Option<NetlinkHandle>, LinkFault> {
        let mut found = wanted(self.handle.link()).execute();
        match found.try_next().await {
            Ok(Some(message)) => Ok(Some(NetlinkHandle {
                handle: self.handle.clone(),
                index: message.header.index,
                #[cfg(feature = "uapi")]
                is_up: message.header.flags.contains(LinkFlags::Up),
                #[cfg(feature = "uapi")]
                mtu: mtu_of(&message),
                #[cfg(feature = "uapi")]
                kind: kind_of(message),
                _connection: self.clone(),
            })),
            Ok(None) => Ok(None),
            Err(error) if os_error(&error) == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl NetlinkHandle {
    /// The interface of this name, over a connection of its own; `None` when there is none.
    pub(super) async fn find(name: &str) -> Result<Option<Self>, LinkFault> {
        Links::open()?.named(name).await
    }

    /// Its number, which no other interface of this network namespace gets while it is there.
    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    /// Whether a program is behind it: a TUN device.
    #[cfg(feature = "uapi")]
    pub(super) fn is_tun(&self) -> bool {
        self.kind == Some(InfoKind::Tun)
    }

    /// Whether it was taken up.
    #[cfg(feature = "uapi")]
    pub(super) const fn is_up(&self) -> bool {
        self.is_up
    }

    /// The longest packet that the system sends through it, in bytes, where it says so.
    #[cfg(feature = "uapi")]
    pub(super) const fn mtu(&self) -> Option<u32> {
        self.mtu
    }

    /// Makes sure that no other interface of this machine is in the networks that a new one is to
    /// have: the system would send packets for one of them to the other.
    pub(super) async fn check_free(
        name: &str,
        addresses: &[IpNet],
        routes: &[IpNet],
    ) -> Result<(), LinkFault> {
        let (connection, handle, _) = new_connection().map_err(LinkFault::Netlink)?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let mut theirs = handle.address().get().execute();
        while let Some(message) = theirs.try_next().await? {
            let Some(other) = network_of(&message) else {
                continue;
            };
            let clash = addresses.iter().find(|own| clashes(own, &other));
            // One that is wider is behind the other's, as a default route is.
            let taken = routes.iter().find(|route| other.contains(&route.trunc()));
            let is_single = other.prefix_len() == other.max_prefix_len();
            let Some(network) = clash.or(taken.filter(|_| !is_single)) else {
                continue;
            };
            let interface = name_of(&handle, message.header.index).await;
            if interface != name {
                return Err(LinkFault::Overlap {
                    network: *network,
                    other,
                    interface,
                });
            }
        }
        Ok(())
    }

    pub(super) async fn set_mtu(&self, mtu: u32) -> Result<(), LinkFault> {
        let change = LinkUnspec::new_with_index(self.index).mtu(mtu);
        Ok(self.handle.link().set(change.build()).execute().await?)
    }

    /// Sets how many packets the system hands over in one piece.
    #[cfg(feature = "userspace")]
    pub(super) async fn set_most_segments(&self, most: u32) -> Result<(), LinkFault> {
        let change = LinkUnspec::new_with_index(self.index);
        let change = change.append_extra_attribute(LinkAttribute::GsoMaxSegs(most));
        Ok(self.handle.link().set(change.build()).execute().await?)
    }

    pub(super) async fn set_up(&self) -> Result<(), LinkFault> {
        let change = LinkUnspec::new_with_index(self.index).up();
        Ok(self.handle.link().set(change.build()).execute().await?)
    }

    /// Takes it down; `false` where it is not there any more, as when its program has ended
    /// meanwhile.
    #[cfg(any(feature = "uapi", feature = "userspace"))]
    pub(super) async fn set_down(&self) -> Result<bool, LinkFault> {
        let change = LinkUnspec::new_with_index(self.index).down();
        match self.handle.link().set(change.build()).execute().await {
            Ok(()) => Ok(true),
            Err(error) if os_error(&error) == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn add_address(&self, address: IpNet) -> Result<(), LinkFault> {
        let addresses = self.handle.address();
        let add = addresses.add(self.index, address.addr(), address.prefix_len());
        let added = add.execute().await;
        added.map_err(|error| refused(error, &address))
    }

    /// Gives it these addresses. Those of IPv6 are left out where that is switched off, unless there
    /// are no others; gives what was left out.
    pub(super) async fn add_addresses(&self, addresses: &[IpNet]) -> Result<Vec<IpNet>, LinkFault> {
        let mut left_out = Vec::new();
        for address in addresses {
            match self.add_address(*address).await {
                Err(LinkFault::Ipv6Off { network }) => left_out.push(network),
                added => added?,
            }
        }
        some_usable(addresses, left_out)
    }

    /// Makes sure that it has these addresses and no others, but for those that it has by itself.
    #[cfg(feature = "kernel")]
    pub(super) async fn have_addresses(&self, wanted: &[IpNet]) -> Result<Vec<IpNet>, LinkFault> {
        let addresses = self.handle.address();
        let of_link = addresses.get().set_link_index_filter(self.index);
        let found: Vec<AddressMessage> = of_link.execute().try_collect().await?;
        let mut missing = wanted.to_vec();
        for message in found {
            let Some(found) = network_of(&message) else {
                continue;
            };
            if let Some(known) = missing.iter().position(|wanted| *wanted == found) {
                missing.swap_remove(known);
            } else {
                addresses.del(message).execute().await?;
            }
        }
        self.add_addresses(&missing).await
    }

    /// Has packets to these networks leave by the interface, by routes that go with it. One that is
    /// there is never replaced. As for addresses, those of IPv6 are left out where that is off.
    pub(super) async fn add_routes(&self, networks: &[IpNet]) -> Result<Vec<IpNet>, LinkFault> {
        let mut left_out = Vec::new();
        for network in networks {
            match self.add_route(network.trunc()).await {
                Err(LinkFault::Ipv6Off { network }) => left_out.push(network),
                added => added?,
            }
        }
        some_usable(networks, left_out)
    }

    async fn add_route(&self, network: IpNet) -> Result<(), LinkFault> {
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(network.network(), network.prefix_len())
            .map_err(|_| LinkFault::Network(network))?
            .output_interface(self.index)
            .build();
        let Err(error) = self.handle.route().add(route).execute().await else {
            return Ok(());
        };
        if os_error(&error) != Some(libc::EEXIST) {
            return Err(refused(error, &network));
        }
        // The interface's own address may have brought it, or an earlier run that was killed.
        if self.has_route(network).await? {
            return Ok(());
        }
        Err(LinkFault::RouteTaken { network })
    }

    async fn has_route(&self, network: IpNet) -> Result<bool, LinkFault> {
        let mut any = RouteMessage::default();
        any.header.address_family = match network {
            IpNet::V4(_) => AddressFamily::Inet,
            IpNet::V6(_) => AddressFamily::Inet6,
        };
        let mut routes = self.handle.route().get(any).execute();
        let mut is_there = false;
        while let Some(route) = routes.try_next().await? {
            is_there |=
                link_of(&route) == Some(self.index) && destination_of(&route) == Some(network);
        }
        Ok(is_there)
    }
}

/// What was left out; an error if there was nothing else.
pub(super) fn some_usable(wanted: &[IpNet], left_out: Vec<IpNet>) -> Result<Vec<IpNet>, LinkFault> {
    match left_out.first() {
        Some(network) if left_out.len() == wanted.len() => {
            Err(LinkFault::Ipv6Off { network: *network })
        }
        _ => {
            for network in &left_out {
                let network = *network;
                log::later(move || {
                    tracing::warn!(%network, "IPv6 is switched off: the interface goes without this");
                });
            }
            Ok(left_out)
        }
    }
}

/// The interface that a route leads to.
pub(super) fn link_of(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Oif(link) = attribute {
            Some(*link)
        } else {
            None
        }
    })
}

/// The network that a route is for.
pub(super) fn destination_of(route: &RouteMessage) -> Option<IpNet> {
    let destination = route.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Destination(RouteAddress::Inet(address)) = attribute {
            Some(IpAddr::V4(*address))
        } else if let RouteAttribute::Destination(RouteAddress::Inet6(address)) = attribute {
            Some(IpAddr::V6(*address))
        } else {
            None
        }
    });
    // The system leaves the destination of a default route out.
    let any = if route.header.address_family == AddressFamily::Inet6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    let prefix = route.header.destination_prefix_length;
    IpNet::new(destination.unwrap_or(any), prefix).ok()
}

#[cfg(feature = "uapi")]
fn mtu_of(message: &LinkMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| {
        if let LinkAttribute::Mtu(mtu) = attribute {
            Some(*mtu)
        } else {
            None
        }
    })
}

/// The driver behind an interface, where it has one of its own.
#[cfg(feature = "uapi")]
fn kind_of(message: LinkMessage) -> Option<InfoKind> {
    let infos = message.attributes.into_iter().find_map(|attribute| {
        if let LinkAttribute::LinkInfo(infos) = attribute {
            Some(infos)
        } else {
            None
        }
    });
    infos?.into_iter().find_map(|info| {
        if let LinkInfo::Kind(kind) = info {
            Some(kind)
        } else {
            None
        }
    })
}

/// An interface's address with its network; `None` where that concerns the interface alone.
fn network_of(message: &AddressMessage) -> Option<IpNet> {
    let address = message.attributes.iter().find_map(|attribute| {
        if let AddressAttribute::Address(address) = attribute {
            Some(*address)
        } else {
            None
        }
    })?;
    let is_local = match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    };
    if is_local {
        return None;
    }
    IpNet::new(address, message.header.prefix_len).ok()
}

/// Whether an address, with its network, is in another's, or the other in its. A single address
/// is in no one's way, unless it is the same.
fn clashes(own: &IpNet, other: &IpNet) -> bool {
    let is_single = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
    if own.addr() == other.addr() {
        return true;
    }
    let (own, other) = (own.trunc(), other.trunc());
    !is_single(&own) && !is_single(&other) && (own.contains(&other) || other.contains(&own))
}

/// For an error's text; its number, where it has gone meanwhile.
async fn name_of(handle: &Handle, index: u32) -> String {
    let mut found = handle.link().get().match_index(index).execute();
    let message = found.try_next().await.ok().flatten();
    let name = message.and_then(|message| {
        message.attributes.into_iter().find_map(|attribute| {
            if let LinkAttribute::IfName(name) = attribute {
                Some(name)
            } else {
                None
            }
        })
    });
    name.unwrap_or_else(|| format!("number {index}"))
}

crate::error_code::opaque! {
    /// Why an interface was not changed.
    pub struct LinkError(LinkFault);
}

/// What is behind [`LinkError`].
#[allow(
    dead_code,
    reason = "some kinds of interface only have all of these reasons"
)]
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkFault {
    /// This process may not change interfaces.
    #[error(
        "this process may not change network interfaces: run it as root, or with the capability CAP_NET_ADMIN"
    )]
    Privilege,
    /// The address is taken, or the route is.
    #[error("the address or the route is there already: another interface of this machine has it")]
    Taken,
    /// Another interface is in a network that this one was to have.
    #[error(
        "{network} overlaps {other} of this machine's interface {interface}: give the tunnel a network of its own, or take that address away (`ip address`)"
    )]
    Overlap {
        /// What was asked for.
        network: IpNet,
        /// What is there.
        other: IpNet,
        /// Whose it is.
        interface: String,
    },
    /// Another program has a route to the network.
    #[error(
        "there is a route to {network} already, of another interface (see `ip route show {network}`): it is left as it is; stop the program that set it, or take the network out of the tunnel's"
    )]
    RouteTaken {
        /// What was asked for.
        network: IpNet,
    },
    /// IPv6 is off.
    #[error(
        "IPv6 is switched off on this machine (see `sysctl net.ipv6.conf.all.disable_ipv6`), so {network} can't be set: switch it on, or go on with IPv4 alone"
    )]
    Ipv6Off {
        /// What was asked for: an address or a network.
        network: IpNet,
    },
    /// There is no such interface.
    #[error("there is no network interface {name} in this network namespace: see `ip link`")]
    Missing {
        /// The name.
        name: String,
    },
    /// Too many clients have routes on this machine.
    #[error(
        "all numbers for a client's routing table are in use on this machine: stop another client (see `ip rule`, from 10900 on)"
    )]
    Crowded,
    /// The network is none that a route can lead to.
    #[error("{0} is no network that a route can lead to")]
    Network(IpNet),
    /// The system can't be asked.
    #[error("the system's network configuration can't be reached (netlink)")]
    Netlink(#[source] std::io::Error),
    /// The system refused.
    #[error("the system refused the change to the network interface: {0}")]
    Refused(String),
}

impl From<rtnetlink::Error> for LinkFault {
    fn from(error: rtnetlink::Error) -> Self {
        match os_error(&error) {
            // What needs a capability says EPERM; EACCES is about what was asked for.
            Some(libc::EPERM) => Self::Privilege,
            Some(libc::EEXIST) => Self::Taken,
            Some(code) => Self::Refused(std::io::Error::from_raw_os_error(code).to_string()),
            None => Self::Refused(error.to_string()),
        }
    }
}

/// Why an address, or a route to a network, was refused.
pub(super) fn refused(error: rtnetlink::Error, network: &IpNet) -> LinkFault {
    let is_off = matches!(
        os_error(&error),
        Some(libc::EACCES | libc::EOPNOTSUPP | libc::EAFNOSUPPORT)
    );
    if is_off && matches!(network, IpNet::V6(_)) {
        return LinkFault::Ipv6Off { network: *network };
    }
    error.into()
}

/// The system's error number in a refusal.
pub(super) fn os_error(error: &rtnetlink::Error) -> Option<i32> {
    let rtnetlink::Error::NetlinkError(ErrorMessage { code, .. }) = error else {
        return None;
    };
    Some(code.as_ref()?.get().abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_privilege_is_told_from_all_else_that_is_refused() {
        let told = |code: i32, network: &str| {
            let mut message = ErrorMessage::default();
            message.code = std::num::NonZeroI32::new(-code);
            let error = rtnetlink::Error::NetlinkError(message);
            refused(error, &network.parse().unwrap())
        };
        let (four, six) = ("10.9.0.0/24", "fd00::/64");
        for network in [four, six] {
            assert!(matches!(told(libc::EPERM, network), LinkFault::Privilege));
            assert!(matches!(told(libc::EEXIST, network), LinkFault::Taken));
        }
        for code in [libc::EACCES, libc::EOPNOTSUPP, libc::EAFNOSUPPORT] {
            assert!(matches!(told(code, six), LinkFault::Ipv6Off { .. }));
            assert!(matches!(told(code, four), LinkFault::Refused(_)));
        }
        let down = told(libc::ENETDOWN, six).to_string();
        assert!(down.contains("Network is down"), "{down}");
    }

    #[test]
    fn networks_clash_where_one_contains_the_other() {
        for (own, other, clash) in [
            ("10.9.0.1/24", "10.9.0.77/16", true),
            ("10.9.0.1/16", "10.9.5.1/24", true),
            ("10.9.0.1/24", "10.9.1.1/24", false),
            ("10.9.0.1/32", "10.9.0.2/24", false),
            ("10.9.0.1/24", "10.9.0.53/32", false),
            ("10.9.0.1/32", "10.9.0.1/24", true),
            ("fd00::1/64", "fd00::2/64", true),
            ("fd00::1/64", "10.9.0.1/24", false),
        ] {
            let nets = (own.parse().unwrap(), other.parse().unwrap());
            assert_eq!(clashes(&nets.0, &nets.1), clash, "{own} {other}");
        }
    }
}
