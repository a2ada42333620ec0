//! The UDP socket of the tunnels: one for IPv4 and IPv6, where the machine has both, that answers
//! from the address that was asked. It receives many datagrams with one call of the system.

use std::array;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::log;

/// Bytes that the socket may hold in each direction: a burst of all that TCP has under way.
const SOCKET_BUFFER: usize = 4 << 20;
/// How many buffers one call fills.
const BUFFERS: usize = 16;
/// Room for the longest datagram, and for a run of shorter ones that the system joined.
const BUFFER: usize = 1 << 16;
/// How many datagrams one call may send: what every Linux with UDP segmentation takes
/// (`UDP_MAX_SEGMENTS`).
const MOST_SEGMENTS: usize = 64;

/// Where a socket is to be, and how its packets are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::interface) struct Listen {
    pub(in crate::interface) at: SocketAddr,
    /// What routing rules and firewalls know its packets by (Linux: `SO_MARK`).
    pub(in crate::interface) fwmark: Option<u32>,
    /// Whether the system may take a run of datagrams by one call and cut it apart (UDP GSO).
    pub(in crate::interface) has_runs: bool,
}

impl Listen {
    /// At every address of this machine, at a port of the system's choice.
    pub(in crate::interface) const fn anywhere() -> Self {
        Self {
            at: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
            fwmark: None,
            has_runs: true,
        }
    }
}

/// The way that a datagram takes: where the other end is, and which of this machine's addresses it
/// is sent from. A firewall that keeps state lets an answer pass from no other address than the one
/// that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) remote: SocketAddr,
    /// `None` leaves it to the system's routes.
    pub(super) local: Option<IpAddr>,
}

impl Path {
    pub(super) const fn to(remote: SocketAddr) -> Self {
        Self {
            remote,
            local: None,
        }
    }
}

pub(super) struct Socket {
    io: UdpSocket,
    state: RwLock<UdpSocketState>,
    bound: SocketAddr,
    most_in_run: usize,
}

impl Socket {
    pub(super) fn bind(listen: Listen) -> io::Result<Self> {
        let io = with_what_there_is(listen, open)?;
        make_room(&io);
        let state = new_state(&io)?;
        let bound = io.local_addr()?;
        let most_in_run = if listen.has_runs {
            state.max_gso_segments().clamp(1, MOST_SEGMENTS)
        } else {
            1
        };
        if most_in_run == 1 {
            log::later(|| tracing::debug!("UDP segmentation is not used: a call per datagram"));
        }
        Ok(Self {
            io,
            state: RwLock::new(state),
            bound,
            most_in_run,
        })
    }

    /// How many datagrams one call may send.
    pub(super) const fn most_in_run(&self) -> usize {
        self.most_in_run
    }

    pub(super) const fn local_addr(&self) -> SocketAddr {
        self.bound
    }

