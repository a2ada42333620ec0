//! Secrets as objects: they print nothing, are compared by no one, and are wiped when the app lets
//! go of them.

use std::fmt;
use std::sync::Arc;

use mfagate::client::HandoverKey;
use zeroize::Zeroizing;

use crate::error::MfagateError;

/// Bytes, or a text, that are not for other eyes.
#[derive(uniffi::Object)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

#[uniffi::export]
impl SecretBytes {
    /// A secret of these bytes. The app's own copy stays the app's to wipe.
    #[uniffi::constructor]
    pub fn new(bytes: Vec<u8>) -> Result<Arc<Self>, MfagateError> {
        Ok(Self::of(bytes))
    }

    /// A secret that is a text, such as a password.
    #[uniffi::constructor]
    pub fn from_text(text: String) -> Result<Arc<Self>, MfagateError> {
        Ok(Self::of(text))
    }

    /// A fresh key of 32 random bytes, with which sessions are saved. It belongs in the system's
    /// store for secrets.
    #[uniffi::constructor]
    pub fn generate_handover_key() -> Result<Arc<Self>, MfagateError> {
        let key = HandoverKey::generate().map_err(|_| {
            let explanation = "this device gives no random numbers now: try again in a moment";
            MfagateError::fault("randomness-unavailable", explanation)
        })?;
        Ok(Self::of(*key.expose_secret()))
    }

    /// The bytes. The caller is responsible for where they go.
    pub fn expose(&self) -> Result<Vec<u8>, MfagateError> {
        Ok(self.0.to_vec())
    }

    /// The text. The caller is responsible for where it goes.
    pub fn expose_text(&self) -> Result<String, MfagateError> {
        self.text().map(str::to_owned)
    }
}

impl SecretBytes {
    pub(crate) fn of(secret: impl Into<Vec<u8>>) -> Arc<Self> {
        Arc::new(Self(Zeroizing::new(secret.into())))
    }

    pub(crate) fn text(&self) -> Result<&str, MfagateError> {
        std::str::from_utf8(&self.0)
            .map_err(|_| MfagateError::fault("secret-not-text", "the secret is not a text"))
    }

    pub(crate) fn handover_key(&self) -> Result<HandoverKey, MfagateError> {
        let bytes: [u8; 32] = self.0.as_slice().try_into().map_err(|_| {
            MfagateError::fault("invalid-key", "a key for saved sessions has 32 bytes")
        })?;
        Ok(HandoverKey::from_bytes(bytes))
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes([redacted])")
    }
}

/// A one-time code as the user typed it, without its spaces and hyphens.
#[derive(Debug, uniffi::Object)]
pub struct Code(mfagate::channel::message::Code);

#[uniffi::export]
impl Code {
    /// Reads what the user typed: 6 to 10 digits.
    #[uniffi::constructor]
    pub fn parse(text: String) -> Result<Arc<Self>, MfagateError> {
        let text = Zeroizing::new(text);
        let code = text.parse().map_err(|error| {
            use mfagate::code::ErrorCode;
            let error: mfagate::channel::message::ParseCodeError = error;
            MfagateError::fault(error.code(), error.to_string())
        })?;
        Ok(Arc::new(Self(code)))
    }
}

impl Code {
    pub(crate) fn inner(&self) -> mfagate::channel::message::Code {
        self.0.clone()
    }
}
