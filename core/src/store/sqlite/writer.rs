//! The one thread that writes: what is queued when it looks goes into one transaction, and so
//! into one flush. See `docs/adr/0003-one-writer-groups-commits.md`.
//!
//! Each intent runs in a savepoint of its own: its error or panic undoes itself and nothing else.
//! Callers hear of an outcome only after the commit; when that fails, all of them get the error.
//! The thread never sleeps to gather more, and a caller alone has a transaction of its own at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::{SqliteFault, engine};
use super::guard::Guard;
use super::schema::open_writer;
use super::watch::Tail;
use crate::audit::{AuditEvent, Head, link};
use crate::store::{ChangeSet, StoreError};

/// Most intents in one transaction: bounds how long the first waits for the last.
const MOST_IN_A_BATCH: usize = 256;

/// Most intents in the queue; more callers than that are turned away.
const MOST_WAITING: usize = 16_384;

/// How often to give way to callers while none comes.
const IDLE_YIELDS: u32 = 100;

/// A transaction as an intent sees it.
pub(super) struct Tx<'c> {
    pub(super) connection: &'c Connection,
    trail: Trail,
}

/// How far the audit trail goes in a transaction.
#[derive(Clone, Copy)]
struct Trail {
    head: Head,
    /// Whether a record of this transaction's tells of a change that bears on gates.
    has_news: bool,
}

impl Tx<'_> {
    /// Does a part of an intent: its error undoes that part and nothing else.
    pub(super) fn part<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let trail = self.trail;
        step(self.connection, "SAVEPOINT part")?;
        let outcome = work(self);
        if outcome.is_err() {
            step(self.connection, "ROLLBACK TO part")?;
            self.trail = trail;
        }
        step(self.connection, "RELEASE part")?;
        outcome
    }

    /// Appends to the chain.
    pub(super) fn append(&mut self, event: AuditEvent) -> Result<(), StoreError> {
        let (next, json) =
            link(&self.trail.head, &event).map_err(|error| StoreError::Backend(Box::new(error)))?;
        self.connection
            .prepare_cached("INSERT INTO audit (seq, previous, event, hash) VALUES (?, ?, ?, ?)")
            .and_then(|mut statement| {
                statement.execute((
                    next.seq.cast_signed(),
                    self.trail.head.hash,
                    json,
                    next.hash,
                ))
            })
            .map_err(engine)?;
        self.trail.head = next;
        self.trail.has_news |= !ChangeSet::of(&event).is_empty();
        Ok(())
    }
}

/// The queue's near end.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    sender: mpsc::Sender<Box<dyn Intent>>,
    waiting: Arc<AtomicUsize>,
}

impl Queue {
    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Puts work into the queue. The outcome comes after its commit.
    pub(super) fn push<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, SqliteFault> {
        let (reply, outcome) = oneshot::channel();
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(SqliteFault::Overloaded);
        }
        let call = Call {
            work: Some(work),
            outcome: None,
            reply,
        };
        self.sender
            .send(Box::new(call))
            .map_err(|_| SqliteFault::Closed)?;
        Ok(outcome)
    }
}

/// One queued call, whatever it returns.
trait Intent: Send {
    /// Whether its caller still waits.
    fn is_wanted(&self) -> bool;
    /// Does the work and keeps its outcome. `false`: it must be undone.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Tells the caller, after the commit or after its failure.
    fn finish(self: Box<Self>, failed: Option<SqliteFault>);
}

struct Call<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Intent for Call<T, F>
where
    T: Send,
    F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let outcome = match self.work.take() {
            Some(work) => catch_unwind(AssertUnwindSafe(|| work(tx)))
                .unwrap_or_else(|_| Err(SqliteFault::Panicked.into())),
            None => Err(SqliteFault::Panicked.into()),
        };
        let keep = outcome.is_ok();
        self.outcome = Some(outcome);
        keep
    }

    fn finish(self: Box<Self>, failed: Option<SqliteFault>) {
        let outcome = match (failed, self.outcome) {
            (Some(error), _) => Err(error.into()),
            (None, Some(outcome)) => outcome,
            (None, None) => Err(SqliteFault::TransactionLost.into()),
        };
        // No one listens any more when the caller has given up.
        drop(self.reply.send(outcome));
    }
}

/// The thread's state.
pub(super) struct Writer {
    path: PathBuf,
    /// Absent after a failure that leaves its state in doubt; opened again for the next batch.
    connection: Option<Connection>,
    queue: mpsc::Receiver<Box<dyn Intent>>,
    waiting: Arc<AtomicUsize>,
    flushes: Arc<AtomicU64>,
    tail: Arc<Tail>,
    guard: Arc<Guard>,
}

