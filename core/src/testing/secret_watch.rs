//! A log that fails the test when a secret is in it.

pub(super) mod forms;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forms::Forms;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span;
use tracing::subscriber::set_global_default;
use tracing::{Event, Metadata, Subscriber};

/// How long is waited for the lines that were logged before: the gate writes its own on a thread.
const WRITTEN_BY: Duration = Duration::from_secs(5);

/// Takes in whatever is logged through `tracing`, by any crate and at every level, and looks for
/// secrets in it: in each field of each event and span, as they are and in the forms that bytes are
/// printed in: hexadecimal, Base64, Base32, and the lists that `{:?}` makes.
///
/// ```
/// use mfagate::testing::SecretWatch;
///
/// let watch = SecretWatch::new();
/// watch.secret("the code", "431925");
/// tracing::subscriber::with_default(watch.subscriber(), || {
///     tracing::info!(user = "alice", "signs in"); // what is under test
/// });
/// assert!(watch.has_seen("signs in"));
/// watch.assert_clean();
/// ```
///
/// A secret may be named after it was logged: all that came in is kept until the watch is dropped,
/// and dropping it is one more [`assert_clean`](Self::assert_clean). What is written otherwise, by
/// another program for instance, it sees where [`read`](Self::read) is given it; a secret that was
/// cut up or encrypted it never sees.
#[derive(Default)]
pub struct SecretWatch(Arc<Log>);

#[derive(Default)]
struct Log {
    secrets: Mutex<Vec<(String, Forms)>>,
    lines: Mutex<Vec<Line>>,
    spans: AtomicU64,
}

/// The value of one field, or another text.
struct Line {
    origin: Origin,
    field: &'static str,
    text: String,
}

#[derive(Clone, Copy)]
enum Origin {
    /// An event or span; unknown where a span was given a value after it began.
    Traced(Option<&'static Metadata<'static>>),
    Written(&'static str),
}

/// A secret in a log. It does not repeat the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leak {
    /// The name that [`SecretWatch::secret`] was given for it.
    pub secret: String,
    /// How it was written: "hexadecimal".
    pub form: &'static str,
    /// The event or span, by the place in the source that it comes from; or the name that
    /// [`SecretWatch::read`] was given.
    pub place: String,
    /// The field of it. The text of an event is in its field `message`, and so is any other text.
    pub field: &'static str,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            secret,
            form,
            place,
            field,
        } = self;
        write!(f, "{secret}, {form}, in the field `{field}` at {place}")
    }
}

impl SecretWatch {
    /// A watch that knows no secret yet and has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for this secret too, also in what has been logged before. A secret of fewer than 12
    /// bytes is looked for as a word of its own: six digits may well be part of a longer number.
    ///
    /// # Panics
    /// When the secret has fewer than 4 bytes, which may be anywhere by chance.
    pub fn secret(&self, name: impl Into<String>, secret: impl AsRef<[u8]>) {
        let forms = Forms::of(secret.as_ref());
        locked(&self.0.secrets).push((name.into(), forms));
    }

    /// What `tracing` reports to, for [`with_default`](tracing::subscriber::with_default),
    /// [`set_default`](tracing::subscriber::set_default) or
    /// [`with_subscriber`](tracing::instrument::WithSubscriber::with_subscriber).
    pub fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        Reporter(Arc::clone(&self.0))
    }

    /// Listens to every thread of the process from now on.
    ///
    /// # Panics
    /// When something else listens already.
    pub fn install(&self) {
        let installed = set_global_default(self.subscriber());
        assert!(installed.is_ok(), "another subscriber is installed");
    }

    /// Takes in a text that did not come through `tracing`: what a program wrote to its standard
    /// error, a file, a page. `source` says where it is from.
    pub fn read(&self, source: &'static str, text: impl Into<String>) {
        locked(&self.0.lines).push(Line {
            origin: Origin::Written(source),
            field: "message",
            text: text.into(),
        });
    }

    /// Whether this text is in anything that was logged: shows that the watch is listening.
    pub fn has_seen(&self, text: &str) -> bool {
        crate::log::flush(WRITTEN_BY);
        locked(&self.0.lines)
            .iter()
            .any(|line| line.text.contains(text))
    }

    /// Every place where a secret was logged.
    pub fn leaks(&self) -> Vec<Leak> {
        crate::log::flush(WRITTEN_BY);
        let secrets = locked(&self.0.secrets);
        let lines = locked(&self.0.lines);
        let leaks_of = |line: &Line| -> Vec<Leak> {
            let found = secrets.iter().filter_map(|(name, forms)| {
                let form = forms.find(&line.text)?;
                Some(line.leak(name, form))
            });
            found.collect()
        };
        lines.iter().flat_map(leaks_of).collect()
    }

    /// # Panics
    /// When a secret was logged, with every place where it was.
    pub fn assert_clean(&self) {
        let leaks: Vec<String> = self.leaks().iter().map(ToString::to_string).collect();
        assert!(leaks.is_empty(), "secrets are logged: {leaks:#?}");
    }
}

impl Drop for SecretWatch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_clean();
        }
    }
}

impl fmt::Debug for SecretWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretWatch").finish_non_exhaustive()
    }
}

impl Line {
    fn leak(&self, secret: &str, form: &'static str) -> Leak {
        let place = match self.origin {
            Origin::Traced(Some(metadata)) => place(metadata),
            Origin::Traced(None) => "a span that had begun before".to_owned(),
            Origin::Written(source) => source.to_owned(),
        };
        Leak {
            secret: secret.to_owned(),
            form,
            place,
            field: self.field,
        }
    }
}

fn place(metadata: &Metadata<'_>) -> String {
    match (metadata.file(), metadata.line()) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        _ => format!("`{}` in {}", metadata.name(), metadata.target()),
    }
}

/// Where `tracing` reports to.
struct Reporter(Arc<Log>);

impl Reporter {
    fn visitor(&self, metadata: Option<&'static Metadata<'static>>) -> Visitor<'_> {
        let log = &self.0;
        Visitor { log, metadata }
    }
}

impl Subscriber for Reporter {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        attributes.record(&mut self.visitor(Some(attributes.metadata())));
        span::Id::from_u64(self.0.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut self.visitor(None));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.visitor(Some(event.metadata())));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Visitor<'a> {
    log: &'a Log,
    metadata: Option<&'static Metadata<'static>>,
}

impl Visitor<'_> {
    fn take(&self, field: &Field, text: String) {
        locked(&self.log.lines).push(Line {
            origin: Origin::Traced(self.metadata),
            field: field.name(),
            text,
        });
    }
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        // As subscribers print it, with its sources, and as a `?error` would.
        let chain = std::iter::successors(Some(value), |error| error.source());
        let texts: Vec<String> = chain.map(|error| format!("{error}\n{error:?}")).collect();
        self.take(field, texts.join("\n"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Formatted before the lock is taken: a `Debug` may log something itself.
        self.take(field, format!("{value:?}"));
    }
}

/// A panic while one of these was held leaves it as good as before.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
