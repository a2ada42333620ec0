//! A test for each invariant of the design, able to fail. Invariant 8 is in `crashes`. The
//! [model](super::model) looks on at all of them.

use std::time::Duration;

use super::factors;
use super::fixtures::{self, BOBS, LAPTOP, PHONE, WRONG};
use super::perform::KEY_BYTE;
use super::world::{Job, World, ready};
use crate::channel::message::{DeniedReason, Refusal, Request};
use crate::gate::{Action, Event, Input, Intent, Outcome, Scope};
use crate::policy::Policy;
use crate::store::PeerStore;
use crate::testing::fake_interface::{Call, Fault, Operation};
use crate::testing::{StoreCall, StoreFault};

#[test]
fn invariant_1_only_leased_peers_are_installed() {
    let mut world = World::new();
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.answer(attempt, WRONG);
    world.settle();
    assert!(world.installed().is_empty());

    world.answer_right(attempt);
    world.settle();
    assert_eq!(world.reply_to(attempt), Some(&Outcome::Granted));
    assert!(world.installed().keys().eq([&LAPTOP]));

    world.pass(world.policy.lease);
    world.settle();
    assert!(world.installed().is_empty());
    assert_eq!(world.machine.lease_count(), 0);
}

/// That a grant can't be made is for the doc tests in `grant.rs`; this is what it is worth.
#[test]
fn invariant_2_a_lease_comes_only_from_its_own_grant() {
    let mut world = World::new();
    let attempts = [LAPTOP, BOBS].map(|peer| world.begin(peer));
    world.settle();
    for attempt in attempts {
        world.answer_right(attempt);
    }
    let is_opened = |job: &Job| matches!(job, Job::Tell(Input::Opened { .. }));
    let mut opened = Vec::new();
    for _ in attempts {
        let index = world.settle_until(is_opened);
        opened.push(world.pending.remove(index));
    }
    // Each grant comes back under the other's name.
    for (job, other) in opened.into_iter().zip([attempts[1], attempts[0]]) {
        let Job::Tell(Input::Opened {
            grant,
            session,
            result,
            ..
        }) = job
        else {
            panic!("not an admission");
        };
        world.input(Input::Opened {
            attempt: other,
            grant,
            session,
            result,
        });
    }
    world.settle();

    assert!(world.installed().is_empty());
    assert_eq!((world.machine.lease_count(), world.live().len()), (0, 0));
    let refused = Outcome::Refused(Refusal::Unavailable {});
    assert_eq!(attempts.map(|it| world.reply_to(it)), [Some(&refused); 2]);
}

#[test]
fn invariant_3_no_renewal_passes_max_age_nor_needs_the_store() {
    let mut world = World::new();
    world.admit(LAPTOP);
    let verified_at = world.now;
    for _ in 0..4 {
        world.pass(world.policy.lease * 7 / 10);
        world.renew(LAPTOP);
        let terms = world.lease(LAPTOP).unwrap().terms();
        assert!(terms.not_after <= verified_at.timestamp + world.policy.max_age);
        assert!(terms.ends <= verified_at.instant + world.policy.max_age);
    }
    assert!(world.is_installed(LAPTOP));

    world.store.go_down(StoreFault::Fail);
    let left = world.lease(LAPTOP).unwrap().terms().left(world.now);
    world.pass(left);
    world.settle_until(|job| matches!(job, Job::Do(Action::Close { .. })));
    assert!(world.installed().is_empty());
    assert_eq!(world.machine.lease_count(), 0);
    assert_eq!(
        world.now.timestamp,
        verified_at.timestamp + world.policy.max_age
    );
}

