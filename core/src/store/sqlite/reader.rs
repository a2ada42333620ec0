//! A few threads that read, so that no caller's executor waits for the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::SqliteFault;
use crate::store::StoreError;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The queue's near end.
#[derive(Debug, Clone)]
pub(super) struct Queue(mpsc::Sender<Job>);

/// The queue's far end, for any number of threads.
#[derive(Clone)]
pub(super) struct Jobs(Arc<Mutex<mpsc::Receiver<Job>>>);

pub(super) fn queue() -> (Queue, Jobs) {
    let (sender, jobs) = mpsc::channel();
    (Queue(sender), Jobs(Arc::new(Mutex::new(jobs))))
}

impl Queue {
    pub(super) fn push<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, SqliteFault> {
        let (reply, outcome) = oneshot::channel();
        let job = move |connection: &Connection| {
            if reply.is_closed() {
                return;
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| work(connection)))
                .unwrap_or_else(|_| Err(SqliteFault::Panicked.into()));
            // No one listens any more when the caller has given up.
            drop(reply.send(outcome));
        };
        self.0
            .send(Box::new(job))
            .map_err(|_| SqliteFault::Closed)?;
        Ok(outcome)
    }
}

impl Jobs {
    /// Works until the queue is empty and no one can fill it any more.
    pub(super) fn run(self, connection: &Connection) {
        loop {
            let job = self.0.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            job(connection);
            if !connection.is_autocommit() {
                // A reading that ended inside of its transaction would see old rows forever.
                drop(connection.execute_batch("ROLLBACK"));
            }
        }
    }
}
