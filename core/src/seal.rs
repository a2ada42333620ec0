//! Sealing: what is secret at rest lies in an AEAD envelope bound to its row.
//!
//! The gate seals before a store sees anything, and opens after. This module keeps no rows and
//! knows no store; where the ring's keys are kept is the operator's choice, away from the store.
//!
//! # The envelope
//! ```text
//! version (1 byte, 1) ‖ length of the key id (1 byte) ‖ key id ‖ nonce (24 bytes) ‖ ciphertext ‖ tag (16 bytes)
//! ```
//! The cipher is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): its nonce is long enough to be
//! drawn at random for the life of a key. The associated data is a label, the envelope up to the
//! nonce, and the [`AssociatedData`], each field with its length, so that an envelope that was moved to
//! another row, or whose row was edited, does not open.

mod associated_data;
mod file;

use std::fmt;
use std::str::FromStr;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::scrub::wiping;
pub use associated_data::AssociatedData;
pub use file::KeyRingError;
pub(crate) use file::KeyRingFault;

const VERSION: u8 = 1;
const NONCE_LEN: usize = 24;
const LABEL: &[u8] = b"mfagate/1 sealed row";

/// The keys that seal: one active key, and any number of older ones that still open.
#[derive(Debug, Clone)]
pub struct KeyRing {
    active: (KeyId, RingKey),
    older: Vec<(KeyId, RingKey)>,
}

impl KeyRing {
    /// A ring of one key.
    pub const fn new(id: KeyId, key: RingKey) -> Self {
        Self {
            active: (id, key),
            older: Vec::new(),
        }
    }

    /// The ring with one more key that opens and doesn't seal. Where the ring has a key of that id
    /// already, that one stays.
    #[must_use]
    pub fn with_older(mut self, id: KeyId, key: RingKey) -> Self {
        if self.key(&id).is_none() {
            self.older.push((id, key));
        }
        self
    }

    /// The ring with a new key that seals from now on; those that it had still open.
    ///
    /// # Errors
    /// [`getrandom::Error`] when the system has no randomness to give.
    pub fn rotated(mut self) -> Result<Self, getrandom::Error> {
        let mut id = [0; 8];
        getrandom::fill(&mut id)?;
        let id = KeyId(HEXLOWER.encode(&id));
        let before = std::mem::replace(&mut self.active, (id, RingKey::generate()?));
        self.older.insert(0, before);
        Ok(self)
    }

    /// The ring with the key alone that seals.
    #[must_use]
    pub fn without_older(mut self) -> Self {
        self.older.clear();
        self
    }

    /// The id of the key that seals.
    pub const fn active(&self) -> &KeyId {
        &self.active.0
    }

    /// Seals a secret to its row, under the active key and a fresh random nonce.
    ///
    /// # Errors
    /// `seal-randomness`; `seal-too-long` for more than the cipher takes (256 GiB).
    pub fn seal(&self, row: &AssociatedData<'_>, secret: &[u8]) -> Result<Sealed, SealError> {
        let (id, key) = &self.active;
        let mut envelope = header(id);
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce)?;
        let payload = Payload {
            msg: secret,
            aad: &associated_data(&envelope, row),
        };
        let ciphertext = wiping(|| key.cipher().encrypt(XNonce::from_slice(&nonce), payload))
            .map_err(|_| SealFault::TooLong)?;
        envelope.extend_from_slice(&nonce);
        envelope.extend_from_slice(&ciphertext);
        Ok(Sealed(envelope))
    }

    /// Opens an envelope that was sealed to this very row by any key of the ring.
    ///
    /// # Errors
    /// `seal-unknown-key` when the ring lacks its key, `seal-altered` when the
    /// envelope or its row is not what was sealed, `seal-unknown-version` and
    /// `seal-malformed` when it is no envelope of ours.
    pub fn open(
        &self,
        row: &AssociatedData<'_>,
        sealed: &Sealed,
    ) -> Result<SecretBytes, SealError> {
        let envelope = Envelope::parse(sealed)?;
        let key = self
            .key(&envelope.key)
            .ok_or_else(|| SealFault::UnknownKey {
                id: envelope.key.clone(),
            })?;
        let payload = Payload {
            msg: envelope.ciphertext,
            aad: &associated_data(envelope.header, row),
        };
        let nonce = XNonce::from_slice(envelope.nonce);
        wiping(|| key.cipher().decrypt(nonce, payload))
            .map(SecretBytes)
            .map_err(|_| SealFault::Altered)
            .map_err(SealError)
    }

    /// Whether an envelope names the active key. `false` says: reseal it when the ring rotates.
    pub fn is_current(&self, sealed: &Sealed) -> bool {
        Envelope::parse(sealed).is_ok_and(|envelope| envelope.key == self.active.0)
    }

    fn key(&self, id: &KeyId) -> Option<&RingKey> {
        std::iter::once(&self.active)
            .chain(&self.older)
            .find_map(|(known, key)| (known == id).then_some(key))
    }
}

