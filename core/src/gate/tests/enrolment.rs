//! A client enrols a factor: by a one-time token, or once it has passed what the policy asks for.

use std::time::Duration;

use super::fixtures::{LAPTOP, PHONE, WRONG, factor_of, in_steps, one};
use super::world::{Job, World};
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::channel::message::{DeniedReason, Refusal};
use crate::gate::{Action, Event, Outcome};
use crate::id::{AttemptId, CredentialId, FactorId};
use crate::store::{FactorState, FailureReason};
use crate::testing::{StoreCall, StoreFault};

const BAD_TOKEN: Option<&Refusal> = Some(&Refusal::BadToken {});
const UNAVAILABLE: Option<&Refusal> = Some(&Refusal::Unavailable {});

fn enrolled(world: &World, attempt: AttemptId) -> Option<FactorId> {
    match world.reply_to(attempt) {
        Some(Outcome::Enrolled(factor)) => Some(*factor),
        _ => None,
    }
}

fn password_then_totp() -> World {
    World::with(in_steps([one(FactorKind::PASSWORD), one(FactorKind::TOTP)]))
}

/// The laptop asks to enrol a kind with a token, and is asked for a first answer.
fn by_token(world: &mut World, kind: FactorKind) -> AttemptId {
    let token = world.issue_token("ada", &[]);
    let attempt = world.enrol_by(LAPTOP, kind, Some(&token));
    world.settle();
    attempt
}

#[test]
fn a_token_enrols_a_factor_and_admits_no_one_itself() {
    let mut world = World::with(in_steps([one(FactorKind::PASSWORD)]));
    world.remove_factor(factor_of("ada", &FactorKind::PASSWORD));
    let attempt = by_token(&mut world, FactorKind::PASSWORD);
    let asked = world.reply_to(attempt);
    assert!(matches!(
        asked,
        Some(Outcome::Challenge { factor: None, .. })
    ));
    world.pass_one(attempt);
    let factor = enrolled(&world, attempt).expect("a factor");
    assert!(world.live().is_empty() && world.installed().is_empty());
    let record = world.factor(factor).expect("it is durable");
    assert_eq!(
        (record.kind, record.state),
        (FactorKind::PASSWORD, FactorState::Active)
    );
    assert_eq!(
        (record.label.as_str(), record.user.as_str()),
        ("new", "ada")
    );
    let event =
        |event: &Event| matches!(event, Event::FactorEnrolled { factor: it, .. } if *it == factor);
    assert!(world.events.iter().any(event));

    let attempt = world.admit(LAPTOP);
    assert!(world.is_granted(attempt));
    assert_eq!(world.lease(LAPTOP).unwrap().terms().factors[..], [factor]);
}

#[test]
fn a_token_is_good_once_for_its_user_its_kinds_and_its_time() {
    let mut world = World::new();
    let used = world.issue_token("ada", &[]);
    let attempt = world.enrol_by(LAPTOP, FactorKind::PASSWORD, Some(&used));
    world.settle();
    world.pass_one(attempt);
    assert!(enrolled(&world, attempt).is_some());
    let bobs = world.issue_token("bob", &[]);
    let for_keys = world.issue_token("ada", &[FactorKind::DEVICE_KEY]);
    let over = world.issue_token("ada", &[]);
    let kind = FactorKind::PASSWORD;
    let refused = AuditKind::TokenRefused { kind };
    for (before, token) in [&used, &bobs, &for_keys, "mfe_none", ""]
        .into_iter()
        .enumerate()
    {
        assert_eq!(world.records(&refused), before);
        let attempt = world.enrol_by(LAPTOP, FactorKind::PASSWORD, Some(token));
        world.settle();
        assert_eq!(world.refused(attempt), BAD_TOKEN);
    }
    world.pass(Duration::from_secs(60));
    let attempt = world.enrol_by(LAPTOP, FactorKind::PASSWORD, Some(&over));
    world.settle();
    assert_eq!(world.refused(attempt), BAD_TOKEN);
    assert_eq!(world.records(&refused), 6);
    let mut shown = world.shown.keys();
    assert!(shown.by_ref().count() == 1, "no one else was asked");
}

