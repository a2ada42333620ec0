//! From a right answer to a lease, and what may come in between.

use std::time::Duration;

use super::fixtures::{LAPTOP, put_peer_at};
use super::world::{Job, World};
use crate::channel::message::{Refusal, Request};
use crate::gate::{Action, Input, Outcome, Scope};
use crate::interface::PeerConfig;
use crate::testing::fake_interface::{Fault, Operation};
use crate::testing::{StoreCall, StoreFault};

const UNAVAILABLE: Outcome = Outcome::Refused(Refusal::Unavailable {});

fn is_opened(job: &Job) -> bool {
    matches!(job, Job::Tell(Input::Opened { .. }))
}

/// A world where the store has admitted the laptop and the gate has not heard of it.
fn opened() -> (World, crate::id::AttemptId) {
    let mut world = World::new();
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.answer_right(attempt);
    world.settle_until(is_opened);
    (world, attempt)
}

#[test]
fn a_user_who_is_disabled_while_the_store_admits_does_not_stay() {
    let (mut world, _) = opened();
    world.enable_user("ada", false);
    world.notice();
    world.settle();
    assert!(world.installed().is_empty() && world.live().is_empty());
}

#[test]
fn an_address_taken_away_during_an_admission_is_not_kept() {
    const ADDRESS: &str = "10.0.9.9/32";
    let (mut refused, mut jobs, mut is_complete) = (0, 0, false);
    while !is_complete {
        let mut world = World::new();
        let attempt = world.begin(LAPTOP);
        world.settle();
        world.answer_right(attempt);
        for _ in 0..jobs {
            world.run(0);
        }
        is_complete = world.pending.is_empty();
        put_peer_at(&world.disk, LAPTOP, ADDRESS, true, world.now.timestamp);
        world.notice();
        world.settle();
        let kept = world.installed().remove(&LAPTOP);
        refused += usize::from(kept.is_none());
        let has_new = |peer: PeerConfig| peer.allowed_ips == [ADDRESS.parse().unwrap()];
        assert!(kept.is_none_or(has_new), "after {jobs} jobs");
        jobs += 1;
    }
    assert!(jobs > 6 && refused > 4, "{refused} of {jobs}");
}

#[test]
fn a_revocation_waits_for_an_admission_that_is_on_its_way() {
    for scope in [
        Scope::Peer(LAPTOP),
        Scope::User("ada".parse().unwrap()),
        Scope::All,
    ] {
        let (mut world, attempt) = opened();
        let ticket = world.revoke(scope);
        assert!(!world.revoked.contains_key(&ticket));
        world.settle();
        assert!(world.revoked.contains_key(&ticket));
        assert_eq!(world.reply_to(attempt), Some(&UNAVAILABLE));
        assert!(world.installed().is_empty() && world.live().is_empty());
    }
}

#[test]
fn a_session_that_the_store_does_not_tell_of_ends() {
    let mut world = World::new();
    let attempt = world.begin(LAPTOP);
    world.settle();
    world
        .store
        .fail_next(StoreCall::OpenSession, StoreFault::ApplyThenFail);
    world.answer_right(attempt);
    world.settle_until(is_opened);
    assert_eq!(world.live().len(), 1);
    world.settle();
    assert_eq!(world.reply_to(attempt), Some(&UNAVAILABLE));
    assert!(world.live().is_empty());
}

#[test]
fn an_admission_that_takes_longer_than_its_lease_is_none() {
    let (mut world, attempt) = opened();
    world.pass(world.policy.lease);
    world.settle();
    assert_eq!(world.reply_to(attempt), Some(&UNAVAILABLE));
    let installed =
        |call: &crate::testing::fake_interface::Call| call.operation == Operation::Install;
    assert!(!world.interface.calls().iter().any(installed));
    assert!(world.live().is_empty());
}

#[test]
fn two_attempts_of_one_peer_leave_the_newer_session() {
    let (mut world, first) = opened();
    let told = world.pending.remove(0);
    world.pass(Duration::from_secs(30));
    let second = world.begin(LAPTOP);
    world.settle();
    world.answer_right(second);
    world.settle();
    assert_eq!(world.reply_to(second), Some(&Outcome::Granted));
    let session = world.session_of(LAPTOP);

    world.pending.push(told);
    world.settle();
    assert_eq!(world.reply_to(first), Some(&UNAVAILABLE));
    assert_eq!(world.session_of(LAPTOP), session);
}

#[test]
fn a_failed_installation_of_a_newer_session_ends_both() {
    let mut world = World::new();
    world.admit(LAPTOP);
    world.pass(Duration::from_secs(30));
    world
        .interface
        .fail_next(Operation::Install, Fault::ApplyThenFail);
    let attempt = world.admit(LAPTOP);
    assert_eq!(world.reply_to(attempt), Some(&UNAVAILABLE));
    assert!(world.installed().is_empty() && world.live().is_empty());
}

#[test]
fn an_attempt_is_busy_until_its_answer_is_judged() {
    let (mut world, attempt) = opened();
    world.answer_right(attempt);
    world.request(attempt, Request::Cancel {});
    let busy = Outcome::Refused(Refusal::OutOfOrder {});
    assert_eq!(world.reply_to(attempt), Some(&busy));
    world.settle();
    assert_eq!(world.reply_to(attempt), Some(&Outcome::Granted));
}

#[test]
fn an_attempt_that_expires_while_the_store_admits_is_closed() {
    let mut world = World::new();
    let attempts = [world.begin(LAPTOP), world.begin(LAPTOP)];
    world.settle();
    for attempt in attempts {
        world.answer_right(attempt);
    }
    let is_open = |job: &Job| matches!(job, Job::Do(Action::Open { .. }));
    let first = world.settle_until(is_open);
    let first = world.pending.remove(first);
    world.settle_until(is_open);
    world.pending.insert(0, first);
    world.pass(world.policy.attempt_ttl);
    world.settle();
    assert_eq!(world.reply_to(attempts[0]), Some(&Outcome::Granted));
    let over = Outcome::Refused(Refusal::NoAttempt {});
    assert_eq!(world.reply_to(attempts[1]), Some(&over));
    assert_eq!(world.machine.attempt_count(), 0);
}
