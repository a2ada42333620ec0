//! A folder with all that a gate keeps: its private key, its key ring, its SQLite store, and the
//! head of its audit trail as it was last seen. Each of them is its owner's alone.

use std::fs::{File, Metadata, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::audit::HeadFile;
use crate::key::PrivateKey;
use crate::private_file;
use crate::seal::{KeyRing, KeyRingError, RingKey};
use crate::store::StoreError;
use crate::store::sqlite::SqliteStore;

const KEY: &str = "gate.key";
const RING: &str = "ring.keys";
const STORE: &str = "gate.db";
const HEAD: &str = "audit.head";
/// Held by the gate that serves.
const LOCK: &str = "lock";
/// Held by each process that uses the key ring: shared to read it, exclusive to rotate it.
const RING_LOCK: &str = "ring.lock";

/// Far more than a key needs.
const MAX_BYTES: u64 = 4096;

/// What was in a folder, or was made there.
pub(super) struct Folder {
    pub(super) private_key: PrivateKey,
    pub(super) key_ring: KeyRing,
    pub(super) store: SqliteStore,
    pub(super) head_file: HeadFile,
    /// Locked for as long as they are open.
    pub(super) locks: Vec<File>,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, OpenFault> {
        make(path)?;
        // First, so that no two processes make the same key, and each sees the other's files whole.
        let lock = lock_file(&path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = path.to_owned();
                return Err(OpenFault::InUse { path });
            }
            Err(TryLockError::Error(source)) => return Err(failed(&path.join(LOCK))(source)),
        }
        let ring_lock = lock_file(&path.join(RING_LOCK))?;
        match ring_lock.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = path.to_owned();
                return Err(OpenFault::InUse { path });
            }
            Err(TryLockError::Error(source)) => return Err(failed(&path.join(RING_LOCK))(source)),
        }
        // A store without its keys is a loss, not a beginning: new ones would open nothing of it.
        let is_new = opened(&path.join(STORE))?.is_none();
        let private_key = private_key(&path.join(KEY), is_new)?;
        let key_ring = key_ring(&path.join(RING), is_new)?;
        let store = SqliteStore::open(path.join(STORE)).map_err(OpenFault::Store)?;
        Ok(Self {
            private_key,
            key_ring,
            store,
            head_file: HeadFile::new(path.join(HEAD)),
            locks: vec![lock, ring_lock],
        })
    }
}

/// Makes the folder where it is not there yet, for its owner alone.
fn make(path: &Path) -> Result<(), OpenFault> {
    match create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(failed(path))?,
    }
    let metadata = std::fs::metadata(path).map_err(failed(path))?;
    if !metadata.is_dir() {
        return Err(failed(path)(io::ErrorKind::NotADirectory.into()));
    }
    check(path, &metadata)
}

#[cfg(unix)]
fn create(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create(path: &Path) -> io::Result<()> {
    std::fs::create_dir(path)
}

/// Refuses what another user owns, who may change it at any time, and what others may open.
#[cfg(unix)]
fn check(path: &Path, metadata: &Metadata) -> Result<(), OpenFault> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let path = || path.to_owned();
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(OpenFault::Owner { path: path() });
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(OpenFault::Exposed { path: path(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check(_: &Path, _: &Metadata) -> Result<(), OpenFault> {
    Ok(())
}

/// A private file; `None` where there is none.
fn opened(path: &Path) -> Result<Option<File>, OpenFault> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed(path))?,
    };
    check(path, &file.metadata().map_err(failed(path))?)?;
    Ok(Some(file))
}

fn lock_file(path: &Path) -> Result<File, OpenFault> {
    match private_file::create_new(path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            File::options().write(true).open(path).map_err(failed(path))
        }
        Err(source) => Err(failed(path)(source)),
    }
}

fn private_key(path: &Path, is_new: bool) -> Result<PrivateKey, OpenFault> {
    let Some(file) = opened(path)? else {
        missing_unless(is_new, path)?;
        let key = PrivateKey::generate().map_err(|_| OpenFault::Randomness)?;
        let text = Zeroizing::new(format!("{}\n", *key.expose_base64()));
        private_file::replace(path, text.as_bytes()).map_err(failed(path))?;
        return Ok(key);
    };
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES.try_into().unwrap_or(0)));
    let read = file.take(MAX_BYTES).read_to_string(&mut text);
    read.map_err(failed(path))?;
    let path = || path.to_owned();
    text.trim()
        .parse()
        .map_err(|_| OpenFault::Key { path: path() })
}

fn key_ring(path: &Path, is_new: bool) -> Result<KeyRing, OpenFault> {
    if opened(path)?.is_some() {
        return Ok(KeyRing::read(path)?);
    }
    missing_unless(is_new, path)?;
    let id = "first".parse().unwrap_or_else(|_| unreachable!("an id"));
    let key = RingKey::generate().map_err(|_| OpenFault::Randomness)?;
    let ring = KeyRing::new(id, key);
    ring.replace(path)?;
    Ok(ring)
}

