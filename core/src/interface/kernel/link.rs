//! Network links: made, looked up, taken up and down, removed.

use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;

use super::netlink::Connection;
use crate::log;

/// What the kernel says of a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Its number, which no other link gets while this one is there.
    pub(super) index: u32,
    /// Whether it is one of WireGuard's.
    pub(super) is_wireguard: bool,
    /// Whether it was taken up.
    pub(super) is_up: bool,
}

/// A link that this process made. It is removed when this is dropped.
pub(super) struct Made {
    route: Connection,
    index: u32,
    is_removed: bool,
}

impl Made {
    /// Makes a WireGuard link, which is down. Fails when there is a link of that name.
    pub(super) fn wireguard(name: &str, mtu: Option<u32>) -> io::Result<Self> {
        let mut route = Connection::open(NETLINK_ROUTE)?;
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Wireguard)]),
        ];
        message.attributes.extend(mtu.map(LinkAttribute::Mtu));
        let message = RouteNetlinkMessage::NewLink(message);
        route.request(message, NLM_F_CREATE | NLM_F_EXCL, |_| Ok(()))?;
        let index = find(&mut route, name)?.index;
        Ok(Self {
            route,
            index,
            is_removed: false,
        })
    }

    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    /// Leaves the link to the person who comes.
    pub(super) fn leave(mut self) {
        self.is_removed = true;
    }

    /// Removes the link and all that is on it. One that is gone is removed.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        if self.is_removed {
            return Ok(());
        }
        let message = RouteNetlinkMessage::DelLink(by_index(self.index));
        match self.route.request(message, 0, |_| Ok(())) {
            Err(error) if !is_gone(&error) => Err(error),
            _ => {
                self.is_removed = true;
                Ok(())
            }
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            let index = self.index;
            log::later(move || {
                tracing::warn!(%error, index, "a WireGuard interface was not removed");
            });
        }
    }
}

/// Looks a link up by its name.
pub(super) fn find(route: &mut Connection, name: &str) -> io::Result<Found> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    let mut found = None;
    route.request(RouteNetlinkMessage::GetLink(message), 0, |reply| {
        if let RouteNetlinkMessage::NewLink(link) = reply {
            found = Some(Found {
                index: link.header.index,
                is_wireguard: link.attributes.iter().any(is_wireguard),
                is_up: link.header.flags.contains(LinkFlags::Up),
            });
        }
        Ok(())
    })?;
    found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// Takes a link up, or down.
pub(super) fn set_up(route: &mut Connection, index: u32, is_up: bool) -> io::Result<()> {
    let mut message = by_index(index);
    message.header.change_mask = LinkFlags::Up;
    if is_up {
        message.header.flags = LinkFlags::Up;
    }
    route.request(RouteNetlinkMessage::SetLink(message), 0, |_| Ok(()))
}

/// Whether an error says that there is no such link.
pub(super) fn is_gone(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NODEV)
}

fn by_index(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn is_wireguard(attribute: &LinkAttribute) -> bool {
    if let LinkAttribute::LinkInfo(infos) = attribute {
        infos.contains(&LinkInfo::Kind(InfoKind::Wireguard))
    } else {
        false
    }
}
