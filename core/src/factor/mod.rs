//! Verifiers: one trait, and one file per kind of factor.
//!
//! A verifier decides whether an answer is right. It does not count failures, store anything or
//! admit anybody: the gate does, and only the gate can turn a [`Proof`] into a lease.

#[cfg(any(feature = "recovery-codes", feature = "password"))]
mod argon2;
#[cfg(feature = "device-key")]
pub mod device_key;
#[cfg(feature = "email-code")]
pub mod email_code;
#[cfg(all(
    test,
    any(
        feature = "device-key",
        feature = "email-code",
        feature = "oidc",
        feature = "password",
        feature = "recovery-codes"
    )
))]
mod harness;
#[cfg(feature = "oidc")]
pub mod oidc;
mod owned;
#[cfg(feature = "password")]
pub mod password;
#[cfg(any(feature = "oidc", feature = "webauthn"))]
mod persisted;
#[cfg(feature = "recovery-codes")]
pub mod recovery_codes;
#[cfg(feature = "totp")]
pub mod totp;
#[cfg(feature = "webauthn")]
pub mod webauthn;

use std::time::Duration;

use async_trait::async_trait;

pub use owned::{OwnedAttemptContext, OwnedEnrolContext, OwnedFactor, OwnedVerifierContext};

use crate::assurance::{Assurance, FactorKind};
use crate::channel::binding::Binding;
use crate::channel::message::{Answer, Challenge};
use crate::id::{AttemptId, CredentialId, FactorId, LocationId, UserId};
use crate::key::PublicKey;
use crate::seal::SecretBytes;
use crate::store::FactorRecord;
use crate::time::Timestamp;

/// What a verifier may know of the attempt that it serves.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Context<'a> {
    /// Where the peer wants in, and by which peer.
    pub attempt: AttemptContext<'a>,
    /// The enrolled factor as the store has it.
    pub factor: &'a FactorRecord,
    /// The factor's secret, opened.
    pub secret: &'a SecretBytes,
    /// What the verifier asked to remember when it asked; `None` while it is to ask.
    pub state: Option<&'a SecretBytes>,
}

impl<'a> Context<'a> {
    /// What the gate hands to a verifier that is to ask; for tests of your own.
    pub const fn new(
        attempt: AttemptContext<'a>,
        factor: &'a FactorRecord,
        secret: &'a SecretBytes,
    ) -> Self {
        Self {
            attempt,
            factor,
            secret,
            state: None,
        }
    }

    /// The same for a verifier that is to judge, with what it asked to remember.
    #[must_use]
    pub const fn remembering(mut self, state: Option<&'a SecretBytes>) -> Self {
        self.state = state;
        self
    }
}

/// What a verifier may know of the attempt in which a factor is enrolled.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Enrolling<'a> {
    /// Where, and by which peer.
    pub attempt: AttemptContext<'a>,
    /// The factors that the user has.
    pub factors: &'a [FactorRecord],
    /// What the verifier asked to remember when it asked; `None` while it is to ask.
    pub state: Option<&'a SecretBytes>,
}

impl<'a> Enrolling<'a> {
    /// What the gate hands to a verifier that is to ask; for tests of your own.
    pub const fn new(attempt: AttemptContext<'a>, factors: &'a [FactorRecord]) -> Self {
        Self {
            attempt,
            factors,
            state: None,
        }
    }

    /// The same for a verifier that is to judge, with what it asked to remember.
    #[must_use]
    pub const fn remembering(mut self, state: Option<&'a SecretBytes>) -> Self {
        self.state = state;
        self
    }
}

/// An attempt: who, where and when.
#[derive(Debug, Clone, Copy)]
pub struct AttemptContext<'a> {
    /// Where the peer wants in.
    pub location: &'a LocationId,
    /// The location's public key, which clients know it by.
    pub location_key: &'a PublicKey,
    /// The peer that wants in.
    pub peer: &'a PublicKey,
    /// Its owner.
    pub user: &'a UserId,
    /// The run of the ceremony.
    pub id: &'a AttemptId,
    /// The wall clock of the gate.
    pub now: Timestamp,
    /// When the attempt is over.
    pub expires: Timestamp,
}

impl AttemptContext<'_> {
    /// What a proof is bound to, so that it is worth nothing in another attempt, for another peer
    /// or at another location.
    pub const fn binding(&self) -> Binding<'_> {
        Binding {
            location: self.location_key,
            peer: self.peer,
            attempt: self.id,
        }
    }
}