impl Writer {
    pub(super) fn new(
        path: PathBuf,
        connection: Connection,
        flushes: Arc<AtomicU64>,
        tail: Arc<Tail>,
        guard: Arc<Guard>,
    ) -> (Self, Queue) {
        let (sender, queue) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let near = Queue {
            sender,
            waiting: Arc::clone(&waiting),
        };
        let writer = Self {
            path,
            connection: Some(connection),
            queue,
            waiting,
            flushes,
            tail,
            guard,
        };
        (writer, near)
    }

    /// Works until the queue is empty and no one can fill it any more.
    pub(super) fn run(mut self) {
        let mut served = 0;
        while let Ok(first) = self.queue.recv() {
            self.let_callers_return(served);
            let mut batch = vec![first];
            batch.extend(self.queue.try_iter().take(MOST_IN_A_BATCH - 1));
            served = batch.len();
            self.waiting.fetch_sub(served, Ordering::Relaxed);
            batch.retain(|intent| intent.is_wanted());
            if batch.is_empty() {
                continue;
            }
            let failed = self.transact(&mut batch).err();
            for intent in batch {
                intent.finish(failed.as_ref().map(SqliteFault::again));
            }
        }
    }

    /// Those who have just been served together are likely to come again together, and the first
    /// of them should not have a flush to itself. So the thread gives way to them while they keep
    /// coming, some microseconds at most; never for a caller alone, and it never sleeps.
    fn let_callers_return(&self, served: usize) {
        if served < 2 {
            return;
        }
        let mut seen = 0;
        let mut idle = 0;
        while idle < IDLE_YIELDS && seen < served {
            std::thread::yield_now();
            let now = self.waiting.load(Ordering::Relaxed);
            idle = if now > seen { 0 } else { idle + 1 };
            seen = seen.max(now);
        }
    }

    fn transact(&mut self, batch: &mut [Box<dyn Intent>]) -> Result<(), SqliteFault> {
        // First, since to open what is gone would make another.
        self.guard.check_files()?;
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => open_writer(&self.path)?,
        };
        let changes = connection.total_changes();
        match run_and_commit(&connection, &self.guard, batch) {
            Ok(Trail { head, has_news }) => {
                if connection.total_changes() != changes {
                    self.flushes.fetch_add(1, Ordering::Relaxed);
                    self.guard.saw(head);
                    self.tail.committed(has_news);
                }
                self.connection = Some(connection);
                Ok(())
            }
            Err(error) => {
                let undone =
                    connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
                self.connection = undone.then_some(connection);
                Err(error)
            }
        }
    }
}

/// One transaction with each intent in its own savepoint.
fn run_and_commit(
    connection: &Connection,
    guard: &Guard,
    batch: &mut [Box<dyn Intent>],
) -> Result<Trail, SqliteFault> {
    // Other processes write too: what is read from here on holds until the commit.
    step(connection, "BEGIN IMMEDIATE")?;
    let head = read_head(connection)?;
    guard.check_head(connection, head)?;
    let mut tx = Tx {
        connection,
        trail: Trail {
            head,
            has_news: false,
        },
    };
    for intent in batch {
        let trail = tx.trail;
        step(connection, "SAVEPOINT intent")?;
        let keep = intent.run(&mut tx);
        if connection.is_autocommit() {
            // SQLite has undone everything by itself, as it may on a full disk.
            return Err(SqliteFault::TransactionLost);
        }
        if !keep {
            step(connection, "ROLLBACK TO intent")?;
            tx.trail = trail;
        }
        step(connection, "RELEASE intent")?;
    }
    // Last, so that nothing is acknowledged that went to a file which no one finds any more.
    guard.check_files()?;
    step(connection, "COMMIT")?;
    Ok(tx.trail)
}

fn step(connection: &Connection, sql: &str) -> Result<(), SqliteFault> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// The end of the chain as it is in this transaction.
pub(super) fn read_head(connection: &Connection) -> Result<Head, SqliteFault> {
    let mut last =
        connection.prepare_cached("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")?;
    let mut rows = last.query([])?;
    match rows.next()? {
        None => Ok(Head::EMPTY),
        Some(row) => Ok(Head {
            seq: row.get::<_, i64>(0)?.cast_unsigned(),
            hash: row.get(1)?,
        }),
    }
}
