//! What an admission costs the gate's processor, against its cryptographic primitives: the rows by
//! one-time password, and the harness for other factors.
//!
//! The gate's part is [`Gate::handle`](mfagate::gate::Gate::handle) of the two bodies, with all
//! that it sets off: tasks, machine, verifier, store and reply. It is measured in processor time of
//! the whole process, user and system, while nothing else runs: the clients' parts are done before
//! and after, untimed. The carrier (HTTP) is not in it, nor is the interface. Everything runs on
//! one thread but the SQLite store, which has its own, counted too.

use std::sync::Arc;
use std::time::Duration;

use mfagate::store::sqlite::SqliteStore;
use mfagate::store::{AdminStore, MemoryStore};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use super::office::{Answered, Office};
use super::primitives::{GATE_AGREEMENTS, GATE_PUBLIC_KEYS, Messages, Primitives};
use crate::factor::Factor;
use crate::factor::totp::Totp;
use crate::floor::{self, Error};
use crate::measure::{Samples, cpu, micros};
use crate::report::{Report, Target};

/// Admissions per round: all are under way at once.
const ADMISSIONS: u32 = 64;

/// Measures what is wanted of this subject.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    if !report.wants("gate.admission_cpu") {
        return Ok(());
    }
    let folder = tempfile::tempdir_in("target")?;
    let memory = Costs::measure::<Totp>(|| Ok(Arc::new(MemoryStore::new())))?;
    let sqlite = Costs::measure::<Totp>(|| {
        let store = SqliteStore::open(folder.path().join("bench.db"))?;
        Ok(Arc::new(store))
    })?;
    report.add(
        "gate.admission_cpu",
        micros(memory.gate),
        "µs",
        Target::Lower,
    );
    report.add(
        "gate.admission_cpu_to_primitives",
        memory.to_primitives(),
        "ratio",
        Target::AtMost(1.5),
    );
    report.add(
        "gate.admission_cpu_to_fastest",
        memory.gate.as_secs_f64() / memory.fastest.as_secs_f64(),
        "ratio",
        Target::AtMost(2.0),
    );
    // With the store's own work, which is on disk and no cryptography: for information.
    report.add(
        "gate.admission_cpu_sqlite",
        micros(sqlite.gate),
        "µs",
        Target::Lower,
    );
    report.add(
        "gate.admission_cpu_sqlite_to_primitives",
        sqlite.to_primitives(),
        "ratio",
        Target::Lower,
    );
    Ok(())
}

/// Processor time of one admission: medians over rounds in turn.
pub(crate) struct Costs {
    pub(crate) gate: Duration,
    /// The primitives by the crates that the gate uses.
    primitives: Duration,
    /// The primitives with X25519 and ML-KEM by whatever is fastest.
    fastest: Duration,
}

impl Costs {
    /// Measures admissions by a factor, with a store.
    pub(crate) fn measure<F: Factor>(
        store: impl FnOnce() -> Result<Arc<dyn AdminStore>, Error>,
    ) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let office = runtime.block_on(Office::<F>::open(store()?, ADMISSIONS))?;
        let (_, messages) = runtime.block_on(admit_all(&office))?;
        let mut primitives = Primitives::new::<F>(messages)?;
        let (mut gate, mut same, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        let (mut public, mut agreement, mut ml_kem) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..F::ROUNDS {
            gate.push(runtime.block_on(admit_all(&office))?.0);
            let mut each = |call: fn(&mut Primitives)| {
                cpu(|| (0..ADMISSIONS).for_each(|_| call(&mut primitives))) / ADMISSIONS
            };
            same.push(each(Primitives::gate));
            rest.push(each(Primitives::gate_rest));
            public.push(each(Primitives::public_key));
            agreement.push(each(Primitives::agreement));
            ml_kem.push(each(Primitives::ml_kem));
        }
        runtime.block_on(office.gate.shutdown());
        let [gate, primitives, rest, public, agreement, ml_kem] =
            [gate, same, rest, public, agreement, ml_kem].map(|spans| Samples::of(spans).median());
        let agreement = agreement.min(floor::x25519_openssl()?);
        Ok(Self {
            gate,
            primitives,
            fastest: rest + ml_kem + GATE_PUBLIC_KEYS * public + GATE_AGREEMENTS * agreement,
        })
    }

    /// How many times the primitives' time the gate takes.
    pub(crate) fn to_primitives(&self) -> f64 {
        self.gate.as_secs_f64() / self.primitives.as_secs_f64()
    }
}

/// Admits every device once. Gives the gate's processor time for one, and the messages' lengths.
async fn admit_all<F: Factor>(office: &Office<F>) -> Result<(Duration, Messages), Error> {
    office.next_day().await?;
    let key = office.gate.public_key();
    let (mut begun, mut hellos) = (Vec::new(), Vec::new());
    for device in &office.devices {
        let mut client = device.begin(&key)?;
        hellos.push(std::mem::take(&mut client.body));
        begun.push(client);
    }
    let hello = length(&hellos);
    let (challenges, greeting) = handle_all(office, hellos).await?;
    let mut answered = Vec::new();
    for ((client, challenge), device) in begun.into_iter().zip(&challenges).zip(&office.devices) {
        let asked = client.asked(challenge)?;
        let answer = device.answer(&key, &asked).await?;
        answered.push(asked.answer(answer)?);
    }
    let answers: Vec<_> = answered
        .iter_mut()
        .map(|client: &mut Answered| std::mem::take(&mut client.body))
        .collect();
    let answer = length(&answers);
    let (grants, granting) = handle_all(office, answers).await?;
    for (client, grant) in answered.into_iter().zip(&grants) {
        client.admitted(grant)?;
    }
    let lengths = [hello, length(&challenges), answer, length(&grants)];
    let messages = Messages::in_bodies(lengths);
    Ok(((greeting + granting) / ADMISSIONS, messages))
}

/// How long these bodies are: all alike.
fn length(bodies: &[Vec<u8>]) -> usize {
    bodies.first().map_or(0, Vec::len)
}

/// Has the gate handle all these bodies at once. Gives the responses in the bodies' order, and the
/// processor time.
async fn handle_all<F>(
    office: &Office<F>,
    bodies: Vec<Vec<u8>>,
) -> Result<(Vec<Vec<u8>>, Duration), Error> {
    let before = crate::measure::cpu_now();
    let mut requests = JoinSet::new();
    for (index, body) in bodies.into_iter().enumerate() {
        let gate = office.gate.clone();
        requests.spawn(async move { (index, gate.handle(body, None).await) });
    }
    let mut responses = requests.join_all().await;
    let spent = crate::measure::cpu_now().saturating_sub(before);
    responses.sort_unstable_by_key(|(index, _)| *index);
    let responses: Result<_, _> = responses.into_iter().map(|(_, body)| body).collect();
    Ok((responses?, spent))
}
