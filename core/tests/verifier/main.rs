//! The verifiers through the conformance suite, and verifiers with a fault each, which the suite
//! must refuse.
#![cfg(all(feature = "testing", feature = "totp"))]

mod bound;
#[cfg(feature = "device-key")]
mod device_key;
#[cfg(feature = "email-code")]
mod email_code;
mod faults;
#[cfg(feature = "oidc")]
mod oidc;
#[cfg(feature = "password")]
mod password;
#[cfg(feature = "recovery-codes")]
mod recovery_codes;
#[cfg(feature = "netstack")]
mod walk;
#[cfg(feature = "webauthn")]
mod webauthn;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use faults::{Fault, Verifier};
use mfagate::channel::message::{Answer, Challenge, Code};
use mfagate::factor::totp::{HashAlgorithm, TotpSecret, TotpVerifier};
use mfagate::factor::{Context, MfaVerifier};
use mfagate::seal::SecretBytes;
use mfagate::testing::verifier::{VerifierHarness, conformance};

/// Phones with one-time passwords, before a verifier that may be at fault.
struct Phones {
    verifier: Arc<Verifier>,
    enrolled: AtomicU8,
}

struct Phone {
    totp: TotpSecret,
    raw: Vec<u8>,
}

impl Phones {
    fn with(fault: Option<Fault>) -> Self {
        Self {
            verifier: Arc::new(Verifier::with(fault)),
            enrolled: AtomicU8::new(0),
        }
    }
}

fn other_digit(code: &Code, at: usize) -> Answer {
    let mut digits = code.expose_secret().to_owned();
    let changed = if digits[at..].starts_with('5') {
        "6"
    } else {
        "5"
    };
    digits.replace_range(at..=at, changed);
    let code = digits.parse().expect("digits");
    Answer::Code { code }
}

#[async_trait]
impl VerifierHarness for Phones {
    type Authenticator = Phone;

    fn verifier(&self) -> Arc<dyn MfaVerifier> {
        let verifier: Arc<Verifier> = Arc::clone(&self.verifier);
        verifier
    }

    fn shown(&self) -> String {
        match self.verifier.fault {
            Some(Fault::ShowsItsSecretsInDebug) => {
                format!("{:?}", self.verifier.seen.try_lock().expect("no one else"))
            }
            _ => format!("{:?}", TotpVerifier::new()),
        }
    }

    async fn enrol(&self) -> (Phone, SecretBytes) {
        let n = self.enrolled.fetch_add(1, Ordering::Relaxed);
        let raw: Vec<u8> = (0..20).map(|i| n.wrapping_mul(31) ^ (i * 7 + 1)).collect();
        let totp = TotpSecret::new(raw.clone(), HashAlgorithm::Sha1, 6, 30).expect("a secret");
        let secret = totp.to_secret();
        (Phone { totp, raw }, secret)
    }

    async fn answer(&self, phone: &Phone, context: &Context<'_>, _: &Challenge) -> Answer {
        let code = phone.totp.code(context.attempt.now).expect("a code");
        Answer::Code { code }
    }

    fn tampered(&self, right: &Answer) -> Vec<Answer> {
        let Answer::Code { code } = right else {
            panic!("an answer to a code's challenge is a code")
        };
        (0..code.expose_secret().len())
            .map(|at| other_digit(code, at))
            .collect()
    }

    fn unfit(&self, _: &Challenge) -> Vec<Answer> {
        ["1234567", "12345678"]
            .map(|code| code.parse().expect("digits"))
            .map(|code| Answer::Code { code })
            .into()
    }

    fn private(&self, phone: &Phone, right: &Answer) -> Vec<Vec<u8>> {
        let Answer::Code { code } = right else {
            panic!("an answer to a code's challenge is a code")
        };
        vec![phone.raw.clone(), code.expose_secret().into()]
    }

    fn is_bound(&self) -> bool {
        false
    }

    fn too_late_after(&self) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_of_one_time_passwords_conforms() {
    conformance(&Phones::with(None)).await;
}

/// What the suite says against a verifier.
async fn complaint<H: VerifierHarness + 'static>(harness: H) -> String {
    let run = tokio::spawn(async move { conformance(&harness).await });
    let panic = match run.await {
        Ok(()) => return "nothing".to_owned(),
        Err(error) => error.into_panic(),
    };
    let text = panic.downcast_ref::<String>().cloned();
    text.or(panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn every_fault_is_found_and_named() {
    for (fault, said) in [
        (Fault::AcceptsAnything, "tampered with is wrong"),
        (
            Fault::AcceptsOtherUsers,
            "another user's challenge is wrong",
        ),
        (Fault::AcceptsOldCodes, "comes too late is wrong"),
        (
            Fault::ForgetsSteps,
            "not after the factor's last is replayed",
        ),
        (Fault::TakesNoStep, "uses nothing up can be replayed"),
        (
            Fault::TakesAnotherStep,
            "the step after the factor's last is right",
        ),
        (
            Fault::ProvesAnotherFactor,
            "names the factor that was asked for",
        ),
        (
            Fault::ProvesAnotherKind,
            "a proof is of the verifier's kind",
        ),
        (Fault::ProvesTheFuture, "no one authenticates in the future"),
        (Fault::ClaimsToResistPhishing, "not resistant to phishing"),
        (Fault::RefusesEverything, "can be answered"),
        (Fault::CallsWrongUnfit, "counted as a failure"),
        (Fault::BlamesTheUserForABadSecret, "not the user's failure"),
        (
            Fault::FailsAtWhatIsUnfit,
            "does not fit its challenge is unfit",
        ),
        (Fault::Panics, "`verify` panicked"),
        (Fault::PanicsAtTheEndOfTime, "`verify` panicked"),
        (Fault::Hangs, "`verify` does not return"),
        (Fault::AcceptsOnce, "leaves the first as it is"),
        (
            Fault::LocksWhileItWaits,
            "while another call is half-way, does not return",
        ),
        (
            Fault::StaysLockedWhenDropped,
            "after a call that was dropped, does not return",
        ),
        (Fault::AsksForEver, "can be answered"),
        (Fault::ShowsItsSecretsInDebug, "in the field `verifier`"),
        (
            Fault::LogsTheSecret,
            "the factor's secret, as a list of bytes",
        ),
        (
            Fault::LogsTheCode,
            "private, as it is, in the field `message`",
        ),
        (Fault::LogsTheRawKey, "private, in Base32"),
        (
            Fault::TellsTheCodeInAnError,
            "private, as it is, in the field `error`",
        ),
    ] {
        let complaint = complaint(Phones::with(Some(fault))).await;
        assert!(complaint.contains(said), "{fault:?}: {complaint}");
    }
}
