//! Policies of several steps: their order, what stays passed and for how long, and what may happen
//! between two steps.

use std::time::Duration;

use super::factors::{PASSWORD, code, code_at};
use super::fixtures::{self, LAPTOP, PHONE, WRONG, factor_of, in_steps, one};
use super::world::{Job, World, ready};
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::channel::message::{DeniedReason, Refusal, Request};
use crate::gate::{Action, Input, Outcome};
use crate::id::AttemptId;
use crate::store::PeerStore;
use crate::testing::{StoreCall, StoreFault};

const UNAVAILABLE: Option<&Refusal> = Some(&Refusal::Unavailable {});
const NO_FACTOR: Option<&Refusal> = Some(&Refusal::NoFactor {});

fn password_then_totp() -> World {
    World::with(in_steps([one(FactorKind::PASSWORD), one(FactorKind::TOTP)]))
}

/// Begun by the laptop, with the password passed.
fn half_way(world: &mut World) -> AttemptId {
    let attempt = world.begin(LAPTOP);
    world.settle();
    assert_eq!(world.asked_for(attempt), Some(FactorKind::PASSWORD));
    world.pass_one(attempt);
    assert_eq!(world.asked_for(attempt), Some(FactorKind::TOTP));
    attempt
}

fn is_passed(job: &Job) -> bool {
    matches!(job, Job::Tell(Input::Passed { .. }))
}

#[test]
fn steps_are_asked_in_order_and_admit_only_together() {
    let mut world = password_then_totp();
    let attempt = half_way(&mut world);
    assert!(world.live().is_empty() && world.installed().is_empty());

    world.pass_one(attempt);
    assert!(world.is_granted(attempt) && world.is_installed(LAPTOP));
    let session = world.record(world.session_of(LAPTOP)).unwrap();
    let both = [FactorKind::PASSWORD, FactorKind::TOTP];
    assert_eq!(
        session.factors,
        both.clone().map(|kind| factor_of("ada", &kind))
    );
    assert!(session.assurance.iter().map(|it| &it.kind).eq(&both));
    let trail = ready(world.disk.audit(1, 1000)).unwrap();
    let said = |kind: &AuditKind| trail.iter().any(|record| record.event.kind == *kind);
    let kind = FactorKind::PASSWORD;
    assert!(said(&AuditKind::FactorPassed { kind }));
    let (not_after, factors) = (session.not_after, both.to_vec());
    assert!(said(&AuditKind::Admitted { not_after, factors }));
}

#[test]
fn a_factor_of_a_later_step_is_not_taken_before_its_turn() {
    let mut world = password_then_totp();
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.choose(attempt, &FactorKind::TOTP);
    world.settle();
    assert_eq!(world.denied(attempt), Some(DeniedReason::Unfit));
    world.answer(attempt, &code_at(world.now.timestamp));
    world.settle();
    assert_eq!(world.denied(attempt), Some(DeniedReason::Wrong));
    assert!(world.live().is_empty());
}

#[test]
fn the_next_step_is_asked_for_once_the_last_one_is_durable() {
    let mut world = password_then_totp();
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.answer_right(attempt);
    let told = world.settle_until(is_passed);
    assert_eq!(told, 0, "and nothing else is under way");
    assert_eq!(world.asked_for(attempt), Some(FactorKind::PASSWORD));
    world.settle();
    assert_eq!(world.asked_for(attempt), Some(FactorKind::TOTP));
}

#[test]
fn a_wrong_answer_at_the_second_step_keeps_the_first_one_passed() {
    let mut world = password_then_totp();
    let attempt = half_way(&mut world);
    world.answer(attempt, WRONG);
    world.settle();
    assert_eq!(world.denied(attempt), Some(DeniedReason::Wrong));
    assert_eq!(world.failures_of("ada", &FactorKind::PASSWORD), 0);
    assert_eq!(world.failures_of("ada", &FactorKind::TOTP), 1);
    world.pass_one(attempt);
    assert!(world.is_granted(attempt));
}

#[test]
fn what_one_attempt_passed_counts_for_no_other() {
    let mut world = password_then_totp();
    let half = half_way(&mut world);
    // Neither for one beside it, nor for the next, nor for one after a crash.
    let beside = world.begin(LAPTOP);
    world.settle();
    assert_eq!(world.asked_for(beside), Some(FactorKind::PASSWORD));
    for attempt in [half, beside] {
        world.request(attempt, Request::Cancel {});
    }
    let next = half_way(&mut world);
    world.answer(next, &code_at(world.now.timestamp));
    world.crash();
    world.settle();
    half_way(&mut world);
    assert!(world.live().is_empty());
}

