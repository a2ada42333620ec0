//! What a user, or a device in a user's place, is asked for.

use serde::{Deserialize, Serialize};

use super::answer::SecretString;
use super::bytes::Nonce;
use crate::assurance::FactorKind;
use crate::id::{FactorId, Label};
use crate::time::Timestamp;

/// A factor that may be used now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// The factor.
    pub factor: FactorId,
    /// Its kind.
    #[serde(deserialize_with = "super::wire::kind")]
    pub kind: FactorKind,
    /// The label that the user gave it: "phone".
    pub label: Label,
    /// Whether the factor has a wait now: answers are refused until then, in milliseconds.
    #[serde(deserialize_with = "Option::deserialize")]
    pub locked_for_ms: Option<u64>,
}

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Challenge {
    /// A code that the user's device shows.
    Code {
        /// How many digits the code has.
        digits: u8,
    },
    /// A code that was sent out of band.
    SentCode {
        /// How many digits the code has.
        digits: u8,
        /// Where it went, in part: `a…@example.com`.
        sent_to: String,
        /// How long the code is good, in milliseconds.
        good_for_ms: u64,
        /// How long until another one can be asked for, in milliseconds.
        resend_in_ms: u64,
    },
    /// One of the user's recovery codes.
    RecoveryCode {
        /// How many are left.
        left: u32,
    },
    /// A password or PIN.
    Password {},
    /// A signature by a device key, over what [`signed_message`](crate::channel::binding) says.
    Signature {
        /// Which key: the first 16 bytes of the SHA-256 of its public key, as hexadecimal.
        key_id: String,
        /// What makes the signature good once.
        nonce: Nonce,
        /// When it is too late, by the gate's wall clock.
        expires_at: Timestamp,
    },
    /// A WebAuthn assertion.
    WebAuthn {
        /// The options for `navigator.credentials.get`, as JSON: the member `publicKey` and what
        /// is beside it.
        options: String,
    },
    /// A login at an OpenID provider, in one of the ways that are not `None`.
    OpenId {
        /// The provider.
        issuer: String,
        /// The address to open in a browser, but for its `redirect_uri`, which the client adds.
        #[serde(deserialize_with = "Option::deserialize")]
        authorize: Option<String>,
        /// Where the provider may send the browser then.
        redirects: Vec<Redirect>,
        /// Whether the provider has the device authorisation grant (RFC 8628).
        device: bool,
        /// What a workload's ID token must say.
        #[serde(deserialize_with = "Option::deserialize")]
        workload: Option<Workload>,
    },
    /// A login on another device (RFC 8628, section 3.3): show this, and poll.
    DeviceGrant {
        /// The address to open on the other device.
        verification_uri: String,
        /// The same with the code in it.
        #[serde(deserialize_with = "Option::deserialize")]
        verification_uri_complete: Option<String>,
        /// The code to type there.
        user_code: String,
        /// How long to wait before each [`Answer::Poll`](super::Answer::Poll), in milliseconds.
        interval_ms: u64,
    },
    /// Enrolling: a one-time-password secret for the user's app; answered by a first right code.
    RegisterTotp {
        /// The `otpauth://` URI.
        uri: SecretString,
        /// How many digits a code has.
        digits: u8,
    },
    /// Enrolling: a new device key, proven by a signature.
    RegisterKey {
        /// What makes the signature good once.
        nonce: Nonce,
        /// When it is too late, by the gate's wall clock.
        expires_at: Timestamp,
        /// The least protection that the key must have.
        protection: Protection,
    },
    /// Enrolling: a new passkey or security key.
    RegisterWebAuthn {
        /// The options for `navigator.credentials.create`, as JSON.
        options: String,
    },
    /// Enrolling: a new password or PIN.
    ChoosePassword {
        /// The least number of characters.
        shortest: u32,
    },
    /// Enrolling: recovery codes, shown this once; answered by one of them, which stays good.
    KeepRecoveryCodes {
        /// The codes.
        codes: Vec<SecretString>,
    },
    /// Enrolling: an address for codes; answered by the address.
    Address {},
}

/// Where an OpenID provider may send the browser after a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Redirect {
    /// A listener of the client's on a loopback address, at any port (RFC 8252, section 7.3).
    Loopback {
        /// The path.
        path: String,
    },
    /// This very address, such as an app's own scheme (RFC 8252, section 7.1).
    Exact {
        /// The address.
        uri: String,
    },
}

/// What a workload's ID token must say to be good in this attempt only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Its audience, which names this attempt.
    pub audience: String,
    /// Its nonce, where the issuer can be asked for one.
    pub nonce: String,
}

/// How a device key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// In a file or in memory.
    Software,
    /// In hardware that does not give it away.
    Hardware,
    /// In hardware that verifies its user, by a biometric or a PIN, before each use.
    HardwareUserVerified,
}
