//! A factor that takes several questions: what is remembered between them, and for how long.

use super::factors::code;
use super::fixtures::{LAPTOP, PHONE, WRONG, in_steps, one};
use super::world::World;
use crate::assurance::FactorKind;
use crate::channel::message::DeniedReason;
use crate::id::AttemptId;
use crate::policy::Step;

const KEY: FactorKind = FactorKind::DEVICE_KEY;

fn by_key() -> World {
    World::with(in_steps([one(KEY)]))
}

fn begun(world: &mut World) -> AttemptId {
    let attempt = world.begin(LAPTOP);
    world.settle();
    attempt
}

#[test]
fn a_round_is_no_failure_and_admits_no_one() {
    let mut world = by_key();
    let attempt = begun(&mut world);
    let first = world.shown(attempt, 0);
    world.pass_one(attempt);
    assert_eq!(world.asked_for(attempt), Some(KEY), "asked on");
    assert_ne!(world.shown(attempt, 0), first);
    assert_eq!(world.failures_of("ada", &KEY), 0);
    assert!(world.live().is_empty() && world.installed().is_empty());
    world.pass_one(attempt);
    assert!(world.is_granted(attempt));
}

#[test]
fn what_was_right_in_one_round_is_wrong_in_the_next() {
    let mut world = by_key();
    let attempt = begun(&mut world);
    let first = code(world.shown(attempt, 0));
    world.pass_one(attempt);
    world.answer(attempt, &first);
    world.settle();
    assert_eq!(world.denied(attempt), Some(DeniedReason::Wrong));
    assert_eq!(world.failures_of("ada", &KEY), 1);
    world.pass_one(attempt);
    assert!(world.is_granted(attempt));
    assert_eq!(world.failures_of("ada", &KEY), 0);
}

#[test]
fn another_question_drops_what_was_remembered() {
    let alternatives = Step::AnyOf(vec![KEY, FactorKind::PASSWORD]);
    for by_way_of in [KEY, FactorKind::PASSWORD] {
        let mut world = World::with(in_steps([alternatives.clone()]));
        let attempt = begun(&mut world);
        world.pass_one(attempt);
        let second = code(world.shown(attempt, 0));
        // The same factor again, or another one and back.
        for kind in [by_way_of, KEY] {
            world.choose(attempt, &kind);
            world.settle();
        }
        world.answer(attempt, &second);
        world.settle();
        assert_eq!(world.denied(attempt), Some(DeniedReason::Wrong));
        world.pass_one(attempt);
        assert!(!world.is_granted(attempt), "it is the first round again");
        world.pass_one(attempt);
        assert!(world.is_granted(attempt));
    }
}

#[test]
fn what_one_attempt_was_shown_is_worth_nothing_in_another() {
    let mut world = by_key();
    let first = begun(&mut world);
    world.pass_one(first);
    let shown = code(world.shown(first, 0));
    let others = [LAPTOP, PHONE].map(|peer| world.begin(peer));
    world.settle();
    for attempt in others {
        world.answer(attempt, &shown);
        world.settle();
        assert_eq!(world.denied(attempt), Some(DeniedReason::Wrong));
    }
    world.crash();
    world.settle();
    world.reset_failures("ada");
    let attempt = begun(&mut world);
    world.answer(attempt, &shown);
    world.settle();
    assert_eq!(world.denied(attempt), Some(DeniedReason::Wrong));
    assert!(world.live().is_empty());
}

#[test]
fn a_factor_in_rounds_is_one_step_among_others() {
    let steps = [one(KEY), one(FactorKind::PASSWORD)];
    let mut world = World::with(in_steps(steps));
    let attempt = begun(&mut world);
    for _ in 0..2 {
        world.pass_one(attempt);
    }
    assert_eq!(world.asked_for(attempt), Some(FactorKind::PASSWORD));
    world.answer(attempt, WRONG);
    world.settle();
    assert_eq!(world.failures_of("ada", &KEY), 0);
    world.pass_one(attempt);
    assert!(world.is_granted(attempt));
}

#[test]
fn a_verifier_that_is_busy_judges_nothing_and_keeps_the_round() {
    let mut world = by_key();
    let attempt = begun(&mut world);
    world.pass_one(attempt);
    world.verifier_is_busy = true;
    world.pass_one(attempt);
    assert_eq!(world.denied(attempt), Some(DeniedReason::Busy));
    assert_eq!(world.failures_of("ada", &KEY), 0);
    world.heal();
    world.pass_one(attempt);
    assert!(world.is_granted(attempt));
}
