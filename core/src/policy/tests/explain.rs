use proptest::prelude::*;
use proptest::sample::subsequence;

use super::fixtures::{
    KEY, PASSKEY, PASSWORD, TOTP, all, any, group, kinds, minutes, of_steps, policies,
};
use crate::policy::{
    EndpointChange, ExplainedOutcome, GroupRule, LeftOut, Next, Policy, Property, RenewalRule,
    Requirement, Weekday, Window, explain,
};

fn office() -> Policy {
    let time = |text: &str| text.parse().unwrap();
    let days = Weekday::ALL.into_iter().take(5);
    let hours = Window::new(
        days,
        time("08:00"),
        time("18:00"),
        "+01:00".parse().unwrap(),
    );
    let admins = GroupRule {
        steps: Some(vec![any([PASSWORD, TOTP]), any([TOTP, PASSKEY, KEY])]),
        require: Some(Requirement {
            phishing_resistant: true,
            hardware: true,
            authentication_age: Some(minutes(15)),
            ..Requirement::default()
        }),
        lease: Some(minutes(60)),
        inactivity: Some(Some(minutes(15))),
        sessions_per_user: Some(Some(1)),
        end_on_wake: Some(true),
        windows: Some(vec![hours.unwrap()]),
        ..GroupRule::new(group("admins"))
    };
    Policy {
        groups: vec![admins],
        ..of_steps([any([PASSKEY, TOTP])])
    }
}

#[test]
fn an_explanation_reads_as_people_read() {
    let admins = [group("staff"), group("admins")];
    let mut rigid = of_steps([all([PASSWORD, TOTP])]);
    rigid.renewal = RenewalRule::Off;
    rigid.endpoint_change = EndpointChange::Reauthenticate;
    rigid.throttle.free = 3;
    rigid.throttle.disable_at = 10;
    let texts = [
        explain(&office(), &[], &[TOTP]),
        explain(&office(), &admins, &[PASSWORD, TOTP, KEY]),
        explain(&office(), &admins, &[PASSWORD, TOTP]),
        explain(&rigid, &[], &[TOTP, PASSWORD]),
        explain(&rigid, &[], &[]),
    ];
    insta::assert_snapshot!(texts.map(|text| text.to_string()).join("\n"));
}

#[test]
fn an_explanation_is_data() {
    let held = [PASSWORD, TOTP, KEY];
    let explanation = explain(&office(), &[group("admins")], &held);
    assert_eq!(explanation.rule, Some(group("admins")));
    assert_eq!(
        explanation.verdict,
        ExplainedOutcome::Passes {
            if_proven: vec![Property::Hardware]
        }
    );
    let [first, second] = &explanation.questions[..] else {
        panic!("two questions, not {:?}", explanation.questions)
    };
    assert_eq!(first.offered, [PASSWORD, TOTP]);
    assert_eq!(second.offered, [KEY]);
    assert_eq!(
        second.left_out,
        [
            (TOTP, LeftOut::NotEnough(Property::PhishingResistant)),
            (PASSKEY, LeftOut::NotHeld)
        ]
    );
}

#[test]
fn a_user_without_the_factors_is_stuck_at_the_first_question() {
    let explanation = explain(&office(), &[group("admins")], &[PASSWORD, TOTP]);
    assert_eq!(explanation.verdict, ExplainedOutcome::Stuck);
    assert_eq!(explanation.questions.len(), 1);
    let unheld = explain(&of_steps([any([TOTP, PASSKEY]), any([TOTP])]), &[], &[TOTP]);
    assert_eq!(
        unheld.questions[0].left_out,
        [(TOTP, LeftOut::LeadsNowhere), (PASSKEY, LeftOut::NotHeld)]
    );
}

proptest! {
    // Most policies that are made at random are refused.
    #![proptest_config(ProptestConfig { max_global_rejects: 65_536, ..ProptestConfig::default() })]

    #[test]
    fn an_explanation_says_what_the_gate_will_ask(
        policy in policies(),
        held in subsequence(kinds(), 0..=8),
    ) {
        prop_assume!(policy.check().is_ok());
        let explanation = explain(&policy, &[group("a")], &held);
        let resolved = policy.for_groups(&[group("a")]);
        let mut passed = Vec::new();
        for question in &explanation.questions {
            let next = resolved.next_of(&passed, &held);
            prop_assert_eq!(next, Next::Ask(question.offered.clone()));
            let named = question.offered.len() + question.left_out.len();
            prop_assert_eq!(named, resolved.steps[question.step].kinds().len());
            passed.extend(question.offered.first().cloned());
        }
        let passes = matches!(explanation.verdict, ExplainedOutcome::Passes { .. });
        prop_assert_eq!(resolved.next_of(&passed, &held) == Next::Done, passes);
        prop_assert!(explanation.to_string().ends_with('\n'));
    }
}
