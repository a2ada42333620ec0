//! Hands changes to those who watch a store: for those who write one whose engine tells it of
//! changes. Knows nothing of where they come from.
//!
//! Each watcher has one merged set of what it has not seen, so a slow watcher costs memory for
//! the distinct things that changed, never for each change, and up to a bound.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use super::{ChangeSet, ChangeStream, StoreError};
use crate::id::{SessionId, UserId};
use crate::key::PublicKey;

/// A watcher that has more than this many changed things to look at had better look at all.
const MOST_PENDING: usize = 65_536;

/// All who watch one store.
#[derive(Debug, Default)]
pub struct Feed {
    watchers: Vec<Weak<Mutex<Pending>>>,
}

#[derive(Debug, Default)]
struct Pending {
    sessions: BTreeSet<SessionId>,
    peers: BTreeSet<PublicKey>,
    users: BTreeSet<UserId>,
    end: End,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    Open,
    Failed(StoreError),
    Over,
}

impl Feed {
    /// One more watcher, of changes published from now on.
    pub fn watch(&mut self) -> ChangeStream {
        let pending = Arc::new(Mutex::new(Pending::default()));
        self.watchers.push(Arc::downgrade(&pending));
        Box::pin(Watcher(pending))
    }

    /// Whether anybody still watches.
    pub fn is_watched(&mut self) -> bool {
        self.watchers.retain(|watcher| watcher.strong_count() > 0);
        !self.watchers.is_empty()
    }

    /// Tells every watcher.
    pub fn publish(&mut self, changes: &ChangeSet) {
        if changes.is_empty() {
            return;
        }
        self.watchers.retain(|watcher| {
            let Some(pending) = watcher.upgrade() else {
                return false;
            };
            let mut pending = lock(&pending);
            pending.add(changes);
            let waker = pending.waker.take();
            let open = matches!(pending.end, End::Open);
            drop(pending);
            waker.into_iter().for_each(Waker::wake);
            open
        });
    }

    /// Ends every watcher's stream with an error.
    pub fn fail(&mut self, error: impl Fn() -> StoreError) {
        for pending in self.watchers.drain(..).filter_map(|w| w.upgrade()) {
            let mut pending = lock(&pending);
            pending.end = End::Failed(error());
            let waker = pending.waker.take();
            drop(pending);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Feed {
    /// No one is left to promise that no change is missed.
    fn drop(&mut self) {
        self.fail(|| StoreError::Backend("the store that was watched is closed".into()));
    }
}

impl Pending {
    fn add(&mut self, changes: &ChangeSet) {
        self.sessions.extend(&changes.sessions);
        self.peers.extend(&changes.peers);
        self.users.extend(changes.users.iter().cloned());
        if self.sessions.len() + self.peers.len() + self.users.len() > MOST_PENDING {
            self.take();
            let error = "a watcher of the store fell behind".into();
            self.end = End::Failed(StoreError::Backend(error));
        }
    }

    fn take(&mut self) -> ChangeSet {
        ChangeSet {
            sessions: std::mem::take(&mut self.sessions).into_iter().collect(),
            peers: std::mem::take(&mut self.peers).into_iter().collect(),
            users: std::mem::take(&mut self.users).into_iter().collect(),
        }
    }
}

struct Watcher(Arc<Mutex<Pending>>);

impl Stream for Watcher {
    type Item = Result<ChangeSet, StoreError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut pending = lock(&self.0);
        let changes = pending.take();
        if !changes.is_empty() {
            return Poll::Ready(Some(Ok(changes)));
        }
        match std::mem::replace(&mut pending.end, End::Over) {
            End::Open => {
                pending.end = End::Open;
                pending.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            End::Failed(error) => Poll::Ready(Some(Err(error))),
            End::Over => Poll::Ready(None),
        }
    }
}

/// No code that can panic runs under this lock, so a poisoned one is as good as new.
fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(stream: &mut ChangeStream) -> Poll<Option<Result<ChangeSet, StoreError>>> {
        let mut cx = Context::from_waker(Waker::noop());
        stream.as_mut().poll_next(&mut cx)
    }

    fn session(n: u8) -> ChangeSet {
        ChangeSet {
            sessions: vec![SessionId::from_bytes([n; 16])],
            ..ChangeSet::default()
        }
    }

    #[test]
    fn changes_of_one_thing_are_told_once_and_then_nothing() {
        let mut feed = Feed::default();
        let mut stream = feed.watch();
        feed.publish(&session(1));
        feed.publish(&session(1));
        assert!(matches!(poll(&mut stream), Poll::Ready(Some(Ok(c))) if c == session(1)));
        assert!(poll(&mut stream).is_pending());
    }

    #[test]
    fn a_watcher_that_falls_too_far_behind_is_told_so_and_nothing_else() {
        let mut feed = Feed::default();
        let mut stream = feed.watch();
        for n in 0..=u128::try_from(MOST_PENDING).unwrap() {
            feed.publish(&ChangeSet {
                sessions: vec![SessionId::from_bytes(n.to_be_bytes())],
                ..ChangeSet::default()
            });
        }
        assert!(matches!(poll(&mut stream), Poll::Ready(Some(Err(_)))));
        assert!(matches!(poll(&mut stream), Poll::Ready(None)));
    }

    #[test]
    fn the_end_of_the_store_is_an_error_to_its_watchers() {
        let mut feed = Feed::default();
        let mut stream = feed.watch();
        feed.publish(&session(1));
        drop(feed);
        assert!(matches!(poll(&mut stream), Poll::Ready(Some(Ok(_)))));
        assert!(matches!(poll(&mut stream), Poll::Ready(Some(Err(_)))));
        assert!(matches!(poll(&mut stream), Poll::Ready(None)));
    }

    #[test]
    fn who_does_not_watch_any_more_is_forgotten() {
        let mut feed = Feed::default();
        let stream = feed.watch();
        assert!(feed.is_watched());
        drop(stream);
        assert!(!feed.is_watched());
    }
}
