//! `gate.…`: what the gate's machine and its store cost.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mfagate::assurance::{Assurance, FactorKind};
use mfagate::audit::{AuditEvent, AuditKind};
use mfagate::channel::message::{Answer, Challenge, Request};
use mfagate::factor::Proof;
use mfagate::gate::{Action, Input, Intent, Machine};
use mfagate::id::{AttemptId, FactorId, Generation, LocationId, SessionId, UserId};
use mfagate::key::{PresharedKey, PublicKey};
use mfagate::policy::{Failures, Policy, Throttle};
use mfagate::seal::Sealed;
use mfagate::store::sqlite::SqliteStore;
use mfagate::store::{
    Enrolment, FactorRecord, FactorState, NewSession, Opened, Peer, PeerStore, User,
};
use mfagate::time::{Instant, Now, Timestamp};

use crate::floor::Error;
use crate::measure::Samples;
use crate::report::{Report, Target};

/// Live leases in the machine.
const LEASES: u32 = 1_000_000;
/// Admissions per measurement of the store, and callers at once.
const ADMISSIONS: u32 = 2048;
const CALLERS: u32 = 64;

/// Measures what is wanted of this subject.
pub(crate) fn rows(report: &mut Report) -> Result<(), Error> {
    if report.wants("gate.tick") || report.wants("gate.lease") {
        machine(report)?;
    }
    if report.wants("gate.open_session") {
        store(report)?;
    }
    Ok(())
}

fn machine(report: &mut Report) -> Result<(), Error> {
    let now = Now {
        instant: Instant::from_nanos(1_000_000_000),
        timestamp: Timestamp::from_millis(1_800_000_000_000),
    };
    let mut machine = Machine::new(location(), Policy::default(), now)?;
    machine.handle_input(
        now,
        Input::Start {
            sessions: Vec::new(),
            unreadable: Vec::new(),
            installed: Vec::new(),
        },
    );
    let before = resident()?;
    for number in 0..LEASES {
        admit(&mut machine, now, number);
    }
    let bytes = f64::from(u32::try_from(
        resident()?.saturating_sub(before) / u64::from(LEASES),
    )?);
    if machine.lease_count() != usize::try_from(LEASES)? {
        return Err("the machine does not hold what was admitted".into());
    }
    let tick = Samples::take(101, 1000, || machine.handle_timeout(now)).median();
    report.add(
        "gate.tick_idle_1m",
        tick.as_secs_f64() * 1e6,
        "µs",
        Target::AtMost(1.0),
    );
    report.add("gate.lease_memory", bytes, "bytes", Target::AtMost(512.0));
    Ok(())
}

/// Takes one peer through the whole ceremony, with every answer at once.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what an admission does not ask for"
)]
fn admit(machine: &mut Machine, now: Now, number: u32) {
    let (attempt, peer) = (
        AttemptId::from_bytes(fill(number)),
        PublicKey::from_bytes(fill(number)),
    );
    machine.handle_input(
        now,
        Input::Hello {
            attempt,
            peer,
            ephemeral: fill(number),
            sent_at: now.timestamp,
            intent: Intent::Begin,
            source: None,
        },
    );
    while let Some(action) = machine.poll_action() {
        let input = match action {
            Action::Find { attempt, .. } => Input::Found {
                attempt,
                result: Ok(Some(Box::new(enrolment(peer)))),
            },
            Action::Challenge { attempt, .. } => {
                let challenge = Challenge::Code {
                    kind: FactorKind::TOTP,
                    label: String::new(),
                    digits: 6,
                    locked_for_ms: None,
                };
                machine.handle_input(
                    now,
                    Input::Challenged {
                        attempt,
                        result: Ok(challenge),
                    },
                );
                let Ok(code) = "123456".parse() else { return };
                let request = Request::Answer {
                    answer: Answer::Code { code },
                };
                Input::Request { attempt, request }
            }
            Action::Verify {
                attempt, subject, ..
            } => {
                let proof = Proof {
                    factor: subject.factor.id,
                    assurance: assurance(now.timestamp),
                    consume: Some(1),
                };
                Input::Verified {
                    attempt,
                    result: Ok(proof),
                }
            }
            Action::Open { attempt, grant, .. } => Input::Opened {
                attempt,
                grant,
                session: session(number),
                result: Ok((
                    Opened::Opened {
                        generation: Generation::new(1),
                        superseded: None,
                    },
                    PresharedKey::from_bytes([7; 32]),
                )),
            },
            Action::Install { peers, .. } => Input::Installed {
                peers: peers.iter().map(|peer| peer.key).collect(),
                result: Ok(()),
            },
            _ => continue,
        };
        machine.handle_input(now, input);
    }
    while machine.poll_event().is_some() {}
}

