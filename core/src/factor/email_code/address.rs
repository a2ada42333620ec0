//! Where codes go.

use std::fmt;
use std::str::FromStr;

use crate::seal::SecretBytes;

/// The longest address (RFC 5321, section 4.5.3.1.3, without the angle brackets), in bytes.
const LONGEST: usize = 254;

/// What a factor's secret begins with.
const VERSION: u8 = 1;

/// An e-mail address (RFC 5321, section 4.1.2). It prints itself in part: `a…@example.com`.
#[derive(Clone, PartialEq, Eq)]
pub struct EmailAddress(lettre::Address);

impl EmailAddress {
    /// The whole address. The caller is responsible for where it goes.
    pub fn expose(&self) -> &str {
        self.0.as_ref()
    }

    /// The first letter and the domain, to show to people who should know the rest.
    pub fn masked(&self) -> String {
        let first = self.0.user().chars().next().unwrap_or('…');
        format!("{first}…@{}", self.0.domain())
    }

    /// The address as bytes, to be sealed: for an administrator who vouches that it is the user's.
    pub fn to_secret(&self) -> SecretBytes {
        let address = self.expose().as_bytes();
        let mut bytes = Vec::with_capacity(1 + address.len()); // no copies left by growing
        bytes.push(VERSION);
        bytes.extend(address);
        SecretBytes::new(bytes)
    }

    /// Reads what [`EmailAddress::to_secret`] wrote.
    ///
    /// # Errors
    /// [`InvalidAddress`] for anything else.
    pub fn from_secret(secret: &SecretBytes) -> Result<Self, InvalidAddress> {
        let [VERSION, address @ ..] = secret.expose_secret() else {
            return Err(InvalidAddress);
        };
        Self::from_bytes(address)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidAddress> {
        str::from_utf8(bytes).map_err(|_| InvalidAddress)?.parse()
    }

    pub(super) const fn inner(&self) -> &lettre::Address {
        &self.0
    }
}

impl FromStr for EmailAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        // A quoted local part may hold spaces and more, and few mailboxes have one.
        let is_odd = |c: char| c.is_control() || c.is_whitespace() || "\"<>".contains(c);
        let text = text.trim();
        if text.len() > LONGEST || text.contains(is_odd) {
            return Err(InvalidAddress);
        }
        text.parse().map(Self).map_err(|_| InvalidAddress)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmailAddress({})", self.masked())
    }
}

/// A text that is no e-mail address. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an e-mail address: expected one such as alice@example.com")]
pub struct InvalidAddress;
