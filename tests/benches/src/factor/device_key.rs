//! Device keys: `factor.device_key…`, ES256.

use std::hint::black_box;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use mfagate::assurance::FactorKind;
use mfagate::channel::binding::{Binding, Purpose};
use mfagate::channel::message::{Answer, Challenge, Protection};
use mfagate::enrol::Registrar;
use mfagate::factor::MfaVerifier;
use mfagate::factor::device_key::{DeviceKey, DeviceKeyVerifier};
use mfagate::id::{Label, UserId};
use mfagate::prove::device_key::{Signer, SoftwareSigner};
use mfagate::signature::Algorithm;
use mfagate::time::Timestamp;

use super::Factor;
use crate::floor::Error;
use crate::report::Report;

/// How long the message is that a key signs.
const MESSAGE: usize = 157;

/// Measures what is wanted of this subject.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    super::row::<Es256>(report, "device_key")
}

/// A key in software: what it costs its holder is not measured.
#[derive(Clone)]
struct Es256(Arc<SoftwareSigner>);

impl Factor for Es256 {
    const KIND: FactorKind = FactorKind::DEVICE_KEY;

    fn verifier() -> Arc<dyn MfaVerifier> {
        Arc::new(DeviceKeyVerifier::new())
    }

    async fn enrol(registrar: &Registrar, user: &UserId, _: Timestamp) -> Result<Self, Error> {
        let signer = SoftwareSigner::generate(Algorithm::Es256)?;
        let key = DeviceKey::new(signer.public_key().clone(), Protection::Software);
        let id = key.credential_id();
        registrar
            .add_factor(
                user,
                Self::KIND,
                &Label::from_stored("laptop"),
                &key.to_secret(),
                id,
            )
            .await?;
        Ok(Self(Arc::new(signer)))
    }

    async fn answer(
        &self,
        attempt: &Binding<'_>,
        challenge: &Challenge,
        _: Timestamp,
    ) -> Result<Answer, Error> {
        let Challenge::Signature {
            nonce, expires_at, ..
        } = challenge
        else {
            return Err(format!("instead of a question to a key: {challenge:?}").into());
        };
        let message = attempt.signed_message(Purpose::SignIn, nonce, *expires_at);
        let signature = self.0.sign(&message).await?.to_base64();
        Ok(Answer::Signature { signature })
    }

    /// One verification of ES256, by AWS-LC, and the hash that names the key in the challenge.
    fn primitives() -> Result<Box<dyn FnMut()>, Error> {
        let (random, message) = (SystemRandom::new(), [9; MESSAGE]);
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let signature = key.sign(&random, &message)?;
        let public = key.public_key().as_ref().to_vec();
        Ok(Box::new(move || {
            use sha2::{Digest as _, Sha256};
            let _ = black_box(Sha256::digest(black_box([7; 91])));
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, black_box(&public));
            let _ = black_box(key.verify(&message, signature.as_ref()).is_ok());
        }))
    }
}
