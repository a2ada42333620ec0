//! Slow hashes (Argon2id, RFC 9106), for what a user knows: computed off the runtime's threads, and
//! not more at once than there are processors, so that guesses fill neither them nor the memory.

use std::sync::{Arc, LazyLock};

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::VerifyError;
use crate::scrub::wiping;

const SALT_LEN: usize = 16;
const HASH_LEN: usize = 32;

/// What a hash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cost {
    /// Memory in KiB.
    pub(super) memory: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
}

/// 16 random bytes.
pub(super) type Salt = Bytes<SALT_LEN>;

/// A hash, compared in constant time.
pub(super) type Hash = Bytes<HASH_LEN>;

/// So many bytes, in JSON as Base64. No text repeats them.
#[derive(Clone)]
pub(super) struct Bytes<const N: usize>([u8; N]);

impl Salt {
    pub(super) fn generate() -> Result<Self, VerifyError> {
        let mut salt = [0; SALT_LEN];
        getrandom::fill(&mut salt).map_err(VerifyError::backend)?;
        Ok(Self(salt))
    }
}

impl<const N: usize> Bytes<N> {
    pub(super) fn is_same(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl<const N: usize> Serialize for Bytes<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| de::Error::custom(format_args!("expected {N} bytes as Base64")))
    }
}

/// Hashes these, one after the other, with one salt. The work goes on when the call is dropped, and
/// counts against the bound until it is done.
///
/// # Errors
/// [`VerifyError::Backend`] for a cost that Argon2 does not have, or a thread that fails.
pub(super) async fn hash(
    texts: Vec<Zeroizing<Vec<u8>>>,
    salt: &Salt,
    cost: Cost,
) -> Result<Vec<Hash>, VerifyError> {
    static AT_ONCE: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Semaphore::new(processors))
    });
    let Cost {
        memory,
        passes,
        lanes,
    } = cost;
    let params = Params::new(memory, passes, lanes, Some(HASH_LEN));
    let argon2 = Argon2::new(
        Algorithm::Argon2id,
        Version::V0x13,
        params.map_err(VerifyError::backend)?,
    );
    let turn = Arc::clone(&AT_ONCE).acquire_owned().await;
    let turn = turn.map_err(VerifyError::backend)?;
    let salt = salt.clone();
    let work = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let one = |text: &Zeroizing<Vec<u8>>| {
            let mut hash = [0; HASH_LEN];
            // The text goes through a hash's blocks.
            wiping(|| argon2.hash_password_into(text, &salt.0, &mut hash))?;
            Ok(Bytes(hash))
        };
        texts.iter().map(one).collect::<Result<_, argon2::Error>>()
    });
    let hashes = work.await.map_err(VerifyError::backend)?;
    hashes.map_err(VerifyError::backend)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
        vec![Zeroizing::new(text.to_vec())]
    }

    #[tokio::test]
    async fn hashes_are_argon2id_as_the_reference_program_computes_it() {
        // printf password | argon2 somesaltsomesalt -id -t 2 -k 19456 -p 1 -l 32 -r
        let cost = Cost {
            memory: 19_456,
            passes: 2,
            lanes: 1,
        };
        let salt = Bytes(*b"somesaltsomesalt");
        let hashes = hash(text(b"password"), &salt, cost).await.unwrap();
        let expected = "2b5dc4054886ec957ef59c73b661c54dd6fb274590b278f657c6d96aac8fa6d1";
        assert_eq!(data_encoding::HEXLOWER.encode(&hashes[0].0), expected);
    }

    #[tokio::test]
    async fn a_cost_that_is_none_is_an_error() {
        for (memory, passes, lanes) in [(0, 1, 1), (64, 0, 1), (64, 1, 0), (7, 1, 1)] {
            let cost = Cost {
                memory,
                passes,
                lanes,
            };
            let hashed = hash(text(b"password"), &Bytes([0; 16]), cost).await;
            assert!(matches!(hashed, Err(VerifyError::Backend(_))));
        }
    }
}
