//! Tells changes from the audit trail: every change that bears on gates has its record there, so
//! what is new after record *n* is what changed, anyone who wrote it.
//!
//! One thread per store. It is woken by this store's own commits that bear on gates, and looks for
//! those of other processes every quarter of a second; when no one watches, it sleeps for good.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::error::SqliteFault;
use super::guard::{Guard, Stamp};
use super::rows::{self, audit_columns};
use super::schema::open_reader;
use super::writer::read_head;
use crate::audit::Head;
use crate::store::feed::Feed;
use crate::store::{ChangeSet, ChangeStream, StoreError};

/// How often to look for commits of other processes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Records per reading.
const PAGE: u32 = 512;

/// What the writer, the watchers and the thread share.
#[derive(Debug)]
pub(super) struct Tail {
    state: Mutex<State>,
    woken: Condvar,
    guard: Arc<Guard>,
}

#[derive(Debug)]
struct State {
    feed: Feed,
    /// The last record that the watchers have been told of.
    told: Head,
    /// The writer has committed since the thread last looked.
    fresh: bool,
    closed: bool,
}

impl Tail {
    pub(super) fn new(guard: Arc<Guard>) -> Arc<Self> {
        let state = State {
            feed: Feed::default(),
            told: guard.known(),
            fresh: false,
            closed: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            woken: Condvar::new(),
            guard,
        })
    }

    /// The writer has committed. Where none of its records is news to a gate, as with an admission,
    /// the thread may sleep on: it reads them with those that are.
    pub(super) fn committed(&self, has_news: bool) {
        if !has_news {
            return;
        }
        self.lock().fresh = true;
        self.woken.notify_all();
    }

    pub(super) fn watch(&self) -> ChangeStream {
        let mut state = self.lock();
        if !state.feed.is_watched() {
            // No one has kept up. From the last record known here on, nothing is left out.
            state.told = self.guard.known();
        }
        let stream = state.feed.watch();
        if state.closed {
            state.feed.fail(|| SqliteFault::Closed.into());
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
        state.feed.fail(|| SqliteFault::Closed.into());
        drop(state);
        self.woken.notify_all();
    }

    /// The thread.
    pub(super) fn run(&self, path: &Path) {
        let mut reader = None;
        while let Some(look_anyway) = self.wait() {
            if let Err(error) = self.look(path, &mut reader, look_anyway) {
                reader = None;
                // What is replaced while it is read makes the engine fail for reasons of its own.
                let error = self
                    .guard
                    .check_files()
                    .map_or_else(StoreError::from, |()| error);
                let is_replaced = self.guard.pass().is_err();
                let error = std::cell::RefCell::new(Some(error));
                self.lock().feed.fail(|| match error.take() {
                    Some(first) => first,
                    None if is_replaced => StoreError::Replaced,
                    None => SqliteFault::TransactionLost.into(),
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
        self.guard.check_files()?;
        // What others have written past the engine is seen by a connection that has read nothing.
        let stamp = self.guard.stamp();
        let is_new = reader.as_ref().is_none_or(|reader| reader.stamp != stamp);
        if is_new {
            *reader = Some(Reader {
                connection: open_reader(path)?,
                version: None,
                stamp,
            });
        }
        let Some(reader) = reader else {
            return Ok(());
        };
        if !reader.has_news()? && !look_anyway && !is_new {
            return Ok(());
        }
        if is_new {
            let head = read_head(&reader.connection)?;
            self.guard.check_fresh(&reader.connection, head)?;
        }
        loop {
            let (told, committed) = {
                let state = self.lock();
                (state.told, self.guard.known())
            };
            let records = rows::all(
                &reader.connection,
                concat!(
                    "SELECT ",
                    audit_columns!(),
                    " FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?"
                ),
                (told.seq.cast_signed(), PAGE),
                rows::audit,
            )?;
            let new = match records.split_first() {
                Some((first, new)) if first.head() == Some(told) => new,
                _ if told.seq == 0 => records.as_slice(),
                // The record that was told last is not there: not the trail that it was.
                _ => return Err(self.guard.replaced().into()),
            };
            let mut state = self.lock();
            for record in new {
                // A first watcher that came in meanwhile may have put `told` forward, never back.
                if record.seq <= state.told.seq {
                    continue;
                }
                let head = record.head();
                let Some(head) = head.filter(|head| head.seq == state.told.seq + 1) else {
                    return Err(self.guard.replaced().into());
                };
                state.told = head;
                self.guard.saw(head);
                state.feed.publish(&ChangeSet::of(&record.event));
            }
            if !new.is_empty() {
                continue;
            }
            if committed.seq > state.told.seq {
                return Err(self.guard.replaced().into());
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
    /// The file's, when this was opened.
    stamp: Option<Stamp>,
}

impl Reader {
    fn has_news(&mut self) -> Result<bool, SqliteFault> {
        let version = self
            .connection
            .pragma_query_value(None, "data_version", |row| row.get(0))?;
        Ok(self.version.replace(version) != Some(version))
    }
}
