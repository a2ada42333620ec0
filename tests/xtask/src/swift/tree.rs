//! A Debian 13 tree with Swift, made of packages that are unpacked and not installed: no maintainer
//! script runs, and it takes a minute or two. It is kept by the list of its packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::{Failure, output, program, run_within, workspace};
use crate::debian;

/// The release that has Swift.
const RELEASE: &str = "trixie";

/// What is in the tree: what Swift and its package manager need, and what the tests start.
const PACKAGES: &[&str] = &[
    // A shell with the usual programs, and the tree's own shape.
    "base-files",
    "bash",
    "coreutils",
    "dash",
    "libc-bin",
    "tzdata",
    // Swift, its headers and its linker.
    "binutils",
    "gcc",
    "git",
    "libcurl4-openssl-dev",
    "libncurses-dev",
    "libstdc++-14-dev",
    "libxml2-dev",
    "swiftlang",
    "swiftlang-dev",
    // The device of the tests: an authenticator, a key's keeper, and a WireGuard interface.
    "iproute2",
    "oathtool",
    "openssl",
    "wireguard-go",
    "wireguard-tools",
];

/// Downloading and unpacking, on a slow machine with a slow mirror.
const LIMIT: Duration = Duration::from_secs(1200);

/// Mounts what programs expect, the folders of the tests, and goes in. With a PID namespace of its
/// own, killing the first process ends all that it started.
const ENTER: &str = r#"
set -eu
root=$1 script=$2
shift 2
ip link set lo up
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmp "$root/tmp"
mount -t tmpfs run "$root/run"
mkdir -p "$root/var/run"
mount -t tmpfs run "$root/var/run"
while [ $# -gt 0 ]; do
    mkdir -p "$root/$1"
    mount --bind "$2" "$root/$1"
    shift 2
done
exec chroot "$root" /usr/bin/env --ignore-environment \
    PATH=/usr/libexec/swift/bin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/tmp LANG=C.UTF-8 \
    /bin/bash -c "$script" </dev/null
"#;

/// The tree: as it was made before, or made now.
pub(super) fn ensure() -> Result<PathBuf, Failure> {
    debian::ensure(debian::SWIFT)?;
    if output(program("id").arg("-u"))?.trim() != "0" {
        return Err(Failure(
            "only root can make and enter the Debian 13 tree that has Swift: run this as root"
                .to_owned(),
        ));
    }
    let folder = workspace().join("target/swift");
    let (root, made_of) = (folder.join("root"), folder.join("made-of"));
    let list = format!("{RELEASE}: {}\n", PACKAGES.join(" "));
    if root.is_dir() && fs::read_to_string(&made_of).is_ok_and(|found| found == list) {
        return Ok(root);
    }
    for old in [&made_of, &root] {
        remove(old)?;
    }
    fs::create_dir_all(&folder).map_err(|error| cannot("create", &folder, &error))?;
    unpack(&folder, &root)?;
    // Last, so that a tree that is not whole is not taken for one that is.
    fs::write(&made_of, list).map_err(|error| cannot("write", &made_of, &error))?;
    Ok(root)
}

/// Runs a script in the tree, with these folders of the machine at these places of the tree.
pub(super) fn enter(
    root: &Path,
    places: &[(&str, PathBuf)],
    script: &str,
    limit: Duration,
) -> Result<(), Failure> {
    let mut enter = program("unshare");
    enter
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
        .args(["sh", "-c", ENTER, "sh"])
        .arg(root)
        .arg(script);
    for (place, folder) in places {
        enter.arg(place).arg(folder);
    }
    run_within(&mut enter, limit, "the tests in the tree failed")
}

fn unpack(folder: &Path, root: &Path) -> Result<(), Failure> {
    let half = folder.join("half");
    let mirror = mirror()?;
    let proxy = output(program("apt-config").args(["dump", "Acquire::http::Proxy"]))?;
    let make = || {
        remove(&half)?;
        let mut make = program("unshare");
        make.args(["--mount", "mmdebstrap", "--mode=root", "--variant=extract"])
            .args(["--format=directory", "--quiet"])
            .arg(format!("--include={}", PACKAGES.join(",")))
            .args(["--aptopt", "Acquire::Retries \"3\""])
            .args(["--aptopt", "Acquire::Languages \"none\""]);
        for line in proxy.lines().filter(|line| !line.is_empty()) {
            make.args(["--aptopt", line]);
        }
        make.arg(RELEASE).arg(&half).arg(&mirror);
        let failed = "the Debian 13 tree that has Swift could not be made";
        run_within(&mut make, LIMIT, failed)
    };
    // A mirror may fail once.
    make().or_else(|_| make())?;
    fs::rename(&half, root).map_err(|error| cannot("rename", &half, &error))
}

/// Where this machine gets its own packages from.
fn mirror() -> Result<String, Failure> {
    mirror_now().or_else(|_| {
        debian::update()?;
        mirror_now()
    })
}

fn mirror_now() -> Result<String, Failure> {
    let targets = output(program("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    mirror_in(&targets).ok_or_else(|| {
        Failure("apt's sources name no mirror of Debian that has `main`: add one".to_owned())
    })
}

/// The mirror of the release itself: those of its updates have no other release beside them.
fn mirror_in(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let is_main = fields.next() == Some("Debian") && fields.next() == Some("main");
        let is_release = fields.next().is_some_and(|name| !name.contains('-'));
        let uri = fields.next()?;
        (is_main && is_release).then(|| uri.to_owned())
    })
}

fn remove(path: &Path) -> Result<(), Failure> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else if path.exists() {
        fs::remove_file(path)
    } else {
        Ok(())
    };
    removed.map_err(|error| cannot("remove", path, &error))
}

/// Says what could not be done with which file.
pub(super) fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure(format!("can't {what} `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_of_the_release() {
        let targets = "Debian main bookworm-security http://security.example/debian-security/\n\
                       Other main bookworm http://other.example/\n\
                       Debian contrib bookworm http://contrib.example/debian/\n\
                       Debian main bookworm http://mirror.example/debian/\n";
        assert_eq!(
            mirror_in(targets).as_deref(),
            Some("http://mirror.example/debian/")
        );
        assert_eq!(
            mirror_in("Debian main bookworm-updates http://a.example/\n"),
            None
        );
        assert_eq!(mirror_in(""), None);
    }

    #[test]
    fn no_package_is_named_twice() {
        let mut names = PACKAGES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PACKAGES.len());
    }
}
