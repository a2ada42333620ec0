//! Verifiers: one trait, and one file per kind of factor.
//!
//! A verifier decides whether an answer is right. It does not count failures, store anything or
//! admit anybody: the gate does, and only the gate can turn a [`Proof`] into a lease.

#[cfg(feature = "totp")]
pub mod totp;

use async_trait::async_trait;

use crate::assurance::{Assurance, FactorKind};
use crate::channel::message::{Answer, Challenge};
use crate::id::{AttemptId, FactorId, LocationId, UserId};
use crate::key::PublicKey;
use crate::seal::Secret;
use crate::store::FactorRecord;
use crate::time::Timestamp;

/// What a verifier may know of the attempt that it serves.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Context<'a> {
    /// Where the peer wants in.
    pub location: &'a LocationId,
    /// The peer that wants in.
    pub peer: &'a PublicKey,
    /// Its owner.
    pub user: &'a UserId,
    /// The run of the ceremony.
    pub attempt: &'a AttemptId,
    /// The enrolled factor as the store has it.
    pub factor: &'a FactorRecord,
    /// The factor's secret, opened.
    pub secret: &'a Secret,
    /// The wall clock of the gate.
    pub now: Timestamp,
}

/// Checks answers for one kind of factor.
///
/// # Contract
/// - `verify` compares secrets in constant time and is free of side effects that a second call
///   would notice: what must happen once (a one-time code's step) goes into [`Proof::consume`],
///   and the store does it atomically with the admission.
/// - Both calls may be dropped at any await; the gate treats that, an error, a panic and a
///   time-out alike: not admitted.
/// - Calls for different attempts run at the same time and must not wait on one another.
#[async_trait]
pub trait MfaVerifier: Send + Sync + 'static {
    /// The kind that this verifier serves.
    fn kind(&self) -> FactorKind;

    /// What to ask of the user.
    ///
    /// # Errors
    /// [`VerifyError`], see its variants.
    async fn challenge(&self, context: &Context<'_>) -> Result<Challenge, VerifyError>;

    /// Whether `answer` is right.
    ///
    /// # Errors
    /// [`VerifyError::Wrong`] or [`VerifyError::Replayed`] for an answer that is not; the others
    /// when it could not be judged.
    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Proof, VerifyError>;
}

/// A right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The factor that was passed.
    pub factor: FactorId,
    /// What was proven.
    pub assurance: Assurance,
    /// A number that only grows, taken by this answer: for a one-time password, its time step. The
    /// store accepts each step of a factor once, and none that is not greater than the last.
    pub consume: Option<u64>,
}

/// Why an answer was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The answer is wrong. Counted as a failure.
    #[error("the answer is wrong")]
    Wrong,
    /// The answer was right once, and has been used. Counted as a failure.
    #[error("the answer has been used before")]
    Replayed,
    /// The answer is of another shape than the challenge asked for. Not counted.
    #[error("the answer does not fit the challenge")]
    Unfit,
    /// The verifier could not judge. Not counted, and not admitted.
    #[error("the factor can't be verified now")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}
