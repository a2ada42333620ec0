//! A call under way: it runs on our runtime, and ends early when the app cancels it or closes the
//! client.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::MfagateError;
use crate::runtime;

/// Cancels the call that it is given to, before the call began or while it is under way. One
/// serves one call.
#[derive(Debug, uniffi::Object)]
pub struct Cancellation {
    is_cancelled: watch::Sender<bool>,
}

#[uniffi::export]
impl Cancellation {
    /// A cancellation that has not been used.
    #[uniffi::constructor]
    pub fn new() -> Result<Arc<Self>, MfagateError> {
        Ok(Arc::new(Self {
            is_cancelled: watch::Sender::new(false),
        }))
    }

    /// Ends the call with `UserCancelled`.
    pub fn cancel(&self) -> Result<(), MfagateError> {
        self.is_cancelled.send_replace(true);
        Ok(())
    }
}

/// The calls of one client.
#[derive(Debug)]
pub(crate) struct Calls {
    is_closed: watch::Sender<bool>,
    /// Counts the times that the attempt under way was cancelled.
    cancelled: watch::Sender<u64>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self {
            is_closed: watch::Sender::new(false),
            cancelled: watch::Sender::new(0),
        }
    }

    /// Ends the attempt that is under way.
    pub(crate) fn cancel(&self) {
        self.cancelled
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Ends all calls that are under way; later ones fail at once.
    pub(crate) fn close(&self) {
        self.is_closed.send_replace(true);
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.is_closed.borrow()
    }

    /// Runs an attempt: [`cancel`](Self::cancel) ends it, too.
    pub(crate) async fn attempt<T: Send + 'static>(
        &self,
        cancellation: Option<Arc<Cancellation>>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, MfagateError> {
        let mut cancelled = self.cancelled.subscribe();
        tokio::select! {
            biased;
            _ = cancelled.changed() => Err(MfagateError::cancelled()),
            done = self.run(cancellation, work) => done,
        }
    }

    /// Runs a call.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        cancellation: Option<Arc<Cancellation>>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, MfagateError> {
        let mut is_closed = self.is_closed.subscribe();
        tokio::select! {
            biased;
            _ = is_closed.wait_for(|is| *is) => Err(MfagateError::stopped()),
            () = cancelled(cancellation) => Err(MfagateError::cancelled()),
            done = runtime::run(work) => done,
        }
    }
}

/// Waits until a call is cancelled.
pub(crate) async fn cancelled(cancellation: Option<Arc<Cancellation>>) {
    let Some(cancellation) = cancellation else {
        return std::future::pending().await;
    };
    let mut is_cancelled = cancellation.is_cancelled.subscribe();
    // The sender is held here, so that this waits for nothing else.
    _ = is_cancelled.wait_for(|is| *is).await;
}
