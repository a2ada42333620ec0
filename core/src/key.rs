//! WireGuard keys as types: what is public prints, what is secret never does.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A WireGuard public key: 32 bytes, an X25519 point. Shown as padded Base64, as `wg` does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// A key from its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        decode(text).map(Self)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A WireGuard private key: zeroized on drop, never printed, compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey([u8; 32]);

impl PrivateKey {
    /// A fresh key from the operating system's generator.
    ///
    /// # Errors
    /// [`getrandom::Error`] when the system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// A key from its 32 bytes. X25519 clamps them when it uses them (RFC 7748, section 5).
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public key that belongs to this one.
    pub fn public_key(&self) -> PublicKey {
        let secret = x25519_dalek::StaticSecret::from(self.0);
        PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }

    /// The raw secret. The caller is responsible for where the bytes go.
    pub const fn expose_secret(&self) -> &[u8; 32] {
        &self.0
    }

    /// The raw secret as padded Base64, for a configuration file. Zeroized on drop.
    pub fn expose_base64(&self) -> zeroize::Zeroizing<String> {
        zeroize::Zeroizing::new(BASE64.encode(&self.0))
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for PrivateKey {}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey([redacted])")
    }
}

impl FromStr for PrivateKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        decode(text).map(Self)
    }
}

/// A WireGuard preshared key: 32 bytes, zeroized on drop, never printed, compared in constant time.
///
/// Its bytes are in a block of their own, so that moving it leaves no copy behind.
#[derive(Clone)]
pub struct PresharedKey(Box<[u8; 32]>);

impl PresharedKey {
    /// A key from its 32 bytes. The array that they come in is the caller's to wipe: from a secret
    /// that is elsewhere, [`from_slice`](Self::from_slice) makes no copy but the key's own.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Box::new(bytes))
    }

    /// A key from bytes; `None` unless there are 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut key = Self(Box::new([0; 32]));
        if bytes.len() != key.0.len() {
            return None;
        }
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    /// A key that `write` writes in its place.
    pub(crate) fn written<E>(
        write: impl FnOnce(&mut [u8; 32]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut key = Self(Box::new([0; 32]));
        write(&mut key.0)?;
        Ok(key)
    }

    /// The raw secret. The caller is responsible for where the bytes go.
    pub const fn expose_secret(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Zeroize for PresharedKey {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl Drop for PresharedKey {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for PresharedKey {}

impl PartialEq for PresharedKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for PresharedKey {}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey([redacted])")
    }
}

/// A text that is not a key. It does not repeat the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a WireGuard key: expected 32 bytes as 44 characters of Base64")]
pub struct ParseKeyError;

fn decode(text: &str) -> Result<[u8; 32], ParseKeyError> {
    let bytes = zeroize::Zeroizing::new(
        BASE64
            .decode(text.trim().as_bytes())
            .map_err(|_| ParseKeyError)?,
    );
    <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| ParseKeyError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_key_never_prints() {
        let key = PrivateKey::from_bytes([7; 32]);
        let psk = PresharedKey::from_bytes([7; 32]);
        assert_eq!(
            format!("{key:?} {psk:?}"),
            "PrivateKey([redacted]) PresharedKey([redacted])"
        );
    }

    #[test]
    fn a_public_key_reads_back_as_it_was_written() {
        let key = PrivateKey::generate().unwrap().public_key();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!("not a key".parse::<PublicKey>(), Err(ParseKeyError));
        assert_eq!("AAAA".parse::<PublicKey>(), Err(ParseKeyError));
    }
}
