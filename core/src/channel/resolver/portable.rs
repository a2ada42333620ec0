//! X25519 by `x25519-dalek`: everywhere, in Rust alone. The cipher is `snow`'s own.

use snow::types::Cipher;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::Provider;

/// A private key, zeroized on drop by its own type.
pub(crate) struct Portable(StaticSecret);

impl Provider for Portable {
    fn new(private: &[u8; 32]) -> Option<Self> {
        Some(Self(StaticSecret::from(*private)))
    }

    fn public(&self) -> Option<[u8; 32]> {
        Some(PublicKey::from(&self.0).to_bytes())
    }

    fn agree(&self, public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let shared = self.0.diffie_hellman(&PublicKey::from(*public));
        shared
            .was_contributory()
            .then(|| Zeroizing::new(*shared.as_bytes()))
    }

    fn cipher() -> Option<Box<dyn Cipher>> {
        None
    }
}
