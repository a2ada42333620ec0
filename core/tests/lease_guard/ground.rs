//! Three network namespaces in a row: a peer, the gate between, and a service inside.
//!
//! ```text
//! peer 10.77.0.5 fd77::5 ──── wg0 │ gate │ lan0 ──── inside 10.99.0.2 fd99::2
//!   and 10.88.0.0/24 fd88::/64    │      │
//! ```
//!
//! The link at the gate is called `wg0`, and the guard can't tell it from WireGuard: it is
//! point-to-point in that neither end asks for the other's address.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The interface that is guarded.
pub(crate) const WG: &str = "wg0";
/// Where every echo server listens.
const PORT: u16 = 7;
/// Where they listen: on each address by itself, so that each answers as itself.
const SERVERS: [(Namespace, &str); 18] = [
    (Namespace::Gate, "10.77.0.1"),
    (Namespace::Gate, "fd77::1"),
    (Namespace::Inside, "10.99.0.2"),
    (Namespace::Inside, "fd99::2"),
    (Namespace::Peer, "10.77.0.5"),
    (Namespace::Peer, "10.88.0.4"),
    (Namespace::Peer, "10.88.0.5"),
    (Namespace::Peer, "10.88.0.6"),
    (Namespace::Peer, "10.88.0.7"),
    (Namespace::Peer, "10.88.0.77"),
    (Namespace::Peer, "10.88.0.255"),
    (Namespace::Peer, "fd77::5"),
    (Namespace::Peer, "fd88::4"),
    (Namespace::Peer, "fd88::5"),
    (Namespace::Peer, "fd88::6"),
    (Namespace::Peer, "fd88::7"),
    (Namespace::Peer, "fd88::77"),
    (Namespace::Peer, "fd88::ffff:ffff:ffff:ffff"),
];
/// How long an echo may take on a slow machine, and no longer where none is expected.
const ECHO: Duration = Duration::from_millis(250);

/// The namespaces, which go when this does.
pub(crate) struct Ground {
    name: String,
    servers: Vec<Server>,
}

impl Ground {
    /// Makes the namespaces; needs root, and `ip` from iproute2.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut ground = Self {
            name: format!("mfg{}-{n}", std::process::id()),
            servers: Vec::new(),
        };
        for place in [Namespace::Peer, Namespace::Gate, Namespace::Inside] {
            let space = ground.space(place);
            ip(&["netns", "add", &space]);
            ip(&["-n", &space, "link", "set", "lo", "up"]);
        }
        ground.link((Namespace::Peer, "eth0"), (Namespace::Gate, WG));
        ground.link((Namespace::Inside, "eth0"), (Namespace::Gate, "lan0"));
        ground.address(Namespace::Peer, "eth0", &["10.77.0.5/16", "fd77::5/64"]);
        // Any address of the networks behind the peer answers.
        ground.ip(Namespace::Peer, "route add local 10.88.0.0/24 dev lo");
        ground.ip(Namespace::Peer, "route add local fd88::/64 dev lo");
        ground.address(Namespace::Gate, WG, &["10.77.0.1/16", "fd77::1/64"]);
        ground.address(Namespace::Gate, "lan0", &["10.99.0.1/24", "fd99::1/64"]);
        ground.address(Namespace::Inside, "eth0", &["10.99.0.2/24", "fd99::2/64"]);
        for (place, device) in [(Namespace::Peer, "eth0"), (Namespace::Inside, "eth0")] {
            let (v4, v6) = match place {
                Namespace::Peer => ("10.77.0.1", "fd77::1"),
                Namespace::Gate | Namespace::Inside => ("10.99.0.1", "fd99::1"),
            };
            ground.ip(place, &format!("route add default via {v4} dev {device}"));
            ground.ip(
                place,
                &format!("-6 route add default via {v6} dev {device}"),
            );
        }
        ground.ip(Namespace::Gate, "route add 10.88.0.0/24 via 10.77.0.5");
        ground.ip(Namespace::Gate, "-6 route add fd88::/64 via fd77::5");
        for (place, setting) in [
            (Namespace::Gate, "net.ipv4.ip_forward=1"),
            (Namespace::Gate, "net.ipv6.conf.all.forwarding=1"),
            (Namespace::Peer, "net.ipv6.ip_nonlocal_bind=1"),
        ] {
            let space = ground.space(place);
            run(Command::new("ip").args(["netns", "exec", &space, "sysctl", "-qw", setting]));
        }
        for (place, address) in SERVERS {
            let server = Server::start(ground.socket(place, address, PORT));
            ground.servers.push(server);
        }
        ground
    }

    /// The name of a namespace.
    pub(crate) fn space(&self, place: Namespace) -> String {
        let place = match place {
            Namespace::Peer => "peer",
            Namespace::Gate => "gate",
            Namespace::Inside => "in",
        };
        format!("{}-{place}", self.name)
    }

    /// Runs a closure on a thread of its own inside a namespace.
    pub(crate) fn within<T: Send>(
        &self,
        place: Namespace,
        closure: impl FnOnce() -> T + Send,
    ) -> T {
        let path = format!("/run/netns/{}", self.space(place));
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
                use std::os::fd::AsFd;
                let space = std::fs::File::open(path).expect("the namespace is there");
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(space.as_fd(), network).expect("we are root");
                closure()
            });
            inside.join().expect("the closure ends")
        })
    }

    /// Whether something sent from one place to another comes back, right now.
    pub(crate) fn passes(&self, path: Path) -> bool {
        let mut flow = Flow::begin(self, path);
        flow.echo(1)
    }

    /// What `nft` says inside of the gate.
    pub(crate) fn nft(&self, arguments: &str) -> String {
        let space = self.space(Namespace::Gate);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &space, "nft"]);
        let output = run(command.args(arguments.split(' ')));
        String::from_utf8(output.stdout).expect("it is text")
    }

    /// A UDP socket inside a namespace.
    fn socket(&self, place: Namespace, address: &str, port: u16) -> UdpSocket {
        let address: IpAddr = address.parse().expect("an address");
        let bound = self.within(place, || UdpSocket::bind(SocketAddr::new(address, port)));
        bound.unwrap_or_else(|error| panic!("{place:?} {address}: {error}"))
    }

    /// Joins two namespaces. Both ends have one hardware address and ask for none.
    fn link(&self, (here, device): (Namespace, &str), (there, peer): (Namespace, &str)) {
        let (here, there) = (self.space(here), self.space(there));
        ip(&[
            "link", "add", device, "netns", &here, "type", "veth", "peer", "name", peer, "netns",
            &there,
        ]);
        for (space, device) in [(&here, device), (&there, peer)] {
            let same = ["address", "02:00:00:00:00:01", "arp", "off", "up"];
            ip(&[&["-n", space, "link", "set", device][..], &same[..]].concat());
        }
    }

    fn address(&self, place: Namespace, device: &str, addresses: &[&str]) {
        for address in addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            self.ip(place, &format!("addr add {address} dev {device}{nodad}"));
        }
    }

    fn ip(&self, place: Namespace, arguments: &str) {
        let space = self.space(place);
        let arguments: Vec<_> = arguments.split(' ').collect();
        ip(&[&["-n", &space][..], &arguments[..]].concat());
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for server in &self.servers {
            server.stop.store(true, Ordering::Relaxed);
        }
        self.servers.clear();
        for place in [Namespace::Peer, Namespace::Gate, Namespace::Inside] {
            let space = self.space(place);
            let _gone = Command::new("ip").args(["netns", "del", &space]).output();
        }
    }
}

