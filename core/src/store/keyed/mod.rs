#![doc = include_str!("docs.md")]

mod attempts;
mod backend;
mod claim;
mod encoding;
mod factors;
mod memory;
mod people;
mod sessions;
mod turns;
mod tx;
mod watch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

pub use backend::{BackendError, Commit, Entry, Expected, KeyedBackend, Page, Versioned, Write};
pub use memory::Memory;

use self::attempts::Attempts;
use self::claim::{of_claim, of_session};
use self::encoding::{PeerEntry, SessionEntry, Stored, UserEntry, decode, keys};
use self::turns::Turns;
use self::tx::Tx;
use super::judge::Claim;
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

/// A whole store over a key-value store: see the [module](self). Clones are the same store.
pub struct Keyed<B> {
    inner: Arc<Inner<B>>,
}

struct Inner<B> {
    backend: B,
    turns: Turns,
    /// The furthest head that was seen committed.
    known: Mutex<Head>,
    is_replaced: AtomicBool,
}

/// What a reading found, as of one moment.
struct Found {
    head: Head,
    version: Option<u64>,
    values: Vec<Option<Versioned>>,
}

/// Runs a transaction until it is decided: in its turn, and once more for each time that others
/// were faster. The work may run several times; what it decided counts only once it is committed.
macro_rules! transact {
    ($store:expr, $first:expr, |$tx:ident| $work:expr) => {{
        let store = $store;
        let _turn = store.inner.turns.take().await;
        let mut attempts = Attempts::default();
        loop {
            if let Some(mut $tx) = store.begin($first).await? {
                let outcome = $work.await;
                if let Some(decided) = store.end($tx, outcome).await? {
                    break decided;
                }
            }
            attempts.conflict().await?;
        }
    }};
}

impl<B: KeyedBackend> Keyed<B> {
    /// The store in this backend, which is empty or has been written by this type before.
    ///
    /// # Errors
    /// [`StoreError::Backend`] when the backend can't be read, [`StoreError::Corrupt`] when what it
    /// holds is something else.
    pub async fn open(backend: B) -> Result<Self, StoreError> {
        let store = Self::over(backend);
        store.fetch(Vec::new()).await?;
        Ok(store)
    }

    /// What the store is kept in.
    pub fn backend(&self) -> &B {
        &self.inner.backend
    }

    fn over(backend: B) -> Self {
        Self {
            inner: Arc::new(Inner {
                backend,
                turns: Turns::default(),
                known: Mutex::new(Head::EMPTY),
                is_replaced: AtomicBool::new(false),
            }),
        }
    }

