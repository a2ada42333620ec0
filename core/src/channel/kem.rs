//! X-Wing (X25519 + ML-KEM-768), for what the preshared key takes from it: a fresh key pair per
//! attempt, one encapsulation per grant.
//!
//! A ciphertext whose X25519 part has low order is refused by the client. The gate does not look
//! for such encapsulation keys: they come authenticated from the client, who can only weaken a
//! key of its own, and ML-KEM and the share still go into it.

use std::fmt;

use x_wing::{
    DecapsulationKeyRejectNonContrib, Decapsulator, EncapsulationKey as XWingKey, KeyExport,
    TryDecapsulate,
};
use zeroize::{Zeroize, Zeroizing};

use super::error::ChannelError;
use super::message::{Ciphertext, EncapsulationKey};

/// The client's half of one key encapsulation: made for one attempt, used for one grant. Wiped on
/// drop, never printed.
pub struct DecapsulationSecret(Box<DecapsulationKeyRejectNonContrib>);

impl DecapsulationSecret {
    /// A fresh secret, and the encapsulation key for the [`Hello`](super::message::Hello).
    ///
    /// # Errors
    /// [`ChannelError::Cryptography`] when the system has no randomness to give.
    pub fn generate() -> Result<(Self, EncapsulationKey), ChannelError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|_| ChannelError::Cryptography)?;
        Ok(Self::from_seed(&seed))
    }

    pub(super) fn from_seed(seed: &[u8; 32]) -> (Self, EncapsulationKey) {
        let secret = Box::new(DecapsulationKeyRejectNonContrib::from(*seed));
        let key = EncapsulationKey(Box::new(secret.encapsulation_key().to_bytes().0));
        (Self(secret), key)
    }

    /// The shared secret in a ciphertext.
    pub(super) fn decapsulate(
        self,
        ciphertext: &Ciphertext,
    ) -> Result<Zeroizing<[u8; 32]>, ChannelError> {
        let mut shared = self
            .0
            .try_decapsulate(&x_wing::Ciphertext::from(*ciphertext.0))
            .map_err(|_| ChannelError::InvalidEncapsulation)?;
        let secret = Zeroizing::new(shared.0);
        shared.zeroize();
        Ok(secret)
    }
}

impl fmt::Debug for DecapsulationSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecapsulationSecret([redacted])")
    }
}

/// Encapsulates to a client's key: the ciphertext for it, and the shared secret.
pub(super) fn encapsulate(
    key: &EncapsulationKey,
    randomness: &[u8; 64],
) -> Result<(Ciphertext, Zeroizing<[u8; 32]>), ChannelError> {
    let key =
        XWingKey::try_from(key.0.as_slice()).map_err(|_| ChannelError::InvalidEncapsulation)?;
    let mut randomness = (*randomness).into();
    let (ciphertext, mut shared) = key.encapsulate_deterministic(&randomness);
    randomness.zeroize();
    let secret = Zeroizing::new(shared.0);
    shared.zeroize();
    Ok((Ciphertext(Box::new(ciphertext.0)), secret))
}
