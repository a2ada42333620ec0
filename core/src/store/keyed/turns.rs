//! Turns: one transaction of a process at a time, in the order in which they came.
//!
//! Every transaction moves the head of the audit chain, so two at once can't both commit. Within a
//! process they wait for each other instead of failing each other, and none is overtaken: that is
//! what keeps one busy user from starving another.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// The first has its turn.
    line: BTreeMap<u64, Option<Waker>>,
}

/// A place in the line; at its front, the turn. Dropped, it lets the next one go.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    number: u64,
}

impl Turns {
    /// Waits for a turn.
    pub(super) async fn take(&self) -> Turn<'_> {
        let turn = self.line_up();
        poll_fn(|cx| {
            let mut waiting = self.lock();
            if waiting.line.keys().next() == Some(&turn.number) {
                return Poll::Ready(());
            }
            let waker = Some(cx.waker().clone());
            waiting.line.insert(turn.number, waker);
            Poll::Pending
        })
        .await;
        turn
    }

    fn line_up(&self) -> Turn<'_> {
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.line.insert(number, None);
        Turn {
            turns: self,
            number,
        }
    }

    /// No code that can panic runs under this lock, so a poisoned one is as good as new.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = self.turns.lock();
        waiting.line.remove(&self.number);
        let next = waiting.line.first_entry();
        let waker = next.and_then(|mut next| next.get_mut().take());
        drop(waiting);
        waker.into_iter().for_each(Waker::wake);
    }
}
