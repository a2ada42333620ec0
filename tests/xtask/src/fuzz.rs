//! `cargo xtask fuzz`: every target of tests/fuzz, each for a bounded time, by cargo-fuzz on the
//! stable toolchain.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::command::{self, Failure, cargo, ensure_cargo_tool, output, output_within, workspace};
use crate::debian;
use crate::tally::Tally;

/// Where the targets are, in cargo-fuzz's layout.
const FOLDER: &str = "tests/fuzz";

/// How long to fuzz.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
}

/// Runs all targets; a crash, a hang or an out-of-memory in any of them is a failure.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let manifest = format!("{FOLDER}/Cargo.toml");
    if !workspace().join(&manifest).exists() {
        return Err(Failure(format!("there is no {manifest}: nothing to fuzz")));
    }
    debian::ensure(debian::FUZZ)?;
    ensure_cargo_tool("cargo-fuzz")?;
    let metadata = output(&mut cargo(&format!(
        "metadata --no-deps --format-version 1 --manifest-path {manifest}"
    )))?;
    let targets = targets(&metadata)?;
    for target in &targets {
        let kept = workspace().join(FOLDER).join("corpus").join(target);
        if !has_seed(&kept) {
            return Err(Failure(format!(
                "{target} has no seed, so that little of what it tries gets far: put one at least in {FOLDER}/corpus/{target}, as seed-…"
            )));
        }
    }
    command::run(&mut fuzz("build", ""))?;
    let mut runs = Tally::default();
    for target in &targets {
        let corpora = corpora(target)?;
        let limits = format!(
            "{target} {corpora} -- -max_total_time={} -timeout=10 -rss_limit_mb=2048",
            arguments.seconds
        );
        // libFuzzer ends by itself; the outer limit is for a target that hangs anyway.
        let limit = Duration::from_secs(arguments.seconds + 120);
        let outcome = output_within(&mut fuzz("run", &limits), limit).and_then(|(_, succeeded)| {
            if succeeded {
                Ok(())
            } else {
                Err(Failure(format!("see {FOLDER}/artifacts/{target}")))
            }
        });
        runs.take(target, outcome);
    }
    println!("{}", runs.line());
    runs.verdict()
}

/// Whether there is an input to begin with.
fn has_seed(folder: &Path) -> bool {
    let kept = fs::read_dir(folder).into_iter().flatten().flatten();
    kept.map(|file| file.file_name())
        .any(|name| name.to_string_lossy().starts_with("seed-"))
}

/// Where a target's inputs are: what it finds goes under target/, and it begins with those that are
/// kept in the repository.
fn corpora(target: &str) -> Result<String, Failure> {
    let found = format!("target/fuzz/{target}");
    fs::create_dir_all(workspace().join(&found))
        .map_err(|error| Failure(format!("{found} can't be made: {error}")))?;
    Ok(format!("{found} {FOLDER}/corpus/{target}"))
}

/// cargo-fuzz asks for unstable flags of the compiler; this is how stable takes them.
fn fuzz(action: &str, arguments: &str) -> Command {
    let mut command = cargo(&format!("fuzz {action} --fuzz-dir {FOLDER} {arguments}"));
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}

/// The binaries of the fuzz crate, out of `cargo metadata`.
fn targets(metadata: &str) -> Result<Vec<String>, Failure> {
    let metadata: Value = serde_json::from_str(metadata)
        .map_err(|error| Failure(format!("`cargo metadata` can't be read: {error}")))?;
    let is_fuzz_crate = |package: &&Value| {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        manifest.ends_with("tests/fuzz/Cargo.toml")
    };
    let targets: Vec<String> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(is_fuzz_crate)
        .flat_map(|package| package["targets"].as_array().into_iter().flatten())
        .filter(|target| target["kind"][0] == "bin")
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect();
    if targets.is_empty() {
        return Err(Failure(format!("{FOLDER} has no targets")));
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_binaries_of_the_fuzz_crate() {
        let metadata = r#"{"packages":[
            {"manifest_path":"x/core/Cargo.toml","targets":[{"kind":["bin"],"name":"other"}]},
            {"manifest_path":"x/tests/fuzz/Cargo.toml","targets":[
                {"kind":["lib"],"name":"shared"},{"kind":["bin"],"name":"message"}]}]}"#;
        assert_eq!(targets(metadata).unwrap(), ["message"]);
    }

    #[test]
    fn a_target_needs_a_seed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_seed(&folder.path().join("nothing")));
        std::fs::write(folder.path().join("0a1b"), "found by chance").unwrap();
        assert!(!has_seed(folder.path()));
        std::fs::write(folder.path().join("seed-right"), "by us").unwrap();
        assert!(has_seed(folder.path()));
    }

    #[test]
    fn no_targets_is_a_failure() {
        assert!(targets(r#"{"packages":[]}"#).is_err());
        assert!(targets("").is_err());
    }
}
