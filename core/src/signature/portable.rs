//! ES256 by `p256`: everywhere, in Rust alone.

use p256::ecdsa::VerifyingKey;
use p256::ecdsa::signature::Verifier;

use super::Signature;

pub(super) fn verify_es256(key: &VerifyingKey, message: &[u8], signature: &Signature) -> bool {
    p256::ecdsa::Signature::from_slice(signature.as_bytes())
        .is_ok_and(|signature| key.verify(message, &signature).is_ok())
}
