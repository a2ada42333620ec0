//! A WireGuard interface of the kernel, by calls that block until the kernel has done it.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's attributes are many and will be more: what isn't asked for is passed over"
)]

use std::collections::BTreeSet;
use std::io;

use defguard_wireguard_rs::net::IpAddrMask;
use defguard_wireguard_rs::{Kernel, WGApi, WireguardInterfaceApi};
use ipnet::IpNet;
use netlink_packet_generic::GenlMessage;
use netlink_packet_wireguard::{
    WireguardAttribute as Attribute, WireguardCmd, WireguardDeviceFlags, WireguardMessage,
    WireguardPeer,
};
use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use rustix::io::Errno;

use super::link::{self, Made};
use super::netlink::{Connection, Wiped, wireguard_family};
use super::peer::{self, Known, Told};
use super::{KernelBuilder, KernelFault};
use crate::interface::netlink::some_usable;
use crate::interface::{Activity, PeerConfig};
use crate::key::PublicKey;

/// The interface, and the sockets that reach it.
pub(super) struct Device {
    generic: Connection,
    route: Connection,
    family: u16,
    index: u32,
    known: Known,
    /// Last, so that the link goes when the sockets have gone. `None` for one that was adopted.
    made: Option<Made>,
}

/// What there is to know of an interface apart from its peers.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) key: PublicKey,
    pub(super) port: u16,
    /// What it was to have, and has not.
    pub(super) left_out: Vec<IpNet>,
}

/// What the kernel tells of an interface.
#[derive(Default)]
struct Read {
    peers: Vec<Told>,
    key: Option<PublicKey>,
    port: u16,
}

impl Device {
    /// Makes the interface. Dropping what is made so far, as every `?` does, removes it.
    pub(super) fn create(builder: &KernelBuilder) -> Result<(Self, Identity), KernelFault> {
        let name = &builder.name;
        let made = Made::wireguard(name, builder.mtu).map_err(|error| not_made(error, name))?;
        let index = made.index();
        let mut device = Self::open(index, Some(made))?;
        device
            .configure(builder)
            .map_err(|error| system("configure", error))?;
        let left_out = add_addresses(name, &builder.addresses)?;
        let up = link::set_up(&mut device.route, index, true);
        up.map_err(|error| not_listening(error, builder.listen_port))?;
        let mut identity = device.identity(name)?;
        identity.left_out = left_out;
        Ok((device, identity))
    }

    /// Takes one that is there, with the peers that are on it.
    pub(super) fn adopt(name: &str) -> Result<(Self, Identity), KernelFault> {
        let mut device = Self::find(name)?.0;
        let identity = device.identity(name)?;
        Ok((device, identity))
    }

    /// The same, if it has the builder's key; it then listens where the builder says. From one that
    /// is down everybody goes: it may have been taken down to shut them out.
    pub(super) fn adopt_as(builder: &KernelBuilder) -> Result<(Self, Identity), KernelFault> {
        let (name, port) = (&builder.name, builder.listen_port);
        let (mut device, is_up) = Self::find(name)?;
        let mut identity = device.identity(name)?;
        if identity.key != builder.key.public_key() {
            return Err(KernelFault::OtherKey { name: name.clone() });
        }
        if !is_up {
            device.clear().map_err(|error| system("empty", error))?;
        }
        if port != 0 && port != identity.port {
            let set = device.set(vec![Attribute::ListenPort(port)]);
            set.map_err(|error| not_listening(error, port))?;
            identity.port = port;
        }
        if let Some(mark) = builder.fwmark {
            let set = device.set(vec![Attribute::Fwmark(mark)]);
            set.map_err(|error| system("mark the packets of", error))?;
        }
        Ok((device, identity))
    }

    /// One that is there, and whether it is up.
    fn find(name: &str) -> Result<(Self, bool), KernelFault> {
        let mut route = route()?;
        let found = link::find(&mut route, name).map_err(|error| {
            if link::is_gone(&error) {
                KernelFault::Missing {
                    name: name.to_owned(),
                }
            } else {
                system("find", error)
            }
        })?;
        if !found.is_wireguard {
            return Err(KernelFault::NotWireGuard {
                name: name.to_owned(),
            });
        }
        Ok((Self::open(found.index, None)?, found.is_up))
    }

