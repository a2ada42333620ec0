//! What the gate keeps: a credential, and a ceremony between its question and its answer.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use webauthn_rs::prelude::{Credential, Passkey, PasskeyAuthentication, PasskeyRegistration, Uuid};
use zeroize::Zeroizing;

use crate::factor::Scene;
use crate::seal::Secret;

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

    pub(super) fn read(secret: &Secret) -> Result<Self, Unreadable> {
        let record: Self = read(secret)?;
        (record.version == VERSION)
            .then_some(record)
            .ok_or(Unreadable)
    }

    pub(super) fn write(&self) -> Result<Secret, Unreadable> {
        write(self)
    }

    /// The parts, which [`Passkey`] keeps to itself.
    pub(super) fn credential(&self) -> Credential {
        self.passkey.clone().into()
    }
}

/// A ceremony that waits for its answer, and the attempt that it is for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pending<C> {
    version: u8,
    attempt: [String; 4],
    ceremony: C,
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

impl<C: Serialize + DeserializeOwned> Pending<C> {
    pub(super) fn write(scene: &Scene<'_>, ceremony: C) -> Result<Secret, Unreadable> {
        write(&Self {
            version: VERSION,
            attempt: name(scene),
            ceremony,
        })
    }

    /// The ceremony; `None` when it is another attempt's.
    pub(super) fn read(scene: &Scene<'_>, state: Option<&Secret>) -> Result<Option<C>, Unreadable> {
        let pending: Self = read(state.ok_or(Unreadable)?)?;
        if pending.version != VERSION {
            return Err(Unreadable);
        }
        Ok((pending.attempt == name(scene)).then_some(pending.ceremony))
    }
}

/// Which attempt, of which peer, where.
fn name(scene: &Scene<'_>) -> [String; 4] {
    [
        scene.location.to_string(),
        scene.location_key.to_string(),
        scene.peer.to_string(),
        scene.attempt.to_string(),
    ]
}

fn read<T: DeserializeOwned>(secret: &Secret) -> Result<T, Unreadable> {
    serde_json::from_slice(secret.expose_secret()).map_err(|_| Unreadable)
}

fn write<T: Serialize>(value: &T) -> Result<Secret, Unreadable> {
    let mut text = Zeroizing::new(serde_json::to_vec(value).map_err(|_| Unreadable)?);
    Ok(Secret::new(std::mem::take(&mut *text)))
}

/// What was kept does not read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored credential or the ceremony's state is not one of this build's")]
pub(super) struct Unreadable;
