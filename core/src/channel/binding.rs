//! What a device key signs: bytes that can mean only this attempt of this peer at this location.
//!
//! ```text
//! "mfagate/1 device key" ‖ 0x00 ‖ purpose (1 byte) ‖ location's public key (32) ‖ peer's public key (32)
//!   ‖ attempt (32) ‖ nonce (32) ‖ expiry in milliseconds since the epoch (8, most significant first)
//! ```

use super::message::Nonce;
use crate::id::AttemptId;
use crate::key::PublicKey;
use crate::time::Timestamp;

const LABEL: &[u8] = b"mfagate/1 device key\0";

/// The attempt that a proof is made for.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The location, by its WireGuard public key.
    pub location: &'a PublicKey,
    /// The peer, by its WireGuard public key.
    pub peer: &'a PublicKey,
    /// The run of the ceremony.
    pub attempt: &'a AttemptId,
}

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To sign in.
    SignIn,
    /// To enrol the key.
    Enrol,
}

impl Purpose {
    /// Its byte in the message.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::SignIn => 1,
            Self::Enrol => 2,
        }
    }
}

impl Binding<'_> {
    /// The message to sign.
    pub fn signed_message(
        &self,
        purpose: Purpose,
        nonce: &Nonce,
        expires_at: Timestamp,
    ) -> Vec<u8> {
        [
            LABEL,
            &[purpose.code()],
            self.location.as_bytes(),
            self.peer.as_bytes(),
            self.attempt.as_bytes(),
            nonce.as_bytes(),
            &expires_at.as_millis().to_be_bytes(),
        ]
        .concat()
    }

    /// The attempt's fingerprint, for proofs that carry a text of the verifier's choice: SHA-256
    /// over the message that a device key would sign, in Base64url without padding.
    pub fn fingerprint(&self, nonce: &Nonce, expires_at: Timestamp) -> String {
        use sha2::{Digest, Sha256};
        let message = self.signed_message(Purpose::SignIn, nonce, expires_at);
        data_encoding::BASE64URL_NOPAD.encode(&Sha256::digest(message))
    }
}
