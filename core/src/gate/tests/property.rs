//! Random steps against the [model](super::model).
//!
//! A failing case is kept in `core/proptest-regressions/gate/tests/property.txt`, which the next
//! run replays first: commit it with the fix. `PROPTEST_CASES=20000` looks harder,
//! `PROPTEST_RNG_SEED=7` looks at the same cases again.

use std::time::Duration;

use proptest::prelude::*;

use super::cast::{self, USERS, WRONG};
use super::world::{Life, Ruling, World};
use crate::channel::message::{DeniedReason, Refusal, Request};
use crate::gate::{Event, Input, Intent, Outcome, Scope};
use crate::key::PublicKey;
use crate::policy::Policy;
use steps::{Code, Step, Target, Token, authorisers, policies, steps};

mod steps;

fn take(step: &Step, world: &mut World) {
    let attempt = |world: &World, at: &usize| world.model.open_attempts().get(*at).copied();
    match step {
        Step::Begin(peer) => drop(world.begin(*peer)),
        Step::Renew(peer) => about_session(world, *peer, Intent::Renew),
        Step::Status(peer) => about_session(world, *peer, Intent::Status),
        Step::SignOut(peer) => about_session(world, *peer, Intent::End),
        Step::Answer(at, code) => {
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
        Step::Choose(at, kind) => {
            if let Some(attempt) = attempt(world, at) {
                world.choose(attempt, kind);
            }
        }
        Step::Enrol(peer, kind, token) => {
            let owner = cast::owner(*peer);
            match token {
                Token::None => {}
                Token::Fresh => world.token = world.issue_token(owner.as_str(), &[]),
                Token::Before => {}
            }
            let text = world.token.clone();
            let token = (!matches!(token, Token::None)).then_some(text.as_str());
            world.enrol_by(*peer, kind.clone(), token);
        }
        Step::Confirm(at) => {
            if let Some(attempt) = attempt(world, at) {
                world.request(attempt, Request::Confirm {});
            }
        }
        Step::Cancel(at) => {
            if let Some(attempt) = attempt(world, at) {
                world.request(attempt, Request::Cancel {});
            }
        }
        Step::Traffic(peer) => world.traffic(*peer),
        Step::Move(peer, away) => {
            let place = if *away {
                "198.51.100.7:1"
            } else {
                "192.0.2.1:1"
            };
            world.is_at(*peer, place);
        }
        Step::Pass(millis) => world.pass(Duration::from_millis(*millis)),
        Step::WallBy(millis) => world.step_wall(*millis),
        Step::Revoke(target) => {
            let has_gate = matches!(world.life, Life::Open | Life::Stopped);
            if let Some(scope) = scope(world, *target).filter(|_| has_gate) {
                world.revoke(scope);
            }
        }
        Step::EnableUser(at, enabled, told) => {
            world.enable_user(USERS[*at], *enabled);
            if *told {
                world.notice();
            }
        }
        Step::EnablePeer(peer, enabled, told) => {
            world.enable_peer(*peer, *enabled);
            if *told {
                world.notice();
            }
        }
        Step::CloseElsewhere(peer) => world.close_elsewhere(*peer),
        Step::ReplaceFactor(at) => world.replace_factor(USERS[*at]),
        Step::SuspendFactor(at, kind) => {
            world.suspend_factor(cast::factor_of(USERS[*at], kind));
        }
        Step::FailElsewhere(at, kind) => {
            world.fail_elsewhere(cast::factor_of(USERS[*at], kind));
        }
        Step::ResetFailures(at) => world.reset_failures(USERS[*at]),
        Step::Rule(ruling) => world.authoriser = world.authoriser.map(|_| *ruling),
        Step::Notice => world.notice(),
        Step::StoreFails(call, fault) => world.store.fail_next(*call, *fault),
        Step::StoreIsDown(fault) => world.store.go_down(*fault),
        Step::InterfaceFails(call, fault, false) => world.interface.fail_next(*call, *fault),
        Step::InterfaceFails(call, fault, true) => world.interface.fail_always(*call, *fault),
        Step::VerifierFails => world.verifier_fails = true,
        Step::VerifierIsBusy => world.verifier_is_busy = true,
        Step::Heal => world.heal(),
        Step::Job(at) => world.run(*at),
        Step::Follow(times) => {
            for _ in 0..*times {
                world.run(world.pending.len().saturating_sub(1));
            }
        }
        Step::Settle => world.settle(),
        Step::Crash(effects) => world.crash_with(*effects),
        Step::Stop if world.life != Life::Down => world.input(Input::Stop),
        Step::Stop => {}
        Step::Recover => world.recover(),
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
        Target::User(at) => Scope::User(cast::user(USERS[at])),
        Target::All => Scope::All,
    })
}

fn run(policy: Policy, authoriser: Option<Ruling>, steps: &[Step]) -> World {
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
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_invariants_hold_and_everything_comes_to_its_end(
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
        }
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
    ];
    for (what, times) in seen {
        let enough = if rare.contains(&what) { 1 } else { 20 };
        assert!(times >= enough, "{what}: {times}");
    }
}
