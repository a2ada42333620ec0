//! What a verifier keeps as JSON: a factor's secret, and a ceremony between its question and its
//! answer, under the attempt that it is for.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::AttemptContext;
use crate::seal::SecretBytes;

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
    pub(super) fn write(
        attempt: &AttemptContext<'_>,
        ceremony: C,
    ) -> Result<SecretBytes, Unreadable> {
        write(&Self {
            version: VERSION,
            attempt: name(attempt),
            ceremony,
        })
    }

    /// The ceremony; `None` when it is another attempt's.
    pub(super) fn read(
        attempt: &AttemptContext<'_>,
        state: Option<&SecretBytes>,
    ) -> Result<Option<C>, Unreadable> {
        let pending: Self = read(state.ok_or(Unreadable)?)?;
        if pending.version != VERSION {
            return Err(Unreadable);
        }
        Ok((pending.attempt == name(attempt)).then_some(pending.ceremony))
    }
}

/// Which attempt, of which peer, where.
fn name(attempt: &AttemptContext<'_>) -> [String; 4] {
    [
        attempt.location.to_string(),
        attempt.location_key.to_string(),
        attempt.peer.to_string(),
        attempt.id.to_string(),
    ]
}

pub(super) fn read<T: DeserializeOwned>(secret: &SecretBytes) -> Result<T, Unreadable> {
    serde_json::from_slice(secret.expose_secret()).map_err(|_| Unreadable)
}

pub(super) fn write<T: Serialize>(value: &T) -> Result<SecretBytes, Unreadable> {
    let mut text = Zeroizing::new(serde_json::to_vec(value).map_err(|_| Unreadable)?);
    Ok(SecretBytes::new(std::mem::take(&mut *text)))
}

/// What was kept does not read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored factor or the ceremony's state is not one of this build's")]
pub(super) struct Unreadable;