    fn open(index: u32, made: Option<Made>) -> Result<Self, KernelFault> {
        let mut generic =
            Connection::open(NETLINK_GENERIC).map_err(|error| system("reach", error))?;
        let family = wireguard_family(&mut generic).map_err(|_| KernelFault::NoWireGuard)?;
        Ok(Self {
            generic,
            route: route()?,
            family,
            index,
            known: Known::new(),
            made,
        })
    }

    fn configure(&mut self, builder: &KernelBuilder) -> io::Result<()> {
        let mut attributes = vec![
            Attribute::PrivateKey(*builder.key.expose_secret()),
            Attribute::ListenPort(builder.listen_port),
        ];
        attributes.extend(builder.fwmark.map(Attribute::Fwmark));
        self.set(attributes)
    }

    fn identity(&mut self, name: &str) -> Result<Identity, KernelFault> {
        let read = self.read(|_, _| Ok(()));
        let Read { key, port, .. } = read.map_err(|error| system("read", error))?;
        let key = key.ok_or_else(|| KernelFault::NoKey {
            name: name.to_owned(),
        })?;
        Ok(Identity {
            name: name.to_owned(),
            key,
            port,
            left_out: Vec::new(),
        })
    }

    pub(super) fn install(&mut self, peers: &[PeerConfig]) -> io::Result<()> {
        self.put(peers, |peer, _| peer::to_install(peer))
    }

    pub(super) fn renew(&mut self, peers: &[PeerConfig]) -> io::Result<()> {
        self.put(peers, peer::to_renew)
    }

    fn put(
        &mut self,
        peers: &[PeerConfig],
        entries: impl Fn(&PeerConfig, &Known) -> Vec<WireguardPeer>,
    ) -> io::Result<()> {
        let messages = peer::messages(peers.iter().map(|peer| entries(peer, &self.known)));
        // Until the kernel says that it did as told, what a peer has is not known.
        self.forget(peers.iter().map(|peer| &peer.key));
        self.send(messages)?;
        let put = peers.iter().map(|peer| (peer.key, peer::networks(peer)));
        self.known.extend(put);
        Ok(())
    }

    /// Stops the traffic of these peers, and leaves them there.
    pub(super) fn shut(&mut self, keys: &[PublicKey]) -> io::Result<()> {
        self.forget(keys);
        self.send(peer::messages(keys.iter().map(peer::to_shut)))
    }

    /// Removes these peers. The kernel acknowledges when no packet of theirs is left: it takes the
    /// peer from its tables, waits for the tasks that still read them, and drains the peer's queues.
    pub(super) fn remove(&mut self, keys: &[PublicKey]) -> io::Result<()> {
        self.forget(keys);
        self.send(peer::messages(keys.iter().map(peer::to_remove)))
    }

    pub(super) fn list(&mut self) -> io::Result<Vec<PeerConfig>> {
        let peers = self.read(peer::collect)?.peers;
        let peers: Vec<_> = peers.into_iter().map(|told| told.config).collect();
        self.known = peers
            .iter()
            .map(|peer| (peer.key, peer::networks(peer)))
            .collect();
        Ok(peers)
    }

    pub(super) fn activity(&mut self, keys: &BTreeSet<PublicKey>) -> io::Result<Vec<Activity>> {
        let peers = self.read(peer::collect)?.peers;
        let peers = peers.into_iter().map(|told| told.activity);
        Ok(peers.filter(|told| keys.contains(&told.key)).collect())
    }

    /// Takes the link down, and all peers off, and does the one even when the other fails.
    pub(super) fn fence(&mut self) -> io::Result<()> {
        let down = link::set_up(&mut self.route, self.index, false);
        let cleared = self.clear();
        // An interface that is gone passes nothing.
        for outcome in [down, cleared] {
            outcome.or_else(|error| {
                if link::is_gone(&error) {
                    Ok(())
                } else {
                    Err(error)
                }
            })?;
        }
        Ok(())
    }

    /// Takes all peers off.
    fn clear(&mut self) -> io::Result<()> {
        self.known.clear();
        self.set(vec![Attribute::Flags(WireguardDeviceFlags::ReplacePeers)])
    }

    /// Has an interface that was made here stay, like one that was adopted.
    pub(super) fn leave(&mut self) {
        if let Some(made) = self.made.take() {
            made.leave();
        }
    }

