//! ES256 by AWS-LC: several times as fast as the portable one.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use p256::ecdsa::VerifyingKey;

use super::Signature;

pub(super) fn verify_es256(key: &VerifyingKey, message: &[u8], signature: &Signature) -> bool {
    let point = key.to_sec1_point(false);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.as_bytes())
        .verify(message, signature.as_bytes())
        .is_ok()
}
