//! X-Wing (draft-connolly-cfrg-xwing-kem-06) to a client's key, the gate's half: by AWS-LC with the
//! feature `aws-lc`, else by the crate `x-wing`, which is the client's half everywhere.
//!
//! A client refuses a ciphertext whose X25519 half is of low order. A gate does not look for such
//! a half in an encapsulation key: the key comes authenticated from the client, who would weaken
//! only its own preshared key, and ML-KEM's half and the share go into that too. AWS-LC refuses it
//! and `x-wing` does not, which then takes AWS-LC's place: a grant must not depend on a feature.

use zeroize::Zeroizing;

use super::ChannelError;
use super::message::{Ciphertext, EncapsulationKey};
use super::psk::SECRET_LEN;

/// The length of an encapsulation key, and of the coefficients that it begins with: three
/// polynomials of 256 coefficients of 12 bits.
pub(super) const KEY_LEN: usize = 1216;
const COEFFICIENTS_LEN: usize = 3 * 256 * 12 / 8;

type Encapsulated = Result<(Ciphertext, Zeroizing<[u8; SECRET_LEN]>), ChannelError>;

/// Encapsulates to a client's key.
pub(super) fn encapsulate(key: &EncapsulationKey) -> Encapsulated {
    #[cfg(feature = "aws-lc")]
    return aws_lc::encapsulate(key).or_else(|_| portable::encapsulate(key));
    #[cfg(not(feature = "aws-lc"))]
    return portable::encapsulate(key);
}

/// Whether each coefficient of a key's ML-KEM half is below the modulus (FIPS 203, section 7.2):
/// looked at when the key comes, so that no factor is used up for a grant that can't be made.
pub(super) fn is_reduced(key: &[u8; KEY_LEN]) -> bool {
    const MODULUS: u16 = 3329;
    let (coefficients, _) = key.split_at(COEFFICIENTS_LEN);
    coefficients.chunks_exact(3).all(|three| {
        let &[low, middle, high] = three else {
            return false;
        };
        let (low, middle, high) = (u16::from(low), u16::from(middle), u16::from(high));
        (low | (middle & 0xf) << 8) < MODULUS && (middle >> 4 | high << 4) < MODULUS
    })
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
        let key = XWingKey::try_from(key.0.as_slice());
        let key = key.map_err(|_| ChannelError::EncapsulationKey)?;
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
            let refused = encapsulate(&bad).map(drop);
            assert_eq!(refused, Err(ChannelError::EncapsulationKey));
        }
    }

    #[test]
    fn each_coefficient_of_a_key_is_looked_at() {
        let (_, key) = DecapsulationSecret::generate().unwrap();
        assert!(is_reduced(&key.0));
        for place in 0..COEFFICIENTS_LEN / 3 {
            // 3328, the greatest there is, and 3329, in either half of the three bytes.
            for (three, fits) in [
                ([0x00, 0x0d, 0xd0], true),
                ([0x01, 0x0d, 0x00], false),
                ([0x00, 0x10, 0xd0], false),
            ] {
                let mut key = key.clone();
                key.0[3 * place..][..3].copy_from_slice(&three);
                assert_eq!(is_reduced(&key.0), fits, "{place} {three:?}");
            }
        }
    }

    #[test]
    fn a_key_of_low_order_is_encapsulated_to_alike_by_both() {
        let (_, mut key) = DecapsulationSecret::generate().unwrap();
        key.0[1184..].fill(0);
        for encapsulate in [encapsulate, portable::encapsulate] {
            assert!(encapsulate(&key).is_ok());
        }
    }
}
