//! A network interface of this Linux machine: its addresses, routes and state, over netlink.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_core::ErrorMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::LinkAttribute;
#[cfg(feature = "uapi")]
use rtnetlink::packet_route::link::{InfoKind, LinkInfo, LinkMessage};
use rtnetlink::{
    Handle, LinkGetRequest, LinkHandle, LinkUnspec, RouteMessageBuilder, new_connection,
};
use tokio_util::task::AbortOnDropHandle;

/// One interface, and a connection to ask for changes to it.
pub(super) struct Link {
    handle: Handle,
    index: u32,
    #[cfg(feature = "uapi")]
    kind: Option<InfoKind>,
    _connection: AbortOnDropHandle<()>,
}

impl Link {
    /// The interface of this name; `None` when there is none.
    pub(super) async fn find(name: &str) -> Result<Option<Self>, LinkError> {
        Self::first(|links| links.get().match_name(name.to_owned())).await
    }

    /// The interface of this number; `None` when there is none.
    #[cfg(feature = "uapi")]
    pub(super) async fn numbered(index: u32) -> Result<Option<Self>, LinkError> {
        Self::first(|links| links.get().match_index(index)).await
    }

    async fn first(
        wanted: impl FnOnce(LinkHandle) -> LinkGetRequest,
    ) -> Result<Option<Self>, LinkError> {
        let (connection, handle, _) = new_connection().map_err(LinkError::Netlink)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let mut found = wanted(handle.link()).execute();
        match found.try_next().await {
            Ok(Some(message)) => Ok(Some(Self {
                handle,
                index: message.header.index,
                #[cfg(feature = "uapi")]
                kind: kind_of(message),
                _connection: connection,
            })),
            Ok(None) => Ok(None),
            Err(error) if os_error(&error) == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Its number, which no other interface of this network namespace gets while it is there.
    #[cfg(feature = "uapi")]
    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    /// Whether a program is behind it: a TUN device.
    #[cfg(feature = "uapi")]
    pub(super) fn is_tun(&self) -> bool {
        self.kind == Some(InfoKind::Tun)
    }

    /// Makes sure that no other interface of this machine is in the networks that a new one is to
    /// have: the system would send packets for one of them to the other.
    pub(super) async fn check_free(
        name: &str,
        addresses: &[IpNet],
        routes: &[IpNet],
    ) -> Result<(), LinkError> {
        let (connection, handle, _) = new_connection().map_err(LinkError::Netlink)?;
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
                return Err(LinkError::Overlap {
                    network: *network,
                    other,
                    interface,
                });
            }
        }
        Ok(())
    }

    pub(super) async fn set_mtu(&self, mtu: u32) -> Result<(), LinkError> {
        let change = LinkUnspec::new_with_index(self.index).mtu(mtu);
        Ok(self.handle.link().set(change.build()).execute().await?)
    }

    pub(super) async fn set_up(&self) -> Result<(), LinkError> {
        let change = LinkUnspec::new_with_index(self.index).up();
        Ok(self.handle.link().set(change.build()).execute().await?)
    }

    pub(super) async fn set_down(&self) -> Result<(), LinkError> {
        let change = LinkUnspec::new_with_index(self.index).down();
        Ok(self.handle.link().set(change.build()).execute().await?)
    }

    pub(super) async fn add_address(&self, address: IpNet) -> Result<(), LinkError> {
        let addresses = self.handle.address();
        let add = addresses.add(self.index, address.addr(), address.prefix_len());
        Ok(add.execute().await?)
    }

    /// Makes sure that it has these addresses and no others, but for those that it has by itself.
    #[cfg(feature = "kernel")]
    pub(super) async fn have_addresses(&self, wanted: &[IpNet]) -> Result<(), LinkError> {
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
        for address in missing {
            self.add_address(address).await?;
        }
        Ok(())
    }

    /// Has packets to this network leave by the interface. The route goes with the interface.
    pub(super) async fn add_route(&self, network: IpNet) -> Result<(), LinkError> {
        let route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(network.network(), network.prefix_len())
            .map_err(|_| LinkError::Network(network))?
            .output_interface(self.index)
            .build();
        let added = self.handle.route().add(route).replace().execute().await;
        Ok(added?)
    }
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
/// is in nobody's way, unless it is the same.
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

/// Why an interface was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
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

impl From<rtnetlink::Error> for LinkError {
    fn from(error: rtnetlink::Error) -> Self {
        match os_error(&error) {
            Some(libc::EPERM | libc::EACCES) => Self::Privilege,
            Some(libc::EEXIST) => Self::Taken,
            Some(code) => Self::Netlink(std::io::Error::from_raw_os_error(code)),
            None => Self::Refused(error.to_string()),
        }
    }
}

/// The system's error number in a refusal.
fn os_error(error: &rtnetlink::Error) -> Option<i32> {
    let rtnetlink::Error::NetlinkError(ErrorMessage { code, .. }) = error else {
        return None;
    };
    Some(code.as_ref()?.get().abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_clash_if_one_is_in_the_other_and_single_addresses_if_they_are_the_same() {
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
