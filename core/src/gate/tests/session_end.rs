//! How sessions end, and who is told when.

use std::time::Duration;

use super::fixtures::{BOBS, LAPTOP, PEERS, PHONE};
use super::world::{Job, World};
use crate::channel::message::{Ended, Status};
use crate::gate::{Event, Input, Intent, Outcome, Scope};
use crate::testing::StoreFault;
use crate::testing::fake_interface::{Fault, Operation};

fn all_admitted() -> World {
    let mut world = World::new();
    for peer in PEERS {
        world.admit(peer);
        world.pass(Duration::from_secs(30));
    }
    world
}

#[test]
fn a_revocation_ends_what_it_names_and_nothing_else() {
    let mut world = all_admitted();
    let session = world.session_of(PHONE);
    let ticket = world.revoke(Scope::Session(session));
    world.settle();
    assert_eq!(world.revoked[&ticket], [session]);
    assert!(world.installed().keys().eq([&LAPTOP, &BOBS]));

    world.revoke(Scope::User("ada".parse().unwrap()));
    world.settle();
    assert!(world.installed().keys().eq([&BOBS]));
    assert_eq!(world.live().len(), 1);

    world.revoke(Scope::All);
    world.settle();
    assert!(world.installed().is_empty() && world.live().is_empty());
}

#[test]
fn a_revocation_ends_attempts_that_wait_for_an_answer() {
    let mut world = World::new();
    let attempt = world.begin(LAPTOP);
    world.settle();
    let ticket = world.revoke(Scope::User("ada".parse().unwrap()));
    assert!(world.revoked.contains_key(&ticket));
    world.answer_right(attempt);
    world.settle();
    assert!(world.installed().is_empty() && world.live().is_empty());
}

#[test]
fn a_revoked_peer_leaves_before_its_newer_session_is_installed() {
    let mut world = World::new();
    let first = world.begin(LAPTOP);
    world.settle();
    world.answer_right(first);
    world.settle_until(|job| matches!(job, Job::Tell(Input::Installed { .. })));
    let slow = world.pending.remove(0);
    let ticket = world.revoke(Scope::Session(world.session_of(LAPTOP)));
    world.pass(Duration::from_secs(30));
    let second = world.admit(LAPTOP);
    let before = world.interface.calls().len();

    world.pending.push(slow);
    world.settle();
    assert!(world.revoked.contains_key(&ticket));
    assert_eq!(world.reply_to(second), Some(&Outcome::Granted));
    let calls = world.interface.calls().split_off(before);
    let operations: Vec<_> = calls.iter().map(|call| call.operation).collect();
    assert_eq!(operations, [Operation::Remove, Operation::Install]);
}

#[test]
fn a_disabled_user_or_peer_is_put_out_at_the_stores_notice() {
    let mut world = all_admitted();
    world.enable_user("ada", false);
    world.notice();
    world.settle();
    assert!(world.installed().keys().eq([&BOBS]));
    world.enable_peer(BOBS, false);
    world.notice();
    world.settle();
    assert!(world.installed().is_empty() && world.live().is_empty());
}

#[test]
fn a_reported_change_that_can_not_be_read_ends_the_lease() {
    let mut world = World::new();
    world.admit(LAPTOP);
    world.store.go_down(StoreFault::Fail);
    world.notice();
    world.settle_until(|job| matches!(job, Job::Tell(Input::Closed { .. })));
    assert!(world.installed().is_empty());
}

#[test]
fn who_signs_out_is_told_when_the_end_is_durable() {
    let mut world = World::new();
    world.admit(LAPTOP);
    let session = world.session_of(LAPTOP);
    let status = world.hello(LAPTOP, Intent::Status(session));
    let live = world.reply_to(status);
    assert!(matches!(live, Some(Outcome::Status(Status::Live { .. }))));

    world.store.go_down(StoreFault::Fail);
    let attempt = world.hello(LAPTOP, Intent::End(session));
    world.settle();
    assert!(world.installed().is_empty());
    assert_eq!(world.reply_to(attempt), None);
    world.recover();
    assert_eq!(world.reply_to(attempt), Some(&Outcome::Done));

    let status = world.hello(LAPTOP, Intent::Status(session));
    world.settle();
    let reason = Some(Ended::SignedOut);
    let ended = Outcome::Status(Status::Ended { reason });
    assert_eq!(world.reply_to(status), Some(&ended));
}

#[test]
fn no_one_ends_another_peers_session() {
    let mut world = World::new();
    world.admit(LAPTOP);
    let session = world.session_of(LAPTOP);
    let attempt = world.hello(BOBS, Intent::End(session));
    world.settle();
    assert!(world.is_installed(LAPTOP));
    let status = world.hello(BOBS, Intent::Status(session));
    world.settle();
    let unknown = Outcome::Status(Status::Ended { reason: None });
    assert_eq!(world.reply_to(status), Some(&unknown));
    assert_eq!(world.reply_to(attempt), Some(&Outcome::Done));
}

#[test]
fn a_removal_that_keeps_failing_fences() {
    let mut world = World::new();
    world.admit(LAPTOP);
    world.interface.fail_always(Operation::Remove, Fault::Fail);
    let ticket = world.revoke(Scope::All);
    world.settle();
    assert!(!world.revoked.contains_key(&ticket) && !world.interface.is_fenced());

    for _ in 0..22 {
        world.pass(Duration::from_millis(500));
        world.settle();
    }
    assert!(world.interface.is_fenced() && !world.machine.is_open());
    assert!(world.revoked.contains_key(&ticket) && world.live().is_empty());
    assert!(world.events.contains(&Event::Fenced));
}
