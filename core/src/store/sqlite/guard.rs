//! Whether the store is still the one that was opened. A file that was deleted or replaced lives on
//! for those who have it open, and what they write to it is lost; one that was put back to an older
//! copy has forgotten what it acknowledged: revocations, used codes, counted failures.
//!
//! Two things are compared: the files at the path, by device and number, and the audit chain, which
//! only grows. Once either differs, the store says so for good.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension};

use super::error::SqliteFault;
use crate::audit::Head;

/// How many records before the last are looked at in a file that was written by others.
const LOOKED_AT: u64 = 1000;

/// What the writer, the readers and those who watch share.
#[derive(Debug)]
pub(super) struct Guard {
    files: Vec<(PathBuf, FileId)>,
    /// The furthest head that was seen committed.
    known: Mutex<Head>,
    is_replaced: AtomicBool,
}

impl Guard {
    /// Of the files at this path, which have just been opened, with this head.
    pub(super) fn new(path: &Path, known: Head) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let paths = [path.to_owned(), PathBuf::from(log)];
        let files = paths.into_iter().filter_map(|path| {
            // Where the working directory changes, it is still the same file.
            let path = std::path::absolute(&path).unwrap_or(path);
            let id = FileId::of(&path).ok()?;
            Some((path, id))
        });
        Self {
            files: files.collect(),
            known: Mutex::new(known),
            is_replaced: AtomicBool::new(false),
        }
    }

    /// The furthest head that was seen committed.
    pub(super) fn known(&self) -> Head {
        *self.lock()
    }

    /// A head was seen committed, with all that was known before it.
    pub(super) fn saw(&self, head: Head) {
        let mut known = self.lock();
        if head.seq > known.seq {
            *known = head;
        }
    }

    /// Fails for good once the store was seen to be another.
    pub(super) fn pass(&self) -> Result<(), SqliteFault> {
        if self.is_replaced.load(Ordering::Relaxed) {
            return Err(SqliteFault::Replaced);
        }
        Ok(())
    }

    /// Fails where the files at the path are not those that were opened.
    pub(super) fn check_files(&self) -> Result<(), SqliteFault> {
        self.pass()?;
        for (path, opened) in &self.files {
            match FileId::of(path) {
                Ok(found) if found == *opened => {}
                Ok(_) => return Err(self.replaced()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(self.replaced());
                }
                // It can't be told now. The engine says what is wrong, if anything is.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Fails where this head, read in a transaction of this connection, does not go on from what is
    /// known. Costs nothing where this store was the last to write.
    pub(super) fn check_head(&self, db: &Connection, head: Head) -> Result<(), SqliteFault> {
        let known = self.known();
        if head == known || known == Head::EMPTY {
            return Ok(());
        }
        let found: Option<[u8; 32]> = db
            .prepare_cached("SELECT hash FROM audit WHERE seq = ?")?
            .query_row([known.seq.cast_signed()], |row| row.get(0))
            .optional()?;
        if found == Some(known.hash) {
            return Ok(());
        }
        Err(self.replaced())
    }

    /// The same for a connection that has read nothing yet, to a file that others have written: an
    /// older copy that was written over it may have the last record in its log, and not those
    /// before.
    pub(super) fn check_fresh(&self, db: &Connection, head: Head) -> Result<(), SqliteFault> {
        self.check_head(db, head)?;
        let known = self.known().seq;
        let from = known.saturating_sub(LOOKED_AT);
        let counted: i64 = db
            .prepare_cached("SELECT count(*) FROM audit WHERE seq > ? AND seq <= ?")?
            .query_row((from.cast_signed(), known.cast_signed()), |row| row.get(0))?;
        if counted.cast_unsigned() == known - from {
            return Ok(());
        }
        Err(self.replaced())
    }

    /// From now on, every call fails.
    pub(super) fn replaced(&self) -> SqliteFault {
        self.is_replaced.store(true, Ordering::Relaxed);
        SqliteFault::Replaced
    }

    /// What says that others have written the file itself, be it only to move the log into it.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let (path, _) = self.files.first()?;
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    }

    /// No code that can panic runs under this lock, so a poisoned one is as good as new.
    fn lock(&self) -> MutexGuard<'_, Head> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file's length and the time of its last change.
pub(super) type Stamp = (u64, std::time::SystemTime);

/// What a file is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    number: u64,
}

impl FileId {
    #[cfg(unix)]
    fn of(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            number: metadata.ino(),
        })
    }

    /// Whether there is one, where the platform says no more.
    #[cfg(not(unix))]
    fn of(path: &Path) -> std::io::Result<Self> {
        std::fs::metadata(path).map(|_| Self {
            device: 0,
            number: 0,
        })
    }
}
