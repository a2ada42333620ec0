//! Peers that go on from another address, by each rule.

use std::time::Duration;

use super::fixtures::{self, BOBS, LAPTOP};
use super::world::World;
use crate::audit::{AuditKind, AuditRecord};
use crate::gate::Event;
use crate::policy::{EndpointChange, Policy};
use crate::store::{EndReason, PeerStore};
use crate::testing::fake_interface::{Fault, Operation};

const HOME: &str = "192.0.2.1:5000";
const AWAY: &str = "198.51.100.7:5000";

/// A laptop that was admitted and is at home.
fn at_home(endpoint_change: EndpointChange) -> World {
    let mut world = World::with(Policy {
        endpoint_change,
        ..fixtures::policy()
    });
    world.admit(LAPTOP);
    stays_at(&mut world, HOME, 60);
    world
}

/// The laptop is at this address for so many seconds.
fn stays_at(world: &mut World, endpoint: &str, seconds: u64) {
    world.is_at(LAPTOP, endpoint);
    for _ in 0..seconds {
        world.pass(Duration::from_secs(1));
        world.settle();
    }
}

fn moves(world: &World) -> usize {
    let is_move = |event: &&Event| matches!(event, Event::EndpointChanged { .. });
    world.events.iter().filter(is_move).count()
}

fn end_of(world: &World) -> Option<EndReason> {
    world.events.iter().find_map(|event| match event {
        Event::Ended { reason, .. } => Some(*reason),
        _ => None,
    })
}

fn audited(world: &World) -> Vec<AuditRecord> {
    super::world::ready(world.disk.audit(1, 1000)).unwrap()
}

#[test]
fn without_a_rule_no_one_looks_where_a_peer_is() {
    let mut world = at_home(EndpointChange::Off);
    stays_at(&mut world, AWAY, 120);
    assert!(world.is_installed(LAPTOP));
    assert_eq!(moves(&world), 0);
    let looks = world.interface.calls();
    assert!(looks.iter().all(|it| it.operation != Operation::Activity));
}

#[test]
fn a_warning_is_told_once_and_ends_nothing() {
    let mut world = at_home(EndpointChange::Warn);
    stays_at(&mut world, AWAY, 300);
    assert!(world.is_installed(LAPTOP));
    assert_eq!(moves(&world), 1);
    let (from, to) = (
        "192.0.2.1".parse().unwrap(),
        "198.51.100.7".parse().unwrap(),
    );
    let trail = audited(&world);
    let record = trail
        .iter()
        .find(|it| it.event.kind == AuditKind::EndpointChanged { from, to })
        .expect("an audit record");
    assert_eq!(record.event.peer, Some(LAPTOP));
    assert_eq!(record.event.user, Some(fixtures::owner(LAPTOP)));

    stays_at(&mut world, HOME, 300);
    assert_eq!(moves(&world), 1, "a return to the first address is told");
}

#[test]
fn a_change_ends_the_lease_where_the_policy_says_so() {
    let mut world = at_home(EndpointChange::Reauthenticate);
    world.admit(BOBS);
    world.is_at(BOBS, AWAY);
    stays_at(&mut world, AWAY, 70);
    assert!(!world.is_installed(LAPTOP));
    assert!(world.is_installed(BOBS), "who has been there all along");
    assert_eq!(end_of(&world), Some(EndReason::EndpointChanged));
    let reason = EndReason::EndpointChanged;
    let trail = audited(&world);
    assert!(
        trail
            .iter()
            .any(|it| it.event.kind == AuditKind::Ended { reason })
    );

    // The new session begins where the peer is now.
    world.pass(Duration::from_secs(30));
    world.admit(LAPTOP);
    stays_at(&mut world, AWAY, 200);
    assert!(world.is_installed(LAPTOP));
}

#[test]
fn flapping_and_coming_back_end_nothing() {
    let mut world = at_home(EndpointChange::Reauthenticate);
    for _ in 0..20 {
        stays_at(&mut world, AWAY, 13);
        stays_at(&mut world, HOME, 7);
    }
    assert!(world.is_installed(LAPTOP));
    assert_eq!(moves(&world), 0);
}

#[test]
fn a_renewal_does_not_forget_where_the_session_began() {
    let mut world = at_home(EndpointChange::Reauthenticate);
    world.is_at(LAPTOP, AWAY);
    world.pass(Duration::from_secs(10));
    world.renew(LAPTOP);
    stays_at(&mut world, AWAY, 70);
    assert!(!world.is_installed(LAPTOP));
}

#[test]
fn a_place_that_can_not_be_read_counts_as_another_in_the_end() {
    for (rule, stays) in [
        (EndpointChange::Warn, true),
        (EndpointChange::Reauthenticate, false),
    ] {
        let mut world = at_home(rule);
        world
            .interface
            .fail_always(Operation::Activity, Fault::Fail);
        for _ in 0..110 {
            world.pass(Duration::from_secs(1));
            world.settle();
        }
        assert!(world.is_installed(LAPTOP));
        for _ in 0..60 {
            world.pass(Duration::from_secs(1));
            world.settle();
        }
        assert_eq!(world.is_installed(LAPTOP), stays, "{rule:?}");
    }
}

#[test]
fn a_look_that_comes_late_says_nothing_of_the_next_session() {
    let mut world = at_home(EndpointChange::Reauthenticate);
    world.is_at(LAPTOP, AWAY);
    world.pass(Duration::from_secs(30)); // a sample is under way
    let late = std::mem::take(&mut world.pending);
    world.pass(Duration::from_secs(30));
    world.admit(LAPTOP);
    world.pending = late;
    world.settle();
    // Taken for the new session's first sample, it would have it begin elsewhere.
    stays_at(&mut world, HOME, 120);
    assert!(world.is_installed(LAPTOP));
}

#[test]
fn many_leases_are_looked_at_in_one_read() {
    let mut world = World::with(Policy {
        endpoint_change: EndpointChange::Warn,
        inactivity: Some(Duration::from_secs(400)),
        ..fixtures::policy()
    });
    for peer in fixtures::PEERS {
        world.admit(peer);
        world.is_at(peer, HOME);
        world.pass(Duration::from_secs(37));
        world.settle();
    }
    let before = world.interface.calls().len();
    for second in 0..300 {
        for peer in fixtures::PEERS {
            world.is_at(peer, HOME);
        }
        world.pass(Duration::from_secs(1));
        world.settle();
        assert_eq!(world.machine.lease_count(), 3, "after {second} s");
    }
    let calls = world.interface.calls().split_off(before);
    let looks = calls
        .iter()
        .filter(|it| it.operation == Operation::Activity);
    let looks = looks.count();
    // Every half a minute for the place, and every 50 s for payload: for all of them together.
    assert!(looks <= 17, "{looks} reads");
}
