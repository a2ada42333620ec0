//! From a first message to a verdict.

use std::time::Duration;

use super::cast::{LAPTOP, PEERS, WRONG};
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
fn a_replayed_first_message_is_refused_and_disturbs_nobody() {
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
    for _ in 0..world.policy.attempts_per_peer {
        world.begin(LAPTOP);
    }
    let attempts = PEERS.map(|peer| world.begin(peer));
    let busy = Outcome::Refused(Refusal::Busy { retry_ms: 5000 });
    assert_eq!(world.reply_to(attempts[0]), Some(&busy));
    world.settle();
    assert!(matches!(
        world.reply_to(attempts[1]),
        Some(Outcome::Challenge { .. })
    ));
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
