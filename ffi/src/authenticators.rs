//! What an app brings to prove its user's factors. What it does not bring is asked by the
//! [`CodePrompt`], which may choose another factor.

use std::sync::Arc;

use crate::callback::CallbackError;
use crate::challenge::{AuthChallenge, Protection};
use crate::response::Response;
use crate::secret::SecretBytes;

/// What an app can prove its user's factors with.
#[derive(Clone, uniffi::Record)]
pub struct Authenticators {
    /// Asks the user for codes and passwords, and for all that the others are not there for.
    #[uniffi(default = None)]
    pub code: Option<Arc<dyn CodePrompt>>,
    /// Signs with a key of the device's.
    #[uniffi(default = None)]
    pub device_key: Option<Arc<dyn DeviceKeySigner>>,
    /// Asks for a passkey or a security key.
    #[uniffi(default = None)]
    pub passkey: Option<Arc<dyn PasskeyProvider>>,
    /// Logs in at an OpenID provider in the system's browser.
    #[uniffi(default = None)]
    pub browser: Option<Arc<dyn BrowserLogin>>,
}

/// Asks the user.
#[uniffi::export(with_foreign)]
#[async_trait::async_trait]
pub trait CodePrompt: Send + Sync {
    /// Asks for an answer; none means that the user gave up. It may take as long as the challenge
    /// is good. Given up when the attempt ends without the user: close the window then.
    async fn answer(&self, challenge: AuthChallenge) -> Result<Option<Response>, CallbackError>;
}

/// A key that never leaves the device.
#[uniffi::export(with_foreign)]
#[async_trait::async_trait]
pub trait DeviceKeySigner: Send + Sync {
    /// The key's public half, and how the key is kept.
    async fn public_key(&self) -> Result<DeviceKey, CallbackError>;

    /// Signs these bytes, hashed with SHA-256 by the signer for ES256: the signature as ASN.1 DER,
    /// or for Ed25519 its 64 bytes. May ask the user for a finger, a face or a PIN.
    async fn sign(&self, data: Vec<u8>) -> Result<Vec<u8>, CallbackError>;
}

/// A device key's public half.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct DeviceKey {
    /// A DER SubjectPublicKeyInfo, or the 65 bytes of an uncompressed P-256 point.
    pub public_key: Vec<u8>,
    /// How the key is kept: what the gate will be told. It proves nothing, so say what is true.
    pub protection: Protection,
    /// What the platform states about the key, to be kept at the gate.
    #[uniffi(default = None)]
    pub attestation: Option<Vec<u8>>,
}

/// The platform's passkeys: Credential Manager, `ASAuthorizationController`.
#[uniffi::export(with_foreign)]
#[async_trait::async_trait]
pub trait PasskeyProvider: Send + Sync {
    /// Asks for an assertion, by options as JSON (WebAuthn, `parseRequestOptionsFromJSON`). Gives
    /// the credential as JSON; none means that the user gave up.
    async fn get(&self, options: String) -> Result<Option<Arc<SecretBytes>>, CallbackError>;

    /// Makes a passkey, by options as JSON (WebAuthn, `parseCreationOptionsFromJSON`). Gives the
    /// credential as JSON; none means that the user gave up.
    async fn create(&self, options: String) -> Result<Option<Arc<SecretBytes>>, CallbackError>;
}

/// The system's browser, never a web view of the app's own (RFC 8252, section 8.12).
#[uniffi::export(with_foreign)]
#[async_trait::async_trait]
pub trait BrowserLogin: Send + Sync {
    /// Where the provider sends the browser back to: the app's own link or scheme. The gate must
    /// offer it.
    async fn redirect_uri(&self) -> Result<String, CallbackError>;

    /// Opens the address and gives the whole one that the browser came back to; none means that
    /// the user gave up.
    async fn open(&self, url: String) -> Result<Option<Arc<SecretBytes>>, CallbackError>;
}
