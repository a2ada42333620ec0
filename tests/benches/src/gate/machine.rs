//! What the machine's ticks cost and what it keeps, with 1,000,000 live leases.
//!
//! Each lease is one that a whole ceremony led to; one begins every millisecond, so that their
//! ends lie as far apart. Peers' keys are spread like real ones, so that what is due lies
//! scattered in memory.

use std::time::Duration;

use mfagate::channel::engine::Request;
use mfagate::channel::message::{Answer, Challenge, Posture};
use mfagate::factor::Proof;
use mfagate::gate::engine::{Action, Input, Intent, Machine, Unlisted};
use mfagate::id::{AttemptId, Generation};
use mfagate::key::{PresharedKey, PublicKey};
use mfagate::policy::Policy;
use mfagate::store::OpenOutcome;
use mfagate::time::{Instant, Now, Timestamp};

use super::records::{assurance, enrolment, fill, location, session};
use crate::floor::Error;
use crate::measure::{self, Samples, micros};
use crate::memory;
use crate::report::{Report, Target};

/// Live leases: many, and as many as a small gate has.
const MANY: u32 = 1_000_000;
const FEW: u32 = 10_000;
/// Leases that end in one tick, ticks in a round, and rounds; in a further tick of each round as
/// many leases end as in all those ticks together.
const ENDING: u32 = 50;
const TICKS: u32 = 20;
const ROUNDS: u32 = 9;
/// Between one lease's beginning and the next one's.
const APART: Duration = Duration::from_millis(1);
/// From a lease's beginning to its end.
const LEASE: Duration = Duration::from_secs(8 * 3600);

/// Measures what is wanted of this context.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    if !report.wants("gate.tick") && !report.wants("gate.lease") {
        return Ok(());
    }
    let resident = resident()?;
    let (many, grown) = memory::growth(|| Leases::admit(MANY));
    let resident = self::resident()?.saturating_sub(resident);
    let mut many = many?;
    let per_lease = |bytes: u64| -> Result<f64, Error> {
        Ok(f64::from(u32::try_from(bytes / u64::from(MANY))?))
    };
    report.add(
        "gate.lease_memory",
        per_lease(u64::try_from(grown)?)?,
        "bytes",
        Target::AtMost(512.0),
    );
    report.add(
        "gate.lease_resident",
        per_lease(resident)?,
        "bytes",
        Target::Lower,
    );
    let now = moment(LEASE / 4);
    let idle = Samples::take(101, 1000, || many.machine.handle_timeout(now)).median();
    report.add("gate.tick_idle_1m", micros(idle), "µs", Target::AtMost(1.0));
    due(report, &mut many)
}

/// What a tick costs in which leases end, for each of them. `O(due)` says that it is the same for
/// any number that end, and nearly the same for any number that don't: finding one among a
/// hundred times as many takes a few steps more, in memory that no cache holds.
fn due(report: &mut Report, many: &mut Leases) -> Result<(), Error> {
    let mut few = Leases::admit(FEW)?;
    let (mut among_many, mut among_few, mut in_bulk) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for _ in 0..TICKS {
            among_many.push(many.end(ENDING)?);
            among_few.push(few.end(ENDING)?);
        }
        in_bulk.push(many.end(ENDING * TICKS)?);
    }
    let [among_many, among_few, in_bulk] =
        [among_many, among_few, in_bulk].map(|spans| Samples::of(spans).median());
    report.add(
        "gate.tick_due_1m",
        micros(among_many),
        "µs/lease",
        Target::Lower,
    );
    report.add(
        "gate.tick_due_1000_to_50",
        in_bulk.as_secs_f64() / among_many.as_secs_f64(),
        "ratio",
        Target::AtMost(1.5),
    );
    report.add(
        "gate.tick_due_1m_to_10k",
        among_many.as_secs_f64() / among_few.as_secs_f64(),
        "ratio",
        Target::AtMost(3.0),
    );
    Ok(())
}

/// A machine with so many live leases.
struct Leases {
    machine: Machine,
    /// How many have ended.
    ended: u32,
}