#[test]
fn a_token_that_runs_out_during_the_attempt_enrols_nothing() {
    let mut world = World::new();
    let before = world.factors("ada");
    let attempt = by_token(&mut world, FactorKind::PASSWORD);
    world.pass(Duration::from_secs(60));
    world.pass_one(attempt);
    assert_eq!(world.refused(attempt), BAD_TOKEN);
    // Nor where it runs out while the answer is on its way to the store.
    let attempt = by_token(&mut world, FactorKind::PASSWORD);
    world.answer_right(attempt);
    world.settle_until(|job| matches!(job, Job::Do(Action::Enrol { .. })));
    world.pass(Duration::from_secs(60));
    world.settle();
    assert_eq!(world.refused(attempt), BAD_TOKEN);
    assert_eq!(world.factors("ada"), before);
}

#[test]
fn two_enrolments_at_once_with_one_token_enrol_one_factor() {
    let mut world = World::new();
    let token = world.issue_token("ada", &[]);
    let before = world.factors("ada").len();
    let attempts =
        [LAPTOP, PHONE].map(|peer| world.enrol_by(peer, FactorKind::PASSWORD, Some(&token)));
    world.settle();
    for attempt in attempts {
        world.answer_right(attempt);
    }
    let is_added = |job: &Job| matches!(job, Job::Do(Action::AddFactor { .. }));
    let first = world.settle_until(is_added);
    let first = world.pending.remove(first);
    world.settle_until(is_added);
    world.pending.push(first);
    world.settle();
    assert_eq!(world.refused(attempts[0]), BAD_TOKEN);
    assert!(enrolled(&world, attempts[1]).is_some());
    assert_eq!(world.factors("ada").len(), before + 1);
}

#[test]
fn without_a_token_the_policys_factors_are_asked_for_first() {
    let mut world = password_then_totp();
    let attempt = world.enrol_by(LAPTOP, FactorKind::DEVICE_KEY, None);
    world.settle();
    for kind in [FactorKind::PASSWORD, FactorKind::TOTP] {
        assert_eq!(world.asked_for(attempt), Some(kind));
        assert!(!world.shown.contains_key(&attempt));
        world.pass_one(attempt);
    }
    // Two rounds, neither of which is a failure.
    for _ in 0..2 {
        assert_eq!(world.asked_for(attempt), None);
        world.pass_one(attempt);
    }
    let factor = enrolled(&world, attempt).expect("a factor");
    assert_eq!(world.factor(factor).unwrap().kind, FactorKind::DEVICE_KEY);
    assert!(world.live().is_empty() && world.installed().is_empty());

    // The one-time password that it took admits no one.
    let attempt = world.begin(LAPTOP);
    world.settle();
    for _ in 0..2 {
        world.pass_one(attempt);
    }
    assert_eq!(world.denied(attempt), Some(DeniedReason::Replayed));
}

#[test]
fn a_factor_that_was_passed_and_taken_away_enrols_nothing() {
    let mut world = password_then_totp();
    let before = world.factors("ada").len();
    let attempt = world.enrol_by(LAPTOP, FactorKind::PASSWORD, None);
    world.settle();
    for _ in 0..2 {
        world.pass_one(attempt);
    }
    world.suspend_factor(factor_of("ada", &FactorKind::PASSWORD));
    world.pass_one(attempt);
    assert_eq!(world.refused(attempt), Some(&Refusal::NoFactor {}));
    assert_eq!(world.factors("ada").len(), before);
}

#[test]
fn an_enrolment_that_the_store_does_not_tell_of_is_not_told() {
    for (fault, is_there) in [(StoreFault::Fail, false), (StoreFault::ApplyThenFail, true)] {
        let mut world = World::new();
        let before = world.factors("ada").len();
        let token = world.issue_token("ada", &[]);
        let enrol = |world: &mut World| {
            let attempt = world.enrol_by(LAPTOP, FactorKind::PASSWORD, Some(&token));
            world.settle();
            attempt
        };
        let attempt = enrol(&mut world);
        world.store.fail_next(StoreCall::EnrolFactor, fault);
        world.pass_one(attempt);
        assert_eq!(world.refused(attempt), UNAVAILABLE);
        // The token tells whether it took effect.
        let again = enrol(&mut world);
        world.pass_one(again);
        assert_eq!(enrolled(&world, again).is_none(), is_there);
        assert_eq!(world.factors("ada").len(), before + 1);
    }
}

