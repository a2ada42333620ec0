//! The standard output and the standard error of a program that must go on when they can't be
//! written: closed, on a full disk, or a pipe that no one reads.
//!
//! `println!` and `eprintln!` of the standard library panic there, or wait without end. Those of
//! this crate take their place in a program that says `#[macro_use] extern crate mfagate_examples`.
//!
//! A command writes by itself and ends with a failure where its output was not written. A daemon
//! says [`never_wait`] first: from then on a thread for each of the two writes, and what it can't
//! keep up with is dropped.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// How many lines may wait to be written.
const KEPT: usize = 1024;
/// How long a program that ends waits for what it said last.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlet {
    /// The standard output.
    Out,
    /// The standard error.
    Err,
}

/// What waits to be written.
enum Piece {
    Text(Vec<u8>),
    /// Says that what came before is written.
    Mark(SyncSender<()>),
}

struct Writer {
    queue: OnceLock<Option<SyncSender<Piece>>>,
    dropped: AtomicU64,
}

static OUT: Writer = Writer::new();
static ERR: Writer = Writer::new();
static NEVER_WAITS: AtomicBool = AtomicBool::new(false);
/// Why the standard output was not written.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Writes a line, as the macro of this name does.
#[macro_export]
macro_rules! println {
    () => { $crate::outlet::Outlet::Out.say(format_args!("\n")) };
    ($($text:tt)*) => {
        $crate::outlet::Outlet::Out.say(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Writes a line to the standard error, as the macro of this name does.
#[macro_export]
macro_rules! eprintln {
    () => { $crate::outlet::Outlet::Err.say(format_args!("\n")) };
    ($($text:tt)*) => {
        $crate::outlet::Outlet::Err.say(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Writes a text, as the macro of this name does.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => { $crate::outlet::Outlet::Out.say(format_args!($($text)*)) };
}

/// Writes a text to the standard error, as the macro of this name does.
#[macro_export]
macro_rules! eprint {
    ($($text:tt)*) => { $crate::outlet::Outlet::Err.say(format_args!($($text)*)) };
}

/// From now on no line is waited for, and what a panic says neither.
pub fn never_wait() {
    NEVER_WAITS.store(true, Ordering::SeqCst);
    std::panic::set_hook(Box::new(|panic| Outlet::Err.say(format_args!("{panic}\n"))));
}

/// Waits a moment for what was said last to be written.
///
/// # Errors
/// The standard output was not written, in a program that waits for it.
pub fn finish() -> io::Result<()> {
    for writer in [&OUT, &ERR] {
        writer.flush();
    }
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner).take();
    failed.map_or(Ok(()), Err)
}

impl Outlet {
    /// Writes a text. Never panics.
    pub fn say(self, text: Arguments<'_>) {
        let text = text.to_string().into_bytes();
        if NEVER_WAITS.load(Ordering::SeqCst) {
            return self.writer().push(text, self);
        }
        let written = self.write(&text);
        if let (Self::Out, Err(error)) = (self, written) {
            let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert(error);
        }
    }

    fn write(self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Out => {
                let mut out = io::stdout().lock();
                out.write_all(text)?;
                out.flush()
            }
            Self::Err => io::stderr().lock().write_all(text),
        }
    }

    const fn writer(self) -> &'static Writer {
        match self {
            Self::Out => &OUT,
            Self::Err => &ERR,
        }
    }
}

impl Writer {
    const fn new() -> Self {
        Self {
            queue: OnceLock::new(),
            dropped: AtomicU64::new(0),
        }
    }

    fn push(&'static self, text: Vec<u8>, to: Outlet) {
        let queue = self.queue.get_or_init(|| {
            let (queue, pieces) = sync_channel(KEPT);
            let thread = std::thread::Builder::new().name("outlet".to_owned());
            let write = move || self.write(to, &pieces);
            // It is not waited for: the program ends also while a line can't be written.
            thread.spawn(write).ok().map(|_| queue)
        });
        let pushed = queue
            .as_ref()
            .map(|queue| queue.try_send(Piece::Text(text)));
        if !matches!(pushed, Some(Ok(()))) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn write(&self, to: Outlet, pieces: &Receiver<Piece>) {
        while let Ok(piece) = pieces.recv() {
            match piece {
                // What can't be written is dropped.
                Piece::Text(text) => _ = to.write(&text),
                Piece::Mark(written) => _ = written.try_send(()),
            }
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                _ = to.write(format!("({dropped} lines were dropped here)\n").as_bytes());
            }
        }
    }

    fn flush(&self) {
        let Some(Some(queue)) = self.queue.get() else {
            return;
        };
        let (written, wait) = sync_channel(1);
        if queue.try_send(Piece::Mark(written)).is_ok() {
            _ = wait.recv_timeout(LAST_WORDS);
        }
    }
}

/// Where the log goes: always by the thread, since the log is written by whatever runs.
#[cfg(feature = "programs")]
pub(crate) struct Log;

#[cfg(feature = "programs")]
impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        ERR.push(text.to_vec(), Outlet::Err);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
