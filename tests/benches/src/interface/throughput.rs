//! What a gate costs the packets that pass it: bytes per second with a gate in front of the
//! interface, over those without, on the same backend and the same connection, in turn.
//!
//! Without: a client's peer on the interface, and nothing else. With: the same peer, its session
//! taken up by a gate that starts, among others. Where the interface is one of the system's, also
//! behind a gate with a lease guard.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use mfagate::gate::Gate;
use mfagate::interface::kernel::KernelInterface;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::netstack::{NetStream, Netstack};
use mfagate::interface::userspace::Userspace;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PrivateKey, PublicKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use super::counted::Counted;
use super::fleet::{Fleet, first_key, peer};
use super::network::Space;
use crate::floor::Error;
use crate::measure::{Pair, Samples, median, span};
use crate::report::{Report, Target};

/// Live sessions at the gate, the client's among them.
const SESSIONS: u32 = 1000;
const GATE: &str = "10.0.0.1/8";
const SERVICE: &str = "10.0.0.1:7";
const OUTSIDE: &str = "192.0.2.1:51820";
/// How long a connection may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of the throughput without a gate must be left.
const LEFT: f64 = 0.98;

/// How much goes through in a round, in each direction, in how many turns of two rounds a connection
/// is without a gate and with one, and how many connections there are.
struct Load {
    mebibytes: usize,
    turns: u32,
    lines: u32,
}

/// Measures what is wanted, but for the kernel's.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    let load = Load {
        mebibytes: 8,
        turns: 24,
        lines: 12,
    };
    if report.wants("interface.in_process_throughput") {
        in_process(report, &load)?;
    }
    if report.wants("interface.userspace_throughput")
        || report.wants("interface.userspace_guarded_throughput")
    {
        let make = async |key: PrivateKey| {
            let builder = Userspace::builder("wg0", key).listen(OUTSIDE.parse()?);
            let made = builder.address(GATE.parse()?).build().await?;
            let made: Arc<dyn InterfaceBackend> = Arc::new(made);
            Ok::<_, Error>(made)
        };
        system(report, "userspace", &load, make)?;
    }
    Ok(())
}

/// Measures what is wanted of the kernel's.
pub(super) fn rows_of_the_kernel(report: &mut Report) -> Result<(), Error> {
    if !report.wants("interface.kernel_throughput")
        && !report.wants("interface.kernel_guarded_throughput")
    {
        return Ok(());
    }
    let load = Load {
        mebibytes: 2,
        turns: 40,
        lines: 3,
    };
    let make = async |key: PrivateKey| {
        let builder = KernelInterface::builder("wg0", key).listen_port(51820);
        let made = builder.address(GATE.parse()?).create().await?;
        let made: Arc<dyn InterfaceBackend> = Arc::new(made);
        Ok::<_, Error>(made)
    };
    system(report, "kernel", &load, make)
}

/// Measures connections, and adds the rows of their backend.
fn add<L: Line>(
    report: &mut Report,
    backend: &str,
    load: &Load,
    connect: impl Fn() -> Result<L, Error>,
) -> Result<(), Error> {
    let mut pairs = Vec::new();
    for line in 0..load.lines {
        pairs.push(measure(&mut connect()?, load, line % 2 == 1)?);
    }
    let name = format!("interface.{backend}_throughput");
    let megabits = f64::from(u32::try_from(load.mebibytes * 2)?) * 8.0 * 1.048_576;
    let gated = |pair: &Pair| megabits / pair.b.median().as_secs_f64();
    let gated = median(pairs.iter().map(gated).collect());
    report.add(name.clone(), gated, "Mbit/s", Target::Higher);
    // The time without a gate over the time with one.
    let left = median(pairs.iter().map(Pair::ratio).collect());
    report.add(
        format!("{name}_gated_to_ungated"),
        left,
        "ratio",
        Target::AtLeast(LEFT),
    );
    Ok(())
}

/// A connection through an interface, which a gate comes in front of and leaves while it lasts.
trait Line {
    /// Puts the gate there, or takes it away.
    fn gate(&mut self, is_there: bool) -> Result<(), Error>;

    /// Sends so much there, and then back.
    fn round(&mut self, mebibytes: usize) -> Result<(), Error>;
}

/// Rounds without a gate and with one, in turn: two of each, so that the gate comes and goes half
/// as often.
fn measure(line: &mut impl Line, load: &Load, is_gated_first: bool) -> Result<Pair, Error> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for turn in 0..load.turns {
        let is_gated = (turn % 2 == 0) == is_gated_first;
        line.gate(is_gated)?;
        line.round(1)?; // what has just come and gone is not to be seen
        let spans = if is_gated { &mut with } else { &mut without };
        for _ in 0..2 {
            let mut outcome = Ok(());
            spans.push(span(|| outcome = line.round(load.mebibytes)));
            outcome?;
        }
    }
    Ok(Pair {
        a: Samples::of(without),
        b: Samples::of(with),
    })
}

