//! A kind of factor whose answers are bound to their attempt, as signatures are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hkdf::Hkdf;
use mfagate::assurance::{Assurance, FactorKind};
use mfagate::channel::message::{Answer, Challenge};
use mfagate::factor::{Context, IssuedChallenge, MfaVerifier, Proof, Verdict, VerifyError};
use mfagate::seal::SecretBytes;
use mfagate::testing::verifier::{VerifierHarness, conformance};
use sha2::Sha256;

use crate::{complaint, other_digit};

const KIND: FactorKind = FactorKind::new("reader");

/// What an answer depends on apart from the key.
#[derive(Debug, Clone, Copy)]
struct Binding {
    attempt: bool,
    peer: bool,
    location: bool,
}

const WHOLE: Binding = Binding {
    attempt: true,
    peer: true,
    location: true,
};

/// Eight digits made of the key and of what the answer is bound to.
fn answer(binding: Binding, key: &[u8], context: &Context<'_>) -> Answer {
    let mut info = Vec::new();
    if binding.attempt {
        info.extend_from_slice(context.attempt.id.as_bytes());
    }
    if binding.peer {
        info.extend_from_slice(context.attempt.peer.as_bytes());
    }
    if binding.location {
        info.extend_from_slice(context.attempt.location.as_str().as_bytes());
    }
    let mut bytes = [0; 8];
    Hkdf::<Sha256>::new(None, key)
        .expand(&info, &mut bytes)
        .expect("eight bytes");
    let digits = format!("{:08}", u64::from_be_bytes(bytes) % 100_000_000);
    let code = digits.parse().expect("digits");
    Answer::Code { code }
}

#[derive(Debug)]
struct Readers {
    binding: Binding,
    enrolled: AtomicU8,
}

#[derive(Debug)]
struct Reader(Binding);

#[async_trait]
impl MfaVerifier for Reader {
    fn kind(&self) -> FactorKind {
        KIND
    }

    async fn challenge(&self, _: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        Ok(Challenge::Code { digits: 8 }.into())
    }

    async fn verify(&self, context: &Context<'_>, given: &Answer) -> Result<Verdict, VerifyError> {
        let key = context.secret.expose_secret();
        if key.len() != 32 {
            return Err(VerifyError::Backend("not a key".into()));
        }
        if *given != answer(self.0, key, context) {
            return Err(VerifyError::Wrong);
        }
        let assurance = Assurance {
            phishing_resistant: true,
            replay_resistant: true,
            ..Assurance::least(KIND, context.attempt.now)
        };
        Ok(Proof::new(context.factor.id, assurance).into())
    }
}

#[async_trait]
impl VerifierHarness for Readers {
    type Authenticator = [u8; 32];

    fn verifier(&self) -> Arc<dyn MfaVerifier> {
        Arc::new(Reader(self.binding))
    }

    async fn enrol(&self) -> ([u8; 32], SecretBytes) {
        let key = [self.enrolled.fetch_add(1, Ordering::Relaxed); 32];
        (key, SecretBytes::new(key.to_vec()))
    }

    async fn answer(&self, key: &[u8; 32], context: &Context<'_>, _: &Challenge) -> Answer {
        answer(self.binding, key, context)
    }

    fn tampered(&self, right: &Answer) -> Vec<Answer> {
        let Answer::Code { code } = right else {
            panic!("an answer to a code's challenge is a code")
        };
        (0..8).map(|at| other_digit(code, at)).collect()
    }

    fn unfit(&self, _: &Challenge) -> Vec<Answer> {
        let code = "123456".parse().expect("digits");
        vec![Answer::Code { code }]
    }

    fn private(&self, key: &[u8; 32], _: &Answer) -> Vec<Vec<u8>> {
        vec![key.to_vec()]
    }

    fn is_bound(&self) -> bool {
        true
    }

    fn too_late_after(&self) -> Option<Duration> {
        None
    }
}

const fn readers(binding: Binding) -> Readers {
    Readers {
        binding,
        enrolled: AtomicU8::new(1),
    }
}

#[tokio::test]
async fn a_verifier_of_bound_answers_conforms() {
    conformance(&readers(WHOLE)).await;
}

#[tokio::test]
async fn an_answer_that_is_bound_to_too_little_is_found() {
    for (binding, said) in [
        (
            Binding {
                attempt: false,
                ..WHOLE
            },
            "an answer of another attempt is wrong",
        ),
        (
            Binding {
                peer: false,
                ..WHOLE
            },
            "an answer for another peer is wrong",
        ),
        (
            Binding {
                location: false,
                ..WHOLE
            },
            "an answer for another location is wrong",
        ),
    ] {
        let complaint = complaint(readers(binding)).await;
        assert!(complaint.contains(said), "{binding:?}: {complaint}");
    }
}
