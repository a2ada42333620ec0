//! X25519 by AWS-LC: assembly, several times as fast on servers. It wipes its keys when it frees
//! them, and refuses an all-zero result by itself.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519 as ALGORITHM, agree};
use zeroize::Zeroizing;

use super::X25519;

/// A private key inside AWS-LC.
pub(crate) struct AwsLc(PrivateKey);

impl X25519 for AwsLc {
    fn new(private: &[u8; 32]) -> Option<Self> {
        PrivateKey::from_private_key(&ALGORITHM, private).ok().map(Self)
    }

    fn public(&self) -> Option<[u8; 32]> {
        let public = self.0.compute_public_key().ok()?;
        public.as_ref().try_into().ok()
    }

    fn agree(&self, public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let public = UnparsedPublicKey::new(&ALGORITHM, public);
        agree(&self.0, public, (), |shared| {
            shared.try_into().map(Zeroizing::new).map_err(|_| ())
        })
        .ok()
    }
}
