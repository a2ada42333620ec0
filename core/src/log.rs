//! Log lines, written on a thread of their own.
//!
//! A subscriber is the embedder's code: it may block, as one does that writes to a pipe which is
//! full and which no one reads, and it may panic. Neither may hold up a removal or a deadline. So a
//! line is handed to this thread and never waited for; where the thread is behind by too many
//! lines, further ones are dropped, and how many is said once it writes again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
#[cfg(any(all(feature = "gate", feature = "runtime"), test))]
use std::time::Duration;

use tracing::Dispatch;
use tracing::dispatcher::{get_default, with_default};

/// How many lines may wait to be written.
const KEPT: usize = 1024;

type Line = Box<dyn FnOnce() + Send>;

/// The way to the thread; `None` where the system gave none, and every line is dropped.
static QUEUE: OnceLock<Option<SyncSender<Line>>> = OnceLock::new();
/// Lines that were dropped and not yet reported.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Writes a line some time later, to the subscriber of the calling thread. Returns at once, and
/// never panics.
pub(crate) fn later(line: impl FnOnce() + Send + 'static) {
    let subscriber = get_default(Dispatch::clone);
    push(Box::new(move || with_default(&subscriber, line)));
}

/// Waits until what was handed over before is written, at most this long.
#[cfg(any(all(feature = "gate", feature = "runtime"), test))]
pub(crate) fn flush(limit: Duration) {
    let (written, wait) = sync_channel(1);
    push(Box::new(move || _ = written.try_send(())));
    _ = wait.recv_timeout(limit);
}

/// An error and its causes, in one line.
#[cfg(feature = "runtime")]
pub(crate) fn in_a_line(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

fn push(line: Line) {
    let pushed = QUEUE
        .get_or_init(start)
        .as_ref()
        .map(|queue| queue.try_send(line));
    if !matches!(pushed, Some(Ok(()))) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn start() -> Option<SyncSender<Line>> {
    let (queue, lines) = sync_channel(KEPT);
    let thread = std::thread::Builder::new().name("mfagate-log".to_owned());
    // It is not waited for: a process ends also while a line can't be written.
    thread.spawn(move || write(&lines)).ok().map(|_| queue)
}

fn write(lines: &Receiver<Line>) {
    while let Ok(line) = lines.recv() {
        // A subscriber that panics loses its line, and no other.
        let report = || {
            line();
            let dropped = DROPPED.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(dropped, "the log is too slow: lines were dropped");
            }
        };
        _ = catch_unwind(AssertUnwindSafe(report));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Long enough for a machine that is busy with other tests.
    const PATIENCE: Duration = Duration::from_secs(20);

    // One test, since there is one thread for the whole process.
    #[test]
    fn a_line_that_blocks_or_panics_holds_nothing_up() {
        later(|| panic!("a subscriber's fault"));
        let (release, held) = channel::<()>();
        later(move || _ = held.recv());
        for _ in 0..2 * KEPT {
            later(|| {});
        }
        assert!(
            DROPPED.load(Ordering::Relaxed) > 0,
            "lines wait without limit"
        );
        release.send(()).unwrap();
        let (written, wait) = channel();
        let mut tries = 0;
        while wait.recv_timeout(Duration::from_millis(20)).is_err() {
            assert!(tries < 1000, "the thread is gone");
            tries += 1;
            let written = written.clone();
            later(move || _ = written.send(()));
        }
        flush(PATIENCE);
    }
}
