//! What the gate keeps: a credential, and what a ceremony needs between its question and its
//! answer.

use serde::{Deserialize, Serialize};
use webauthn_rs::prelude::{Credential, Passkey, PasskeyAuthentication, PasskeyRegistration, Uuid};

use crate::factor::persisted::{Unreadable, read, write};
use crate::seal::SecretBytes;

const VERSION: u8 = 1;

/// A credential record (WebAuthn Level 3, section 4), as the factor's secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: u8,
    /// The user handle that the credential was made with.
    pub(super) user_handle: Uuid,
    pub(super) passkey: Passkey,
}

impl Record {
    pub(super) const fn new(user_handle: Uuid, passkey: Passkey) -> Self {
        Self {
            version: VERSION,
            user_handle,
            passkey,
        }
    }

    pub(super) fn read(secret: &SecretBytes) -> Result<Self, Unreadable> {
        let record: Self = read(secret)?;
        (record.version == VERSION)
            .then_some(record)
            .ok_or(Unreadable)
    }

    pub(super) fn write(&self) -> Result<SecretBytes, Unreadable> {
        write(self)
    }

    /// The parts, which [`Passkey`] keeps to itself.
    pub(super) fn credential(&self) -> Credential {
        self.passkey.clone().into()
    }
}

/// An assertion is awaited.
pub(super) type Asserting = PasskeyAuthentication;

/// A new credential is awaited.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Creating {
    pub(super) user_handle: Uuid,
    pub(super) registration: PasskeyRegistration,
}
