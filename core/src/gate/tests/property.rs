//! Random steps against the [model](super::model).
//!
//! A failing case is kept in `core/proptest-regressions/gate/tests/property.txt`, which the next
//! run replays first: commit it with the fix. `PROPTEST_CASES=20000` looks harder,
//! `PROPTEST_RNG_SEED=7` looks at the same cases again.

use std::time::Duration;

use proptest::prelude::*;

use super::cast::{self, PEERS, USERS, WRONG, one};
use super::world::{Life, Ruling, World};
use crate::assurance::FactorKind;
use crate::channel::message::{DeniedReason, Refusal, Request};
use crate::gate::{Event, Input, Intent, Outcome, Scope};
use crate::key::PublicKey;
use crate::policy::{EndpointChange, Policy, Step as Asks};
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
    /// Would rather be asked for another kind of factor.
    Choose(usize, FactorKind),
    /// Enrols a factor: without a token, with a fresh one, or with the one before.
    Enrol(PublicKey, FactorKind, Token),
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
    SuspendFactor(usize, FactorKind),
    FailElsewhere(usize, FactorKind),
    ResetFailures(usize),
    /// The authoriser, where there is one, changes its mind.
    Rule(Ruling),
    Notice,
    StoreFails(StoreCall, StoreFault),
    StoreIsDown(StoreFault),
    InterfaceFails(Operation, Fault, bool),
    VerifierFails,
    VerifierIsBusy,
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
enum Token {
    None,
    Fresh,
    Before,
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

fn kind() -> impl Strategy<Value = FactorKind> {
    prop::sample::select(cast::KINDS.to_vec())
}

fn token() -> impl Strategy<Value = Token> {
    prop_oneof![2 => Just(Token::None), 2 => Just(Token::Fresh), 1 => Just(Token::Before)]
}

fn ruling() -> impl Strategy<Value = Ruling> {
    prop_oneof![
        3 => Just(Ruling::AsIs),
        2 => (0..2000_u64).prop_map(|most| Ruling::ForAtMost(Duration::from_secs(most))),
        1 => Just(Ruling::Refuses),
        1 => Just(Ruling::Fails),
    ]
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
        3 => (pick(), kind()).prop_map(|(at, kind)| Step::Choose(at, kind)),
        2 => (peer(), kind(), token()).prop_map(|(peer, kind, token)| Step::Enrol(peer, kind, token)),
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
        1 => (name(), kind()).prop_map(|(name, kind)| Step::SuspendFactor(name, kind)),
        2 => (name(), kind()).prop_map(|(name, kind)| Step::FailElsewhere(name, kind)),
        4 => name().prop_map(Step::ResetFailures),
        3 => ruling().prop_map(Step::Rule),
        2 => Just(Step::Notice),
    ]
}

fn trouble() -> impl Strategy<Value = Step> {
    let call = prop::sample::select(vec![
        StoreCall::Enrolment,
        StoreCall::RecordFailure,
        StoreCall::PassFactor,
        StoreCall::EnrolFactor,
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
        1 => Just(Step::VerifierIsBusy),
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
    // So many answers that the longest policy is passed, some to a question of the user's choice.
    let answers = move || {
        let chosen = prop::option::weighted(0.15, kind());
        prop::collection::vec((chosen, code(), follow()), 1..6).prop_map(|answers| {
            let asked = answers.into_iter();
            asked.flat_map(|(chosen, code, follow)| {
                let chosen = chosen.map(|kind| [Step::Choose(0, kind), Step::Follow(4)]);
                let chosen = chosen.into_iter().flatten();
                chosen.chain([Step::Answer(0, code), follow])
            })
        })
    };
    let sign_in = (peer(), answers()).prop_map(|(peer, answers)| {
        let next_code = Step::Pass(30_000);
        let begin = [next_code, Step::Begin(peer), Step::Follow(4)];
        begin.into_iter().chain(answers).collect()
    });
    let enrolment =
        (peer(), kind(), token(), answers()).prop_map(|(peer, kind, token, answers)| {
            let begin = [Step::Pass(30_000), Step::Enrol(peer, kind, token)];
            let begin = begin.into_iter().chain([Step::Follow(4)]);
            begin.chain(answers).collect()
        });
    // Two of one user answer before either answer has been taken.
    let race = prop::option::of(kind()).prop_map(|chosen| {
        let begin = [cast::LAPTOP, cast::PHONE].map(|peer| [Step::Begin(peer), Step::Follow(4)]);
        let choose = chosen
            .into_iter()
            .flat_map(|kind| [0, 1].map(|at| [Step::Choose(at, kind.clone()), Step::Follow(4)]));
        let answer = [0, 1].map(|at| [Step::Answer(at, Code::Right), Step::Follow(4)]);
        let steps = begin.into_iter().chain(choose).chain(answer).flatten();
        let next_code = [Step::Pass(30_000)].into_iter();
        next_code.chain(steps).chain([Step::Settle]).collect()
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
        2 => enrolment,
        2 => race,
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
    let sessions_per_user = prop::option::weighted(0.3, 1..3_u32);
    let others = (inactivity, endpoint_change, sessions_per_user);
    (asks(), others).prop_map(
        |(steps, (inactivity, endpoint_change, sessions_per_user))| Policy {
            steps,
            inactivity,
            endpoint_change,
            sessions_per_user,
            ..cast::policy()
        },
    )
}

/// One factor, or several in order, at choice or all of them; used up by what they prove, or not,
/// and in one round or two.
fn asks() -> impl Strategy<Value = Vec<Asks>> {
    const TOTP: FactorKind = FactorKind::TOTP;
    const PASSWORD: FactorKind = FactorKind::PASSWORD;
    const CODES: FactorKind = FactorKind::RECOVERY_CODES;
    const KEY: FactorKind = FactorKind::DEVICE_KEY;
    prop::sample::select(vec![
        vec![one(TOTP)],
        vec![one(PASSWORD), one(TOTP)],
        vec![one(TOTP), one(PASSWORD)],
        vec![Asks::AnyOf(vec![KEY, TOTP, CODES])],
        vec![one(PASSWORD), Asks::AnyOf(vec![TOTP, KEY, CODES])],
        vec![Asks::AllOf(vec![TOTP, KEY])],
        vec![Asks::AllOf(vec![CODES, PASSWORD]), one(TOTP)],
    ])
}

fn authorisers() -> impl Strategy<Value = Option<Ruling>> {
    prop::option::of(ruling())
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
