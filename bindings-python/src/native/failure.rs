//! Errors of the core as `mfagate.Error`: a kind, a stable code, a text.

use mfagate::client::{
    BuildError, ConnectError, ErrorKind, ProfileError, ResumeError, SaveError, SignOutError,
    UpError,
};
use mfagate::code::ErrorCode;
use mfagate::enrol::EnrolError;
use mfagate::gate::{OpenError, PolicyError, RevokeError, StartError};
use mfagate::interface::netstack::NetstackError;
use mfagate::time::Timestamp;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// What becomes an exception once the interpreter is attached.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: &'static str,
    code: &'static str,
    text: String,
    is_retryable: bool,
    until: Option<Timestamp>,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, error: &(impl ErrorCode + std::error::Error)) -> Self {
        let (kind, until) = match kind {
            ErrorKind::UserCancelled => ("user-cancelled", None),
            ErrorKind::TimedOut => ("timed-out", None),
            ErrorKind::NotAvailable => ("not-available", None),
            ErrorKind::LockedOut { until } => ("locked-out", until),
            ErrorKind::Denied => ("denied", None),
            ErrorKind::Fault | _ => ("fault", None),
        };
        Self {
            kind,
            code: error.code(),
            text: with_sources(error),
            is_retryable: matches!(kind, "timed-out" | "not-available"),
            until,
        }
    }

    fn retryable(self, is_retryable: bool) -> Self {
        Self {
            is_retryable,
            ..self
        }
    }

    pub(crate) fn fault(error: &(impl ErrorCode + std::error::Error)) -> Self {
        Self::new(ErrorKind::Fault, error)
    }

    /// A value that the program gave is not one.
    pub(crate) fn invalid(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            kind: "invalid-value",
            code,
            text: text.into(),
            is_retryable: false,
            until: None,
        }
    }

    /// Something on this side of the core went wrong.
    pub(crate) fn own(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            kind: "fault",
            ..Self::invalid(code, text)
        }
    }

    pub(crate) fn panicked() -> Self {
        Self::own("internal", "mfagate failed inside: please report it")
    }

    pub(crate) fn to_py(&self, py: Python<'_>) -> PyErr {
        static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let made = MAKE.import(py, "mfagate._errors", "make").and_then(|make| {
            let until = self.until.map(Timestamp::as_millis);
            make.call1((self.kind, self.code, &self.text, self.is_retryable, until))
        });
        // Only while the interpreter ends can the module not be imported.
        made.map_or_else(|_| PyRuntimeError::new_err(self.code), PyErr::from_value)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        Python::attach(|py| failure.to_py(py))
    }
}

/// An error's text and those of what caused it. None of them repeats a secret.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        // A transparent error says what its source says.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::new(error.kind(), &error).retryable(error.is_retryable())
    }
}

impl From<SignOutError> for Failure {
    fn from(error: SignOutError) -> Self {
        match error {
            SignOutError::Unconfirmed | SignOutError::AttemptOpen => {
                Self::new(ErrorKind::NotAvailable, &error)
            }
            SignOutError::StillUp | SignOutError::Stopped | _ => Self::fault(&error),
        }
    }
}

impl From<ResumeError> for Failure {
    fn from(error: ResumeError) -> Self {
        match &error {
            ResumeError::Ended(reason) => Self::new(reason.kind(), &error),
            ResumeError::Unreachable(transport) => Self::new(transport.kind(), &error),
            ResumeError::NotOpened
            | ResumeError::Version { .. }
            | ResumeError::ClockSetBack
            | ResumeError::Stopped
            | _ => Self::fault(&error),
        }
    }
}

impl From<NetstackError> for Failure {
    fn from(error: NetstackError) -> Self {
        match &error {
            NetstackError::Refused { .. } => Self::new(ErrorKind::NotAvailable, &error),
            NetstackError::TimedOut { .. } => Self::new(ErrorKind::TimedOut, &error),
            NetstackError::AddressInUse { .. }
            | NetstackError::Exposed { .. }
            | NetstackError::Listening { .. }
            | NetstackError::Addresses
            | NetstackError::Mtu(_)
            | NetstackError::Unroutable { .. }
            | NetstackError::Device(_)
            | _ => Self::fault(&error),
        }
    }
}

impl From<UpError> for Failure {
    fn from(error: UpError) -> Self {
        match error {
            UpError::Netstack(error) => error.into(),
            UpError::Build(error) => error.into(),
            UpError::Connect(error) => error.into(),
            other => Self::fault(&other),
        }
    }
}

impl From<RevokeError> for Failure {
    fn from(error: RevokeError) -> Self {
        Self::new(ErrorKind::TimedOut, &error)
    }
}

macro_rules! faults {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::fault(&error)
            }
        })+
    };
}

faults!(
    BuildError,
    EnrolError,
    OpenError,
    PolicyError,
    ProfileError,
    SaveError,
    StartError
);