fn missing_unless(is_new: bool, path: &Path) -> Result<(), OpenFault> {
    let path = path.to_owned();
    is_new.then_some(()).ok_or(OpenFault::Missing { path })
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> OpenFault {
    let path = path.to_owned();
    move |source| OpenFault::File { path, source }
}

crate::error_code::opaque! {
    /// Why a gate's folder can't be opened. No text repeats a key.
    pub struct OpenError(OpenFault);
}

/// What is behind [`OpenError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenFault {
    /// Another gate serves from this folder, or a program is changing its key ring.
    #[error(
        "another gate runs on {path}, or its key ring is being changed: stop that gate first, or give this one a folder of its own",
        path = path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Others than the owner may open the file or the folder.
    #[error(
        "{path} is open to others (mode {mode:03o}): run `chmod go= {path}`; if others could have read a key, make a new one",
        path = path.display()
    )]
    Exposed {
        /// The file or the folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another user owns the file or the folder.
    #[error(
        "{path} belongs to another user, who could change it: run the gate as that user, or `chown` it",
        path = path.display()
    )]
    Owner {
        /// The file or the folder.
        path: PathBuf,
    },
    /// The store is there, and a key that belongs to it is not.
    #[error(
        "{path} is missing, and the store beside it belongs to it: restore it from a backup",
        path = path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file or the folder can't be made, read or written.
    #[error("{path} can't be opened or made", path = path.display())]
    File {
        /// The file or the folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file holds no private key.
    #[error(
        "{path} should hold a WireGuard private key, 44 characters of Base64: restore it from a backup",
        path = path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// The key ring can't be read or written.
    #[error(transparent)]
    Ring(#[from] KeyRingError),
    /// The store can't be opened.
    #[error(transparent)]
    Store(StoreError),
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Randomness,
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn new() -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("office");
        (parent, path)
    }

    fn refused(path: &Path) -> OpenFault {
        Folder::open(path).err().expect("the folder was opened")
    }

    #[test]
    fn a_new_folder_and_its_files_are_their_owners_alone() {
        let (_parent, path) = new();
        let folder = Folder::open(&path).unwrap();
        folder.head_file.write(&crate::audit::Head::EMPTY).unwrap();
        assert_eq!(mode(&path), 0o700);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
            names.push(entry.file_name().into_string().unwrap());
        }
        for name in [KEY, RING, STORE, HEAD, LOCK, RING_LOCK] {
            assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
        }
    }

    #[test]
    fn a_second_open_loads_the_same_keys() {
        let (_parent, path) = new();
        let first = Folder::open(&path).unwrap();
        let (key, ring) = (first.private_key.clone(), first.key_ring.expose_lines());
        drop(first);
        let second = Folder::open(&path).unwrap();
        assert_eq!(second.private_key, key);
        assert_eq!(second.key_ring.expose_lines(), ring);
    }

    #[test]
    fn a_second_gate_on_a_folder_is_refused_until_the_first_is_gone() {
        let (_parent, path) = new();
        let first = Folder::open(&path).unwrap();
        assert!(matches!(refused(&path), OpenFault::InUse { .. }));
        drop(first);
        assert!(Folder::open(&path).is_ok());
    }

    #[test]
    fn what_others_may_read_is_refused() {
        let (_parent, path) = new();
        drop(Folder::open(&path).unwrap());
        for name in [KEY, RING, STORE] {
            let file = path.join(name);
            set_mode(&file, 0o640);
            let error = refused(&path);
            let is_said =
                matches!(&error, OpenFault::Exposed { path, mode: 0o640 } if *path == file);
            assert!(is_said, "{name}: {error:?}");
            set_mode(&file, 0o600);
        }
        set_mode(&path, 0o755);
        assert!(matches!(
            refused(&path),
            OpenFault::Exposed { mode: 0o755, .. }
        ));
        set_mode(&path, 0o700);
        assert!(Folder::open(&path).is_ok());
    }

    #[test]
    fn what_another_user_owns_is_refused() {
        // Only root can give a file away; without it, a folder of root's is another user's.
        if rustix::process::geteuid().is_root() {
            let (_parent, path) = new();
            drop(Folder::open(&path).unwrap());
            for owned in [path.join(KEY), path.clone()] {
                std::os::unix::fs::chown(&owned, Some(65_534), None).unwrap();
                let error = refused(&path);
                let is_said = matches!(&error, OpenFault::Owner { path } if *path == owned);
                assert!(is_said, "{owned:?}: {error:?}");
                std::os::unix::fs::chown(&owned, Some(0), None).unwrap();
            }
        } else {
            assert!(matches!(refused(Path::new("/")), OpenFault::Owner { .. }));
        }
    }

    #[test]
    fn a_store_without_its_keys_is_not_given_new_ones() {
        for name in [KEY, RING] {
            let (_parent, path) = new();
            drop(Folder::open(&path).unwrap());
            let kept = std::fs::read(path.join(name)).unwrap();
            std::fs::remove_file(path.join(name)).unwrap();
            let error = refused(&path);
            let is_said =
                matches!(&error, OpenFault::Missing { path: file } if *file == path.join(name));
            assert!(is_said, "{name}: {error:?}");
            assert!(!path.join(name).exists());
            private_file::replace(&path.join(name), &kept).unwrap();
            assert!(Folder::open(&path).is_ok());
        }
    }

    #[test]
    fn an_interrupted_beginning_is_gone_on_with() {
        let (_parent, path) = new();
        drop(Folder::open(&path).unwrap());
        let key = std::fs::read(path.join(KEY)).unwrap();
        for name in [STORE, RING] {
            std::fs::remove_file(path.join(name)).unwrap();
        }
        drop(Folder::open(&path).unwrap());
        assert_eq!(std::fs::read(path.join(KEY)).unwrap(), key);
    }

    #[test]
    fn a_file_that_holds_no_key_is_said_to_and_not_repeated() {
        let (_parent, path) = new();
        drop(Folder::open(&path).unwrap());
        private_file::replace(&path.join(KEY), b"hunter2\n").unwrap();
        let error = refused(&path);
        assert!(matches!(error, OpenFault::Key { .. }));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
