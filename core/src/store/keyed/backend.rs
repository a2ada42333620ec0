//! What a key-value store must be able to do to hold a whole [`Keyed`](super::Keyed) store.
//!
//! Owned byte vectors, no lifetimes, no generics: a backend may live behind a foreign-language
//! interface.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;

/// A key-value store with a compare-and-set over several keys: four calls.
///
/// # Contract
/// - Keys and values are bytes. Keys have at most 1,300 bytes and are ordered byte by byte.
/// - A version is a number that is another each time that its key's value changed, also after the
///   key was removed and written again: a revision of the whole store, or a counter that is never
///   reset. No backend chooses a version by the value.
/// - [`read`](Self::read) and [`scan`](Self::scan) are at least as new as every commit that returned
///   before they were called, of whatever process: a replica that lags is not good enough.
/// - [`commit`](Self::commit) is atomic and, once it returned [`Commit::Committed`], durable.
/// - Every call ends by itself: give calls over a network a time limit. Calls may come from several
///   tasks at once.
/// - A dropped call may or may not have taken effect; nothing in between.
#[async_trait]
pub trait KeyedBackend: Send + Sync + 'static {
    /// The values of these keys with their versions, in the keys' order, `None` for a key that is
    /// not there. All as of one moment.
    ///
    /// # Errors
    /// [`BackendError`].
    async fn read(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Versioned>>, BackendError>;

    /// Compares the version of each expected key and, where all are as expected, makes all the
    /// writes: in one step, all or nothing. Writes may be empty: then it only compares. No key is
    /// written twice in one call.
    ///
    /// # Errors
    /// [`BackendError`] when the outcome is not known, or when nothing was done. The caller takes
    /// every error for the first.
    async fn commit(
        &self,
        expected: Vec<Expected>,
        writes: Vec<Write>,
    ) -> Result<Commit, BackendError>;

    /// The keys that begin with `prefix` and are after `after`, in their order, with their values: at
    /// most `limit` of them, and as few as the backend likes while there is one. A page need not be
    /// of the same moment as the next.
    ///
    /// # Errors
    /// [`BackendError`]; never a shorter list.
    async fn scan(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Page, BackendError>;

    /// Returns once the version of `key` is not `after`, at once where it is not now. May return
    /// earlier for no reason, so that to sleep for a quarter of a second is a right implementation.
    /// A second is the longest that a change may go unnoticed.
    ///
    /// # Errors
    /// [`BackendError`], when changes can't be told any more.
    async fn changes(&self, key: Vec<u8>, after: Option<u64>) -> Result<(), BackendError>;
}

/// A value with its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes as they were written.
    pub value: Vec<u8>,
    /// The version.
    pub version: u64,
}

/// What a commit expects of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The key.
    pub key: Vec<u8>,
    /// Its version; `None` for a key that is not there.
    pub version: Option<u64>,
}

/// What a commit makes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: Vec<u8>,
    /// Its value from now on; `None` removes the key.
    pub value: Option<Vec<u8>>,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// Every write is made and durable.
    Committed,
    /// A key had another version than expected; nothing is changed.
    Conflict,
}

/// A part of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Keys and values, in the keys' order.
    pub entries: Vec<Entry>,
    /// Whether there may be more after the last one. A page without entries is the last.
    pub has_more: bool,
}

/// A key with its value, as a scan finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// Its value and version.
    pub found: Versioned,
}

/// Why a backend did not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct BackendError {
    reason: Arc<str>,
    is_retryable: bool,
    #[source]
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl BackendError {
    /// The store can't be reached now, or the outcome is not known: the same call may succeed later.
    pub fn unavailable(reason: impl AsRef<str>) -> Self {
        Self::new(reason.as_ref(), true)
    }

    /// The call can't succeed before an operator or a developer did something.
    pub fn permanent(reason: impl AsRef<str>) -> Self {
        Self::new(reason.as_ref(), false)
    }

    /// The error with what caused it.
    #[must_use]
    pub fn with_source(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..self
        }
    }

    /// Whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        self.is_retryable
    }

    fn new(reason: &str, is_retryable: bool) -> Self {
        Self {
            reason: reason.into(),
            is_retryable,
            source: None,
        }
    }
}
