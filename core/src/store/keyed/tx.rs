//! One attempt at a transaction: what it has read, with versions, and what it is to write.
//!
//! The head of the audit chain is read with the first keys and written by every commit. So nothing
//! that this store has written can have changed between the first read and the commit, scans
//! included; that each key is compared as well is for a backend whose reads are older than they
//! should be.

use std::collections::BTreeMap;

use super::backend::{BackendError, Commit, Expected, KeyedBackend, Versioned, Write};
use super::encoding::{RecordEntry, SessionEntry, Stored, UserEntry, decode, encode, keys};
use crate::audit::{AuditEvent, Head, link};
use crate::id::{FactorId, UserId};
use crate::store::attribution;
use crate::store::{EndReason, SessionRecord, StoreError};
use crate::time::Timestamp;

pub(super) struct Tx<'a, B> {
    backend: &'a B,
    /// As it was read.
    begun: Head,
    begun_version: Option<u64>,
    /// With what is appended.
    head: Head,
    read: BTreeMap<Vec<u8>, Option<Versioned>>,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a, B: KeyedBackend> Tx<'a, B> {
    /// Reads the head, and these keys as of the same moment.
    pub(super) async fn begin(backend: &'a B, first: Vec<Vec<u8>>) -> Result<Self, StoreError> {
        let mut tx = Self {
            backend,
            begun: Head::EMPTY,
            begun_version: None,
            head: Head::EMPTY,
            read: BTreeMap::new(),
            writes: BTreeMap::new(),
        };
        let mut all = Vec::with_capacity(first.len() + 1);
        all.push(keys::head());
        all.extend(first);
        tx.load(all).await?;
        let head = tx.read.remove(&keys::head()).flatten();
        if let Some(found) = head {
            tx.begun = decode(&found.value)?;
            tx.begun_version = Some(found.version);
            tx.head = tx.begun;
        }
        Ok(tx)
    }

    /// The head that was read.
    pub(super) const fn begun(&self) -> Head {
        self.begun
    }

    pub(super) const fn begun_version(&self) -> Option<u64> {
        self.begun_version
    }

    /// The head with what was appended.
    pub(super) const fn head(&self) -> Head {
        self.head
    }

    pub(super) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Reads keys that will be asked for, in one call.
    pub(super) async fn load(&mut self, mut wanted: Vec<Vec<u8>>) -> Result<(), StoreError> {
        wanted.retain(|key| !self.read.contains_key(key));
        if wanted.is_empty() {
            return Ok(());
        }
        let found = read(self.backend, wanted.clone()).await?;
        self.read.extend(wanted.into_iter().zip(found));
        Ok(())
    }

    /// A value as it is with the transaction's own changes.
    pub(super) async fn get<T: Stored>(&mut self, key: Vec<u8>) -> Result<Option<T>, StoreError> {
        if let Some(written) = self.writes.get(&key) {
            return written.as_deref().map(decode).transpose();
        }
        if !self.read.contains_key(&key) {
            self.load(vec![key.clone()]).await?;
        }
        let found = self.read.get(&key).and_then(Option::as_ref);
        found.map(|found| decode(&found.value)).transpose()
    }

    /// The values of keys that a commit does not compare one by one: the head stands for them.
    pub(super) async fn peek<T: Stored>(&self, wanted: Vec<Vec<u8>>) -> Result<Vec<T>, StoreError> {
        let found = read(self.backend, wanted.clone()).await?;
        let mut values = Vec::new();
        for (key, found) in wanted.iter().zip(&found) {
            let read = found.as_ref().map(|found| found.value.as_slice());
            let now = match self.writes.get(key) {
                Some(written) => written.as_deref(),
                None => read,
            };
            values.extend(now.map(decode).transpose()?);
        }
        Ok(values)
    }

    /// The values of all keys that begin so, with the transaction's own changes.
    pub(super) async fn scan<T: Stored>(&self, prefix: Vec<u8>) -> Result<Vec<T>, StoreError> {
        let mut all: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        scan(self.backend, prefix.clone(), None, |key, value| {
            all.insert(key, value);
            true
        })
        .await?;
        let own = self.writes.range(prefix.clone()..);
        for (key, written) in own.take_while(|(key, _)| key.starts_with(&prefix)) {
            match written {
                Some(value) => all.insert(key.clone(), value.clone()),
                None => all.remove(key),
            };
        }
        all.values().map(|value| decode(value)).collect()
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: &impl Stored) {
        self.writes.insert(key, Some(encode(value)));
    }

    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    pub(super) async fn user(&mut self, id: &UserId) -> Result<Option<UserEntry>, StoreError> {
        self.get(keys::user(id)).await
    }

    pub(super) fn put_entry(&mut self, entry: &UserEntry) {
        self.put(keys::user(&entry.user.id), entry);
    }

    /// The user who has a factor.
    pub(super) async fn owner(&mut self, id: FactorId) -> Result<Option<UserEntry>, StoreError> {
        let Some(owner) = self.get::<UserId>(keys::factor(id)).await? else {
            return Ok(None);
        };
        let entry = self.user(&owner).await?;
        let has = |entry: &UserEntry| entry.factors.iter().any(|factor| factor.id == id);
        Ok(entry.filter(has))
    }

    /// Links an event to the chain.
    pub(super) fn append(&mut self, event: AuditEvent) -> Result<(), StoreError> {
        let failed = |error: serde_json::Error| StoreError::Backend(Box::new(error));
        let (next, json) = link(&self.head, &event).map_err(failed)?;
        let record = RecordEntry {
            previous: self.head.hash,
            hash: next.hash,
            event: json,
        };
        self.put(keys::record(next.seq), &record);
        self.head = next;
        Ok(())
    }

    /// The live sessions of a user, at every location.
    pub(super) async fn live_of(
        &mut self,
        entry: &UserEntry,
    ) -> Result<Vec<SessionRecord>, StoreError> {
        let places = entry.live.iter();
        let places: Vec<_> = places.map(|l| keys::live(&l.location, l.peer)).collect();
        self.load(places.clone()).await?;
        let mut found = Vec::with_capacity(places.len());
        for (key, live) in places.into_iter().zip(&entry.live) {
            let record: Option<SessionRecord> = self.get(key).await?;
            let record = record.filter(|record| record.id == live.session);
            // A session that is not where it should be is not one that may be left alone.
            found.push(record.ok_or(StoreError::Corrupt { what: "a session" })?);
        }
        Ok(found)
    }

    /// Ends a live session. `entry` is changed where the session is its user's, and is the caller's
    /// to put.
    pub(super) async fn end(
        &mut self,
        entry: &mut UserEntry,
        session: SessionRecord,
        reason: EndReason,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let id = session.id;
        if session.user == entry.user.id {
            entry.live.retain(|live| live.session != id);
        } else if let Some(mut other) = self.user(&session.user).await? {
            other.live.retain(|live| live.session != id);
            self.put_entry(&other);
        }
        self.remove(keys::live(&session.location, session.peer));
        let ended = Some((reason, at));
        let ended = SessionEntry::Ended(SessionRecord { ended, ..session });
        self.put(keys::session(id), &ended);
        Ok(())
    }

    /// Ends live sessions because of a change, which has this event, each with a record of its own.
    pub(super) async fn end_all(
        &mut self,
        entry: &mut UserEntry,
        live: Vec<SessionRecord>,
        reason: EndReason,
        event: &AuditEvent,
    ) -> Result<(), StoreError> {
        for session in live {
            self.append(attribution::ended_by(event, &session, reason))?;
            self.end(entry, session, reason, event.at).await?;
        }
        Ok(())
    }

    /// Writes all of it, if nothing that was read has changed.
    pub(super) async fn commit(self) -> Result<Commit, BackendError> {
        let mut expected = Vec::with_capacity(self.read.len() + 1);
        expected.push(Expected {
            key: keys::head(),
            version: self.begun_version,
        });
        expected.extend(self.read.into_iter().map(|(key, found)| Expected {
            key,
            version: found.map(|found| found.version),
        }));
        let mut writes = Vec::with_capacity(self.writes.len() + 1);
        // Also where nothing was appended, so that no two transactions pass each other.
        writes.push(Write {
            key: keys::head(),
            value: Some(encode(&self.head)),
        });
        let own = self.writes.into_iter();
        writes.extend(own.map(|(key, value)| Write { key, value }));
        self.backend.commit(expected, writes).await
    }

    /// Whether what was read is still so. Writes nothing.
    pub(super) async fn holds(self) -> Result<bool, BackendError> {
        let head = Expected {
            key: keys::head(),
            version: self.begun_version,
        };
        let rest = self.read.into_iter().map(|(key, found)| Expected {
            key,
            version: found.map(|found| found.version),
        });
        let expected = std::iter::once(head).chain(rest).collect();
        let outcome = self.backend.commit(expected, Vec::new()).await?;
        Ok(outcome == Commit::Committed)
    }
}

