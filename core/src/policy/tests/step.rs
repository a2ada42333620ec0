use proptest::prelude::*;
use proptest::sample::subsequence;

use super::fixtures::{
    CARD, KEY, PASSKEY, PASSWORD, TOTP, all, any, kinds, of_steps, requirement, steps,
};
use crate::assurance::FactorKind;
use crate::policy::{
    Ability, InvalidPolicy, Next, Policy, PolicyFault, Property, Requirement, Step,
};

fn ask<const N: usize>(kinds: [FactorKind; N]) -> Next {
    Next::Ask(kinds.into())
}

fn hardware() -> Requirement {
    Requirement {
        hardware: true,
        ..Requirement::default()
    }
}

#[test]
fn steps_are_asked_in_their_order_and_factors_in_theirs() {
    let policy = of_steps([any([PASSKEY, TOTP]), all([PASSWORD, KEY])]);
    assert_eq!(policy.check(), Ok(()));
    assert_eq!(policy.next(&[]), ask([PASSKEY, TOTP]));
    assert_eq!(policy.next(&[TOTP]), ask([PASSWORD, KEY]));
    assert_eq!(policy.next(&[TOTP, KEY]), ask([PASSWORD]));
    assert_eq!(policy.next(&[TOTP, KEY, PASSWORD]), Next::Done);
}

#[test]
fn a_factor_counts_for_one_step_only() {
    let policy = of_steps([any([TOTP, KEY]), any([TOTP, KEY])]);
    assert_eq!(policy.next(&[]), ask([TOTP, KEY]));
    assert_eq!(policy.next(&[TOTP]), ask([KEY]));
    assert_eq!(policy.next(&[TOTP, TOTP]), ask([KEY]));
    assert_eq!(policy.next(&[TOTP, KEY]), Next::Done);
}

#[test]
fn a_factor_that_a_later_step_needs_is_kept_for_it() {
    let policy = of_steps([any([TOTP, PASSKEY]), all([TOTP, PASSWORD])]);
    assert_eq!(policy.next(&[]), ask([PASSKEY]));
    assert_eq!(policy.next(&[PASSKEY]), ask([TOTP, PASSWORD]));
}

#[test]
fn a_factor_that_leads_to_a_dead_end_is_not_offered() {
    let mut policy = of_steps([any([TOTP, PASSKEY]), any([PASSWORD, KEY])]);
    policy.require = hardware();
    assert_eq!(policy.next(&[]), ask([TOTP, PASSKEY]));
    assert_eq!(policy.next(&[TOTP]), ask([KEY]));
    assert_eq!(policy.next(&[PASSKEY]), ask([PASSWORD, KEY]));
}

#[test]
fn what_was_not_asked_for_counts_for_nothing() {
    let policy = of_steps([any([TOTP]), any([PASSWORD])]);
    assert_eq!(policy.next(&[PASSWORD]), ask([TOTP]));
    assert_eq!(policy.next(&[PASSWORD, TOTP]), ask([PASSWORD]));
    assert_eq!(policy.next(&[CARD, TOTP, CARD, PASSWORD]), Next::Done);
}

#[test]
fn a_user_is_offered_what_they_have_and_can_finish_with() {
    let policy = of_steps([any([TOTP, PASSKEY]), any([TOTP, PASSWORD])]);
    assert_eq!(policy.next_of(&[], &[TOTP, PASSKEY]), ask([PASSKEY]));
    assert_eq!(policy.next_of(&[], &[TOTP, PASSWORD]), ask([TOTP]));
    assert_eq!(policy.next_of(&[], &[TOTP]), ask([]));
    let both = of_steps([all([TOTP, PASSWORD])]);
    assert_eq!(both.next_of(&[], &[TOTP]), ask([]));
    assert_eq!(both.next_of(&[TOTP], &[TOTP, PASSWORD]), ask([PASSWORD]));
}

#[test]
fn an_unchecked_policy_offers_nothing_and_admits_no_one() {
    for steps in [
        vec![any([])],
        vec![all([])],
        vec![any([TOTP]), any([TOTP])],
        vec![any([TOTP]), all([TOTP, KEY])],
        vec![all([TOTP, TOTP])],
    ] {
        let policy = Policy {
            steps,
            ..Policy::default()
        };
        assert!(policy.check().is_err(), "{policy:?}");
        let mut passed = Vec::new();
        // Never `Done`, whatever is passed as long as something is offered.
        while let Next::Ask(offered) = policy.next(&passed) {
            match offered.first() {
                Some(kind) => passed.push(kind.clone()),
                None => break,
            }
        }
        assert_eq!(policy.next(&passed), ask([]), "{policy:?} {passed:?}");
        assert_ne!(policy.next(&[TOTP, TOTP]), Next::Done, "{policy:?}");
    }
    let many = (0..100).map(|number| FactorKind::from_string(format!("kind {number}")));
    let policy = Policy {
        steps: vec![Step::AnyOf(many.collect())],
        ..Policy::default()
    };
    assert_eq!(
        policy.check(),
        Err(InvalidPolicy(PolicyFault::TooManyKinds {
            step: 0,
            place: 16
        }))
    );
    let last = FactorKind::new("kind 99");
    assert_ne!(policy.next(&[last]), Next::Done);
}

