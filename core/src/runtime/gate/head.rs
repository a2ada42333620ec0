//! The head of the audit chain, as the gate last saw it: compared with the store at the start, and
//! written down while the gate runs.

use std::sync::Arc;
use std::time::Duration;

use super::perform::guarded;
use super::{Shared, StartFault};
use crate::audit::{Head, HeadFile, HeadFileError};
use crate::log;

/// How often it is written down at the most: a file is flushed each time.
const NOTE_EVERY: Duration = Duration::from_secs(1);

impl Shared {
    /// Compares the store with what was last seen of it, and writes down what is seen now. `true`
    /// says that the store is older, and that this was expected: what it says of sessions is not
    /// to be relied on, and nothing is written down before they have ended, so that a start that
    /// fails until then asks again.
    pub(super) async fn is_older_store(&self, accepts_older: bool) -> Result<bool, StartFault> {
        let Some(file) = &self.head_file else {
            return Ok(false);
        };
        let limit = self.timeouts.start;
        let store = Arc::clone(&self.store);
        let found = guarded(limit, async move { store.head().await }).await;
        let found = found
            .map_err(|_| StartFault::NotReconciled)?
            .map_err(StartFault::Store)?;
        let is_older = match self.on_file(file, HeadFile::read).await? {
            None => false,
            Some(seen) => {
                let store = Arc::clone(&self.store);
                let is_on = async move { HeadFile::is_on(&seen, store.as_ref()).await };
                let is_on = guarded(limit, is_on).await;
                let is_on = is_on
                    .map_err(|_| StartFault::NotReconciled)?
                    .map_err(StartFault::Store)?;
                if !is_on && !accepts_older {
                    return Err(StartFault::OlderStore { seen, found });
                }
                !is_on
            }
        };
        if is_older {
            let location = self.location.clone();
            log::later(move || {
                tracing::error!(%location, %found, "the store is older than it was: its sessions end");
            });
        } else {
            self.on_file(file, move |file| file.write(&found)).await?;
        }
        Ok(is_older)
    }

    /// Reads or writes the file, under the start's limit: a disk that hangs is a failed start.
    async fn on_file<T: Send + 'static>(
        &self,
        file: &HeadFile,
        call: impl FnOnce(&HeadFile) -> Result<T, HeadFileError> + Send + 'static,
    ) -> Result<T, StartFault> {
        let file = file.clone();
        let called = tokio::task::spawn_blocking(move || call(&file));
        let done = tokio::time::timeout(self.timeouts.start, called).await;
        let done = done.map_err(|_| StartFault::NotReconciled)?;
        Ok(done.map_err(|_| StartFault::Panicked)??)
    }

    /// Writes the head down when it may have moved, until the gate has stopped. An idle gate wakes
    /// for nothing.
    pub(super) async fn note_heads(self: Arc<Self>, file: HeadFile) {
        let mut noted = None;
        while !self.stopped.is_cancelled() {
            tokio::select! {
                () = self.head_moved.notified() => {}
                () = self.stopped.cancelled() => {}
            }
            self.note_head(&file, &mut noted).await;
            let pause = tokio::time::sleep(NOTE_EVERY);
            _ = self.stopped.run_until_cancelled(pause).await;
        }
        self.note_head(&file, &mut noted).await;
    }

    /// Writes the head down where it has moved forward. Only what the store has made durable is
    /// written, so that a crash never leaves a head that the store does not have.
    async fn note_head(&self, file: &HeadFile, noted: &mut Option<Head>) {
        let store = Arc::clone(&self.store);
        let head = guarded(self.timeouts.store, async move { store.head().await }).await;
        let Ok(Ok(head)) = head else {
            return;
        };
        if noted.is_some_and(|noted| head.seq <= noted.seq) {
            return;
        }
        let file = file.clone();
        let written = tokio::task::spawn_blocking(move || file.write(&head)).await;
        match written {
            Ok(Ok(())) => *noted = Some(head),
            Ok(Err(error)) => {
                let (location, error) = (self.location.clone(), log::in_a_line(&error));
                log::later(move || {
                    tracing::warn!(%location, error, "the head of the audit trail is not written down");
                });
            }
            Err(_) => {}
        }
    }
}
