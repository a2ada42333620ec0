//! Debian's cloud kernel, taken from its package without installing it, and kept by version.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Failure, output, program, run};
use crate::debian;

/// The package that always depends on the newest kernel of the distribution.
const NEWEST: &str = "linux-image-cloud-amd64";

/// A kernel and its modules.
#[derive(Debug)]
pub(super) struct Kernel {
    /// The bootable image.
    pub(super) image: PathBuf,
    /// Where `lib/modules` is.
    pub(super) root: PathBuf,
    /// Its release, as `uname -r` gives it.
    pub(super) release: String,
}

/// The distribution's newest cloud kernel: from `folder`, or downloaded into it.
pub(super) fn kernel(folder: &Path) -> Result<Kernel, Failure> {
    fs::create_dir_all(folder).map_err(|error| cannot("create", folder, &error))?;
    let found = newest().or_else(|_| {
        debian::update()?;
        newest()
    });
    let (package, file) = found?;
    let root = folder.join(file.trim_end_matches(".deb"));
    if !root.exists() {
        unpack(folder, &package, &file, &root)?;
    }
    released(root)
}

/// The newest kernel's package, and the name of its file.
fn newest() -> Result<(String, String), Failure> {
    let depends = output(program("apt-cache").args(["depends", NEWEST]))?;
    let package = package_in(&depends)
        .ok_or_else(|| Failure(format!("`{NEWEST}` depends on no kernel: {depends}")))?;
    let uris = output(program("apt-get").args(["download", "--print-uris", &package]))?;
    let file = uris
        .split_whitespace()
        .find(|word| word.ends_with(".deb"))
        .ok_or_else(|| Failure(format!("`{package}` can't be downloaded: {uris}")))?;
    Ok((package, file.to_owned()))
}

fn package_in(depends: &str) -> Option<String> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-") && name.ends_with("-cloud-amd64"))
        .map(str::to_owned)
}

/// Downloads and unpacks beside `root`, and moves there at the end, so that `root` is whole.
fn unpack(folder: &Path, package: &str, file: &str, root: &Path) -> Result<(), Failure> {
    let download = || {
        run(program("apt-get")
            .args(["-qq", "-o", "Acquire::Retries=3", "download", package])
            .current_dir(folder))
    };
    download().or_else(|_| {
        debian::update()?;
        download()
    })?;
    let half = folder.join("half");
    if half.exists() {
        fs::remove_dir_all(&half).map_err(|error| cannot("remove", &half, &error))?;
    }
    let archive = folder.join(file.rsplit('/').next().unwrap_or(file));
    run(program("dpkg-deb")
        .arg("--extract")
        .arg(&archive)
        .arg(&half))?;
    let release = release_under(&half)?;
    // The package's own script would do this at its installation.
    run(program("depmod").arg("-b").arg(&half).arg(&release))?;
    fs::remove_file(&archive).map_err(|error| cannot("remove", &archive, &error))?;
    fs::rename(&half, root).map_err(|error| cannot("rename", &half, &error))
}

fn released(root: PathBuf) -> Result<Kernel, Failure> {
    let release = release_under(&root)?;
    Ok(Kernel {
        image: root.join(format!("boot/vmlinuz-{release}")),
        root,
        release,
    })
}

/// The one folder of modules.
fn release_under(root: &Path) -> Result<String, Failure> {
    let modules = root.join("lib/modules");
    let mut entries = fs::read_dir(&modules).map_err(|error| cannot("read", &modules, &error))?;
    entries
        .find_map(|entry| entry.ok()?.file_name().into_string().ok())
        .ok_or_else(|| Failure(format!("`{}` is empty", modules.display())))
}

/// Says what could not be done with which file.
pub(super) fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure(format!("can't {what} `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_package_is_found_among_the_dependencies() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-9-cloud-amd64\n";
        let package = package_in(depends);
        assert_eq!(package.as_deref(), Some("linux-image-6.1.0-9-cloud-amd64"));
        assert_eq!(package_in("linux-image-cloud-amd64\n"), None);
    }
}
