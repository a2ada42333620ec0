//! `cargo xtask check`: all that can be judged without running the program.

use crate::command::{self, Failure, cargo, ensure_cargo_tool, output};
use crate::tally::Tally;
use crate::{debian, house};

/// What a client-only build must not bring in.
const NOT_FOR_CLIENTS: &[&str] = &[
    "axum", "gotatun", "hyper", "reqwest", "rusqlite", "smoltcp", "tokio",
];

/// Runs every check, and goes on after one that fails.
pub(crate) fn run() -> Result<(), Failure> {
    debian::ensure(debian::BUILD)?;
    let mut checks = Tally::default();
    for (name, arguments) in [
        ("format", "fmt --all --check"),
        (
            "lints",
            "clippy --workspace --all-targets --all-features -- -D warnings",
        ),
        (
            "lints of the client-only core",
            "clippy --package mfagate --no-default-features -- -D warnings",
        ),
    ] {
        checks.take(name, command::run(&mut cargo(arguments)));
    }
    checks.take("a client-only build is small", client_tree_is_small());
    checks.take("documentation", documentation());
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

fn documentation() -> Result<(), Failure> {
    command::run(
        cargo("doc --workspace --all-features --no-deps --document-private-items").env(
            "RUSTDOCFLAGS",
            "-D warnings -A rustdoc::private_intra_doc_links",
        ),
    )
}

/// Advisories are left to whoever publishes: their database is a download of its own.
fn dependencies() -> Result<(), Failure> {
    ensure_cargo_tool("cargo-deny")?;
    eprintln!("(not checked here: advisories; run `cargo deny check advisories` to publish)");
    command::run(&mut cargo("deny check bans licenses sources"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_crate_in_the_clients_tree_fails() {
        assert!(forbidden_in("mfagate v0.1.0 (core)\nsnow v0.10.0\n").is_ok());
        assert!(forbidden_in("mfagate v0.1.0 (core)\ntokio v1.0.0\n").is_err());
        assert!(forbidden_in("").is_err());
    }
}
