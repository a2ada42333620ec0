//! The key schedule of the preshared key.
//!
//! `PSK = HKDF-SHA256(salt = handshake hash ‖ SHA-256(grant), ikm = KEM secret ‖ share,
//! info = "mfagate/1 psk")`, where `grant` is the text of the reply that grants, byte for byte.

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::error::ChannelError;
use super::message::Share;
use crate::key::PresharedKey;

const INFO: &[u8] = b"mfagate/1 psk";

/// The hash of a grant's text.
#[derive(Clone, Copy)]
pub(super) struct Transcript([u8; 32]);

impl Transcript {
    pub(super) fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }
}

/// Derives the preshared key, the same at both ends.
pub(super) fn preshared_key(
    handshake_hash: &[u8; 32],
    transcript: &Transcript,
    kem_secret: &[u8; 32],
    share: &Share,
) -> Result<PresharedKey, ChannelError> {
    let salt = [*handshake_hash, transcript.0].concat();
    let ikm = Zeroizing::new([*kem_secret, *share.0].concat());
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(&salt), &ikm)
        .expand(INFO, &mut *key)
        .map_err(|_| ChannelError::Cryptography)?;
    Ok(PresharedKey::from_bytes(*key))
}
