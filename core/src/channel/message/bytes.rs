//! Byte strings of one length each, as Base64 in the text.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::channel::{kem, text};

macro_rules! bytes {
    ($(#[$doc:meta])* $name:ident, $len:expr, $fits:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(pub(crate) Box<[u8; $len]>);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({} bytes)"), self.0.len())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                // One of these types is secret: its text is zeroized too.
                let text = zeroize::Zeroizing::new(data_encoding::BASE64.encode(&*self.0));
                serializer.serialize_str(&text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes = text::deserialize(deserializer, "bytes as Base64", text::bytes)?;
                if $fits(&bytes) {
                    Ok(Self(bytes))
                } else {
                    Err(serde::de::Error::custom("not a valid key"))
                }
            }
        }
    };
}

bytes! {
    /// An X-Wing encapsulation key: 1216 bytes, public. One that is read is refused if a
    /// coefficient of it is out of range (FIPS 203, section 7.2).
    EncapsulationKey, kem::KEY_LEN, kem::is_reduced
}
bytes! {
    /// An X-Wing ciphertext: 1120 bytes, public.
    Ciphertext, 1120, any
}
bytes! {
    /// A random share of a preshared key: 32 bytes, secret.
    Share, 32, any
}
bytes! {
    /// A number used once: 32 random bytes (NIST SP 800-63B-4, section 3.1.6.2, asks for 8). Not
    /// secret.
    Nonce, 32, any
}

const fn any<const N: usize>(_: &[u8; N]) -> bool {
    true
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Nonce {
    /// A fresh one from the operating system's generator.
    ///
    /// # Errors
    /// [`getrandom::Error`] when the system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut nonce = Self(Box::new([0; 32]));
        getrandom::fill(&mut *nonce.0)?;
        Ok(nonce)
    }

    /// One from its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Box::new(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