/// A gate in front of an interface that outlives it.
struct Front {
    interface: Arc<Counted>,
    guard: Option<Arc<LeaseGuard>>,
    gate: Gate,
}

impl Front {
    /// Puts a gate there, or takes it away.
    async fn turn(
        front: &mut Option<Self>,
        is_there: bool,
        fleet: &Fleet,
        interface: Arc<dyn InterfaceBackend>,
        is_guarded: bool,
    ) -> Result<(), Error> {
        if is_there {
            *front = Some(Self::put(fleet, interface, is_guarded).await?);
        } else if let Some(front) = front.take() {
            front.take(&*interface).await?;
        }
        Ok(())
    }

    /// Starts a gate where the client's peer is already.
    async fn put(
        fleet: &Fleet,
        interface: Arc<dyn InterfaceBackend>,
        is_guarded: bool,
    ) -> Result<Self, Error> {
        let interface = Arc::new(Counted::new(interface));
        let mut front: Arc<dyn InterfaceBackend> = interface.clone();
        let mut guard = None;
        if is_guarded {
            let around = Arc::new(LeaseGuard::around(front, "wg0").await?);
            front = around.clone();
            guard = Some(around);
        }
        Ok(Self {
            interface,
            guard,
            gate: fleet.open(front).await?,
        })
    }

    /// Takes the gate away, with all but the client's peer.
    async fn take(self, interface: &dyn InterfaceBackend) -> Result<(), Error> {
        self.interface.cut();
        self.gate.shutdown().await;
        if let Some(guard) = self.guard {
            guard.close().await?;
        }
        let others: Vec<_> = (1..SESSIONS).map(|number| peer(number).key).collect();
        interface.remove(&others).await?;
        if interface.list().await?.len() != 1 {
            return Err("not the client's peer alone is left".into());
        }
        Ok(())
    }
}

/// The gate, as a client's peer.
fn gate_as_peer(key: PublicKey, endpoint: SocketAddr) -> Result<PeerConfig, Error> {
    let inside = vec!["10.0.0.0/8".parse()?];
    Ok(PeerConfig::new(key, peer(0).psk, inside).with_endpoint(endpoint))
}

fn in_process(report: &mut Report, load: &Load) -> Result<(), Error> {
    let runtime = Runtime::new()?;
    let fleet = runtime.block_on(Fleet::admit(SESSIONS))?;
    let connect = || Inside::connect(&fleet, &runtime);
    add(report, "in_process", load, connect)
}

/// A connection between two in-process interfaces.
struct Inside<'a> {
    fleet: &'a Fleet,
    runtime: &'a Runtime,
    ends: [NetStream; 2],
    interface: Netstack,
    front: Option<Front>,
    _other: Netstack,
}

impl<'a> Inside<'a> {
    fn connect(fleet: &'a Fleet, runtime: &'a Runtime) -> Result<Self, Error> {
        let client = peer(0);
        let build = async |key: PrivateKey, address: &str| {
            let builder = Netstack::builder(key).listen("127.0.0.1:0".parse()?);
            Ok::<_, Error>(builder.address(address.parse()?).build().await?)
        };
        runtime.block_on(async {
            let interface = build(fleet.key.clone(), GATE).await?;
            let other = build(first_key(), &client.allowed_ips[0].to_string()).await?;
            interface.install(vec![client]).await?;
            let believed = gate_as_peer(fleet.key.public_key(), interface.local_addr())?;
            other.install(vec![believed]).await?;
            let mut listener = interface.listen(SERVICE.parse()?)?;
            let (near, far) = tokio::join!(
                other.connect_within(SERVICE.parse()?, PATIENCE),
                listener.accept()
            );
            Ok(Self {
                fleet,
                runtime,
                ends: [near?, far.ok_or("the interface is gone")?],
                interface,
                front: None,
                _other: other,
            })
        })
    }
}

impl Line for Inside<'_> {
    fn gate(&mut self, is_there: bool) -> Result<(), Error> {
        let interface = Arc::new(self.interface.clone());
        let turn = Front::turn(&mut self.front, is_there, self.fleet, interface, false);
        self.runtime.block_on(turn)
    }

    fn round(&mut self, mebibytes: usize) -> Result<(), Error> {
        let [near, far] = &mut self.ends;
        self.runtime.block_on(async {
            carry(near, far, mebibytes).await?;
            carry(far, near, mebibytes).await
        })
    }
}

