//! Short names for what the tests say often, and random policies.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::assurance::FactorKind;
use crate::id::GroupId;
use crate::policy::{
    GroupRule, Policy, RenewalRule, Requirement, Step, TimeOfDay, UtcOffset, Weekday, Window,
};

pub(super) const TOTP: FactorKind = FactorKind::TOTP;
pub(super) const KEY: FactorKind = FactorKind::DEVICE_KEY;
pub(super) const PASSKEY: FactorKind = FactorKind::WEBAUTHN;
pub(super) const PASSWORD: FactorKind = FactorKind::PASSWORD;
pub(super) const CARD: FactorKind = FactorKind::new("card");

pub(super) fn any<const N: usize>(kinds: [FactorKind; N]) -> Step {
    Step::AnyOf(kinds.into())
}

pub(super) fn all<const N: usize>(kinds: [FactorKind; N]) -> Step {
    Step::AllOf(kinds.into())
}

pub(super) fn of_steps<const N: usize>(steps: [Step; N]) -> Policy {
    Policy {
        steps: steps.into(),
        ..Policy::default()
    }
}

pub(super) fn group(name: &str) -> GroupId {
    name.parse().unwrap()
}

pub(super) const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// A few kinds, so that they meet in several steps.
pub(super) fn kinds() -> Vec<FactorKind> {
    let mut kinds = FactorKind::ALL.to_vec();
    kinds.push(CARD);
    kinds
}

fn step() -> impl Strategy<Value = Step> {
    let some = subsequence(kinds(), 0..=4).prop_shuffle();
    (some, any_bool()).prop_map(|(kinds, any)| match any {
        true => Step::AnyOf(kinds),
        false => Step::AllOf(kinds),
    })
}

fn any_bool() -> impl Strategy<Value = bool> + Clone {
    proptest::bool::ANY
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..=4)
}

fn span() -> impl Strategy<Value = Duration> + Clone {
    up_to(31 * 24 * 3600)
}

/// From nothing to a little over what is allowed, to the nanosecond.
fn up_to(secs: u64) -> impl Strategy<Value = Duration> + Clone {
    (0..=secs, select(vec![0, 0, 0, 1, 999_999_999]))
        .prop_map(|(secs, nanos)| Duration::new(secs, nanos))
}

pub(super) fn requirement() -> impl Strategy<Value = Requirement> {
    let flag = proptest::bool::weighted(0.2);
    let age = prop::option::of(span());
    (flag, flag, flag, flag, flag, age).prop_map(|of| Requirement {
        phishing_resistant: of.0,
        user_verified: of.1,
        replay_resistant: of.2,
        verifier_bound: of.3,
        hardware: of.4,
        authentication_age: of.5,
    })
}

/// What a window is made of; some of these make none.
pub(super) type Parts = (Vec<Weekday>, u16, u16, i16);

pub(super) fn parts() -> impl Strategy<Value = Parts> {
    let days = subsequence(Weekday::ALL.to_vec(), 1..=7);
    let time = || prop_oneof![0..=1440_u16, select(vec![0, 1440, 720])];
    (days, time(), time(), -720..=840_i16)
}

pub(super) fn window((days, from, to, offset): Parts) -> Option<Window> {
    let time = |minutes| TimeOfDay::from_minutes(minutes).unwrap();
    let offset = UtcOffset::from_minutes(offset).unwrap();
    Window::new(days, time(from), time(to), offset).ok()
}

fn windows() -> impl Strategy<Value = Vec<Window>> {
    let real = |(days, from, to, offset): Parts| {
        let by_day = || window((days.clone(), 8 * 60, 18 * 60, offset));
        window((days.clone(), from, to, offset))
            .or_else(by_day)
            .unwrap()
    };
    prop::collection::vec(parts().prop_map(real), 0..=3)
}

fn renewal() -> impl Strategy<Value = RenewalRule> {
    select(vec![
        RenewalRule::Free,
        RenewalRule::Factor,
        RenewalRule::Off,
    ])
}

fn rule() -> impl Strategy<Value = GroupRule> {
    let set = prop::option::of::<_>;
    let asks = (prop::option::of(steps()), prop::option::of(requirement()));
    let spans = (set(span()), set(span()), set(span()));
    let idle = prop::option::of(prop::option::of(span()));
    let rest = (
        prop::option::of(renewal()),
        prop::option::of(any_bool()),
        prop::option::of(windows()),
        prop::option::of(prop::option::of(0..=9_u32)),
    );
    (select(vec!["a", "b", "c d"]), asks, spans, idle, rest).prop_map(
        |(name, asks, spans, inactivity, rest)| GroupRule {
            steps: asks.0,
            require: asks.1,
            max_age: spans.0,
            lease: spans.1,
            warn_before: spans.2,
            inactivity,
            renewal: rest.0,
            end_on_wake: rest.1,
            windows: rest.2,
            sessions_per_user: rest.3,
            ..GroupRule::new(group(name))
        },
    )
}

/// Policies of every sort, many of which are refused.
pub(super) fn policies() -> impl Strategy<Value = Policy> {
    let attempt = up_to(16 * 60);
    let spans = (span(), span(), span(), attempt, prop::option::of(span()));
    let counts = (prop::option::of(0..=9_u32), 0..=9_usize, 0..=9_usize);
    let rules = prop::collection::vec(rule(), 0..=2);
    let rest = (renewal(), any_bool(), windows(), rules);
    (steps(), requirement(), spans, counts, rest).prop_map(
        |(steps, require, spans, counts, rest)| Policy {
            steps,
            require,
            max_age: spans.0,
            lease: spans.1,
            warn_before: spans.2,
            attempt_ttl: spans.3,
            inactivity: spans.4,
            sessions_per_user: counts.0,
            attempts_per_peer: counts.1,
            attempts_in_all: counts.2,
            renewal: rest.0,
            end_on_wake: rest.1,
            windows: rest.2,
            groups: rest.3,
            ..Policy::default()
        },
    )
}
