//! Tells changes from the audit trail: every change that bears on gates has its record there, so
//! what is new after record *n* is what changed, whoever wrote it.
//!
//! One thread per store. It is woken by this store's own commits that bear on gates, and looks for
//! those of other processes every quarter of a second; when nobody watches, it sleeps for good.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::error::SqliteError;
use super::rows::{self, audit_columns};
use super::schema::open_reader;
use crate::store::feed::Feed;
use crate::store::{ChangeSet, ChangeStream, StoreError};

/// How often to look for commits of other processes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Records per reading.
const PAGE: u32 = 512;

/// Records that had been committed are missing.
const CUT: StoreError = StoreError::Corrupt {
    what: "the audit trail",
};

/// What the writer, the watchers and the thread share.
#[derive(Debug)]
pub(super) struct Tail {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Debug)]
struct State {
    feed: Feed,
    /// The last record that is known to be in the trail.
    known: u64,
    /// The last record that the watchers have been told of.
    told: u64,
    /// The writer has committed since the thread last looked.
    fresh: bool,
    closed: bool,
}

impl Tail {
    pub(super) fn new(known: u64) -> Arc<Self> {
        let state = State {
            feed: Feed::default(),
            known,
            told: known,
            fresh: false,
            closed: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            woken: Condvar::new(),
        })
    }

    /// The writer has committed up to this record. Where none of its records is news to a gate,
    /// as with an admission, the thread may sleep on: it reads them with those that are.
    pub(super) fn committed(&self, seq: u64, has_news: bool) {
        let mut state = self.lock();
        state.known = state.known.max(seq);
        if !has_news {
            return;
        }
        state.fresh = true;
        drop(state);
        self.woken.notify_all();
    }

    pub(super) fn watch(&self) -> ChangeStream {
        let mut state = self.lock();
        if !state.feed.is_watched() {
            // Nobody has kept up. From the last record known here on, nothing is left out.
            state.told = state.known;
        }
        let stream = state.feed.watch();
        if state.closed {
            state.feed.fail(|| SqliteError::Closed.into());
        }
        state.fresh = true;
        drop(state);
        self.woken.notify_all();
        stream
    }

    /// Ends the thread, and every watcher's stream with an error.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.feed.fail(|| SqliteError::Closed.into());
        drop(state);
        self.woken.notify_all();
    }

    /// The thread.
    pub(super) fn run(&self, path: &Path) {
        let mut reader = None;
        while let Some(look_anyway) = self.wait() {
            if let Err(error) = self.look(path, &mut reader, look_anyway) {
                reader = None;
                let error = std::cell::RefCell::new(Some(error));
                self.lock().feed.fail(|| {
                    let first = error.take();
                    first.unwrap_or_else(|| SqliteError::TransactionLost.into())
                });
            }
        }
    }

    /// Waits until it is time to look; `Some(true)` when this store has committed, `None` when
    /// the store is closed.
    fn wait(&self) -> Option<bool> {
        let mut state = self.lock();
        let mut rested = false;
        loop {
            if state.closed {
                return None;
            }
            if state.feed.is_watched() {
                if std::mem::take(&mut state.fresh) {
                    return Some(true);
                }
                if rested {
                    return Some(false);
                }
                let (next, timeout) = self
                    .woken
                    .wait_timeout(state, LOOK_EVERY)
                    .unwrap_or_else(PoisonError::into_inner);
                state = next;
                rested = timeout.timed_out();
            } else {
                state = self
                    .woken
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn look(
        &self,
        path: &Path,
        reader: &mut Option<Reader>,
        look_anyway: bool,
    ) -> Result<(), StoreError> {
        let reader = match reader {
            Some(reader) => reader,
            None => reader.insert(Reader {
                connection: open_reader(path)?,
                version: None,
            }),
        };
        if !reader.has_news()? && !look_anyway {
            return Ok(());
        }
        loop {
            let (told, committed) = {
                let state = self.lock();
                (state.told, state.known)
            };
            let records = rows::all(
                &reader.connection,
                concat!(
                    "SELECT ",
                    audit_columns!(),
                    " FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?"
                ),
                (told.cast_signed(), PAGE),
                rows::audit,
            )?;
            let new = match records.split_first() {
                Some((first, new)) if first.seq == told => new,
                _ if told == 0 => records.as_slice(),
                // The record that was told last is not there: not the trail that it was.
                _ => return Err(CUT),
            };
            let mut state = self.lock();
            for record in new {
                // A first watcher that came in meanwhile may have put `told` forward, never back.
                if record.seq <= state.told {
                    continue;
                }
                if record.seq != state.told + 1 {
                    return Err(CUT);
                }
                state.told = record.seq;
                state.known = state.known.max(record.seq);
                state.feed.publish(&ChangeSet::of(&record.event));
            }
            if !new.is_empty() {
                continue;
            }
            if committed > state.told {
                return Err(CUT);
            }
            return Ok(());
        }
    }

    /// No code that can panic runs under this lock, so a poisoned one is as good as new.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader {
    connection: Connection,
    /// `data_version` as of the last look: another value says that others have committed.
    version: Option<i64>,
}

impl Reader {
    fn has_news(&mut self) -> Result<bool, SqliteError> {
        let version = self
            .connection
            .pragma_query_value(None, "data_version", |row| row.get(0))?;
        Ok(self.version.replace(version) != Some(version))
    }
}
