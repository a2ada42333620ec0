//! The terminal's echo: off while a hidden answer is typed, and on again however that ends, be it by
//! a signal that ends or stops the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use super::{printable, say};

/// The settings to go back to, and the question that stands, while the echo is off.
static SILENT: Mutex<Option<(Termios, String)>> = Mutex::new(None);
/// Whether signals are looked out for already.
static IS_WATCHED: AtomicBool = AtomicBool::new(false);
/// Whether the program itself ends at the signals that end one.
static ENDS_BY_ITSELF: AtomicBool = AtomicBool::new(false);

/// The echo is off until this is dropped.
pub(super) struct Silence(());

impl Silence {
    /// `None` where the standard input is no terminal.
    pub(super) fn begin(question: &str) -> Option<Self> {
        watch();
        let mut silent = silent();
        // A question before this one may still be on its way out: its settings are the terminal's.
        let before = match silent.take() {
            Some((before, _)) => before,
            None => tcgetattr(std::io::stdin()).ok()?,
        };
        quieten(&before)?;
        *silent = Some((before, question.to_owned()));
        Some(Self(()))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        restore_echo();
    }
}

/// Shows what is typed again, where a hidden question stands. Call it before
/// [`std::process::exit`], which runs no destructor.
pub fn restore_echo() {
    if let Some((before, _)) = silent().take() {
        set(&before);
    }
}

/// Says that the program sees to its end by itself at SIGINT, SIGTERM and SIGHUP. Else, from the first
/// hidden question on, each of them has the terminal show what is typed again and ends the process,
/// with 128 and the signal's number as its status. SIGQUIT always does.
pub fn leave_ends_to_the_program() {
    ENDS_BY_ITSELF.store(true, Ordering::Relaxed);
}

fn silent() -> MutexGuard<'static, Option<(Termios, String)>> {
    SILENT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn quieten(before: &Termios) -> Option<()> {
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(std::io::stdin(), OptionalActions::Now, &silent).ok()
}

fn set(modes: &Termios) {
    // Nothing more can be done for a terminal that does not take its own settings back.
    _ = tcsetattr(std::io::stdin(), OptionalActions::Now, modes);
}

/// Looks out for the signals that end or stop a process, from the first hidden question on.
fn watch() {
    if IS_WATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    let listen = |kind: Signal| signal(SignalKind::from_raw(kind.as_raw()));
    // Before the echo goes off, and not in the tasks, which may begin only after that.
    for end in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        if let Ok(signals) = listen(end) {
            tokio::spawn(at_an_end(end, signals));
        }
    }
    if let (Ok(stops), Ok(goes_on)) = (listen(Signal::TSTP), listen(Signal::CONT)) {
        tokio::spawn(at_stops(stops, goes_on));
    }
}

/// The signal does what it would have done, once the terminal is as it was.
async fn at_an_end(end: Signal, mut signals: Signals) {
    while signals.recv().await.is_some() {
        if !ENDS_BY_ITSELF.load(Ordering::Relaxed) || end == Signal::QUIT {
            restore_echo();
            std::process::exit(128 + end.as_raw());
        }
    }
}

/// Ctrl-Z: the terminal is the shell's meanwhile. Afterwards the question stands again.
async fn at_stops(mut stops: Signals, mut goes_on: Signals) {
    while stops.recv().await.is_some() {
        if let Some((before, _)) = &*silent() {
            set(before);
        }
        // It may return before every thread stands still: only the signal that ends the stop says
        // that the terminal is ours again.
        if kill_process(getpid(), Signal::STOP).is_err() || goes_on.recv().await.is_none() {
            return;
        }
        if let Some((before, question)) = &*silent() {
            quieten(before);
            say(printable(question));
        }
    }
}
