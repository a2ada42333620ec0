//! What the system's signals mean to the daemon. None of them ends it with peers left, except
//! SIGKILL, which no process can catch.

use std::io;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals, from when they are first listened for.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hang_up: Signal,
    user_1: Signal,
    user_2: Signal,
    alarm: Signal,
    suspend: Signal,
}

/// What the daemon is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// End, with no peer left on the interface: SIGINT, SIGTERM, SIGQUIT.
    Stop,
    /// Read the policy again: SIGHUP, which a terminal that closes sends as well.
    Reload,
    /// Nothing. Their usual effect is to end the process at once, or, of the last, to stop it,
    /// and a gate that stands still ends no one's access.
    Nothing(&'static str),
}

impl Signals {
    /// From here on none of them has its usual effect.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
            alarm: signal(SignalKind::alarm())?,
            suspend: signal(SignalKind::from_raw(Number::TSTP.as_raw()))?,
        })
    }

    /// The next one. Cancel safe.
    pub(crate) async fn next(&mut self) -> Call {
        tokio::select! {
            _ = self.interrupt.recv() => Call::Stop,
            _ = self.terminate.recv() => Call::Stop,
            _ = self.quit.recv() => Call::Stop,
            _ = self.hang_up.recv() => Call::Reload,
            _ = self.user_1.recv() => Call::Nothing("SIGUSR1"),
            _ = self.user_2.recv() => Call::Nothing("SIGUSR2"),
            _ = self.alarm.recv() => Call::Nothing("SIGALRM"),
            _ = self.suspend.recv() => Call::Nothing("SIGTSTP"),
        }
    }
}