    /// Waits until there is something to receive.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
    }

    /// Waits until there is room to send.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    /// Receives what is there, as much as fits. Does not wait.
    pub(super) fn try_receive(&self, into: &mut Received) -> io::Result<()> {
        into.filled = 0;
        let mut buffers = into.bytes.chunks_exact_mut(BUFFER);
        let mut slices: [IoSliceMut<'_>; BUFFERS] =
            array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        into.filled = self.io.try_io(Interest::READABLE, || {
            state.recv((&self.io).into(), &mut slices, &mut into.about)
        })?;
        into.is_wildcard = self.bound.ip().is_unspecified();
        Ok(())
    }

    /// Sends a datagram, without waiting; gives the path that it took. Where the system does not
    /// let it leave from the path's own address, which may have gone since, it picks another.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while there is no room; any other means that it was lost.
    pub(super) fn try_send(&self, datagram: &[u8], path: Path) -> io::Result<Path> {
        match self.send(datagram, None, path) {
            Err(error) if path.local.is_some() && error.kind() != io::ErrorKind::WouldBlock => {
                let path = Path::to(path.remote);
                self.send(datagram, None, path)?;
                Ok(path)
            }
            sent => sent.map(|()| path),
        }
    }

    /// Sends datagrams of `segment` bytes each by one call, without waiting. The last may be
    /// shorter.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while there is no room. Any other means that none was sent,
    /// and that each may pass alone: the path is too narrow for the segments, for example.
    pub(super) fn try_send_run(&self, run: &[u8], segment: usize, path: Path) -> io::Result<()> {
        self.send(run, Some(segment), path)
    }

    fn send(&self, contents: &[u8], segment_size: Option<usize>, path: Path) -> io::Result<()> {
        let transmit = Transmit {
            destination: self.destination(path.remote)?,
            ecn: None,
            contents,
            segment_size,
            src_ip: path.local.map(|local| self.own(local)),
        };
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let sent = self.io.try_io(Interest::WRITABLE, || {
            state.try_send((&self.io).into(), &transmit)
        });
        // `quinn-udp` sends no more runs to anyone after one call failed with EINVAL or EIO. One
        // peer's path, or an address that has gone, must not slow the others down.
        let is_off = sent.is_err() && state.max_gso_segments() < self.most_in_run;
        drop(state);
        if is_off {
            self.begin_again();
        }
        sent
    }

    /// Has `quinn-udp` forget what failed.
    fn begin_again(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match new_state(&self.io) {
            Ok(new) => *state = new,
            Err(error) => {
                log::later(move || tracing::debug!(%error, "the UDP socket sends no more runs"));
            }
        }
    }

    /// An address as this socket has to be told it. IPv4 is in a corner of IPv6 (RFC 4291, section
    /// 2.5.5.2).
    fn destination(&self, to: SocketAddr) -> io::Result<SocketAddr> {
        match (self.bound, to) {
            (SocketAddr::V4(_), SocketAddr::V4(_)) | (SocketAddr::V6(_), SocketAddr::V6(_)) => {
                Ok(to)
            }
            (SocketAddr::V6(bound), SocketAddr::V4(to)) if bound.ip().is_unspecified() => {
                Ok(SocketAddr::new(to.ip().to_ipv6_mapped().into(), to.port()))
            }
            (SocketAddr::V6(_), SocketAddr::V4(_)) | (SocketAddr::V4(_), SocketAddr::V6(_)) => {
                Err(io::ErrorKind::Unsupported.into())
            }
        }
    }

    const fn own(&self, local: IpAddr) -> IpAddr {
        match (self.bound, local) {
            (SocketAddr::V6(_), IpAddr::V4(local)) => IpAddr::V6(local.to_ipv6_mapped()),
            (SocketAddr::V4(_) | SocketAddr::V6(_), local) => local,
        }
    }
}

/// Room for what one call receives.
pub(super) struct Received {
    bytes: Vec<u8>,
    about: [RecvMeta; BUFFERS],
    filled: usize,
    is_wildcard: bool,
}

impl Received {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; BUFFERS * BUFFER], // the system gives a page once it is written to
            about: [RecvMeta::default(); BUFFERS],
            filled: 0,
            is_wildcard: false,
        }
    }

    /// The datagrams of the last call, and how each came.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (&[u8], Path)> {
        let filled = self.bytes.chunks_exact(BUFFER).zip(&self.about);
        filled.take(self.filled).flat_map(|(buffer, about)| {
            let path = Path {
                remote: plain(about.addr),
                local: about.dst_ip.filter(|_| self.is_wildcard).and_then(single),
            };
            let run = buffer.get(..about.len).unwrap_or_default();
            run.chunks(about.stride.max(1)).map(move |one| (one, path))
        })
    }
}

/// Opens a socket. All IPv6 addresses include all IPv4 ones, and are no more than those on a machine
/// that has no IPv6.
fn with_what_there_is<T>(listen: Listen, open: impl Fn(Listen) -> io::Result<T>) -> io::Result<T> {
    match open(listen) {
        Err(error) if listen.at.ip() == Ipv6Addr::UNSPECIFIED && is_about_ipv6(&error) => {
            log::later(move || {
                tracing::debug!(%error, "there is no IPv6 on this machine: IPv4 alone is used");
            });
            let at = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listen.at.port());
            open(Listen { at, ..listen })
        }
        opened => opened,
    }
}

fn new_state(io: &UdpSocket) -> io::Result<UdpSocketState> {
    with_fragments(io, || UdpSocketState::new(io.into()))
}

fn open(listen: Listen) -> io::Result<UdpSocket> {
    let Listen { at, fwmark, .. } = listen;
    let socket = RawSocket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    if at.is_ipv6() && at.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    mark(&socket, fwmark)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    UdpSocket::from_std(socket.into())
}

#[cfg(target_os = "linux")]
fn mark(socket: &RawSocket, fwmark: Option<u32>) -> io::Result<()> {
    fwmark.map_or(Ok(()), |fwmark| socket.set_mark(fwmark))
}

