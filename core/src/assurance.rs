//! What a passed factor proves.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The kind of a factor, by its stable name. Open, so that an embedder can bring a verifier of a
/// kind of their own; a kind without a registered verifier admits nobody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FactorKind(Cow<'static, str>);

impl FactorKind {
    /// Time-based one-time passwords (RFC 6238).
    pub const TOTP: Self = Self::new("totp");

    /// A kind by its name.
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// A kind by a name read from outside.
    pub const fn from_string(name: String) -> Self {
        Self(Cow::Owned(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FactorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one passed factor proves, in the terms of NIST SP 800-63B-4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assurance {
    /// Which kind of factor was passed.
    pub kind: FactorKind,
    /// The proof can't be relayed from a look-alike site (section 3.2.5).
    pub phishing_resistant: bool,
    /// The authenticator verified its user, by a biometric or a PIN (section 3.2.3).
    pub user_verified: bool,
    /// The proof is worth nothing a second time (section 3.2.7).
    pub replay_resistant: bool,
    /// When the user authenticated.
    pub authenticated_at: Timestamp,
}
