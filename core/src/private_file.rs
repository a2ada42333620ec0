//! Files that only their owner may read.

use std::fs::File;
use std::io;
use std::path::Path;

/// The permission bits of a file that others than its owner may read or write; `None` where only
/// the owner may, or the platform has no such bits.
#[cfg(all(unix, any(feature = "gate", feature = "device-key")))]
pub(crate) fn exposed(file: &File) -> io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

#[cfg(all(not(unix), any(feature = "gate", feature = "device-key")))]
pub(crate) fn exposed(_: &File) -> io::Result<Option<u32>> {
    Ok(None)
}

/// Makes a file that must not be there yet, private from its first byte on.
#[cfg(unix)]
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(not(unix))]
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).open(path)
}

/// Writes a private file in place of what was there: all of it, or nothing, and for good once this
/// returns.
#[cfg(any(feature = "gate", feature = "profile"))]
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;

    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(io::Error::other)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", data_encoding::HEXLOWER.encode(&suffix)));
    let beside = std::path::PathBuf::from(beside);
    let written = create_new(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    });
    if written.is_err() {
        _ = std::fs::remove_file(&beside); // it may not be there
    }
    written?;
    sync_folder(path)
}

/// Makes the name of a file as durable as what is in it.
#[cfg(all(unix, any(feature = "gate", feature = "profile")))]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(all(not(unix), any(feature = "gate", feature = "profile")))]
const fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
