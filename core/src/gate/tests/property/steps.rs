//! What happens in a random case, and how likely it is: the steps, the policies that they meet, and
//! the authorisers.

use std::time::Duration;

use proptest::prelude::*;

use super::super::fixtures::{self, PEERS, USERS, one};
use super::super::world::Ruling;
use crate::assurance::FactorKind;
use crate::key::PublicKey;
use crate::policy::{EndpointChange, Policy, Step as Asks};
use crate::testing::fake_interface::{Fault, Operation};
use crate::testing::{StoreCall, StoreFault};

/// One thing that happens. Attempts and jobs are picked by their place, attempts newest first.
#[derive(Debug, Clone)]
pub(super) enum TestStep {
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
    /// Begins several times in a row, and leaves all of that.
    Crowd(PublicKey),
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
    /// Someone puts a peer on the interface, or gives one that is there other networks.
    Meddle(PublicKey),
    TakeOff(PublicKey),
    /// The interface is not there any more: for good, or not.
    LoseInterface(bool),
    InterfaceIsBack,
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
pub(super) enum Code {
    Right,
    Wrong,
    /// The right one of half a minute ago.
    Old,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Token {
    None,
    Fresh,
    Before,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Session(PublicKey),
    Peer(PublicKey),
    User(usize),
    All,
}

fn peer() -> impl Strategy<Value = PublicKey> {
    prop::sample::select(PEERS.to_vec())
}

/// A peer that is enrolled, or one that is not.
fn anyone() -> impl Strategy<Value = PublicKey> {
    prop_oneof![1 => peer(), 1 => Just(PublicKey::from_bytes([5; 32]))]
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
    prop::sample::select(fixtures::KINDS.to_vec())
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

fn conversation() -> impl Strategy<Value = TestStep> {
    prop_oneof![
        3 => peer().prop_map(TestStep::Begin),
        3 => peer().prop_map(TestStep::Renew),
        1 => peer().prop_map(TestStep::Status),
        1 => peer().prop_map(TestStep::SignOut),
        5 => (pick(), code()).prop_map(|(at, code)| TestStep::Answer(at, code)),
        3 => (pick(), kind()).prop_map(|(at, kind)| TestStep::Choose(at, kind)),
        2 => (peer(), kind(), token()).prop_map(|(peer, kind, token)| TestStep::Enrol(peer, kind, token)),
        3 => pick().prop_map(TestStep::Confirm),
        1 => pick().prop_map(TestStep::Cancel),
        1 => peer().prop_map(TestStep::Crowd),
        2 => peer().prop_map(TestStep::Traffic),
        1 => (peer(), prop::bool::ANY).prop_map(|(peer, away)| TestStep::Move(peer, away)),
    ]
}

fn time() -> impl Strategy<Value = TestStep> {
    prop_oneof![
        3 => (0..3_000_u64).prop_map(TestStep::Pass),
        3 => (30_000..40_000_u64).prop_map(TestStep::Pass),
        2 => (100_000..700_000_u64).prop_map(TestStep::Pass),
        1 => (-2_000_000..1_000_000_i64).prop_map(TestStep::WallBy),
    ]
}

fn administration() -> impl Strategy<Value = TestStep> {
    let name = || 0..USERS.len();
    let mostly = || prop::bool::weighted(0.7);
    prop_oneof![
        6 => target().prop_map(TestStep::Revoke),
        2 => (name(), mostly(), prop::bool::ANY)
            .prop_map(|(name, enabled, told)| TestStep::EnableUser(name, enabled, told)),
        2 => (peer(), mostly(), prop::bool::ANY)
            .prop_map(|(peer, enabled, told)| TestStep::EnablePeer(peer, enabled, told)),
        1 => peer().prop_map(TestStep::CloseElsewhere),
        1 => name().prop_map(TestStep::ReplaceFactor),
        1 => (name(), kind()).prop_map(|(name, kind)| TestStep::SuspendFactor(name, kind)),
        2 => (name(), kind()).prop_map(|(name, kind)| TestStep::FailElsewhere(name, kind)),
        4 => name().prop_map(TestStep::ResetFailures),
        3 => ruling().prop_map(TestStep::Rule),
        2 => Just(TestStep::Notice),
    ]
}

fn trouble() -> impl Strategy<Value = TestStep> {
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
        4 => (call, store.clone()).prop_map(|(call, fault)| TestStep::StoreFails(call, fault)),
        1 => store.prop_map(TestStep::StoreIsDown),
        4 => (operation, interface, prop::bool::weighted(0.2))
            .prop_map(|(call, fault, always)| TestStep::InterfaceFails(call, fault, always)),
        3 => anyone().prop_map(TestStep::Meddle),
        3 => peer().prop_map(TestStep::TakeOff),
        1 => prop::bool::weighted(0.3).prop_map(TestStep::LoseInterface),
        1 => Just(TestStep::InterfaceIsBack),
        1 => Just(TestStep::VerifierFails),
        1 => Just(TestStep::VerifierIsBusy),
        4 => Just(TestStep::Heal),
        4 => prop::num::u64::ANY.prop_map(TestStep::Crash),
        2 => Just(TestStep::Recover),
        1 => Just(TestStep::Stop),
    ]
}

/// Steps in a row: one, or a sign-in or a renewal up to any of its jobs, so that what comes after
/// meets it there.
pub(super) fn steps() -> impl Strategy<Value = Vec<TestStep>> {
    let follow =
        || prop_oneof![1 => Just(TestStep::Settle), 1 => (0..9_usize).prop_map(TestStep::Follow)];
    // So many answers that the longest policy is passed, some to a question of the user's choice.
    let answers = move || {
        let chosen = prop::option::weighted(0.15, kind());
        prop::collection::vec((chosen, code(), follow()), 1..6).prop_map(|answers| {
            let asked = answers.into_iter();
            asked.flat_map(|(chosen, code, follow)| {
                let chosen = chosen.map(|kind| [TestStep::Choose(0, kind), TestStep::Follow(4)]);
                let chosen = chosen.into_iter().flatten();
                chosen.chain([TestStep::Answer(0, code), follow])
            })
        })
    };
    let sign_in = (peer(), answers()).prop_map(|(peer, answers)| {
        let next_code = TestStep::Pass(30_000);
        let begin = [next_code, TestStep::Begin(peer), TestStep::Follow(4)];
        begin.into_iter().chain(answers).collect()
    });
    let enrolment =
        (peer(), kind(), token(), answers()).prop_map(|(peer, kind, token, answers)| {
            let begin = [TestStep::Pass(30_000), TestStep::Enrol(peer, kind, token)];
            let begin = begin.into_iter().chain([TestStep::Follow(4)]);
            begin.chain(answers).collect()
        });
    // Two of one user answer before either answer has been taken.
    let race = prop::option::of(kind()).prop_map(|chosen| {
        let begin = [fixtures::LAPTOP, fixtures::PHONE]
            .map(|peer| [TestStep::Begin(peer), TestStep::Follow(4)]);
        let choose = chosen.into_iter().flat_map(|kind| {
            [0, 1].map(|at| [TestStep::Choose(at, kind.clone()), TestStep::Follow(4)])
        });
        let answer = [0, 1].map(|at| [TestStep::Answer(at, Code::Right), TestStep::Follow(4)]);
        let steps = begin.into_iter().chain(choose).chain(answer).flatten();
        let next_code = [TestStep::Pass(30_000)].into_iter();
        next_code.chain(steps).chain([TestStep::Settle]).collect()
    });
    let renewal = (peer(), follow()).prop_map(|(peer, follow)| {
        let begin = [
            TestStep::Pass(100_000),
            TestStep::Renew(peer),
            TestStep::Follow(2),
        ];
        let confirm = [TestStep::Confirm(0), follow];
        begin.into_iter().chain(confirm).collect()
    });
    let jobs = prop::collection::vec((0..8_usize).prop_map(TestStep::Job), 1..8);
    let one = |step: BoxedStrategy<TestStep>| step.prop_map(|step| vec![step]);
    let some = prop_oneof![
        4 => one(conversation().boxed()),
        4 => one(time().boxed()),
        3 => one(administration().boxed()),
        3 => one(trouble().boxed()),
        2 => one(Just(TestStep::Settle).boxed()),
        6 => jobs,
        8 => sign_in,
        2 => enrolment,
        2 => race,
        6 => renewal,
    ];
    prop::collection::vec(some, 1..60).prop_map(|groups| groups.concat())
}

pub(super) fn policies() -> impl Strategy<Value = Policy> {
    let inactivity = prop::option::of(Just(Duration::from_secs(900)));
    let endpoint_change = prop::sample::select(vec![
        EndpointChange::Off,
        EndpointChange::Warn,
        EndpointChange::Reauthenticate,
    ]);
    let sessions_per_user = prop::option::weighted(0.3, 1..3_u32);
    // Few places, so that later attempts take those of earlier ones.
    let places = (2..5_usize, 4..9_usize);
    let others = (inactivity, endpoint_change, sessions_per_user, places);
    (asks(), others).prop_map(
        |(steps, (inactivity, endpoint_change, sessions_per_user, places))| Policy {
            steps,
            inactivity,
            endpoint_change,
            sessions_per_user,
            attempts_per_peer: places.0,
            attempts_in_all: places.1,
            ..fixtures::policy()
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

pub(super) fn authorisers() -> impl Strategy<Value = Option<Ruling>> {
    prop::option::of(ruling())
}
