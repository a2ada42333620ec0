//! The signatures of device keys: ES256 (ECDSA over P-256 with SHA-256; FIPS 186-5, section 6),
//! which phones' and TPMs' hardware can do, and Ed25519 (RFC 8032). Both ends need them: the gate
//! to verify, the client to know its own key.
//!
//! # What is accepted
//! - ES256 as `r ‖ s` (RFC 7518, section 3.4), with a high or a low `s`. Anyone who sees a signature
//!   can write down its twin with `n − s` in the place of `s`. That is harmless here: both are over
//!   the same message, and what keeps a message from counting twice is its nonce, which the gate
//!   forgets with the right answer. Nothing tells signatures apart by their bytes. Hardware does not
//!   normalise `s`, so that to ask for a low one would refuse every other honest signature.
//! - Ed25519 by the strict rules: `s` below the group's order, no point of small order (the checks
//!   of `verify_strict` in `ed25519-dalek`). There are no twins.
//! - Public keys as DER SubjectPublicKeyInfo. A point may come compressed; it is rewritten, so
//!   that each key has one text and one [fingerprint](VerifyingKey::fingerprint).

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::pkcs8::{DecodePublicKey, EncodePublicKey};
use sha2::{Digest, Sha256};

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(any(test, not(feature = "aws-lc")))]
mod portable;
#[cfg(test)]
mod tests;

#[cfg(feature = "aws-lc")]
use aws_lc::verify_es256;
#[cfg(not(feature = "aws-lc"))]
use portable::verify_es256;

/// A way to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256: what hardware can do.
    Es256,
    /// Ed25519.
    Ed25519,
}

/// The public half of a device key.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    key: Key,
    spki: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq)]
enum Key {
    Es256(p256::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl VerifyingKey {
    /// Reads a DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7) of one of the algorithms
    /// (RFC 5480, named curve P-256; RFC 8410).
    ///
    /// # Errors
    /// [`InvalidKey`] for anything else: another curve, a point that is not on it or is of small
    /// order, bytes left over.
    pub fn from_spki(der: &[u8]) -> Result<Self, InvalidKey> {
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(der) {
            return Self::es256(key);
        }
        match ed25519_dalek::VerifyingKey::from_public_key_der(der) {
            Ok(key) => Self::ed25519(key),
            Err(_) => Err(InvalidKey),
        }
    }

    /// Reads a point of P-256 as SEC 1 writes it, compressed or not: what PKCS #11 and mobile key
    /// stores give.
    ///
    /// # Errors
    /// [`InvalidKey`] for anything else.
    pub fn from_p256_point(sec1: &[u8]) -> Result<Self, InvalidKey> {
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(sec1).map_err(|_| InvalidKey)?;
        Self::es256(key)
    }

    pub(crate) fn es256(key: p256::ecdsa::VerifyingKey) -> Result<Self, InvalidKey> {
        let spki = key.to_public_key_der().map_err(|_| InvalidKey)?.into_vec();
        let key = Key::Es256(key);
        Ok(Self { key, spki })
    }

    pub(crate) fn ed25519(key: ed25519_dalek::VerifyingKey) -> Result<Self, InvalidKey> {
        if key.is_weak() {
            return Err(InvalidKey);
        }
        let spki = key.to_public_key_der().map_err(|_| InvalidKey)?.into_vec();
        let key = Key::Ed25519(key);
        Ok(Self { key, spki })
    }

    /// The key as DER SubjectPublicKeyInfo, a point of P-256 uncompressed.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// What the key signs with.
    pub const fn algorithm(&self) -> Algorithm {
        match self.key {
            Key::Es256(_) => Algorithm::Es256,
            Key::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The SHA-256 of [`spki`](Self::spki): one key has one.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.spki).into()
    }

    /// The key's short name in a challenge: the first 16 bytes of its fingerprint as hexadecimal.
    pub fn id(&self) -> String {
        HEXLOWER.encode(&self.fingerprint()[..16])
    }

    /// Whether the signature is this key's over the message.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        match &self.key {
            Key::Es256(key) => verify_es256(key, message, signature),
            Key::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
                key.verify_strict(message, &signature).is_ok()
            }
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:?} {})", self.algorithm(), self.id())
    }
}

/// A signature: 64 bytes, ES256's `r ‖ s` or Ed25519's `R ‖ s`. Not secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// One from its bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// An ES256 signature from DER (RFC 3279, section 2.2.3), which is how Apple's Security
    /// framework and Android's key store write one.
    ///
    /// # Errors
    /// [`InvalidSignature`] for anything but strict DER of two numbers in range.
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidSignature> {
        let signature = p256::ecdsa::Signature::from_der(der).map_err(|_| InvalidSignature)?;
        Ok(Self(signature.to_bytes().into()))
    }

    /// One from Base64 with padding.
    ///
    /// # Errors
    /// [`InvalidSignature`] for anything but 64 bytes of it.
    pub fn from_base64(text: &str) -> Result<Self, InvalidSignature> {
        let bytes = BASE64
            .decode(text.as_bytes())
            .map_err(|_| InvalidSignature)?;
        bytes.try_into().map(Self).map_err(|_| InvalidSignature)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// The signature in Base64, as an answer carries it.
    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.0)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", HEXLOWER.encode(&self.0))
    }
}

/// Bytes that are not a public key that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public key of P-256 or Ed25519 as DER SubjectPublicKeyInfo")]
pub struct InvalidKey;

/// Bytes that can't be a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a signature: expected 64 bytes, as DER two numbers in the range of P-256")]
pub struct InvalidSignature;
