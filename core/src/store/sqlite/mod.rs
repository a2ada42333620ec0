#![doc = include_str!("docs.md")]

mod addresses;
mod error;
mod guard;
mod intents;
mod reader;
mod rows;
mod schema;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::oneshot;

pub use error::SqliteError;
pub(crate) use error::SqliteFault;

use self::error::engine;
use self::guard::Guard;
use self::rows::{
    all, audit_columns, factor_columns, one, peer_columns, session_columns, token_columns,
    user_columns,
};
use self::watch::Tail;
use self::writer::{Tx, Writer};
use super::{
    Activated, AdminStore, ChangeStream, EndReason, Enrolled, Enrolment, EnrolmentToken,
    FactorChange, FactorEnrolment, FactorFailure, FactorPass, FactorRecord, FactorUse,
    FailureRecorded, LastFactor, NewSession, OpenOutcome, PassOutcome, Peer, PeerStore, Put,
    Renewed, SessionRecord, SessionRenewal, StoreError, User, UserChange,
};
use crate::audit::{AuditEvent, AuditRecord, Head};
use crate::id::{FactorId, LocationId, SessionId, TokenId, UserId};
use crate::key::PublicKey;
use crate::policy::Throttle;
use crate::seal::Sealed;

/// How many threads read.
const READERS: usize = 2;

/// A store in one SQLite file. Any number of processes on one machine may open it at a time.
///
/// Works under any executor: the file is only ever touched by this store's own threads. Dropping
/// it waits for them, after they have done what is queued; [`close`](Self::close) waits without
/// blocking.
#[derive(Debug)]
pub struct SqliteStore {
    queues: Mutex<Option<Queues>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    tail: Arc<Tail>,
    guard: Arc<Guard>,
    flushes: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
struct Queues {
    write: writer::Queue,
    read: reader::Queue,
}

impl SqliteStore {
    /// Opens the store in this file. Makes the file, with access for its owner only, where there
    /// is none, and brings the tables of an older one up to date.
    ///
    /// Blocks the calling thread while it reads and writes the file.
    ///
    /// # Errors
    /// [`StoreError::Backend`] with a [`SqliteError`] as its source, which says what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path: PathBuf = path.as_ref().to_owned();
        schema::create_private(&path);
        let connection = schema::open_writer(&path)?;
        let head = writer::read_head(&connection)?;
        let guard = Arc::new(Guard::new(&path, head));
        let tail = Tail::new(Arc::clone(&guard));
        let flushes = Arc::new(AtomicU64::new(0));
        let (writer, write) = Writer::new(
            path.clone(),
            connection,
            Arc::clone(&flushes),
            Arc::clone(&tail),
            Arc::clone(&guard),
        );
        let (read, jobs) = reader::queue();
        let store = Self {
            queues: Mutex::new(Some(Queues { write, read })),
            threads: Mutex::default(),
            tail: Arc::clone(&tail),
            guard,
            flushes,
        };
        // From here on, an error drops the store, and that ends the threads started so far.
        for _ in 0..READERS {
            let connection = schema::open_reader(&path)?;
            let jobs = jobs.clone();
            store.start("mfagate-read", move || jobs.run(&connection))?;
        }
        store.start("mfagate-write", move || writer.run())?;
        store.start("mfagate-watch", move || tail.run(&path))?;
        Ok(store)
    }

    /// How many write transactions this store has committed: on a disk that is synchronous,
    /// that many flushes.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// Finishes what is queued, ends every watch and closes the file. Every later call fails, and
    /// so may one that overlaps with this. Dropped half-way, it goes on by itself.
    pub async fn close(&self) {
        let threads = self.hang_up();
        let (done, all_done) = oneshot::channel::<()>();
        let waiter = thread::Builder::new().name("mfagate-close".to_owned());
        let started = waiter.spawn(move || {
            join(threads);
            drop(done);
        });
        if started.is_ok() {
            // Ends when the sender is dropped: nothing is ever sent.
            drop(all_done.await);
        }
    }

    fn start(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), SqliteFault> {
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(SqliteFault::NoThread)?;
        lock(&self.threads).push(thread);
        Ok(())
    }

    /// Lets the threads end once their queues are empty.
    fn hang_up(&self) -> Vec<JoinHandle<()>> {
        lock(&self.queues).take();
        self.tail.close();
        std::mem::take(&mut lock(&self.threads))
    }

