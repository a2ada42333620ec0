//! A step with alternatives: which one is asked for, and what becomes of a question whose user
//! would rather answer another one.

use super::factors::{PASSWORD, code, code_at};
use super::fixtures::{BOBS, LAPTOP, WRONG, factor_of, in_steps};
use super::world::{Job, World};
use crate::assurance::FactorKind;
use crate::channel::message::{DeniedReason, Refusal, Request};
use crate::gate::{Action, Outcome};
use crate::id::AttemptId;
use crate::policy::Step;

const OUT_OF_ORDER: Option<&Refusal> = Some(&Refusal::OutOfOrder {});

/// A device key, or else a one-time password, or else a password.
fn three() -> World {
    World::with(in_steps([Step::AnyOf(vec![
        FactorKind::DEVICE_KEY,
        FactorKind::TOTP,
        FactorKind::PASSWORD,
    ])]))
}

/// The laptop is asked for its first factor.
fn asked() -> (World, AttemptId) {
    let mut world = three();
    let attempt = world.begin(LAPTOP);
    world.settle();
    (world, attempt)
}

fn others(world: &World, attempt: AttemptId) -> Vec<FactorKind> {
    match world.reply_to(attempt) {
        Some(Outcome::Challenge { others, .. }) => {
            others.iter().map(|offer| offer.kind.clone()).collect()
        }
        other => panic!("not asked: {other:?}"),
    }
}

#[test]
fn the_first_factor_is_asked_for_and_the_others_are_offered() {
    let (world, attempt) = asked();
    assert_eq!(world.asked_for(attempt), Some(FactorKind::DEVICE_KEY));
    let rest = [FactorKind::TOTP, FactorKind::PASSWORD];
    assert_eq!(others(&world, attempt), rest);

    let mut world = three();
    world.suspend_factor(factor_of("bob", &FactorKind::DEVICE_KEY));
    world.remove_factor(factor_of("bob", &FactorKind::TOTP));
    let attempt = world.begin(BOBS);
    world.settle();
    assert_eq!(world.asked_for(attempt), Some(FactorKind::PASSWORD));
    assert!(others(&world, attempt).is_empty());
}

#[test]
fn another_factor_is_asked_for_in_the_same_attempt_and_admits() {
    let (mut world, attempt) = asked();
    for kind in [FactorKind::PASSWORD, FactorKind::TOTP, FactorKind::PASSWORD] {
        world.choose(attempt, &kind);
        world.settle();
        assert_eq!(world.asked_for(attempt), Some(kind.clone()));
        assert!(!others(&world, attempt).contains(&kind));
    }
    world.pass_one(attempt);
    assert!(world.is_granted(attempt));
    let passed = factor_of("ada", &FactorKind::PASSWORD);
    assert_eq!(world.lease(LAPTOP).unwrap().terms().factors[..], [passed]);
}

#[test]
fn an_answer_to_the_challenge_before_is_wrong_for_the_chosen() {
    let (mut world, attempt) = asked();
    world.choose(attempt, &FactorKind::TOTP);
    world.settle();
    world.choose(attempt, &FactorKind::PASSWORD);
    world.settle();
    world.answer(attempt, &code_at(world.now.timestamp));
    world.settle();
    assert_eq!(world.denied(attempt), Some(DeniedReason::Wrong));
    assert_eq!(world.failures_of("ada", &FactorKind::PASSWORD), 1);
    assert_eq!(world.failures_of("ada", &FactorKind::TOTP), 0);
    let totp = world.factor(factor_of("ada", &FactorKind::TOTP)).unwrap();
    assert_eq!(totp.last_counter, None, "and takes nothing from the other");
}

