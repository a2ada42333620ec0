//! `cargo xtask check`: all that can be judged without running the program.

use std::collections::BTreeSet;

use crate::command::{self, Failure, cargo, ensure_cargo_tool, output};
use crate::tally::Tally;
use crate::{api, debian, house, pages};

/// What a client-only build must not bring in.
const NOT_FOR_CLIENTS: &[&str] = &[
    "axum", "gotatun", "hyper", "reqwest", "rusqlite", "smoltcp", "tokio",
];

/// The most crates that the first command of `README.md` may build, by the lines of `cargo tree`.
const QUICKSTART_CRATES: usize = 235;

/// Runs every check, and goes on after one that fails.
pub(crate) fn run() -> Result<(), Failure> {
    debian::ensure(debian::BUILD)?;
    let mut checks = Tally::default();
    for (name, arguments) in [
        ("format", "fmt --all --check"),
        (
            "lints",
            "clippy --workspace --exclude mfagate-ffi-bindgen --all-targets --all-features -- -D warnings",
        ),
        (
            "lints of the client-only core",
            "clippy --package mfagate --no-default-features -- -D warnings",
        ),
    ] {
        checks.take(name, command::run(&mut cargo(arguments)));
    }
    checks.take(
        "lints of the generator of bindings",
        generator_of_bindings(),
    );
    checks.take("a client-only build is small", client_tree_is_small());
    checks.take("the quickstart is lean", quickstart_is_lean());
    checks.take("each feature by itself", each_feature());
    checks.take("documentation", api::document());
    checks.take("what is public", api::check());
    checks.take("pages say what their sources say", pages::check());
    checks.take("dependencies", dependencies());
    for (name, outcome) in house::checks() {
        checks.take(name, outcome);
    }
    println!("{}", checks.line());
    checks.verdict()
}

fn client_tree_is_small() -> Result<(), Failure> {
    let tree = output(&mut cargo(
        "tree --package mfagate --no-default-features --edges normal,build --prefix none --target all",
    ))?;
    forbidden_in(&tree)
}

/// Judges a flat `cargo tree`.
fn forbidden_in(tree: &str) -> Result<(), Failure> {
    let names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    if !names.contains(&"mfagate") {
        return Err(Failure("`cargo tree` did not list the crate".to_owned()));
    }
    match NOT_FOR_CLIENTS.iter().find(|name| names.contains(name)) {
        None => Ok(()),
        Some(name) => Err(Failure(format!(
            "`{name}` is in the tree of `mfagate --no-default-features`: put it behind a feature"
        ))),
    }
}

fn quickstart_is_lean() -> Result<(), Failure> {
    let tree = output(&mut cargo(
        "tree --package mfagate-quickstart --edges normal,build --prefix none",
    ))?;
    lean(&tree)
}

/// Judges a flat `cargo tree`, where a crate may stand more than once.
fn lean(tree: &str) -> Result<(), Failure> {
    let crates: BTreeSet<&str> = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .collect();
    match crates.len() {
        0 => Err(Failure("`cargo tree` listed nothing".to_owned())),
        few if few <= QUICKSTART_CRATES => Ok(()),
        many => Err(Failure(format!(
            "the quickstart builds {many} crates, and should build {QUICKSTART_CRATES} at most: \
             put what `gate-server` and `connect` need behind the feature `programs` of `examples/common`"
        ))),
    }
}

/// Lints it as it is built for tests: a look at `uniffi_bindgen` takes as long as compiling it, and a
/// test needs that anyway.
fn generator_of_bindings() -> Result<(), Failure> {
    let mut build = cargo("test --workspace --all-features --no-run --bin mfagate-ffi-bindgen");
    build.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
    command::run(&mut build)
}

/// What users take together, beside each feature by itself and all of them.
const TOGETHER: &[&str] = &[
    "gate,runtime",
    "sqlite,totp,http-server,kernel,lease-guard,policy-file,aws-lc",
    "http-client,netstack,profile",
    "http-client,userspace,device-key,profile",
];

/// Compiles the core with each of its features alone, and lints it with those that users take together.
///
/// What a feature leaves unused shows in the first, beside a package that has all dependencies, so that
/// none is compiled twice. What it needs of a dependency and does not ask for shows in the second.
fn each_feature() -> Result<(), Failure> {
    let metadata = output(&mut cargo("metadata --no-deps --format-version 1"))?;
    let mut failed = Vec::new();
    for feature in features_of("mfagate", &metadata)? {
        let check = format!(
            "check --quiet --package mfagate --package mfagate-features --no-default-features \
             --features mfagate/{feature}"
        );
        if command::run_in_silence(&mut cargo(&check)).is_err() {
            failed.push(feature);
        }
    }
    for features in TOGETHER {
        let lint = format!(
            "clippy --package mfagate --no-default-features --features {features} -- -D warnings"
        );
        if command::run(&mut cargo(&lint)).is_err() {
            failed.push((*features).to_owned());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure(format!("with the features {}", failed.join("; "))))
}

/// The features of a package, in what `cargo metadata` prints.
fn features_of(package: &str, metadata: &str) -> Result<Vec<String>, Failure> {
    let none = || Failure(format!("`cargo metadata` lists no features of {package}"));
    let metadata: serde_json::Value = serde_json::from_str(metadata).map_err(|_| none())?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let found = packages
        .find(|found| found["name"] == package)
        .ok_or_else(none)?;
    let features = found["features"].as_object().ok_or_else(none)?;
    // In one order, whether or not the map keeps that of the text: that is a feature of its crate.
    let sorted: BTreeSet<String> = features.keys().cloned().collect();
    Ok(sorted.into_iter().collect())
}

/// Advisories are left to the person who publishes: their database is a download of its own.
fn dependencies() -> Result<(), Failure> {
    ensure_cargo_tool("cargo-deny")?;
    eprintln!("(not checked here: advisories; run `cargo deny check advisories` to publish)");
    command::run(&mut cargo("deny check bans licenses sources"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_of_a_package_is_found() {
        let listed = r#"{"packages":[{"name":"mfagate","features":{"totp":["gate"],"gate":[]}}]}"#;
        assert_eq!(features_of("mfagate", listed).unwrap(), ["gate", "totp"]);
        assert!(features_of("other", listed).is_err());
    }

    #[test]
    fn a_server_crate_in_the_clients_tree_fails() {
        assert!(forbidden_in("mfagate v0.1.0 (core)\nsnow v0.10.0\n").is_ok());
        assert!(forbidden_in("mfagate v0.1.0 (core)\ntokio v1.0.0\n").is_err());
        assert!(forbidden_in("").is_err());
    }

    #[test]
    fn a_quickstart_of_too_many_crates_fails() {
        let tree = |crates: usize| -> String {
            let line = |number| format!("crate{number} v1.0.0\n");
            (0..crates).map(line).collect()
        };
        let most = tree(QUICKSTART_CRATES);
        assert!(lean(&most).is_ok());
        assert!(lean(&format!("{most}crate0 v1.0.0 (*)\n")).is_ok());
        assert!(lean(&tree(QUICKSTART_CRATES + 1)).is_err());
        assert!(lean("").is_err());
    }
}
