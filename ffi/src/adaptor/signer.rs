//! The app's device key as the core's signer. Its public half is asked for once for each question.

use std::sync::Arc;
use std::time::Duration;

use mfagate::channel::message::Protection;
use mfagate::prove::device_key::{SignError, Signer};
use mfagate::signature::{Algorithm, Signature, VerifyingKey};

use super::bounded;
use crate::authenticators::DeviceKeySigner;
use crate::callback::CallbackError;

/// The length of an uncompressed P-256 point (SEC 1, section 2.3.3).
const POINT: usize = 65;

/// A key of the app's with its public half.
pub(crate) struct AppKey {
    signer: Arc<dyn DeviceKeySigner>,
    key: VerifyingKey,
    protection: Protection,
    attestation: Option<Vec<u8>>,
}

impl AppKey {
    /// Asks the app which key it has.
    pub(crate) async fn read(
        signer: Arc<dyn DeviceKeySigner>,
        timeout: Duration,
    ) -> Result<Self, CallbackError> {
        let said = bounded(timeout, signer.public_key()).await?;
        let key = if said.public_key.len() == POINT {
            VerifyingKey::from_p256_point(&said.public_key)
        } else {
            VerifyingKey::from_spki(&said.public_key)
        };
        let key = key.map_err(|error| CallbackError::failed(&error.to_string()))?;
        Ok(Self {
            signer,
            key,
            protection: said.protection.into(),
            attestation: said.attestation,
        })
    }
}

#[async_trait::async_trait]
impl Signer for AppKey {
    fn public_key(&self) -> &VerifyingKey {
        &self.key
    }

    fn protection(&self) -> Protection {
        self.protection
    }

    fn attestation(&self) -> Option<Vec<u8>> {
        self.attestation.clone()
    }

    /// The time-out is the question's own: a user may take that long.
    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let signed = self.signer.sign(message.to_vec()).await.map_err(failed)?;
        match self.key.algorithm() {
            Algorithm::Es256 => Signature::from_der(&signed).map_err(SignError::backend),
            Algorithm::Ed25519 => {
                let bytes = <[u8; 64]>::try_from(signed.as_slice());
                bytes.map(Signature::from_bytes).map_err(SignError::backend)
            }
            // The key was read, so that its algorithm is known.
            _ => Err(SignError::backend("the key's algorithm is not known here")),
        }
    }
}

fn failed(error: CallbackError) -> SignError {
    match error {
        CallbackError::Cancelled => SignError::UserCancelled,
        CallbackError::NotAvailable => SignError::NotAvailable,
        CallbackError::LockedOut => SignError::LockedOut,
        CallbackError::Refused => SignError::NotRecognised,
        CallbackError::Invalidated => SignError::Invalidated,
        CallbackError::TimedOut | CallbackError::Failed { .. } => SignError::backend(error),
    }
}
