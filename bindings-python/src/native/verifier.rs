//! A verifier written in Python.
//!
//! What the gate tells a verifier goes over as JSON, whose secrets are Base64; the Python half makes
//! objects of it. A verdict is `True`, `False`, or what a proof takes with it. Everything else is a
//! failure: not admitted.

use std::time::Duration;

use async_trait::async_trait;
use mfagate::assurance::{Assurance, FactorKind};
use mfagate::channel::message::{Answer, Challenge};
use mfagate::factor::{
    Context, Enrolling, IssuedChallenge, MfaVerifier, OwnedVerifierContext, Proof, Verdict,
    VerifyError,
};
use mfagate::seal::SecretBytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple};

use crate::native::callback::{Callbacks, bound, text};

/// The calls, and the kind of factor they are for.
pub(crate) struct Verifier {
    kind: FactorKind,
    callbacks: Callbacks,
    limit: Duration,
}

impl Verifier {
    pub(crate) const fn new(kind: String, callbacks: Callbacks, limit: Duration) -> Self {
        Self {
            kind: FactorKind::from_string(kind),
            callbacks,
            limit,
        }
    }
}

/// What Python code said of an answer.
enum Said {
    Wrong,
    Proven(Proven),
}

/// What a right answer proves and uses up.
#[derive(FromPyObject, Default)]
#[pyo3(from_item_all)]
struct Proven {
    phishing_resistant: bool,
    user_verified: bool,
    replay_resistant: bool,
    counter: Option<u64>,
    replace_secret: Option<Vec<u8>>,
}

fn said(verdict: &Bound<'_, PyAny>) -> PyResult<Said> {
    // Neither `None` nor `1` nor "yes": a verifier that forgot to answer has verified nothing.
    if let Ok(verdict) = verdict.cast::<PyBool>() {
        return if verdict.is_true() {
            Err(PyTypeError::new_err("a verdict without what it proves"))
        } else {
            Ok(Said::Wrong)
        };
    }
    Ok(Said::Proven(verdict.extract()?))
}

fn as_json(context: &Context<'_>) -> Result<String, VerifyError> {
    let owned = OwnedVerifierContext::from(context);
    serde_json::to_string(&owned).map_err(VerifyError::backend)
}

#[async_trait]
impl MfaVerifier for Verifier {
    fn kind(&self) -> FactorKind {
        self.kind.clone()
    }

    async fn challenge(&self, context: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        let context = text(as_json(context)?);
        let asked = self
            .callbacks
            .call("challenge", self.limit, context, |asked| {
                let (challenge, state): (String, Option<Vec<u8>>) = asked.extract()?;
                let challenge: Challenge = serde_json::from_str(&challenge)
                    .map_err(|_| PyValueError::new_err("this is no challenge"))?;
                let state = state.map(SecretBytes::new);
                Ok(IssuedChallenge { challenge, state })
            });
        asked.await.map_err(VerifyError::backend)
    }

    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Verdict, VerifyError> {
        let (told, now) = (as_json(context)?, context.attempt.now);
        let answer = serde_json::to_string(answer).map_err(VerifyError::backend)?;
        let arguments = bound(move |py| Ok(PyTuple::new(py, [told, answer])?.unbind()));
        let verdict = self.callbacks.call("verify", self.limit, arguments, said);
        let proven = match verdict.await.map_err(VerifyError::backend)? {
            Said::Wrong => return Err(VerifyError::Wrong),
            Said::Proven(proven) => proven,
        };
        let assurance = Assurance {
            phishing_resistant: proven.phishing_resistant,
            user_verified: proven.user_verified,
            replay_resistant: proven.replay_resistant,
            ..Assurance::least(self.kind.clone(), now)
        };
        let mut proof = Proof::new(context.factor.id, assurance);
        proof.counter = proven.counter;
        proof.replace_secret = proven.replace_secret.map(SecretBytes::new);
        Ok(proof.into())
    }

    async fn register(&self, _: &Enrolling<'_>) -> Result<IssuedChallenge, VerifyError> {
        Err(VerifyError::NotEnrollable)
    }
}
