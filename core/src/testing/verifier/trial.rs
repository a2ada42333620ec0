//! The stage of the checks: enrolled factors, and how the verifier is asked.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

use super::VerifierHarness;
use crate::assurance::FactorKind;
use crate::channel::message::{Answer, Challenge};
use crate::factor::{self, AttemptContext, Context, MfaVerifier, Proof, Verdict, VerifyError};
use crate::id::{AttemptId, FactorId, Label, LocationId, UserId};
use crate::key::PublicKey;
use crate::policy::Failures;
use crate::seal::{Sealed, SecretBytes};
use crate::store::{FactorRecord, FactorState};
use crate::testing::SecretWatch;
use crate::time::Timestamp;

/// How long a call may take, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long an attempt lasts.
const ATTEMPT: Duration = Duration::from_secs(300);

/// When the checks play.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// One run of the suite.
pub(super) struct Trial<'h, H> {
    pub(super) harness: &'h H,
    verifier: Arc<dyn MfaVerifier>,
    watch: SecretWatch,
    log: Dispatch,
    enrolled: AtomicU8,
}

/// An enrolled factor in an attempt, with the right answer.
pub(super) struct Case<A> {
    pub(super) authenticator: A,
    pub(super) setting: Setting,
    pub(super) challenge: Challenge,
    pub(super) right: Answer,
}

/// A question and its right answer.
pub(super) struct AskedTrial {
    pub(super) setting: Setting,
    pub(super) challenge: Challenge,
    pub(super) right: Answer,
}

/// A [`Context`] that owns what it names.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) location: LocationId,
    pub(super) location_key: PublicKey,
    pub(super) peer: PublicKey,
    pub(super) user: UserId,
    pub(super) attempt: AttemptId,
    pub(super) factor: FactorRecord,
    pub(super) secret: SecretBytes,
    pub(super) state: Option<SecretBytes>,
    pub(super) now: Timestamp,
    pub(super) expires: Timestamp,
}

impl Setting {
    fn new(n: u8, kind: FactorKind, secret: SecretBytes) -> Self {
        let user: UserId = format!("user {n}").parse().expect("a name");
        Self {
            location: "here".parse().expect("a name"),
            location_key: PublicKey::from_bytes(bytes(200)),
            peer: PublicKey::from_bytes(bytes(n)),
            user: user.clone(),
            attempt: AttemptId::from_bytes(bytes(n)),
            factor: FactorRecord {
                id: FactorId::from_bytes(bytes(n)),
                user,
                kind,
                label: Label::from_stored(&format!("label {n}")),
                credential: None,
                sealed: Sealed::from_bytes(Vec::new()),
                state: FactorState::Active,
                last_counter: None,
                failures: Failures::default(),
            },
            secret,
            state: None,
            now: NOW,
            expires: NOW + ATTEMPT,
        }
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context {
            attempt: AttemptContext {
                location: &self.location,
                location_key: &self.location_key,
                peer: &self.peer,
                user: &self.user,
                id: &self.attempt,
                now: self.now,
                expires: self.expires,
            },
            factor: &self.factor,
            secret: &self.secret,
            state: self.state.as_ref(),
        }
    }
}

/// Bytes that no harness is likely to make a secret of: these are shown.
fn bytes<const N: usize>(n: u8) -> [u8; N] {
    let mut byte = n;
    [(); N].map(|()| {
        byte = byte.wrapping_mul(5).wrapping_add(113);
        byte
    })
}

impl<'h, H: VerifierHarness> Trial<'h, H> {
    pub(super) fn of(harness: &'h H) -> Self {
        let watch = SecretWatch::new();
        Self {
            harness,
            verifier: harness.verifier(),
            log: Dispatch::new(watch.subscriber()),
            watch,
            enrolled: AtomicU8::new(0),
        }
    }

    pub(super) fn kind(&self) -> FactorKind {
        self.verifier.kind()
    }

    /// A fresh factor, challenged.
    pub(super) async fn begin(&self) -> Case<H::Authenticator> {
        let n = self.enrolled.fetch_add(1, Ordering::Relaxed) + 1;
        let (authenticator, secret) = self.harness.enrol().await;
        self.watch
            .secret("the factor's secret", secret.expose_secret());
        let setting = Setting::new(n, self.kind(), secret);
        let AskedTrial {
            setting,
            challenge,
            right,
        } = self.ask(&authenticator, setting).await;
        Case {
            authenticator,
            setting,
            challenge,
            right,
        }
    }

    /// Asks, and answers rightly up to the last round: the last question, with its right answer.
    pub(super) async fn ask(
        &self,
        authenticator: &H::Authenticator,
        mut setting: Setting,
    ) -> AskedTrial {
        setting.state = None;
        let asked = self.challenge(&setting).await;
        let mut asked = asked.expect("an enrolled factor is challenged");
        for round in 1.. {
            let challenge = asked.challenge;
            setting.state = asked.state;
            let right = self.answer(authenticator, &setting, &challenge).await;
            if round >= self.harness.rounds() {
                return AskedTrial {
                    setting,
                    challenge,
                    right,
                };
            }
            let verdict = self.begin_to_judge(&setting, &right);
            match ended("`verify`", verdict).await {
                Ok(Verdict::Ask(more)) => asked = more,
                Ok(Verdict::Proven(_)) | Err(_) => {
                    panic!("a verifier asks for as many answers as its harness says")
                }
            }
        }
        unreachable!("a harness has a last round")
    }

