//! The names of things: each a type of its own, checked where it is parsed.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub(crate) mod label;

pub use label::{Label, ParseLabelError, is_printable};

crate::error_code::opaque! {
    /// A text that can't be a name, with the rule it breaks.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct ParseIdError(ParseIdFault);
}

/// What is behind [`ParseIdError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseIdFault {
    /// Names are 1 to 128 bytes of printable text, without spaces at either end.
    #[error("a name is 1 to 128 bytes of printable text without surrounding spaces")]
    Name,
    /// Identifiers are lower-case hexadecimal of a fixed length.
    #[error("expected {bytes} bytes as lower-case hexadecimal")]
    Hex {
        /// How many bytes the identifier has.
        bytes: usize,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 128 bytes of printable text without surrounding spaces.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let fits = (1..=128).contains(&text.len())
                    && text.trim() == text
                    && !text.chars().any(char::is_control);
                if fits { Ok(Self(text.into())) } else { Err(ParseIdError(ParseIdFault::Name)) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// A fresh one from the operating system's generator.
            ///
            /// # Errors
            /// [`getrandom::Error`] when the system has no randomness to give.
            pub fn generate() -> Result<Self, getrandom::Error> {
                let mut bytes = [0; $len];
                getrandom::fill(&mut bytes)?;
                Ok(Self(bytes))
            }

            /// One from its bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                HEXLOWER
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or(ParseIdError(ParseIdFault::Hex { bytes: $len }))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

name! {
    /// A person or a machine account, as the embedder names it.
    UserId
}
name! {
    /// One WireGuard network behind one interface key.
    LocationId
}

name! {
    /// A group of users, for the policy.
    GroupId
}

random_id! {
    /// An enrolled credential: random 128 bits.
    FactorId, 16
}
random_id! {
    /// An admission that the store knows of: random 128 bits.
    SessionId, 16
}
random_id! {
    /// A one-time enrolment token: random 128 bits, which are not the token's own.
    TokenId, 16
}
random_id! {
    /// The handle of one run of the MFA ceremony: random 256 bits, known to its client and its
    /// gate.
    AttemptId, 32
}

/// What makes a credential unlike all others of its kind, such as a WebAuthn credential id: 1 to
/// 1023 bytes (WebAuthn Level 3, section 7.1). Not secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId(Vec<u8>);

impl CredentialId {
    /// One from its bytes; `None` when there are none, or more than 1023.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (1..=1023).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialId({})", HEXLOWER.encode(&self.0))
    }
}

/// How often a peer has been admitted: each session of a (location, peer) has a greater one than
/// the session before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(u64);

impl Generation {
    /// A generation from its number. The first session of a peer has 1.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_where_they_are_parsed() {
        assert!("alice@example.org".parse::<UserId>().is_ok());
        let long = "x".repeat(129);
        for bad in ["", " alice", "alice\n", "a\0b", long.as_str()] {
            assert_eq!(
                bad.parse::<UserId>(),
                Err(ParseIdError(ParseIdFault::Name)),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn identifiers_read_back_as_they_were_written() {
        let id = SessionId::generate().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(
            "00".parse::<SessionId>(),
            Err(ParseIdError(ParseIdFault::Hex { bytes: 16 }))
        );
    }
}
