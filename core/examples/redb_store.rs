//! A store of one's own: the whole of it over redb, a key-value database in one file, which one
//! process can have open at a time. All judging is in [`Keyed`]. `core/tests/store/redb.rs` runs the
//! conformance suite against it, and kills it.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use mfagate::store::PeerStore;
use mfagate::store::keyed::{
    BackendError, Commit, Entry, Expected, Keyed, KeyedBackend, Page, Versioned, Write,
};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::watch;

const VALUES: TableDefinition<&[u8], (u64, &[u8])> = TableDefinition::new("values");
/// The version that was given last, which is never given again.
const LAST: TableDefinition<(), u64> = TableDefinition::new("last version");

pub(crate) struct RedbBackend {
    database: Arc<Database>,
    /// Told after each commit. No other process can make one.
    commits: watch::Sender<()>,
}

#[allow(clippy::result_large_err, reason = "the error is redb's")]
impl RedbBackend {
    /// The database in this file, which is made where there is none.
    pub(crate) fn open(path: impl AsRef<std::path::Path>) -> Result<Self, redb::Error> {
        let database = Database::create(path)?;
        // Reading a table that was never opened for writing is an error.
        let begun = database.begin_write()?;
        begun.open_table(VALUES)?;
        begun.commit()?;
        let (database, commits) = (Arc::new(database), watch::Sender::new(()));
        Ok(Self { database, commits })
    }

    /// Where waiting for the disk is allowed.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, BackendError> {
        let database = Arc::clone(&self.database);
        let failed = BackendError::unavailable("the database file can't be used");
        let done = tokio::task::spawn_blocking(move || work(&database)).await;
        let done = done.map_err(|panicked| failed.clone().with_source(panicked))?;
        done.map_err(|error| failed.with_source(error))
    }
}

fn versioned(found: (u64, &[u8])) -> Versioned {
    let (version, value) = (found.0, found.1.to_vec());
    Versioned { value, version }
}

#[async_trait]
impl KeyedBackend for RedbBackend {
    async fn read(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Versioned>>, BackendError> {
        self.run(move |database| {
            let table = database.begin_read()?.open_table(VALUES)?;
            let found = keys.iter().map(|key| {
                let found = table.get(key.as_slice())?;
                Ok(found.map(|found| versioned(found.value())))
            });
            found.collect()
        })
        .await
    }

    async fn commit(
        &self,
        expected: Vec<Expected>,
        writes: Vec<Write>,
    ) -> Result<Commit, BackendError> {
        let work = move |database: &Database| {
            let transaction = database.begin_write()?;
            let mut table = transaction.open_table(VALUES)?;
            for one in expected {
                let found = table.get(one.key.as_slice())?;
                if found.map(|found| found.value().0) != one.version {
                    return Ok(Commit::Conflict);
                }
            }
            let mut last = transaction.open_table(LAST)?;
            let version = last.get(())?.map_or(0, |last| last.value()) + 1;
            last.insert((), version)?;
            for Write { key, value } in writes {
                match value {
                    Some(value) => table.insert(key.as_slice(), (version, value.as_slice()))?,
                    None => table.remove(key.as_slice())?,
                };
            }
            drop((table, last));
            // On the disk once it returns: redb's durability is immediate unless told otherwise.
            transaction.commit()?;
            Ok(Commit::Committed)
        };
        let outcome = self.run(work).await?;
        self.commits.send_replace(());
        Ok(outcome)
    }

    async fn scan(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Page, BackendError> {
        self.run(move |database| {
            let table = database.begin_read()?.open_table(VALUES)?;
            let first = Bound::Included(prefix.as_slice());
            let from = after.as_deref().map_or(first, Bound::Excluded);
            let mut page = Page::default();
            for found in table.range::<&[u8]>((from, Bound::Unbounded))? {
                let (key, value) = found?;
                page.has_more = key.value().starts_with(&prefix);
                if !page.has_more || page.entries.len() == limit {
                    return Ok(page);
                }
                let (key, found) = (key.value().to_vec(), versioned(value.value()));
                page.entries.push(Entry { key, found });
            }
            page.has_more = false;
            Ok(page)
        })
        .await
    }

    async fn changes(&self, key: Vec<u8>, after: Option<u64>) -> Result<(), BackendError> {
        // Before the reading, so that no commit falls in between.
        let mut commits = self.commits.subscribe();
        let found = self.read(vec![key]).await?.pop().flatten();
        if found.map(|found| found.version) == after {
            drop(commits.changed().await);
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Keyed::open(RedbBackend::open("gate.redb")?).await?;
    println!(
        "{} users, {}",
        store.users().await?.len(),
        store.head().await?
    );
    Ok(())
}
