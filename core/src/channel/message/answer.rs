//! What the user, or a device in the user's place, answers.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::challenge::Protection;
use super::code::Code;
use crate::channel::text;

/// An answer to a [`Challenge`](super::Challenge).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Answer {
    /// A code.
    Code {
        /// The code.
        code: Code,
    },
    /// A recovery code.
    RecoveryCode {
        /// The code.
        code: SecretString,
    },
    /// A password or PIN, also one to be.
    Password {
        /// The password.
        password: SecretString,
    },
    /// A device key's signature: ES256 as `r ‖ s`, Ed25519 as RFC 8032 has it, in Base64.
    Signature {
        /// The signature.
        signature: String,
    },
    /// A WebAuthn assertion.
    WebAuthn {
        /// The credential as `navigator.credentials.get` gives it, as JSON.
        credential: SecretString,
    },
    /// What the browser came back with from an OpenID provider.
    Redirected {
        /// Where it came back to: the `redirect_uri` that the client added.
        redirect_uri: String,
        /// The whole query that it came back with.
        query: SecretString,
    },
    /// The user wants to log in on another device.
    BeginDeviceGrant {},
    /// Ask whether that has been done.
    Poll {},
    /// A workload's ID token.
    IdToken {
        /// The token, in its compact form.
        token: SecretString,
    },
    /// Enrolling: a new device key.
    RegisterKey {
        /// Its public key as a DER SubjectPublicKeyInfo (RFC 5280, section 4.1), in Base64.
        public_key: String,
        /// The signature that proves it.
        signature: String,
        /// How the key is kept, as the client says.
        protection: Protection,
        /// The platform's statement about it, in Base64, kept for later.
        #[serde(deserialize_with = "Option::deserialize")]
        attestation: Option<String>,
    },
    /// Enrolling: a new passkey or security key.
    RegisterWebAuthn {
        /// The credential as `navigator.credentials.create` gives it, as JSON.
        credential: SecretString,
    },
    /// Enrolling: an address for codes.
    Address {
        /// The address.
        address: SecretString,
    },
}

/// A text that is not for other eyes: zeroized on drop, never printed. At most 16,384 bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct SecretString(String);

impl SecretString {
    const LONGEST: usize = 16_384;

    /// Takes a text; `None` when it is too long.
    pub fn new(text: String) -> Option<Self> {
        let hidden = Self(text);
        (hidden.0.len() <= Self::LONGEST).then_some(hidden)
    }

    /// The text. The caller is responsible for where it goes.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SecretString {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer, "a text of at most 16384 bytes", |text| {
            Self::new(text.to_owned())
        })
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretString([redacted])")
    }
}
