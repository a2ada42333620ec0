//! The head of an audit chain as it was last seen, in a small file: what tells an older copy of a
//! store from the store.

use std::io;
use std::path::{Path, PathBuf};

use super::Head;
use crate::private_file;

/// A file with the head of an audit chain as it was last seen. Keep it beside the key ring, and away
/// from the store and its backups: where both are put back together, nothing tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadFile {
    path: PathBuf,
}

impl HeadFile {
    /// The file at this path, there or not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was last seen; `None` where there is no such file. Blocks while it reads.
    ///
    /// # Errors
    /// [`HeadFileError`].
    pub fn read(&self) -> Result<Option<Head>, HeadFileError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let path = self.path.clone();
                return Err(HeadFileError(HeadFileFault::Unreadable { path, source }));
            }
        };
        let head = text.trim().parse();
        head.map(Some)
            .map_err(|_| HeadFileFault::Malformed {
                path: self.path.clone(),
            })
            .map_err(HeadFileError)
    }

    /// Writes down what was seen, in place of what was there: all of it or nothing, and durably.
    /// Blocks while it writes.
    ///
    /// # Errors
    /// `head-file-unwritable`.
    pub fn write(&self, head: &Head) -> Result<(), HeadFileError> {
        let written = private_file::replace(&self.path, format!("{head}\n").as_bytes());
        written
            .map_err(|source| HeadFileFault::Unwritable {
                path: self.path.clone(),
                source,
            })
            .map_err(HeadFileError)
    }
}

crate::error_code::opaque! {
    /// Why the head of a chain could not be read or written down.
    pub struct HeadFileError(HeadFileFault);
}

/// What is behind [`HeadFileError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeadFileFault {
    /// The file can't be read.
    #[error("the head of the audit trail can't be read from {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file can't be written.
    #[error(
        "the head of the audit trail can't be written to {path}: give this process write access to its directory",
        path = path.display()
    )]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something else in the file.
    #[error(
        "{path} does not hold the head of an audit trail: restore it, or, where the store is known to be the newest, remove it",
        path = path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_and_anything_else_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = HeadFile::new(folder.path().join("audit.head"));
        assert_eq!(file.read().unwrap(), None);
        for seq in [1, u64::MAX] {
            let hash = [7; 32];
            let head = Head { seq, hash };
            file.write(&head).unwrap();
            assert_eq!(file.read().unwrap(), Some(head));
        }
        std::fs::write(file.path(), "3:").unwrap();
        assert!(matches!(
            file.read(),
            Err(HeadFileError(HeadFileFault::Malformed { .. }))
        ));
        let nowhere = HeadFile::new(folder.path().join("no/audit.head"));
        let unwritable = nowhere.write(&Head::EMPTY);
        assert!(matches!(
            unwritable,
            Err(HeadFileError(HeadFileFault::Unwritable { .. }))
        ));
    }
}
