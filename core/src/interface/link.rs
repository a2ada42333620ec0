//! A network interface of this Linux machine: its addresses, routes and state, over netlink.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_core::ErrorMessage;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder, new_connection};
use tokio::task::JoinHandle;

/// One interface, and a connection to ask for changes to it.
pub(super) struct Link {
    handle: Handle,
    index: u32,
    connection: JoinHandle<()>,
}

impl Link {
    /// The interface of this name; `None` when there is none.
    pub(super) async fn find(name: &str) -> Result<Option<Self>, LinkError> {
        let (connection, handle, _) = new_connection().map_err(LinkError::Netlink)?;
        let connection = tokio::spawn(connection);
        let mut found = handle.link().get().match_name(name.to_owned()).execute();
        match found.try_next().await {
            Ok(Some(message)) => Ok(Some(Self {
                handle,
                index: message.header.index,
                connection,
            })),
            Ok(None) => Ok(None),
            Err(error) if os_error(&error) == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn set_mtu(&self, mtu: u16) -> Result<(), LinkError> {
        let change = LinkUnspec::new_with_index(self.index).mtu(mtu.into());
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

impl Drop for Link {
    fn drop(&mut self) {
        self.connection.abort();
    }
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