#[test]
fn a_factor_whose_success_can_not_be_made_durable_leads_nowhere() {
    for fault in [StoreFault::Fail, StoreFault::ApplyThenFail] {
        let mut world = password_then_totp();
        let attempt = world.begin(LAPTOP);
        world.settle();
        world.store.fail_next(StoreCall::PassFactor, fault);
        world.pass_one(attempt);
        assert_eq!(world.refused(attempt), UNAVAILABLE);
        world.pass_one(attempt);
        assert_eq!(world.refused(attempt), Some(&Refusal::NoAttempt {}));
        assert!(world.live().is_empty());
        half_way(&mut world);
    }
}

#[test]
fn a_store_that_outlasts_the_attempt_leads_nowhere() {
    let mut world = password_then_totp();
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.answer_right(attempt);
    world.settle_until(is_passed);
    world.pass(world.policy.attempt_ttl);
    world.settle();
    assert_eq!(world.machine.attempt_count(), 0);
    world.pass_one(attempt);
    assert_eq!(world.refused(attempt), Some(&Refusal::NoAttempt {}));
    assert!(world.live().is_empty());
}

#[test]
fn invariant_4_a_code_of_a_first_step_passes_no_other_attempt() {
    let steps = [one(FactorKind::TOTP), one(FactorKind::PASSWORD)];
    let mut world = World::with(in_steps(steps));
    let attempts = [LAPTOP, PHONE].map(|peer| world.begin(peer));
    world.settle();
    for attempt in attempts {
        world.answer_right(attempt);
    }
    world.settle();
    assert_eq!(world.asked_for(attempts[0]), Some(FactorKind::PASSWORD));
    assert_eq!(world.denied(attempts[1]), Some(DeniedReason::Replayed));
    assert_eq!(world.failures_of("ada", &FactorKind::TOTP), 1);
    // Its own admission does not count it a second time.
    world.pass_one(attempts[0]);
    assert!(world.is_granted(attempts[0]));
}

#[test]
fn invariant_4_a_used_code_is_refused_at_the_last_step() {
    let mut world = password_then_totp();
    let first = half_way(&mut world);
    let second = half_way(&mut world);
    let used = code_at(world.now.timestamp);
    for attempt in [first, second] {
        world.answer(attempt, &used);
    }
    world.settle();
    assert!(world.is_granted(first));
    assert_eq!(world.denied(second), Some(DeniedReason::Replayed));

    world.pass(Duration::from_secs(30));
    world.pass_one(second);
    assert!(world.is_granted(second), "the password stays passed");
}

/// Two attempts of one user answer with one recovery code, so that the verifier finds both right.
fn both_with_one_code(world: &mut World) -> [AttemptId; 2] {
    let attempts = [LAPTOP, PHONE].map(|peer| world.begin(peer));
    world.settle();
    for attempt in attempts {
        if world.asked_for(attempt) == Some(FactorKind::PASSWORD) {
            world.pass_one(attempt);
        }
    }
    for attempt in attempts {
        world.answer_right(attempt);
    }
    // First both are looked at, and then both are taken.
    let is_taken = |job: &Job| matches!(job, Job::Do(Action::Pass { .. } | Action::Open { .. }));
    let first = world.settle_until(is_taken);
    let first = world.pending.remove(first);
    world.settle_until(is_taken);
    world.pending.insert(0, first);
    world.settle();
    attempts
}

#[test]
fn an_overtaken_answer_is_not_counted_and_may_be_repeated() {
    let (codes, password) = (one(FactorKind::RECOVERY_CODES), one(FactorKind::PASSWORD));
    for steps in [[codes.clone(), password.clone()], [password, codes]] {
        let mut world = World::with(in_steps(steps));
        let [first, second] = both_with_one_code(&mut world);
        assert_eq!(world.denied(second), Some(DeniedReason::Overtaken));
        assert_eq!(world.failures_of("ada", &FactorKind::RECOVERY_CODES), 0);
        for attempt in [first, second] {
            for _ in 0..2 {
                world.pass_one(attempt);
            }
            // Another code, and what else was left to pass.
            assert_eq!(world.machine.lease_count(), world.live().len());
        }
        assert_eq!(world.live().len(), 2);
        let left = world.factor(factor_of("ada", &FactorKind::RECOVERY_CODES));
        assert_eq!(world.secret(&left.unwrap()), [3]);
    }
}

