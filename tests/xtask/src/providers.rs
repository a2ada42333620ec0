//! The OpenID providers that core/tests/oidc starts, below target/providers: `oidc-provider` from
//! npm, by its lock file, and Keycloak from Maven Central.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Failure, program, run, workspace};
use crate::debian;

/// Where the tests have what is not installed: a lock file, a realm.
const SOURCES: &str = "core/tests/oidc/providers";

/// The server, as its makers distribute it.
const KEYCLOAK: &str = "org.keycloak:keycloak-quarkus-dist:26.7.3:zip";
/// The folder in the archive.
const KEYCLOAK_FOLDER: &str = "keycloak-26.7.3";

/// What unpacks it.
const UNPACK: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.11.0:unpack";

/// Installs what is not there, or is another version.
pub(crate) fn install() -> Result<(), Failure> {
    debian::ensure(debian::PROVIDERS)?;
    oidc_provider()?;
    keycloak()
}

fn oidc_provider() -> Result<(), Failure> {
    let (from, to) = (sources("oidc-provider"), installed("oidc-provider"));
    let is_same = |name: &str| {
        let (one, other) = (fs::read(from.join(name)), fs::read(to.join(name)));
        one.is_ok_and(|one| other.is_ok_and(|other| one == other))
    };
    let is_there = to.join("node_modules/oidc-provider").exists();
    let is_current = is_there && is_same("package.json") && is_same("package-lock.json");
    for name in ["package.json", "package-lock.json", "server.mjs"] {
        copy(&from.join(name), &to.join(name))?;
    }
    if is_current {
        return Ok(());
    }
    let mut npm = program("npm");
    npm.current_dir(&to)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    run(&mut npm)
}

fn keycloak() -> Result<(), Failure> {
    let (unpacked, to) = (installed("keycloak-unpacked"), installed("keycloak"));
    let realm = sources("keycloak").join("staff.json");
    let version = to.join("installed");
    let is_current = fs::read_to_string(&version).is_ok_and(|found| found == KEYCLOAK);
    if !is_current {
        for old in [&unpacked, &to] {
            if old.exists() {
                fs::remove_dir_all(old).map_err(|error| failed(old, &error))?;
            }
        }
        let mut mvn = program("mvn");
        // Without a project it keeps its marks in the folder that it is started in.
        mvn.current_dir(installed(""))
            .args(["--batch-mode", "--quiet", UNPACK])
            .arg(format!("-Dartifact={KEYCLOAK}"))
            .arg(format!("-DoutputDirectory={}", unpacked.display()));
        run(&mut mvn)?;
        let from = unpacked.join(KEYCLOAK_FOLDER);
        fs::rename(&from, &to).map_err(|error| failed(&from, &error))?;
        // Built once for all starts: a start alone takes seconds.
        let mut build = program("sh");
        build
            .arg(to.join("bin/kc.sh"))
            .args(["build", "--db=dev-mem", "--cache=local"]);
        run(&mut build)?;
        fs::write(&version, KEYCLOAK).map_err(|error| failed(&version, &error))?;
    }
    copy(&realm, &to.join("data/import/staff.json"))
}

fn sources(name: &str) -> PathBuf {
    workspace().join(SOURCES).join(name)
}

fn installed(name: &str) -> PathBuf {
    workspace().join("target/providers").join(name)
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    }
    fs::copy(from, to).map_err(|error| failed(to, &error))?;
    Ok(())
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}
