//! What a user is asked.

use std::sync::Arc;

use mfagate::channel::message as core;
use mfagate::channel::message::SecretString;

use crate::secret::SecretBytes;

/// A question to the user.
#[derive(Debug, Clone, uniffi::Record)]
pub struct AuthChallenge {
    /// The factor that is asked for; none while one is being enrolled.
    pub factor: Option<Offer>,
    /// What to answer.
    pub challenge: Challenge,
    /// The factors that would do in its place.
    pub others: Vec<Offer>,
    /// Why the answer before was refused, and what is left.
    pub denied: Option<Denied>,
    /// How long there is to answer, in milliseconds.
    pub expires_in_ms: u64,
}

/// A factor that may be used now.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Offer {
    /// The factor.
    pub factor: String,
    /// Its kind, such as `totp`.
    pub kind: String,
    /// The label that the user gave it: "phone".
    pub label: String,
    /// For how long, in milliseconds, answers are refused from now on; none where they are not.
    pub locked_for_ms: Option<u64>,
}

/// What to answer.
#[derive(Debug, Clone, uniffi::Enum)]
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
        /// Where it went, in part.
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
    Password,
    /// A device key's signature, for which the app has brought no signer.
    Signature {
        /// Which key.
        key_id: String,
    },
    /// A passkey or a security key, for which the app has brought no provider.
    WebAuthn,
    /// A login at an OpenID provider.
    OpenId {
        /// The provider.
        issuer: String,
        /// Whether a login on another device is possible.
        device: bool,
        /// The audience that a workload's ID token must have; none where none will do.
        workload_audience: Option<String>,
        /// The nonce that it must have, where its issuer can be asked for one.
        workload_nonce: Option<String>,
    },
    /// A login on another device: show this, and answer with `Poll`.
    DeviceGrant {
        /// The address to open on the other device.
        verification_uri: String,
        /// The same with the code in it.
        verification_uri_complete: Option<String>,
        /// The code to type there.
        user_code: String,
        /// How long to wait before each `Poll`, in milliseconds.
        interval_ms: u64,
    },
    /// Enrolling: a secret for the user's authenticator app; answered by a first right code.
    RegisterTotp {
        /// The `otpauth://` URI, to show as a QR code.
        uri: Arc<SecretBytes>,
        /// How many digits a code has.
        digits: u8,
    },
    /// Enrolling: a device key, for which the app has brought no signer.
    RegisterKey {
        /// The least protection that the key must have.
        protection: Protection,
    },
    /// Enrolling: a passkey or a security key, for which the app has brought no provider.
    RegisterWebAuthn,
    /// Enrolling: a new password or PIN.
    ChoosePassword {
        /// The least number of characters.
        shortest: u32,
    },
    /// Enrolling: recovery codes, shown this once; answered by one of them, which stays good.
    KeepRecoveryCodes {
        /// The codes.
        codes: Vec<Arc<SecretBytes>>,
    },
    /// Enrolling: an address for codes; answered by the address.
    Address,
    /// Something that this version does not know: choose another factor, or give up.
    Unknown,
}

/// How a device key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Protection {
    /// In a file or in memory.
    Software,
    /// In hardware that does not give it away.
    Hardware,
    /// In hardware that verifies its user, by a biometric or a PIN, before each use.
    HardwareUserVerified,
}

/// Why an answer was refused, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct Denied {
    /// Why.
    pub reason: DeniedReason,
    /// How many more failures cost no wait.
    pub tries_left: u32,
    /// How long answers to this factor are refused from now on, in milliseconds; none when they
    /// are not.
    pub locked_for_ms: Option<u64>,
}

/// Why an answer was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum DeniedReason {
    /// It is wrong.
    Wrong,
    /// It was right once, and has been used.
    Replayed,
    /// The factor is locked for a while: the answer was not looked at.
    Locked,
    /// The factor is disabled until an administrator resets it.
    Disabled,
    /// The answer does not fit the challenge, or the factor that was chosen is not on offer.
    Unfit,
    /// It came too late: choose the factor again for a fresh challenge.
    Expired,
    /// Asked too often: not before the time given.
    Busy,
    /// Another sign-in changed the factor meanwhile: answer again.
    Overtaken,
    /// For a reason that this version does not know.
    Unknown,
}

