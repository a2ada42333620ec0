//! What a policy says apart from its steps: groups, hours, how many sessions, what a renewal asks for,
//! what must be proven, and for how long a factor vouches.

use std::time::Duration;

use super::fixtures::{self, BOBS, LAPTOP, PHONE, in_steps, one};
use super::world::{Job, World};
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::channel::message::{DeniedReason, Refusal};
use crate::gate::{Action, Intent, Outcome};
use crate::policy::{GroupRule, Policy, RenewalRule, TimeOfDay, UtcOffset, Weekday, Window};
use crate::store::EndReason;
use crate::testing::StoreFault;

const OUTSIDE_HOURS: Option<&Refusal> = Some(&Refusal::OutsideHours {});
/// From the world's beginning until its location closes.
const CLOSES_AFTER: Duration = Duration::from_secs(1000);

/// Administrators pass two factors, for a short lease that ends when their device wakes.
fn with_admins() -> Policy {
    let mut rule = GroupRule::new("admins".parse().unwrap());
    rule.steps = Some(vec![one(FactorKind::PASSWORD), one(FactorKind::TOTP)]);
    rule.lease = Some(Duration::from_secs(120));
    rule.end_on_wake = Some(true);
    rule.sessions_per_user = Some(Some(1));
    Policy {
        groups: vec![rule],
        ..fixtures::policy()
    }
}

/// Open every day until 22:30, which is soon.
fn until_half_past_ten() -> Policy {
    let at = |minutes| TimeOfDay::from_minutes(minutes).unwrap();
    let days = [
        Weekday::Mon,
        Weekday::Tue,
        Weekday::Wed,
        Weekday::Thu,
        Weekday::Fri,
        Weekday::Sat,
        Weekday::Sun,
    ];
    let utc = UtcOffset::from_minutes(0).unwrap();
    let window = Window::new(days, at(8 * 60), at(22 * 60 + 30), utc).unwrap();
    Policy {
        windows: vec![window],
        ..in_steps([one(FactorKind::PASSWORD), one(FactorKind::TOTP)])
    }
}

fn admit_in_two(world: &mut World) -> crate::id::AttemptId {
    let attempt = world.begin(LAPTOP);
    world.settle();
    for _ in 0..2 {
        world.pass_one(attempt);
    }
    attempt
}

#[test]
fn a_users_group_says_which_rules_apply_also_after_a_restart() {
    let mut world = World::unmodelled(with_admins());
    world.put_into("ada", &["staff", "admins"]);
    let attempt = world.admit(BOBS);
    assert!(world.is_granted(attempt), "one factor is enough for Bob");
    let attempt = admit_in_two(&mut world);
    assert!(world.is_granted(attempt));
    let ends = |world: &World| {
        let of = |peer| world.lease(peer).unwrap().terms();
        let lasts = |peer| of(peer).left(world.now).as_secs();
        assert!(of(LAPTOP).end_on_wake && !of(BOBS).end_on_wake);
        (lasts(LAPTOP), lasts(BOBS))
    };
    assert_eq!(ends(&world), (120, 600));
    world.crash();
    world.settle();
    assert_eq!(ends(&world), (120, 600));

    let phone = world.begin(PHONE);
    world.settle();
    world.pass(Duration::from_secs(30));
    for _ in 0..2 {
        world.pass_one(phone);
    }
    assert_eq!(world.refused(phone), Some(&Refusal::TooManySessions {}));
    assert_eq!(world.live().len(), 2);
}

#[test]
fn a_user_put_into_a_group_meanwhile_passes_what_it_asks_for() {
    let mut world = World::unmodelled(with_admins());
    let attempt = world.begin(LAPTOP);
    world.settle();
    assert_eq!(world.asked_for(attempt), Some(FactorKind::TOTP));
    world.put_into("ada", &["admins"]);
    world.pass_one(attempt);
    assert_eq!(world.refused(attempt), Some(&Refusal::NoFactor {}));
    let attempt = admit_in_two(&mut world);
    assert!(world.is_granted(attempt));

    // And who leaves one is not held to it.
    let mut world = World::unmodelled(with_admins());
    world.put_into("ada", &["admins"]);
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.pass_one(attempt);
    world.put_into("ada", &[]);
    world.pass_one(attempt);
    assert!(world.is_granted(attempt));
    let left = world.lease(LAPTOP).unwrap().terms().left(world.now);
    assert_eq!(left, world.policy.lease);
}

#[test]
fn invariant_3_a_lease_ends_when_the_location_closes() {
    let mut world = World::with(until_half_past_ten());
    let closes = world.now.timestamp + CLOSES_AFTER;
    world.pass(Duration::from_secs(500));
    let attempt = admit_in_two(&mut world);
    assert!(world.is_granted(attempt));
    assert_eq!(world.lease(LAPTOP).unwrap().terms().not_after, closes);
    world.pass(Duration::from_secs(400));
    world.renew(LAPTOP);
    assert!(world.lease(LAPTOP).unwrap().terms().not_after <= closes);
    world.crash();
    world.settle();
    world.renew(LAPTOP);
    assert!(world.lease(LAPTOP).unwrap().terms().not_after <= closes);

    world.store.go_down(StoreFault::Fail);
    world.pass(Duration::from_secs(100));
    world.settle_until(|job| matches!(job, Job::Do(Action::Close { .. })));
    assert!(world.installed().is_empty());
}

