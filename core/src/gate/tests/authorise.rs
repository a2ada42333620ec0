//! The authoriser: asked after the factors and before anything is granted, and never a way to more.

use std::time::Duration;

use super::fixtures::{self, LAPTOP, in_steps, one};
use super::world::{Job, Ruling, World, ready};
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::authorise::Admission;
use crate::channel::message::{DeniedReason, Refusal, Request};
use crate::gate::{Action, Input, Intent, Scope};
use crate::id::AttemptId;
use crate::policy::Policy;
use crate::store::PeerStore;
use crate::testing::StoreFault;

const NOT_AUTHORISED: Option<&Refusal> = Some(&Refusal::NotAuthorised {});
const UNAVAILABLE: Option<&Refusal> = Some(&Refusal::Unavailable {});

fn guarded(ruling: Ruling) -> World {
    World::under(fixtures::policy(), Some(ruling))
}

fn is_asked(job: &Job) -> bool {
    matches!(job, Job::Do(Action::Authorise { .. }))
}

/// What the authoriser is about to be asked.
fn asked(world: &mut World) -> Admission {
    let at = world.settle_until(is_asked);
    match &world.pending[at] {
        Job::Do(Action::Authorise { admission, .. }) => (**admission).clone(),
        _ => panic!("another job"),
    }
}

/// The laptop has given its right code, and the authoriser is asked.
fn begun(world: &mut World) -> (AttemptId, Admission) {
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.answer_right(attempt);
    let admission = asked(world);
    (attempt, admission)
}

#[test]
fn it_is_told_what_is_known_once_the_factors_are_durable() {
    let steps = [one(FactorKind::PASSWORD), one(FactorKind::TOTP)];
    let mut world = World::under(in_steps(steps), Some(Ruling::AsIs));
    world.put_into("ada", &["staff"]);
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.pass_one(attempt);
    world.answer_right(attempt);
    let admission = asked(&mut world);
    let now = world.now.timestamp;
    assert_eq!(
        (admission.peer, admission.user),
        (LAPTOP, fixtures::user("ada"))
    );
    assert_eq!(admission.location, fixtures::location());
    assert_eq!(admission.groups, ["staff".parse().unwrap()]);
    assert_eq!(admission.not_after, now + world.policy.lease);
    let proven = admission.proven.iter().map(|it| &it.kind);
    assert!(proven.eq(&[FactorKind::PASSWORD, FactorKind::TOTP]));
    assert!(!admission.is_renewal && world.live().is_empty());
    let totp = fixtures::factor_of("ada", &FactorKind::TOTP);
    assert!(world.factor(totp).unwrap().last_counter.is_some());
    world.settle();
    assert!(world.is_granted(attempt) && world.is_installed(LAPTOP));
}

#[test]
fn who_is_refused_is_not_admitted_and_the_trail_says_why() {
    let mut world = guarded(Ruling::Refuses);
    let attempt = world.admit(LAPTOP);
    assert_eq!(world.refused(attempt), NOT_AUTHORISED);
    assert!(world.live().is_empty() && world.installed().is_empty());
    let reason = "not today".to_owned();
    let said = AuditKind::NotAuthorised { reason };
    let trail = ready(world.disk.audit(1, 1000)).unwrap();
    let record = trail.iter().find(|record| record.event.kind == said);
    let event = &record.expect("a record").event;
    assert_eq!(
        (event.peer, event.user.clone()),
        (Some(LAPTOP), Some(fixtures::user("ada")))
    );

    // The code is still used up.
    world.authoriser = Some(Ruling::AsIs);
    let attempt = world.admit(LAPTOP);
    assert_eq!(world.denied(attempt), Some(DeniedReason::Replayed));
}

#[test]
fn invariant_7_an_authoriser_that_can_not_decide_admits_no_one() {
    let mut world = guarded(Ruling::Fails);
    let attempt = world.admit(LAPTOP);
    assert_eq!(world.refused(attempt), UNAVAILABLE);
    assert!(world.live().is_empty() && world.installed().is_empty());
    world.authoriser = Some(Ruling::AsIs);
    world.pass(Duration::from_secs(30));
    let attempt = world.admit(LAPTOP);
    assert!(world.is_granted(attempt));
}

#[test]
fn invariant_4_an_accepted_answer_is_not_judged_again() {
    let mut world = World::under(in_steps([one(FactorKind::DEVICE_KEY)]), Some(Ruling::AsIs));
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.pass_one(attempt);
    world.answer_right(attempt);
    asked(&mut world);
    for _ in 0..world.policy.throttle.free {
        world.fail_elsewhere(fixtures::factor_of("ada", &FactorKind::DEVICE_KEY));
    }
    world.settle();
    assert_eq!(world.refused(attempt), UNAVAILABLE);
    world.pass(world.policy.throttle.first_wait);
    world.pass_one(attempt);
    assert_eq!(world.refused(attempt), Some(&Refusal::NoAttempt {}));
    assert!(world.live().is_empty() && world.installed().is_empty());
}