    /// Removes an interface that was made here, and leaves one that was adopted.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.made.as_mut().map_or(Ok(()), Made::remove)
    }

    fn forget<'a>(&mut self, keys: impl IntoIterator<Item = &'a PublicKey>) {
        for key in keys {
            self.known.remove(key);
        }
    }

    fn send(&mut self, messages: Vec<Wiped>) -> io::Result<()> {
        for mut message in messages {
            let peers = std::mem::take(&mut message.0);
            self.set(vec![Attribute::Peers(peers)])?;
        }
        Ok(())
    }

    fn set(&mut self, attributes: Vec<Attribute>) -> io::Result<()> {
        let message = self.message(WireguardCmd::SetDevice, attributes);
        self.generic.request(message, 0, |_| Ok(()))
    }

    /// Reads the interface, its peers by `collect`.
    fn read(
        &mut self,
        collect: fn(&mut Vec<Told>, &WireguardPeer) -> io::Result<()>,
    ) -> io::Result<Read> {
        let message = self.message(WireguardCmd::GetDevice, Vec::new());
        self.generic.dump(&message, Read::default, |read, part| {
            for attribute in &part.payload.attributes {
                match attribute {
                    Attribute::PublicKey(bytes) => read.key = Some(PublicKey::from_bytes(*bytes)),
                    Attribute::ListenPort(port) => read.port = *port,
                    Attribute::Peers(entries) => {
                        let peers = &mut read.peers;
                        entries.iter().try_for_each(|entry| collect(peers, entry))?;
                    }
                    _ => {}
                }
            }
            Ok(())
        })
    }

    /// By the link's number: a link that someone else makes under the same name is not ours.
    fn message(&self, cmd: WireguardCmd, more: Vec<Attribute>) -> GenlMessage<WireguardMessage> {
        let mut attributes = vec![Attribute::IfIndex(self.index)];
        attributes.extend(more);
        let mut message = GenlMessage::from_payload(WireguardMessage { cmd, attributes });
        message.set_resolved_family_id(self.family);
        message
    }
}

/// Gives an interface its addresses; gives those of IPv6 that it goes without, where that is off.
fn add_addresses(name: &str, addresses: &[IpNet]) -> Result<Vec<IpNet>, KernelFault> {
    let mut left_out = Vec::new();
    for address in addresses {
        match add_address(name, *address) {
            Err(_) if matches!(address, IpNet::V6(_)) && ipv6_is_off(name) => {
                left_out.push(*address);
            }
            added => added?,
        }
    }
    Ok(some_usable(addresses, left_out)?)
}

/// The crate that sets addresses does not say why it can't.
fn ipv6_is_off(name: &str) -> bool {
    let setting = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    let is_on = std::fs::read_to_string(setting).is_ok_and(|setting| setting.trim() == "0");
    !is_on
}

/// Gives an interface an address, by the crate that knows how on every system.
fn add_address(name: &str, address: IpNet) -> Result<(), KernelFault> {
    let mask = IpAddrMask::new(address.addr(), address.prefix_len());
    WGApi::<Kernel>::new(name)
        .and_then(|api| api.assign_address(&mask))
        .map_err(|source| KernelFault::Address {
            address,
            source: Box::new(source),
        })
}

fn route() -> Result<Connection, KernelFault> {
    Connection::open(NETLINK_ROUTE).map_err(|error| system("reach", error))
}

fn not_made(error: io::Error, name: &str) -> KernelFault {
    match Errno::from_io_error(&error) {
        Some(Errno::EXIST) => KernelFault::NameInUse {
            name: name.to_owned(),
        },
        Some(Errno::OPNOTSUPP) => KernelFault::NoWireGuard,
        _ => system("make", error),
    }
}

/// Why an interface does not listen.
fn not_listening(error: io::Error, port: u16) -> KernelFault {
    match Errno::from_io_error(&error) {
        Some(Errno::ADDRINUSE) => KernelFault::PortInUse { port },
        _ => system("take up", error),
    }
}

fn system(doing: &'static str, source: io::Error) -> KernelFault {
    match Errno::from_io_error(&source) {
        Some(Errno::PERM | Errno::ACCESS) => KernelFault::NoPrivilege,
        _ => KernelFault::System { doing, source },
    }
}
