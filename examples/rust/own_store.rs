//! A store of one's own: four calls over a sorted map, and all judging is in `Keyed`. A real one keeps
//! it where it outlives the process: `core/examples/redb_store.rs` does, in a file.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::store::keyed::*;
use tokio::sync::Mutex;

type Key = Vec<u8>;

// [snippet: own_store]
/// The last version that was given, and the rows.
#[derive(Default)]
pub(crate) struct Table(Mutex<(u64, BTreeMap<Key, Versioned>)>);

#[async_trait]
impl KeyedBackend for Table {
    async fn read(&self, keys: Vec<Key>) -> Result<Vec<Option<Versioned>>, BackendError> {
        let rows = &self.0.lock().await.1; // one lock: all as of one moment
        Ok(keys.iter().map(|key| rows.get(key).cloned()).collect())
    }

    async fn commit(&self, old: Vec<Expected>, new: Vec<Write>) -> Result<Commit, BackendError> {
        let (last, rows) = &mut *self.0.lock().await;
        let is_met = |one: &Expected| rows.get(&one.key).map(|row| row.version) == one.version;
        if !old.iter().all(is_met) {
            return Ok(Commit::Conflict); // nothing has changed, and `Keyed` judges again
        }
        *last += 1; // no version is given twice
        for Write { key, value } in new {
            let version = *last;
            match value {
                Some(value) => rows.insert(key, Versioned { value, version }),
                None => rows.remove(&key),
            };
        }
        Ok(Commit::Committed)
    }

    async fn scan(&self, head: Key, after: Option<Key>, n: usize) -> Result<Page, BackendError> {
        let mut page = Page::default();
        let rows = &self.0.lock().await.1;
        let next = after.map(|key| [key, vec![0]].concat()); // the least key after it
        let rows = rows.range(next.unwrap_or_else(|| head.clone())..);
        for (key, found) in rows.take_while(|(key, _)| key.starts_with(&head)).take(n) {
            let (key, found) = (key.clone(), found.clone());
            page.entries.push(Entry { key, found });
        }
        page.has_more = page.entries.len() == n;
        Ok(page)
    }

    async fn changes(&self, _: Key, _: Option<u64>) -> Result<(), BackendError> {
        tokio::time::sleep(Duration::from_millis(250)).await; // no one is told sooner
        Ok(())
    }
}
// [end]
