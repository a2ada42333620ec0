//! How calls behave: again, dropped, side by side, and at odd times.

use std::time::Duration;

use super::VerifierHarness;
use super::trial::{Setting, Trial, ended};
use crate::time::Timestamp;

/// More awaits than a verification has, one hopes.
const POLLS: u32 = 12;
const AT_ONCE: usize = 32;

pub(super) async fn a_challenge_may_be_asked_again<H: VerifierHarness>(trial: &Trial<'_, H>) {
    let case = trial.begin().await;
    let again = trial.ask(&case.authenticator, case.setting.clone()).await;
    let verdict = trial.verify(&again.setting, &again.right).await;
    verdict.expect("a challenge that was asked again can be answered");
    let verdict = trial.verify(&case.setting, &case.right).await;
    verdict.expect("a challenge that was asked again leaves the first as it is");
}

pub(super) async fn a_verdict_changes_nothing<H: VerifierHarness>(trial: &Trial<'_, H>) {
    let case = trial.begin().await;
    let first = trial.verify(&case.setting, &case.right).await;
    for answer in trial.harness.tampered(&case.right) {
        drop(trial.verify(&case.setting, &answer).await);
    }
    let again = trial.verify(&case.setting, &case.right).await;
    assert_eq!(
        first.expect("a right answer is right"),
        again.expect("the gate's store counts and consumes, not the verifier"),
        "the same answer proves the same again"
    );
}

pub(super) async fn a_dropped_call_leaves_nothing<H: VerifierHarness>(trial: &Trial<'_, H>) {
    let case = trial.begin().await;
    for polls in 1..=POLLS {
        let asked = trial.challenge_half_way(&case.setting, polls).await;
        let call = trial.verify_half_way(&case.setting, &case.right, polls);
        let are_over = call.await.is_over() && asked.is_over();
        drop(asked);
        let what = "`verify`, after a call that was dropped,";
        let verdict = trial.verify_as(what, &case.setting, &case.right).await;
        verdict.expect("a call that was dropped leaves nothing behind");
        if are_over {
            return;
        }
    }
}

pub(super) async fn a_call_half_way_holds_up_no_other<H: VerifierHarness>(trial: &Trial<'_, H>) {
    let (one, other) = (trial.begin().await, trial.begin().await);
    for polls in 1..=POLLS {
        let held = trial.verify_half_way(&one.setting, &one.right, polls).await;
        let what = "`verify`, while another call is half-way,";
        let verdict = trial.verify_as(what, &other.setting, &other.right).await;
        verdict.expect("calls for different attempts run at the same time");
        if held.is_over() {
            return;
        }
    }
}

pub(super) async fn many_calls_at_once_are_all_judged<H: VerifierHarness>(trial: &Trial<'_, H>) {
    let (one, other) = (trial.begin().await, trial.begin().await);
    let is_right = |n: usize| n.is_multiple_of(2);
    let begun = (0..AT_ONCE).map(|n| {
        let answer = if is_right(n) {
            &one.right
        } else {
            &other.right
        };
        trial.begin_to_verify(&one.setting, answer)
    });
    let begun: Vec<_> = begun.collect();
    for (n, task) in begun.into_iter().enumerate() {
        let verdict = ended("`verify`, among many calls,", task).await;
        assert_eq!(verdict.is_ok(), is_right(n), "call {n}: {verdict:?}");
    }
}

pub(super) async fn no_time_makes_it_panic<H: VerifierHarness>(trial: &Trial<'_, H>) {
    let case = trial.begin().await;
    let ends = [0, 1, u64::MAX].map(Timestamp::from_millis);
    let before = case.setting.now - Duration::from_secs(1 << 31);
    for now in ends.into_iter().chain([before]) {
        let setting = Setting {
            now,
            ..case.setting.clone()
        };
        drop(trial.challenge(&setting).await);
        drop(trial.verify(&setting, &case.right).await);
    }
}
