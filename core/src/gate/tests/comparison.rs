//! What others do to the interface while the gate runs.

use std::time::Duration;

use super::fixtures::{BOBS, LAPTOP};
use super::world::{Job, World, ready};
use crate::audit::AuditKind;
use crate::channel::message::Refusal;
use crate::gate::{Action, Closed, Event, Input, Intent, Outcome};
use crate::interface::PeerConfig;
use crate::key::{PresharedKey, PublicKey};
use crate::store::PeerStore;
use crate::testing::fake_interface::{Fault, Operation};
use crate::testing::{StoreCall, StoreFault};

const STRANGER: PublicKey = PublicKey::from_bytes([5; 32]);
/// Until the interface is listed, while that takes no time.
const SOON: Duration = Duration::from_secs(2);

fn stranger() -> PeerConfig {
    let networks = vec!["10.0.0.99/32".parse().unwrap()];
    PeerConfig::new(STRANGER, None, networks)
}

fn admitted() -> World {
    let mut world = World::new();
    world.admit(LAPTOP);
    world
}

fn wait(world: &mut World) {
    world.pass(SOON);
    world.settle();
}

/// The jobs of one kind that are pending.
fn is_list(job: &Job) -> bool {
    matches!(job, Job::Do(Action::List))
}

#[test]
fn a_peer_that_came_without_a_lease_leaves_and_it_is_said() {
    let mut world = admitted();
    world.interface.plant(stranger());
    wait(&mut world);
    assert!(!world.is_installed(STRANGER) && world.is_installed(LAPTOP));
    let said = Event::UnleasedPeer { peer: STRANGER };
    assert!(world.events.contains(&said));
    assert_eq!(world.records(&AuditKind::UnleasedPeer), 1);

    wait(&mut world);
    assert_eq!(world.records(&AuditKind::UnleasedPeer), 1, "said again");
    assert!(world.machine.is_open());
}

#[test]
fn an_unleased_peer_that_can_not_be_removed_ends_in_a_fence() {
    let mut world = admitted();
    world.interface.plant(stranger());
    world.interface.fail_always(Operation::Remove, Fault::Fail);
    for _ in 0..30 {
        world.pass(Duration::from_millis(500));
        world.settle();
    }
    assert!(world.interface.is_fenced());
    assert_eq!(world.machine.why_closed(), Some(Closed::Fenced));
}

#[test]
fn a_missing_leased_peer_is_installed_again_with_its_own_key() {
    let mut world = admitted();
    let before = world.installed()[&LAPTOP].clone();
    world.interface.take_off(&LAPTOP);
    wait(&mut world);
    let after = world.installed()[&LAPTOP].clone();
    assert_eq!(after.psk, before.psk);
    assert_eq!(after.allowed_ips, before.allowed_ips);
    assert!(after.lease < before.lease, "with the time that is left");
    let session = world.session_of(LAPTOP);
    let said = Event::PeerMissing {
        session,
        peer: LAPTOP,
    };
    assert!(world.events.contains(&said));
}

#[test]
fn a_changed_leased_peer_leaves_at_once_and_comes_back_right() {
    let psk = PresharedKey::from_bytes([1; 32]);
    let everywhere = vec!["0.0.0.0/0".parse().unwrap()];
    let changes: [fn(&mut PeerConfig, PresharedKey, Vec<ipnet::IpNet>); 3] = [
        |peer, psk, _| peer.psk = Some(psk),
        |peer, _, _| peer.psk = None,
        |peer, _, networks| peer.allowed_ips = networks,
    ];
    for change in changes {
        let mut world = admitted();
        let right = world.installed()[&LAPTOP].clone();
        let mut wrong = right.clone();
        change(&mut wrong, psk.clone(), everywhere.clone());
        world.interface.plant(wrong);
        // It does not wait for the store.
        world.pass(SOON);
        world.settle_until(|job| matches!(job, Job::Tell(Input::Removed { .. })));
        assert!(!world.is_installed(LAPTOP));
        world.settle();
        assert_eq!(world.installed()[&LAPTOP].psk, right.psk);
        assert_eq!(world.installed()[&LAPTOP].allowed_ips, right.allowed_ips);
        assert_eq!(world.records(&AuditKind::PeerChanged), 1);
    }
}

#[test]
fn a_store_that_can_not_give_the_key_back_ends_the_lease() {
    for fault in [StoreFault::Fail, StoreFault::ApplyThenFail] {
        let mut world = admitted();
        world.store.fail_next(StoreCall::Session, fault);
        world.interface.take_off(&LAPTOP);
        wait(&mut world);
        assert!(world.installed().is_empty() && world.live().is_empty());
        assert_eq!(world.machine.lease_count(), 0);
    }
}

/// The care: what was under way while the listing was taken is not judged by it.
#[test]
fn who_comes_or_goes_during_a_listing_is_not_misjudged() {
    // An installation that the listing did not see yet.
    let mut world = World::new();
    world.pass(SOON);
    let list = world.pending.iter().position(is_list).unwrap();
    world.run(list); // it has been read, and not told
    let told = world.pending.remove(list);
    world.admit(LAPTOP);
    world.pending.push(told);
    world.settle();
    assert!(world.is_installed(LAPTOP));
    let quiet = |event: &Event| !matches!(event, Event::PeerMissing { .. });
    assert!(world.events.iter().all(quiet));

    // A removal that it did not see yet.
    world.pass(SOON);
    let list = world.pending.iter().position(is_list).unwrap();
    world.run(list);
    let told = world.pending.remove(list);
    world.revoke(crate::gate::Scope::Peer(LAPTOP));
    world.settle();
    world.pending.push(told);
    world.settle();
    let quiet = |event: &Event| !matches!(event, Event::UnleasedPeer { .. });
    assert!(world.events.iter().all(quiet));
}

