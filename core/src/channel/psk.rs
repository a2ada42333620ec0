//! The key schedule of the preshared key: X-Wing, a random share, and the whole exchange as salt.

use std::fmt;

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use x_wing::DecapsulationKeyRejectNonContrib;
use x_wing::kem::{Decapsulator, KeyExport, TryDecapsulate};
use zeroize::Zeroizing;

use super::ChannelError;
use super::message::{Ciphertext, EncapsulationKey, Share};
use super::noise::HASH_LEN;
use crate::key::PresharedKey;
use crate::scrub::wiping;

const INFO: &[u8] = b"mfagate/1 psk";
pub(super) const SECRET_LEN: usize = 32;

/// A client's half of a key encapsulation: fresh for each attempt, zeroized on drop.
pub struct DecapsulationSecret(Box<DecapsulationKeyRejectNonContrib>);

impl DecapsulationSecret {
    /// A fresh key pair.
    ///
    /// # Errors
    /// [`ChannelError::Crypto`] when the system has no randomness to give.
    pub fn generate() -> Result<(Self, EncapsulationKey), ChannelError> {
        let mut seed = Zeroizing::new([0; SECRET_LEN]);
        getrandom::fill(&mut *seed).map_err(|_| ChannelError::Crypto)?;
        Self::from_seed(&seed)
    }

    /// The key pair of a seed of 32 bytes.
    pub(super) fn from_seed(
        seed: &[u8; SECRET_LEN],
    ) -> Result<(Self, EncapsulationKey), ChannelError> {
        let secret = Box::new(DecapsulationKeyRejectNonContrib::from(*seed));
        let public = secret.encapsulation_key().to_bytes();
        let public = boxed(public.as_slice())?;
        Ok((Self(secret), EncapsulationKey(public)))
    }

    pub(super) fn decapsulate(
        &self,
        ciphertext: &Ciphertext,
    ) -> Result<Zeroizing<[u8; SECRET_LEN]>, ChannelError> {
        let ciphertext = x_wing::Ciphertext::try_from(ciphertext.0.as_slice());
        let ciphertext = ciphertext.map_err(|_| ChannelError::Ciphertext)?;
        let mut shared = self
            .0
            .try_decapsulate(&ciphertext)
            .map_err(|_| ChannelError::Ciphertext)?;
        let secret = Zeroizing::new(shared.0);
        zeroize::Zeroize::zeroize(&mut shared.0);
        Ok(secret)
    }
}

impl fmt::Debug for DecapsulationSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecapsulationSecret([redacted])")
    }
}

/// `HKDF-SHA256(salt = handshake hash ‖ SHA-256(grant), ikm = kem ‖ share, info)` (RFC 5869).
pub(super) fn derive(
    hash: &[u8; HASH_LEN],
    grant: &[u8],
    kem: &[u8; SECRET_LEN],
    share: &Share,
) -> Result<PresharedKey, ChannelError> {
    wiping(|| {
        let mut salt = [0; HASH_LEN + 32];
        salt[..HASH_LEN].copy_from_slice(hash);
        salt[HASH_LEN..].copy_from_slice(&Sha256::digest(grant));
        let mut secret = Zeroizing::new([0; 2 * SECRET_LEN]);
        secret[..SECRET_LEN].copy_from_slice(kem);
        secret[SECRET_LEN..].copy_from_slice(&*share.0);
        let hkdf = Hkdf::<Sha256>::new(Some(&salt), &*secret);
        PresharedKey::written(|psk| hkdf.expand(INFO, psk)).map_err(|_| ChannelError::Crypto)
    })
}

pub(super) fn boxed<const N: usize>(bytes: &[u8]) -> Result<Box<[u8; N]>, ChannelError> {
    Box::<[u8]>::from(bytes)
        .try_into()
        .map_err(|_| ChannelError::Crypto)
}
