//! The one error of all calls: what an app is to do about it, a stable code, and words for people.

use std::fmt::Display;

use mfagate::channel::TransportError;
use mfagate::client::{
    AttemptFailure, BuildError, ConnectError, ErrorKind, ProfileError, ResumeError, SaveError,
    SessionEnd, SignOutError,
};
use mfagate::code::ErrorCode;

/// Why a call failed. Each kind says what an app is to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum MfagateError {
    /// The user wanted it so: say nothing.
    #[error("{explanation}")]
    UserCancelled {
        /// A stable code, in kebab-case.
        code: String,
        /// What is wrong and what to do, for people.
        explanation: String,
        /// Whether the same call may succeed later without anyone changing anything.
        is_retryable: bool,
    },
    /// It took too long: offer to try again.
    #[error("{explanation}")]
    TimedOut {
        /// A stable code, in kebab-case.
        code: String,
        /// What is wrong and what to do, for people.
        explanation: String,
        /// Whether the same call may succeed later without anyone changing anything.
        is_retryable: bool,
    },
    /// The gate, or the way to it, is not there now: try again later.
    #[error("{explanation}")]
    NotAvailable {
        /// A stable code, in kebab-case.
        code: String,
        /// What is wrong and what to do, for people.
        explanation: String,
        /// Whether the same call may succeed later without anyone changing anything.
        is_retryable: bool,
    },
    /// There were too many wrong answers.
    #[error("{explanation}")]
    LockedOut {
        /// A stable code, in kebab-case.
        code: String,
        /// What is wrong and what to do, for people.
        explanation: String,
        /// Whether the same call may succeed later without anyone changing anything.
        is_retryable: bool,
        /// Until when, in milliseconds since 1970 by this device's clock; none where an
        /// administrator has to reset the factor.
        until_ms: Option<u64>,
    },
    /// The gate says no to this user or device: show the explanation, which says who can help.
    #[error("{explanation}")]
    Denied {
        /// A stable code, in kebab-case.
        code: String,
        /// What is wrong and what to do, for people.
        explanation: String,
        /// Whether the same call may succeed later without anyone changing anything.
        is_retryable: bool,
    },
    /// Something is wrong with this device, the app or its profile: show the explanation, and report
    /// the code.
    #[error("{explanation}")]
    Fault {
        /// A stable code, in kebab-case.
        code: String,
        /// What is wrong and what to do, for people.
        explanation: String,
        /// Whether the same call may succeed later without anyone changing anything.
        is_retryable: bool,
    },
}

/// A failure as an event has it. The kinds are those of [`MfagateError`].
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Failure {
    /// What an app is to do about it.
    pub kind: FailureKind,
    /// A stable code, in kebab-case.
    pub code: String,
    /// What is wrong and what to do, for people.
    pub explanation: String,
    /// Whether trying again may help without anyone changing anything.
    pub is_retryable: bool,
    /// For a lockout: until when, in milliseconds since 1970 by this device's clock; none where an
    /// administrator has to reset the factor.
    pub until_ms: Option<u64>,
}

/// What an app is to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum FailureKind {
    /// The user wanted it so: say nothing.
    UserCancelled,
    /// It took too long: offer to try again.
    TimedOut,
    /// The gate, or the way to it, is not there now: try again later.
    NotAvailable,
    /// There were too many wrong answers.
    LockedOut,
    /// The gate says no to this user or device.
    Denied,
    /// Something is wrong with this device, the app or its profile.
    Fault,
}

impl Failure {
    /// What the core says of an error.
    pub(crate) fn new(
        kind: ErrorKind,
        is_retryable: bool,
        error: &(impl ErrorCode + Display + ?Sized),
    ) -> Self {
        let (kind, until_ms) = match kind {
            ErrorKind::UserCancelled => (FailureKind::UserCancelled, None),
            ErrorKind::TimedOut => (FailureKind::TimedOut, None),
            ErrorKind::NotAvailable => (FailureKind::NotAvailable, None),
            ErrorKind::LockedOut { until } => (
                FailureKind::LockedOut,
                until.map(mfagate::time::Timestamp::as_millis),
            ),
            ErrorKind::Denied => (FailureKind::Denied, None),
            // Of a kind that this crate does not know, an app can only show the text.
            ErrorKind::Fault | _ => (FailureKind::Fault, None),
        };
        Self {
            kind,
            code: error.code().to_owned(),
            explanation: error.to_string(),
            is_retryable,
            until_ms,
        }
    }

