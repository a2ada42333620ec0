//! Answering for a passkey or a security key (WebAuthn Level 3, a W3C Candidate
//! Recommendation).
//!
//! The gate's challenge is JSON for a browser: `PublicKeyCredential.parseRequestOptionsFromJSON`
//! (section 5.1.9) of its member `publicKey`, `navigator.credentials.get`, `toJSON`, and that is
//! the answer. An app asks its platform instead:
//!
//! - **Android**, Credential Manager: [`public_key`] is its `requestJson`, and what it gives back
//!   is
//!   [`asserted`] or [`created`]. The gate must know the app's signing certificate as an origin.
//! - **Apple**, `ASAuthorizationController`: it takes [`AssertionOptions`] and [`CreationOptions`]
//!   in parts, and gives the parts of [`Assertion`] and [`Attestation`]. The app must have the
//!   relying party as an associated domain (`webcredentials:`); its origin is `https://<rp id>`.
//! - **neither** (a terminal): `security_key`, with the feature `ctap`.
//!
//! A browser and a platform see to it that only the relying party's own pages and apps use its
//! credentials. Anyone who answers in another way must do that too: a gate that asks for a
//! credential of another relying party than the one it is known to be is not to be answered.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::channel::message::{Answer, SecretString};

#[cfg(feature = "ctap")]
pub mod security_key;

/// What is inside the options' member `publicKey`, as JSON.
///
/// # Errors
/// [`UnreadableOptions`].
pub fn public_key(options: &str) -> Result<String, UnreadableOptions> {
    let options: Value = serde_json::from_str(options).map_err(|_| UnreadableOptions)?;
    let inner = options.get("publicKey").ok_or(UnreadableOptions)?;
    inner
        .is_object()
        .then(|| inner.to_string())
        .ok_or(UnreadableOptions)
}

/// The answer to a challenge, from an assertion as JSON; `None` when it is over 16,384 bytes.
pub fn asserted(credential: String) -> Option<Answer> {
    SecretString::new(credential).map(|credential| Answer::WebAuthn { credential })
}

/// The answer that enrols, from a new credential as JSON; `None` when it is over 16,384 bytes.
pub fn created(credential: String) -> Option<Answer> {
    SecretString::new(credential).map(|credential| Answer::RegisterWebAuthn { credential })
}

/// What an assertion is asked for with (section 5.5).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AssertionOptions {
    /// The relying party's id.
    pub rp_id: String,
    /// What is to be signed.
    pub challenge: Vec<u8>,
    /// The ids of the credentials that may sign it.
    pub credentials: Vec<Vec<u8>>,
}

impl AssertionOptions {
    /// Reads a challenge's options.
    ///
    /// # Errors
    /// [`UnreadableOptions`].
    pub fn parse(options: &str) -> Result<Self, UnreadableOptions> {
        let Wrapped { public_key } = parse::<RequestOptions>(options)?;
        Ok(Self {
            rp_id: public_key.rp_id,
            challenge: bytes(&public_key.challenge)?,
            credentials: ids(&public_key.allow_credentials)?,
        })
    }
}

/// What a new credential is asked for with (section 5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreationOptions {
    /// The relying party's id.
    pub rp_id: String,
    /// What is to be signed.
    pub challenge: Vec<u8>,
    /// The user, as the authenticator is to call them: the user handle.
    pub user_handle: Vec<u8>,
    /// The user, as people are to see them.
    pub user_name: String,
    /// The ids of the credentials that the user has: an authenticator that has one of them makes
    /// no other.
    pub known: Vec<Vec<u8>>,
}

impl CreationOptions {
    /// Reads a challenge's options.
    ///
    /// # Errors
    /// [`UnreadableOptions`].
    pub fn parse(options: &str) -> Result<Self, UnreadableOptions> {
        let Wrapped { public_key } = parse::<NewOptions>(options)?;
        Ok(Self {
            rp_id: public_key.rp.id,
            challenge: bytes(&public_key.challenge)?,
            user_handle: bytes(&public_key.user.id)?,
            user_name: public_key.user.name,
            known: ids(&public_key.exclude_credentials)?,
        })
    }
}

/// An assertion in parts, as a platform gives it (section 5.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// The id of the credential that signed.
    pub credential_id: Vec<u8>,
    /// The client's data as it was hashed.
    pub client_data_json: Vec<u8>,
    /// The authenticator's data as it was signed.
    pub authenticator_data: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
    /// The user handle, where the authenticator gives one.
    pub user_handle: Option<Vec<u8>>,
}

impl Assertion {
    /// The answer; `None` when it is over 16,384 bytes.
    pub fn to_answer(&self) -> Option<Answer> {
        let id = BASE64URL_NOPAD.encode(&self.credential_id);
        let mut response = json!({
            "clientDataJSON": BASE64URL_NOPAD.encode(&self.client_data_json),
            "authenticatorData": BASE64URL_NOPAD.encode(&self.authenticator_data),
            "signature": BASE64URL_NOPAD.encode(&self.signature),
        });
        if let Some(handle) = &self.user_handle {
            response["userHandle"] = BASE64URL_NOPAD.encode(handle).into();
        }
        asserted(credential(&id, &response))
    }
}

/// A new credential in parts, as a platform gives it (section 5.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// Its id.
    pub credential_id: Vec<u8>,
    /// The client's data as it was hashed.
    pub client_data_json: Vec<u8>,
    /// The attestation object.
    pub attestation_object: Vec<u8>,
}

impl Attestation {
    /// The answer; `None` when it is over 16,384 bytes.
    pub fn to_answer(&self) -> Option<Answer> {
        let id = BASE64URL_NOPAD.encode(&self.credential_id);
        let response = json!({
            "clientDataJSON": BASE64URL_NOPAD.encode(&self.client_data_json),
            "attestationObject": BASE64URL_NOPAD.encode(&self.attestation_object),
        });
        created(credential(&id, &response))
    }
}

/// Options that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gate's WebAuthn options can't be read: is it of a newer version?")]
pub struct UnreadableOptions;

/// The JSON of a credential (section 5.1.8).
fn credential(id: &str, response: &Value) -> String {
    json!({
        "id": id,
        "rawId": id,
        "type": "public-key",
        "response": response,
        "clientExtensionResults": {},
    })
    .to_string()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wrapped<T> {
    public_key: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestOptions {
    rp_id: String,
    challenge: String,
    #[serde(default)]
    allow_credentials: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewOptions {
    rp: Party,
    user: User,
    challenge: String,
    #[serde(default)]
    exclude_credentials: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Party {
    id: String,
}

#[derive(Deserialize)]
struct User {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Descriptor {
    id: String,
}

fn parse<'a, T: Deserialize<'a>>(options: &'a str) -> Result<Wrapped<T>, UnreadableOptions> {
    serde_json::from_str(options).map_err(|_| UnreadableOptions)
}

fn ids(descriptors: &[Descriptor]) -> Result<Vec<Vec<u8>>, UnreadableOptions> {
    descriptors.iter().map(|known| bytes(&known.id)).collect()
}

fn bytes(text: &str) -> Result<Vec<u8>, UnreadableOptions> {
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| UnreadableOptions)
}

#[cfg(test)]
mod tests;
