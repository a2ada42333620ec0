//! Another policy while the gate runs, and what was under way when it came. What it does to those
//! who are in is shown through the whole gate, in `tests/gate/patience/policy.rs`.

use std::time::Duration;

use super::fixtures::{self, LAPTOP};
use super::world::{Job, World, ready};
use crate::channel::message::{Refusal, Request};
use crate::gate::{Action, Input, Intent, KnownSession, Outcome, Scope, persistence};
use crate::policy::Policy;
use crate::store::{EndReason, PeerStore};

const MINUTE: Duration = Duration::from_secs(60);

impl World {
    /// Goes by another policy, as the shell does that asks the store first.
    fn change_policy(&mut self, policy: Policy) {
        let known = self.known();
        let policy = Box::new(policy);
        self.input(Input::Policy { policy, known });
    }

    fn known(&self) -> Vec<KnownSession> {
        let users = ready(self.disk.users()).unwrap();
        persistence::known_sessions(self.live(), &users, &self.ring)
    }
}

fn leases_of(lease: Duration) -> Policy {
    Policy {
        lease,
        max_age: lease,
        warn_before: Duration::ZERO,
        ..fixtures::policy()
    }
}

/// A minute after an admission, its renewal is about to be made durable.
fn with_a_renewal_at_the_store() -> World {
    let mut world = World::unmodelled(fixtures::policy());
    world.admit(LAPTOP);
    world.pass(MINUTE);
    let attempt = world.hello(LAPTOP, Intent::Renew(world.session_of(LAPTOP)));
    world.settle();
    world.request(attempt, Request::Confirm {});
    world.settle_until(|job| matches!(job, Job::Do(Action::Renew { .. })));
    world
}

#[test]
fn a_renewal_under_way_gets_no_more_than_another_policy_gives() {
    let mut world = with_a_renewal_at_the_store();

    world.change_policy(leases_of(5 * MINUTE));
    world.settle();

    // Five minutes from the admission, one of which has passed.
    let left = world.lease(LAPTOP).unwrap().terms().left(world.now);
    assert_eq!(left, 4 * MINUTE);
    world.pass(4 * MINUTE);
    world.settle();
    assert!(!world.is_installed(LAPTOP));
}

#[test]
fn a_recheck_of_a_user_waits_for_a_renewal_that_is_at_the_store() {
    let mut world = with_a_renewal_at_the_store();

    let scope = Scope::User(fixtures::owner(LAPTOP));
    world.input(Input::Settle { ticket: 1, scope });
    assert!(!world.revoked.contains_key(&1), "the renewal is not over");
    world.settle();
    assert!(world.revoked.contains_key(&1));
}

#[test]
fn an_admission_under_way_by_the_old_policy_admits_no_one() {
    let mut world = World::unmodelled(fixtures::policy());
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.answer_right(attempt);
    world.settle_until(|job| matches!(job, Job::Tell(Input::Opened { .. })));
    let session = world.live()[0].id;

    world.change_policy(leases_of(5 * MINUTE));
    world.settle();

    let refused = Outcome::Refused(Refusal::Unavailable {});
    assert_eq!(world.reply_to(attempt), Some(&refused));
    assert!(world.installed().is_empty() && world.live().is_empty());
    let ended = world.record(session).unwrap().ended.unwrap();
    assert_eq!(ended.0, EndReason::PolicyChanged);
    let again = world.begin(LAPTOP);
    world.settle();
    assert!(matches!(
        world.reply_to(again),
        Some(Outcome::Challenge { .. })
    ));
}

#[test]
fn rest_that_was_taken_before_counts_under_another_policy() {
    let resting = |limit| Policy {
        inactivity: Some(limit),
        ..fixtures::policy()
    };
    let mut world = World::unmodelled(resting(9 * MINUTE));
    world.admit(LAPTOP);
    for _ in 0..7 {
        world.pass(MINUTE);
        world.settle();
    }
    assert!(world.is_installed(LAPTOP));

    world.change_policy(resting(5 * MINUTE));
    world.tick();
    world.settle();

    assert!(!world.is_installed(LAPTOP));
}

#[test]
fn a_session_that_the_store_gives_to_another_peer_ends() {
    let mut world = World::unmodelled(fixtures::policy());
    world.admit(LAPTOP);
    let mut known = world.known();
    known[0].peer = fixtures::PEERS[1];

    let policy = Box::new(leases_of(5 * MINUTE));
    world.input(Input::Policy { policy, known });
    world.settle();

    assert!(world.lease(LAPTOP).is_none());
    assert!(!world.is_installed(LAPTOP));
}

/// A lying store: its answer is about another session, or about another peer.
#[test]
fn a_preshared_key_is_only_that_of_the_session_asked_for() {
    let mut world = World::unmodelled(fixtures::policy());
    world.admit(LAPTOP);
    world.admit(fixtures::BOBS);
    let live = world.live();
    let (one, other) = (&live[0], &live[1]);

    let opened = |asked, record| persistence::live_key(&world.ring, asked, Some(record));
    assert!(opened((one.id, one.peer), one).is_ok());
    assert!(opened((one.id, one.peer), other).is_err());
    assert!(opened((one.id, other.peer), one).is_err());
    assert!(opened((other.id, one.peer), one).is_err());
}
