//! Passkeys: `factor.webauthn…`, ES256.

use std::hint::black_box;
use std::sync::Arc;

use mfagate::assurance::FactorKind;
use mfagate::channel::binding::Binding;
use mfagate::channel::message::{Answer, Challenge};
use mfagate::enrol::Registrar;
use mfagate::factor::webauthn::{RelyingParty, WebAuthnVerifier};
use mfagate::factor::{AttemptContext, Enrolling, MfaVerifier, Registration};
use mfagate::id::{AttemptId, Label, UserId};
use mfagate::key::PublicKey;
use mfagate::prove::webauthn::{asserted, created};
use mfagate::time::Timestamp;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::elliptic_curve::Generate as _;
use sha2::{Digest as _, Sha256};

use super::Factor;
use crate::floor::Error;
use crate::report::Report;

#[path = "../../../../core/tests/support/passkey.rs"]
#[expect(dead_code, reason = "the verifier's own tests need more of it")]
mod passkey;

use passkey::SoftwareKey;

const RP: &str = "gate.example.com";

/// How long the authenticator's data is, and the client's.
const AUTHENTICATOR_DATA: usize = 37;
const CLIENT_DATA: usize = 138;

/// Measures what is wanted of this subject.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    super::row::<Passkey>(report, "webauthn")
}

/// A passkey in software: what it costs its holder is not measured.
#[derive(Clone)]
struct Passkey(Arc<SoftwareKey>);

fn new_verifier() -> WebAuthnVerifier {
    let party = RelyingParty::new(RP).expect("a domain");
    WebAuthnVerifier::new(party).expect("a relying party")
}

impl Factor for Passkey {
    const KIND: FactorKind = FactorKind::WEBAUTHN;

    fn verifier() -> Arc<dyn MfaVerifier> {
        Arc::new(new_verifier())
    }

    async fn enrol(registrar: &Registrar, user: &UserId, now: Timestamp) -> Result<Self, Error> {
        let (key, verifier) = (SoftwareKey::at("https://gate.example.com"), new_verifier());
        let attempt = AttemptContext {
            location: &"bench".parse()?,
            location_key: &PublicKey::from_bytes([1; 32]),
            peer: &PublicKey::from_bytes([2; 32]),
            user,
            id: &AttemptId::from_bytes([3; 32]),
            now,
            expires: now + std::time::Duration::from_secs(300),
        };
        let enrolling = Enrolling::new(attempt, &[]);
        let asked = verifier.register(&enrolling).await?;
        let Challenge::RegisterWebAuthn { options } = &asked.challenge else {
            return Err(format!("instead of a registration: {asked:?}").into());
        };
        let answer = created(key.create(options).await?).ok_or("too long")?;
        let enrolling = enrolling.remembering(asked.state.as_ref());
        let Registration::Proven(new) = verifier.enrol(&enrolling, &answer).await? else {
            return Err("there is more to ask".into());
        };
        registrar
            .add_factor(
                user,
                Self::KIND,
                &Label::from_stored("key"),
                &new.secret,
                new.id,
            )
            .await?;
        Ok(Self(Arc::new(key)))
    }

    async fn answer(
        &self,
        _: &Binding<'_>,
        challenge: &Challenge,
        _: Timestamp,
    ) -> Result<Answer, Error> {
        let Challenge::WebAuthn { options } = challenge else {
            return Err(format!("instead of a question to a passkey: {challenge:?}").into());
        };
        Ok(asserted(self.0.get(options).await?).ok_or("too long")?)
    }

    /// One verification of ES256, by the crate that `webauthn-rs` has it of, the key read from its
    /// coordinates as it must be each time; and SHA-256 of the client's data.
    fn primitives() -> Result<Box<dyn FnMut()>, Error> {
        let key = SigningKey::generate();
        let message = [9; AUTHENTICATOR_DATA + 32];
        let signature: DerSignature = key.sign(&message);
        let signature = signature.to_bytes();
        let public = key.verifying_key().to_sec1_point(false).to_bytes();
        Ok(Box::new(move || {
            let _ = black_box(Sha256::digest(black_box([7; CLIENT_DATA])));
            let key = VerifyingKey::from_sec1_bytes(black_box(&public));
            let signature = DerSignature::from_bytes(black_box(&signature));
            if let (Ok(key), Ok(signature)) = (key, signature) {
                let _ = black_box(key.verify(&message, &signature).is_ok());
            }
        }))
    }
}
