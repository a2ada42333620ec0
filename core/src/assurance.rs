//! What a passed factor proves.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The kind of a factor, by its stable name. Open, so that an embedder can bring a verifier of a
/// kind of their own; a kind without a registered verifier admits no one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FactorKind(Cow<'static, str>);

impl FactorKind {
    /// Time-based one-time passwords (RFC 6238).
    pub const TOTP: Self = Self::new("totp");
    /// A key that a device holds, unlocked by a biometric or a PIN where its hardware can.
    pub const DEVICE_KEY: Self = Self::new("device-key");
    /// Passkeys and security keys (WebAuthn).
    pub const WEBAUTHN: Self = Self::new("webauthn");
    /// An identity at an OpenID provider.
    pub const OIDC: Self = Self::new("oidc");
    /// A code sent by e-mail or the like.
    pub const EMAIL_CODE: Self = Self::new("email-code");
    /// Recovery codes, for those who lost everything else.
    pub const RECOVERY_CODES: Self = Self::new("recovery-codes");
    /// A password or PIN that the gate knows.
    pub const PASSWORD: Self = Self::new("password");

    /// Every kind that this crate has a name for, once.
    pub const ALL: [Self; 7] = [
        Self::TOTP,
        Self::DEVICE_KEY,
        Self::WEBAUTHN,
        Self::OIDC,
        Self::EMAIL_CODE,
        Self::RECOVERY_CODES,
        Self::PASSWORD,
    ];

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

/// What one passed factor proves, in the terms of NIST SP 800-63B-4. [`Assurance::least`] claims
/// nothing; a verifier adds what its factor proves.
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
    /// The proof is worth nothing to another verifier than the one that asked (section 3.2.5).
    #[serde(default)]
    pub verifier_bound: bool,
    /// The key can't be taken out of its hardware (section 2.3.2).
    #[serde(default)]
    pub hardware: bool,
    /// When the user authenticated.
    pub authenticated_at: Timestamp,
}

impl Assurance {
    /// A factor of this kind was passed at that time, and nothing more is claimed.
    pub const fn least(kind: FactorKind, authenticated_at: Timestamp) -> Self {
        Self {
            kind,
            phishing_resistant: false,
            user_verified: false,
            replay_resistant: false,
            verifier_bound: false,
            hardware: false,
            authenticated_at,
        }
    }
}
