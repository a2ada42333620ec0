//! Being told to stop: by Ctrl-C, by `kill`, by a terminal that is closed. From the first line of the
//! program on, whatever it is waiting for.

use std::io;

use mfagate::terminal::{leave_ends_to_the_program, restore_echo};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The status of a program that was told to stop before it had done what it was for: that of SIGINT
/// in a shell, so that a script does not go on.
pub(crate) const STOPPED: u8 = 130;

/// Whether the program is to stop. Its clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Looks out for SIGINT, SIGTERM and SIGHUP. A second one ends the process at once.
    pub(crate) fn new() -> io::Result<Self> {
        let mut ends = vec![
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        ];
        // `nohup` has it ignored, and means it.
        if !is_hangup_ignored() {
            ends.push(signal(SignalKind::hangup())?);
        }
        leave_ends_to_the_program();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            any(&mut ends).await;
            _ = stop.send(true); // no one may be waiting
            any(&mut ends).await;
            restore_echo();
            std::process::exit(STOPPED.into());
        });
        Ok(Self(stopped))
    }

    /// Waits until the program is to stop. Cancel safe.
    pub(crate) async fn asked(&self) {
        let mut stopped = self.0.clone();
        if stopped.wait_for(|is_asked| *is_asked).await.is_err() {
            std::future::pending().await
        }
    }

    /// The outcome of some work, or `None` where the program is to stop before it is done.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.asked() => None,
            done = work => Some(done),
        }
    }
}

async fn any(signals: &mut [Signal]) {
    std::future::poll_fn(|context| {
        let is_there = |signal: &mut Signal| signal.poll_recv(context).is_ready();
        if signals.iter_mut().any(is_there) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// Whether the process was started with SIGHUP ignored, where the system says so.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1)
}