    /// A failure of this crate's own, or of the app's code.
    pub(crate) fn fault(code: &str, explanation: impl Into<String>) -> Self {
        Self::own(FailureKind::Fault, code, explanation)
    }

    pub(crate) fn own(kind: FailureKind, code: &str, explanation: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.to_owned(),
            explanation: explanation.into(),
            is_retryable: false,
            until_ms: None,
        }
    }
}

impl From<Failure> for MfagateError {
    fn from(failure: Failure) -> Self {
        let Failure {
            kind,
            code,
            explanation,
            is_retryable,
            until_ms,
        } = failure;
        match kind {
            FailureKind::UserCancelled => Self::UserCancelled {
                code,
                explanation,
                is_retryable,
            },
            FailureKind::TimedOut => Self::TimedOut {
                code,
                explanation,
                is_retryable,
            },
            FailureKind::NotAvailable => Self::NotAvailable {
                code,
                explanation,
                is_retryable,
            },
            FailureKind::LockedOut => Self::LockedOut {
                code,
                explanation,
                is_retryable,
                until_ms,
            },
            FailureKind::Denied => Self::Denied {
                code,
                explanation,
                is_retryable,
            },
            FailureKind::Fault => Self::Fault {
                code,
                explanation,
                is_retryable,
            },
        }
    }
}

impl MfagateError {
    /// A failure of this crate's own, or of the app's code.
    pub(crate) fn fault(code: &str, explanation: impl Into<String>) -> Self {
        Failure::fault(code, explanation).into()
    }

    /// The client was closed, or has stopped.
    pub(crate) fn stopped() -> Self {
        ConnectError::Stopped.into()
    }

    /// The call was cancelled by the app.
    pub(crate) fn cancelled() -> Self {
        AttemptFailure::Cancelled.into()
    }
}

impl From<&AttemptFailure> for Failure {
    fn from(failure: &AttemptFailure) -> Self {
        Self::new(failure.kind(), failure.is_retryable(), failure)
    }
}

impl From<&TransportError> for Failure {
    fn from(error: &TransportError) -> Self {
        Self::from(&AttemptFailure::Transport(error.clone()))
    }
}

impl From<SessionEnd> for Failure {
    fn from(reason: SessionEnd) -> Self {
        Self::new(reason.kind(), reason.requires_sign_in(), &reason)
    }
}

impl From<&ResumeError> for Failure {
    fn from(error: &ResumeError) -> Self {
        match error {
            ResumeError::Ended(reason) => (*reason).into(),
            ResumeError::Unreachable(error) => error.into(),
            ResumeError::ClockSetBack
            | ResumeError::NotOpened
            | ResumeError::Version { .. }
            | ResumeError::Stopped
            | _ => Self::new(ErrorKind::Fault, false, error),
        }
    }
}

impl From<AttemptFailure> for MfagateError {
    fn from(failure: AttemptFailure) -> Self {
        Failure::from(&failure).into()
    }
}

impl From<ConnectError> for MfagateError {
    fn from(error: ConnectError) -> Self {
        Failure::new(error.kind(), error.is_retryable(), &error).into()
    }
}

impl From<SignOutError> for MfagateError {
    fn from(error: SignOutError) -> Self {
        let kind = match error {
            SignOutError::Unconfirmed | SignOutError::AttemptOpen => ErrorKind::NotAvailable,
            SignOutError::StillUp | SignOutError::Stopped | _ => ErrorKind::Fault,
        };
        Failure::new(kind, false, &error).into()
    }
}

impl From<SaveError> for MfagateError {
    fn from(error: SaveError) -> Self {
        let is_retryable = error == SaveError::NotConnected;
        Failure::new(ErrorKind::Fault, is_retryable, &error).into()
    }
}

impl From<BuildError> for MfagateError {
    fn from(error: BuildError) -> Self {
        Failure::new(ErrorKind::Fault, false, &error).into()
    }
}

impl From<ProfileError> for MfagateError {
    fn from(error: ProfileError) -> Self {
        Failure::new(ErrorKind::Fault, false, &error).into()
    }
}
