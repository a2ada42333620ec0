//! Why SQLite did not do as asked, in words that say what to do.

use std::error::Error;

use rusqlite::ErrorCode;

use crate::store::StoreError;

crate::error_code::opaque! {
    /// What stands behind [`StoreError::Backend`] of a [`SqliteStore`](super::SqliteStore).
    pub struct SqliteError(SqliteFault);
}

/// What is behind [`SqliteError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqliteFault {
    /// There is no room for the change.
    #[error("the disk that holds the store is full: free some space")]
    Full,
    /// The file or its directory can't be written.
    #[error(
        "the store can't be written: give this process write access to the file and to its directory"
    )]
    ReadOnly,
    /// There is no such directory, or no access to it.
    #[error(
        "the store can't be opened: check that its directory exists and that this process may write in it"
    )]
    CannotOpen,
    /// The file is something else.
    #[error("the file is not a store of mfagate: point to another path, or move the file away")]
    NotAStore,
    /// A newer version of this library wrote the file.
    #[error(
        "the store has schema version {found} and this program knows {known} at most: update the program"
    )]
    NewerSchema {
        /// The file's version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// Another process held the file for too long.
    #[error("another process kept the store locked for too long: try again")]
    Busy,
    /// The file was deleted, replaced, or put back to an older copy. As a store's error:
    /// [`StoreError::Replaced`].
    #[error("the store's file was deleted, replaced or put back to an older copy")]
    Replaced,
    /// The file is damaged.
    #[error("the store is damaged: stop the gates and restore it from a backup")]
    Damaged,
    /// More callers wait than the store takes.
    #[error("too many calls are waiting for the store: try again later")]
    Overloaded,
    /// The store has been closed.
    #[error("the store is closed: open it again")]
    Closed,
    /// A panic inside of the store. What it was doing has been undone.
    #[error("the store failed inside: the call was undone, and may be made again")]
    Panicked,
    /// A failure on behalf of another call in the same transaction.
    #[error("the transaction failed: nothing in it took effect; try again")]
    TransactionLost,
    /// The thread that does the work could not be started.
    #[error("the system gives this process no thread for the store: raise its limit on processes")]
    NoThread(#[source] std::io::Error),
    /// Anything else that the engine says.
    #[error("SQLite failed: see what it says")]
    Engine(#[source] Box<dyn Error + Send + Sync>),
}

impl SqliteFault {
    /// The same for another caller of the same transaction.
    pub(super) const fn again(&self) -> Self {
        match self {
            Self::Full => Self::Full,
            Self::ReadOnly => Self::ReadOnly,
            Self::CannotOpen => Self::CannotOpen,
            Self::NotAStore => Self::NotAStore,
            Self::NewerSchema { found, known } => Self::NewerSchema {
                found: *found,
                known: *known,
            },
            Self::Busy => Self::Busy,
            Self::Replaced => Self::Replaced,
            Self::Damaged => Self::Damaged,
            Self::Overloaded => Self::Overloaded,
            Self::Closed => Self::Closed,
            Self::Panicked => Self::Panicked,
            Self::TransactionLost | Self::NoThread(_) | Self::Engine(_) => Self::TransactionLost,
        }
    }
}

impl From<SqliteFault> for StoreError {
    fn from(error: SqliteFault) -> Self {
        if matches!(error, SqliteFault::Replaced) {
            return Self::Replaced;
        }
        Self::Backend(Box::new(SqliteError(error)))
    }
}

impl From<rusqlite::Error> for SqliteFault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly,
            Some(ErrorCode::CannotOpen) => Self::CannotOpen,
            Some(ErrorCode::NotADatabase) => Self::NotAStore,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged,
            _ => Self::Engine(Box::new(error)),
        }
    }
}

/// The engine's error as a store's.
pub(super) fn engine(error: rusqlite::Error) -> StoreError {
    SqliteFault::from(error).into()
}