    /// `None` where the backend answered with what was so earlier.
    async fn begin(&self, first: Vec<Vec<u8>>) -> Result<Option<Tx<'_, B>>, StoreError> {
        self.pass()?;
        let known = self.known();
        let tx = Tx::begin(self.backend(), first).await?;
        let goes_on = self.goes_on(known, tx.begun(), tx.begun_version()).await?;
        Ok(goes_on.then_some(tx))
    }

    /// Commits what was decided, or sees that what it was decided by is still so. `None` where it is
    /// not: then nothing has changed.
    async fn end<T>(
        &self,
        tx: Tx<'_, B>,
        outcome: Result<T, StoreError>,
    ) -> Result<Option<Result<T, StoreError>>, StoreError> {
        let head = tx.head();
        let is_decided = match &outcome {
            Err(StoreError::Backend(_) | StoreError::Replaced) => true,
            Ok(_) if tx.has_writes() => {
                // An error of a commit is passed on and not tried again: it may have been made.
                let is_committed = tx.commit().await? == Commit::Committed;
                if is_committed {
                    self.saw(head);
                }
                is_committed
            }
            Ok(_)
            | Err(
                StoreError::UnknownUser
                | StoreError::Conflict
                | StoreError::AddressTaken { .. }
                | StoreError::CredentialTaken
                | StoreError::LastFactor
                | StoreError::Refused { .. }
                | StoreError::Corrupt { .. },
            ) => tx.holds().await?,
        };
        Ok(is_decided.then_some(outcome))
    }

    /// Reads keys as of one moment, with the head.
    async fn fetch(&self, wanted: Vec<Vec<u8>>) -> Result<Found, StoreError> {
        let mut attempts = Attempts::default();
        loop {
            self.pass()?;
            let known = self.known();
            let mut all = Vec::with_capacity(wanted.len() + 1);
            all.push(keys::head());
            all.extend(wanted.iter().cloned());
            let mut values = tx::read(self.backend(), all).await?;
            let head = values.remove(0);
            let version = head.as_ref().map(|found| found.version);
            let head = head.map(|found| decode(&found.value)).transpose()?;
            let head = head.unwrap_or(Head::EMPTY);
            if self.goes_on(known, head, version).await? {
                self.saw(head);
                return Ok(Found {
                    head,
                    version,
                    values,
                });
            }
            attempts.conflict().await?;
        }
    }

    async fn fetch_one<T: Stored>(&self, key: Vec<u8>) -> Result<Option<T>, StoreError> {
        let found = self.fetch(vec![key]).await?.values.pop().flatten();
        found.map(|found| decode(&found.value)).transpose()
    }

    async fn scan<T: Stored>(&self, prefix: Vec<u8>) -> Result<Vec<T>, StoreError> {
        // Tells whether the store is still the one that was opened.
        self.fetch(Vec::new()).await?;
        let mut found = Vec::new();
        tx::scan(self.backend(), prefix, None, |_, value| {
            found.push(decode(&value));
            true
        })
        .await?;
        found.into_iter().collect()
    }

    /// Whether a head that was read goes on from one that was known before the reading began. Where
    /// it does not, the backend's own comparison says why: what it holds is another store, which is
    /// an error for good, or the reading was of an earlier state, which is `false`.
    async fn goes_on(
        &self,
        known: Head,
        head: Head,
        version: Option<u64>,
    ) -> Result<bool, StoreError> {
        if known == Head::EMPTY || head == known {
            return Ok(true);
        }
        if head.seq > known.seq {
            let key = vec![keys::record(known.seq)];
            let record = tx::read(self.backend(), key).await?.pop().flatten();
            if let Some(record) = record {
                let record: encoding::RecordEntry = decode(&record.value)?;
                if record.hash == known.hash {
                    return Ok(true);
                }
            }
        }
        let key = keys::head();
        let expected = vec![Expected { key, version }];
        match self.backend().commit(expected, Vec::new()).await? {
            Commit::Conflict => Ok(false),
            Commit::Committed => {
                self.inner.is_replaced.store(true, Ordering::Relaxed);
                Err(StoreError::Replaced)
            }
        }
    }

    /// Fails for good once the store was seen to be another.
    fn pass(&self) -> Result<(), StoreError> {
        if self.inner.is_replaced.load(Ordering::Relaxed) {
            return Err(StoreError::Replaced);
        }
        Ok(())
    }

    fn known(&self) -> Head {
        *self.lock()
    }

    fn saw(&self, head: Head) {
        let mut known = self.lock();
        if head.seq > known.seq {
            *known = head;
        }
    }

    /// No code that can panic runs under this lock, so a poisoned one is as good as new.
    fn lock(&self) -> MutexGuard<'_, Head> {
        let known = &self.inner.known;
        known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keyed<Memory> {
    /// An empty store in memory: for tests and demonstrations. Nothing outlives the process, failure
    /// counts included; a gate that lets people in for real needs a store that does.
    pub fn new() -> Self {
        Self::over(Memory::new())
    }
}

impl Default for Keyed<Memory> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> Clone for Keyed<B> {
    fn clone(&self) -> Self {
        let inner = Arc::clone(&self.inner);
        Self { inner }
    }
}

impl<B> std::fmt::Debug for Keyed<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyed").finish_non_exhaustive()
    }
}

#[async_trait]
impl<B: KeyedBackend> PeerStore for Keyed<B> {
    async fn users(&self) -> Result<Vec<User>, StoreError> {
        let entries: Vec<UserEntry> = self.scan(keys::USERS.to_vec()).await?;
        Ok(entries.into_iter().map(|entry| entry.user).collect())
    }

    async fn factors(&self, user: &UserId) -> Result<Vec<FactorRecord>, StoreError> {
        let entry: Option<UserEntry> = self.fetch_one(keys::user(user)).await?;
        Ok(entry.map(|entry| entry.factors).unwrap_or_default())
    }

