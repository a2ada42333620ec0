//! Which answers are right, and what is said of the others.

use super::VerifierHarness;
use super::trial::{Setting, Trial};
use crate::assurance::Assurance;
use crate::factor::{Proof, VerifyError};
use crate::id::AttemptId;
use crate::key::PublicKey;

fn assert_wrong(verdict: &Result<Proof, VerifyError>, what: &str) {
    let refused = matches!(
        verdict,
        Err(VerifyError::Wrong | VerifyError::Replayed | VerifyError::Expired)
    );
    assert!(
        refused,
        "{what} is wrong, and counted as a failure: {verdict:?}"
    );
}

pub(super) async fn a_right_answer_proves_its_factor_and_claims_no_more<H: VerifierHarness>(
    trial: &Trial<'_, H>,
) {
    let case = trial.begin().await;
    let proof = trial.verify(&case.setting, &case.right).await;
    let proof = proof.expect("a right answer is right");
    assert_eq!(
        proof.factor, case.setting.factor.id,
        "a proof names the factor that was asked for"
    );
    let Assurance {
        kind,
        phishing_resistant,
        // What the authenticator does is not to be seen from here.
        user_verified: _,
        hardware: _,
        verifier_bound: _,
        replay_resistant,
        authenticated_at,
    } = proof.assurance;
    assert_eq!(kind, trial.kind(), "a proof is of the verifier's kind");
    assert!(
        authenticated_at <= case.setting.now,
        "no one authenticates in the future"
    );
    let is_bound = trial.harness.is_bound();
    assert!(
        is_bound || !phishing_resistant,
        "an answer that is not bound to its attempt is not resistant to phishing"
    );
    assert!(
        is_bound || proof.counter.is_some() || proof.replace_secret.is_some() || !replay_resistant,
        "an answer that is not bound to its attempt and uses nothing up can be replayed"
    );
}

pub(super) async fn a_step_is_accepted_once<H: VerifierHarness>(trial: &Trial<'_, H>) {
    let mut case = trial.begin().await;
    let proof = trial.verify(&case.setting, &case.right).await;
    let Some(step) = proof.expect("a right answer is right").counter else {
        return;
    };
    for last in [step, step.saturating_add(1), u64::MAX] {
        case.setting.factor.last_counter = Some(last);
        let again = trial.verify(&case.setting, &case.right).await;
        assert!(
            matches!(again, Err(VerifyError::Replayed)),
            "an answer whose step is not after the factor's last is replayed: {again:?}"
        );
    }
    if let Some(before) = step.checked_sub(1) {
        case.setting.factor.last_counter = Some(before);
        let next = trial.verify(&case.setting, &case.right).await;
        let next = next.expect("the step after the factor's last is right");
        assert_eq!(next.counter, Some(step), "the step of an answer is its own");
    }
}

pub(super) async fn a_changed_answer_is_wrong<H: VerifierHarness>(trial: &Trial<'_, H>) {
    let case = trial.begin().await;
    let tampered = trial.harness.tampered(&case.right);
    assert!(!tampered.is_empty(), "the harness knows wrong answers");
    for answer in tampered {
        assert_ne!(answer, case.right, "a tampered answer is another");
        let verdict = trial.verify(&case.setting, &answer).await;
        assert_wrong(&verdict, "an answer that was tampered with");
    }
}

pub(super) async fn an_answer_that_does_not_fit_is_no_failure_of_the_verifier<
    H: VerifierHarness,
>(
    trial: &Trial<'_, H>,
) {
    let case = trial.begin().await;
    let unfit = trial.harness.unfit(&case.challenge);
    assert!(!unfit.is_empty(), "the harness knows unfit answers");
    for answer in unfit {
        let verdict = trial.verify(&case.setting, &answer).await;
        assert!(
            matches!(verdict, Err(VerifyError::Unfit | VerifyError::Wrong)),
            "an answer that does not fit its challenge is unfit: {verdict:?}"
        );
    }
}

pub(super) async fn what_another_user_answers_is_wrong<H: VerifierHarness>(trial: &Trial<'_, H>) {
    let (mine, other) = (trial.begin().await, trial.begin().await);
    for case in [&mine, &other] {
        let verdict = trial.verify(&case.setting, &case.right).await;
        verdict.expect("each user's right answer is right");
    }
    let verdict = trial.verify(&mine.setting, &other.right).await;
    assert_wrong(&verdict, "an answer to another user's challenge");
    let right = trial.answer(&other.authenticator, &mine.setting, &mine.challenge);
    let verdict = trial.verify(&mine.setting, &right.await).await;
    assert_wrong(&verdict, "what another user's authenticator answers");
}

pub(super) async fn a_bound_answer_is_worth_nothing_elsewhere<H: VerifierHarness>(
    trial: &Trial<'_, H>,
) {
    if !trial.harness.is_bound() {
        return;
    }
    let case = trial.begin().await;
    let here = &case.setting;
    let elsewhere = [
        (
            "an answer of another attempt",
            Setting {
                attempt: AttemptId::from_bytes([0xee; 32]),
                ..here.clone()
            },
        ),
        (
            "an answer for another peer",
            Setting {
                peer: PublicKey::from_bytes([0xee; 32]),
                ..here.clone()
            },
        ),
        (
            "an answer for another location",
            Setting {
                location: "there".parse().expect("a name"),
                location_key: PublicKey::from_bytes([0xee; 32]),
                ..here.clone()
            },
        ),
    ];
    for (what, setting) in elsewhere {
        let verdict = trial.verify(&setting, &case.right).await;
        assert_wrong(&verdict, what);
    }
}

pub(super) async fn an_answer_is_right_for_a_while<H: VerifierHarness>(trial: &Trial<'_, H>) {
    let Some(too_late_after) = trial.harness.too_late_after() else {
        return;
    };
    let mut case = trial.begin().await;
    case.setting.now = case.setting.now + too_late_after;
    let verdict = trial.verify(&case.setting, &case.right).await;
    assert_wrong(&verdict, "an answer that comes too late");
}

pub(super) async fn a_secret_that_can_not_be_read_gives_no_verdict<H: VerifierHarness>(
    trial: &Trial<'_, H>,
) {
    let case = trial.begin().await;
    for secret in trial.harness.unreadable() {
        let setting = Setting {
            secret,
            ..case.setting.clone()
        };
        let verdict = trial.verify(&setting, &case.right).await;
        assert!(
            matches!(verdict, Err(VerifyError::Backend(_))),
            "a secret that can't be read is not the user's failure: {verdict:?}"
        );
        // Whether a challenge needs the secret is the verifier's affair; it must not panic.
        drop(trial.challenge(&setting).await);
    }
}
