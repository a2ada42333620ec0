//! Signing with a device key: what an app brings as a [`Signer`], and the answers that come of it.
//!
//! [`SoftwareSigner`] holds a key in memory or in a file, for machines without anything better and
//! for tests; `Pkcs11Signer` (feature `pkcs11`) one in a token, a TPM or an HSM. On a phone, the
//! app implements [`Signer`] over the Secure Enclave or the Android key store, which give
//! [`VerifyingKey::from_p256_point`] and [`Signature::from_der`] their input.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE64;

use crate::channel::binding::{Binding, Purpose};
use crate::channel::message::{Answer, Challenge, Nonce, Protection};
use crate::id::AttemptId;
use crate::key::PublicKey;
use crate::signature::{Signature, VerifyingKey};
use crate::time::Timestamp;

#[cfg(feature = "pkcs11")]
mod pkcs11;
mod software;
#[cfg(test)]
mod tests;

#[cfg(feature = "pkcs11")]
pub use pkcs11::{PinEntry, Pkcs11Key, Pkcs11Signer};
pub(crate) use software::SoftwareKeyFault;
pub use software::{SoftwareKeyError, SoftwareSigner};

/// A device key that can sign.
#[async_trait]
pub trait Signer: Send + Sync {
    /// The key's public half.
    fn public_key(&self) -> &VerifyingKey;

    /// How the key is kept: what the gate will be told. It proves nothing, so say what is true.
    fn protection(&self) -> Protection;

    /// What the platform states about the key, to be kept at the gate.
    fn attestation(&self) -> Option<Vec<u8>> {
        None
    }

    /// Signs these bytes, hashed by the signer as its algorithm says. May ask the user for a
    /// finger, a face or a PIN, and take as long as the user takes. Dropped when the attempt ends
    /// without the user: put the question away then.
    ///
    /// # Errors
    /// [`SignError`], see its variants.
    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError>;
}

/// Why a device key did not sign.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The user did not want to.
    #[error("the user cancelled")]
    UserCancelled,
    /// The key or what holds it is not there.
    #[error("the device key is not there: plug in what holds it, or enrol another")]
    NotAvailable,
    /// The system refused the user for having failed too often, or for having no lock set up.
    #[error("the device key is locked: unlock the device or its token by its own means first")]
    LockedOut,
    /// The user's PIN or biometric was not right.
    #[error("the device did not recognise its user")]
    NotRecognised,
    /// The system has given the key up, as it does when biometrics are enrolled again.
    #[error("the device key is no longer good: enrol another")]
    Invalidated,
    /// Something else failed.
    #[error("the device key can't sign")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SignError {
    /// Something failed, for this reason.
    pub fn backend(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Backend(error.into())
    }
}

/// Answers a location's questions to a device key, as one peer. What it signs names its own
/// location and its own peer, no matter who asks: a gate elsewhere, or one that was asked by another
/// peer, gets nothing that is worth anything there.
#[derive(Clone)]
pub struct DeviceKeyProver {
    signer: Arc<dyn Signer>,
    location: PublicKey,
    peer: PublicKey,
    horizon: Duration,
}

impl DeviceKeyProver {
    /// How far in the future a question may set its end, if [`horizon`](Self::horizon) does not say
    /// otherwise.
    pub(crate) const HORIZON: Duration = Duration::from_secs(600);

    /// A prover that signs for this location and as this peer only.
    pub fn new(signer: Arc<dyn Signer>, location: PublicKey, peer: PublicKey) -> Self {
        Self {
            signer,
            location,
            peer,
            horizon: Self::HORIZON,
        }
    }

    /// How far in the future a question may set its end, by the client's clock.
    #[must_use]
    pub const fn horizon(mut self, span: Duration) -> Self {
        self.horizon = span;
        self
    }

    /// Answers [`Challenge::Signature`] or [`Challenge::RegisterKey`] in the attempt that it came
    /// in. Cancel safe: dropped, nothing leaves the client.
    ///
    /// A question whose time is over by the client's clock is answered: whether it is, the gate's
    /// clock decides.
    ///
    /// # Errors
    /// [`ProveError`]; nothing was signed but for `prove-inconsistent`.
    pub async fn answer(
        &self,
        attempt: &AttemptId,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<Answer, ProveError> {
        let key = self.signer.public_key();
        if let Challenge::Signature {
            key_id,
            nonce,
            expires_at,
        } = challenge
        {
            if *key_id != key.id() {
                return Err(ProveError(ProveFault::OtherKey));
            }
            let asked = (Purpose::SignIn, nonce, *expires_at);
            let signature = self.sign(asked, attempt, now).await?.to_base64();
            return Ok(Answer::Signature { signature });
        }
        let Challenge::RegisterKey {
            nonce,
            expires_at,
            protection,
        } = challenge
        else {
            return Err(ProveError(ProveFault::NotForAKey));
        };
        if self.signer.protection() < *protection {
            return Err(ProveError(ProveFault::LessProtected {
                required: *protection,
            }));
        }
        let asked = (Purpose::Enrol, nonce, *expires_at);
        let signature = self.sign(asked, attempt, now).await?.to_base64();
        Ok(Answer::RegisterKey {
            public_key: BASE64.encode(key.spki()),
            signature,
            protection: self.signer.protection(),
            attestation: self.signer.attestation().map(|a| BASE64.encode(&a)),
        })
    }

    async fn sign(
        &self,
        (purpose, nonce, expires_at): (Purpose, &Nonce, Timestamp),
        attempt: &AttemptId,
        now: Timestamp,
    ) -> Result<Signature, ProveFault> {
        if expires_at.saturating_since(now) > self.horizon {
            return Err(ProveFault::TooFarAhead);
        }
        let binding = Binding {
            location: &self.location,
            peer: &self.peer,
            attempt,
        };
        let message = binding.signed_message(purpose, nonce, expires_at);
        let signature = self.signer.sign(&message).await?;
        // A signature that is none would count as a failure at the gate.
        if self.signer.public_key().verifies(&message, &signature) {
            Ok(signature)
        } else {
            Err(ProveFault::Inconsistent)
        }
    }
}

impl fmt::Debug for DeviceKeyProver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceKeyProver")
            .field("key", self.signer.public_key())
            .field("location", &self.location)
            .field("peer", &self.peer)
            .field("horizon", &self.horizon)
            .finish()
    }
}

crate::error_code::opaque! {
    /// Why a question to a device key was not answered.
    pub struct ProveError(ProveFault);
}

/// What is behind [`ProveError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProveFault {
    /// The question is to another key.
    #[error("asked for a signature of another key: choose the signer that holds it")]
    OtherKey,
    /// The question would be good for too long.
    #[error(
        "asked to sign what stays good for too long: check the clock, and what the gate allows"
    )]
    TooFarAhead,
    /// The question is none to a device key.
    #[error("the question is not one that a device key answers")]
    NotForAKey,
    /// The gate wants keys that are kept better.
    #[error("the gate takes no device key that is kept less well than {required:?}")]
    LessProtected {
        /// The least that it takes.
        required: Protection,
    },
    /// What the signer gave is not a signature of its own public key.
    #[error("the signer's signature does not fit its public key: the signer is at fault")]
    Inconsistent,
    /// The signer did not sign.
    #[error(transparent)]
    Signer(#[from] SignError),
}