    async fn pass_factor(&self, pass: FactorPass) -> Result<PassOutcome, StoreError> {
        let first = of_claim(&Claim::from(&pass));
        transact!(self, first.clone(), |tx| tx.pass_factor(&pass))
    }

    async fn enrol_factor(&self, new: FactorEnrolment) -> Result<Enrolled, StoreError> {
        let mut first = of_claim(&Claim::from(&new));
        first.push(keys::factor(new.factor.id));
        transact!(self, first.clone(), |tx| tx.enrol_factor(new.clone()))
    }

    async fn enrolment(
        &self,
        location: &LocationId,
        peer: &PublicKey,
    ) -> Result<Option<Enrolment>, StoreError> {
        let place = keys::peer(location, *peer);
        let mut attempts = Attempts::default();
        loop {
            let Some(first) = self.fetch_one::<PeerEntry>(place.clone()).await? else {
                return Ok(None);
            };
            // Once more, with its owner, as of one moment.
            let owner = keys::user(&first.peer.user);
            let found = self.fetch(vec![place.clone(), owner]).await?.values;
            let [Some(peer), user] = &*found else {
                return Ok(None);
            };
            let PeerEntry { peer, .. } = decode(&peer.value)?;
            if peer.user == first.peer.user {
                let what = "a peer";
                let user = user.as_ref().ok_or(StoreError::Corrupt { what })?;
                let entry: UserEntry = decode(&user.value)?;
                return Ok(Some(Enrolment {
                    peer,
                    user: entry.user,
                    factors: entry.factors,
                    tokens: entry.tokens,
                }));
            }
            attempts.conflict().await?;
        }
    }

    async fn record_failure(&self, failure: FactorFailure) -> Result<FailureRecorded, StoreError> {
        let first = vec![keys::factor(failure.factor)];
        transact!(self, first.clone(), |tx| tx.record_failure(failure.clone()))
    }

    async fn open_session(&self, new: NewSession) -> Result<OpenOutcome, StoreError> {
        let first = of_session(&new);
        transact!(self, first.clone(), |tx| tx.open_session(&new))
    }

    async fn renew_session(&self, renewal: SessionRenewal) -> Result<Renewed, StoreError> {
        let first = vec![keys::session(renewal.id)];
        transact!(self, first.clone(), |tx| tx.renew_session(renewal.clone()))
    }

    async fn close_session(
        &self,
        id: SessionId,
        reason: EndReason,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let first = vec![keys::session(id)];
        transact!(self, first.clone(), |tx| {
            tx.close_session(id, reason, event.clone())
        })
    }

    async fn session(&self, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let key = keys::session(id);
        let mut attempts = Attempts::default();
        loop {
            let (location, peer) = match self.fetch_one::<SessionEntry>(key.clone()).await? {
                None => return Ok(None),
                Some(SessionEntry::Ended(record)) => return Ok(Some(record)),
                Some(SessionEntry::Live(location, peer)) => (location, peer),
            };
            let live = self.fetch_one(keys::live(&location, peer)).await?;
            let live: Option<SessionRecord> = live.filter(|live: &SessionRecord| live.id == id);
            if live.is_some() {
                return Ok(live);
            }
            // It has ended in between.
            attempts.conflict().await?;
        }
    }

    async fn live_sessions(&self, location: &LocationId) -> Result<Vec<SessionRecord>, StoreError> {
        self.scan(keys::lives(location)).await
    }

    async fn append_audit(&self, event: AuditEvent) -> Result<(), StoreError> {
        transact!(self, Vec::new(), |tx| async { tx.append(event.clone()) })
    }

    async fn head(&self) -> Result<Head, StoreError> {
        Ok(self.fetch(Vec::new()).await?.head)
    }

    async fn audit(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        self.fetch(Vec::new()).await?;
        let before = from.saturating_sub(1);
        let (mut seq, mut records) = (before, Vec::new());
        if limit == 0 {
            return Ok(records);
        }
        let (prefix, after) = (keys::RECORDS.to_vec(), keys::record(before));
        let mut found = Vec::new();
        tx::scan(self.backend(), prefix, Some(after), |key, value| {
            found.push((key, value));
            found.len() < limit
        })
        .await?;
        for (key, value) in found {
            seq = seq.saturating_add(1);
            if key != keys::record(seq) {
                let what = "an audit record";
                return Err(StoreError::Corrupt { what });
            }
            records.push(watch::record(seq, &decode(&value)?)?);
        }
        Ok(records)
    }