/// One of the namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Namespace {
    Peer,
    Gate,
    Inside,
}

/// From where, with which address, to which address.
pub(crate) type Path = (Namespace, &'static str, &'static str);

/// Datagrams that go out and come back.
pub(crate) struct Flow {
    socket: UdpSocket,
    to: SocketAddr,
    sent: u64,
}

impl Flow {
    pub(crate) fn begin(ground: &Ground, (place, from, to): Path) -> Self {
        let socket = ground.socket(place, from, 0);
        socket.set_read_timeout(Some(ECHO)).expect("a time-out");
        let to = SocketAddr::new(to.parse().expect("an address"), PORT);
        let sent = 0;
        Self { socket, to, sent }
    }

    /// Sends one datagram, up to so many times, and waits for it to come back.
    pub(crate) fn echo(&mut self, tries: u32) -> bool {
        (0..tries).any(|_| {
            self.sent += 1;
            let datagram = self.sent.to_be_bytes();
            // At the gate a packet that is dropped on its way out is an error at once.
            if self.socket.send_to(&datagram, self.to).is_err() {
                return false;
            }
            let mut back = [0; 16];
            while let Ok((length, _)) = self.socket.recv_from(&mut back) {
                if back[..length] == datagram {
                    return true;
                }
            }
            false
        })
    }

    /// Goes on until nothing comes back any more; says when the last datagram came back.
    pub(crate) fn last_echo(&mut self) -> Instant {
        let mut last = Instant::now();
        while self.echo(1) {
            last = Instant::now();
            std::thread::sleep(Duration::from_millis(5));
        }
        last
    }
}

/// A flow in the background that counts what gets lost.
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, u32)>,
}

impl Steady {
    pub(crate) fn begin(ground: &Ground, path: Path) -> Self {
        let mut flow = Flow::begin(ground, path);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut sent, mut lost) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                sent += 1;
                lost += u32::from(!flow.echo(1));
                std::thread::sleep(Duration::from_millis(1));
            }
            (sent, lost)
        });
        Self { stop, thread }
    }

    /// How many datagrams were sent, and how many of them did not come back.
    pub(crate) fn end(self) -> (u32, u32) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the flow ends")
    }
}

/// Sends back what it receives.
struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(socket: UdpSocket) -> Self {
        let wait = Some(Duration::from_millis(50));
        socket.set_read_timeout(wait).expect("a time-out");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serve = move || {
            let mut datagram = [0; 64];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut datagram) {
                    let _dropped = socket.send_to(&datagram[..length], from);
                }
            }
        };
        let thread = Some(std::thread::spawn(serve));
        Self { stop, thread }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

/// Runs a program that must succeed: these tests are not skipped where they can't run.
fn run(command: &mut Command) -> Output {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    let needs = "these tests need root, network namespaces, and nftables in the kernel";
    assert!(output.status.success(), "{command:?}: {said} ({needs})");
    output
}
