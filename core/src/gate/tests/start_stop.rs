//! Start and stop.

use std::time::Duration;

use super::fixtures::{BOBS, LAPTOP, location, put_peer_at};
use super::world::{Job, World};
use crate::channel::message::Request;
use crate::gate::grant::Restored;
use crate::gate::{Action, Grant, Input, Intent, Machine, Scope};
use crate::id::SessionId;
use crate::interface::PeerConfig;
use crate::key::PublicKey;
use crate::seal::{KeyRing, RingKey};
use crate::store::SessionRecord;
use crate::testing::StoreFault;
use crate::testing::fake_interface::{Fault, Operation};

fn admitted() -> World {
    let mut world = World::new();
    world.admit(LAPTOP);
    world
}

#[test]
fn a_start_removes_strangers_and_installs_who_is_missing() {
    let mut world = admitted();
    world.pass(Duration::from_secs(30));
    world.admit(BOBS);
    let stranger = PublicKey::from_bytes([5; 32]);
    let missing = world.installed()[&LAPTOP].clone();
    world.interface.restart();
    world
        .interface
        .plant(PeerConfig::new(stranger, None, Vec::new()));
    world.crash();
    world.settle();
    // The lease was 30 s longer when it began.
    let lease = missing.lease.map(|lease| lease - Duration::from_secs(30));
    let expected = PeerConfig { lease, ..missing };
    assert_eq!(world.installed()[&LAPTOP], expected);
    assert!(world.installed().keys().eq([&LAPTOP, &BOBS]));

    let before = world.interface.calls().len();
    world.crash();
    world.settle();
    let calls = world.interface.calls().split_off(before);
    let mut operations = calls.iter().map(|call| call.operation);
    assert!(operations.all(|operation| operation == Operation::List));
    assert!(world.machine.is_open());
}

#[test]
fn a_network_with_host_bits_is_not_installed_at_every_start() {
    let mut world = World::new();
    let now = world.now.timestamp;
    put_peer_at(&world.disk, LAPTOP, "10.0.7.77/24", true, now);
    world.admit(LAPTOP);
    let mut there = world.installed()[&LAPTOP].clone();
    there.allowed_ips = vec!["10.0.7.0/24".parse().unwrap()];
    world.interface.plant(there.clone());
    world.crash();
    world.settle();
    assert_eq!(world.installed()[&LAPTOP], there);

    there.allowed_ips = vec!["10.0.7.0/25".parse().unwrap()];
    world.interface.plant(there.clone());
    world.crash();
    world.settle();
    assert_ne!(world.installed()[&LAPTOP].allowed_ips, there.allowed_ips);
}

#[test]
fn a_user_who_was_disabled_while_no_gate_ran_does_not_stay() {
    let mut world = admitted();
    world.enable_user("ada", false);
    world.crash();
    world.settle();
    assert!(world.installed().is_empty() && world.live().is_empty());
}

#[test]
fn a_peer_whose_address_is_taken_away_does_not_stay() {
    let mut world = admitted();
    put_peer_at(
        &world.disk,
        LAPTOP,
        "10.0.9.9/32",
        true,
        world.now.timestamp,
    );
    world.notice();
    world.settle();
    assert!(world.installed().is_empty() && world.live().is_empty());
}

#[test]
fn a_session_that_can_not_go_on_leaves_before_its_end_is_stored() {
    for is_over in [true, false] {
        let mut world = admitted();
        if is_over {
            world.now.timestamp = world.now.timestamp + world.policy.lease;
        } else {
            let key = RingKey::from_bytes([1; 32]);
            world.ring = KeyRing::new("k2".parse().unwrap(), key);
        }
        world.interface.fail_next(Operation::Remove, Fault::Fail);
        world.crash();
        world.settle();
        assert!(!world.machine.is_open() && world.is_installed(LAPTOP));
        assert_eq!(world.live().len(), 1);

        world.recover();
        assert!(world.installed().is_empty() && world.live().is_empty());
    }
}

#[test]
fn two_leases_never_share_a_session_and_with_it_their_end() {
    let mut world = admitted();
    world.admit(BOBS);
    let session = SessionId::from_bytes([1; 16]);
    let restored = |record: SessionRecord| {
        let policy = std::sync::Arc::new(world.policy.clone());
        let restored = Grant::reseal(&record, &world.ring, policy, world.now).unwrap();
        Restored {
            session,
            ..restored
        }
    };
    let start = Input::Start {
        sessions: world.live().into_iter().map(restored).collect(),
        unreadable: Vec::new(),
        refused: Vec::new(),
        installed: Vec::new(),
    };
    let mut machine = Machine::new(location(), world.policy.clone(), world.now).unwrap();
    machine.handle_input(world.now, start);
    assert_eq!(machine.leases().count(), 1);
}

