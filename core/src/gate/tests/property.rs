//! Random steps against the [model](super::model).
//!
//! A failing case is kept in `core/proptest-regressions/gate/tests/property.txt`, which the next
//! run replays first: commit it with the fix. `PROPTEST_CASES=20000` looks harder,
//! `PROPTEST_RNG_SEED=7` looks at the same cases again.

use std::time::Duration;

use proptest::prelude::*;

use super::cast::{self, PEERS, USERS, WRONG};
use super::world::{Life, World};
use crate::channel::message::Request;
use crate::gate::{Input, Intent, Outcome, Scope};
use crate::key::PublicKey;
use crate::policy::{EndpointChange, Policy};
use crate::testing::fake_interface::{Fault, Operation};
use crate::testing::{StoreCall, StoreFault};

/// One thing that happens. Attempts and jobs are picked by their place, attempts newest first.
#[derive(Debug, Clone)]
enum Step {
    Begin(PublicKey),
    Renew(PublicKey),
    Status(PublicKey),
    SignOut(PublicKey),
    Answer(usize, Code),
    Confirm(usize),
    Cancel(usize),
    Traffic(PublicKey),
    /// Goes on from another address, or from the first again.
    Move(PublicKey, bool),
    Pass(u64),
    WallBy(i64),
    Revoke(Target),
    /// Enabled or not, and whether the store tells of it at once.
    EnableUser(usize, bool, bool),
    EnablePeer(PublicKey, bool, bool),
    CloseElsewhere(PublicKey),
    ReplaceFactor(usize),
    ResetFailures(usize),
    Notice,
    StoreFails(StoreCall, StoreFault),
    StoreIsDown(StoreFault),
    InterfaceFails(Operation, Fault, bool),
    VerifierFails,
    Heal,
    Job(usize),
    /// So much of the newest job and of what comes of it.
    Follow(usize),
    Settle,
    /// Each pending action has its effect first where its bit says so.
    Crash(u64),
    Stop,
    Recover,
}

#[derive(Debug, Clone, Copy)]
enum Code {
    Right,
    Wrong,
    /// The right one of half a minute ago.
    Old,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Session(PublicKey),
    Peer(PublicKey),
    User(usize),
    All,
}

fn peer() -> impl Strategy<Value = PublicKey> {
    prop::sample::select(PEERS.to_vec())
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        2 => peer().prop_map(Target::Session),
        2 => peer().prop_map(Target::Peer),
        1 => (0..USERS.len()).prop_map(Target::User),
        1 => Just(Target::All),
    ]
}

fn code() -> impl Strategy<Value = Code> {
    prop_oneof![8 => Just(Code::Right), 2 => Just(Code::Wrong), 1 => Just(Code::Old)]
}

fn pick() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0_usize), 1 => 1..5_usize]
}

fn conversation() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => peer().prop_map(Step::Begin),
        3 => peer().prop_map(Step::Renew),
        1 => peer().prop_map(Step::Status),
        1 => peer().prop_map(Step::SignOut),
        5 => (pick(), code()).prop_map(|(at, code)| Step::Answer(at, code)),
        3 => pick().prop_map(Step::Confirm),
        1 => pick().prop_map(Step::Cancel),
        2 => peer().prop_map(Step::Traffic),
        1 => (peer(), prop::bool::ANY).prop_map(|(peer, away)| Step::Move(peer, away)),
    ]
}

fn time() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_000_u64).prop_map(Step::Pass),
        3 => (30_000..40_000_u64).prop_map(Step::Pass),
        2 => (100_000..700_000_u64).prop_map(Step::Pass),
        1 => (-2_000_000..1_000_000_i64).prop_map(Step::WallBy),
    ]
}

fn administration() -> impl Strategy<Value = Step> {
    let name = || 0..USERS.len();
    let mostly = || prop::bool::weighted(0.7);
    prop_oneof![
        6 => target().prop_map(Step::Revoke),
        2 => (name(), mostly(), prop::bool::ANY)
            .prop_map(|(name, enabled, told)| Step::EnableUser(name, enabled, told)),
        2 => (peer(), mostly(), prop::bool::ANY)
            .prop_map(|(peer, enabled, told)| Step::EnablePeer(peer, enabled, told)),
        1 => peer().prop_map(Step::CloseElsewhere),
        1 => name().prop_map(Step::ReplaceFactor),
        4 => name().prop_map(Step::ResetFailures),
        2 => Just(Step::Notice),
    ]
}

