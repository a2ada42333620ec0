//! Log lines for the app: off unless it asks. They are the core's own, which names no secret; what
//! other libraries log is never passed on.

use std::fmt::{self, Write};
use std::sync::{Arc, Once, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, span};

use crate::callback::CallbackError;
use crate::error::MfagateError;
use crate::runtime;

/// How many lines may wait for the app; more are left out.
const WAITING: usize = 256;
/// How long the app may take for a line.
const LINE: Duration = Duration::from_secs(2);

/// Takes log lines.
#[uniffi::export(with_foreign)]
#[async_trait::async_trait]
pub trait Log: Send + Sync {
    /// Takes one line. What it throws is ignored.
    async fn line(&self, line: LogLine) -> Result<(), CallbackError>;
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// The module that it comes from.
    pub target: String,
    /// What it says, with its fields.
    pub text: String,
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, uniffi::Enum)]
pub enum LogLevel {
    /// Something failed, and a person should know.
    Error,
    /// Something is not as it should be.
    Warn,
    /// Something that an operator wants to follow.
    Info,
    /// What a developer needs.
    Debug,
}

/// Where lines go, and up to which level.
static TARGET: RwLock<Option<(mpsc::Sender<LogLine>, LogLevel)>> = RwLock::new(None);
static INSTALLED: Once = Once::new();

/// Has log lines up to a level given to the app; none ends that. In a process with another
/// subscriber of Rust's `tracing`, that one stays and no lines come.
#[uniffi::export]
pub fn set_log(log: Option<Arc<dyn Log>>, level: LogLevel) -> Result<(), MfagateError> {
    let target = match log {
        None => None,
        Some(log) => {
            let (sender, lines) = mpsc::channel(WAITING);
            runtime::handle()?.spawn(deliver(log, lines));
            Some((sender, level))
        }
    };
    *TARGET.write().unwrap_or_else(PoisonError::into_inner) = target;
    INSTALLED.call_once(|| {
        _ = tracing::subscriber::set_global_default(Subscriber); // another one was first
    });
    Ok(())
}

async fn deliver(log: Arc<dyn Log>, mut lines: mpsc::Receiver<LogLine>) {
    while let Some(line) = lines.recv().await {
        _ = tokio::time::timeout(LINE, log.line(line)).await; // a log that fails is the app's
    }
}

struct Subscriber;

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata.target()) && *metadata.level() != Level::TRACE
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let level = level(*event.metadata().level());
        let target = TARGET.read().unwrap_or_else(PoisonError::into_inner);
        let Some((sender, most)) = &*target else {
            return;
        };
        if level > *most {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        // An app that does not take its lines misses some.
        _ = sender.try_send(LogLine {
            level,
            target: event.metadata().target().to_owned(),
            text: text.0,
        });
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn is_ours(target: &str) -> bool {
    target == "mfagate" || target.starts_with("mfagate::") || target.starts_with("mfagate_ffi")
}

fn level(level: Level) -> LogLevel {
    if level == Level::ERROR {
        LogLevel::Error
    } else if level == Level::WARN {
        LogLevel::Warn
    } else if level == Level::INFO {
        LogLevel::Info
    } else {
        LogLevel::Debug
    }
}

/// The words of a line, then its fields.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        if field.name() == "message" {
            let fields = std::mem::take(&mut self.0);
            _ = write!(self.0, "{value:?}{fields}");
        } else {
            _ = write!(self.0, " {}={value:?}", field.name());
        }
    }
}
