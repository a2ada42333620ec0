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
        program: "python3",
        package: "python3",
        reason: "tests/vectors/check.py: a second implementation agrees with the vectors",
    },
    Need {
        program: "ip",
        package: "iproute2",
        reason: "core/tests/lease_guard: network namespaces with real packets in them",
    },
    Need {
        program: "nft",
        package: "nftables",
        reason: "core/tests/lease_guard: an operator's own rules beside the guard's",
    },
    Need {
        program: "sysctl",
        package: "procps",
        reason: "core/tests/lease_guard: forwarding inside a namespace",
    },
];

/// What `cargo xtask bench` needs.
pub(crate) const BENCH: &[Need] = &[
    C_COMPILER,
    Need {
        program: "openssl",
        package: "openssl",
        reason: "machine.x25519_openssl: the fastest implementation at hand, to compare with",
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

fn is_installed(name: &str) -> bool {
    // `openssl` answers to `version` in its older releases, and `ip` to `-V`.
    let answers = |to| {
        let output = program(name).arg(to).output();
        output.is_ok_and(|output| output.status.success())
    };
    exists(name) || answers("version") || answers("-V")
}

fn install(packages: &[&str]) -> Result<(), Failure> {
    let list = packages.join(" ");
    if !exists("apt-get") {
        return Err(Failure(format!(
            "this is no Debian machine: install what these packages hold, then try again: {list}"
        )));
    }
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
            "neither root nor `sudo` without a password: run `apt-get install {list}` as root, \
             then try again"
        )));
    };
    let apt = |arguments: &[&str]| {
        let mut command = program(sudo.first().copied().unwrap_or("env"));
        command
            .args(sudo.iter().skip(1))
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"])
            .args(["-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"])
            .args(arguments);
        run(&mut command)
    };
    let install = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    // Package lists may be fresh enough; a mirror may also fail once.
    for _ in 0..3 {
        if apt(&install).is_ok() {
            return Ok(());
        }
        let _updated = apt(&["update"]);
    }
    apt(&install)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_running_it() {
        assert!(is_installed("cargo"));
        assert!(!is_installed("no-such-program-is-installed"));
    }

    #[test]
    fn every_need_names_a_package_and_the_test_that_needs_it() {
        for need in [BUILD, TEST, BENCH, FUZZ].concat() {
            assert!(
                !need.package.is_empty() && need.reason.contains(':'),
                "{need:?}"
            );
        }
    }
}