/// The name of a ring key, such as `2026-11`: 1 to 32 characters of `A-Z a-z 0-9 . _ -`. Not
/// secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyId {
    type Err = ParseKeyIdError;

    fn from_str(text: &str) -> Result<Self, ParseKeyIdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=32).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseKeyIdError)
        }
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that can't name a ring key. It does not repeat the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key id is 1 to 32 characters of A-Z a-z 0-9 . _ -")]
pub struct ParseKeyIdError;

/// A key of the ring: 256 random bits, zeroized on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RingKey([u8; 32]);

impl RingKey {
    /// A fresh key from the operating system's generator.
    ///
    /// # Errors
    /// [`getrandom::Error`] when the system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut key = Self([0; 32]);
        getrandom::fill(&mut key.0)?;
        Ok(key)
    }

    /// A key from its 32 bytes, which must have come from a strong generator.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw key as padded Base64, for a key file. Zeroized on drop.
    pub fn expose_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(&self.0))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&self.0).into())
    }
}

impl FromStr for RingKey {
    type Err = ParseRingKeyError;

    fn from_str(text: &str) -> Result<Self, ParseRingKeyError> {
        let bytes = BASE64
            .decode(text.trim().as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| ParseRingKeyError)?;
        let mut key = Self([0; 32]);
        if bytes.len() != key.0.len() {
            return Err(ParseRingKeyError);
        }
        key.0.copy_from_slice(&bytes);
        Ok(key)
    }
}

impl fmt::Debug for RingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RingKey([redacted])")
    }
}

/// A text that is not a ring key. It does not repeat the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a ring key: expected 32 bytes as 44 characters of Base64")]
pub struct ParseRingKeyError;

/// Secret bytes: zeroized on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes the bytes.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The raw secret. The caller is responsible for where the bytes go.
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for SecretBytes {
    /// In constant time for secrets of one length.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes([redacted])")
    }
}

/// An envelope: key id, nonce, ciphertext and tag. Safe to store; opens only with the ring that
/// sealed it and for the row it was sealed to.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// An envelope as read from a store. Whether it opens shows in [`KeyRing::open`].
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The envelope's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

crate::error_code::opaque! {
    /// Why something did not seal or open.
    #[derive(Clone, PartialEq, Eq)]
    pub struct SealError(SealFault);
    from getrandom::Error;
}

/// What is behind [`SealError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealFault {
    /// The operating system had no randomness to give.
    #[error("the operating system has no randomness to give: try again once it has started up")]
    Randomness(#[from] getrandom::Error),
    /// The secret is longer than the cipher takes.
    #[error("the secret is too long to seal: 256 GiB are the most")]
    TooLong,
    /// The envelope was sealed with a key that is not on the ring.
    #[error(
        "sealed with the ring key {id:?}, which is not on the key ring: put that key back as an older one",
        id = id.as_str()
    )]
    UnknownKey {
        /// The id that the envelope names.
        id: KeyId,
    },
    /// The envelope or its row is not what was sealed.
    #[error(
        "the sealed record does not open: it, its row or the ring key was altered; restore them from a backup, or enrol again"
    )]
    Altered,
    /// The envelope is of a version that this build does not know.
    #[error(
        "sealed in a format of version {version}, which this build does not know: update the program"
    )]
    UnknownVersion {
        /// The version that the envelope names.
        version: u8,
    },
    /// The bytes are not an envelope.
    #[error("not a sealed record: restore it from a backup, or enrol again")]
    Malformed,
}

/// An envelope's parts, borrowed.
struct Envelope<'a> {
    header: &'a [u8],
    key: KeyId,
    nonce: &'a [u8],
    ciphertext: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn parse(sealed: &'a Sealed) -> Result<Self, SealFault> {
        let bytes = sealed.as_bytes();
        let (&version, rest) = bytes.split_first().ok_or(SealFault::Malformed)?;
        if version != VERSION {
            return Err(SealFault::UnknownVersion { version });
        }
        let (&id_len, rest) = rest.split_first().ok_or(SealFault::Malformed)?;
        let id_len = usize::from(id_len);
        let (id, rest) = rest.split_at_checked(id_len).ok_or(SealFault::Malformed)?;
        let (nonce, ciphertext) = rest
            .split_at_checked(NONCE_LEN)
            .ok_or(SealFault::Malformed)?;
        let key = std::str::from_utf8(id)
            .ok()
            .and_then(|id| id.parse().ok())
            .ok_or(SealFault::Malformed)?;
        Ok(Self {
            header: &bytes[..2 + id_len],
            key,
            nonce,
            ciphertext,
        })
    }
}

/// The envelope up to the nonce.
fn header(id: &KeyId) -> Vec<u8> {
    let len = u8::try_from(id.0.len()).unwrap_or(u8::MAX); // an id is at most 32 bytes
    let mut header = vec![VERSION, len];
    header.extend_from_slice(id.0.as_bytes());
    header
}

fn associated_data(header: &[u8], row: &AssociatedData<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    associated_data::put(&mut bytes, LABEL);
    associated_data::put(&mut bytes, header);
    row.encode(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests;
