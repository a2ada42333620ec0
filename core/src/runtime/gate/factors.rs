//! Verifiers and the authoriser, asked on the machine's behalf. They are foreign code: an error, a
//! panic or a time-out is no verdict.

use std::sync::Arc;

use super::Shared;
use super::perform::guarded;
use crate::assurance::FactorKind;
use crate::audit::AuditEvent;
use crate::authorise::{Admission, AuthoriseError, Permit};
use crate::channel::message::Answer;
use crate::factor::{
    AttemptContext, Context, Enrolling, IssuedChallenge, MfaVerifier, Proof, Registration, Verdict,
    VerifyError,
};
use crate::gate::persistence::{self, NewFactor};
use crate::gate::{FactorContext, Unavailable};
use crate::id::{AttemptId, FactorId, UserId};
use crate::key::PublicKey;
use crate::seal::SecretBytes;
use crate::store::{Enrolled, Enrolment, PassOutcome};
use crate::time::Timestamp;

impl Shared {
    pub(super) async fn challenge(
        &self,
        attempt: AttemptId,
        asked_of: Box<FactorContext>,
        expires: Timestamp,
    ) -> Result<IssuedChallenge, VerifyError> {
        let (verifier, secret) = self.verifier_for(&asked_of)?;
        let owned = self.owned(attempt, expires);
        self.ask_verifier("challenge", async move {
            let attempt = owned.attempt(asked_of.peer_and_user());
            verifier
                .challenge(&context(attempt, &asked_of, &secret))
                .await
        })
        .await
    }

    pub(super) async fn verify(
        &self,
        attempt: AttemptId,
        asked_of: Box<FactorContext>,
        answer: Answer,
        expires: Timestamp,
    ) -> Result<Verdict, VerifyError> {
        let (verifier, secret) = self.verifier_for(&asked_of)?;
        let owned = self.owned(attempt, expires);
        self.ask_verifier("verify", async move {
            let attempt = owned.attempt(asked_of.peer_and_user());
            let context = context(attempt, &asked_of, &secret);
            verifier.verify(&context, &answer).await
        })
        .await
    }

    pub(super) async fn register(
        &self,
        attempt: AttemptId,
        kind: &FactorKind,
        enrolment: Arc<Enrolment>,
        expires: Timestamp,
    ) -> Result<IssuedChallenge, VerifyError> {
        let verifier = self.verifier(kind).ok_or(VerifyError::NotEnrollable)?;
        let owned = self.owned(attempt, expires);
        self.ask_verifier("register", async move {
            let enrolling = owned.enrolling(&enrolment, None);
            verifier.register(&enrolling).await
        })
        .await
    }

    pub(super) async fn enrol(
        &self,
        attempt: AttemptId,
        kind: &FactorKind,
        (enrolment, state): (Arc<Enrolment>, Option<SecretBytes>),
        answer: Answer,
        expires: Timestamp,
    ) -> Result<Registration, VerifyError> {
        let verifier = self.verifier(kind).ok_or(VerifyError::NotEnrollable)?;
        let owned = self.owned(attempt, expires);
        self.ask_verifier("enrol", async move {
            let enrolling = owned.enrolling(&enrolment, state.as_ref());
            verifier.enrol(&enrolling, &answer).await
        })
        .await
    }

    /// Makes the success of a factor durable.
    pub(super) async fn pass(
        &self,
        asked_of: &FactorContext,
        proof: &Proof,
        event: AuditEvent,
    ) -> Result<PassOutcome, Unavailable> {
        let pass = persistence::factor_pass(&self.ring, self.throttle(), asked_of, proof, event)
            .map_err(|error| self.failed("seal a factor", &error))?;
        let store = Arc::clone(&self.store);
        let call = async move { store.pass_factor(pass).await };
        self.ask_store("pass_factor", call).await
    }