/// What ends leases by itself may have been told of another end, as before the clock was set, or of
/// none: it is new in front of the interface, or lost what it knew.
#[test]
fn an_interface_with_another_end_of_a_lease_is_told_in_place() {
    let minute = Duration::from_secs(60);
    let mut world = admitted();
    world.admit(BOBS);
    let all = Duration::from_secs(86_400);
    let slight = Duration::from_millis(100);
    for (off, is_told) in [(minute, true), (all, true), (slight, false)] {
        let is_listed = |mut peer: PeerConfig| {
            peer.lease = peer.lease.map(|left| match peer.key {
                LAPTOP => left.saturating_sub(off),
                _ => left + off,
            });
            peer
        };
        let policy = std::sync::Arc::new(world.policy.clone());
        let restored = |record: SessionRecord| {
            Grant::reseal(&record, &world.ring, policy.clone(), world.now).unwrap()
        };
        let start = Input::Start {
            sessions: world.live().into_iter().map(restored).collect(),
            unreadable: Vec::new(),
            refused: Vec::new(),
            installed: world.installed().into_values().map(is_listed).collect(),
        };
        let mut machine = Machine::new(location(), world.policy.clone(), world.now).unwrap();
        machine.handle_input(world.now, start);
        let actions = std::iter::from_fn(|| machine.poll_action());
        let told = actions.filter_map(|action| {
            if let Action::Install { peers, in_place } = action {
                Some((peers, in_place))
            } else {
                None
            }
        });
        let told: Vec<_> = told.collect();
        let expected: Vec<PeerConfig> = world.installed().into_values().collect();
        let expected = is_told.then_some((expected, true));
        assert_eq!(told, Vec::from_iter(expected), "{off:?}");
        assert_eq!(machine.is_open(), !is_told);
    }
}

#[test]
fn a_gate_that_can_not_read_its_store_clears_the_interface() {
    let mut world = admitted();
    world.store.go_down(StoreFault::Fail);
    world.crash();
    assert!(world.installed().is_empty() && !world.machine.is_open());
    world.recover();
    assert!(world.is_installed(LAPTOP));
}

#[test]
fn a_stop_takes_peers_off_and_the_next_start_brings_them_back() {
    let mut world = admitted();
    world.input(Input::Stop);
    world.settle();
    assert!(!world.is_running() && world.installed().is_empty());
    assert_eq!(world.live().len(), 1);
    world.crash();
    world.settle();
    assert!(world.is_installed(LAPTOP));
}

#[test]
fn a_revocation_reaches_the_sessions_of_a_gate_that_stops() {
    for has_stopped in [false, true] {
        let mut world = admitted();
        world.input(Input::Stop);
        if has_stopped {
            world.settle();
        }
        let ticket = world.revoke(Scope::Peer(LAPTOP));
        world.settle();
        assert_eq!(world.revoked[&ticket].len(), 1);
        assert!(world.live().is_empty() && !world.is_running());
    }
}

#[test]
fn a_stop_waits_for_a_renewal_that_is_on_its_way() {
    let mut world = admitted();
    world.pass(Duration::from_secs(60));
    let attempt = world.hello(LAPTOP, Intent::Renew(world.session_of(LAPTOP)));
    world.settle();
    world.request(attempt, Request::Confirm {});
    let renewal = world.settle_until(|job| matches!(job, Job::Do(Action::Renew { .. })));
    let renewal = world.pending.remove(renewal);
    world.input(Input::Stop);
    world.settle();
    assert!(world.is_running());
    world.pending.push(renewal);
    world.settle();
    assert!(!world.is_running());
}

#[test]
fn a_stop_refuses_an_answer_that_the_store_refuses() {
    let mut world = World::new();
    let attempts = [world.begin(LAPTOP), world.begin(LAPTOP)];
    world.settle();
    for attempt in attempts {
        world.answer_right(attempt);
    }
    world.settle_until(|job| matches!(job, Job::Do(Action::Open { .. })));
    world.input(Input::Stop);
    world.settle();
    assert!(!world.is_running());
    assert_eq!(world.machine.attempt_count(), 0);
}

#[test]
fn a_stop_whose_removals_fail_ends_in_a_fence() {
    let mut world = admitted();
    world.interface.fail_always(Operation::Remove, Fault::Fail);
    world.input(Input::Stop);
    for _ in 0..22 {
        world.settle();
        world.pass(Duration::from_millis(500));
    }
    world.settle();
    assert!(world.interface.is_fenced() && !world.is_running());
}
