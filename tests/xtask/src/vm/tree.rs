//! The machine's only file system: an initramfs with busybox, a few programs, kernel modules and
//! the tests.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::image::{Kernel, cannot};
use super::{FILES, MODULES, PROGRAMS, boot};
use crate::command::{Failure, output, program, run};

/// What the machine runs.
pub(super) struct Load<C> {
    /// Executables, which get places of their own.
    pub(super) executables: Vec<PathBuf>,
    /// Programs that these start, which keep the places that they have.
    pub(super) beside: Vec<PathBuf>,
    /// The commands, given the executables' places.
    pub(super) commands: C,
}

/// Builds the tree again, and the archive of it that the kernel unpacks. Returns the archive.
pub(super) fn pack(
    folder: &Path,
    kernel: &Kernel,
    load: Load<impl Fn(&[String]) -> String>,
) -> Result<PathBuf, Failure> {
    let tree = folder.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(|error| cannot("remove", &tree, &error))?;
    }
    for name in [
        "bin", "sbin", "usr/bin", "usr/sbin", "proc", "sys", "dev", "tmp", "run",
    ] {
        create(&tree.join(name))?;
    }
    add_program(&tree, "busybox", Path::new("bin"))?;
    // The kernel itself calls this one to load a module.
    symlink("/bin/busybox", tree.join("sbin/modprobe"))
        .map_err(|error| cannot("link in", &tree, &error))?;
    for name in PROGRAMS {
        add_program(&tree, name, Path::new("usr/local/bin"))?;
    }
    // Programs look for it here, whatever the path.
    symlink("/usr/local/bin/bash", tree.join("bin/bash"))
        .map_err(|error| cannot("link in", &tree, &error))?;
    for name in FILES {
        copy(Path::new(name), &tree.join(name.trim_start_matches('/')))?;
    }
    add_modules(&tree, kernel)?;
    let mut places = Vec::new();
    for (index, executable) in load.executables.iter().enumerate() {
        let place = format!("tests/{index}");
        add_stripped(&tree, executable, Path::new(&place))?;
        places.push(format!("/{place}"));
    }
    for program in &load.beside {
        let place = program.strip_prefix("/").unwrap_or(program);
        add_stripped(&tree, program, place)?;
    }
    let init = tree.join("init");
    fs::write(&init, boot::init(MODULES, &(load.commands)(&places)))
        .and_then(|()| fs::set_permissions(&init, fs::Permissions::from_mode(0o755)))
        .map_err(|error| cannot("write", &init, &error))?;
    archive(folder, &tree)
}

fn archive(folder: &Path, tree: &Path) -> Result<PathBuf, Failure> {
    let archive = folder.join("initramfs");
    let script = "set -e; find . >../names; \
        cpio --create --format=newc --owner=0:0 --quiet <../names >../initramfs";
    run(program("sh").args(["-c", script]).current_dir(tree))?;
    Ok(archive)
}

/// Copies a program of the host, and the shared libraries it needs.
fn add_program(tree: &Path, name: &str, place: &Path) -> Result<(), Failure> {
    let found = output(program("sh").args(["-c", "command -v \"$0\"", name]))?;
    add_executable(tree, Path::new(found.trim()), &place.join(name))
}

/// The same without what only a debugger reads: the machine's file system is in its memory.
fn add_stripped(tree: &Path, from: &Path, place: &Path) -> Result<(), Failure> {
    add_executable(tree, from, place)?;
    run(program("strip").arg("--strip-debug").arg(tree.join(place)))
}

/// Copies an executable to a place in the tree, and the shared libraries it needs.
fn add_executable(tree: &Path, from: &Path, place: &Path) -> Result<(), Failure> {
    copy(from, &tree.join(place))?;
    for library in libraries(from)? {
        let to = library.strip_prefix("/").unwrap_or(&library);
        if !tree.join(to).exists() {
            copy(&library, &tree.join(to))?;
        }
    }
    Ok(())
}

/// The shared libraries of an executable, its loader among them; none of a static one.
fn libraries(executable: &Path) -> Result<Vec<PathBuf>, Failure> {
    let listed = program("ldd")
        .arg(executable)
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| Failure(format!("`ldd` can't be started: {error}")))?;
    let printed = String::from_utf8_lossy(&listed.stdout).into_owned()
        + &String::from_utf8_lossy(&listed.stderr);
    if listed.status.success() {
        libraries_in(&printed)
    } else if printed.contains("not a dynamic executable") {
        Ok(Vec::new())
    } else {
        Err(Failure(format!(
            "`ldd {}`: {printed}",
            executable.display()
        )))
    }
}

fn libraries_in(printed: &str) -> Result<Vec<PathBuf>, Failure> {
    if let Some(line) = printed.lines().find(|line| line.contains("not found")) {
        return Err(Failure(format!("a shared library is missing: {line}")));
    }
    Ok(printed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}

/// Copies the modules with all they depend on, and their index.
fn add_modules(tree: &Path, kernel: &Kernel) -> Result<(), Failure> {
    let place = Path::new("lib/modules").join(&kernel.release);
    let (from, to) = (kernel.root.join(&place), tree.join(&place));
    let read = |name: &str| {
        let path = from.join(name);
        fs::read_to_string(&path).map_err(|error| cannot("read", &path, &error))
    };
    for file in with_dependencies(MODULES, &read("modules.dep")?)? {
        copy(&from.join(&file), &to.join(&file))?;
    }
    for index in [
        "modules.order",
        "modules.builtin",
        "modules.builtin.modinfo",
    ] {
        copy(&from.join(index), &to.join(index))?;
    }
    run(program("depmod").arg("-b").arg(tree).arg(&kernel.release))
}

/// The files of these modules and of what they depend on, by `modules.dep`.
fn with_dependencies(modules: &[&str], dep: &str) -> Result<BTreeSet<String>, Failure> {
    let mut files = BTreeSet::new();
    for module in modules {
        let end = format!("/{module}.ko:");
        let line = dep.lines().find(|line| {
            let head = line.split(' ').next().unwrap_or_default();
            head.replace(".ko.xz:", ".ko:").ends_with(&end)
        });
        let line = line.ok_or_else(|| Failure(format!("the kernel has no module `{module}`")))?;
        files.extend(
            line.replacen(':', "", 1)
                .split_whitespace()
                .map(str::to_owned),
        );
    }
    Ok(files)
}

fn create(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| cannot("create", folder, &error))
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    if let Some(folder) = to.parent() {
        create(folder)?;
    }
    fs::copy(from, to).map_err(|error| cannot("copy", from, &error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_with_what_it_depends_on() {
        let dep = "kernel/net/a.ko: kernel/net/b.ko kernel/net/c.ko\n\
            kernel/net/b.ko: kernel/net/c.ko\nkernel/net/c.ko:\nkernel/net/xa.ko:\n";
        let files = with_dependencies(&["a"], dep).unwrap();
        let files: Vec<_> = files.iter().map(String::as_str).collect();
        assert_eq!(
            files,
            ["kernel/net/a.ko", "kernel/net/b.ko", "kernel/net/c.ko"]
        );
        assert!(with_dependencies(&["d"], dep).is_err());
    }

    #[test]
    fn libraries_are_the_absolute_paths_that_ldd_prints() {
        let printed = "linux-vdso.so.1 (0x1)\n libc.so.6 => /lib/libc.so.6 (0x2)\n \
            /lib64/ld-linux-x86-64.so.2 (0x3)\n";
        let found = libraries_in(printed).unwrap();
        let wanted = ["/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(found, wanted);
        assert!(libraries_in("libx.so => not found\n").is_err());
    }
}