#[test]
fn a_closed_location_asks_no_one_for_anything() {
    let mut world = World::with(until_half_past_ten());
    world.pass(CLOSES_AFTER);
    let attempt = world.begin(LAPTOP);
    world.settle();
    assert_eq!(world.refused(attempt), OUTSIDE_HOURS);
    assert_eq!(world.records(&AuditKind::OutsideHours), 1);
    assert!(
        world
            .replies
            .iter()
            .all(|(_, it)| !matches!(it, Outcome::Challenge { .. }))
    );
}

#[test]
fn a_location_that_closes_during_an_attempt_admits_no_one() {
    for steps_before in [0, 1] {
        let mut world = World::with(until_half_past_ten());
        world.pass(CLOSES_AFTER - Duration::from_secs(60));
        let attempt = world.begin(LAPTOP);
        world.settle();
        for _ in 0..steps_before {
            world.pass_one(attempt);
        }
        world.pass(Duration::from_secs(60));
        world.pass_one(attempt);
        assert_eq!(world.refused(attempt), OUTSIDE_HOURS);
        assert!(world.live().is_empty());
    }
}

#[test]
fn one_user_has_only_so_many_sessions_over_all_peers() {
    let mut world = World::with(Policy {
        sessions_per_user: Some(1),
        ..fixtures::policy()
    });
    let next = |world: &mut World, peer| {
        world.pass(Duration::from_secs(30));
        world.admit(peer)
    };
    for peer in [LAPTOP, BOBS, LAPTOP] {
        let attempt = next(&mut world, peer);
        assert!(
            world.is_granted(attempt),
            "another user, or the same peer again"
        );
    }
    let attempt = next(&mut world, PHONE);
    assert_eq!(world.refused(attempt), Some(&Refusal::TooManySessions {}));
    assert!(!world.is_installed(PHONE) && world.is_installed(LAPTOP));
    world.hello(LAPTOP, Intent::End(world.session_of(LAPTOP)));
    world.settle();
    let attempt = next(&mut world, PHONE);
    assert!(world.is_granted(attempt));
}

#[test]
fn a_renewal_asks_for_the_factors_or_is_off_as_the_policy_says() {
    let by_factor = Policy {
        renewal: RenewalRule::Factor,
        ..in_steps([one(FactorKind::PASSWORD), one(FactorKind::TOTP)])
    };
    let mut world = World::with(by_factor);
    admit_in_two(&mut world);
    let first = world.session_of(LAPTOP);
    world.pass(Duration::from_secs(100));
    let attempt = world.hello(LAPTOP, Intent::Renew(first));
    world.settle();
    for kind in [FactorKind::PASSWORD, FactorKind::TOTP] {
        assert_eq!(world.asked_for(attempt), Some(kind));
        assert_eq!(
            world.session_of(LAPTOP),
            first,
            "the older one goes on meanwhile"
        );
        world.pass_one(attempt);
    }
    assert!(world.is_granted(attempt));
    assert_ne!(world.session_of(LAPTOP), first);
    let left = world.lease(LAPTOP).unwrap().terms().left(world.now);
    assert_eq!(left, world.policy.lease);

    let mut world = World::with(Policy {
        renewal: RenewalRule::Off,
        ..fixtures::policy()
    });
    world.admit(LAPTOP);
    let attempt = world.hello(LAPTOP, Intent::Renew(world.session_of(LAPTOP)));
    world.settle();
    assert_eq!(world.refused(attempt), Some(&Refusal::NotRenewable {}));
}

#[test]
fn factors_that_prove_too_little_are_refused_and_used_up() {
    let mut policy = in_steps([one(FactorKind::TOTP), one(FactorKind::DEVICE_KEY)]);
    policy.require.user_verified = true;
    let mut world = World::with(policy);
    let attempt = world.begin(LAPTOP);
    world.settle();
    for _ in 0..3 {
        world.pass_one(attempt);
    }
    assert_eq!(world.refused(attempt), Some(&Refusal::Assurance {}));
    assert!(world.live().is_empty() && world.installed().is_empty());
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.pass_one(attempt);
    assert_eq!(world.denied(attempt), Some(DeniedReason::Replayed));
}

#[test]
fn a_proof_that_is_older_than_the_policy_allows_is_refused() {
    let age = Duration::from_secs(60);
    let mut policy = in_steps([one(FactorKind::PASSWORD), one(FactorKind::TOTP)]);
    policy.require.authentication_age = Some(age);
    for (waits, is_fresh) in [(age, true), (age + Duration::from_secs(1), false)] {
        let mut world = World::with(policy.clone());
        let attempt = world.begin(LAPTOP);
        world.settle();
        world.pass_one(attempt);
        world.pass(waits);
        world.pass_one(attempt);
        assert_eq!(world.is_granted(attempt), is_fresh);
        assert_eq!(world.live().len(), usize::from(is_fresh));
    }
}

#[test]
fn invariant_3_a_lease_lasts_no_longer_than_a_factor_vouches() {
    let mut world = World::new();
    world.vouched = Some(Duration::from_secs(700));
    let ends = world.now.timestamp + Duration::from_secs(700);
    world.admit(LAPTOP);
    let not_after = |world: &World| world.lease(LAPTOP).unwrap().terms().not_after;
    assert_eq!(not_after(&world), world.now.timestamp + world.policy.lease);
    for restarts in [false, true] {
        world.pass(Duration::from_secs(200));
        if restarts {
            world.crash();
            world.settle();
        }
        world.renew(LAPTOP);
        assert!(not_after(&world) <= ends, "{restarts}");
    }
    world.pass(Duration::from_secs(300));
    world.settle();
    assert!(world.installed().is_empty());
    let over = world.events.iter().rev().find_map(|event| match event {
        crate::gate::Event::Ended { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(over, Some(EndReason::Expired));
}
