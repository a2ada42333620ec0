//! A code that was sent, as the attempt remembers it: a keyed hash of it, and until when it is
//! good.
//!
//! ```text
//! tag   = HKDF-Expand-SHA256(the verifier's key,
//!           "mfagate/1 email code" ‖ 0x00 ‖ location's public key (32) ‖ peer's public key (32)
//!           ‖ attempt (32) ‖ expiry (8) ‖ code (8 digits) ‖ address)
//! state = version (1 byte) ‖ expiry in milliseconds since the epoch (8) ‖ tag (32) ‖ address, where
//!         it is being enrolled
//! ```
//!
//! Eight digits have no secret in them that a hash could keep: what keeps it is the key, which is
//! this process's alone, as the attempt is.

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::EmailAddress;
use crate::channel::binding::Binding;
use crate::channel::message::Code;
use crate::seal::SecretBytes;
use crate::time::Timestamp;

/// How many digits a code has: 26 bits; NIST SP 800-63B-4, section 3.1.3.2, asks for 20.
pub(super) const DIGITS: u8 = 8;
const CODES: u32 = 100_000_000;
/// The largest multiple of [`CODES`] that 32 bits hold: from here on a draw favours low codes.
const FAIR: u32 = u32::MAX - u32::MAX % CODES;

const LABEL: &[u8] = b"mfagate/1 email code\0";
const VERSION: u8 = 1;

/// What the hashes of one verifier's codes are made with.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn generate() -> Result<Self, getrandom::Error> {
        let mut key = Self([0; 32]);
        getrandom::fill(&mut key.0)?;
        Ok(key)
    }
}

/// A fresh code.
pub(super) fn generate() -> Result<Code, getrandom::Error> {
    loop {
        let mut bytes = Zeroizing::new([0; 4]);
        getrandom::fill(&mut *bytes)?;
        let drawn = u32::from_be_bytes(*bytes);
        if drawn < FAIR {
            let digits = Zeroizing::new(format!("{:08}", drawn % CODES));
            if let Ok(code) = digits.parse() {
                return Ok(code);
            }
        }
    }
}

/// A code that was sent.
pub(super) struct Issued {
    expires: Timestamp,
    tag: [u8; 32],
}

impl Issued {
    pub(super) fn new(
        key: &Key,
        binding: &Binding<'_>,
        address: &EmailAddress,
        expires: Timestamp,
        code: &Code,
    ) -> Result<Self, Unreadable> {
        let tag = tag(key, binding, address, expires, code)?;
        Ok(Self { expires, tag })
    }

    /// Whether it is too late for the code.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        now >= self.expires
    }

    /// Whether this is the code, in the attempt and for the address that it was sent for. In
    /// constant time.
    pub(super) fn is_for(
        &self,
        key: &Key,
        binding: &Binding<'_>,
        address: &EmailAddress,
        code: &Code,
    ) -> Result<bool, Unreadable> {
        let tag = tag(key, binding, address, self.expires, code)?;
        Ok(tag.ct_eq(&self.tag).into())
    }

    /// What the attempt remembers; with the address, where no factor has it yet.
    pub(super) fn to_state(&self, address: Option<&EmailAddress>) -> SecretBytes {
        let address = address.map(EmailAddress::expose).unwrap_or_default();
        let mut bytes = Vec::with_capacity(41 + address.len()); // no copies left by growing
        bytes.push(VERSION);
        bytes.extend(self.expires.as_millis().to_be_bytes());
        bytes.extend(self.tag);
        bytes.extend(address.as_bytes());
        SecretBytes::new(bytes)
    }

    pub(super) fn from_state(
        state: &SecretBytes,
    ) -> Result<(Self, Option<EmailAddress>), Unreadable> {
        let [VERSION, rest @ ..] = state.expose_secret() else {
            return Err(Unreadable);
        };
        let (expires, rest) = rest.split_first_chunk().ok_or(Unreadable)?;
        let (tag, address) = rest.split_first_chunk().ok_or(Unreadable)?;
        let issued = Self {
            expires: Timestamp::from_millis(u64::from_be_bytes(*expires)),
            tag: *tag,
        };
        if address.is_empty() {
            return Ok((issued, None));
        }
        let address = EmailAddress::from_bytes(address).map_err(|_| Unreadable)?;
        Ok((issued, Some(address)))
    }
}

fn tag(
    key: &Key,
    binding: &Binding<'_>,
    address: &EmailAddress,
    expires: Timestamp,
    code: &Code,
) -> Result<[u8; 32], Unreadable> {
    let mut tag = [0; 32];
    let info = [
        LABEL,
        binding.location.as_bytes(),
        binding.peer.as_bytes(),
        binding.attempt.as_bytes(),
        &expires.as_millis().to_be_bytes(),
        code.expose_secret().as_bytes(),
        address.expose().as_bytes(), // last: the only one whose length varies
    ];
    Hkdf::<Sha256>::from_prk(&key.0)
        .map_err(|_| Unreadable)?
        .expand_multi_info(&info, &mut tag)
        .map_err(|_| Unreadable)?;
    Ok(tag)
}

/// What an attempt remembers of a code can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what was remembered of the code can't be read: ask for another")]
pub(super) struct Unreadable;
