//! The key ring as a file: one key a line, the active one first.
//!
//! ```text
//! # Comments and empty lines are skipped.
//! 2026-11 pbkoCGt7yVHbAcPwDrbTq+KVtNlBhKp0Awy5rzzXGxQ=
//! 2025-11 q5Hr0P3nXsN1+0FYCjTgVYgl0Mqst8iULJqMpDYT5Bs=
//! ```
//! To rotate, put a new line on top ([`KeyRing::rotated`]), restart every gate, and reseal what
//! the older keys sealed ([`Registrar::rotate`](crate::enrol::Registrar::rotate)); a key may go
//! when no envelope names it any more ([`KeyRing::without_older`]).

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use zeroize::Zeroizing;

use super::{KeyId, KeyRing, ParseKeyIdError, ParseRingKeyError, RingKey};
use crate::private_file;

/// Far more than a ring needs, far less than hurts.
const MAX_BYTES: u64 = 64 * 1024;

impl KeyRing {
    /// Reads a ring from a file that no one but its owner may read. (Where the platform guards the
    /// file by other means than its mode, read it yourself and use [`str::parse`].)
    ///
    /// # Errors
    /// `key-ring-exposed` when others may read or write the file (Unix);
    /// `key-ring-unreadable`; what [`str::parse`] gives.
    pub fn read(path: &Path) -> Result<Self, KeyRingError> {
        let unreadable = |source| KeyRingFault::Unreadable {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(unreadable)?;
        if let Some(mode) = private_file::exposed(&file).map_err(unreadable)? {
            return Err(KeyRingError(KeyRingFault::Exposed {
                path: path.to_owned(),
                mode,
            }));
        }
        let mut text = Zeroizing::new(String::with_capacity(4096)); // no copies left by growing
        file.take(MAX_BYTES)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        text.parse()
    }

    /// Writes the ring to a new file that only its owner may read, and flushes it.
    ///
    /// # Errors
    /// `key-ring-unwritable`, also when the file exists: no ring is overwritten by mistake.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyRingError> {
        let unwritable = |source| KeyRingFault::Unwritable {
            path: path.to_owned(),
            source,
        };
        let mut file = private_file::create_new(path).map_err(unwritable)?;
        file.write_all(self.expose_lines().as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(unwritable)
            .map_err(KeyRingError)
    }

    /// Writes the ring to a file that only its owner may read, in place of the one that was there:
    /// all of it or nothing, and durably. Comments are not kept.
    ///
    /// # Errors
    /// `key-ring-unwritable`.
    pub fn replace(&self, path: &Path) -> Result<(), KeyRingError> {
        let replaced = private_file::replace(path, self.expose_lines().as_bytes());
        replaced
            .map_err(|source| KeyRingFault::Unwritable {
                path: path.to_owned(),
                source,
            })
            .map_err(KeyRingError)
    }

    /// The ring as the lines of a key file. Zeroized on drop.
    pub fn expose_lines(&self) -> Zeroizing<String> {
        let keys = 1 + self.older.len();
        let mut text = Zeroizing::new(String::with_capacity(64 + keys * 80));
        text.push_str("# mfagate key ring: one key a line, the active one first\n");
        for (id, key) in std::iter::once(&self.active).chain(&self.older) {
            text.push_str(id.as_str());
            text.push(' ');
            text.push_str(&key.expose_base64());
            text.push('\n');
        }
        text
    }
}

impl FromStr for KeyRing {
    type Err = KeyRingError;

    fn from_str(text: &str) -> Result<Self, KeyRingError> {
        let mut ring: Option<Self> = None;
        for (index, line) in text.lines().enumerate() {
            let line_number = index + 1;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (id, key) = line
                .split_once([' ', '\t'])
                .ok_or(KeyRingFault::NotAPair { line: line_number })?;
            let id: KeyId = id.parse().map_err(|source| KeyRingFault::Id {
                line: line_number,
                source,
            })?;
            let key: RingKey = key.parse().map_err(|source| KeyRingFault::Key {
                line: line_number,
                source,
            })?;
            ring = Some(match ring {
                None => Self::new(id, key),
                Some(ring) if ring.key(&id).is_some() => {
                    return Err(KeyRingError(KeyRingFault::Duplicate {
                        line: line_number,
                        id,
                    }));
                }
                Some(ring) => ring.with_older(id, key),
            });
        }
        ring.ok_or(KeyRingError(KeyRingFault::Empty))
    }
}

crate::error_code::opaque! {
    /// Why a key ring could not be read or written. No text repeats a key.
    pub struct KeyRingError(KeyRingFault);
}

/// What is behind [`KeyRingError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyRingFault {
    /// Others than the owner may read or write the file.
    #[error(
        "the key ring {path} is open to others (mode {mode:03o}): run `chmod 600 {path}`; \
         if others could have read it, put a new key on top",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file can't be read.
    #[error("the key ring {path} can't be read", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file can't be written.
    #[error("the key ring {path} can't be written", path = path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no key in it.
    #[error("the key ring holds no key: expected lines of the form `<id> <key in Base64>`")]
    Empty,
    /// A line is not an id and a key.
    #[error("line {line} of the key ring: expected `<id> <key in Base64>`")]
    NotAPair {
        /// Its number, from 1.
        line: usize,
    },
    /// A line's id can't be one.
    #[error("line {line} of the key ring: {source}")]
    Id {
        /// Its number, from 1.
        line: usize,
        /// Why.
        source: ParseKeyIdError,
    },
    /// A line's key can't be one.
    #[error("line {line} of the key ring: {source}")]
    Key {
        /// Its number, from 1.
        line: usize,
        /// Why.
        source: ParseRingKeyError,
    },
    /// Two lines have the same id.
    #[error("line {line} of the key ring: the id {id:?} is there already", id = id.as_str())]
    Duplicate {
        /// The number of the second, from 1.
        line: usize,
        /// The id.
        id: KeyId,
    },
}
