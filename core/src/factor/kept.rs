//! What a verifier keeps as JSON: a factor's secret, and a ceremony between its question and its
//! answer, under the attempt that it is for.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Scene;
use crate::seal::Secret;

const VERSION: u8 = 1;

/// A ceremony that waits for its answer, and the attempt that it is for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pending<C> {
    version: u8,
    attempt: [String; 4],
    ceremony: C,
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

pub(super) fn read<T: DeserializeOwned>(secret: &Secret) -> Result<T, Unreadable> {
    serde_json::from_slice(secret.expose_secret()).map_err(|_| Unreadable)
}

pub(super) fn write<T: Serialize>(value: &T) -> Result<Secret, Unreadable> {
    let mut text = Zeroizing::new(serde_json::to_vec(value).map_err(|_| Unreadable)?);
    Ok(Secret::new(std::mem::take(&mut *text)))
}

/// What was kept does not read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored factor or the ceremony's state is not one of this build's")]
pub(super) struct Unreadable;