#[test]
fn wrong_answers_end_an_enrolment_and_count_for_no_factor() {
    let mut world = World::new();
    let before = world.factors("ada");
    let attempt = by_token(&mut world, FactorKind::PASSWORD);
    for left in (0..4).rev() {
        world.answer(attempt, WRONG);
        world.settle();
        let Some(Outcome::Denied(denied)) = world.reply_to(attempt) else {
            panic!("not denied");
        };
        assert_eq!(
            (denied.reason, denied.tries_left),
            (DeniedReason::Wrong, left)
        );
    }
    world.answer(attempt, WRONG);
    world.settle();
    assert_eq!(world.refused(attempt), Some(&Refusal::NoAttempt {}));
    assert_eq!(world.factors("ada"), before);
    assert_eq!(world.disk_tokens("ada").len(), 1, "the token is left");
    let denied = AuditKind::EnrolmentDenied {
        kind: FactorKind::PASSWORD,
        reason: FailureReason::Wrong,
    };
    assert_eq!(world.records(&denied), 5);
}

#[test]
fn what_can_not_be_enrolled_leaves_the_token() {
    let mut world = World::new();
    let attempt = by_token(&mut world, FactorKind::RECOVERY_CODES);
    assert_eq!(world.refused(attempt), Some(&Refusal::NotEnrollable {}));
    world.credential = CredentialId::new(vec![7]);
    for (left, is_first) in [(1, true), (2, false)] {
        let attempt = by_token(&mut world, FactorKind::PASSWORD);
        world.pass_one(attempt);
        assert_eq!(enrolled(&world, attempt).is_some(), is_first);
        assert_eq!(world.disk_tokens("ada").len(), left);
    }
}

#[test]
fn invariant_7_a_verifier_that_fails_enrols_nothing() {
    let mut world = World::new();
    let before = world.factors("ada");
    let attempt = by_token(&mut world, FactorKind::PASSWORD);
    world.verifier_fails = true;
    world.pass_one(attempt);
    assert_eq!(world.refused(attempt), UNAVAILABLE);
    let attempt = by_token(&mut world, FactorKind::PASSWORD);
    assert_eq!(world.refused(attempt), UNAVAILABLE);
    assert_eq!(world.factors("ada"), before);
}

#[test]
fn a_recovery_code_is_told_of_once_it_is_used_and_not_before() {
    let used = |world: &World| {
        let is_told = |event: &&Event| matches!(event, Event::RecoveryCodeUsed { .. });
        let told = world.events.iter().filter(is_told).count();
        assert_eq!(world.records(&AuditKind::RecoveryCodeUsed), told);
        told
    };
    let steps = [one(FactorKind::RECOVERY_CODES), one(FactorKind::PASSWORD)];
    let mut world = World::with(in_steps(steps));
    // It is used at the first step, whether or not the rest follows, and for an enrolment too.
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.answer_right(attempt);
    world.settle_until(|job| matches!(job, Job::Do(Action::Pass { .. })));
    assert_eq!(used(&world), 0);
    world.settle();
    assert_eq!(used(&world), 1);
    world.pass_one(attempt);
    assert!(world.is_granted(attempt));
    assert_eq!(used(&world), 1, "told once");
    let attempt = world.enrol_by(PHONE, FactorKind::PASSWORD, None);
    world.settle();
    world.pass_one(attempt);
    assert_eq!(used(&world), 2);

    let mut world = World::with(in_steps([one(FactorKind::RECOVERY_CODES)]));
    world
        .store
        .fail_next(StoreCall::OpenSession, StoreFault::Fail);
    world.admit(LAPTOP);
    assert_eq!(used(&world), 0, "the store did not take it");
    let attempt = world.admit(LAPTOP);
    assert!(world.is_granted(attempt));
    assert_eq!(used(&world), 1);
}