    fn queues(&self) -> Result<Queues, SqliteFault> {
        lock(&self.queues).clone().ok_or(SqliteFault::Closed)
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let outcome = self.queues()?.write.push(work)?;
        outcome.await.map_err(|_| SqliteFault::Closed)?
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.guard.pass()?;
        let outcome = self.queues()?.read.push(work)?;
        outcome.await.map_err(|_| SqliteFault::Closed)?
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        join(self.hang_up());
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        // A thread that panicked has ended too, and its callers have been told.
        drop(thread.join());
    }
}

/// No code that can panic runs under these locks, so a poisoned one is as good as new.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl PeerStore for SqliteStore {
    async fn users(&self) -> Result<Vec<User>, StoreError> {
        let sql = concat!("SELECT ", user_columns!(), " FROM users ORDER BY id");
        self.read(move |db| all(db, sql, [], rows::user)).await
    }

    async fn factors(&self, user: &UserId) -> Result<Vec<FactorRecord>, StoreError> {
        let user = user.clone();
        self.read(move |db| factors_of(db, &user)).await
    }

    async fn pass_factor(&self, pass: FactorPass) -> Result<PassOutcome, StoreError> {
        self.write(move |tx| intents::pass_factor(tx, &pass)).await
    }

    async fn enrol_factor(&self, new: FactorEnrolment) -> Result<Enrolled, StoreError> {
        self.write(move |tx| intents::enrol_factor(tx, &new)).await
    }

    async fn enrolment(
        &self,
        location: &LocationId,
        peer: &PublicKey,
    ) -> Result<Option<Enrolment>, StoreError> {
        let (location, peer) = (location.clone(), *peer);
        self.read(move |db| enrolment_of(db, &location, peer)).await
    }

    async fn record_failure(&self, failure: FactorFailure) -> Result<FailureRecorded, StoreError> {
        self.write(move |tx| intents::record_failure(tx, failure))
            .await
    }

    async fn open_session(&self, session: NewSession) -> Result<OpenOutcome, StoreError> {
        self.write(move |tx| intents::open_session(tx, &session))
            .await
    }

    async fn renew_session(&self, renewal: SessionRenewal) -> Result<Renewed, StoreError> {
        self.write(move |tx| intents::renew_session(tx, renewal))
            .await
    }

    async fn close_session(
        &self,
        session: SessionId,
        reason: EndReason,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        self.write(move |tx| intents::close_session(tx, session, reason, event))
            .await
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let sql = concat!("SELECT ", session_columns!(), " FROM sessions WHERE id = ?");
        self.read(move |db| one(db, sql, [session.as_bytes()], rows::session))
            .await
    }

    async fn live_sessions(&self, location: &LocationId) -> Result<Vec<SessionRecord>, StoreError> {
        let location = location.clone();
        let sql = concat!(
            "SELECT ",
            session_columns!(),
            " FROM sessions WHERE location = ? AND ended_at IS NULL ORDER BY peer"
        );
        self.read(move |db| all(db, sql, [location.as_str()], rows::session))
            .await
    }

    async fn append_audit(&self, event: AuditEvent) -> Result<(), StoreError> {
        self.write(move |tx| tx.append(event)).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.read(|db| Ok(writer::read_head(db)?)).await
    }

    async fn audit(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let Ok(from) = i64::try_from(from) else {
            return Ok(Vec::new());
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = concat!(
            "SELECT ",
            audit_columns!(),
            " FROM audit WHERE seq >= ? ORDER BY seq LIMIT ?"
        );
        self.read(move |db| all(db, sql, (from, limit), rows::audit))
            .await
    }

    fn watch(&self) -> ChangeStream {
        self.tail.watch()
    }
}

#[async_trait]
impl AdminStore for SqliteStore {
    async fn put_user(&self, user: User, event: AuditEvent) -> Result<(), StoreError> {
        self.write(move |tx| intents::put_user(tx, &user, event))
            .await
    }

    async fn change_user(
        &self,
        user: UserId,
        change: UserChange,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        self.write(move |tx| intents::change_user(tx, &user, change, event))
            .await
    }

    async fn put_peer(&self, peer: Peer, event: AuditEvent) -> Result<(), StoreError> {
        self.write(move |tx| intents::put_peer(tx, &peer, event))
            .await
    }

