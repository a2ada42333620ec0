//! The Python package: assembled below target/python from the library that `cargo test` builds anyway,
//! and tested there, in an environment of its own.
//!
//! `maturin build` makes the wheel that is given away. It resolves features for the package alone, which
//! compiles the core and most of what it needs once more: minutes that no test needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{Failure, cargo, program, run_within, workspace};
use crate::debian;
use crate::tally::Tally;

/// What is written in Python.
const SOURCES: &str = "bindings-python/python";

/// Where the types of what is imported are: the package's, and those of stories with more than one file.
const TYPES: &str = "bindings-python/python:examples/python";

/// What the tests need from PyPI, pinned.
const REQUIREMENTS: &str = "bindings-python/tests/requirements.txt";

const INSTALL_LIMIT: Duration = Duration::from_secs(10 * 60);
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const TEST_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Builds the package and runs what tests it, each as a step of its own.
pub(crate) fn take(steps: &mut Tally) {
    for (step, run) in SETUP {
        let outcome = run();
        let is_done = outcome.is_ok();
        steps.take(step, outcome);
        if !is_done {
            return;
        }
    }
    for (step, arguments) in TESTS {
        let mut python = program(&python());
        python.args(arguments.split_whitespace());
        python.env("PYTHONPATH", site()).env("MYPYPATH", TYPES);
        python.env("PYTHONDONTWRITEBYTECODE", "1");
        steps.take(step, within(&mut python, TEST_LIMIT));
    }
}

type SetUp = fn() -> Result<(), Failure>;

/// In this order: each needs the one before.
const SETUP: &[(&str, SetUp)] = &[
    ("python: an environment for its tests", environment),
    ("python: the package builds", build),
];

const TESTS: &[(&str, &str)] = &[
    (
        "python: pytest",
        "-m pytest -c bindings-python/pyproject.toml -p no:cacheprovider bindings-python/tests",
    ),
    (
        "python: mypy of the package, its tests and the examples",
        "-m mypy --config-file bindings-python/pyproject.toml --cache-dir target/python/mypy \
         bindings-python/python/mfagate bindings-python/tests examples/python",
    ),
    (
        "python: the stubs say what the module has",
        "-m mypy.stubtest --mypy-config-file bindings-python/pyproject.toml mfagate._native",
    ),
];

/// Makes the virtual environment where it is not there, or was made with other requirements.
fn environment() -> Result<(), Failure> {
    debian::ensure(debian::PYTHON)?;
    let wanted = read(&workspace().join(REQUIREMENTS))?;
    let made = folder().join("requirements.txt");
    if fs::read_to_string(&made).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    let venv = folder().join("venv");
    if venv.exists() {
        fs::remove_dir_all(&venv).map_err(|error| failed(&venv, &error))?;
    }
    let mut make = program("python3");
    make.args(["-m", "venv"]).arg(&venv);
    within(&mut make, INSTALL_LIMIT)?;
    let mut pip = pip();
    pip.args(["install", "--no-deps", "--requirement", REQUIREMENTS]);
    within(&mut pip, INSTALL_LIMIT)?;
    fs::write(&made, wanted).map_err(|error| failed(&made, &error))
}

/// The package as a wheel has it: what is written in Python, and the library beside it.
fn build() -> Result<(), Failure> {
    // As a part of the whole workspace, so that all of it but the package is built already.
    let mut build = cargo("build --workspace --all-features --example native");
    within(&mut build, BUILD_LIMIT)?;
    if site().exists() {
        fs::remove_dir_all(site()).map_err(|error| failed(&site(), &error))?;
    }
    let package = site().join("mfagate");
    fs::create_dir_all(&package).map_err(|error| failed(&package, &error))?;
    let sources = workspace().join(SOURCES).join("mfagate");
    let found = fs::read_dir(&sources).map_err(|error| failed(&sources, &error))?;
    for source in found.flatten().map(|entry| entry.path()) {
        if let Some(name) = source.file_name().filter(|_| source.is_file()) {
            copy(&source, &package.join(name))?;
        }
    }
    let library = workspace().join("target/debug/examples/libnative.so");
    copy(&library, &package.join("_native.abi3.so"))
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::copy(from, to).map_err(|error| failed(from, &error))?;
    Ok(())
}

fn pip() -> Command {
    let mut pip = program(&python());
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
    pip
}

fn within(command: &mut Command, limit: Duration) -> Result<(), Failure> {
    run_within(command, limit, "it failed")
}

fn folder() -> PathBuf {
    workspace().join("target/python")
}

fn site() -> PathBuf {
    folder().join("site")
}

fn python() -> String {
    tool("python")
}

fn tool(name: &str) -> String {
    folder().join("venv/bin").join(name).display().to_string()
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}
