//! What an app's code may answer when it does not do as it was asked.

use uniffi::UnexpectedUniFFICallbackError;

/// Why the app's code did not do as it was asked. Whatever it says, the answer is *no*: the attempt
/// is given up, or the tunnel counts as down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum CallbackError {
    /// The user did not want to.
    #[error("the user cancelled")]
    Cancelled,
    /// It took too long.
    #[error("it took too long")]
    TimedOut,
    /// What is needed is not there now: a server, a key, the tunnel.
    #[error("it is not available")]
    NotAvailable,
    /// The system refused the user for having failed too often.
    #[error("the user is locked out")]
    LockedOut,
    /// It was refused: a server's certificate was not accepted, the user was not recognised.
    #[error("it was refused")]
    Refused,
    /// The key was given up by the system: enrol another.
    #[error("the key is no longer good")]
    Invalidated,
    /// Something else failed.
    #[error("{what}")]
    Failed {
        /// What, in words. They appear in errors and logs: no secret may be in them.
        what: String,
    },
}

impl From<UnexpectedUniFFICallbackError> for CallbackError {
    /// Without the text of what was thrown: a secret could be in it.
    fn from(_: UnexpectedUniFFICallbackError) -> Self {
        Self::Failed {
            what: "the app's code ended in an unexpected way".to_owned(),
        }
    }
}

impl CallbackError {
    pub(crate) fn failed(what: &str) -> Self {
        Self::Failed {
            what: what.to_owned(),
        }
    }
}