/// Reads keys, and holds the backend to answering for each.
pub(super) async fn read(
    backend: &impl KeyedBackend,
    wanted: Vec<Vec<u8>>,
) -> Result<Vec<Option<Versioned>>, StoreError> {
    // A read of nothing is an error to some backends.
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let count = wanted.len();
    let found = backend.read(wanted).await?;
    if found.len() == count {
        return Ok(found);
    }
    let error = BackendError::permanent("the backend did not answer for each key that was read");
    Err(error.into())
}

/// How many entries are asked for at once.
const PAGE: usize = 256;

/// Hands out all keys that begin so and are after `after`, in their order, while `take` says that it
/// wants more.
pub(super) async fn scan(
    backend: &impl KeyedBackend,
    prefix: Vec<u8>,
    mut after: Option<Vec<u8>>,
    mut take: impl FnMut(Vec<u8>, Vec<u8>) -> bool,
) -> Result<(), StoreError> {
    loop {
        let page = backend.scan(prefix.clone(), after.clone(), PAGE).await?;
        let is_last = !page.has_more || page.entries.is_empty();
        for entry in page.entries {
            // A backend that repeats itself would have this go on without an end.
            if !entry.key.starts_with(&prefix) || after.as_ref().is_some_and(|a| entry.key <= *a) {
                let error = "the backend scanned keys that were not asked for, or not in order";
                return Err(BackendError::permanent(error).into());
            }
            after = Some(entry.key.clone());
            if !take(entry.key, entry.found.value) {
                return Ok(());
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

impl From<BackendError> for StoreError {
    fn from(error: BackendError) -> Self {
        Self::Backend(Box::new(error))
    }
}
