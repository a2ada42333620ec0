//! What a gate costs the packets that pass it: bytes per second with a gate in front of the
//! interface, over those without, on the same backend, in turn.
//!
//! Without: a client's peer on the interface, and nothing else. With: the same peer, admitted by a
//! gate that runs, among others. Where the interface is one of the system's, also behind a gate
//! with a lease guard.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use mfagate::interface::kernel::KernelInterface;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::netstack::{NetStream, Netstack};
use mfagate::interface::userspace::Userspace;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PrivateKey, PublicKey};
use mfagate::runtime::Gate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use super::fleet::{Fleet, first_key, peer};
use super::network::Space;
use crate::floor::Error;
use crate::measure::{Pair, median};
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

/// How much goes through in a round, in each direction, how many rounds there are, and how often
/// all of it is set up anew: a connection has its luck.
struct Load {
    mebibytes: usize,
    rounds: u32,
    lines: u32,
}

/// Measures what is wanted, but for the kernel's.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    let load = Load {
        mebibytes: 16,
        rounds: 13,
        lines: 7,
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
        rounds: 13,
        lines: 5,
    };
    let make = async |key: PrivateKey| {
        let builder = KernelInterface::builder("wg0", key).listen_port(51820);
        let made = builder.address(GATE.parse()?).create().await?;
        let made: Arc<dyn InterfaceBackend> = Arc::new(made);
        Ok::<_, Error>(made)
    };
    system(report, "kernel", &load, make)
}

/// Adds the rows of a backend, of which each pair is a line without a gate, and one with.
fn add(report: &mut Report, backend: &str, load: &Load, pairs: &[Pair]) -> Result<(), Error> {
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

/// The gate, as a client's peer.
fn gate_as_peer(key: PublicKey, endpoint: SocketAddr) -> Result<PeerConfig, Error> {
    let inside = vec!["10.0.0.0/8".parse()?];
    Ok(PeerConfig::new(key, peer(0).psk, inside).with_endpoint(endpoint))
}

fn in_process(report: &mut Report, load: &Load) -> Result<(), Error> {
    let runtime = Runtime::new()?;
    let fleet = runtime.block_on(Fleet::admit(SESSIONS))?;
    let connect = |is_gated| runtime.block_on(Inside::connect(&fleet, is_gated));
    let round = |line: &mut Inside| runtime.block_on(line.round(load.mebibytes));
    add(report, "in_process", load, &pairs(load, connect, round)?)
}

/// Measures lines without a gate and lines with one, two at a time; which is made first alternates.
fn pairs<L>(
    load: &Load,
    connect: impl Fn(bool) -> Result<L, Error>,
    round: impl Fn(&mut L) -> Result<(), Error>,
) -> Result<Vec<Pair>, Error> {
    let mut pairs = Vec::new();
    for line in 0..load.lines {
        let is_gated = line % 2 == 0;
        let (first, second) = (connect(is_gated)?, connect(!is_gated)?);
        let (mut with, mut without) = if is_gated {
            (first, second)
        } else {
            (second, first)
        };
        let outcome = std::cell::RefCell::new(Ok(()));
        let round = |line: &mut L| {
            let mut outcome = outcome.borrow_mut();
            if outcome.is_ok() {
                *outcome = round(line);
            }
        };
        let pair = Pair::take(load.rounds, 1, || round(&mut without), || round(&mut with));
        outcome.into_inner()?;
        pairs.push(pair);
    }
    Ok(pairs)
}

/// A connection between two in-process interfaces.
struct Inside {
    ends: [NetStream; 2],
    _interfaces: [Netstack; 2],
    _gate: Option<Gate>,
}

impl Inside {
    async fn connect(fleet: &Fleet, is_gated: bool) -> Result<Self, Error> {
        let client = peer(0);
        let build = async |key: PrivateKey, address: &str| {
            let builder = Netstack::builder(key).listen("127.0.0.1:0".parse()?);
            Ok::<_, Error>(builder.address(address.parse()?).build().await?)
        };
        let interface = build(fleet.key.clone(), GATE).await?;
        let other = build(first_key(), &client.allowed_ips[0].to_string()).await?;
        let gate = if is_gated {
            Some(fleet.open(Arc::new(interface.clone())).await?)
        } else {
            interface.install(vec![client]).await?;
            None
        };
        let believed = gate_as_peer(fleet.key.public_key(), interface.local_addr())?;
        other.install(vec![believed]).await?;
        let mut listener = interface.listen(SERVICE.parse()?)?;
        let (near, far) = tokio::join!(
            other.connect_within(SERVICE.parse()?, PATIENCE),
            listener.accept()
        );
        Ok(Self {
            ends: [near?, far.ok_or("the interface is gone")?],
            _interfaces: [interface, other],
            _gate: gate,
        })
    }

    /// Sends so much there, and then back.
    async fn round(&mut self, mebibytes: usize) -> Result<(), Error> {
        let [near, far] = &mut self.ends;
        carry(near, far, mebibytes).await?;
        carry(far, near, mebibytes).await
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
    for (row, gated) in [
        (backend.to_owned(), Front::Gate),
        (format!("{backend}_guarded"), Front::Guarded),
    ] {
        if report.wants(&format!("interface.{row}_throughput")) {
            let connect = |is_gated| {
                let front = if is_gated { gated } else { Front::Nothing };
                Outside::connect(&fleet, front, backend == "kernel", make)
            };
            let round = |line: &mut Outside| line.round(load.mebibytes);
            add(report, &row, load, &pairs(load, connect, round)?)?;
        }
    }
    Ok(())
}

/// What is in front of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Front {
    Nothing,
    Gate,
    /// A gate, with a lease guard.
    Guarded,
}

/// A connection between two machines, which are namespaces, with an interface of the system's each.
struct Outside {
    ends: [TcpStream; 2],
    _client: (Runtime, Arc<dyn InterfaceBackend>),
    _gate: (Runtime, Held),
    _spaces: [Space; 2],
}

/// What has to stay while packets pass.
struct Held {
    _interface: Arc<dyn InterfaceBackend>,
    _gate: Option<Gate>,
}

impl Outside {
    fn connect(
        fleet: &Fleet,
        front: Front,
        is_kernel: bool,
        make: impl AsyncFn(PrivateKey) -> Result<Arc<dyn InterfaceBackend>, Error> + Copy + Send + Sync,
    ) -> Result<Self, Error> {
        let (here, there) = (Space::new()?, Space::new()?);
        here.join("192.0.2.1/24", &there, "192.0.2.2/24")?;
        let gate = here.runtime(async || {
            let mut interface = make(fleet.key.clone()).await?;
            if front == Front::Guarded {
                interface = Arc::new(LeaseGuard::around(interface, "wg0").await?);
            }
            let gate = if front == Front::Nothing {
                interface.install(vec![peer(0)]).await?;
                None
            } else {
                Some(fleet.open(Arc::clone(&interface)).await?)
            };
            Ok(Held {
                _interface: interface,
                _gate: gate,
            })
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
            ends: [near, far],
            _client: client,
            _gate: gate,
            _spaces: [here, there],
        })
    }

    /// Sends so much there, and then back.
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
