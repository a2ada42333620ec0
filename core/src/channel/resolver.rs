//! Which implementations the Noise handshake runs on, and how its private keys are held: zeroized
//! on drop, the public key of a static one computed once instead of once per handshake, and an
//! all-zero result refused (RFC 7748, section 6.1). What a provider lacks is `snow`'s own.

use std::sync::Arc;

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::ChannelError;
use crate::key::PrivateKey;

#[cfg(feature = "aws-lc")]
pub(super) mod aws_lc;
#[cfg(any(test, not(feature = "aws-lc")))]
pub(super) mod portable;

#[cfg(feature = "aws-lc")]
pub(super) type Preferred = aws_lc::AwsLc;
#[cfg(not(feature = "aws-lc"))]
pub(super) type Preferred = portable::Portable;

/// An implementation of X25519 (RFC 7748) with one private key in it, and a cipher to go with it.
pub(super) trait Provider: Sized + Send + Sync + 'static {
    /// Takes a private key, clamped when it is used; `None` when the library fails.
    fn new(private: &[u8; 32]) -> Option<Self>;
    /// Its public key; `None` when the library fails.
    fn public(&self) -> Option<[u8; 32]>;
    /// The shared secret; `None` when it is all zero, as it is for points of low order.
    fn agree(&self, public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>>;
    /// Its ChaCha20-Poly1305, where that is faster than `snow`'s.
    fn cipher() -> Option<Box<dyn Cipher>>;
}

/// A static key with its public key computed. Cheap to clone.
pub(super) struct Identity<P: Provider = Preferred>(Arc<KeyPair<P>>);

impl<P: Provider> Identity<P> {
    pub(super) fn new(key: &PrivateKey) -> Result<Self, ChannelError> {
        KeyPair::new(key.expose_secret())
            .map(|pair| Self(Arc::new(pair)))
            .ok_or(ChannelError::Crypto)
    }

    pub(super) fn expose_secret(&self) -> &[u8; 32] {
        &self.0.private
    }
}

impl<P: Provider> Clone for Identity<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The resolver of one handshake, which knows the static key that it will be asked for.
pub(super) struct Resolver<P: Provider = Preferred> {
    identity: Identity<P>,
}

impl<P: Provider> Resolver<P> {
    pub(super) fn new(identity: &Identity<P>) -> Self {
        let identity = identity.clone();
        Self { identity }
    }
}

impl<P: Provider> CryptoResolver for Resolver<P> {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        DefaultResolver.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(NoiseDh {
                identity: self.identity.clone(),
                pair: None,
            })),
            DHChoice::Curve448 => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => {
                P::cipher().or_else(|| DefaultResolver.resolve_cipher(choice))
            }
            CipherChoice::AESGCM => None,
        }
    }
}

struct KeyPair<P> {
    secret: P,
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl<P: Provider> KeyPair<P> {
    fn new(private: &[u8; 32]) -> Option<Self> {
        let secret = P::new(private)?;
        let public = secret.public()?;
        Some(Self {
            secret,
            private: Zeroizing::new(*private),
            public,
        })
    }
}

/// X25519 as `snow` asks for it. Without a key, because none was set or the library failed, every
/// agreement fails.
struct NoiseDh<P: Provider> {
    identity: Identity<P>,
    pair: Option<Arc<KeyPair<P>>>,
}

impl<P: Provider> Dh for NoiseDh<P> {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, private: &[u8]) {
        let known = private.ct_eq(self.identity.expose_secret().as_slice());
        self.pair = if bool::from(known) {
            Some(Arc::clone(&self.identity.0))
        } else {
            <&[u8; 32]>::try_from(private)
                .ok()
                .and_then(KeyPair::new)
                .map(Arc::new)
        };
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        let mut private = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *private)?;
        let pair = KeyPair::new(&private).ok_or(snow::Error::Dh)?;
        self.pair = Some(Arc::new(pair));
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.pair.as_ref().map_or(&[0; 32], |pair| &pair.public)
    }

    fn privkey(&self) -> &[u8] {
        self.pair.as_ref().map_or(&[0; 32], |pair| &*pair.private)
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let pair = self.pair.as_ref().ok_or(snow::Error::Dh)?;
        let public = public.first_chunk().ok_or(snow::Error::Dh)?;
        let shared = pair.secret.agree(public).ok_or(snow::Error::Dh)?;
        let out = out.first_chunk_mut().ok_or(snow::Error::Dh)?;
        *out = *shared;
        Ok(())
    }
}
