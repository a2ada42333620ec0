//! From a first message to a verdict.

use std::time::Duration;

use super::fixtures::{LAPTOP, PEERS, WRONG};
use super::world::{Job, World};
use crate::channel::message::{Posture, Refusal};
use crate::gate::{Action, Input, Intent, Outcome};
use crate::id::AttemptId;
use crate::key::PublicKey;
use crate::time::Timestamp;

fn hello(world: &mut World, attempt: u8, ephemeral: [u8; 32], sent_at: Timestamp) -> AttemptId {
    let attempt = AttemptId::from_bytes([attempt; 32]);
    world.input(Input::Hello {
        attempt,
        peer: LAPTOP,
        ephemeral,
        sent_at,
        intent: Intent::Begin,
        posture: Posture::default(),
        source: None,
    });
    attempt
}

#[test]
fn an_unknown_peer_leaves_no_state() {
    let mut world = World::new();
    let attempt = world.begin(PublicKey::from_bytes([8; 32]));
    world.settle();
    let refused = Outcome::Refused(Refusal::NotEnrolled {});
    assert_eq!(world.reply_to(attempt), Some(&refused));
    assert_eq!(world.machine.attempt_count(), 0);
}

#[test]
fn a_replayed_first_message_is_refused_and_disturbs_no_one() {
    let mut world = World::new();
    let sent_at = world.now.timestamp;
    let attempt = hello(&mut world, 1, [1; 32], sent_at);
    world.settle();
    let replayed = hello(&mut world, 2, [1; 32], sent_at);
    let refused = Outcome::Refused(Refusal::Replay {});
    assert_eq!(world.reply_to(replayed), Some(&refused));

    world.answer_right(attempt);
    world.settle();
    assert_eq!(world.reply_to(attempt), Some(&Outcome::Granted));
}

#[test]
fn a_first_message_of_an_earlier_run_is_refused() {
    let mut world = World::new();
    let sent_at = world.now.timestamp;
    world.pass(Duration::from_secs(1));
    world.crash();
    let gate_time = world.now.timestamp;
    let attempt = hello(&mut world, 1, [1; 32], sent_at);
    let refused = Outcome::Refused(Refusal::Clock { gate_time });
    assert_eq!(world.reply_to(attempt), Some(&refused));
}

#[test]
fn a_clock_that_is_off_is_refused_with_the_gates_time() {
    let mut world = World::new();
    let gate_time = world.now.timestamp;
    let off = Duration::from_secs(61);
    for (n, sent_at) in [(1, gate_time + off), (2, gate_time - off)] {
        let attempt = hello(&mut world, n, [n; 32], sent_at);
        let refused = Outcome::Refused(Refusal::Clock { gate_time });
        assert_eq!(world.reply_to(attempt), Some(&refused));
    }
}

#[test]
fn one_peer_can_not_take_all_attempts() {
    let mut world = World::new();
    let most = world.policy.attempts_per_peer;
    for _ in 0..most * 2 {
        world.begin(LAPTOP);
    }
    assert_eq!(world.machine.attempt_count(), most);
    let attempts = PEERS.map(|peer| world.begin(peer));
    world.settle();
    for attempt in attempts {
        assert!(is_asked(&world, attempt));
    }
    assert_eq!(world.machine.attempt_count(), most + 2);
}

fn is_asked(world: &World, attempt: AttemptId) -> bool {
    matches!(world.reply_to(attempt), Some(Outcome::Challenge { .. }))
}

/// As many attempts of a peer as it may have, each with its question.
fn crowd(world: &mut World) -> Vec<AttemptId> {
    let most = world.policy.attempts_per_peer;
    let begin = |_| {
        world.pass(Duration::from_secs(1));
        let attempt = world.begin(LAPTOP);
        world.settle();
        attempt
    };
    (0..most).map(begin).collect()
}

fn answer_wrong(world: &mut World, attempt: AttemptId) {
    world.answer(attempt, WRONG);
    world.settle();
}

fn is_gone(world: &mut World, attempt: AttemptId) -> bool {
    world.answer(attempt, WRONG);
    world.settle();
    world.refused(attempt) == Some(&Refusal::NoAttempt {})
}

#[test]
fn a_new_attempt_takes_the_place_of_the_oldest_unanswered_one() {
    let mut world = World::new();
    let crowd = crowd(&mut world);

    let again = world.begin(LAPTOP);
    world.settle();

    assert!(is_asked(&world, again));
    assert!(is_gone(&mut world, crowd[0]));
    world.answer_right(crowd[1]);
    world.settle();
    assert!(world.is_granted(crowd[1]), "the others are left alone");
}

