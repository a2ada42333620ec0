//! The Swift package and the Swift examples: built and tested in a Debian 13 tree of their own, below
//! target/swift, as Debian 12 has no Swift.
//!
//! The tests talk to a real gate over loopback, in a network namespace of their own, so that nothing
//! on the machine is touched and nothing is left.
//!
//! | file | concern |
//! |---|---|
//! | `tree` | the Debian 13 tree: made once, entered in namespaces of its own |

mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::command::{
    Failure, artifacts_in, cargo, executable_in, output, program, run, workspace,
};
use crate::tally::Tally;

/// The library that Swift calls, the gate that tests talk to, and what writes the Swift code: built
/// with an example, so that features are resolved as for tests, and nothing is compiled twice.
const BUILD: &str = "build --workspace --all-features --lib --example native \
                     --bin mfagate-ffi-bindgen --bin tested-gate-server --message-format json";

/// Where the package has its generated Swift code, and its generated header.
const GENERATED: &str = "bindings-swift/Sources/MFAGateFFI";
const HEADER: &str = "bindings-swift/Sources/CMFAGate";

/// What runs in the tree. The stories are compiled; no test runs them with a tunnel yet.
const STEPS: &[(&str, &str)] = &[
    (
        "swift-format lint",
        "swift-format lint --strict --recursive --configuration bindings-swift/.swift-format \
         bindings-swift/Package.swift bindings-swift/Sources/MFAGate bindings-swift/Tests \
         examples/swift/Package.swift examples/swift/Sources",
    ),
    (
        "swift build: examples/swift",
        "swift build --package-path /src/examples/swift --scratch-path /stories $OPTIONS",
    ),
    (
        "swift test: bindings-swift",
        "swift test --package-path /src/bindings-swift --scratch-path /tests $OPTIONS",
    ),
];

/// What all are told, and where the tests find what they start. swift-format takes the first letter
/// off a path where the working directory is `/`.
const SETTINGS: &str = "cd /src\n\
                        export LD_LIBRARY_PATH=/library MFAGATE_GATE_SERVER=/gate/tested-gate-server \
                        MFAGATE_STORIES=/stories/debug\n\
                        OPTIONS='-Xlinker -L/library'\n";

/// One step, on a slow machine.
const LIMIT: Duration = Duration::from_secs(900);

/// What cargo has built.
#[derive(Debug)]
struct Built {
    /// The library that Swift calls.
    library: PathBuf,
    /// The gate.
    gate: PathBuf,
}

/// Makes the tree where it is not there. What fails is tried again, and said, by [`take`].
pub(crate) fn fetch() {
    if let Err(failure) = tree::ensure() {
        eprintln!("{failure}");
    }
}

/// Takes what is built and tested, each as a step of its own.
pub(crate) fn take(steps: &mut Tally) {
    let prepared = tree::ensure().and_then(|root| Ok((root, places(&built()?)?)));
    for (step, command) in STEPS {
        let outcome = match &prepared {
            Ok((root, places)) => {
                tree::enter(root, places, &format!("{SETTINGS}exec {command}"), LIMIT)
            }
            Err(failure) => Err(Failure(failure.0.clone())),
        };
        steps.take(step, outcome);
    }
}

/// The project's folders, and where they are in the tree.
fn places(built: &Built) -> Result<Vec<(&'static str, PathBuf)>, Failure> {
    let build = workspace().join("target/swift/build");
    let places = vec![
        ("src", workspace()),
        ("library", folder_of(&built.library)?),
        ("gate", folder_of(&built.gate)?),
        ("stories", build.join("stories")),
        ("tests", build.join("tests")),
    ];
    for (_, folder) in &places {
        fs::create_dir_all(folder).map_err(|error| tree::cannot("create", folder, &error))?;
    }
    Ok(places)
}

/// Builds what the tests need and generates the Swift code.
fn built() -> Result<Built, Failure> {
    let lines = output(&mut cargo(BUILD))?;
    let library = library_in(&lines)
        .ok_or_else(|| Failure("cargo did not say where `libmfagate_ffi.so` is".to_owned()))?;
    let generator = executable(&lines, "mfagate-ffi-bindgen")?;
    generate(&generator, &library)?;
    let gate = executable(&lines, "tested-gate-server")?;
    Ok(Built { library, gate })
}

/// Writes the Swift code, and moves it to where SwiftPM looks for it.
fn generate(generator: &Path, library: &Path) -> Result<(), Failure> {
    let folder = workspace().join("target/swift/generated");
    let mut generate = program(&generator.to_string_lossy());
    generate.arg("swift").arg(library).arg(&folder);
    run(&mut generate)?;
    for (file, to, name) in [
        ("MFAGateFFI.swift", GENERATED, "MFAGateFFI.swift"),
        ("CMFAGate.h", HEADER, "CMFAGate.h"),
        ("CMFAGate.modulemap", HEADER, "module.modulemap"),
    ] {
        let (from, to) = (folder.join(file), workspace().join(to));
        fs::create_dir_all(&to).map_err(|error| tree::cannot("create", &to, &error))?;
        place(&from, &to.join(name))?;
    }
    Ok(())
}

/// Copies a file only where that changes something, so that Swift compiles only then. UniFFI 0.32.2
/// quotes a method that is called as a keyword of Swift's in the header, too, where C takes no
/// backticks; in the Swift code they are right.
fn place(from: &Path, to: &Path) -> Result<(), Failure> {
    let mut new = fs::read_to_string(from).map_err(|error| tree::cannot("read", from, &error))?;
    if from.extension().is_some_and(|extension| extension == "h") {
        new = new.replace('`', "");
    }
    if fs::read_to_string(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::write(to, new).map_err(|error| tree::cannot("write", to, &error))
}

fn folder_of(file: &Path) -> Result<PathBuf, Failure> {
    let folder = file.parent().map(Path::to_path_buf);
    folder.ok_or_else(|| Failure(format!("`{}` is in no folder", file.display())))
}

fn executable(lines: &str, target: &str) -> Result<PathBuf, Failure> {
    executable_in(lines, target)
        .ok_or_else(|| Failure(format!("cargo did not say where `{target}` is")))
}

fn library_in(lines: &str) -> Option<PathBuf> {
    artifacts_in(lines, "mfagate_ffi").find_map(|message| {
        let files = message.get("filenames").and_then(Value::as_array)?.clone();
        let shared = files.iter().filter_map(Value::as_str);
        let shared = shared.filter(|file| file.ends_with(".so"));
        shared.map(|file| Path::new(file).to_path_buf()).next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_built_is_found() {
        let lines = r#"{"target":{"name":"mfagate_ffi"},"filenames":["/t/x.a","/t/x.so"]}
            no JSON
            {"target":{"name":"gate-server"},"filenames":["/t/gate-server"],"executable":null}
            {"target":{"name":"gate-server"},"executable":"/t/gate-server"}"#;
        assert_eq!(library_in(lines), Some(PathBuf::from("/t/x.so")));
        assert_eq!(
            executable(lines, "gate-server").unwrap(),
            PathBuf::from("/t/gate-server")
        );
        assert!(executable(lines, "none").is_err());
    }
}
