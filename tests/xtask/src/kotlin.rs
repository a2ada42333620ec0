//! The Kotlin package: generated from the library as `cargo test` has its dependencies, and tested on
//! the JVM against a real gate.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::command::{Failure, cargo, program, run_within, workspace};
use crate::debian;
use crate::tally::Tally;

/// With an example, so that features are resolved as for tests, and nothing but these is compiled.
const BUILD: &str = "build --workspace --all-features --lib --example native \
                     --bin mfagate-ffi-bindgen --bin tested-gate-server";

/// What other languages see of the library.
const SURFACE: &str = "ffi/surface.txt";

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const GENERATE_LIMIT: Duration = Duration::from_secs(2 * 60);
/// With the downloads of a machine that has none of it.
const TEST_LIMIT: Duration = Duration::from_secs(20 * 60);

/// What is said of a step that does not succeed.
const FAILED: &str = "it failed";

type Step = fn() -> Result<(), Failure>;

/// In this order: each needs the one before.
const STEPS: &[(&str, Step)] = &[
    ("kotlin: the library, its generator and a gate", build),
    ("ffi: what other languages see is written down", surface),
    ("kotlin: the bindings are generated", generate),
    ("kotlin: mvn test", test),
];

/// Builds the package and tests it, each as a step of its own.
pub(crate) fn take(steps: &mut Tally) {
    for (step, run) in STEPS {
        let outcome = run();
        let is_done = outcome.is_ok();
        steps.take(step, outcome);
        if !is_done {
            return;
        }
    }
}

fn build() -> Result<(), Failure> {
    debian::ensure(debian::KOTLIN)?;
    run_within(&mut cargo(BUILD), BUILD_LIMIT, FAILED)
}

/// Compares; a change that is meant is taken over by copying the file that is named.
fn surface() -> Result<(), Failure> {
    let now = folder().join("surface.txt");
    bindgen("surface", &now)?;
    let read = |path: &PathBuf| {
        fs::read_to_string(path).map_err(|error| Failure(format!("{}: {error}", path.display())))
    };
    if read(&now)? == read(&workspace().join(SURFACE))? {
        return Ok(());
    }
    Err(Failure(format!(
        "{SURFACE} is not what the library has now: if the change is meant, copy {} over it",
        now.display()
    )))
}

fn generate() -> Result<(), Failure> {
    bindgen("kotlin", &folder().join("generated"))
}

fn test() -> Result<(), Failure> {
    let mut maven = program("mvn");
    maven.args(["-q", "-B", "-f", "bindings-kotlin/pom.xml", "test"]);
    run_within(&mut maven, TEST_LIMIT, FAILED)
}

fn bindgen(what: &str, to: &PathBuf) -> Result<(), Failure> {
    let built = workspace().join("target/debug");
    let mut bindgen = program(&built.join("mfagate-ffi-bindgen").display().to_string());
    bindgen
        .arg(what)
        .arg(built.join("libmfagate_ffi.so"))
        .arg(to);
    let folder = folder();
    fs::create_dir_all(&folder)
        .map_err(|error| Failure(format!("{}: {error}", folder.display())))?;
    run_within(&mut bindgen, GENERATE_LIMIT, FAILED)
}

fn folder() -> PathBuf {
    workspace().join("target/kotlin")
}
