//! What the user answers.

use std::sync::Arc;

use mfagate::channel::message::{Answer, SecretString};
use mfagate::client::PromptFailed;

use crate::secret::{Code, SecretBytes};

/// What the user does about a question.
#[derive(Debug, Clone, uniffi::Enum)]
pub enum Response {
    /// A one-time code.
    Code {
        /// The code.
        code: Arc<Code>,
    },
    /// A recovery code.
    RecoveryCode {
        /// The code.
        code: Arc<SecretBytes>,
    },
    /// A password or PIN, also one to be.
    Password {
        /// The password.
        password: Arc<SecretBytes>,
    },
    /// An address for codes.
    Address {
        /// The address.
        address: Arc<SecretBytes>,
    },
    /// A workload's ID token.
    IdToken {
        /// The token, in its compact form.
        token: Arc<SecretBytes>,
    },
    /// The user wants to log in on another device.
    BeginDeviceGrant,
    /// Ask whether that has been done.
    Poll,
    /// Would rather be asked for this factor; or, with the current one, asks for a fresh challenge.
    Choose {
        /// The factor, of the challenge's others.
        factor: String,
    },
}

impl Response {
    /// The core's own, or why it is none.
    pub(crate) fn convert(self) -> Result<mfagate::client::Response, PromptFailed> {
        Ok(match self {
            Self::Code { code } => Answer::Code { code: code.inner() }.into(),
            Self::RecoveryCode { code } => Answer::RecoveryCode {
                code: secret(&code)?,
            }
            .into(),
            Self::Password { password } => Answer::Password {
                password: secret(&password)?,
            }
            .into(),
            Self::Address { address } => Answer::Address {
                address: secret(&address)?,
            }
            .into(),
            Self::IdToken { token } => Answer::IdToken {
                token: secret(&token)?,
            }
            .into(),
            Self::BeginDeviceGrant => Answer::BeginDeviceGrant {}.into(),
            Self::Poll => Answer::Poll {}.into(),
            Self::Choose { factor } => {
                mfagate::client::Response::Choose(factor.parse().map_err(|_| {
                    PromptFailed::new("the factor that was chosen has no such name")
                })?)
            }
        })
    }
}

/// A text for the gate.
pub(crate) fn secret(bytes: &SecretBytes) -> Result<SecretString, PromptFailed> {
    let text = bytes.text().map_err(PromptFailed::new)?;
    SecretString::new(text.to_owned())
        .ok_or_else(|| PromptFailed::new("the answer is longer than 16,384 bytes"))
}