#[cfg(not(target_os = "linux"))]
fn mark(_: &RawSocket, fwmark: Option<u32>) -> io::Result<()> {
    match fwmark {
        None => Ok(()),
        Some(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Whether a socket for all addresses may come to be with IPv4 alone.
fn is_about_ipv6(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
    )
}

/// Asks for room for a burst in each direction; the system gives what it allows.
fn make_room(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    let given = socket
        .set_recv_buffer_size(SOCKET_BUFFER)
        .and_then(|()| socket.set_send_buffer_size(SOCKET_BUFFER));
    if let Err(error) = given {
        log::later(move || tracing::debug!(%error, "the UDP socket keeps its usual buffers"));
    }
}

/// `quinn-udp` is made for QUIC, which forbids fragments. WireGuard's packets are fragmented where
/// a link is narrower than the tunnel believes: slow, but a tunnel that lost every full packet
/// would be none. What it sets is set back.
#[cfg(target_os = "linux")]
fn with_fragments<T>(socket: &UdpSocket, set: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    use nix::sys::socket::{setsockopt, sockopt};
    use rustix::net::sockopt as options;

    let is_v6 = socket.local_addr()?.is_ipv6();
    let v4 = options::ip_mtu_discover(socket)?;
    let v6 = is_v6.then(|| options::ipv6_mtu_discover(socket));
    let state = set()?;
    options::set_ip_mtu_discover(socket, v4)?;
    if let Some(v6) = v6.transpose()? {
        options::set_ipv6_mtu_discover(socket, v6)?;
        setsockopt(socket, sockopt::Ipv6DontFrag, &false)?;
    }
    Ok(state)
}

#[cfg(target_os = "macos")]
fn with_fragments<T>(socket: &UdpSocket, set: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    use nix::sys::socket::{setsockopt, sockopt};

    let state = set()?;
    if socket.local_addr()?.is_ipv6() {
        setsockopt(socket, sockopt::Ipv6DontFrag, &false)?;
    } else {
        setsockopt(socket, sockopt::IpDontFrag, &false)?;
    }
    Ok(state)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn with_fragments<T>(_: &UdpSocket, set: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    set()
}

/// An address without the marks of the socket that it was seen by, so that the same host is the
/// same address.
fn plain(mut address: SocketAddr) -> SocketAddr {
    address.set_ip(address.ip().to_canonical());
    if let SocketAddr::V6(address) = &mut address {
        address.set_flowinfo(0);
    }
    address
}

/// An address that a datagram can be sent from.
fn single(address: IpAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    let is_single = !address.is_multicast() && !address.is_unspecified() && !is_broadcast;
    is_single.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens on a machine without IPv6; gives what was opened.
    fn without_ipv6(at: &str) -> io::Result<Listen> {
        let listen = Listen {
            at: at.parse().unwrap(),
            fwmark: Some(7),
            has_runs: false,
        };
        with_what_there_is(listen, |listen| {
            if listen.at.is_ipv6() {
                return Err(io::Error::from_raw_os_error(97)); // EAFNOSUPPORT
            }
            Ok(listen)
        })
    }

    #[test]
    fn all_addresses_are_those_of_ipv4_on_a_machine_without_ipv6() {
        let opened = without_ipv6("[::]:51820").unwrap();

        let at = "0.0.0.0:51820".parse().unwrap();
        let as_asked = Listen {
            at,
            fwmark: Some(7),
            has_runs: false,
        };
        assert_eq!(opened, as_asked);
        assert!(without_ipv6("[2001:db8::1]:51820").is_err());
    }

    #[test]
    fn a_port_that_is_taken_is_not_looked_for_in_one_family_alone() {
        let at = "[::]:51820".parse().unwrap();
        let listen = Listen {
            at,
            ..Listen::anywhere()
        };

        let refused = with_what_there_is(listen, |listen| {
            if listen.at.is_ipv6() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            Ok(())
        });

        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_run_arrives_as_its_datagrams_also_after_one_was_refused() {
        let socket = Socket::bind(Listen {
            at: "127.0.0.1:0".parse().unwrap(),
            ..Listen::anywhere()
        });
        let socket = socket.unwrap();
        assert!(socket.most_in_run() > 1);
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let patience = std::time::Duration::from_secs(10);
        receiver.set_read_timeout(Some(patience)).unwrap();
        let path = Path::to(receiver.local_addr().unwrap());
        let gone = Path {
            local: Some("203.0.113.1".parse().unwrap()),
            ..path
        };
        let run = [&[1; 100][..], &[2; 100], &[3; 50]].concat();
        socket.writable().await.unwrap();

        // With `quinn-udp` alone this ends runs for every peer.
        let refused = socket.try_send_run(&run, 100, gone).unwrap_err();
        assert_ne!(refused.kind(), io::ErrorKind::WouldBlock);
        socket.try_send_run(&run, 100, path).unwrap();

        let state = socket.state.read().unwrap();
        assert!(state.max_gso_segments() > 1);
        let mut buffer = [0; 200];
        for expected in run.chunks(100) {
            let len = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], expected);
        }
    }
}