fn store(report: &mut Report) -> Result<(), Error> {
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
        let mut flushes = 0.0_f64;
        for _ in 0..3 {
            let one = admissions(&store, 1, ADMISSIONS / 8, &mut round).await? * 8;
            let before = store.flushes();
            let many = admissions(&store, CALLERS, ADMISSIONS, &mut round).await?;
            let flushed = u32::try_from(store.flushes() - before)?;
            flushes = flushes.max(f64::from(flushed) / f64::from(ADMISSIONS));
            ratios.push(one.as_secs_f64() / many.as_secs_f64());
        }
        ratios.sort_by(f64::total_cmp);
        report.add(
            "gate.open_session_64_to_1",
            ratios[1],
            "ratio",
            Target::AtLeast(8.0),
        );
        report.add(
            "gate.open_session_flushes_64",
            flushes,
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
                    if !matches!(opened, Ok(Opened::Opened { .. })) {
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

fn new_session(caller: u32, step: u64) -> NewSession {
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
        psk: Sealed::from_bytes(vec![7; 80]),
        assurance: vec![assurance(at)],
        consume: vec![mfagate::store::Consume {
            factor: factor(caller).id,
            step: Some(step),
        }],
        throttle: Throttle::default(),
        event: AuditEvent::new(
            at,
            AuditKind::Admitted {
                not_after: at,
                factors: Vec::new(),
            },
        ),
    }
}

fn enrolment(peer: PublicKey) -> Enrolment {
    Enrolment {
        peer: Peer {
            location: location(),
            key: peer,
            user: user(),
            allowed_ips: "10.0.0.2/32".parse().into_iter().collect(),
            label: String::new(),
            enabled: true,
        },
        user: User {
            id: user(),
            enabled: true,
        },
        factors: vec![factor(0)],
    }
}

fn factor(number: u32) -> FactorRecord {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    FactorRecord {
        id: FactorId::from_bytes(id),
        user: user(),
        kind: FactorKind::TOTP,
        label: String::new(),
        sealed: Sealed::from_bytes(vec![7; 80]),
        state: FactorState::Active,
        last_step: None,
        failures: Failures::default(),
    }
}

fn assurance(at: Timestamp) -> Assurance {
    Assurance {
        kind: FactorKind::TOTP,
        phishing_resistant: false,
        user_verified: false,
        replay_resistant: true,
        authenticated_at: at,
    }
}

fn location() -> LocationId {
    "bench"
        .parse()
        .unwrap_or_else(|_| unreachable!("a valid name"))
}

fn user() -> UserId {
    "bench"
        .parse()
        .unwrap_or_else(|_| unreachable!("a valid name"))
}

fn session(number: u32) -> SessionId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B1).to_be_bytes());
    id[4..8].copy_from_slice(&number.to_be_bytes());
    SessionId::from_bytes(id)
}

/// Bytes that spread like a key's.
fn fill(number: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B1).to_be_bytes());
    bytes[4..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// Bytes of memory that this process holds.
fn resident() -> Result<u64, Error> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .unwrap_or_default()
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib * 1024)
}
