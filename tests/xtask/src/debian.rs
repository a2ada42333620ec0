//! Debian packages that tasks need, and their installation when they are missing.
//!
//! A program that is missing and can't be installed is a failure, never a skipped test.

use crate::command::{Failure, exists, output, program, run};

/// A program that a task runs, and where it comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// The program.
    pub(crate) program: &'static str,
    /// The Debian package that has it.
    pub(crate) package: &'static str,
    /// Which test needs it.
    pub(crate) reason: &'static str,
}

const C_COMPILER: Need = Need {
    program: "cc",
    package: "gcc libc6-dev",
    reason: "every test: AWS-LC and SQLite are compiled from C, and Rust links with it",
};

/// What any build needs.
pub(crate) const BUILD: &[Need] = &[C_COMPILER];

/// What `cargo xtask test` needs.
pub(crate) const TEST: &[Need] = &[
    C_COMPILER,
    Need {
        program: "oathtool",
        package: "oathtool",
        reason: "factor::totp: codes agree with an independent authenticator",
    },
    Need {
        program: "ip",
        package: "iproute2",
        reason: "core/tests/{interface,lease_guard}: hosts and networks of the tests' own",
    },
    Need {
        program: "nft",
        package: "nftables",
        reason: "core/tests/lease_guard: an operator's own rules; examples/tests/daemon: masquerading",
    },
    Need {
        program: "ping",
        package: "iputils-ping",
        reason: "core/tests/interface: packets",
    },
    Need {
        program: "ethtool",
        package: "ethtool",
        reason: "core/tests/interface: a cable without UDP segmentation",
    },
    Need {
        program: "wg",
        package: "wireguard-tools",
        reason: "core/tests/interface: stock tools, wg-quick among them",
    },
    Need {
        program: "wireguard-go",
        package: "wireguard-go",
        reason: "core/tests/interface: WireGuard of another make",
    },
    Need {
        program: "python3",
        package: "python3",
        reason: "tests/vectors/check.py: a second implementation agrees with the vectors",
    },
    Need {
        program: "systemd-analyze",
        package: "systemd",
        reason: "examples/tests/daemon: the unit of gate-server",
    },
    Need {
        program: "sysctl",
        package: "procps",
        reason: "core/tests/lease_guard, examples/tests/daemon: forwarding inside a namespace",
    },
    Need {
        program: "softhsm2-util",
        package: "softhsm2",
        reason: "core/tests/pkcs11, examples/tests/daemon: a token in software, behind PKCS #11",
    },
    Need {
        program: "aiosmtpd",
        package: "python3-aiosmtpd",
        reason: "core/tests/{smtp,gate}, examples/tests/daemon: a mail server",
    },
    Need {
        program: "openssl",
        package: "openssl",
        reason: "core/tests/smtp: the mail server's certificate",
    },
];

/// What the Python package's tests need: a part of `cargo xtask test`.
pub(crate) const PYTHON: &[Need] = &[
    C_COMPILER,
    Need {
        program: "pip3",
        package: "python3 python3-venv python3-pip",
        reason: "bindings-python/tests: an environment with what they need from PyPI",
    },
];

/// What the OpenID providers need that tests start: a part of `cargo xtask test`.
pub(crate) const PROVIDERS: &[Need] = &[
    Need {
        program: "node",
        package: "nodejs",
        reason: "core/tests/oidc: runs oidc-provider",
    },
    Need {
        program: "npm",
        package: "npm",
        reason: "core/tests/oidc: installs oidc-provider",
    },
    Need {
        program: "java",
        package: "default-jre-headless",
        reason: "core/tests/oidc: runs Keycloak",
    },
    Need {
        program: "mvn",
        package: "maven",
        reason: "core/tests/oidc: fetches Keycloak",
    },
];

/// What the Kotlin package needs.
pub(crate) const KOTLIN: &[Need] = &[
    Need {
        program: "java",
        package: "default-jre-headless",
        reason: "bindings-kotlin: runs the compiler and the tests",
    },
    Need {
        program: "mvn",
        package: "maven",
        reason: "bindings-kotlin: fetches what they need, and builds",
    },
];

/// What the tests in a virtual machine need in addition: a part of `cargo xtask test`.
pub(crate) const VM: &[Need] = &[
    C_COMPILER,
    Need {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
        reason: "core/tests/kernel: a machine with a kernel that has WireGuard",
    },
    Need {
        program: "busybox",
        package: "busybox-static",
        reason: "core/tests/kernel: what the machine is set up with",
    },
    Need {
        program: "depmod",
        package: "kmod",
        reason: "core/tests/kernel: the machine's kernel modules and their order",
    },
    Need {
        program: "cpio",
        package: "cpio",
        reason: "core/tests/kernel: the machine's file system",
    },
    Need {
        program: "bash",
        package: "bash",
        reason: "core/tests/kernel: runs what a test does by hand",
    },
    Need {
        program: "ip",
        package: "iproute2",
        reason: "core/tests/kernel: network namespaces, and an interface made by hand",
    },
    Need {
        program: "wg",
        package: "wireguard-tools",
        reason: "core/tests/kernel: a second implementation's view of the interface",
    },
    Need {
        program: "wireguard-go",
        package: "wireguard-go",
        reason: "examples/tests/daemon: a gate on it, and the kernel as its client",
    },
    Need {
        program: "nft",
        package: "nftables",
        reason: "examples/tests/daemon: masquerading",
    },
    Need {
        program: "ping",
        package: "iputils-ping",
        reason: "examples/tests/daemon: packets",
    },
    Need {
        program: "setpriv",
        package: "util-linux",
        reason: "examples/tests/daemon: a daemon with one capability",
    },
    Need {
        program: "update-ca-certificates",
        package: "ca-certificates",
        reason: "examples/tests/daemon: a client of HTTP",
    },
    Need {
        program: "strip",
        package: "binutils",
        reason: "core/tests/kernel: what fits the machine's memory",
    },
];