#[test]
fn invariant_3_no_lease_is_longer_than_max_age_after_a_restart() {
    let policy = Policy {
        lease: Duration::from_secs(86_400),
        ..fixtures::policy()
    };
    let mut world = World::with(policy);
    world.admit(LAPTOP);
    let left = |world: &World| world.lease(LAPTOP).unwrap().terms().left(world.now);
    assert_eq!(left(&world), world.policy.max_age);

    // Neither where the clock was set back nor where the policy has become stricter.
    world.policy = fixtures::policy();
    world.now.timestamp = world.now.timestamp - Duration::from_secs(86_400);
    world.crash();
    assert_eq!(left(&world), world.policy.lease);
    world.now.timestamp = world.now.timestamp + Duration::from_secs(86_400);
    world.policy.max_age = Duration::from_secs(60);
    world.crash();
    assert_eq!(left(&world), world.policy.max_age);
}

#[test]
fn invariant_4_a_code_is_accepted_once_by_any_attempt_or_gate() {
    let mut world = World::new();
    let code = factors::code_at(world.now.timestamp);
    let attempts = [LAPTOP, LAPTOP, PHONE].map(|peer| world.begin(peer));
    world.settle();
    for attempt in attempts {
        world.answer(attempt, &code);
    }
    world.settle();
    assert_eq!(world.reply_to(attempts[0]), Some(&Outcome::Granted));
    let replayed = Some(DeniedReason::Replayed);
    assert_eq!(world.denied(attempts[1]), replayed);
    assert_eq!(world.denied(attempts[2]), replayed);
    assert_eq!(world.live().len(), 1);

    world.reset_failures("ada");
    world.crash();
    world.settle();
    let attempt = world.begin(PHONE);
    world.settle();
    world.answer(attempt, &code);
    world.settle();
    assert_eq!(world.denied(attempt), replayed);
    assert_eq!(world.live().len(), 0);
}

#[test]
fn invariant_5_a_failure_is_durable_before_it_is_told() {
    let mut world = World::new();
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.answer(attempt, WRONG);
    world.settle_until(|job| matches!(job, Job::Tell(Input::FailureRecorded { .. })));
    assert_eq!(world.denied(attempt), None);
    world.settle();
    assert_eq!(world.denied(attempt), Some(DeniedReason::Wrong));

    // Neither another attempt nor another run begins from zero.
    world.crash();
    world.settle();
    let attempt = world.begin(PHONE);
    world.settle();
    world.answer(attempt, WRONG);
    world.settle();
    assert_eq!(world.denied(attempt), Some(DeniedReason::Wrong));
    world.answer_right(attempt);
    world.settle();
    assert_eq!(world.denied(attempt), Some(DeniedReason::Locked));
    assert!(world.live().is_empty());

    world.pass(world.policy.throttle.first_wait);
    world.answer_right(attempt);
    world.settle();
    assert_eq!(world.reply_to(attempt), Some(&Outcome::Granted));
}

#[test]
fn invariant_5_a_failure_that_can_not_be_recorded_is_not_told() {
    for fault in [StoreFault::Fail, StoreFault::ApplyThenFail] {
        let mut world = World::new();
        let attempt = world.begin(LAPTOP);
        world.settle();
        world.store.fail_next(StoreCall::RecordFailure, fault);
        world.answer(attempt, WRONG);
        world.settle();
        let refused = Outcome::Refused(Refusal::Unavailable {});
        assert_eq!(world.reply_to(attempt), Some(&refused));
    }
}

#[test]
fn invariant_5_a_right_code_past_the_limit_is_refused() {
    let mut world = World::new();
    let attempts = [LAPTOP, LAPTOP, PHONE].map(|peer| world.begin(peer));
    world.settle();
    world.answer_right(attempts[0]);
    let opens = world.settle_until(|job| matches!(job, Job::Do(Action::Open { .. })));
    let open = world.pending.remove(opens);
    for attempt in &attempts[1..] {
        world.answer(*attempt, WRONG);
    }
    world.settle();
    world.pending.push(open);
    world.settle();
    assert_eq!(world.denied(attempts[0]), Some(DeniedReason::Locked));
    assert!(world.live().is_empty());
}