#[test]
fn an_answered_attempt_is_not_ended_by_another_of_its_key() {
    let mut world = World::new();
    let attempt = world.begin(LAPTOP);
    world.settle();
    answer_wrong(&mut world, attempt);

    for _ in 0..world.policy.attempts_per_peer * 3 {
        world.begin(LAPTOP);
        world.settle();
    }

    world.answer_right(attempt);
    world.settle();
    assert!(world.is_granted(attempt));
}

#[test]
fn an_attempt_being_judged_is_not_ended_by_another_of_its_key() {
    let mut world = World::new();
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.answer_right(attempt);

    for _ in 0..world.policy.attempts_per_peer * 3 {
        world.begin(LAPTOP);
    }

    world.settle();
    assert!(world.is_granted(attempt));
}

#[test]
fn the_wait_that_a_crowded_peer_is_told_is_the_wait() {
    let mut world = World::new();
    world.policy.throttle.free = 10;
    let crowd = crowd(&mut world);
    for attempt in crowd {
        answer_wrong(&mut world, attempt);
    }

    let refused = world.begin(LAPTOP);
    let Some(Refusal::Busy { retry_ms }) = world.refused(refused).cloned() else {
        panic!("{:?}", world.reply_to(refused));
    };
    let ttl = world.policy.attempt_ttl;
    assert!(Duration::from_millis(retry_ms) <= ttl && retry_ms > 100_000);
    world.pass(Duration::from_millis(retry_ms) - Duration::from_millis(100));
    let early = world.begin(LAPTOP);
    assert!(matches!(world.refused(early), Some(Refusal::Busy { .. })));
    world.pass(Duration::from_millis(100));

    let in_time = world.begin(LAPTOP);
    world.settle();
    assert!(is_asked(&world, in_time));
}

#[test]
fn a_full_gate_lets_a_peer_replace_its_own_attempt_only() {
    let policy = crate::policy::Policy {
        attempts_in_all: 2,
        ..super::fixtures::policy()
    };
    let mut world = World::with(policy);
    let first = world.begin(LAPTOP);
    world.begin(PEERS[1]);
    world.settle();

    let refused = world.begin(PEERS[2]);
    let Some(Refusal::Busy { retry_ms }) = world.refused(refused).cloned() else {
        panic!("{:?}", world.reply_to(refused));
    };
    let again = world.begin(LAPTOP);
    world.settle();
    assert!(is_asked(&world, again));
    assert!(is_gone(&mut world, first));

    world.pass(Duration::from_millis(retry_ms));
    let in_time = world.begin(PEERS[2]);
    world.settle();
    assert!(is_asked(&world, in_time));
}

#[test]
fn a_first_message_that_was_told_busy_opens_nothing_later() {
    let mut world = World::new();
    let crowd = crowd(&mut world);
    for attempt in &crowd {
        answer_wrong(&mut world, *attempt);
    }
    let sent_at = world.now.timestamp;
    let told = hello(&mut world, 1, [7; 32], sent_at);
    assert!(matches!(world.refused(told), Some(Refusal::Busy { .. })));
    for attempt in crowd {
        world.request(attempt, crate::channel::message::Request::Cancel {});
    }

    let replayed = hello(&mut world, 2, [7; 32], sent_at);
    world.settle();

    assert_eq!(world.refused(replayed), Some(&Refusal::Replay {}));
}

#[test]
fn a_first_message_from_before_the_enrolment_opens_nothing() {
    let mut world = World::new();
    let now = world.now.timestamp;
    super::fixtures::put_peer(&world.disk, LAPTOP, false, now);
    let told = hello(&mut world, 1, [7; 32], now);
    world.settle();
    assert_eq!(world.refused(told), Some(&Refusal::NotEnrolled {}));
    super::fixtures::put_peer(&world.disk, LAPTOP, true, now);

    let replayed = hello(&mut world, 2, [7; 32], now);
    world.settle();

    assert_eq!(world.refused(replayed), Some(&Refusal::Replay {}));
}

#[test]
fn a_first_message_from_the_future_opens_nothing_later() {
    let mut world = World::new();
    let ahead = Duration::from_secs(600);
    let sent_at = world.now.timestamp + ahead;
    hello(&mut world, 1, [7; 32], sent_at);
    world.pass(ahead);

    let replayed = hello(&mut world, 2, [7; 32], sent_at);
    world.settle();

    assert_eq!(world.refused(replayed), Some(&Refusal::Replay {}));
}

