//! Random steps against the [model](super::model).
//!
//! A failing case is kept in `core/proptest-regressions/gate/tests/property.txt`, which the next
//! run replays first: commit it with the fix. `PROPTEST_CASES=20000` looks harder,
//! `PROPTEST_RNG_SEED=7` looks at the same cases again.

use std::time::Duration;

use proptest::prelude::*;

use super::fixtures::{self, USERS, WRONG};
use super::world::{Life, Ruling, World};
use crate::channel::message::{DeniedReason, Refusal, Request};
use crate::gate::{Event, Input, Intent, Outcome, Scope};
use crate::key::PublicKey;
use crate::policy::Policy;
use steps::{Code, Target, TestStep, Token, authorisers, policies, steps};

mod steps;

fn take(step: &TestStep, world: &mut World) {
    let attempt = |world: &World, at: &usize| world.model.open_attempts().get(*at).copied();
    match step {
        TestStep::Begin(peer) => drop(world.begin(*peer)),
        TestStep::Renew(peer) => about_session(world, *peer, Intent::Renew),
        TestStep::Status(peer) => about_session(world, *peer, Intent::Status),
        TestStep::SignOut(peer) => about_session(world, *peer, Intent::End),
        TestStep::Answer(at, code) => {
            if let Some(attempt) = attempt(world, at) {
                match code {
                    Code::Right => world.answer_right(attempt),
                    Code::Wrong => world.answer(attempt, WRONG),
                    Code::Old => {
                        let old = world.old_answer(attempt);
                        world.answer(attempt, &old);
                    }
                }
            }
        }
        TestStep::Choose(at, kind) => {
            if let Some(attempt) = attempt(world, at) {
                world.choose(attempt, kind);
            }
        }
        TestStep::Enrol(peer, kind, token) => {
            let owner = fixtures::owner(*peer);
            match token {
                Token::None => {}
                Token::Fresh => world.token = world.issue_token(owner.as_str(), &[]),
                Token::Before => {}
            }
            let text = world.token.clone();
            let token = (!matches!(token, Token::None)).then_some(text.as_str());
            world.enrol_by(*peer, kind.clone(), token);
        }
        TestStep::Confirm(at) => {
            if let Some(attempt) = attempt(world, at) {
                world.request(attempt, Request::Confirm {});
            }
        }
        TestStep::Cancel(at) => {
            if let Some(attempt) = attempt(world, at) {
                world.request(attempt, Request::Cancel {});
            }
        }
        TestStep::Crowd(peer) => {
            for _ in 0..3 {
                world.begin(*peer);
                world.settle();
            }
        }
        TestStep::Traffic(peer) => world.traffic(*peer),
        TestStep::Move(peer, away) => {
            let place = if *away {
                "198.51.100.7:1"
            } else {
                "192.0.2.1:1"
            };
            world.is_at(*peer, place);
        }
        TestStep::Pass(millis) => world.pass(Duration::from_millis(*millis)),
        TestStep::WallBy(millis) => world.step_wall(*millis),
        TestStep::Revoke(target) => {
            let has_gate = matches!(world.life, Life::Open | Life::Stopped);
            if let Some(scope) = scope(world, *target).filter(|_| has_gate) {
                world.revoke(scope);
            }
        }
        TestStep::EnableUser(at, enabled, told) => {
            world.enable_user(USERS[*at], *enabled);
            if *told {
                world.notice();
            }
        }
        TestStep::EnablePeer(peer, enabled, told) => {
            world.enable_peer(*peer, *enabled);
            if *told {
                world.notice();
            }
        }
        TestStep::CloseElsewhere(peer) => world.close_elsewhere(*peer),
        TestStep::ReplaceFactor(at) => world.replace_factor(USERS[*at]),
        TestStep::SuspendFactor(at, kind) => {
            world.suspend_factor(fixtures::factor_of(USERS[*at], kind));
        }
        TestStep::FailElsewhere(at, kind) => {
            world.fail_elsewhere(fixtures::factor_of(USERS[*at], kind));
        }
        TestStep::ResetFailures(at) => world.reset_failures(USERS[*at]),
        TestStep::Rule(ruling) => world.authoriser = world.authoriser.map(|_| *ruling),
        TestStep::Notice => world.notice(),
        TestStep::StoreFails(call, fault) => world.store.fail_next(*call, *fault),
        TestStep::StoreIsDown(fault) => world.store.go_down(*fault),
        TestStep::InterfaceFails(call, fault, false) => world.interface.fail_next(*call, *fault),
        TestStep::InterfaceFails(call, fault, true) => world.interface.fail_always(*call, *fault),
        TestStep::Meddle(peer) => world.meddle(*peer),
        TestStep::TakeOff(peer) => world.take_off(*peer),
        TestStep::LoseInterface(for_good) => world.lose_interface(*for_good),
        TestStep::InterfaceIsBack => world.interface.come_back(),
        TestStep::VerifierFails => world.verifier_fails = true,
        TestStep::VerifierIsBusy => world.verifier_is_busy = true,
        TestStep::Heal => world.heal(),
        TestStep::Job(at) => world.run(*at),
        TestStep::Follow(times) => {
            for _ in 0..*times {
                world.run(world.pending.len().saturating_sub(1));
            }
        }
        TestStep::Settle => world.settle(),
        TestStep::Crash(effects) => world.crash_with(*effects),
        TestStep::Stop if world.life != Life::Down => world.input(Input::Stop),
        TestStep::Stop => {}
        TestStep::Recover => world.recover(),
    }
}

