//! The verifier of one-time passwords with a fault.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mfagate::assurance::{Assurance, FactorKind};
use mfagate::channel::message::Answer;
use mfagate::factor::totp::TotpVerifier;
use mfagate::factor::{Context, IssuedChallenge, MfaVerifier, Proof, Verdict, VerifyError};
use mfagate::id::FactorId;
use mfagate::seal::SecretBytes;
use tokio::sync::Mutex;

/// What a verifier may do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    AcceptsAnything,
    AcceptsOtherUsers,
    AcceptsOldCodes,
    ForgetsSteps,
    TakesNoStep,
    TakesAnotherStep,
    ProvesAnotherFactor,
    ProvesAnotherKind,
    ProvesTheFuture,
    ClaimsToResistPhishing,
    RefusesEverything,
    CallsWrongUnfit,
    BlamesTheUserForABadSecret,
    FailsAtWhatIsUnfit,
    Panics,
    PanicsAtTheEndOfTime,
    Hangs,
    AcceptsOnce,
    LocksWhileItWaits,
    StaysLockedWhenDropped,
    AsksForEver,
    ShowsItsSecretsInDebug,
    LogsTheSecret,
    LogsTheCode,
    LogsTheRawKey,
    TellsTheCodeInAnError,
}

#[derive(Default)]
pub(crate) struct Verifier {
    pub(crate) fault: Option<Fault>,
    pub(crate) seen: Mutex<Vec<Vec<u8>>>,
    is_busy: AtomicBool,
}

impl Verifier {
    pub(crate) fn with(fault: Option<Fault>) -> Self {
        Self {
            fault,
            ..Self::default()
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// What goes wrong before the verdict.
    async fn stumble(&self, context: &Context<'_>, answer: &Answer) -> Result<(), VerifyError> {
        let secret = context.secret.expose_secret();
        let Answer::Code { code } = answer else {
            return Err(VerifyError::Unfit);
        };
        match self.fault {
            Some(Fault::Panics) if code.expose_secret().len() > 6 => panic!("a faulty verifier"),
            Some(Fault::PanicsAtTheEndOfTime) => {
                assert!(
                    context.attempt.now.as_millis() < u64::MAX,
                    "a faulty verifier"
                );
            }
            Some(Fault::Hangs) => pending().await,
            Some(Fault::RefusesEverything) => return Err(VerifyError::Wrong),
            Some(Fault::FailsAtWhatIsUnfit) if code.expose_secret().len() > 6 => {
                return Err(VerifyError::Backend("not six digits".into()));
            }
            Some(Fault::LocksWhileItWaits) => {
                let _held = self.seen.lock().await;
                tokio::task::yield_now().await;
            }
            Some(Fault::StaysLockedWhenDropped) => {
                while self.is_busy.swap(true, Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                tokio::task::yield_now().await;
                self.is_busy.store(false, Ordering::SeqCst);
            }
            Some(Fault::LogsTheSecret) => tracing::trace!(?secret, "verifies"),
            Some(Fault::LogsTheRawKey) => {
                let key = data_encoding::BASE32.encode(&secret[secret.len().min(5)..]);
                tracing::info!(key, "verifies");
            }
            Some(Fault::LogsTheCode) => tracing::debug!("got {}", code.expose_secret()),
            Some(Fault::ShowsItsSecretsInDebug | Fault::AcceptsOtherUsers) => {
                self.seen.lock().await.push(secret.to_vec());
            }
            _ => {}
        }
        Ok(())
    }

    /// A verdict that should have been another.
    async fn misjudge(
        &self,
        context: &Context<'_>,
        answer: &Answer,
        verdict: Result<Proof, VerifyError>,
    ) -> Result<Proof, VerifyError> {
        let assurance = Assurance::least(FactorKind::TOTP, context.attempt.now);
        let right = Proof::new(context.factor.id, assurance);
        match (self.fault, verdict) {
            (Some(Fault::AcceptsAnything), _) => Ok(right),
            (Some(Fault::AcceptsOldCodes), Err(VerifyError::Wrong)) => {
                let mut then = *context;
                then.attempt.now = then.attempt.now - Duration::from_secs(60);
                totp(&then, answer).await
            }
            (Some(Fault::AcceptsOtherUsers), Err(VerifyError::Wrong)) => {
                for secret in self.seen.lock().await.iter().cloned().map(SecretBytes::new) {
                    let mut theirs = *context;
                    theirs.secret = &secret;
                    if let Ok(proof) = totp(&theirs, answer).await {
                        return Ok(proof);
                    }
                }
                Err(VerifyError::Wrong)
            }
            (Some(Fault::ForgetsSteps), Err(VerifyError::Replayed)) => Ok(right),
            (Some(Fault::CallsWrongUnfit), Err(VerifyError::Wrong)) => Err(VerifyError::Unfit),
            (Some(Fault::BlamesTheUserForABadSecret), Err(VerifyError::Backend(_))) => {
                Err(VerifyError::Wrong)
            }
            (Some(Fault::TellsTheCodeInAnError), Err(VerifyError::Backend(_))) => {
                let Answer::Code { code } = answer else {
                    return Err(VerifyError::Unfit);
                };
                let error = format!("no secret to check {} with", code.expose_secret());
                Err(VerifyError::Backend(error.into()))
            }
            (Some(Fault::AcceptsOnce), Ok(proof)) => {
                let code = format!("{:?} {:?}", context.attempt.id, proof.counter).into_bytes();
                let mut seen = self.seen.lock().await;
                if seen.contains(&code) {
                    return Err(VerifyError::Replayed);
                }
                seen.push(code);
                Ok(proof)
            }
            (_, Ok(proof)) => Ok(self.distort(proof)),
            (_, refused) => refused,
        }
    }

    fn distort(&self, mut proof: Proof) -> Proof {
        match self.fault {
            Some(Fault::TakesNoStep) => proof.counter = None,
            Some(Fault::TakesAnotherStep) => proof.counter = Some(u64::MAX / 2),
            Some(Fault::ProvesAnotherFactor) => proof.factor = FactorId::from_bytes([0; 16]),
            Some(Fault::ProvesAnotherKind) => proof.assurance.kind = FactorKind::new("other"),
            Some(Fault::ProvesTheFuture) => {
                let now = &mut proof.assurance.authenticated_at;
                *now = *now + Duration::from_secs(1);
            }
            Some(Fault::ClaimsToResistPhishing) => proof.assurance.phishing_resistant = true,
            _ => {}
        }
        proof
    }
}

#[async_trait]
impl MfaVerifier for Verifier {
    fn kind(&self) -> FactorKind {
        FactorKind::TOTP
    }

    async fn challenge(&self, context: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        TotpVerifier::new().challenge(context).await
    }

    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Verdict, VerifyError> {
        self.stumble(context, answer).await?;
        if self.has(Fault::AsksForEver) {
            let asked = TotpVerifier::new().challenge(context).await?;
            return Ok(Verdict::Ask(asked));
        }
        let verdict = totp(context, answer).await;
        self.misjudge(context, answer, verdict)
            .await
            .map(Verdict::from)
    }
}

/// What the verifier without a fault says.
async fn totp(context: &Context<'_>, answer: &Answer) -> Result<Proof, VerifyError> {
    match TotpVerifier::new().verify(context, answer).await? {
        Verdict::Proven(proof) => Ok(*proof),
        Verdict::Ask(_) => Err(VerifyError::backend("a code leads to no other question")),
    }
}
