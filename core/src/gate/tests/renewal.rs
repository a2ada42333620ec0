//! More time for a live lease, and what still ends it: the clocks and inactivity.

use std::time::Duration;

use super::fixtures::{self, LAPTOP};
use super::world::World;
use crate::channel::message::Refusal;
use crate::gate::{Event, Intent, Outcome};
use crate::interface::Activity;
use crate::policy::Policy;
use crate::store::EndReason;
use crate::testing::fake_interface::Operation;
use crate::testing::{StoreCall, StoreFault};

#[test]
fn a_renewal_is_in_place_before_the_old_terms_end() {
    let mut world = World::new();
    world.admit(LAPTOP);
    let psk = world.installed()[&LAPTOP].psk.clone();
    world.pass(world.policy.lease / 2);
    let attempt = world.renew(LAPTOP);
    assert_eq!(world.reply_to(attempt), Some(&Outcome::Granted));
    assert_ne!(world.installed()[&LAPTOP].psk, psk);
    let calls = world.interface.calls();
    let last = calls.last().map(|call| call.operation);
    assert_eq!(last, Some(Operation::Renew));

    world.pass(world.policy.lease * 3 / 4);
    world.settle();
    assert!(world.is_installed(LAPTOP));
}

#[test]
fn past_max_age_a_renewal_asks_for_a_factor() {
    let mut world = World::new();
    world.admit(LAPTOP);
    let first = world.session_of(LAPTOP);
    for _ in 0..5 {
        world.pass(world.policy.lease / 2);
        world.renew(LAPTOP);
    }
    let attempt = world.hello(LAPTOP, Intent::Renew(first));
    world.settle();
    let asked = world.reply_to(attempt);
    assert!(matches!(asked, Some(Outcome::Challenge { .. })));

    world.answer_right(attempt);
    world.settle();
    assert_eq!(world.reply_to(attempt), Some(&Outcome::Granted));
    assert_ne!(world.session_of(LAPTOP), first);
}

#[test]
fn a_renewal_that_the_store_does_not_tell_of_changes_nothing() {
    let mut world = World::new();
    world.admit(LAPTOP);
    world.pass(world.policy.lease / 2);
    let terms = world.lease(LAPTOP).unwrap().terms().clone();
    world
        .store
        .fail_next(StoreCall::RenewSession, StoreFault::ApplyThenFail);
    let attempt = world.renew(LAPTOP);
    let refused = Outcome::Refused(Refusal::Unavailable {});
    assert_eq!(world.reply_to(attempt), Some(&refused));
    assert_eq!(world.lease(LAPTOP).unwrap().terms(), &terms);
    world.recover();
    assert!(world.is_installed(LAPTOP));
}

#[test]
fn a_session_that_ended_elsewhere_is_not_renewed_and_leaves() {
    let mut world = World::new();
    world.admit(LAPTOP);
    world.close_elsewhere(LAPTOP);
    world.pass(world.policy.lease / 2);
    let attempt = world.renew(LAPTOP);
    let refused = Outcome::Refused(Refusal::NotRenewable {});
    assert_eq!(world.reply_to(attempt), Some(&refused));
    assert!(world.installed().is_empty());
}

#[test]
fn a_wall_clock_step_forward_ends_a_lease_and_none_lengthens_it() {
    let hour = 3_600_000;
    let mut world = World::new();
    world.admit(LAPTOP);
    world.step_wall(-hour);
    world.pass(world.policy.lease);
    world.settle();
    assert!(world.installed().is_empty());

    let mut world = World::new();
    world.admit(LAPTOP);
    world.step_wall(hour);
    world.settle();
    assert!(world.installed().is_empty());
}

#[test]
fn a_renewal_that_its_own_end_overtook_ends_the_lease() {
    let mut world = World::new();
    world.pass(Duration::from_secs(1000));
    world.admit(LAPTOP);
    world.pass(Duration::from_secs(100));
    // The renewed lease is to end sooner by the wall clock, and later by the other.
    world.step_wall(-700_000);
    let attempt = world.hello(LAPTOP, Intent::Renew(world.session_of(LAPTOP)));
    world.settle();
    world.pass(Duration::from_secs(1));
    world.request(attempt, crate::channel::message::Request::Confirm {});
    world.run(0);
    world.step_wall(620_000);
    world.settle();
    let refused = Outcome::Refused(Refusal::NotRenewable {});
    assert_eq!(world.reply_to(attempt), Some(&refused));
    assert!(world.installed().is_empty());
}

fn with_inactivity() -> World {
    let inactivity = Some(Duration::from_secs(900));
    let mut world = World::with(Policy {
        inactivity,
        ..fixtures::policy()
    });
    world.admit(LAPTOP);
    world
}

/// Renews twice, a minute at a time, with traffic or without.
fn renews_for_sixteen_minutes(world: &mut World, has_traffic: bool) {
    for minute in 1..=16 {
        world.pass(Duration::from_secs(60));
        if has_traffic {
            world.traffic(LAPTOP);
        }
        world.settle();
        if minute % 8 == 0 && world.is_installed(LAPTOP) {
            world.renew(LAPTOP);
        }
    }
}

#[test]
fn a_renewal_is_no_payload() {
    let mut world = with_inactivity();
    renews_for_sixteen_minutes(&mut world, false);
    assert!(world.installed().is_empty());
    let idle = |event: &Event| {
        matches!(
            event,
            Event::Ended {
                reason: EndReason::Inactive,
                ..
            }
        )
    };
    assert!(world.events.iter().any(idle));
}

#[test]
fn payload_keeps_a_lease_from_being_inactive() {
    let mut world = with_inactivity();
    renews_for_sixteen_minutes(&mut world, true);
    assert!(world.is_installed(LAPTOP));
}

#[test]
fn payload_is_what_counts_where_the_interface_tells_it() {
    for (has_payload, stays) in [(false, false), (true, true)] {
        let mut world = with_inactivity();
        for minute in 1..=16 {
            world.pass(Duration::from_secs(60));
            // Keepalives alone look like payload, and a byte of it looks like a keepalive.
            let mut seen = Activity::silent(LAPTOP);
            seen.received = minute * if has_payload { 1 } else { 1_000_000 };
            seen.payload = Some(if has_payload { minute } else { 0 });
            if world.is_installed(LAPTOP) {
                world.interface.set_activity(seen);
            }
            world.settle();
            if minute % 8 == 0 && world.is_installed(LAPTOP) {
                world.renew(LAPTOP);
            }
        }
        assert_eq!(world.is_installed(LAPTOP), stays);
    }
}

#[test]
fn traffic_that_can_not_be_read_counts_as_none() {
    let mut world = with_inactivity();
    let fault = crate::testing::fake_interface::Fault::Fail;
    world.interface.fail_always(Operation::Activity, fault);
    renews_for_sixteen_minutes(&mut world, true);
    assert!(world.installed().is_empty());
}