#[test]
fn listing_takes_a_hundredth_of_the_time_and_is_due_each_minute() {
    let mut world = World::new();
    world.pass(SOON);
    for (took, expected) in [(100, 10), (10, 2), (3_600_000, 60)] {
        world.settle_until(is_list);
        world.pass(Duration::from_millis(took));
        world.settle();
        let (next, why) = world.machine.poll_timeout(world.now).unwrap();
        let wait = next.saturating_since(world.now.instant);
        assert_eq!(why, "the interface is compared");
        assert_eq!(wait, Duration::from_secs(expected));
        world.pass(wait);
    }
}

#[test]
fn an_interface_that_comes_back_has_its_peers_again() {
    let mut world = admitted();
    world.admit(BOBS);
    let before = world.installed();
    world.interface.go_away();
    wait(&mut world);
    assert!(world.events.contains(&Event::InterfaceAway));
    assert!(!world.machine.is_open() && world.machine.why_closed().is_none());
    let attempt = world.begin(LAPTOP);
    world.settle();
    assert_eq!(world.refused(attempt), Some(&Refusal::Unavailable {}));

    // What falls due meanwhile is done: there is no one to be removed.
    world.enable_peer(BOBS, false);
    world.notice();
    for _ in 0..30 {
        world.pass(Duration::from_secs(1));
        world.settle();
    }
    assert_eq!(world.live().len(), 1);
    assert!(!world.interface.is_fenced());

    world.interface.come_back();
    wait(&mut world);
    assert!(world.events.contains(&Event::InterfaceBack));
    assert!(world.machine.is_open());
    assert!(world.installed().keys().eq([&LAPTOP]));
    assert_eq!(world.installed()[&LAPTOP].psk, before[&LAPTOP].psk);
}

#[test]
fn an_interface_that_is_gone_closes_the_gate_until_a_start() {
    let mut world = admitted();
    let session = world.session_of(LAPTOP);
    world.interface.vanish();
    wait(&mut world);
    assert!(world.events.contains(&Event::InterfaceGone));
    assert!(!world.events.contains(&Event::Fenced));
    assert_eq!(world.records(&AuditKind::InterfaceGone), 1);
    assert_eq!(world.machine.why_closed(), Some(Closed::InterfaceGone));
    assert!(!world.machine.is_open());
    assert_eq!(world.live().len(), 1, "no session has ended");
    let attempt = world.hello(LAPTOP, Intent::Begin);
    world.settle();
    assert_eq!(world.refused(attempt), Some(&Refusal::Unavailable {}));

    world.crash();
    world.settle();
    assert!(world.machine.is_open() && world.is_installed(LAPTOP));
    assert_eq!(world.session_of(LAPTOP), session);
}

#[test]
fn a_revocation_reaches_a_session_of_a_vanished_interface() {
    let mut world = admitted();
    world.interface.vanish();
    wait(&mut world);
    let ticket = world.revoke(crate::gate::Scope::Peer(LAPTOP));
    world.settle();
    assert_eq!(world.revoked[&ticket].len(), 1);
    assert!(world.live().is_empty());
}

#[test]
fn a_stop_does_not_wait_for_a_peer_to_be_installed_again() {
    let mut world = admitted();
    world.interface.take_off(&LAPTOP);
    world.pass(SOON);
    let restore = world.settle_until(|job| matches!(job, Job::Do(Action::Restore { .. })));
    let restore = world.pending.remove(restore);
    world.input(Input::Stop);
    world.settle();
    assert!(!world.is_running());
    world.pending.push(restore);
    world.settle();
    assert!(world.installed().is_empty());
    assert_eq!(world.live().len(), 1);
}

#[test]
fn a_lease_that_ends_while_its_key_is_read_stays_off() {
    let mut world = admitted();
    world.interface.take_off(&LAPTOP);
    world.pass(SOON);
    let restore = world.settle_until(|job| matches!(job, Job::Tell(Input::Restored { .. })));
    let restore = world.pending.remove(restore);
    world.pass(world.policy.lease);
    world.settle();
    assert!(world.live().is_empty());
    world.pending.push(restore);
    world.settle();
    assert!(world.installed().is_empty());
}

#[test]
fn two_peers_with_one_address_do_not_take_turns_without_end() {
    let mut world = admitted();
    for _ in 0..30 {
        world.interface.take_off(&LAPTOP);
        wait(&mut world);
    }
    assert!(world.live().is_empty(), "put right again and again");
}

#[test]
fn an_unreadable_interface_is_said_once_and_read_again() {
    let mut world = admitted();
    world.interface.fail_always(Operation::List, Fault::Fail);
    for _ in 0..5 {
        wait(&mut world);
    }
    let unreadable = world.events.iter();
    let unreadable = unreadable.filter(|event| **event == Event::InterfaceUnreadable);
    assert_eq!(unreadable.count(), 1);
    world.interface.plant(stranger());
    world.heal();
    wait(&mut world);
    assert!(!world.is_installed(STRANGER));
}

#[test]
fn an_admission_that_meets_an_absent_interface_gets_a_reply() {
    let mut world = World::new();
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.interface.go_away();
    world.answer_right(attempt);
    world.settle();
    let refused = Outcome::Refused(Refusal::Unavailable {});
    assert_eq!(world.reply_to(attempt), Some(&refused));
    assert!(world.live().is_empty());
    let trail = ready(world.disk.audit(1, 1000)).unwrap();
    assert!(!trail.is_empty());
}