    fn watch(&self) -> ChangeStream {
        watch::watch(self.clone())
    }
}

#[async_trait]
impl<B: KeyedBackend> AdminStore for Keyed<B> {
    async fn put_user(&self, user: User, event: AuditEvent) -> Result<(), StoreError> {
        let first = vec![keys::user(&user.id)];
        transact!(self, first.clone(), |tx| {
            tx.put_user(user.clone(), event.clone())
        })
    }

    async fn change_user(
        &self,
        user: UserId,
        change: UserChange,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        let first = vec![keys::user(&user)];
        transact!(self, first.clone(), |tx| {
            tx.change_user(user.clone(), change.clone(), event.clone())
        })
    }

    async fn put_peer(&self, peer: Peer, event: AuditEvent) -> Result<(), StoreError> {
        transact!(self, Vec::new(), |tx| {
            tx.put_peer(peer.clone(), event.clone())
        })
    }

    async fn put_all(&self, all: Vec<(Put, AuditEvent)>) -> Result<(), StoreError> {
        transact!(self, Vec::new(), |tx| tx.put_all(all.clone()))
    }

    async fn peers(&self, location: &LocationId) -> Result<Vec<Peer>, StoreError> {
        let entries: Vec<PeerEntry> = self.scan(keys::peers(location)).await?;
        Ok(entries.into_iter().map(|entry| entry.peer).collect())
    }

    async fn add_factor(&self, factor: FactorRecord, event: AuditEvent) -> Result<(), StoreError> {
        transact!(self, Vec::new(), |tx| {
            tx.add_factor(factor.clone(), event.clone())
        })
    }

    async fn activate_factor(
        &self,
        factor_use: FactorUse,
        throttle: Throttle,
        event: AuditEvent,
    ) -> Result<Activated, StoreError> {
        let first = vec![keys::factor(factor_use.factor)];
        transact!(self, first.clone(), |tx| {
            tx.activate_factor(&factor_use, &throttle, event.clone())
        })
    }

    async fn change_factor(
        &self,
        factor: FactorId,
        change: FactorChange,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let first = vec![keys::factor(factor)];
        transact!(self, first.clone(), |tx| {
            tx.change_factor(factor, change.clone(), event.clone())
        })
    }

    async fn remove_factor(
        &self,
        factor: FactorId,
        last: LastFactor,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let first = vec![keys::factor(factor)];
        transact!(self, first.clone(), |tx| {
            tx.remove_factor(factor, last, event.clone())
        })
    }

    async fn reset_failures(
        &self,
        factor: FactorId,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let first = vec![keys::factor(factor)];
        transact!(self, first.clone(), |tx| {
            tx.reset_failures(factor, event.clone())
        })
    }

    async fn reseal_factor(
        &self,
        factor: FactorId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError> {
        let first = vec![keys::factor(factor)];
        transact!(self, first.clone(), |tx| {
            tx.reseal_factor(factor, from, to.clone())
        })
    }

    async fn put_token(&self, token: EnrolmentToken, event: AuditEvent) -> Result<(), StoreError> {
        transact!(self, Vec::new(), |tx| {
            tx.put_token(token.clone(), event.clone())
        })
    }

    async fn tokens(&self, user: &UserId) -> Result<Vec<EnrolmentToken>, StoreError> {
        let entry: Option<UserEntry> = self.fetch_one(keys::user(user)).await?;
        Ok(entry.map(|entry| entry.tokens).unwrap_or_default())
    }

    async fn remove_token(&self, token: TokenId, event: AuditEvent) -> Result<bool, StoreError> {
        let first = vec![keys::token(token)];
        transact!(self, first.clone(), |tx| {
            tx.remove_token(token, event.clone())
        })
    }

    async fn reseal_session(
        &self,
        session: SessionId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError> {
        let first = vec![keys::session(session)];
        transact!(self, first.clone(), |tx| {
            tx.reseal_session(session, from, to.clone())
        })
    }
}
