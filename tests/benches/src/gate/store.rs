//! What the store makes of many admissions at once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mfagate::audit::{AuditEvent, AuditKind};
use mfagate::id::SessionId;
use mfagate::key::PublicKey;
use mfagate::policy::Throttle;
use mfagate::seal::Sealed;
use mfagate::store::sqlite::SqliteStore;
use mfagate::store::{AdminStore, NewSession, OpenOutcome, PeerStore, User};
use mfagate::time::Timestamp;

use super::records::{assurance, enrolment, factor, fill, location, user};
use crate::floor::Error;
use crate::measure::median;
use crate::report::{Report, Target};

/// Admissions per measurement, and callers at once.
const ADMISSIONS: u32 = 2048;
const CALLERS: u32 = 64;

/// Measures what is wanted of this subject.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    if !report.wants("gate.open_session") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let folder = tempfile::tempdir_in(Path::new("target"))?;
    let store = Arc::new(SqliteStore::open(folder.path().join("bench.db"))?);
    runtime.block_on(async {
        let event = || {
            AuditEvent::new(
                Timestamp::from_millis(1),
                AuditKind::UserPut { enabled: true },
            )
        };
        store
            .put_user(
                User {
                    id: user(),
                    enabled: true,
                    groups: Vec::new(),
                },
                event(),
            )
            .await?;
        for number in 0..CALLERS {
            let peer = PublicKey::from_bytes(fill(number));
            store.put_peer(enrolment(peer).peer, event()).await?;
            store.add_factor(factor(number), event()).await?;
        }
        let mut round = 0;
        let mut ratios = Vec::new();
        let mut flushes = Vec::new();
        for _ in 0..5 {
            let one = admissions(&store, 1, ADMISSIONS / 8, &mut round).await? * 8;
            let before = store.flushes();
            let many = admissions(&store, CALLERS, ADMISSIONS, &mut round).await?;
            let flushed = u32::try_from(store.flushes() - before)?;
            flushes.push(f64::from(flushed) / f64::from(ADMISSIONS));
            ratios.push(one.as_secs_f64() / many.as_secs_f64());
        }
        report.add(
            "gate.open_session_64_to_1",
            median(ratios),
            "ratio",
            Target::AtLeast(8.0),
        );
        report.add(
            "gate.open_session_flushes_64",
            median(flushes),
            "per admission",
            Target::AtMost(0.25),
        );
        Ok(())
    })
}

/// How long so many admissions take, by so many callers at once.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures by the monotonic clock"
)]
async fn admissions(
    store: &Arc<SqliteStore>,
    callers: u32,
    count: u32,
    round: &mut u64,
) -> Result<Duration, Error> {
    *round += 1_000_000;
    let first = *round;
    let begun = std::time::Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for nth in 0..count / callers {
                    let opened = store
                        .open_session(new_session(caller, first + u64::from(nth)))
                        .await;
                    if !matches!(opened, Ok(OpenOutcome::Opened { .. })) {
                        return Err(format!("an admission failed: {opened:?}"));
                    }
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(begun.elapsed())
}

pub(super) fn new_session(caller: u32, step: u64) -> NewSession {
    let at = Timestamp::from_millis(1_800_000_000_000);
    let mut id = [0; 16];
    id[..4].copy_from_slice(&caller.to_be_bytes());
    id[8..].copy_from_slice(&step.to_be_bytes());
    NewSession {
        id: SessionId::from_bytes(id),
        location: location(),
        peer: PublicKey::from_bytes(fill(caller)),
        user: user(),
        allowed_ips: Vec::new(),
        verified_at: at,
        not_after: at + Duration::from_secs(3600),
        renewable_until: at + Duration::from_secs(3600),
        psk: Sealed::from_bytes(vec![7; 80]),
        assurance: vec![assurance(at)],
        factor_uses: vec![mfagate::store::FactorUse {
            factor: factor(caller).id,
            counter: Some(step),
            replace_secret: None,
            credential: None,
        }],
        throttle: Throttle::default(),
        most_per_user: None,
        event: AuditEvent::new(
            at,
            AuditKind::Admitted {
                not_after: at,
                factors: Vec::new(),
            },
        ),
    }
}