impl From<&mfagate::client::AuthChallenge> for AuthChallenge {
    fn from(asked: &mfagate::client::AuthChallenge) -> Self {
        Self {
            factor: asked.factor.as_ref().map(Offer::from),
            challenge: Challenge::from(&asked.challenge),
            others: asked.others.iter().map(Offer::from).collect(),
            denied: asked.denied.as_ref().map(Denied::from),
            expires_in_ms: millis(asked.expires_in),
        }
    }
}

impl From<&core::Offer> for Offer {
    fn from(offer: &core::Offer) -> Self {
        Self {
            factor: offer.factor.to_string(),
            kind: offer.kind.to_string(),
            label: offer.label.to_string(),
            locked_for_ms: offer.locked_for_ms,
        }
    }
}

impl From<&core::Challenge> for Challenge {
    fn from(challenge: &core::Challenge) -> Self {
        match challenge.clone() {
            core::Challenge::Code { digits } => Self::Code { digits },
            core::Challenge::SentCode {
                digits,
                sent_to,
                good_for_ms,
                resend_in_ms,
            } => Self::SentCode {
                digits,
                sent_to,
                good_for_ms,
                resend_in_ms,
            },
            core::Challenge::RecoveryCode { left } => Self::RecoveryCode { left },
            core::Challenge::Password {} => Self::Password,
            core::Challenge::Signature { key_id, .. } => Self::Signature { key_id },
            core::Challenge::WebAuthn { .. } => Self::WebAuthn,
            core::Challenge::OpenId {
                issuer,
                device,
                workload,
                ..
            } => {
                let workload = workload.map(|it| (it.audience, it.nonce));
                let (workload_audience, workload_nonce) = workload.unzip();
                Self::OpenId {
                    issuer,
                    device,
                    workload_audience,
                    workload_nonce,
                }
            }
            core::Challenge::DeviceGrant {
                verification_uri,
                verification_uri_complete,
                user_code,
                interval_ms,
            } => Self::DeviceGrant {
                verification_uri,
                verification_uri_complete,
                user_code,
                interval_ms,
            },
            core::Challenge::RegisterTotp { uri, digits } => Self::RegisterTotp {
                uri: secret(&uri),
                digits,
            },
            core::Challenge::RegisterKey { protection, .. } => Self::RegisterKey {
                protection: protection.into(),
            },
            core::Challenge::RegisterWebAuthn { .. } => Self::RegisterWebAuthn,
            core::Challenge::ChoosePassword { shortest } => Self::ChoosePassword { shortest },
            core::Challenge::KeepRecoveryCodes { codes } => Self::KeepRecoveryCodes {
                codes: codes.iter().map(secret).collect(),
            },
            core::Challenge::Address {} => Self::Address,
            _ => Self::Unknown,
        }
    }
}

fn secret(text: &SecretString) -> Arc<SecretBytes> {
    SecretBytes::of(text.expose_secret())
}

impl From<core::Protection> for Protection {
    fn from(protection: core::Protection) -> Self {
        match protection {
            core::Protection::Software => Self::Software,
            core::Protection::Hardware => Self::Hardware,
            core::Protection::HardwareUserVerified => Self::HardwareUserVerified,
        }
    }
}

impl From<Protection> for core::Protection {
    fn from(protection: Protection) -> Self {
        match protection {
            Protection::Software => Self::Software,
            Protection::Hardware => Self::Hardware,
            Protection::HardwareUserVerified => Self::HardwareUserVerified,
        }
    }
}

impl From<&core::Denied> for Denied {
    fn from(denied: &core::Denied) -> Self {
        Self {
            reason: denied.reason.into(),
            tries_left: denied.tries_left,
            locked_for_ms: denied.locked_for_ms,
        }
    }
}

impl From<core::DeniedReason> for DeniedReason {
    fn from(reason: core::DeniedReason) -> Self {
        match reason {
            core::DeniedReason::Wrong => Self::Wrong,
            core::DeniedReason::Replayed => Self::Replayed,
            core::DeniedReason::Locked => Self::Locked,
            core::DeniedReason::Disabled => Self::Disabled,
            core::DeniedReason::Unfit => Self::Unfit,
            core::DeniedReason::Expired => Self::Expired,
            core::DeniedReason::Busy => Self::Busy,
            core::DeniedReason::Overtaken => Self::Overtaken,
            _ => Self::Unknown,
        }
    }
}

/// A span as the other languages get it.
pub(crate) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
