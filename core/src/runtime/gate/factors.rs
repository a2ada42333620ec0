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
    Asked, Context, Credential, Enrolling, MfaVerifier, Proof, Registration, Scene, Verdict,
    VerifyError,
};
use crate::gate::{Subject, Unavailable};
use crate::id::{AttemptId, FactorId, TokenId, UserId};
use crate::key::PublicKey;
use crate::policy::Failures;
use crate::seal::{Row, Sealed, Secret};
use crate::store::{
    Consume, Enrolled, Enrolment, FactorPass, FactorRecord, FactorState, NewFactor, Passed, Swap,
};
use crate::time::Timestamp;

/// A factor that a client proved to hold.
pub(super) struct NewCredential {
    pub(super) kind: FactorKind,
    pub(super) label: String,
    pub(super) credential: Credential,
    pub(super) token: Option<TokenId>,
    pub(super) passed: Vec<FactorId>,
}

impl Shared {
    pub(super) async fn challenge(
        &self,
        attempt: AttemptId,
        subject: Box<Subject>,
        expires: Timestamp,
    ) -> Result<Asked, VerifyError> {
        let (verifier, secret) = self.verifier_for(&subject)?;
        let stage = self.stage(attempt, expires);
        self.ask_verifier("challenge", async move {
            let scene = stage.scene(subject.peer_and_user());
            verifier.challenge(&context(scene, &subject, &secret)).await
        })
        .await
    }

    pub(super) async fn verify(
        &self,
        attempt: AttemptId,
        subject: Box<Subject>,
        answer: Answer,
        expires: Timestamp,
    ) -> Result<Verdict, VerifyError> {
        let (verifier, secret) = self.verifier_for(&subject)?;
        let stage = self.stage(attempt, expires);
        self.ask_verifier("verify", async move {
            let scene = stage.scene(subject.peer_and_user());
            let context = context(scene, &subject, &secret);
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
    ) -> Result<Asked, VerifyError> {
        let verifier = self.verifier(kind).ok_or(VerifyError::NotEnrollable)?;
        let stage = self.stage(attempt, expires);
        self.ask_verifier("register", async move {
            let enrolling = stage.enrolling(&enrolment, None);
            verifier.register(&enrolling).await
        })
        .await
    }

    pub(super) async fn enrol(
        &self,
        attempt: AttemptId,
        kind: &FactorKind,
        (enrolment, state): (Arc<Enrolment>, Option<Secret>),
        answer: Answer,
        expires: Timestamp,
    ) -> Result<Registration, VerifyError> {
        let verifier = self.verifier(kind).ok_or(VerifyError::NotEnrollable)?;
        let stage = self.stage(attempt, expires);
        self.ask_verifier("enrol", async move {
            let enrolling = stage.enrolling(&enrolment, state.as_ref());
            verifier.enrol(&enrolling, &answer).await
        })
        .await
    }

    /// Makes the success of a factor durable.
    pub(super) async fn pass(
        &self,
        subject: &Subject,
        proof: Proof,
        event: AuditEvent,
    ) -> Result<Passed, Unavailable> {
        let pass = FactorPass {
            location: subject.location.clone(),
            peer: subject.peer,
            user: subject.user.clone(),
            consume: self.consume(&subject.user, &proof, &subject.factor.sealed)?,
            throttle: self.throttle,
            event,
        };
        let store = Arc::clone(&self.store);
        let call = async move { store.pass_factor(pass).await };
        self.ask_store("pass_factor", call).await
    }

    /// What a proof takes from its factor, the factor's new secret sealed.
    pub(super) fn consume(
        &self,
        user: &UserId,
        proof: &Proof,
        from: &Sealed,
    ) -> Result<Consume, Unavailable> {
        let seal = |secret: &Secret| {
            let row = Row::Factor {
                id: &proof.factor,
                user,
                kind: &proof.assurance.kind,
            };
            let sealed = self.ring.seal(&row, secret.expose_secret());
            let to = sealed.map_err(|error| self.failed("seal a factor", &error))?;
            let from = from.clone();
            Ok(Swap { from, to })
        };
        Ok(Consume {
            factor: proof.factor,
            step: proof.consume,
            swap: proof.update.as_ref().map(seal).transpose()?,
            credential: proof.credential.clone(),
        })
    }

    /// Seals a new factor and makes it durable.
    pub(super) async fn add_factor(
        &self,
        enrolment: &Enrolment,
        new: NewCredential,
        event: AuditEvent,
    ) -> Result<(FactorId, Enrolled), Unavailable> {
        let id = FactorId::generate().map_err(|error| self.failed("name a factor", &error))?;
        let user = &enrolment.user.id;
        let row = Row::Factor {
            id: &id,
            user,
            kind: &new.kind,
        };
        let Credential {
            secret,
            consume,
            id: credential,
        } = new.credential;
        let sealed = self.ring.seal(&row, secret.expose_secret());
        let factor = FactorRecord {
            id,
            user: user.clone(),
            kind: new.kind,
            label: new.label,
            sealed: sealed.map_err(|error| self.failed("seal a factor", &error))?,
            state: FactorState::Active,
            last_step: consume,
            failures: Failures::default(),
            credential,
        };
        let passed = |factor| Consume {
            factor,
            step: None,
            swap: None,
            credential: None,
        };
        let new = NewFactor {
            factor,
            location: self.location.clone(),
            peer: enrolment.peer.key,
            token: new.token,
            consume: new.passed.into_iter().map(passed).collect(),
            throttle: self.throttle,
            at: event.at,
            event,
        };
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
        subject: &Subject,
    ) -> Result<(Arc<dyn MfaVerifier>, Secret), Unavailable> {
        let factor = &subject.factor;
        let verifier = self.verifier(&factor.kind).ok_or(Unavailable)?;
        let secret = self.ring.open(&Row::from(factor), &factor.sealed);
        Ok((
            verifier,
            secret.map_err(|error| self.failed("open a factor", &error))?,
        ))
    }

    fn stage(&self, attempt: AttemptId, expires: Timestamp) -> Stage {
        Stage {
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

/// What a scene borrows from, owned by the task that asks the verifier.
struct Stage {
    location: crate::id::LocationId,
    location_key: PublicKey,
    attempt: AttemptId,
    now: Timestamp,
    expires: Timestamp,
}

impl Stage {
    const fn scene<'a>(&'a self, (peer, user): (&'a PublicKey, &'a UserId)) -> Scene<'a> {
        Scene {
            location: &self.location,
            location_key: &self.location_key,
            peer,
            user,
            attempt: &self.attempt,
            now: self.now,
            expires: self.expires,
        }
    }

    fn enrolling<'a>(
        &'a self,
        enrolment: &'a Enrolment,
        state: Option<&'a Secret>,
    ) -> Enrolling<'a> {
        Enrolling {
            scene: self.scene((&enrolment.peer.key, &enrolment.user.id)),
            factors: &enrolment.factors,
            state,
        }
    }
}

impl Subject {
    const fn peer_and_user(&self) -> (&PublicKey, &UserId) {
        (&self.peer, &self.user)
    }
}

const fn context<'a>(scene: Scene<'a>, subject: &'a Subject, secret: &'a Secret) -> Context<'a> {
    Context {
        scene,
        factor: &subject.factor,
        secret,
        state: subject.state.as_ref(),
    }
}