/// Checks answers for one kind of factor.
///
/// # Contract
/// - `verify` compares secrets in constant time and is free of side effects that a second call
///   would notice: what must happen once (a one-time code's step, a recovery code's end) goes into
///   [`Proof::counter`] and [`Proof::replace_secret`], and the store does it atomically with the admission.
/// - What a verifier must remember between a question and its answer (a nonce, a ceremony's state)
///   goes into [`IssuedChallenge::state`]. The gate keeps it under the attempt while the question stands:
///   until a right answer, another question, or the attempt's end. One answer is judged at a time.
/// - All calls may be dropped at any await; the gate treats that, an error, a panic and a
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
    async fn challenge(&self, context: &Context<'_>) -> Result<IssuedChallenge, VerifyError>;

    /// Whether `answer` is right, or what to ask next.
    ///
    /// # Errors
    /// [`VerifyError::Wrong`], [`VerifyError::Replayed`] or [`VerifyError::Expired`] for an answer
    /// that is not; the others when it could not be judged.
    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Verdict, VerifyError>;

    /// What to ask of a user who enrols a factor of this kind from a client.
    ///
    /// # Errors
    /// [`VerifyError::NotEnrollable`], which is what the trait's own does; else as
    /// [`challenge`](Self::challenge).
    async fn register(&self, enrolling: &Enrolling<'_>) -> Result<IssuedChallenge, VerifyError> {
        _ = enrolling;
        Err(VerifyError::NotEnrollable)
    }

    /// Whether the answer to [`register`](Self::register) proves that the user holds the new
    /// factor, or what to ask next.
    ///
    /// # Errors
    /// As [`register`](Self::register) and [`verify`](Self::verify).
    async fn enrol(
        &self,
        enrolling: &Enrolling<'_>,
        answer: &Answer,
    ) -> Result<Registration, VerifyError> {
        _ = (enrolling, answer);
        Err(VerifyError::NotEnrollable)
    }
}

/// A question to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedChallenge {
    /// What to ask.
    pub challenge: Challenge,
    /// What the verifier must remember to judge the answer.
    pub state: Option<SecretBytes>,
}

impl From<Challenge> for IssuedChallenge {
    fn from(challenge: Challenge) -> Self {
        Self {
            challenge,
            state: None,
        }
    }
}

/// What became of an answer that is not wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The factor is passed.
    Proven(Box<Proof>),
    /// There is more to ask, or to wait for. Not a failure, and not counted as one.
    Ask(IssuedChallenge),
}

impl From<Proof> for Verdict {
    fn from(proof: Proof) -> Self {
        Self::Proven(Box::new(proof))
    }
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
    pub counter: Option<u64>,
    /// The factor's secret from now on, where the answer changes it: a recovery code is gone, a
    /// counter has grown. The store puts it in the place of the one that was read, if that is still
    /// there, in the transaction that admits.
    pub replace_secret: Option<SecretBytes>,
    /// The factor's credential from now on, where the answer shows that it is this one: a person
    /// who was known by an address turns out to be that subject. In that same transaction; if
    /// another factor of the kind has it, the answer counts as wrong.
    pub credential: Option<CredentialId>,
    /// When the lease is to end at the latest for what was proven, if before the policy's end.
    pub not_after: Option<Timestamp>,
}

impl Proof {
    /// A proof of no more than the assurance, that uses nothing up.
    pub const fn new(factor: FactorId, assurance: Assurance) -> Self {
        Self {
            factor,
            assurance,
            counter: None,
            replace_secret: None,
            credential: None,
            not_after: None,
        }
    }
}

/// What became of an answer in an enrolment that is not wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registration {
    /// The user holds the new factor.
    Proven(Credential),
    /// There is more to ask, or to wait for.
    Ask(IssuedChallenge),
}

/// A new factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its secret and parameters.
    pub secret: SecretBytes,
    /// The step that the proof took, as in [`Proof::counter`].
    pub counter: Option<u64>,
    /// What makes it unlike all others of its kind, where two users must not have the same.
    pub id: Option<CredentialId>,
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
    /// The answer came too late for its challenge. Counted as a failure.
    #[error("the answer came too late")]
    Expired,
    /// The answer is of another shape than the challenge asked for. Not counted.
    #[error("the answer does not fit the challenge")]
    Unfit,
    /// The verifier has been asked too often and does nothing until then. Not counted.
    #[error("asked too often: wait before the next time")]
    Busy {
        /// How long to wait.
        retry: Duration,
    },
    /// Factors of this kind, or this very one, can't be enrolled by a client.
    #[error("the factor can't be enrolled")]
    NotEnrollable,
    /// The verifier could not judge. Not counted, and not admitted.
    #[error("the factor can't be verified now")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl VerifyError {
    /// The verifier could not judge, for this reason.
    pub fn backend(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Backend(error.into())
    }
}