fn about_session(
    world: &mut World,
    peer: PublicKey,
    intent: impl Fn(crate::id::SessionId) -> Intent,
) {
    if let Some(session) = world.model.known_session(peer) {
        world.hello(peer, intent(session));
    }
}

fn scope(world: &World, target: Target) -> Option<Scope> {
    Some(match target {
        Target::Session(peer) => Scope::Session(world.lease(peer)?.session()),
        Target::Peer(peer) => Scope::Peer(peer),
        Target::User(at) => Scope::User(fixtures::user(USERS[at])),
        Target::All => Scope::All,
    })
}

fn run(policy: Policy, authoriser: Option<Ruling>, steps: &[TestStep]) -> World {
    let mut world = World::under(policy, authoriser);
    for step in steps {
        take(step, &mut world);
    }
    world.recover();
    let ttl = world.policy.attempt_ttl;
    world.pass(ttl);
    assert_eq!(world.machine.attempt_count(), 0);
    world
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn whatever_happens_the_invariants_hold_and_all_ends(
        policy in policies(), authoriser in authorisers(), steps in steps(),
    ) {
        run(policy, authoriser, &steps);
    }
}

/// Random steps prove little if they never get anywhere.
#[test]
fn the_random_steps_get_everywhere() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::<_, usize>::new();
    for _ in 0..240 {
        let cases = (policies(), authorisers(), steps());
        let (policy, authoriser, steps) = cases.new_tree(&mut runner).unwrap().current();
        let (steps_asked, is_guarded) = (policy.steps.len(), authoriser.is_some());
        let world = run(policy, authoriser, &steps);
        let mut count = |what, is_so: bool| *seen.entry(what).or_default() += usize::from(is_so);
        for (_, reply) in &world.replies {
            let is_granted = *reply == Outcome::Granted;
            count("granted", is_granted);
            count("granted after several steps", is_granted && steps_asked > 1);
            count("authorised", is_granted && is_guarded);
            count("enrolled", matches!(reply, Outcome::Enrolled(_)));
            let (denied, refused) = match reply {
                Outcome::Denied(denied) => (Some(denied.reason), None),
                Outcome::Refused(refusal) => (None, Some(refusal)),
                _ => (None, None),
            };
            count("wrong", denied == Some(DeniedReason::Wrong));
            count("replayed", denied == Some(DeniedReason::Replayed));
            count("overtaken", denied == Some(DeniedReason::Overtaken));
            count("locked", denied == Some(DeniedReason::Locked));
            count(
                "not authorised",
                refused == Some(&Refusal::NotAuthorised {}),
            );
            count("bad token", refused == Some(&Refusal::BadToken {}));
            count("too many", refused == Some(&Refusal::TooManySessions {}));
        }
        for event in &world.events {
            count("renewed", matches!(event, Event::Renewed { .. }));
            count("a stranger", matches!(event, Event::UnleasedPeer { .. }));
            count("missing", matches!(event, Event::PeerMissing { .. }));
            count("changed", matches!(event, Event::PeerChanged { .. }));
            count("gone", *event == Event::InterfaceGone);
            count("back", *event == Event::InterfaceBack);
        }
        count("replaced", world.model.replaced > 0);
        let mut acknowledged = world.revoked.values();
        count("revoked", acknowledged.any(|ended| !ended.is_empty()));
    }
    println!("{seen:?}");
    let rare = [
        "overtaken",
        "too many",
        "not authorised",
        "bad token",
        "revoked",
        "missing",
        "changed",
        "gone",
        "back",
        "replaced",
    ];
    for (what, times) in seen {
        let enough = if rare.contains(&what) { 1 } else { 20 };
        assert!(times >= enough, "{what}: {times}");
    }
}