#[test]
fn invariant_5_choosing_resets_no_count() {
    let (mut world, attempt) = asked();
    world.choose(attempt, &FactorKind::TOTP);
    world.settle();
    for kind in [FactorKind::PASSWORD, FactorKind::TOTP] {
        world.answer(attempt, WRONG);
        world.settle();
        world.choose(attempt, &kind);
        world.settle();
    }
    world.answer(attempt, WRONG);
    world.settle();
    assert_eq!(world.failures_of("ada", &FactorKind::TOTP), 2);
    assert_eq!(world.failures_of("ada", &FactorKind::PASSWORD), 1);
    world.pass_one(attempt);
    assert_eq!(world.denied(attempt), Some(DeniedReason::Locked));
    // The other one is not, and gets in.
    world.choose(attempt, &FactorKind::PASSWORD);
    world.settle();
    world.pass_one(attempt);
    assert!(world.is_granted(attempt));
    assert_eq!(world.failures_of("ada", &FactorKind::TOTP), 2);
}

#[test]
fn what_is_not_on_offer_can_not_be_chosen() {
    let (mut world, attempt) = asked();
    world.suspend_factor(factor_of("ada", &FactorKind::TOTP));
    for factor in [
        factor_of("bob", &FactorKind::TOTP),
        factor_of("ada", &FactorKind::RECOVERY_CODES),
        factor_of("ada", &FactorKind::TOTP),
    ] {
        world.request(attempt, Request::Choose { factor });
        world.settle();
        assert_eq!(world.denied(attempt), Some(DeniedReason::Unfit));
    }
    assert_eq!(world.failures_of("ada", &FactorKind::DEVICE_KEY), 0);
    assert_eq!(world.failures_of("bob", &FactorKind::TOTP), 0);
    // The device key's question, with what is remembered of it.
    for _ in 0..2 {
        world.pass_one(attempt);
    }
    assert!(world.is_granted(attempt));
}

#[test]
fn a_wrong_choice_keeps_no_challenge_whose_factor_is_gone() {
    let (mut world, attempt) = asked();
    world.suspend_factor(factor_of("ada", &FactorKind::DEVICE_KEY));
    let factor = factor_of("bob", &FactorKind::TOTP);
    world.request(attempt, Request::Choose { factor });
    world.settle();
    assert_eq!(world.refused(attempt), Some(&Refusal::NoFactor {}));
}

#[test]
fn a_factor_that_can_not_be_asked_for_leaves_the_challenge() {
    let (mut world, attempt) = asked();
    world.verifier_is_busy = true;
    world.choose(attempt, &FactorKind::TOTP);
    world.settle();
    assert_eq!(world.denied(attempt), Some(DeniedReason::Busy));
    world.heal();
    // The device key's question, with what is remembered of it.
    for _ in 0..2 {
        world.pass_one(attempt);
    }
    assert!(world.is_granted(attempt));
    assert_eq!(world.failures_of("ada", &FactorKind::DEVICE_KEY), 0);
}

#[test]
fn an_answer_being_judged_is_not_given_up_for_another_choice() {
    let (mut world, attempt) = asked();
    world.choose(attempt, &FactorKind::PASSWORD);
    world.settle();
    world.answer_right(attempt);
    world.settle_until(|job| matches!(job, Job::Do(Action::Verify { .. })));
    world.choose(attempt, &FactorKind::TOTP);
    assert_eq!(world.refused(attempt), OUT_OF_ORDER);
    world.settle();
    assert!(world.is_granted(attempt), "the verdict is the password's");
}

#[test]
fn an_answer_while_another_challenge_is_made_is_not_judged() {
    let (mut world, attempt) = asked();
    world.choose(attempt, &FactorKind::PASSWORD);
    world.settle_until(|job| matches!(job, Job::Do(Action::Challenge { .. })));
    world.answer(attempt, &code(PASSWORD));
    assert_eq!(world.refused(attempt), OUT_OF_ORDER);
    world.settle();
    assert_eq!(world.asked_for(attempt), Some(FactorKind::PASSWORD));
    assert!(world.live().is_empty());
    world.pass_one(attempt);
    assert!(world.is_granted(attempt));
}