    pub(super) async fn answer(
        &self,
        authenticator: &H::Authenticator,
        setting: &Setting,
        challenge: &Challenge,
    ) -> Answer {
        let context = setting.context();
        let right = self.harness.answer(authenticator, &context, challenge);
        let right = right.await;
        for secret in self.harness.private(authenticator, &right) {
            self.watch.secret("what the harness calls private", secret);
        }
        right
    }

    pub(super) async fn challenge(
        &self,
        setting: &Setting,
    ) -> Result<factor::IssuedChallenge, VerifyError> {
        let call = challenge(Arc::clone(&self.verifier), setting.clone());
        ended("`challenge`", self.start(call)).await
    }

    pub(super) async fn verify(
        &self,
        setting: &Setting,
        answer: &Answer,
    ) -> Result<Proof, VerifyError> {
        self.verify_as("`verify`", setting, answer).await
    }

    /// As [`verify`](Self::verify); `what` says in which plight, should it panic or hang.
    pub(super) async fn verify_as(
        &self,
        what: &str,
        setting: &Setting,
        answer: &Answer,
    ) -> Result<Proof, VerifyError> {
        ended(what, self.begin_to_verify(setting, answer)).await
    }

    /// A verification that runs from now on; [`ended`] waits for it. To ask for more is no proof.
    pub(super) fn begin_to_verify(
        &self,
        setting: &Setting,
        answer: &Answer,
    ) -> Task<Result<Proof, VerifyError>> {
        let judged = verify(Arc::clone(&self.verifier), setting.clone(), answer.clone());
        self.start(async move {
            match judged.await? {
                Verdict::Proven(proof) => Ok(*proof),
                Verdict::Ask(_) => Err(VerifyError::backend("there is more to ask")),
            }
        })
    }

    fn begin_to_judge(
        &self,
        setting: &Setting,
        answer: &Answer,
    ) -> Task<Result<Verdict, VerifyError>> {
        self.start(verify(
            Arc::clone(&self.verifier),
            setting.clone(),
            answer.clone(),
        ))
    }

    /// A verification that has been polled so many times, or is over before.
    pub(super) async fn verify_half_way(
        &self,
        setting: &Setting,
        answer: &Answer,
        polls: u32,
    ) -> HalfWay {
        let call = verify(Arc::clone(&self.verifier), setting.clone(), answer.clone());
        half_way(call.with_subscriber(self.log.clone()), polls).await
    }

    /// A challenge that has been polled so many times, or is over before.
    pub(super) async fn challenge_half_way(&self, setting: &Setting, polls: u32) -> HalfWay {
        let call = challenge(Arc::clone(&self.verifier), setting.clone());
        half_way(call.with_subscriber(self.log.clone()), polls).await
    }

    pub(super) fn assert_no_secret_was_shown(&self) {
        tracing::dispatcher::with_default(&self.log, || {
            let verifier = self.harness.shown();
            tracing::trace!(verifier);
        });
        self.watch.assert_clean();
    }

    fn start<T: Send + 'static>(&self, call: impl Future<Output = T> + Send + 'static) -> Task<T> {
        Task::new(tokio::spawn(call.with_subscriber(self.log.clone())))
    }
}

/// Foreign code in a task of its own, as a gate runs it.
pub(super) type Task<T> = AbortOnDropHandle<T>;

/// Waits for a call; `what` says which one, should it panic or hang.
pub(super) async fn ended<T>(what: &str, task: Task<T>) -> T {
    match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(value)) => value,
        Ok(Err(_)) => panic!("{what} panicked"),
        Err(_) => panic!("{what} does not return"),
    }
}

/// Asks for a challenge, and logs what others may print of it.
async fn challenge(
    verifier: Arc<dyn MfaVerifier>,
    setting: Setting,
) -> Result<factor::IssuedChallenge, VerifyError> {
    let asked = verifier.challenge(&setting.context()).await;
    tracing::trace!(challenge = ?asked);
    log(asked.as_ref().err());
    asked
}

/// Asks for a verdict, and logs what others may print of it.
async fn verify(
    verifier: Arc<dyn MfaVerifier>,
    setting: Setting,
    answer: Answer,
) -> Result<Verdict, VerifyError> {
    let verdict = verifier.verify(&setting.context(), &answer).await;
    tracing::trace!(context = ?setting.context(), ?answer, ?verdict);
    log(verdict.as_ref().err());
    verdict
}

fn log(error: Option<&VerifyError>) {
    if let Some(error) = error {
        let error: &(dyn Error + 'static) = error;
        tracing::trace!(error);
    }
}

/// A call that is under way until this is dropped.
pub(super) struct HalfWay(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl HalfWay {
    /// Whether the call had come to its end.
    pub(super) const fn is_over(&self) -> bool {
        self.0.is_none()
    }
}

async fn half_way<T>(call: impl Future<Output = T> + Send + 'static, polls: u32) -> HalfWay {
    let mut call: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        drop(call.await);
    });
    for _ in 0..polls {
        let polled = poll_fn(|cx| Poll::Ready(pin!(&mut call).as_mut().poll(cx))).await;
        if polled.is_ready() {
            return HalfWay(None);
        }
        tokio::task::yield_now().await;
    }
    HalfWay(Some(call))
}