async fn carry(from: &mut NetStream, to: &mut NetStream, mebibytes: usize) -> Result<(), Error> {
    let chunk = vec![7; 64 << 10];
    let (mut left, mut buffer) = (mebibytes << 20, vec![0; 64 << 10]);
    let send = async {
        for _ in 0..mebibytes * 16 {
            from.write_all(&chunk).await?;
        }
        from.flush().await
    };
    let receive = async {
        while left > 0 {
            let len = to.read(&mut buffer).await?;
            if len == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            left -= len;
        }
        Ok::<_, std::io::Error>(())
    };
    let (sent, received) = tokio::join!(send, receive);
    sent?;
    Ok(received?)
}

/// Rows of a backend that makes an interface of the system's.
fn system(
    report: &mut Report,
    backend: &str,
    load: &Load,
    make: impl AsyncFn(PrivateKey) -> Result<Arc<dyn InterfaceBackend>, Error> + Copy + Send + Sync,
) -> Result<(), Error> {
    let fleet = Runtime::new()?.block_on(Fleet::admit(SESSIONS))?;
    for (row, is_guarded) in [
        (backend.to_owned(), false),
        (format!("{backend}_guarded"), true),
    ] {
        if report.wants(&format!("interface.{row}_throughput")) {
            let connect = || Outside::connect(&fleet, is_guarded, backend == "kernel", make);
            add(report, &row, load, connect)?;
        }
    }
    Ok(())
}

/// A connection between two machines, which are namespaces, with an interface of the system's each.
struct Outside<'a> {
    fleet: &'a Fleet,
    is_guarded: bool,
    ends: [TcpStream; 2],
    front: Option<Front>,
    gate: (Runtime, Arc<dyn InterfaceBackend>),
    here: Space,
    _client: (Runtime, Arc<dyn InterfaceBackend>),
    _there: Space,
}

impl<'a> Outside<'a> {
    fn connect(
        fleet: &'a Fleet,
        is_guarded: bool,
        is_kernel: bool,
        make: impl AsyncFn(PrivateKey) -> Result<Arc<dyn InterfaceBackend>, Error> + Copy + Send + Sync,
    ) -> Result<Self, Error> {
        let (here, there) = (Space::new()?, Space::new()?);
        here.join("192.0.2.1/24", &there, "192.0.2.2/24")?;
        let gate = here.runtime(async || {
            let interface = make(fleet.key.clone()).await?;
            interface.install(vec![peer(0)]).await?;
            Ok(interface)
        })?;
        let address = peer(0).allowed_ips[0].addr();
        let address = format!("{address}/8").parse()?;
        let client = there.runtime(async || {
            let interface: Arc<dyn InterfaceBackend> = if is_kernel {
                let builder = KernelInterface::builder("wg1", first_key()).address(address);
                Arc::new(builder.create().await?)
            } else {
                let builder = Userspace::builder("wg1", first_key()).address(address);
                Arc::new(builder.build().await?)
            };
            let believed = gate_as_peer(fleet.key.public_key(), OUTSIDE.parse()?)?;
            interface.install(vec![believed]).await?;
            Ok(interface)
        })?;
        let listener = here.within(|| Ok(TcpListener::bind(SERVICE)?))?;
        let near = there.within(|| {
            let stream = TcpStream::connect_timeout(&SERVICE.parse()?, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        })?;
        let (far, _) = listener.accept()?;
        far.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            fleet,
            is_guarded,
            ends: [near, far],
            front: None,
            gate,
            here,
            _client: client,
            _there: there,
        })
    }
}

impl Line for Outside<'_> {
    fn gate(&mut self, is_there: bool) -> Result<(), Error> {
        let Self {
            fleet,
            is_guarded,
            front,
            gate: (runtime, interface),
            here,
            ..
        } = self;
        let interface = Arc::clone(interface);
        let turn = Front::turn(front, is_there, fleet, interface, *is_guarded);
        here.within(|| runtime.block_on(turn))
    }

    fn round(&mut self, mebibytes: usize) -> Result<(), Error> {
        let [near, far] = &self.ends;
        send(near, far, mebibytes)?;
        send(far, near, mebibytes)
    }
}

fn send(mut from: &TcpStream, mut to: &TcpStream, mebibytes: usize) -> Result<(), Error> {
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let chunk = vec![7; 64 << 10];
            (0..mebibytes * 16).try_for_each(|_| from.write_all(&chunk))
        });
        let (mut left, mut buffer) = (mebibytes << 20, vec![0; 64 << 10]);
        while left > 0 {
            match to.read(&mut buffer)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                len => left -= len,
            }
        }
        sender
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("the sender stopped")))
    });
    Ok(sent?)
}
