//! From `remove` to a peer's last packet, on the in-process interface.
//!
//! A client writes through its tunnel as fast as it can, and the service inside sends everything
//! back, so that datagrams pass in both directions when the gate's side is told to remove the
//! client. They go through a relay, which notes when each one of the gate's goes by; the service
//! notes when it is given bytes. The figure is the time from the *call* of `remove` to the last of
//! either, over many removals: an end that was already on its way into the service, or that the
//! relay had not got round to, counts as late. What comes after `remove` has returned has a row
//! of its own.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mfagate::interface::netstack::{NetListener, Netstack};
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::floor::Error;
use crate::measure::{Samples, now};
use crate::report::{Report, Target};

/// Removals that are measured.
const REMOVALS: u32 = 300;
/// How long traffic runs before a removal, and how long it is looked for after.
const RUNNING: Duration = Duration::from_millis(15);
const LOOKING: Duration = Duration::from_millis(40);
/// How long a connection may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);
const SERVICE: &str = "10.9.0.1:7";

/// Measures what is wanted of this subject.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    if !report.wants("gate.removal") {
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let setting = Setting::start().await?;
        let (mut last, mut late) = (Vec::new(), 0_u32);
        for _ in 0..REMOVALS {
            let removal = setting.remove().await?;
            last.push(removal.to_last);
            late += u32::from(removal.after_return > Duration::ZERO);
        }
        let last = Samples::of(last);
        for (name, percent, target) in [
            ("gate.removal_p50", 50, Target::Lower),
            ("gate.removal_p99", 99, Target::AtMost(5.0)),
            ("gate.removal_longest", 100, Target::Lower),
        ] {
            let millis = last.percentile(percent).as_secs_f64() * 1e3;
            report.add(name, millis, "ms", target);
        }
        report.add(
            "gate.removal_seen_after_return",
            f64::from(late) / f64::from(REMOVALS),
            "per removal",
            Target::Lower,
        );
        Ok(())
    })
}

/// When something was last seen, in nanoseconds since a start; 0 for never.
#[derive(Clone)]
struct LastSeen {
    start: Instant,
    at: Arc<AtomicU64>,
    count: Arc<AtomicU64>,
}

impl LastSeen {
    fn new(start: Instant) -> Self {
        Self {
            start,
            at: Arc::default(),
            count: Arc::default(),
        }
    }

    fn note(&self) {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.at.fetch_max(nanos, Ordering::SeqCst);
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    fn last(&self) -> Instant {
        self.start + Duration::from_nanos(self.at.load(Ordering::SeqCst))
    }
}

/// What one removal showed: zero where nothing came after.
struct Removal {
    to_last: Duration,
    after_return: Duration,
}

/// The gate's side, its client, and who watches between and behind them.
struct Setting {
    gate: Netstack,
    client: Netstack,
    of_gate: PeerConfig,
    of_client: PeerConfig,
    sent: LastSeen,
    served: LastSeen,
}

impl Setting {
    async fn start() -> Result<Self, Error> {
        let (gate_key, client_key) = (PrivateKey::generate()?, PrivateKey::generate()?);
        let psk = Some(PresharedKey::from_bytes([3; 32]));
        let gate = netstack(&gate_key, "10.9.0.1/24").await?;
        let client = netstack(&client_key, "10.9.0.2/32").await?;
        let start = now();
        let (sent, served) = (LastSeen::new(start), LastSeen::new(start));
        let relay = relay(gate.local_addr(), client.local_addr(), sent.clone())?;
        serve(gate.listen(SERVICE.parse()?)?, &served);
        let inside = vec!["10.9.0.0/24".parse()?];
        Ok(Self {
            gate,
            client,
            of_gate: PeerConfig::new(gate_key.public_key(), psk.clone(), inside)
                .with_endpoint(relay),
            of_client: PeerConfig::new(client_key.public_key(), psk, vec!["10.9.0.2/32".parse()?]),
            sent,
            served,
        })
    }

    /// Installs the client, has traffic run at full speed, and removes the client.
    async fn remove(&self) -> Result<Removal, Error> {
        let client: PublicKey = self.of_client.key;
        self.gate.install(vec![self.of_client.clone()]).await?;
        // Again: the client begins with a handshake instead of waiting for its old session to fail.
        self.client.install(vec![self.of_gate.clone()]).await?;
        let stream = self
            .client
            .connect_within(SERVICE.parse()?, PATIENCE)
            .await?;
        let (mut back, mut forth) = tokio::io::split(stream);
        let traffic = [
            tokio::spawn(async move { while forth.write_all(&[7; 16_384]).await.is_ok() {} }),
            tokio::spawn(async move {
                let mut buffer = vec![0; 16_384];
                while matches!(back.read(&mut buffer).await, Ok(1..)) {}
            }),
        ];
        let before = (self.sent.count(), self.served.count());
        tokio::time::sleep(RUNNING).await;
        let passed = (self.sent.count() - before.0, self.served.count() - before.1);
        if passed.0 < 20 || passed.1 < 5 {
            return Err(format!("too little traffic to remove in the midst of: {passed:?}").into());
        }
        let called = now();
        self.gate.remove(&[client]).await?;
        let returned = now();
        tokio::time::sleep(LOOKING).await;
        for task in traffic {
            task.abort();
        }
        let last = self.sent.last().max(self.served.last());
        Ok(Removal {
            to_last: last.saturating_duration_since(called),
            after_return: last.saturating_duration_since(returned),
        })
    }
}

async fn netstack(key: &PrivateKey, address: &str) -> Result<Netstack, Error> {
    let built = Netstack::builder(key.clone())
        .listen("127.0.0.1:0".parse()?)
        .address(address.parse()?)
        .build();
    Ok(built.await?)
}

/// Sends everything back, and notes when it is given anything.
fn serve(mut listener: NetListener, served: &LastSeen) {
    let served = served.clone();
    tokio::spawn(async move {
        while let Some(mut stream) = listener.accept().await {
            let served = served.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 16_384];
                while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                    served.note();
                    if stream.write_all(&buffer[..len]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Passes datagrams on between the two, and notes when one of the gate's goes by. Two threads,
/// since tasks would wait for their turn behind the very work that they watch.
fn relay(gate: SocketAddr, client: SocketAddr, sent: LastSeen) -> Result<SocketAddr, Error> {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0")?);
    let behind = Arc::new(UdpSocket::bind("127.0.0.1:0")?);
    behind.connect(gate)?;
    let address = socket.local_addr()?;
    let (from_client, to_gate) = (Arc::clone(&socket), Arc::clone(&behind));
    // The threads end with the process: they wait in the kernel and hold nothing else.
    std::thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok(len) = from_client.recv(&mut datagram) {
            _ = to_gate.send(&datagram[..len]); // what does not fit is lost, as on any network
        }
    });
    std::thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok(len) = behind.recv(&mut datagram) {
            sent.note();
            _ = socket.send_to(&datagram[..len], client);
        }
    });
    Ok(address)
}
