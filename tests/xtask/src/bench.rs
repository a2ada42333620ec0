//! `cargo xtask bench`: builds the benches with optimisation and runs them.

use crate::command::{Failure, cargo, run as run_command};
use crate::debian;

/// What to run, and how strict to be.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only the rows whose names begin so.
    #[arg(long, value_name = "PREFIX")]
    only: Option<String>,
    /// Fail when a row misses its target.
    #[arg(long)]
    strict: bool,
}

/// Runs the benches; the table and target/bench/report.json are theirs.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    debian::ensure(debian::BENCH)?;
    let mut benches =
        cargo("run --release --package mfagate-benches -- --report target/bench/report.json");
    if let Some(prefix) = &arguments.only {
        benches.args(["--only", prefix]);
    }
    if arguments.strict {
        benches.arg("--strict");
    }
    run_command(&mut benches)
}