    /// Seals a new factor and makes it durable.
    pub(super) async fn add_factor(
        &self,
        new: NewFactor,
        event: AuditEvent,
    ) -> Result<(FactorId, Enrolled), Unavailable> {
        // The id first, since the secret is sealed to it.
        let id = FactorId::generate().map_err(|error| self.failed("name a factor", &error))?;
        let (throttle, location) = (self.throttle(), self.location.clone());
        let new = persistence::factor_enrolment(&self.ring, throttle, location, id, new, event)
            .map_err(|error| self.failed("seal a factor", &error))?;
        let store = Arc::clone(&self.store);
        let call = async move { store.enrol_factor(new).await };
        Ok((id, self.ask_store("enrol_factor", call).await?))
    }

    pub(super) async fn authorise(
        &self,
        admission: Box<Admission>,
    ) -> Result<Permit, AuthoriseError> {
        let Some(authoriser) = self.authoriser.clone() else {
            return Err(AuthoriseError::Backend("there is no authoriser".into()));
        };
        let call = async move { authoriser.authorise(&admission).await };
        let decided = guarded(self.timeouts.authoriser, call).await;
        decided.unwrap_or_else(|Unavailable| {
            Err(AuthoriseError::Backend(
                "the authoriser did not decide".into(),
            ))
        })
    }

    async fn ask_verifier<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, VerifyError>> + Send + 'static,
    ) -> Result<T, VerifyError> {
        // In a task of its own: a verifier that panics or hangs gives no verdict, and holds up no
        // other attempt.
        let verdict = guarded(self.timeouts.verifier, call).await?;
        if let Err(error @ VerifyError::Backend(_)) = &verdict {
            self.failed(what, error);
        }
        verdict
    }

    fn verifier(&self, kind: &FactorKind) -> Option<Arc<dyn MfaVerifier>> {
        self.verifiers.get(kind).cloned()
    }

    /// The verifier of a factor, and the factor's secret, opened.
    fn verifier_for(
        &self,
        asked_of: &FactorContext,
    ) -> Result<(Arc<dyn MfaVerifier>, SecretBytes), Unavailable> {
        let factor = &asked_of.factor;
        let verifier = self.verifier(&factor.kind).ok_or(Unavailable)?;
        let secret = persistence::factor_secret(&self.ring, factor);
        Ok((
            verifier,
            secret.map_err(|error| self.failed("open a factor", &error))?,
        ))
    }

    fn owned(&self, attempt: AttemptId, expires: Timestamp) -> OwnedContext {
        OwnedContext {
            location: self.location.clone(),
            location_key: self.responder.public_key(),
            attempt,
            now: self.now().timestamp,
            expires,
        }
    }
}

impl From<Unavailable> for VerifyError {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Backend(Box::new(NoVerdict))
    }
}

/// There is no verifier for the factor, or it gave no verdict.
#[derive(Debug, thiserror::Error)]
#[error("no verdict")]
struct NoVerdict;

/// What an attempt's context borrows from, owned by the task that asks the verifier.
struct OwnedContext {
    location: crate::id::LocationId,
    location_key: PublicKey,
    attempt: AttemptId,
    now: Timestamp,
    expires: Timestamp,
}

impl OwnedContext {
    const fn attempt<'a>(
        &'a self,
        (peer, user): (&'a PublicKey, &'a UserId),
    ) -> AttemptContext<'a> {
        AttemptContext {
            location: &self.location,
            location_key: &self.location_key,
            peer,
            user,
            id: &self.attempt,
            now: self.now,
            expires: self.expires,
        }
    }

    fn enrolling<'a>(
        &'a self,
        enrolment: &'a Enrolment,
        state: Option<&'a SecretBytes>,
    ) -> Enrolling<'a> {
        Enrolling {
            attempt: self.attempt((&enrolment.peer.key, &enrolment.user.id)),
            factors: &enrolment.factors,
            state,
        }
    }
}

impl FactorContext {
    const fn peer_and_user(&self) -> (&PublicKey, &UserId) {
        (&self.peer, &self.user)
    }
}

const fn context<'a>(
    attempt: AttemptContext<'a>,
    asked_of: &'a FactorContext,
    secret: &'a SecretBytes,
) -> Context<'a> {
    Context {
        attempt,
        factor: &asked_of.factor,
        secret,
        state: asked_of.state.as_ref(),
    }
}
