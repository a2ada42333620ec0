//! Device keys: a key that a phone, a laptop or a server holds signs the attempt.
//!
//! This is the biometric factor. The biometric itself never leaves the device and is never a remote
//! "yes": it unlocks a key there (NIST SP 800-63B-4, section 3.2.3), and what is verified here is a
//! signature by that key.
//!
//! The signature covers a label, its purpose, the location, the peer, the attempt, a nonce of 256
//! bits and the time until when it is good ([`Binding`](crate::channel::binding::Binding)). So it
//! is worth nothing elsewhere, for another peer, in another attempt or later, and nothing a second
//! time: the gate forgets the nonce with the right answer. Which signatures count, and why twins of
//! ES256 signatures don't matter: see [`signature`](crate::signature).
//!
//! How a key is kept is what its client *says* when it enrols ([`Protection`]). The platform's
//! attestation, where there is one, is kept with the key and not judged: anyone who can enrol a key
//! can lie about it. So let only those enrol who are to be believed, or have keys enrolled by
//! an administrator.

use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::{
    AttemptContext, Context, Credential, Enrolling, IssuedChallenge, MfaVerifier, Proof,
    Registration, Verdict, VerifyError,
};
use crate::assurance::{Assurance, FactorKind};
use crate::channel::binding::Purpose;
use crate::channel::message::{Answer, Challenge, Nonce, Protection};
use crate::id::CredentialId;
use crate::seal::SecretBytes;
use crate::signature::{Signature, VerifyingKey};
use crate::time::Timestamp;

const VERSION: u8 = 1;

/// Verifies signatures of device keys.
#[derive(Debug, Clone, Copy)]
pub struct DeviceKeyVerifier {
    least: Protection,
    good_for: Duration,
}

impl DeviceKeyVerifier {
    /// How long a signature is good, if [`good_for`](Self::good_for) does not say otherwise: time
    /// for a user to find the sensor, and for clocks that need not agree.
    pub const GOOD_FOR: Duration = Duration::from_secs(120);

    /// A verifier that takes keys of any protection.
    pub const fn new() -> Self {
        Self {
            least: Protection::Software,
            good_for: Self::GOOD_FOR,
        }
    }

    /// Takes only keys that are kept at least like this: those that are enrolled from now on, and
    /// those that already are.
    #[must_use]
    pub const fn require(mut self, least: Protection) -> Self {
        self.least = least;
        self
    }

    /// How long after the question a signature is good; never longer than the attempt.
    #[must_use]
    pub const fn good_for(mut self, span: Duration) -> Self {
        self.good_for = span;
        self
    }

    /// The factor's key, if it is kept well enough.
    fn key(&self, secret: &SecretBytes) -> Result<DeviceKey, VerifyError> {
        let key = DeviceKey::from_secret(secret).map_err(VerifyError::backend)?;
        if key.protection < self.least {
            return Err(VerifyError::backend(LessProtected));
        }
        Ok(key)
    }
}

impl Default for DeviceKeyVerifier {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl MfaVerifier for DeviceKeyVerifier {
    fn kind(&self) -> FactorKind {
        FactorKind::DEVICE_KEY
    }

    async fn challenge(&self, context: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        let key = self.key(context.secret)?;
        let question = ChallengeState::new(Purpose::SignIn, &context.attempt, self.good_for)?;
        Ok(IssuedChallenge {
            state: Some(question.to_state()),
            challenge: Challenge::Signature {
                key_id: key.verifying_key.id(),
                nonce: question.nonce,
                expires_at: question.expires_at,
            },
        })
    }

    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Verdict, VerifyError> {
        let Answer::Signature { signature } = answer else {
            return Err(VerifyError::Unfit);
        };
        let signature = Signature::from_base64(signature).map_err(|_| VerifyError::Unfit)?;
        let key = self.key(context.secret)?;
        let question = ChallengeState::asked(Purpose::SignIn, context.state)?;
        question.judge(&context.attempt, &key.verifying_key, &signature)?;
        let assurance = Assurance {
            phishing_resistant: true,
            user_verified: key.protection >= Protection::HardwareUserVerified,
            replay_resistant: true,
            verifier_bound: true,
            hardware: key.protection >= Protection::Hardware,
            ..Assurance::least(FactorKind::DEVICE_KEY, context.attempt.now)
        };
        Ok(Proof::new(context.factor.id, assurance).into())
    }

