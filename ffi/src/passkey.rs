//! The parts of WebAuthn's JSON, for platforms that take and give parts: Apple's
//! `ASAuthorizationController`.

use std::sync::Arc;

use mfagate::channel::message::Answer;
use mfagate::code::ErrorCode;
use mfagate::prove::webauthn::{self, UnreadableOptions};

use crate::error::MfagateError;
use crate::secret::SecretBytes;

/// What an assertion is asked for with.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct AssertionOptions {
    /// The relying party's id.
    pub rp_id: String,
    /// What is to be signed.
    pub challenge: Vec<u8>,
    /// The ids of the credentials that may sign it.
    pub credentials: Vec<Vec<u8>>,
}

/// What a new credential is asked for with.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct CreationOptions {
    /// The relying party's id.
    pub rp_id: String,
    /// What is to be signed.
    pub challenge: Vec<u8>,
    /// The user, as the authenticator is to call them.
    pub user_handle: Vec<u8>,
    /// The user, as people are to see them.
    pub user_name: String,
    /// The ids of the credentials that the user has.
    pub known: Vec<Vec<u8>>,
}

/// Reads the options that [`PasskeyProvider::get`](crate::authenticators::PasskeyProvider) gets.
#[uniffi::export]
pub fn read_assertion_options(options: String) -> Result<AssertionOptions, MfagateError> {
    let options = webauthn::AssertionOptions::parse(&wrapped(&options))?;
    Ok(AssertionOptions {
        rp_id: options.rp_id,
        challenge: options.challenge,
        credentials: options.credentials,
    })
}

/// Reads the options that [`PasskeyProvider::create`](crate::authenticators::PasskeyProvider) gets.
#[uniffi::export]
pub fn read_creation_options(options: String) -> Result<CreationOptions, MfagateError> {
    let options = webauthn::CreationOptions::parse(&wrapped(&options))?;
    Ok(CreationOptions {
        rp_id: options.rp_id,
        challenge: options.challenge,
        user_handle: options.user_handle,
        user_name: options.user_name,
        known: options.known,
    })
}

/// The credential as JSON, from an assertion in parts.
#[uniffi::export]
pub fn assertion_credential(
    credential_id: Vec<u8>,
    client_data_json: Vec<u8>,
    authenticator_data: Vec<u8>,
    signature: Vec<u8>,
    user_handle: Option<Vec<u8>>,
) -> Result<Arc<SecretBytes>, MfagateError> {
    let assertion = webauthn::Assertion {
        credential_id,
        client_data_json,
        authenticator_data,
        signature,
        user_handle,
    };
    credential(assertion.to_answer())
}

/// The credential as JSON, from a new credential in parts.
#[uniffi::export]
pub fn attestation_credential(
    credential_id: Vec<u8>,
    client_data_json: Vec<u8>,
    attestation_object: Vec<u8>,
) -> Result<Arc<SecretBytes>, MfagateError> {
    let attestation = webauthn::Attestation {
        credential_id,
        client_data_json,
        attestation_object,
    };
    credential(attestation.to_answer())
}

/// The core reads options as the gate sends them, within the member `publicKey`.
fn wrapped(options: &str) -> String {
    format!("{{\"publicKey\":{options}}}")
}

fn credential(answer: Option<Answer>) -> Result<Arc<SecretBytes>, MfagateError> {
    match answer {
        Some(Answer::WebAuthn { credential } | Answer::RegisterWebAuthn { credential }) => {
            Ok(SecretBytes::of(credential.expose_secret()))
        }
        _ => Err(MfagateError::fault(
            "credential-too-long",
            "the credential is longer than 16,384 bytes",
        )),
    }
}

impl From<UnreadableOptions> for MfagateError {
    fn from(error: UnreadableOptions) -> Self {
        Self::fault(error.code(), error.to_string())
    }
}
