//! A backend in memory: for tests, for demonstrations, and as the plainest reading of the contract.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use async_trait::async_trait;

use super::backend::{BackendError, Commit, Entry, Expected, KeyedBackend, Page, Versioned, Write};

/// Keys and values in memory. Clones share their contents, as processes share a database. Nothing
/// outlives the process.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Vec<u8>, Versioned>,
    /// The last version that was given: one number for all keys, so none is given twice.
    version: u64,
    watchers: Vec<Waker>,
}

impl Memory {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A panic under the lock may have left half a change behind: nothing is right any more.
    fn lock(&self) -> Result<MutexGuard<'_, State>, BackendError> {
        let poisoned = || BackendError::permanent("the store in memory was poisoned by a panic");
        self.state.lock().map_err(|_| poisoned())
    }
}

impl State {
    fn version_of(&self, key: &[u8]) -> Option<u64> {
        self.entries.get(key).map(|found| found.version)
    }
}

#[async_trait]
impl KeyedBackend for Memory {
    async fn read(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Versioned>>, BackendError> {
        let state = self.lock()?;
        let found = keys.iter().map(|key| state.entries.get(key).cloned());
        Ok(found.collect())
    }

    async fn commit(
        &self,
        expected: Vec<Expected>,
        writes: Vec<Write>,
    ) -> Result<Commit, BackendError> {
        let mut state = self.lock()?;
        let is_met = |one: &Expected| state.version_of(&one.key) == one.version;
        if !expected.iter().all(is_met) {
            return Ok(Commit::Conflict);
        }
        state.version += 1;
        let version = state.version;
        for Write { key, value } in writes {
            match value {
                Some(value) => state.entries.insert(key, Versioned { value, version }),
                None => state.entries.remove(&key),
            };
        }
        let watchers = std::mem::take(&mut state.watchers);
        drop(state);
        watchers.into_iter().for_each(Waker::wake);
        Ok(Commit::Committed)
    }

    async fn scan(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Page, BackendError> {
        let state = self.lock()?;
        let from = after.map_or(Bound::Included(prefix.clone()), Bound::Excluded);
        let mut found = state
            .entries
            .range((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&prefix));
        let entries: Vec<_> = found
            .by_ref()
            .take(limit)
            .map(|(key, found)| Entry {
                key: key.clone(),
                found: found.clone(),
            })
            .collect();
        let has_more = found.next().is_some();
        Ok(Page { entries, has_more })
    }

    async fn changes(&self, key: Vec<u8>, after: Option<u64>) -> Result<(), BackendError> {
        poll_fn(|cx| {
            let mut state = match self.lock() {
                Ok(state) => state,
                Err(error) => return Poll::Ready(Err(error)),
            };
            if state.version_of(&key) != after {
                return Poll::Ready(Ok(()));
            }
            // One that is polled often is there once: wakers of one task are alike.
            if !state
                .watchers
                .iter()
                .any(|known| known.will_wake(cx.waker()))
            {
                state.watchers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}