    async fn register(&self, enrolling: &Enrolling<'_>) -> Result<IssuedChallenge, VerifyError> {
        let question = ChallengeState::new(Purpose::Enrol, &enrolling.attempt, self.good_for)?;
        Ok(IssuedChallenge {
            state: Some(question.to_state()),
            challenge: Challenge::RegisterKey {
                nonce: question.nonce,
                expires_at: question.expires_at,
                protection: self.least,
            },
        })
    }

    async fn enrol(
        &self,
        enrolling: &Enrolling<'_>,
        answer: &Answer,
    ) -> Result<Registration, VerifyError> {
        let Answer::RegisterKey {
            public_key,
            signature,
            protection,
            attestation,
        } = answer
        else {
            return Err(VerifyError::Unfit);
        };
        let signature = Signature::from_base64(signature).map_err(|_| VerifyError::Unfit)?;
        let public_key = decoded(public_key).ok_or(VerifyError::Unfit)?;
        let key = VerifyingKey::from_spki(&public_key).map_err(|_| VerifyError::Unfit)?;
        let mut key = DeviceKey::new(key, *protection);
        if let Some(attestation) = attestation {
            key = decoded(attestation)
                .and_then(|attestation| key.with_attestation(attestation))
                .ok_or(VerifyError::Unfit)?;
        }
        if key.protection < self.least {
            return Err(VerifyError::NotEnrollable);
        }
        let question = ChallengeState::asked(Purpose::Enrol, enrolling.state)?;
        question.judge(&enrolling.attempt, &key.verifying_key, &signature)?;
        Ok(Registration::Proven(Credential {
            secret: key.to_secret(),
            counter: None,
            id: key.credential_id(),
        }))
    }
}

/// An enrolled device key: what the gate keeps of it, none of it secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKey {
    verifying_key: VerifyingKey,
    protection: Protection,
    attestation: Option<Vec<u8>>,
}

impl DeviceKey {
    /// How long an attestation may be, in bytes: chains of certificates are within it.
    pub(crate) const LONGEST_ATTESTATION: usize = 16_384;

    /// A key and how it is kept. To enrol one for a user, without proof that the user has it, is an
    /// administrator's to do.
    pub const fn new(verifying_key: VerifyingKey, protection: Protection) -> Self {
        Self {
            verifying_key,
            protection,
            attestation: None,
        }
    }

    /// The same key with its platform's statement about it; `None` when that is too long.
    pub fn with_attestation(mut self, attestation: Vec<u8>) -> Option<Self> {
        let fits = attestation.len() <= Self::LONGEST_ATTESTATION;
        self.attestation = Some(attestation);
        fits.then_some(self)
    }

