//! The standard input, a line at a time, shared by everything that asks a question.

use std::fmt;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zeroize::Zeroizing;

use super::echo::Silence;
use super::lines::Lines;
use super::{printable, say};

/// How long the end of input at a closed terminal waits for SIGHUP. The kernel sends it before the
/// end can be read; the program may see the two in either order.
const HANGUP_TIME: Duration = Duration::from_secs(2);

/// A line, or the end of the input.
type Line = Option<Zeroizing<String>>;

/// The standard input. Its clones share it.
#[derive(Clone)]
pub struct Input {
    reader: Arc<Mutex<Reader>>,
    was_terminal: bool,
}

/// The near end of a thread that reads. A thread, since nothing else can be given up in the middle of
/// a read; its own, since a runtime waits for its threads when it ends.
#[derive(Default)]
struct Reader {
    thread: Option<(mpsc::Sender<()>, UnboundedReceiver<Line>)>,
    /// Whether a line was asked for whose caller went away: it answers the next one.
    is_asked: bool,
}

impl Input {
    /// The standard input. Make one, and clone that: two would take lines from each other.
    pub fn new() -> Self {
        Self {
            reader: Arc::default(),
            was_terminal: Self::is_terminal(),
        }
    }

    /// Whether a person types it.
    pub(super) fn is_terminal() -> bool {
        std::io::stdin().is_terminal()
    }

    /// The next line; `None` at the end of the input, and where it can't be read.
    ///
    /// The end of the input at a terminal that was closed comes late: the program is then told to
    /// stop by SIGHUP, which is another thing than a person who gives up (Ctrl-D).
    ///
    /// Cancel safe: a line that is typed after that answers the next call.
    pub async fn line(&self) -> Option<Zeroizing<String>> {
        let line = self.reader.lock().await.next().await;
        // A closed terminal no longer answers as one.
        if line.is_none() && self.was_terminal && !Self::is_terminal() {
            tokio::time::sleep(HANGUP_TIME).await;
        }
        line
    }

    /// Asks a question on the standard error, and gives the line after it, as [`line`](Self::line) does.
    pub async fn ask(&self, question: &str) -> Option<Zeroizing<String>> {
        say(printable(question));
        self.line().await
    }

    /// The same for a line that does not show as it is typed. The terminal shows what is typed again
    /// however this ends, also where a signal ends or stops the process: see
    /// [`leave_ends_to_the_program`](super::leave_ends_to_the_program).
    pub async fn ask_hidden(&self, question: &str) -> Option<Zeroizing<String>> {
        let silence = Silence::begin(question);
        let line = self.ask(question).await;
        if silence.is_some() {
            say("\n");
        }
        line
    }
}

impl Default for Input {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").finish_non_exhaustive()
    }
}

impl Reader {
    async fn next(&mut self) -> Line {
        if self.thread.is_none() {
            self.thread = start();
        }
        let (requests, lines) = self.thread.as_mut()?;
        if !self.is_asked {
            requests.send(()).ok()?;
            self.is_asked = true;
        }
        let line = lines.recv().await;
        self.is_asked = false;
        line.flatten()
    }
}

/// Reads only what was asked for: a program that this one starts may want the rest.
fn start() -> Option<(mpsc::Sender<()>, UnboundedReceiver<Line>)> {
    // The standard library's own handle would keep copies in its buffer.
    let from = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    let lines = Lines::new(File::from(from));
    let (requests, asked) = mpsc::channel();
    let (answers, answered) = unbounded_channel();
    let thread = std::thread::Builder::new().name("mfagate-input".to_owned());
    let started = thread.spawn(move || serve(lines, &asked, &answers));
    started.ok().map(|_| (requests, answered))
}

fn serve(mut lines: Lines<File>, asked: &mpsc::Receiver<()>, answers: &UnboundedSender<Line>) {
    while asked.recv().is_ok() {
        if answers.send(lines.next()).is_err() {
            return;
        }
    }
}
