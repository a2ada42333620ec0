//! What others have changed, told from the audit trail: every change that bears on a gate has its
//! record, so what came after the last record that was seen is what changed.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::Keyed;
use super::backend::KeyedBackend;
use super::encoding::{RecordEntry, decode, keys};
use super::tx;
use crate::audit::{AuditEvent, AuditRecord};
use crate::store::{ChangeSet, ChangeStream, StoreError};

/// How many records are read at once.
const RECORDS: u64 = 256;

/// Changes from now on.
pub(super) fn watch<B: KeyedBackend>(store: Keyed<B>) -> ChangeStream {
    // Taken in the call itself: what is committed from here on has a greater number.
    let seen = store.known().seq;
    let watch = Watch {
        store,
        seen,
        version: None,
    };
    Box::pin(Steps(Some(Box::pin(watch.next()))))
}

struct Watch<B> {
    store: Keyed<B>,
    /// The number of the last record that was told.
    seen: u64,
    /// The version of the head that was looked at last.
    version: Option<u64>,
}

type Told<B> = (Result<ChangeSet, StoreError>, Option<Watch<B>>);

/// A stream of what one future after another gives.
struct Steps<B>(Option<Pin<Box<dyn Future<Output = Told<B>> + Send>>>);

impl<B: KeyedBackend> Stream for Steps<B> {
    type Item = Result<ChangeSet, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(step) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let Poll::Ready((told, rest)) = step.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        self.0 = None;
        if let Some(watch) = rest {
            self.0 = Some(Box::pin(watch.next()));
        }
        Poll::Ready(Some(told))
    }
}

impl<B: KeyedBackend> Watch<B> {
    async fn next(mut self) -> Told<B> {
        loop {
            match self.look().await {
                Ok(changes) if changes.is_empty() => {}
                Ok(changes) => return (Ok(changes), Some(self)),
                Err(error) => return (Err(error), None),
            }
        }
    }

    async fn look(&mut self) -> Result<ChangeSet, StoreError> {
        let backend = self.store.backend();
        backend.changes(keys::head(), self.version).await?;
        let now = self.store.fetch(Vec::new()).await?;
        let mut changes = ChangeSet::default();
        let last = now.head.seq.min(self.seen.saturating_add(RECORDS));
        let wanted = (self.seen + 1..=last).map(keys::record).collect();
        for found in tx::read(backend, wanted).await? {
            let what = "an audit record";
            let found = found.ok_or(StoreError::Corrupt { what })?;
            let more = ChangeSet::of(&event(&decode(&found.value)?)?);
            changes.sessions.extend(more.sessions);
            changes.peers.extend(more.peers);
            changes.users.extend(more.users);
        }
        self.seen = last;
        // Where more is to be told, the next look comes at once.
        if last == now.head.seq {
            self.version = now.version;
        }
        Ok(changes)
    }
}

/// The event of a record, as it was written: its hash is over those bytes, so another spelling of
/// the same event is not the record.
fn event(entry: &RecordEntry) -> Result<AuditEvent, StoreError> {
    let corrupt = StoreError::Corrupt {
        what: "an audit record",
    };
    let Ok(event) = serde_json::from_str(&entry.event) else {
        return Err(corrupt);
    };
    match serde_json::to_string(&event) {
        Ok(again) if again == entry.event => Ok(event),
        Ok(_) | Err(_) => Err(corrupt),
    }
}

/// A record as it is handed out.
pub(super) fn record(seq: u64, entry: &RecordEntry) -> Result<AuditRecord, StoreError> {
    use data_encoding::HEXLOWER;
    Ok(AuditRecord {
        seq,
        previous: HEXLOWER.encode(&entry.previous),
        event: event(entry)?,
        hash: HEXLOWER.encode(&entry.hash),
    })
}