#[test]
fn a_first_message_is_remembered_for_its_window_and_no_longer() {
    let mut world = World::new();
    let skew = world.policy.clock_skew;
    let sent_at = world.now.timestamp + skew;
    hello(&mut world, 1, [7; 32], sent_at);
    world.pass(skew * 2);
    let at_the_edge = hello(&mut world, 2, [7; 32], sent_at);
    assert_eq!(world.refused(at_the_edge), Some(&Refusal::Replay {}));

    world.pass(skew * 3);

    let idle = world.machine.poll_timeout(world.now);
    let why = idle.map(|(_, why)| why);
    assert_ne!(why, Some("first messages are forgotten"));
}

/// How far back a clock is set, in milliseconds: within the window, beyond it, and by hours.
const BACK: [i64; 4] = [30_000, 100_000, 500_000, 5 * 3_600_000];

#[test]
fn a_clock_set_back_makes_no_first_message_fresh_again() {
    for back in BACK {
        let mut world = World::new();
        let skew = world.policy.clock_skew;
        let sent_at = world.now.timestamp;
        hello(&mut world, 1, [7; 32], sent_at);
        world.pass(skew * 3); // it is forgotten
        world.step_wall(-back);
        let ahead = sent_at.saturating_since(world.now.timestamp);
        world.pass(ahead); // to where its time stamp is now, or later

        let replayed = hello(&mut world, 2, [7; 32], sent_at);

        let gate_time = sent_at + skew * 3 + ahead;
        let refused = Some(Refusal::Clock { gate_time });
        assert_eq!(world.refused(replayed).cloned(), refused, "{back}");
    }
}

/// Who goes by the right time is told the gate's, and gets in by that.
#[test]
fn a_clock_set_back_keeps_no_one_out() {
    for back in BACK {
        let mut world = World::new();
        world.step_wall(-back);
        let right = world.now.timestamp;

        let mut new = hello(&mut world, 1, [1; 32], right);
        if let Some(Refusal::Clock { gate_time }) = world.refused(new).cloned() {
            new = hello(&mut world, 2, [2; 32], gate_time);
        }
        world.settle();

        assert!(is_asked(&world, new), "{back}");
    }
}

#[test]
fn a_clock_set_forward_again_is_the_one_that_counts() {
    let mut world = World::new();
    world.step_wall(-500_000);
    assert_ne!(world.gate_time(), world.now.timestamp);
    world.step_wall(200_000);
    assert_ne!(world.gate_time(), world.now.timestamp);

    world.step_wall(400_000);

    assert_eq!(world.gate_time(), world.now.timestamp);
}

#[test]
fn more_clock_skew_makes_no_first_message_fresh_again() {
    let mut world = World::unmodelled(super::fixtures::policy());
    let skew = world.policy.clock_skew;
    let (old, sent_at) = ([7; 32], world.now.timestamp);
    hello(&mut world, 1, old, sent_at);
    world.pass(skew * 3); // it is forgotten
    let (late, sent_late_at) = ([8; 32], world.now.timestamp);
    hello(&mut world, 2, late, sent_late_at);
    let policy = crate::policy::Policy {
        clock_skew: skew * 5,
        ..super::fixtures::policy()
    };
    let policy = Box::new(policy);
    let known = Vec::new();
    world.input(Input::Policy { policy, known });

    let replayed = hello(&mut world, 3, old, sent_at);
    let gate_time = world.now.timestamp;
    let refused = Some(Refusal::Clock { gate_time });
    assert_eq!(world.refused(replayed).cloned(), refused);
    world.pass(skew * 4);
    let replayed = hello(&mut world, 4, late, sent_late_at);
    assert_eq!(world.refused(replayed), Some(&Refusal::Replay {}));
}

#[test]
fn a_locked_factor_is_not_looked_at() {
    let mut world = World::new();
    let attempt = world.begin(LAPTOP);
    world.settle();
    for _ in 0..world.policy.throttle.free {
        world.answer(attempt, WRONG);
        world.settle();
    }
    world.answer_right(attempt);
    while !world.pending.is_empty() {
        let is_verified = |job: &Job| matches!(job, Job::Do(Action::Verify { .. }));
        assert!(!world.pending.iter().any(is_verified));
        world.run(0);
    }
}

#[test]
fn an_attempt_that_is_not_finished_in_time_is_forgotten() {
    let mut world = World::new();
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.pass(world.policy.attempt_ttl);
    assert_eq!(world.machine.attempt_count(), 0);
    world.answer_right(attempt);
    world.settle();
    let over = Outcome::Refused(Refusal::NoAttempt {});
    assert_eq!(world.reply_to(attempt), Some(&over));
    assert!(world.live().is_empty());
}