#[test]
fn invariant_6_no_key_is_printed_and_the_store_sees_none() {
    let mut world = World::new();
    let mut printed = String::new();
    let attempt = world.begin(LAPTOP);
    world.settle();
    world.answer_right(attempt);
    while !world.pending.is_empty() {
        printed += &format!("{:?} {:?}", world.pending, world.machine);
        world.run(0);
    }
    world.pass(Duration::from_secs(60));
    let renewal = world.hello(LAPTOP, Intent::Renew(world.session_of(LAPTOP)));
    world.settle();
    world.request(renewal, Request::Confirm {});
    while !world.pending.is_empty() {
        printed += &format!("{:?} {:?}", world.pending, world.machine);
        world.run(0);
    }
    printed += &format!("{:?} {:?} {:?}", world.events, world.replies, world.machine);

    assert!(printed.contains("psk: Some(PresharedKey([redacted]))"));
    for audited in ready(world.disk.audit(1, 1000)).unwrap() {
        printed += &format!("{audited:?}");
    }
    let key = [KEY_BYTE; 6];
    let shown = [
        format!("{key:?}").trim_matches(['[', ']']).to_owned(),
        data_encoding::HEXLOWER.encode(&key),
        data_encoding::BASE64.encode(&key),
    ];
    for shown in shown {
        assert!(!printed.to_lowercase().contains(&shown.to_lowercase()));
    }
    let sealed = world.live().remove(0).psk;
    let mut windows = sealed.as_bytes().windows(key.len());
    assert!(windows.all(|window| window != key));
}

#[test]
fn invariant_7_whatever_fails_no_one_is_admitted_and_all_heals() {
    for call in [StoreCall::Enrolment, StoreCall::OpenSession] {
        for fault in [StoreFault::Fail, StoreFault::ApplyThenFail] {
            no_one_is_admitted(|world| world.store.fail_always(call, fault));
        }
    }
    for fault in [Fault::Fail, Fault::ApplyPartThenFail, Fault::ApplyThenFail] {
        no_one_is_admitted(|world| world.interface.fail_always(Operation::Install, fault));
    }
    no_one_is_admitted(|world| world.verifier_fails = true);
}

/// A right code leads nowhere with this fault.
fn no_one_is_admitted(fail: impl Fn(&mut World)) {
    let mut world = World::new();
    fail(&mut world);
    let attempt = world.admit(LAPTOP);
    assert!(!matches!(world.reply_to(attempt), Some(Outcome::Granted)));
    assert!(world.installed().is_empty() && world.live().is_empty());

    world.recover();
    world.pass(Duration::from_secs(30));
    let attempt = world.admit(LAPTOP);
    assert_eq!(world.reply_to(attempt), Some(&Outcome::Granted));
}

#[test]
fn invariant_9_a_revoke_is_a_removal_and_waits_for_the_store() {
    let mut world = World::new();
    world.admit(LAPTOP);
    world.pass(Duration::from_secs(60));
    let renewal = world.hello(LAPTOP, Intent::Renew(world.session_of(LAPTOP)));
    world.settle();
    world.request(renewal, Request::Confirm {});
    world.settle_until(|job| matches!(job, Job::Tell(Input::Installed { .. })));
    let before = world.interface.calls().len();

    world.store.go_down(StoreFault::Fail);
    let ticket = world.revoke(Scope::Peer(LAPTOP));
    world.settle();
    assert!(world.installed().is_empty());
    let calls = world.interface.calls().split_off(before);
    let removal = |call: &Call| call.operation == Operation::Remove;
    assert!(!calls.is_empty() && calls.iter().all(removal), "{calls:?}");
    assert!(!world.revoked.contains_key(&ticket));
    let failing = |event: &Event| matches!(event, Event::StoreFailing { .. });
    assert!(world.events.iter().any(failing));

    world.recover();
    assert!(world.revoked.contains_key(&ticket));
    assert!(world.live().is_empty());
}
