//! UDP sockets through the tunnel.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp;
use smoltcp::wire::IpListenEndpoint;

use super::NetstackError;
use super::stack::{Net, Stack};

/// Bytes of datagrams that wait in each direction of a socket; what comes on top is dropped.
const BUFFER: usize = 64 * 1024;
/// Datagrams that wait in each direction.
const DATAGRAMS: usize = 128;
/// What IPv6 and UDP put before a datagram.
const HEADERS: usize = 40 + 8;

/// A UDP socket at an address inside the tunnel, until it is dropped.
///
/// Datagrams get lost as on any network: where there is no room, no peer, or a peer has just been
/// removed. None of a removed peer's is received after `remove` has returned.
pub struct NetSocket {
    stack: Arc<Stack>,
    handle: SocketHandle,
    at: SocketAddr,
}

impl NetSocket {
    pub(super) fn bind(stack: &Arc<Stack>, at: SocketAddr) -> Result<Self, NetstackError> {
        let (handle, at) = stack.net().bind(at)?;
        Ok(Self {
            stack: Arc::clone(stack),
            handle,
            at,
        })
    }

    /// Sends a datagram, which is never longer than the tunnel's MTU allows: it is not taken apart.
    /// Does not wait.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for one that is too long or for an address that is none of a
    /// host's; [`io::ErrorKind::AddrNotAvailable`] where the interface has no address of that family;
    /// [`io::ErrorKind::WouldBlock`] while no room is left; [`io::ErrorKind::NotConnected`] once the
    /// tunnel is down.
    pub fn send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        let mut net = self.stack.net();
        let most = net.mtu().saturating_sub(HEADERS);
        if data.len() > most {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a datagram through the tunnel has {most} bytes at most"),
            ));
        }
        if !net.has_family_of(to) {
            let error = NetstackError::Unroutable { to };
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, error));
        }
        let socket = net.udp(self.handle);
        if !socket.is_open() {
            return Err(down());
        }
        let sent = socket.send_slice(data, to);
        drop(net);
        self.stack.poke();
        sent.map_err(|error| match error {
            udp::SendError::BufferFull => io::ErrorKind::WouldBlock.into(),
            udp::SendError::Unaddressable => io::Error::new(
                io::ErrorKind::InvalidInput,
                "datagrams go to an address and a port other than 0",
            ),
        })
    }

    /// Receives a datagram: how long it is and where it comes from. Of one that is longer than the
    /// buffer the rest is lost. Cancel safe.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`] once the tunnel is down.
    pub async fn recv_from(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        std::future::poll_fn(|context| {
            let mut net = self.stack.net();
            let socket = net.udp(self.handle);
            if !socket.is_open() {
                return Poll::Ready(Err(down()));
            }
            let Ok((data, about)) = socket.recv() else {
                socket.register_recv_waker(context.waker());
                return Poll::Pending;
            };
            let len = data.len().min(buffer.len());
            buffer[..len].copy_from_slice(&data[..len]);
            let from = SocketAddr::new(about.endpoint.addr.into(), about.endpoint.port);
            Poll::Ready(Ok((len, from)))
        })
        .await
    }

    /// The address inside the tunnel.
    pub const fn local_addr(&self) -> SocketAddr {
        self.at
    }
}

impl std::fmt::Debug for NetSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetSocket")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Drop for NetSocket {
    fn drop(&mut self) {
        self.stack.net().unbind(self.handle);
    }
}

impl Net {
    /// A new socket, at a port of its own where none is given.
    fn bind(&mut self, mut at: SocketAddr) -> Result<(SocketHandle, SocketAddr), NetstackError> {
        if at.port() == 0 {
            at.set_port(self.port());
        }
        let is_taken = |(_, other): &(SocketHandle, SocketAddr)| {
            other.port() == at.port()
                && (other.ip() == at.ip()
                    || other.ip().is_unspecified()
                    || at.ip().is_unspecified())
        };
        if self.bound.iter().any(is_taken) {
            return Err(NetstackError::Listening { at });
        }
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; DATAGRAMS], vec![0; BUFFER]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        if !self.is_down {
            open(&mut socket, at);
        }
        let handle = self.sockets.add(socket);
        self.bound.push((handle, at));
        Ok((handle, at))
    }

    fn unbind(&mut self, handle: SocketHandle) {
        self.bound.retain(|(bound, _)| *bound != handle);
        self.sockets.remove(handle);
    }

    /// Drops every datagram that waits, in both directions: there is no telling a removed peer's
    /// from the others'.
    pub(super) fn drop_datagrams(&mut self) {
        for (handle, at) in self.bound.clone() {
            let is_down = self.is_down;
            let socket = self.udp(handle);
            socket.close();
            if !is_down {
                open(socket, at);
            }
        }
    }

    fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }
}

/// Has a closed socket receive at this address.
fn open(socket: &mut udp::Socket<'_>, at: SocketAddr) {
    let addr = (!at.ip().is_unspecified()).then_some(at.ip().into());
    let port = at.port();
    // Fails for port 0 and for an open socket alone; then the socket stays closed, and says so.
    _ = socket.bind(IpListenEndpoint { addr, port });
}

fn down() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the tunnel is down")
}