fn trouble() -> impl Strategy<Value = Step> {
    let call = prop::sample::select(vec![
        StoreCall::Enrolment,
        StoreCall::RecordFailure,
        StoreCall::OpenSession,
        StoreCall::RenewSession,
        StoreCall::CloseSession,
        StoreCall::Session,
        StoreCall::LiveSessions,
        StoreCall::AppendAudit,
    ]);
    let store = prop::sample::select(vec![StoreFault::Fail, StoreFault::ApplyThenFail]);
    let operation = prop::sample::select(vec![
        Operation::Install,
        Operation::Renew,
        Operation::Remove,
        Operation::List,
        Operation::Activity,
        Operation::Fence,
    ]);
    let interface = prop::sample::select(vec![
        Fault::Fail,
        Fault::ApplyPartThenFail,
        Fault::ApplyThenFail,
    ]);
    prop_oneof![
        4 => (call, store.clone()).prop_map(|(call, fault)| Step::StoreFails(call, fault)),
        1 => store.prop_map(Step::StoreIsDown),
        4 => (operation, interface, prop::bool::weighted(0.2))
            .prop_map(|(call, fault, always)| Step::InterfaceFails(call, fault, always)),
        1 => Just(Step::VerifierFails),
        4 => Just(Step::Heal),
        4 => prop::num::u64::ANY.prop_map(Step::Crash),
        2 => Just(Step::Recover),
        1 => Just(Step::Stop),
    ]
}

/// Steps in a row: one, or a sign-in or a renewal up to any of its jobs, so that what comes after
/// meets it there.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let follow = || prop_oneof![1 => Just(Step::Settle), 1 => (0..9_usize).prop_map(Step::Follow)];
    let sign_in = (peer(), follow(), code()).prop_map(|(peer, follow, code)| {
        let next_code = Step::Pass(30_000);
        let begin = [next_code, Step::Begin(peer), Step::Follow(4)];
        let answer = [Step::Answer(0, code), follow];
        begin.into_iter().chain(answer).collect()
    });
    let renewal = (peer(), follow()).prop_map(|(peer, follow)| {
        let begin = [Step::Pass(100_000), Step::Renew(peer), Step::Follow(2)];
        let confirm = [Step::Confirm(0), follow];
        begin.into_iter().chain(confirm).collect()
    });
    let jobs = prop::collection::vec((0..8_usize).prop_map(Step::Job), 1..8);
    let one = |step: BoxedStrategy<Step>| step.prop_map(|step| vec![step]);
    let some = prop_oneof![
        4 => one(conversation().boxed()),
        4 => one(time().boxed()),
        3 => one(administration().boxed()),
        3 => one(trouble().boxed()),
        2 => one(Just(Step::Settle).boxed()),
        6 => jobs,
        8 => sign_in,
        6 => renewal,
    ];
    prop::collection::vec(some, 1..60).prop_map(|groups| groups.concat())
}

fn policies() -> impl Strategy<Value = Policy> {
    let inactivity = prop::option::of(Just(Duration::from_secs(900)));
    let endpoint_change = prop::sample::select(vec![
        EndpointChange::Off,
        EndpointChange::Warn,
        EndpointChange::Reauthenticate,
    ]);
    (inactivity, endpoint_change).prop_map(|(inactivity, endpoint_change)| Policy {
        inactivity,
        endpoint_change,
        ..cast::policy()
    })
}

fn take(step: &Step, world: &mut World) {
    let attempt = |world: &World, at: &usize| world.model.open_attempts().get(*at).copied();
    match step {
        Step::Begin(peer) => drop(world.begin(*peer)),
        Step::Renew(peer) => about_session(world, *peer, Intent::Renew),
        Step::Status(peer) => about_session(world, *peer, Intent::Status),
        Step::SignOut(peer) => about_session(world, *peer, Intent::End),
        Step::Answer(at, code) => {
            if let Some(attempt) = attempt(world, at) {
                let half_a_minute = Duration::from_secs(30);
                let now = world.now.timestamp;
                match code {
                    Code::Right => world.answer_right(attempt),
                    Code::Wrong => world.answer(attempt, WRONG),
                    Code::Old => world.answer(attempt, &cast::code_at(now - half_a_minute)),
                }
            }
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
        Step::ResetFailures(at) => world.reset_failures(USERS[*at]),
        Step::Notice => world.notice(),
        Step::StoreFails(call, fault) => world.store.fail_next(*call, *fault),
        Step::StoreIsDown(fault) => world.store.go_down(*fault),
        Step::InterfaceFails(call, fault, false) => world.interface.fail_next(*call, *fault),
        Step::InterfaceFails(call, fault, true) => world.interface.fail_always(*call, *fault),
        Step::VerifierFails => world.verifier_fails = true,
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

fn run(policy: Policy, steps: &[Step]) -> World {
    let mut world = World::with(policy);
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
        policy in policies(), steps in steps(),
    ) {
        run(policy, &steps);
    }
}

/// Random steps prove little if they never get anywhere.
#[test]
fn the_random_steps_admit_renew_and_revoke() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut granted, mut denied, mut renewed, mut revoked) = (0, 0, 0, 0);
    for _ in 0..120 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let world = run(cast::policy(), &steps);
        for (_, reply) in &world.replies {
            granted += usize::from(*reply == Outcome::Granted);
            denied += usize::from(matches!(reply, Outcome::Denied(_)));
        }
        for event in &world.events {
            renewed += usize::from(matches!(event, crate::gate::Event::Renewed { .. }));
        }
        revoked += world
            .revoked
            .values()
            .filter(|ended| !ended.is_empty())
            .count();
    }
    println!("{granted} granted, {denied} denied, {renewed} renewed, {revoked} revoked");
    assert!(granted > 200 && denied > 50 && renewed > 50 && revoked > 20);
}
