//! X25519 and ChaCha20-Poly1305 for `snow` from AWS-LC, several times faster than the default's;
//! what it lacks comes from `snow`'s own.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{BoxedCryptoResolver, CryptoResolver, DefaultResolver, FallbackResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::Zeroize;

const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;

/// AWS-LC first, `snow`'s own for the rest.
pub(super) fn resolver() -> BoxedCryptoResolver {
    Box::new(FallbackResolver::new(
        Box::new(AwsLc),
        Box::new(DefaultResolver),
    ))
}

struct AwsLc;

impl CryptoResolver for AwsLc {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        None
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::<X25519Dh>::default() as _)
    }

    fn resolve_hash(&self, _: &HashChoice) -> Option<Box<dyn Hash>> {
        None
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::<ChaChaPoly>::default() as _)
    }
}

/// A key pair. An unusable one has no key and agrees on nothing.
#[derive(Default)]
struct X25519Dh {
    secret: [u8; KEY_LEN],
    public: [u8; KEY_LEN],
    key: Option<PrivateKey>,
}

impl X25519Dh {
    fn derive(&mut self) {
        let key = PrivateKey::from_private_key(&X25519, &self.secret).ok();
        let public = key.as_ref().and_then(|key| key.compute_public_key().ok());
        let public = public.and_then(|public| <[u8; KEY_LEN]>::try_from(public.as_ref()).ok());
        self.key = key.filter(|_| public.is_some());
        self.public = public.unwrap_or_default();
    }
}

impl Drop for X25519Dh {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Dh for X25519Dh {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_LEN
    }

    fn priv_len(&self) -> usize {
        KEY_LEN
    }

    fn set(&mut self, secret: &[u8]) {
        self.secret.copy_from_slice(secret);
        self.derive();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        rng.try_fill_bytes(&mut self.secret)?;
        self.derive();
        if self.key.is_some() {
            Ok(())
        } else {
            Err(Error::Dh)
        }
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.secret
    }

    /// Fails for an all-zero result (RFC 7748, section 6.1).
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let key = self.key.as_ref().ok_or(Error::Dh)?;
        let public = UnparsedPublicKey::new(&X25519, public.get(..KEY_LEN).ok_or(Error::Dh)?);
        let out = out.get_mut(..KEY_LEN).ok_or(Error::Dh)?;
        agree(key, public, Error::Dh, |shared| {
            if verify_slices_are_equal(shared, &[0; KEY_LEN]).is_ok() {
                return Err(Error::Dh);
            }
            out.copy_from_slice(shared);
            Ok(())
        })
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

    fn set(&mut self, key: &[u8; KEY_LEN]) {
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
            // The trait can't fail: what leaves is zeros, which nobody opens.
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