#[test]
fn it_shortens_a_lease_and_never_lengthens_one() {
    let left = |world: &World| world.lease(LAPTOP).unwrap().terms().left(world.now);
    let short = Duration::from_secs(100);
    let mut world = guarded(Ruling::ForAtMost(short));
    world.admit(LAPTOP);
    assert_eq!(left(&world), short);
    let record = world.record(world.session_of(LAPTOP)).unwrap();
    assert_eq!(record.not_after, world.now.timestamp + short);
    world.store.go_down(StoreFault::Fail);
    world.pass(short);
    world.settle_until(|job| matches!(job, Job::Do(Action::Close { .. })));
    assert!(world.installed().is_empty());

    let mut world = guarded(Ruling::ForAtMost(Duration::MAX));
    world.admit(LAPTOP);
    assert_eq!(left(&world), world.policy.lease);
    for _ in 0..10 {
        world.pass(world.policy.lease / 2);
        if world.lease(LAPTOP).is_some() {
            world.renew(LAPTOP);
        }
    }
    world.settle();
    assert!(world.installed().is_empty(), "max_age holds");
}

#[test]
fn a_permit_for_no_time_at_all_admits_no_one() {
    let mut world = guarded(Ruling::ForAtMost(Duration::ZERO));
    let attempt = world.admit(LAPTOP);
    assert!(world.refused(attempt).is_some());
    assert!(world.live().is_empty() && world.installed().is_empty());
}

#[test]
fn a_renewal_is_asked_about_too_with_the_groups_of_now() {
    let mut world = guarded(Ruling::AsIs);
    world.admit(LAPTOP);
    let session = world.session_of(LAPTOP);
    let ends = world.lease(LAPTOP).unwrap().terms().not_after;
    world.put_into("ada", &["guests"]);
    for (ruling, refusal) in [
        (Ruling::Refuses, NOT_AUTHORISED),
        (Ruling::Fails, UNAVAILABLE),
    ] {
        world.pass(Duration::from_secs(100));
        world.authoriser = Some(ruling);
        let attempt = world.renew(LAPTOP);
        assert_eq!(world.refused(attempt), refusal);
        assert_eq!(world.lease(LAPTOP).unwrap().terms().not_after, ends);
    }
    let most = Duration::from_secs(500);
    world.authoriser = Some(Ruling::ForAtMost(most));
    let attempt = world.hello(LAPTOP, Intent::Renew(session));
    world.settle();
    world.request(attempt, Request::Confirm {});
    let admission = asked(&mut world);
    assert!(admission.is_renewal && admission.proven.is_empty());
    assert_eq!(admission.groups, ["guests".parse().unwrap()]);
    world.settle();
    assert!(world.is_granted(attempt));
    let renewed = world.lease(LAPTOP).unwrap().terms().not_after;
    assert_eq!(renewed, world.now.timestamp + most);
}

#[test]
fn a_revocation_does_not_wait_for_the_authoriser() {
    for scope in [
        Scope::Peer(LAPTOP),
        Scope::User(fixtures::user("ada")),
        Scope::All,
    ] {
        let mut world = guarded(Ruling::AsIs);
        let (attempt, _) = begun(&mut world);
        let ticket = world.revoke(scope);
        assert!(world.revoked.contains_key(&ticket));
        world.settle();
        assert_eq!(world.refused(attempt), Some(&Refusal::NoAttempt {}));
        assert!(world.live().is_empty() && world.installed().is_empty());
    }
}

#[test]
fn an_authoriser_that_outlasts_the_attempt_admits_no_one() {
    let mut world = guarded(Ruling::AsIs);
    begun(&mut world);
    world.pass(world.policy.attempt_ttl);
    world.settle();
    assert_eq!(world.machine.attempt_count(), 0);
    assert!(world.live().is_empty() && world.installed().is_empty());
}

#[test]
fn an_authoriser_that_outlasts_the_lease_admits_no_one() {
    let lease = Duration::from_secs(60);
    let policy = Policy {
        lease,
        ..fixtures::policy()
    };
    let mut world = World::under(policy, Some(Ruling::AsIs));
    let (attempt, _) = begun(&mut world);
    let told = world.settle_until(|job| matches!(job, Job::Tell(Input::Authorised { .. })));
    assert_eq!(told, 0);
    world.pass(lease);
    world.settle();
    assert_eq!(world.refused(attempt), UNAVAILABLE);
    assert!(world.live().is_empty() && world.installed().is_empty());
}
