use proptest::prelude::*;

use super::fixtures::{KEY, PASSKEY, TOTP, any, group, minutes, of_steps, policies};
use crate::policy::{
    EndpointChange, GroupRule, InvalidPolicy, Policy, PolicyFault, Property, RenewalRule,
    Requirement,
};

fn with_rules<const N: usize>(rules: [GroupRule; N]) -> Policy {
    Policy {
        groups: rules.into(),
        inactivity: Some(minutes(60)),
        sessions_per_user: Some(1),
        ..of_steps([any([TOTP])])
    }
}

#[test]
fn a_rule_changes_what_it_sets_and_nothing_else() {
    let rule = GroupRule {
        steps: Some(vec![any([KEY])]),
        max_age: Some(minutes(30)),
        inactivity: Some(None),
        renewal: Some(RenewalRule::Off),
        ..GroupRule::new(group("admins"))
    };
    assert_eq!(rule.sets(), ["steps", "max_age", "inactivity", "renewal"]);
    let policy = with_rules([rule]);
    let expected = Policy {
        steps: vec![any([KEY])],
        max_age: minutes(30),
        inactivity: None,
        renewal: RenewalRule::Off,
        ..with_rules([])
    };
    assert_eq!(policy.for_groups(&[group("admins")]), expected);
    assert_eq!(policy.for_groups(&[group("staff")]), with_rules([]));
    assert_eq!(policy.for_groups(&[]), with_rules([]));
}

#[test]
fn a_rule_sets_every_field_that_it_names() {
    let whole = GroupRule {
        group: group("admins"),
        steps: Some(vec![any([PASSKEY])]),
        require: Some(Requirement {
            hardware: true,
            ..Requirement::default()
        }),
        max_age: Some(minutes(1)),
        lease: Some(minutes(2)),
        inactivity: Some(Some(minutes(3))),
        endpoint_change: Some(EndpointChange::Warn),
        warn_before: Some(minutes(4)),
        renewal: Some(RenewalRule::Factor),
        end_on_wake: Some(true),
        windows: Some(Vec::new()),
        sessions_per_user: Some(Some(5)),
    };
    let names = whole.sets();
    let resolved = with_rules([whole.clone()]).for_groups(std::slice::from_ref(&whole.group));
    let before = with_rules([]);
    assert_eq!(names.len(), 11);
    assert_eq!(resolved.steps, [any([PASSKEY])]);
    assert!(resolved.require.hardware && resolved.end_on_wake);
    assert_eq!(resolved.max_age, minutes(1));
    assert_eq!(resolved.lease, minutes(2));
    assert_eq!(resolved.inactivity, Some(minutes(3)));
    assert_eq!(resolved.warn_before, minutes(4));
    assert_eq!(resolved.renewal, RenewalRule::Factor);
    assert_eq!(resolved.sessions_per_user, Some(5));
    assert_eq!(resolved.throttle, before.throttle);
}

#[test]
fn the_first_rule_for_one_of_the_groups_applies_alone() {
    let admins = GroupRule {
        max_age: Some(minutes(10)),
        ..GroupRule::new(group("admins"))
    };
    let staff = GroupRule {
        max_age: Some(minutes(20)),
        end_on_wake: Some(true),
        ..GroupRule::new(group("staff"))
    };
    let policy = with_rules([admins, staff]);
    let both = policy.for_groups(&[group("staff"), group("admins")]);
    assert_eq!(both.max_age, minutes(10), "by the order of the rules");
    assert!(!both.end_on_wake, "a later rule adds nothing");
    let one = policy.for_groups(&[group("staff")]);
    assert_eq!((one.max_age, one.end_on_wake), (minutes(20), true));
}

#[test]
fn what_a_rule_makes_of_the_policy_is_checked() {
    let rule = GroupRule {
        require: Some(Requirement {
            hardware: true,
            ..Requirement::default()
        }),
        ..GroupRule::new(group("admins"))
    };
    let fault = with_rules([GroupRule::new(group("a")), rule]).check();
    let fault = fault.unwrap_err();
    let expected = PolicyFault::Group {
        rule: 1,
        group: group("admins"),
        fault: Box::new(PolicyFault::Unprovable {
            property: Property::Hardware,
        }),
    };
    assert_eq!(fault, InvalidPolicy(expected));
    assert_eq!(fault.0.place().to_string(), "groups[1].require.hardware");
}

#[test]
fn a_second_rule_for_a_group_is_refused() {
    let twice = with_rules([GroupRule::new(group("a")), GroupRule::new(group("a"))]);
    let fault = twice.check().unwrap_err();
    assert!(matches!(
        fault,
        InvalidPolicy(PolicyFault::GroupTwice { rule: 1, .. })
    ));
}

proptest! {
    // Most policies that are made at random are refused.
    #![proptest_config(ProptestConfig { max_global_rejects: 65_536, ..ProptestConfig::default() })]

    #[test]
    fn every_policy_that_can_apply_was_checked(policy in policies()) {
        prop_assume!(policy.check().is_ok());
        let names = ["a", "b", "c d", "unknown"].map(group);
        for place in 0..names.len() {
            let (groups, _) = names.split_at(place);
            let resolved = policy.for_groups(groups);
            prop_assert_eq!(resolved.check(), Ok(()));
            prop_assert!(resolved.groups.is_empty());
        }
    }
}
