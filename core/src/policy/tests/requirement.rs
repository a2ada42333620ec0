use super::fixtures::{KEY, PASSWORD, TOTP, minutes};
use crate::assurance::{Assurance, FactorKind};
use crate::policy::{Ability, Claim, Property, Requirement, Unmet};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn require(property: Property) -> Requirement {
    Requirement {
        phishing_resistant: property == Property::PhishingResistant,
        user_verified: property == Property::UserVerified,
        replay_resistant: property == Property::ReplayResistant,
        verifier_bound: property == Property::VerifierBound,
        hardware: property == Property::Hardware,
        authentication_age: None,
    }
}

fn proof(property: Property) -> Assurance {
    Assurance {
        phishing_resistant: property == Property::PhishingResistant,
        user_verified: property == Property::UserVerified,
        replay_resistant: property == Property::ReplayResistant,
        verifier_bound: property == Property::VerifierBound,
        hardware: property == Property::Hardware,
        ..Assurance::least(KEY, NOW)
    }
}

#[test]
fn each_property_is_met_by_a_proof_that_has_it_and_by_no_other() {
    for wanted in Property::ALL {
        let require = require(wanted);
        assert_eq!(require.properties(), [wanted]);
        assert_eq!(require.unmet(&[], NOW), Some(Unmet::Property(wanted)));
        for had in Property::ALL {
            let unmet = (had != wanted).then_some(Unmet::Property(wanted));
            assert_eq!(require.unmet(&[proof(had)], NOW), unmet);
        }
    }
}

#[test]
fn proofs_meet_a_requirement_together() {
    let require = Requirement {
        user_verified: true,
        hardware: true,
        ..Requirement::default()
    };
    let (verified, hard) = (proof(Property::UserVerified), proof(Property::Hardware));
    let unmet = require.unmet(std::slice::from_ref(&verified), NOW);
    assert_eq!(unmet, Some(Unmet::Property(Property::Hardware)));
    assert_eq!(require.unmet(&[verified, hard], NOW), None);
}

#[test]
fn every_proof_must_be_fresh_and_none_is_not_fresh() {
    let require = Requirement {
        authentication_age: Some(minutes(15)),
        ..Requirement::default()
    };
    let stale = Some(Unmet::Age(minutes(15)));
    let of = |time| Assurance::least(TOTP, time);
    let millisecond = std::time::Duration::from_millis(1);
    let oldest = NOW - minutes(15);
    assert_eq!(require.unmet(&[of(NOW), of(oldest)], NOW), None);
    assert_eq!(
        require.unmet(&[of(NOW), of(oldest - millisecond)], NOW),
        stale
    );
    assert_eq!(require.unmet(&[], NOW), stale);
    let ahead = NOW + minutes(15);
    assert_eq!(
        require.unmet(&[of(ahead)], NOW),
        None,
        "a clock that is ahead"
    );
    assert_eq!(require.unmet(&[of(ahead + millisecond)], NOW), stale);
}

#[test]
fn nothing_is_required_by_default() {
    assert_eq!(Requirement::default().unmet(&[], NOW), None);
}

#[test]
fn what_each_kind_can_prove() {
    let mut table = String::new();
    for kind in FactorKind::ALL.into_iter().chain([FactorKind::new("card")]) {
        let ability = Ability::of(&kind);
        table += &format!("{kind}: {}", ability.category);
        for property in Property::ALL {
            match ability.claim(property) {
                Claim::Always => table += &format!(", {}", property.as_str()),
                Claim::May => table += &format!(", perhaps {}", property.as_str()),
                Claim::Never => assert!(!ability.may_prove(property)),
            }
        }
        table.push('\n');
    }
    insta::assert_snapshot!(table);
    assert_eq!(
        Ability::of(&PASSWORD).claim(Property::Hardware),
        Claim::Never
    );
}
