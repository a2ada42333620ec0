//! The standard input, a line at a time, for whoever asks next.

use std::io::IsTerminal;
use std::sync::Arc;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

/// The standard input. Its clones share it.
#[derive(Debug, Clone)]
pub struct Input(Arc<Mutex<Lines<BufReader<Stdin>>>>);

impl Input {
    /// The standard input. Only one can be made.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(BufReader::new(stdin()).lines())))
    }

    /// Whether a person types it.
    pub fn is_terminal() -> bool {
        std::io::stdin().is_terminal()
    }

    /// The next line; `None` at the end of the input. Cancel safe.
    pub async fn line(&self) -> Option<Zeroizing<String>> {
        self.0
            .lock()
            .await
            .next_line()
            .await
            .ok()?
            .map(Zeroizing::new)
    }

    /// A question on the standard error, and the line after it.
    pub async fn ask(&self, question: &str) -> Option<Zeroizing<String>> {
        eprint!("{question}");
        self.line().await
    }

    /// The same for a line that does not show as it is typed.
    pub async fn ask_hidden(&self, question: &str) -> Option<Zeroizing<String>> {
        let silence = Silence::begin();
        let line = self.ask(question).await;
        if silence.is_some() {
            eprintln!();
        }
        line
    }
}

impl Default for Input {
    fn default() -> Self {
        Self::new()
    }
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Silence(Termios);

impl Silence {
    /// `None` where the standard input is no terminal.
    fn begin() -> Option<Self> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return None;
        }
        let before = tcgetattr(&input).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Now, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // Nothing more can be done for a terminal that does not take its own settings back.
        _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
