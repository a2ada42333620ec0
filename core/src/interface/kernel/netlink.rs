//! One netlink socket: requests that the kernel acknowledges, and dumps that are whole or fail.
//!
//! What goes through it may hold keys. Buffers and messages are overwritten when they are done
//! with; nothing is logged.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's attributes are many and will be more: what isn't asked for is passed over"
)]

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_wireguard::{
    WireguardAttribute, WireguardMessage, WireguardPeer, WireguardPeerAttribute,
};
use netlink_sys::{Socket, SocketAddr};
use zeroize::{Zeroize, Zeroizing};

/// The kernel sends no datagram of a dump that is longer.
const LONGEST_REPLY: usize = 1 << 16;

/// The kernel answers while it is asked, so this is for a kernel that doesn't.
const PATIENCE: Duration = Duration::from_secs(10);

/// A dump that someone else's changes keep interrupting is given up after so many.
const DUMPS: usize = 20;

/// A netlink message that may hold keys.
pub(super) trait Message:
    NetlinkSerializable + NetlinkDeserializable + Debug + Clone
{
    /// Overwrites the keys.
    fn wipe(&mut self);
}

/// A socket of one netlink protocol, in the network namespace of the thread that opened it.
pub(super) struct Connection {
    socket: Socket,
    sequence: u32,
}

impl Connection {
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // An error would otherwise come back with the whole request, keys included.
        socket.set_cap_ack(true)?;
        socket2::SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Asks for a change, or for one thing, and hands on what the kernel says before it
    /// acknowledges. When this returns, the kernel has done it.
    pub(super) fn request<M: Message>(
        &mut self,
        message: M,
        flags: u16,
        mut each: impl FnMut(&mut M) -> io::Result<()>,
    ) -> io::Result<()> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        self.receive(&mut each).map(|_| ())
    }

    /// Asks for a list, of which `collect` gathers the parts into what `begin` makes. A list that
    /// changed while the kernel gave it is asked for again: it may miss what did not change.
    pub(super) fn dump<M: Message, T>(
        &mut self,
        message: &M,
        begin: impl Fn() -> T,
        collect: impl Fn(&mut T, &mut M) -> io::Result<()>,
    ) -> io::Result<T> {
        for _ in 0..DUMPS {
            let mut list = begin();
            self.send(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            if self.receive(&mut |part| collect(&mut list, part))? {
                return Ok(list);
            }
        }
        Err(io::Error::other(
            "the interface changed again and again while it was read",
        ))
    }

    fn send<M: Message>(&mut self, message: M, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = Zeroizing::new(vec![0; message.buffer_len()]);
        message.serialize(&mut bytes);
        if let NetlinkPayload::InnerMessage(inner) = &mut message.payload {
            inner.wipe();
        }
        if self.socket.send(&bytes, 0)? == bytes.len() {
            Ok(())
        } else {
            Err(io::Error::other("netlink took a part of a message only"))
        }
    }

    /// Takes all replies to the last message that was sent. False when what they tell of changed
    /// in between.
    fn receive<M: Message>(
        &mut self,
        each: &mut dyn FnMut(&mut M) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut buffer = Zeroizing::new(vec![0; LONGEST_REPLY]);
        let mut is_whole = true;
        loop {
            let length = self.read(&mut buffer)?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while !rest.is_empty() {
                let reply = NetlinkMessage::<M>::deserialize(rest).map_err(io::Error::other)?;
                rest = rest.get(padded(&reply.header)?..).unwrap_or_default();
                if reply.header.sequence_number != self.sequence {
                    continue; // of a request that was given up
                }
                is_whole &= reply.header.flags & NLM_F_DUMP_INTR == 0;
                if part(reply.payload, each)? {
                    return Ok(is_whole);
                }
            }
        }
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.recv(&mut &mut buffer[..], 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(length) if length >= buffer.len() => {
                    return Err(io::Error::other("a netlink reply is too long"));
                }
                ended => return ended,
            }
        }
    }
}

/// Hands a part of the reply on. True at its end.
fn part<M: Message>(
    payload: NetlinkPayload<M>,
    each: &mut dyn FnMut(&mut M) -> io::Result<()>,
) -> io::Result<bool> {
    match payload {
        NetlinkPayload::InnerMessage(mut message) => {
            let taken = each(&mut message);
            message.wipe();
            taken.map(|()| false)
        }
        NetlinkPayload::Error(error) if error.code.is_none() => Ok(true),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        NetlinkPayload::Done(done) if done.code == 0 => Ok(true),
        NetlinkPayload::Done(done) => Err(io::Error::from_raw_os_error(done.code.abs())),
        NetlinkPayload::Noop => Ok(false),
        _ => Err(io::Error::other("an unknown netlink reply")),
    }
}

/// Where the next message of a datagram begins.
fn padded(header: &NetlinkHeader) -> io::Result<usize> {
    match usize::try_from(header.length) {
        Ok(length) if length > 0 => Ok(length.next_multiple_of(4)),
        _ => Err(io::Error::other("a netlink reply without a length")),
    }
}

/// The number that the kernel gave to WireGuard's family of messages when the module was loaded.
pub(super) fn wireguard_family(generic: &mut Connection) -> io::Result<u16> {
    let asked = GenlMessage::from_payload(GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName("wireguard".to_owned())],
    });
    let mut family = None;
    generic.request(asked, 0, |reply: &mut GenlMessage<GenlCtrl>| {
        family = reply.payload.nlas.iter().find_map(|attribute| {
            if let GenlCtrlAttrs::FamilyId(id) = attribute {
                Some(*id)
            } else {
                None
            }
        });
        Ok(())
    })?;
    family.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

impl Message for GenlMessage<WireguardMessage> {
    fn wipe(&mut self) {
        for attribute in &mut self.payload.attributes {
            match attribute {
                WireguardAttribute::PrivateKey(key) => key.zeroize(),
                WireguardAttribute::Peers(peers) => peers.iter_mut().for_each(wipe_peer),
                _ => {}
            }
        }
    }
}

/// Entries of peers, whose preshared keys are overwritten when this is dropped.
pub(super) struct Wiped(pub(super) Vec<WireguardPeer>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(wipe_peer);
    }
}

fn wipe_peer(peer: &mut WireguardPeer) {
    for attribute in &mut peer.0 {
        if let WireguardPeerAttribute::PresharedKey(key) = attribute {
            key.zeroize();
        }
    }
}

impl Message for GenlMessage<GenlCtrl> {
    fn wipe(&mut self) {}
}

impl Message for RouteNetlinkMessage {
    fn wipe(&mut self) {}
}
