//! X-Wing (draft-connolly-cfrg-xwing-kem-06) to a client's key, the gate's half: by AWS-LC with the
//! feature `aws-lc`, else by the crate `x-wing`, which is the client's half everywhere.
//!
//! A client refuses a ciphertext whose X25519 half is of low order. A gate need not look for such
//! a half in an encapsulation key: the key comes authenticated from the client, who would weaken
//! only its own preshared key, and ML-KEM's half and the share go into that all the same. AWS-LC
//! refuses it, `x-wing` does not.

use zeroize::Zeroizing;

use super::ChannelError;
use super::message::{Ciphertext, EncapsulationKey};
use super::psk::SECRET_LEN;

type Encapsulated = Result<(Ciphertext, Zeroizing<[u8; SECRET_LEN]>), ChannelError>;

/// Encapsulates to a client's key.
pub(super) fn encapsulate(key: &EncapsulationKey) -> Encapsulated {
    #[cfg(feature = "aws-lc")]
    return aws_lc::encapsulate(key);
    #[cfg(not(feature = "aws-lc"))]
    return portable::encapsulate(key);
}

#[cfg(feature = "aws-lc")]
mod aws_lc {
    use aws_lc_rs::digest::{SHA3_256, digest};
    use aws_lc_rs::kem::{EncapsulationKey as MlKemKey, ML_KEM_768};
    use zeroize::Zeroizing;

    use super::super::psk::boxed;
    use super::super::resolver::Provider;
    use super::super::resolver::aws_lc::AwsLc;
    use super::{ChannelError, Ciphertext, Encapsulated, EncapsulationKey, SECRET_LEN};

    const X25519_LEN: usize = 32;
    const LABEL: &[u8; 6] = br"\.//^\";

    pub(super) fn encapsulate(key: &EncapsulationKey) -> Encapsulated {
        let crypto = ChannelError::Crypto;
        let (ml_kem, x25519) = key.0.split_last_chunk::<X25519_LEN>().ok_or(crypto)?;

        let ml_kem = MlKemKey::new(&ML_KEM_768, ml_kem).map_err(|_| crypto)?;
        let (ml_kem, ml_kem_secret) = ml_kem.encapsulate().map_err(|_| crypto)?;

        let mut private = Zeroizing::new([0; X25519_LEN]);
        getrandom::fill(&mut *private).map_err(|_| crypto)?;
        let ephemeral = AwsLc::new(&private).ok_or(crypto)?;
        let public = ephemeral.public().ok_or(crypto)?;
        let x25519_secret = ephemeral.agree(x25519).ok_or(crypto)?;

        // Section 5.3, the combiner. Its room is made at once, so that no copy is left behind.
        let mut text = Zeroizing::new(Vec::with_capacity(4 * 32 + LABEL.len()));
        text.extend_from_slice(ml_kem_secret.as_ref());
        text.extend_from_slice(&*x25519_secret);
        text.extend_from_slice(&public);
        text.extend_from_slice(x25519);
        text.extend_from_slice(LABEL);
        let digest = digest(&SHA3_256, &text);
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        secret.copy_from_slice(digest.as_ref());

        let ciphertext = boxed(&[ml_kem.as_ref(), &public].concat())?;
        Ok((Ciphertext(ciphertext), secret))
    }
}

#[cfg(any(test, not(feature = "aws-lc")))]
pub(super) mod portable {
    use x_wing::EncapsulationKey as XWingKey;
    use x_wing::kem::Encapsulate;
    use x_wing::kem::common::rand_core::{TryCryptoRng, TryRng};
    use zeroize::{Zeroize, Zeroizing};

    use super::super::psk::boxed;
    use super::{ChannelError, Ciphertext, Encapsulated, EncapsulationKey};

    pub(in super::super) fn encapsulate(key: &EncapsulationKey) -> Encapsulated {
        let mut randomness = Zeroizing::new([0; 64]);
        getrandom::fill(&mut *randomness).map_err(|_| ChannelError::Crypto)?;
        encapsulate_with(key, &randomness)
    }

    /// Encapsulates with this randomness.
    pub(in super::super) fn encapsulate_with(
        key: &EncapsulationKey,
        randomness: &[u8; 64],
    ) -> Encapsulated {
        let key = XWingKey::try_from(key.0.as_slice()).map_err(|_| ChannelError::Crypto)?;
        let (ciphertext, mut shared) = key.encapsulate_with_rng(&mut Once(randomness));
        let secret = Zeroizing::new(shared.0);
        shared.0.zeroize();
        Ok((Ciphertext(boxed(ciphertext.as_slice())?), secret))
    }

    /// A generator that gives exactly the bytes it was made of: the operating system's, drawn
    /// where a failure can still be reported, or a test's.
    struct Once<'a>(&'a [u8]);

    impl TryRng for Once<'_> {
        type Error = std::convert::Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            let mut bytes = [0; 4];
            self.try_fill_bytes(&mut bytes)
                .map(|()| u32::from_le_bytes(bytes))
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            let mut bytes = [0; 8];
            self.try_fill_bytes(&mut bytes)
                .map(|()| u64::from_le_bytes(bytes))
        }

        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            let (taken, rest) = self.0.split_at(out.len());
            out.copy_from_slice(taken);
            self.0 = rest;
            Ok(())
        }
    }

    impl TryCryptoRng for Once<'_> {}
}

#[cfg(test)]
mod tests {
    use super::super::psk::DecapsulationSecret;
    use super::*;

    #[test]
    fn both_implementations_agree_with_the_client() {
        let (secret, key) = DecapsulationSecret::generate().unwrap();
        for encapsulate in [encapsulate, portable::encapsulate] {
            let (ciphertext, shared) = encapsulate(&key).unwrap();
            let (other, another) = encapsulate(&key).unwrap();
            assert!(*secret.decapsulate(&ciphertext).unwrap() == *shared);
            assert!(*shared != *another);
            assert!(ciphertext != other);
        }
    }

    #[test]
    fn a_key_with_a_coefficient_out_of_range_is_refused_by_both() {
        let (_, key) = DecapsulationSecret::generate().unwrap();
        let mut bad = key;
        bad.0[..3].fill(0xff);
        for encapsulate in [encapsulate, portable::encapsulate] {
            assert_eq!(encapsulate(&bad).map(drop), Err(ChannelError::Crypto));
        }
    }
}
