//! The conformance suite for [`MfaVerifier`]: what its contract says, as checks that anyone can run
//! against a verifier of their own. The chapter on
//! [writing a verifier](crate::manual::writing_a_verifier) has a whole example.
//!
//! A check that fails panics and says what should have been. Each call of the verifier runs in a
//! task of its own with a limit in time, and what it logs and prints is searched for secrets. The
//! suite can't see whether secrets are compared in constant time, nor whether a proof claims too
//! much of the authenticator.

mod answers;
mod calls;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::channel::message::{Answer, Challenge};
use crate::factor::{Context, MfaVerifier};
use crate::seal::SecretBytes;
use trial::Trial;

/// What the suite needs to know of a verifier: how its factors are enrolled, and what their users
/// and other people would answer.
#[async_trait]
pub trait VerifierHarness: Send + Sync {
    /// What a user holds: a phone, a key, a password.
    type Authenticator: Send + Sync;

    /// The verifier under test; always the same one.
    fn verifier(&self) -> Arc<dyn MfaVerifier>;

    /// The verifier's `Debug`, where it has one.
    fn shown(&self) -> String {
        String::new()
    }

    /// An authenticator unlike any before, and the secret of its factor as a gate opens it. Make
    /// them from a counter rather than at random: then a check that fails fails again.
    async fn enrol(&self) -> (Self::Authenticator, SecretBytes);

    /// The right answer to a challenge that was asked in this context. The context's own factor may
    /// be another's: then it is what this authenticator would answer anyway.
    async fn answer(
        &self,
        authenticator: &Self::Authenticator,
        context: &Context<'_>,
        challenge: &Challenge,
    ) -> Answer;

    /// How many answers a sign-in takes.
    fn rounds(&self) -> u32 {
        1
    }

    /// A right answer, changed by one bit, digit or letter at a time, and still of its shape.
    fn tampered(&self, right: &Answer) -> Vec<Answer>;

    /// Answers of another type, or of another shape, than the challenge asks for.
    fn unfit(&self, challenge: &Challenge) -> Vec<Answer>;

    /// What must not be printed or logged, apart from the factor's secret as a whole: the raw key in
    /// it, the code in the answer. Each has four bytes or more.
    fn private(&self, authenticator: &Self::Authenticator, right: &Answer) -> Vec<Vec<u8>>;

    /// Whether an answer is right only in the attempt, and for the peer and the location, that it
    /// was made for.
    fn is_bound(&self) -> bool;

    /// How long after it was made an answer is surely too late; `None` where that is left to the
    /// end of the attempt, which the gate keeps.
    fn too_late_after(&self) -> Option<Duration>;

    /// Secrets that no factor of this kind has. Empty where any bytes are one.
    fn unreadable(&self) -> Vec<SecretBytes> {
        [vec![], vec![0], vec![0xff; 64], b"something else".to_vec()]
            .map(SecretBytes::new)
            .into()
    }
}

/// Runs every check, inside a tokio runtime.
///
/// # Panics
/// When the verifier doesn't do what the contract says.
pub async fn conformance<H: VerifierHarness>(harness: &H) {
    let trial = Trial::of(harness);
    calls::a_challenge_may_be_asked_again(&trial).await;
    answers::a_right_answer_proves_its_factor_and_claims_no_more(&trial).await;
    calls::a_verdict_changes_nothing(&trial).await;
    answers::a_step_is_accepted_once(&trial).await;
    answers::a_changed_answer_is_wrong(&trial).await;
    answers::an_answer_that_does_not_fit_is_no_failure_of_the_verifier(&trial).await;
    answers::what_another_user_answers_is_wrong(&trial).await;
    answers::a_bound_answer_is_worth_nothing_elsewhere(&trial).await;
    answers::an_answer_is_right_for_a_while(&trial).await;
    answers::a_secret_that_can_not_be_read_gives_no_verdict(&trial).await;
    calls::a_dropped_call_leaves_nothing(&trial).await;
    calls::a_call_half_way_holds_up_no_other(&trial).await;
    calls::many_calls_at_once_are_all_judged(&trial).await;
    calls::no_time_makes_it_panic(&trial).await;
    trial.assert_no_secret_was_shown();
}