#[test]
fn a_factor_that_is_taken_away_between_the_steps_admits_no_one() {
    for kind in [FactorKind::PASSWORD, FactorKind::TOTP] {
        for is_suspended in [true, false] {
            let mut world = password_then_totp();
            let attempt = half_way(&mut world);
            let factor = factor_of("ada", &kind);
            if is_suspended {
                world.suspend_factor(factor);
            } else {
                world.remove_factor(factor);
            }
            world.pass_one(attempt);
            assert_eq!(world.refused(attempt), NO_FACTOR, "{kind} {is_suspended}");
            assert!(world.live().is_empty());
        }
    }
}

#[test]
fn a_first_factor_that_is_locked_meanwhile_admits_no_one() {
    let mut world = password_then_totp();
    let attempt = half_way(&mut world);
    let password = factor_of("ada", &FactorKind::PASSWORD);
    for _ in 0..world.policy.throttle.free {
        world.fail_elsewhere(password);
    }
    world.pass_one(attempt);
    assert_eq!(world.refused(attempt), UNAVAILABLE);
    assert!(world.live().is_empty());
    let failures = world.failures_of("ada", &FactorKind::PASSWORD);
    assert_eq!(failures, world.policy.throttle.free);
}

#[test]
fn a_lock_that_is_over_at_the_last_answer_holds_no_one_up() {
    let mut world = password_then_totp();
    let attempt = half_way(&mut world);
    for _ in 0..world.policy.throttle.free {
        world.answer(attempt, WRONG);
        world.settle();
    }
    world.pass_one(attempt);
    assert_eq!(world.denied(attempt), Some(DeniedReason::Locked));
    world.pass(world.policy.throttle.first_wait);
    world.pass_one(attempt);
    assert!(world.is_granted(attempt), "{:?}", world.reply_to(attempt));
}

#[test]
fn invariant_3_a_lease_is_as_old_as_the_first_of_its_answers() {
    let mut world = password_then_totp();
    let first = world.now;
    let attempt = half_way(&mut world);
    world.pass(Duration::from_secs(100));
    world.pass_one(attempt);
    assert!(world.is_granted(attempt));
    let terms = world.lease(LAPTOP).unwrap().terms();
    assert_eq!(terms.verified_at, first.timestamp);
    assert_eq!(terms.ends, first.instant + world.policy.lease);
    assert_eq!(terms.renewable_ends, first.instant + world.policy.max_age);
}

#[test]
fn a_peer_that_changes_hands_between_the_steps_is_not_admitted() {
    let mut world = password_then_totp();
    let attempt = half_way(&mut world);
    fixtures::give_peer(&world.disk, LAPTOP, "bob", world.now.timestamp);
    world.is_unnoticed = true;
    let factor = factor_of("bob", &FactorKind::TOTP);
    world.request(attempt, Request::Choose { factor });
    world.settle();
    assert_eq!(world.asked_for(attempt), Some(FactorKind::TOTP));
    world.pass_one(attempt);
    assert_eq!(world.refused(attempt), NO_FACTOR, "the password was Ada's");
    assert!(world.live().is_empty());
}

#[test]
fn every_factor_of_an_all_of_step_is_asked_for_in_any_order() {
    let kinds = vec![
        FactorKind::TOTP,
        FactorKind::PASSWORD,
        FactorKind::DEVICE_KEY,
    ];
    let mut world = World::with(in_steps([crate::policy::Step::AllOf(kinds)]));
    let attempt = world.begin(LAPTOP);
    world.settle();
    assert_eq!(world.asked_for(attempt), Some(FactorKind::TOTP));
    world.choose(attempt, &FactorKind::PASSWORD);
    world.settle();
    world.answer(attempt, &code(PASSWORD));
    world.settle();
    let Some(Outcome::Challenge { others, .. }) = world.reply_to(attempt) else {
        panic!("not asked");
    };
    assert!(
        others
            .iter()
            .map(|it| &it.kind)
            .eq([&FactorKind::DEVICE_KEY])
    );
    world.pass_one(attempt);
    assert_eq!(world.asked_for(attempt), Some(FactorKind::DEVICE_KEY));
    for _ in 0..2 {
        assert!(!world.is_granted(attempt));
        world.pass_one(attempt);
    }
    assert!(world.is_granted(attempt));
}