/// What the Swift package's tests need in addition: a part of `cargo xtask test`.
pub(crate) const SWIFT: &[Need] = &[
    C_COMPILER,
    Need {
        program: "mmdebstrap",
        package: "mmdebstrap",
        reason: "bindings-swift: a Debian 13 tree, which has Swift",
    },
    Need {
        program: "unshare",
        package: "util-linux",
        reason: "bindings-swift: namespaces of the tests' own",
    },
    Need {
        program: "mount",
        package: "mount",
        reason: "bindings-swift: the project's folders in the tree",
    },
    Need {
        program: "ip",
        package: "iproute2",
        reason: "bindings-swift: a loopback of the tests' own",
    },
];

/// What `cargo xtask bench` needs.
pub(crate) const BENCH: &[Need] = &[
    C_COMPILER,
    Need {
        program: "openssl",
        package: "openssl",
        reason: "machine.x25519_openssl: the fastest implementation available, to compare with",
    },
    Need {
        program: "ip",
        package: "iproute2",
        reason: "interface.userspace…: network namespaces",
    },
    Need {
        program: "wg",
        package: "wireguard-tools",
        reason: "interface.uapi…: WireGuard of another make gets its key",
    },
    Need {
        program: "wireguard-go",
        package: "wireguard-go",
        reason: "interface.uapi…: WireGuard of another make",
    },
];

/// What `cargo xtask fuzz` needs.
pub(crate) const FUZZ: &[Need] = &[
    C_COMPILER,
    Need {
        program: "g++",
        package: "g++",
        reason: "every fuzz target: libFuzzer is compiled from C++",
    },
];

/// Installs what is missing, as root or through `sudo`.
pub(crate) fn ensure(needs: &[Need]) -> Result<(), Failure> {
    let missing: Vec<&Need> = needs
        .iter()
        .filter(|need| !is_installed(need.program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        eprintln!(
            "missing: {} ({}), for {}",
            need.program, need.package, need.reason
        );
    }
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.package.split_whitespace())
        .collect();
    install(&packages)?;
    match missing.iter().find(|need| !is_installed(need.program)) {
        None => Ok(()),
        Some(need) => Err(Failure(format!(
            "`{}` is still missing after its package was installed",
            need.program
        ))),
    }
}

/// Whether there is a program of that name, also where only administrators look by default.
fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(name).is_file())
}

fn install(packages: &[&str]) -> Result<(), Failure> {
    let list = packages.join(" ");
    if !exists("apt-get") {
        return Err(Failure(format!(
            "this is no Debian machine: install what these packages hold, then try again: {list}"
        )));
    }
    let install = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    // Package lists may be fresh enough; a mirror may also fail once.
    for _ in 0..3 {
        if apt(&install)?.is_ok() {
            return Ok(());
        }
        let _updated = update();
    }
    apt(&install)?
}

/// Fetches the lists of packages again.
pub(crate) fn update() -> Result<(), Failure> {
    apt(&["update"])?
}

/// Runs `apt-get` as root, or through `sudo`. The outer error is that neither can be had.
fn apt(arguments: &[&str]) -> Result<Result<(), Failure>, Failure> {
    let is_root = output(program("id").arg("-u"))?.trim() == "0";
    let sudo: &[&str] = if is_root {
        &["env"]
    } else if program("sudo")
        .args(["-n", "true"])
        .status()
        .is_ok_and(|s| s.success())
    {
        &["sudo", "-n", "env"]
    } else {
        return Err(Failure(format!(
            "neither root nor `sudo` without a password: run `apt-get {}` as root, then try again",
            arguments.join(" ")
        )));
    };
    let mut command = program(sudo.first().copied().unwrap_or("env"));
    command
        .args(sudo.iter().skip(1))
        .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"])
        .args(["-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"])
        .args(arguments);
    Ok(run(&mut command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_where_programs_are() {
        assert!(is_installed("cargo"));
        assert!(!is_installed("no-such-program-is-installed"));
    }

    #[test]
    fn every_need_names_a_package_and_the_test_that_needs_it() {
        for need in [
            BUILD, TEST, PYTHON, KOTLIN, PROVIDERS, VM, SWIFT, BENCH, FUZZ,
        ]
        .concat()
        {
            assert!(
                !need.package.is_empty() && need.reason.contains(':'),
                "{need:?}"
            );
        }
    }
}