#[test]
fn the_largest_policy_that_leads_nowhere_is_seen_through_soon() {
    let many: Vec<_> = (0..Policy::MOST_KINDS - 1)
        .map(|number| FactorKind::from_string(format!("kind {number}")))
        .chain([TOTP])
        .collect();
    let mut steps = vec![Step::AnyOf(many.clone()); Policy::MOST_STEPS - 1];
    steps.push(any([TOTP]));
    let mut policy = Policy {
        steps,
        ..Policy::default()
    };
    assert_eq!(policy.check(), Ok(()));
    assert_eq!(policy.next_of(&[], &[TOTP]), ask([]));
    policy.steps.push(any([TOTP]));
    policy.steps.remove(0);
    assert_eq!(
        policy.check(),
        Err(InvalidPolicy(PolicyFault::Stuck { step: 7 }))
    );
}

/// Whether kinds that differ lead from the first of these steps to the end, tried one by one.
fn can_pass(
    steps: &[Step],
    passed: &[FactorKind],
    held: &[FactorKind],
    required: &[Property],
) -> bool {
    let Some((step, later)) = steps.split_first() else {
        return required.iter().all(|property| {
            passed
                .iter()
                .any(|kind| Ability::of(kind).may_prove(*property))
        });
    };
    let is_free = |kind: &&FactorKind| held.contains(kind) && !passed.contains(kind);
    let with = |kinds: &[FactorKind]| [passed, kinds].concat();
    match step {
        Step::AnyOf(kinds) => kinds
            .iter()
            .filter(is_free)
            .any(|kind| can_pass(later, &with(std::slice::from_ref(kind)), held, required)),
        Step::AllOf(kinds) => {
            !kinds.is_empty()
                && kinds.iter().filter(is_free).count() == kinds.len()
                && can_pass(later, &with(kinds), held, required)
        }
    }
}

proptest! {
    #[test]
    fn each_offer_leads_to_the_end_and_a_way_is_always_offered(
        steps in steps(),
        require in requirement(),
        held in subsequence(kinds(), 0..=8),
        picks in prop::collection::vec(proptest::arbitrary::any::<prop::sample::Index>(), 20),
    ) {
        let policy = Policy { steps, require, ..Policy::default() };
        let required = policy.require.properties();
        let mut passed: Vec<FactorKind> = Vec::new();
        let way = !policy.steps.is_empty() && can_pass(&policy.steps, &[], &held, &required);
        for pick in picks {
            let Next::Ask(offered) = policy.next_of(&passed, &held) else { break };
            if passed.is_empty() {
                prop_assert_eq!(!offered.is_empty(), way);
            }
            if offered.is_empty() {
                prop_assert!(passed.is_empty(), "offered {:?}, and then no more", passed);
                return Ok(());
            }
            let kind = pick.get(&offered);
            prop_assert!(held.contains(kind) && !passed.contains(kind));
            passed.push(kind.clone());
        }
        if !policy.steps.is_empty() {
            prop_assert_eq!(policy.next(&passed), Next::Done);
            for property in required {
                prop_assert!(passed.iter().any(|kind| Ability::of(kind).may_prove(property)));
            }
        }
    }

    #[test]
    fn what_is_checked_can_be_passed_by_somebody_and_nothing_else(
        steps in steps(),
        require in requirement(),
    ) {
        let policy = Policy { steps, require, ..Policy::default() };
        let can = can_pass(&policy.steps, &[], &kinds(), &policy.require.properties());
        match policy.check() {
            Ok(()) => prop_assert!(can),
            Err(InvalidPolicy(PolicyFault::Zero { .. }) | InvalidPolicy(PolicyFault::NoFactor)) => {}
            Err(fault) => prop_assert!(!can, "{}", fault),
        }
    }
}

#[test]
fn who_lacks_a_step_s_kind_can_not_get_through() {
    let policy = of_steps([any([PASSWORD]), any([TOTP, PASSKEY])]);
    assert!(policy.is_passable_with(&[PASSWORD, TOTP]));
    for held in [&[PASSWORD][..], &[TOTP, PASSKEY], &[]] {
        assert!(!policy.is_passable_with(held), "{held:?}");
    }
}
