//! The tokio runtime that everything runs in: one for the process, with one worker.

use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::error::MfagateError;

/// Never dropped: the app's process may end at any moment, whatever runs.
static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();

/// The runtime; it is made at the first call.
pub(crate) fn handle() -> Result<&'static Handle, MfagateError> {
    let made = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .thread_name("mfagate")
            .enable_all()
            .build()
            .ok()
    });
    let none = || {
        let explanation = "this device has no room for another thread: close other apps";
        MfagateError::fault("runtime-unavailable", explanation)
    };
    made.as_ref().map(Runtime::handle).ok_or_else(none)
}

/// Runs work on the runtime, whatever thread polls the result. Dropped, it ends the work.
pub(crate) async fn run<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, MfagateError> {
    AbortOnDrop(handle()?.spawn(work)).await
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, MfagateError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let joined = Pin::new(&mut self.0).poll(context);
        joined.map_err(|_| {
            let explanation = "this library failed in a way that it should not: report it";
            MfagateError::fault("panicked", explanation)
        })
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