impl Leases {
    fn admit(count: u32) -> Result<Self, Error> {
        let begun = moment(Duration::ZERO);
        let mut policy = Policy::default();
        policy.lease = LEASE;
        policy.max_age = LEASE;
        // Every warning is given before the first lease ends.
        policy.warn_before = LEASE / 2;
        let mut machine = Machine::new(location(), policy, begun)?;
        let (sessions, installed) = (Vec::new(), Vec::new());
        let (unreadable, refused) = (Vec::new(), Vec::new());
        machine.handle_input(
            begun,
            Input::Start {
                sessions,
                unreadable,
                refused,
                installed,
            },
        );
        for number in 0..count {
            admit(&mut machine, moment(APART * number), number);
        }
        // First messages are remembered for as long as clocks may differ. A last admission, some
        // time later, has the machine forget them: what is left is what a live lease takes.
        admit(&mut machine, moment(LEASE / 4), count);
        if machine.lease_count() != usize::try_from(count)? + 1 {
            return Err("the machine does not hold what was admitted".into());
        }
        Ok(Self { machine, ended: 0 })
    }

    /// Has the next so many leases end in one tick; gives what that took for each.
    fn end(&mut self, count: u32) -> Result<Duration, Error> {
        // The warnings come first, untimed: at the first call all of them, then none.
        self.machine.handle_timeout(moment(LEASE - APART));
        while self.machine.poll_event().is_some() {}
        self.ended += count;
        let now = moment(LEASE + APART * (self.ended - 1));
        let mut removals = Vec::new();
        let machine = &mut self.machine;
        let span = measure::span(|| {
            machine.handle_timeout(now);
            while let Some(action) = machine.poll_action() {
                removals.push(action);
            }
        });
        let mut removed = 0;
        for action in removals {
            if let Action::Remove { peers } = action {
                removed += peers.len();
                let result = Ok(());
                machine.handle_input(now, Input::Removed { peers, result });
            }
        }
        while let Some(action) = machine.poll_action() {
            if let Action::Close { session, .. } = action {
                let result = Ok(());
                machine.handle_input(now, Input::Closed { session, result });
            }
        }
        while machine.poll_event().is_some() {}
        if removed != usize::try_from(count)? {
            return Err(format!("{removed} leases ended in a tick, not {count}").into());
        }
        Ok(span / count)
    }
}

/// The time so long after the beginning, by both clocks.
fn moment(since: Duration) -> Now {
    Now {
        instant: Instant::from_nanos(1_000_000_000) + since,
        timestamp: Timestamp::from_millis(1_800_000_000_000) + since,
    }
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
            posture: Posture::default(),
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
                let challenge = Challenge::Code { digits: 6 };
                machine.handle_input(
                    now,
                    Input::Challenged {
                        attempt,
                        result: Ok(challenge.into()),
                    },
                );
                let Ok(code) = "123456".parse() else { return };
                let request = Request::Answer {
                    answer: Answer::Code { code },
                };
                Input::Request { attempt, request }
            }
            Action::Verify {
                attempt, context, ..
            } => {
                let proof = Proof {
                    counter: Some(1),
                    ..Proof::new(context.factor.id, assurance(now.timestamp))
                };
                Input::Verified {
                    attempt,
                    result: Ok(proof.into()),
                }
            }
            Action::Open { attempt, grant, .. } => Input::Opened {
                attempt,
                grant,
                session: session(number),
                result: Ok((
                    OpenOutcome::Opened {
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
            // A comparison is not what is measured here; one that is never answered would have the
            // machine remember every peer that was touched since.
            Action::List => Input::Listed {
                result: Err(Unlisted::Unavailable),
            },
            _ => continue,
        };
        machine.handle_input(now, input);
    }
    while machine.poll_event().is_some() {}
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The row `gate.lease_memory` of fewer leases, in whatever profile.
    #[test]
    fn a_live_lease_takes_no_more_memory_than_the_figure_allows() {
        const LEASES: u32 = 40_000;
        let (leases, grown) = memory::growth(|| Leases::admit(LEASES));
        leases.unwrap();
        // Other tests of this process may allocate at the same time.
        let each = grown / i64::from(LEASES);
        println!("{each} bytes");
        assert!(each <= 512, "{each} bytes");
    }
}
