//! Tokens of workloads: `factor.oidc…`, ES256. What the provider does is not in it: it was found,
//! and its keys fetched, before.

use std::hint::black_box;
use std::sync::{Arc, OnceLock};

use mfagate::assurance::FactorKind;
use mfagate::channel::binding::Binding;
use mfagate::channel::message::{Answer, Challenge, SecretString};
use mfagate::enrol::Registrar;
use mfagate::factor::MfaVerifier;
use mfagate::factor::oidc::{Identity, OidcProvider, OidcVerifier};
use mfagate::id::{Label, UserId};
use mfagate::time::Timestamp;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate as _;
use serde_json::json;

use super::Factor;
use crate::floor::Error;
use crate::report::Report;

#[path = "../../../../core/tests/support/oidc_provider.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "it is the verifier's own tests', which need more of it and stop where they stand"
)]
mod oidc_provider;

use oidc_provider::{CLIENT, HostileProvider};

/// How long the signed part of such a token is.
const TOKEN: usize = 480;

/// The one provider of the bench, on a runtime of its own.
static PROVIDER: OnceLock<(tokio::runtime::Runtime, HostileProvider)> = OnceLock::new();

/// Measures what is wanted of this subject.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    if report.wants("factor.oidc") && PROVIDER.get().is_none() {
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build()?;
        let provider = runtime.block_on(HostileProvider::start(1_800_000_000));
        _ = PROVIDER.set((runtime, provider)); // no one else sets it
    }
    super::row::<Machine>(report, "oidc")
}

fn provider() -> &'static HostileProvider {
    &PROVIDER.get().expect("it was started").1
}

/// A program with a token for each attempt.
#[derive(Clone)]
struct Machine(String);

impl Factor for Machine {
    const KIND: FactorKind = FactorKind::OIDC;

    fn verifier() -> Arc<dyn MfaVerifier> {
        let provider = OidcProvider::dangerously_without_tls(&provider().issuer(), CLIENT);
        let provider = provider.expect("an issuer").workloads();
        Arc::new(OidcVerifier::new([provider]).expect("one provider"))
    }

    async fn enrol(registrar: &Registrar, user: &UserId, _: Timestamp) -> Result<Self, Error> {
        let subject = user.to_string();
        let identity = Identity::workload(&provider().issuer(), &subject);
        registrar
            .bind_identity(user, &Label::from_stored("robot"), &identity)
            .await?;
        Ok(Self(subject))
    }

    async fn answer(
        &self,
        _: &Binding<'_>,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<Answer, Error> {
        let Challenge::OpenId {
            workload: Some(wanted),
            ..
        } = challenge
        else {
            return Err(format!("instead of a question to a workload: {challenge:?}").into());
        };
        let mut acts = provider().acts();
        acts.now = now.as_secs();
        acts.lies = json!({ "sub": self.0 });
        drop(acts);
        let token = provider().workload_token(&wanted.audience, Some(&wanted.nonce));
        let token = SecretString::new(token).ok_or("too long")?;
        Ok(Answer::IdToken { token })
    }

    /// One verification of ES256, by the crate that `openidconnect` has it of, the key read from
    /// its coordinates as it must be each time.
    fn primitives() -> Result<Box<dyn FnMut()>, Error> {
        let key = SigningKey::generate();
        let message = [9; TOKEN];
        let signature: Signature = key.sign(&message);
        let public = key.verifying_key().to_sec1_point(false).to_bytes();
        Ok(Box::new(move || {
            let key = VerifyingKey::from_sec1_bytes(black_box(&public));
            if let Ok(key) = key {
                let _ = black_box(key.verify(&message, &signature).is_ok());
            }
        }))
    }
}
