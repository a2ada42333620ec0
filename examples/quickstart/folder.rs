//! A folder for the gate's store, which goes with the run.

use std::error::Error;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use mfagate::id::SessionId;

/// A folder that only its owner may read, removed when this is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes one under the system's folder for temporary files. It fails where the name is taken, so
    /// that nothing of others is used or removed.
    pub(crate) fn create() -> Result<Self, Box<dyn Error>> {
        let name = format!("mfagate-quickstart-{}", SessionId::generate()?);
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The run is over: a folder that stays takes some room, and holds no secret that is in use.
        _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_all_that_is_in_it() {
        let folder = Folder::create().unwrap();
        let path = folder.path().to_path_buf();
        std::fs::write(path.join("gate.db"), "rows").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
