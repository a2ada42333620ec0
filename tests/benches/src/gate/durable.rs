//! Durable admissions over HTTP: from a client's first key to its preshared key, through a socket
//! on loopback, with the session on disk before the grant leaves the gate.
//!
//! One client at a time is compared with what can't be left out: the cryptographic primitives of
//! both sides, and one `fdatasync` of a page on the same disk. Each admission has these two beside
//! it, in turn; of each of the three the median counts. The code, read off a phone, is no part of
//! it, nor is the TCP connection, which a client keeps.
//!
//! What lies between is mostly waking threads: the way leads through a client, a worker of the gate
//! and the store's reader and back, twice, and through its writer once. That makes ten hand-overs,
//! and one is measured for comparison as it happens here: to a thread that has slept for a while.
//!
//! Clients at once have a connection each and share two processors with the gate.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mfagate::channel::Transport;
use mfagate::channel::message::Answer;
use mfagate::gate::Gate;
use mfagate::http::HttpTransport;
use mfagate::key::PublicKey;
use mfagate::store::AdminStore;
use mfagate::store::sqlite::SqliteStore;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::office::{Device, Office};
use super::primitives::{Messages, Primitives};
use crate::factor::totp::Totp;
use crate::floor::{Error, Flush};
use crate::measure::{Samples, median, micros, now, span};
use crate::report::{Report, Target};

/// Clients at once, and admissions of each in a round.
const CLIENTS: usize = 64;
const EACH: usize = 8;
const ROUNDS: usize = 5;
/// Hand-overs from thread to thread in one admission.
const HANDOVERS: u32 = 10;

/// Measures what is wanted of this subject.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    if !report.wants("gate.durable") {
        return Ok(());
    }
    let folder = tempfile::tempdir_in("target")?;
    let store = Arc::new(SqliteStore::open(folder.path().join("bench.db"))?);
    let server = Runtime::new()?;
    let of_gate: Arc<dyn AdminStore> = Arc::<SqliteStore>::clone(&store);
    let office = server.block_on(Office::open(of_gate, u32::try_from(CLIENTS * EACH)?))?;
    let control = server.block_on(serve(office.gate.clone()))?;
    let setting = Setting {
        office,
        control,
        store,
        server,
    };
    one(report, &setting, folder.path())?;
    many(report, &setting)?;
    setting.server.block_on(setting.office.gate.shutdown());
    Ok(())
}

/// A gate that is served, on threads of its own.
struct Setting {
    office: Office<Totp>,
    control: String,
    store: Arc<SqliteStore>,
    server: Runtime,
}

impl Setting {
    /// Lets a night pass, and what that sets off come to its end.
    fn next_day(&self) -> Result<(), Error> {
        self.server.block_on(async {
            self.office.next_day().await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(())
        })
    }

    /// How many flushes `work` made, for each of so many admissions.
    fn flushes(
        &self,
        admissions: usize,
        work: impl FnOnce() -> Result<(), Error>,
    ) -> Result<f64, Error> {
        let before = self.store.flushes();
        work()?;
        let flushed = u32::try_from(self.store.flushes() - before)?;
        Ok(f64::from(flushed) / f64::from(u32::try_from(admissions)?))
    }
}

fn one(report: &mut Report, setting: &Setting, folder: &Path) -> Result<(), Error> {
    let client = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let transport = HttpTransport::new(&setting.control)?;
    let gate = setting.office.gate.public_key();
    let mut log = Flush::new(folder)?;
    let first = setting.office.devices.first().ok_or("no device")?;
    setting.next_day()?;
    let messages = client.block_on(admit(&transport, first, &gate, first.code()?))?;
    let mut primitives = Primitives::new::<Totp>(messages)?;
    let sleeper = Sleeper::start()?;
    let (mut admissions, mut computed) = (Vec::new(), Vec::new());
    let (mut flushed, mut woken) = (Vec::new(), Vec::new());
    setting.next_day()?;
    let flushes = setting.flushes(setting.office.devices.len(), || {
        for device in &setting.office.devices {
            let code = device.code()?;
            let begun = now();
            client.block_on(admit(&transport, device, &gate, code))?;
            admissions.push(begun.elapsed());
            computed.push(span(|| {
                primitives.client();
                primitives.gate();
            }));
            let mut outcome = Ok(());
            flushed.push(span(|| outcome = log.once()));
            outcome?;
            woken.push(sleeper.wake());
        }
        Ok(())
    })?;
    let [admission, computed, flushed, woken] =
        [admissions, computed, flushed, woken].map(|spans| Samples::of(spans).median());
    for (name, span) in [
        ("gate.durable_p50", admission),
        ("gate.durable_primitives", computed),
        ("gate.durable_fdatasync", flushed),
        ("gate.durable_handover", woken),
    ] {
        report.add(name, micros(span), "µs", Target::Lower);
    }
    report.add(
        "gate.durable_p50_to_floor",
        admission.as_secs_f64() / (computed + flushed).as_secs_f64(),
        "ratio",
        Target::AtMost(1.5),
    );
    report.add(
        "gate.durable_p50_to_floor_and_handovers",
        admission.as_secs_f64() / (computed + flushed + HANDOVERS * woken).as_secs_f64(),
        "ratio",
        Target::Lower,
    );
    report.add(
        "gate.durable_flushes_1",
        flushes,
        "per admission",
        Target::Exactly(1.0),
    );
    Ok(())
}

