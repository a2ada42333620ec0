use super::fixtures::{CARD, KEY, PASSKEY, PASSWORD, TOTP, all, any, group, minutes, of_steps};
use crate::assurance::FactorKind;
use crate::policy::{Aal, Gap, GroupRule, Next, Policy, Requirement, Shortfall, Step, meets};

fn gaps(policy: &Policy, level: Aal) -> Vec<Gap> {
    let short = meets(policy, level).err().unwrap_or_default();
    short.into_iter().map(|short| short.gap).collect()
}

fn with(steps: Vec<Step>, require: &Requirement, level: Aal) -> Policy {
    let preset = match level {
        Aal::Aal1 => Policy::aal1(),
        Aal::Aal2 => Policy::aal2(),
        Aal::Aal3 => Policy::aal3(),
    };
    Policy {
        steps,
        require: require.clone(),
        ..preset
    }
}

fn verified() -> Requirement {
    Requirement {
        user_verified: true,
        ..Requirement::default()
    }
}

#[test]
fn the_presets_have_the_standards_figures_and_level() {
    let hours = |count: u64| minutes(60 * count);
    let figures = |policy: &Policy| (policy.max_age, policy.inactivity);
    assert_eq!(figures(&Policy::aal1()), (hours(30 * 24), None));
    assert_eq!(figures(&Policy::aal2()), (hours(24), Some(hours(1))));
    assert_eq!(figures(&Policy::aal3()), (hours(12), Some(minutes(15))));
    for (policy, level) in [
        (Policy::aal1(), Aal::Aal1),
        (Policy::aal2(), Aal::Aal1),
        (Policy::aal2(), Aal::Aal2),
        (Policy::aal3(), Aal::Aal2),
        (Policy::aal3(), Aal::Aal3),
    ] {
        assert_eq!(policy.check(), Ok(()));
        assert_eq!(meets(&policy, level), Ok(()), "{level}");
    }
    assert!(meets(&Policy::aal1(), Aal::Aal2).is_err());
    assert!(meets(&Policy::aal2(), Aal::Aal3).is_err());
    for policy in [Policy::aal2(), Policy::aal3()] {
        assert_eq!(policy.next(&[]), Next::Ask(vec![PASSKEY, KEY]));
    }
}

#[test]
fn two_possessions_are_not_aal2_and_the_reason_is_given() {
    let steps = vec![any([KEY]), any([TOTP])];
    let short = Policy::aal2_with(steps, Requirement::default()).unwrap_err();
    assert_eq!(
        short,
        [Shortfall {
            group: None,
            gap: Gap::OnlyPossessions(vec![KEY, TOTP]),
        }]
    );
    assert_eq!(
        short[0].to_string(),
        "`device-key` and `totp` are all something you have, and two possessions are one factor \
         (section 2.2.1): add a password, or require `user_verified` of a factor that can verify \
         its user"
    );
    let steps = vec![all([KEY, TOTP, FactorKind::RECOVERY_CODES])];
    assert!(Policy::aal2_with(steps, Requirement::default()).is_err());
}

#[test]
fn what_is_two_factors() {
    let none = Requirement::default();
    let oidc = FactorKind::OIDC;
    let is_enough = |steps: Vec<Step>, require: &Requirement| {
        let gaps = gaps(&with(steps, require, Aal::Aal2), Aal::Aal2);
        !gaps
            .iter()
            .any(|gap| matches!(gap, Gap::OnlyPossessions(_) | Gap::OneFactor(_)))
    };
    assert!(is_enough(vec![any([PASSKEY])], &none));
    assert!(is_enough(vec![all([PASSWORD, TOTP])], &none));
    assert!(is_enough(vec![any([KEY])], &verified()));
    assert!(is_enough(vec![any([oidc.clone()])], &verified()));
    assert!(!is_enough(vec![any([KEY])], &none), "no one was verified");
    assert!(!is_enough(vec![any([oidc])], &none), "no one was verified");
    assert!(!is_enough(vec![any([PASSWORD])], &none));
    assert!(
        !is_enough(vec![any([PASSKEY, TOTP])], &none),
        "one way is not enough"
    );
    let mail = FactorKind::EMAIL_CODE;
    assert!(
        !is_enough(vec![all([PASSWORD, mail])], &none),
        "mail is no possession"
    );
    assert!(
        !is_enough(vec![all([KEY, CARD])], &verified()),
        "the card may be what verified the user"
    );
}

#[test]
fn aal3_wants_one_key_that_has_everything() {
    let require = Policy::aal3().require;
    let own = |steps| Policy::aal3_with(steps, require.clone());
    assert!(own(vec![any([KEY])]).is_ok());
    assert!(own(vec![any([PASSWORD]), any([PASSKEY])]).is_ok());
    let short = own(vec![all([KEY, PASSKEY])]).unwrap_err();
    let split = short.iter().map(|short| &short.gap);
    assert_eq!(split.collect::<Vec<_>>(), [&Gap::Split(vec![KEY, PASSKEY])]);
    let soft = Requirement {
        hardware: false,
        ..require.clone()
    };
    let short = Policy::aal3_with(vec![any([KEY])], soft).unwrap_err();
    assert_eq!(short[0].gap, Gap::Exportable(vec![KEY]));
}

#[test]
fn every_gap_says_what_to_do_and_where_the_standard_says_so() {
    let mut loose = of_steps([any([PASSKEY, TOTP, PASSWORD, FactorKind::EMAIL_CODE])]);
    loose.max_age = Policy::LONGEST;
    let empty = of_steps([]);
    let mut grouped = Policy::aal2();
    grouped.groups = vec![GroupRule {
        inactivity: Some(None),
        steps: Some(vec![any([KEY]), any([CARD])]),
        require: Some(Requirement::default()),
        ..GroupRule::new(group("staff"))
    }];
    let phishable = with(
        vec![all([PASSWORD, TOTP])],
        &Requirement::default(),
        Aal::Aal2,
    );
    let split = with(
        vec![all([KEY, PASSKEY])],
        &Policy::aal3().require,
        Aal::Aal3,
    );
    let mut texts = Vec::new();
    for (name, policy) in [
        ("loose", loose),
        ("empty", empty),
        ("for a group", grouped),
        ("phishable", phishable),
        ("split", split),
    ] {
        for level in [Aal::Aal1, Aal::Aal2, Aal::Aal3] {
            texts.push(format!("# {name}, {level}"));
            for short in meets(&policy, level).err().unwrap_or_default() {
                let word = if short.gap.is_binding() {
                    "SHALL"
                } else {
                    "SHOULD"
                };
                texts.push(format!("{word}: {short}"));
            }
        }
    }
    insta::assert_snapshot!(texts.join("\n"));
}