    async fn put_all(&self, all: Vec<(Put, AuditEvent)>) -> Result<(), StoreError> {
        self.write(move |tx| intents::put_all(tx, all)).await
    }

    async fn peers(&self, location: &LocationId) -> Result<Vec<Peer>, StoreError> {
        let location = location.clone();
        let sql = concat!(
            "SELECT ",
            peer_columns!(),
            " FROM peers WHERE location = ? ORDER BY key"
        );
        self.read(move |db| all(db, sql, [location.as_str()], rows::peer))
            .await
    }

    async fn add_factor(&self, factor: FactorRecord, event: AuditEvent) -> Result<(), StoreError> {
        self.write(move |tx| intents::add_factor(tx, &factor, event))
            .await
    }

    async fn activate_factor(
        &self,
        factor_use: FactorUse,
        throttle: Throttle,
        event: AuditEvent,
    ) -> Result<Activated, StoreError> {
        self.write(move |tx| intents::activate_factor(tx, &factor_use, &throttle, event))
            .await
    }

    async fn change_factor(
        &self,
        factor: FactorId,
        change: FactorChange,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        self.write(move |tx| intents::change_factor(tx, factor, &change, event))
            .await
    }

    async fn remove_factor(
        &self,
        factor: FactorId,
        last: LastFactor,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        self.write(move |tx| intents::remove_factor(tx, factor, last, event))
            .await
    }

    async fn reset_failures(
        &self,
        factor: FactorId,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        self.write(move |tx| intents::reset_failures(tx, factor, event))
            .await
    }

    async fn reseal_factor(
        &self,
        factor: FactorId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError> {
        let from = from.clone();
        self.write(move |tx| intents::reseal_factor(tx, factor, &from, &to))
            .await
    }

    async fn put_token(&self, token: EnrolmentToken, event: AuditEvent) -> Result<(), StoreError> {
        self.write(move |tx| intents::put_token(tx, &token, event))
            .await
    }

    async fn tokens(&self, user: &UserId) -> Result<Vec<EnrolmentToken>, StoreError> {
        let user = user.clone();
        self.read(move |db| tokens_of(db, &user)).await
    }

    async fn remove_token(&self, token: TokenId, event: AuditEvent) -> Result<bool, StoreError> {
        self.write(move |tx| intents::remove_token(tx, token, event))
            .await
    }

    async fn reseal_session(
        &self,
        session: SessionId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError> {
        let from = from.clone();
        self.write(move |tx| intents::reseal_session(tx, session, &from, &to))
            .await
    }
}

fn factors_of(db: &Connection, user: &UserId) -> Result<Vec<FactorRecord>, StoreError> {
    let sql = concat!(
        "SELECT ",
        factor_columns!(),
        " FROM factors WHERE user = ? ORDER BY ordinal"
    );
    all(db, sql, [user.as_str()], rows::factor)
}

fn tokens_of(db: &Connection, user: &UserId) -> Result<Vec<EnrolmentToken>, StoreError> {
    let sql = concat!(
        "SELECT ",
        token_columns!(),
        " FROM tokens WHERE user = ? ORDER BY ordinal"
    );
    all(db, sql, [user.as_str()], rows::token)
}

/// One consistent reading: four queries in one transaction.
fn enrolment_of(
    db: &Connection,
    location: &LocationId,
    peer: PublicKey,
) -> Result<Option<Enrolment>, StoreError> {
    let tx = db.unchecked_transaction().map_err(engine)?;
    let sql = concat!(
        "SELECT ",
        peer_columns!(),
        " FROM peers WHERE location = ? AND key = ?"
    );
    let params = (location.as_str(), peer.as_bytes());
    let Some(peer) = one(&tx, sql, params, rows::peer)? else {
        return Ok(None);
    };
    let sql = concat!("SELECT ", user_columns!(), " FROM users WHERE id = ?");
    let user = one(&tx, sql, [peer.user.as_str()], rows::user)?;
    let user = user.ok_or(StoreError::Corrupt { what: "a peer" })?;
    let factors = factors_of(&tx, &user.id)?;
    let tokens = tokens_of(&tx, &user.id)?;
    Ok(Some(Enrolment {
        peer,
        user,
        factors,
        tokens,
    }))
}