/// An executor that sleeps until it is handed something, and hands it back.
struct Sleeper {
    forth: tokio::sync::mpsc::UnboundedSender<()>,
    back: mpsc::Receiver<()>,
    _executor: Runtime,
}

impl Sleeper {
    fn start() -> Result<Self, Error> {
        let executor = Runtime::new()?;
        let (forth, mut requests) = tokio::sync::mpsc::unbounded_channel();
        let (responses, back) = mpsc::channel();
        // Ends with the channel.
        executor.spawn(async move {
            while requests.recv().await.is_some() && responses.send(()).is_ok() {}
        });
        Ok(Self {
            forth,
            back,
            _executor: executor,
        })
    }

    /// How long one hand-over takes: half of the way there and back.
    fn wake(&self) -> Duration {
        let there_and_back = span(|| {
            if self.forth.send(()).is_ok() {
                _ = self.back.recv(); // the executor lives as long as both channels
            }
        });
        there_and_back / 2
    }
}

fn many(report: &mut Report, setting: &Setting) -> Result<(), Error> {
    let clients = Runtime::new()?;
    let (mut flushes, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        setting.next_day()?;
        let devices = &setting.office.devices;
        let begun = now();
        let flushed = setting.flushes(devices.len(), || {
            clients.block_on(async {
                let mut all = JoinSet::new();
                for mine in devices.chunks(EACH) {
                    all.spawn(admit_each(
                        HttpTransport::new(&setting.control)?,
                        mine.to_vec(),
                        setting.office.gate.public_key(),
                    ));
                }
                for outcome in all.join_all().await {
                    outcome?;
                }
                Ok(())
            })
        })?;
        flushes.push(flushed);
        rates.push(f64::from(u32::try_from(devices.len())?) / begun.elapsed().as_secs_f64());
    }
    let (flushes, rate) = (median(flushes), median(rates));
    report.add("gate.durable_rate_64", rate, "per second", Target::Higher);
    report.add(
        "gate.durable_flushes_64",
        flushes,
        "per admission",
        Target::AtMost(0.25),
    );
    Ok(())
}

async fn admit_each(
    transport: HttpTransport,
    devices: Vec<Device<Totp>>,
    gate: PublicKey,
) -> Result<(), String> {
    for device in devices {
        let code = device.code().map_err(|error| error.to_string())?;
        let admitted = admit(&transport, &device, &gate, code).await;
        admitted.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Takes a device through the whole ceremony. Gives the lengths of the messages.
async fn admit(
    transport: &HttpTransport,
    device: &Device<Totp>,
    gate: &PublicKey,
    code: Answer,
) -> Result<Messages, Error> {
    let mut begun = device.begin(gate)?;
    let hello = std::mem::take(&mut begun.body);
    let mut lengths = [hello.len(), 0, 0, 0];
    let challenge = transport.round_trip(hello).await?;
    let mut answered = begun.asked(&challenge)?.answer(code)?;
    let answer = std::mem::take(&mut answered.body);
    lengths[1..3].copy_from_slice(&[challenge.len(), answer.len()]);
    let grant = transport.round_trip(answer).await?;
    answered.admitted(&grant)?;
    lengths[3] = grant.len();
    Ok(Messages::in_bodies(lengths))
}

async fn serve(gate: Gate) -> Result<String, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let control = format!("http://{}", listener.local_addr()?);
    let app = mfagate::http::router(gate).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(control)
}
