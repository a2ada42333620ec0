//! X25519 and ChaCha20-Poly1305 by AWS-LC: assembly, the fastest of those available on servers. It zeroizes
//! its keys when it frees them.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use snow::Error;
use snow::types::Cipher;
use zeroize::Zeroizing;

use super::Provider;

const TAG_LEN: usize = 16;

/// A private key inside AWS-LC.
pub(crate) struct AwsLc(PrivateKey);

impl Provider for AwsLc {
    fn new(private: &[u8; 32]) -> Option<Self> {
        PrivateKey::from_private_key(&X25519, private)
            .ok()
            .map(Self)
    }

    fn public(&self) -> Option<[u8; 32]> {
        let public = self.0.compute_public_key().ok()?;
        public.as_ref().try_into().ok()
    }

    fn agree(&self, public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let public = UnparsedPublicKey::new(&X25519, public);
        agree(&self.0, public, (), |shared| {
            // AWS-LC refuses an all-zero result by itself; that is not to rest on it alone.
            if verify_slices_are_equal(shared, &[0; 32]).is_ok() {
                return Err(());
            }
            shared.try_into().map(Zeroizing::new).map_err(|_| ())
        })
        .ok()
    }

    fn cipher() -> Option<Box<dyn Cipher>> {
        Some(Box::<ChaChaPoly>::default())
    }
}

/// A cipher; before a key is set it encrypts nothing and opens nothing.
#[derive(Default)]
struct ChaChaPoly {
    key: Option<LessSafeKey>,
}

impl ChaChaPoly {
    /// Noise's nonce: 32 zero bits, then the counter in little-endian (Noise, section 12.3).
    fn nonce(counter: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.key = UnboundKey::new(&CHACHA20_POLY1305, key)
            .ok()
            .map(LessSafeKey::new);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (body, rest) = out.split_at_mut(plaintext.len());
        body.copy_from_slice(plaintext);
        let sealed = self.key.as_ref().and_then(|key| {
            key.seal_in_place_separate_tag(Self::nonce(nonce), Aad::from(authtext), body)
                .ok()
        });
        match sealed {
            Some(tag) => rest[..TAG_LEN].copy_from_slice(tag.as_ref()),
            // The trait can't fail: what leaves is zeros, which no one opens.
            None => {
                body.fill(0);
                rest[..TAG_LEN].fill(0);
            }
        }
        plaintext.len() + TAG_LEN
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let key = self.key.as_ref().ok_or(Error::Decrypt)?;
        let len = ciphertext
            .len()
            .checked_sub(TAG_LEN)
            .ok_or(Error::Decrypt)?;
        let (body, tag) = ciphertext.split_at(len);
        let out = out.get_mut(..len).ok_or(Error::Decrypt)?;
        key.open_separate_gather(Self::nonce(nonce), Aad::from(authtext), body, tag, out)
            .map_err(|_| Error::Decrypt)?;
        Ok(len)
    }
}