    /// The key.
    pub const fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying_key
    }

    /// How it is kept, as its client said.
    pub const fn protection(&self) -> Protection {
        self.protection
    }

    /// What its platform said about it, as it came: no one has judged it.
    pub fn attestation(&self) -> Option<&[u8]> {
        self.attestation.as_deref()
    }

    /// What tells it from all other keys, so that two users can't have the same: the SHA-256 of its
    /// SubjectPublicKeyInfo.
    pub fn credential_id(&self) -> Option<CredentialId> {
        CredentialId::new(self.verifying_key.fingerprint().to_vec())
    }

    /// The key as bytes, to be sealed.
    pub fn to_secret(&self) -> SecretBytes {
        let stored = Stored {
            version: VERSION,
            public_key: BASE64.encode(self.verifying_key.spki()),
            protection: self.protection,
            attestation: self.attestation.as_deref().map(|a| BASE64.encode(a)),
        };
        // Texts and a number: there is nothing that JSON could not say.
        SecretBytes::new(serde_json::to_vec(&stored).unwrap_or_default())
    }

    /// Reads what [`to_secret`](Self::to_secret) wrote.
    ///
    /// # Errors
    /// [`InvalidDeviceKey`] for anything else.
    pub fn from_secret(secret: &SecretBytes) -> Result<Self, InvalidDeviceKey> {
        let stored: Stored =
            serde_json::from_slice(secret.expose_secret()).map_err(|_| InvalidDeviceKey)?;
        if stored.version != VERSION {
            return Err(InvalidDeviceKey);
        }
        let spki = decoded(&stored.public_key).ok_or(InvalidDeviceKey)?;
        let verifying_key = VerifyingKey::from_spki(&spki).map_err(|_| InvalidDeviceKey)?;
        let key = Self::new(verifying_key, stored.protection);
        let Some(attestation) = stored.attestation else {
            return Ok(key);
        };
        decoded(&attestation)
            .and_then(|attestation| key.with_attestation(attestation))
            .ok_or(InvalidDeviceKey)
    }
}

/// Stored bytes that are not a device key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored device key can't be read: enrol it again")]
pub struct InvalidDeviceKey;

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the key is kept less well than is required now: enrol one that is kept better")]
struct LessProtected;

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("nothing is remembered of this question")]
struct NotAsked;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u8,
    public_key: String,
    protection: Protection,
    #[serde(deserialize_with = "Option::deserialize")]
    attestation: Option<String>,
}

/// A question that stands: version, purpose, nonce (32) and expiry (8) in the verifier's memory.
struct ChallengeState {
    purpose: Purpose,
    nonce: Nonce,
    expires_at: Timestamp,
}

impl ChallengeState {
    fn new(
        purpose: Purpose,
        attempt: &AttemptContext<'_>,
        good_for: Duration,
    ) -> Result<Self, VerifyError> {
        Ok(Self {
            purpose,
            nonce: Nonce::generate().map_err(VerifyError::backend)?,
            expires_at: attempt.expires.min(attempt.now + good_for),
        })
    }

    fn to_state(&self) -> SecretBytes {
        let mut bytes = vec![VERSION, self.purpose.code()];
        bytes.extend(self.nonce.as_bytes());
        bytes.extend(self.expires_at.as_millis().to_be_bytes());
        SecretBytes::new(bytes)
    }

    fn asked(purpose: Purpose, state: Option<&SecretBytes>) -> Result<Self, VerifyError> {
        Self::from_state(purpose, state).ok_or_else(|| VerifyError::backend(NotAsked))
    }

    fn from_state(purpose: Purpose, state: Option<&SecretBytes>) -> Option<Self> {
        let [VERSION, code, rest @ ..] = state?.expose_secret() else {
            return None;
        };
        let (nonce, expires_at) = rest.split_first_chunk()?;
        (*code == purpose.code()).then_some(Self {
            purpose,
            nonce: Nonce::from_bytes(*nonce),
            expires_at: Timestamp::from_millis(u64::from_be_bytes(expires_at.try_into().ok()?)),
        })
    }

    /// Whether the signature answers the question, by this key and in time.
    fn judge(
        &self,
        attempt: &AttemptContext<'_>,
        key: &VerifyingKey,
        signature: &Signature,
    ) -> Result<(), VerifyError> {
        if attempt.now >= self.expires_at {
            return Err(VerifyError::Expired);
        }
        let message = attempt
            .binding()
            .signed_message(self.purpose, &self.nonce, self.expires_at);
        if key.verifies(&message, signature) {
            Ok(())
        } else {
            Err(VerifyError::Wrong)
        }
    }
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests;
