//! What a store makes of one admission, in processor time: over memory, and SQLite's with its threads.

use std::path::Path;

use mfagate::audit::{AuditEvent, AuditKind};
use mfagate::id::UserId;
use mfagate::key::PublicKey;
use mfagate::store::sqlite::SqliteStore;
use mfagate::store::{AdminStore, FactorRecord, MemoryStore, NewSession, OpenOutcome, Peer, User};
use mfagate::time::Timestamp;
use tokio::runtime::{Builder, Runtime};

use super::records::{enrolment, factor, fill};
use super::store::new_session;
use crate::floor::Error;
use crate::measure::{Samples, cpu_now, micros};
use crate::report::{Report, Target};

/// Users, each with a peer and a factor, and admissions of each in one measurement.
const USERS: u32 = 64;
const EACH: u32 = 32;
const ROUNDS: u32 = 7;

/// Measures what is wanted of this subject.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    if !report.wants("gate.open_session_cpu") {
        return Ok(());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir_in(Path::new("target"))?;
    let sqlite = SqliteStore::open(folder.path().join("bench.db"))?;
    let memory = one(&runtime, &MemoryStore::new())?;
    let sqlite = one(&runtime, &sqlite)?;
    report.add("gate.open_session_cpu", memory, "µs", Target::Lower);
    report.add("gate.open_session_cpu_sqlite", sqlite, "µs", Target::Lower);
    let ratio = memory / sqlite;
    report.add(
        "gate.open_session_cpu_to_sqlite",
        ratio,
        "ratio",
        Target::Lower,
    );
    Ok(())
}

/// Microseconds of one admission: the median of the rounds.
fn one(runtime: &Runtime, store: &dyn AdminStore) -> Result<f64, Error> {
    runtime.block_on(async {
        for number in 0..USERS {
            enrol(store, number).await?;
        }
        let mut spans = Vec::new();
        for round in 1..=ROUNDS {
            let counters = (0..EACH).map(|nth| u64::from(round * EACH + nth));
            let all = counters.flat_map(|counter| (0..USERS).map(move |n| (n, counter)));
            let all: Result<Vec<_>, Error> =
                all.map(|(n, counter)| admission(n, counter)).collect();
            let all = all?;
            let before = cpu_now();
            for new in all {
                let opened = store.open_session(new).await?;
                if !matches!(opened, OpenOutcome::Opened { .. }) {
                    return Err(format!("an admission failed: {opened:?}").into());
                }
            }
            spans.push(cpu_now().saturating_sub(before) / (USERS * EACH));
        }
        Ok(micros(Samples::of(spans).median()))
    })
}

async fn enrol(store: &dyn AdminStore, number: u32) -> Result<(), Error> {
    let kind = AuditKind::UserPut { enabled: true };
    let event = || AuditEvent::new(Timestamp::from_millis(1), kind.clone());
    let user = owner(number)?;
    let put = User {
        id: user.clone(),
        enabled: true,
        groups: Vec::new(),
    };
    store.put_user(put, event()).await?;
    let peer = enrolment(PublicKey::from_bytes(fill(number))).peer;
    let peer = Peer {
        user: user.clone(),
        ..peer
    };
    store.put_peer(peer, event()).await?;
    let factor = FactorRecord {
        user,
        ..factor(number)
    };
    Ok(store.add_factor(factor, event()).await?)
}

fn admission(number: u32, counter: u64) -> Result<NewSession, Error> {
    Ok(NewSession {
        user: owner(number)?,
        ..new_session(number, counter)
    })
}

fn owner(number: u32) -> Result<UserId, Error> {
    Ok(format!("user{number}").parse()?)
}
