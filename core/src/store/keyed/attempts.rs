//! How often a transaction is tried that others were faster than, and how long it waits in between.

use std::future::poll_fn;
use std::task::Poll;

use super::backend::BackendError;
use crate::store::StoreError;

/// Each conflict means that another transaction was committed, so attempts fail only while others
/// succeed. This many in a row are a backend that is not as it should be, or far too many gates.
const MOST: u32 = 128;

#[derive(Debug, Default)]
pub(super) struct Attempts {
    conflicts: u32,
}

impl Attempts {
    /// Waits before the next attempt. At first not at all: the faster one is done. Later for a
    /// time drawn at random, so that the gates of a deployment do not meet again and again.
    ///
    /// # Errors
    /// [`StoreError::Backend`], retryable, when there were too many. Nothing was changed then.
    pub(super) async fn conflict(&mut self) -> Result<(), StoreError> {
        self.conflicts += 1;
        if self.conflicts >= MOST {
            let error = "others changed the store at each of 128 attempts: try again";
            return Err(BackendError::unavailable(error).into());
        }
        if self.conflicts > 1 {
            rest(self.conflicts).await;
        }
        Ok(())
    }
}

/// Up to 2, 4, … 64 ms.
#[cfg(feature = "runtime")]
async fn rest(conflicts: u32) {
    if tokio::runtime::Handle::try_current().is_err() {
        return yield_once().await;
    }
    let mut random = [0; 2];
    // Without randomness the longest time is as good as any.
    let drawn = getrandom::fill(&mut random).map_or(u16::MAX, |()| u16::from_be_bytes(random));
    let longest = 1000_u64 << conflicts.min(6);
    let micros = longest * u64::from(drawn) / u64::from(u16::MAX);
    tokio::time::sleep(std::time::Duration::from_micros(micros)).await;
}

/// Without a runtime's clock, whatever else waits goes first.
#[cfg(not(feature = "runtime"))]
async fn rest(_conflicts: u32) {
    yield_once().await;
}

async fn yield_once() {
    let mut is_done = false;
    poll_fn(|cx| {
        if is_done {
            return Poll::Ready(());
        }
        is_done = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
