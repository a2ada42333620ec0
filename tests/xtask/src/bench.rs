//! `cargo xtask bench`: builds the benches with optimisation and runs them; those of the kernel's
//! WireGuard in a virtual machine.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command::{Failure, cargo, run as run_command, workspace};
use crate::{debian, vm};

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

const BENCHES: &str = "target/release/mfagate-benches";
const REPORT: &str = "target/bench/report.json";
/// How the names of the rows begin that the machine measures.
const IN_THE_MACHINE: &str = "interface.kernel";

/// Runs the benches; the table and target/bench/report.json are theirs.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    debian::ensure(debian::BENCH)?;
    let only = arguments.only.as_deref();
    run_command(&mut cargo("build --release --package mfagate-benches"))?;
    let mut rows = Vec::new();
    if !only.is_some_and(|only| only.starts_with(IN_THE_MACHINE)) {
        let mut benches = crate::command::program(BENCHES);
        benches.args(["--report", REPORT]);
        if let Some(prefix) = only {
            benches.args(["--only", prefix]);
        }
        run_command(&mut benches)?;
        let report = fs::read_to_string(workspace().join(REPORT))
            .map_err(|error| Failure(format!("can't read `{REPORT}`: {error}")))?;
        rows.extend(parsed(&report)?);
    }
    if only.is_none_or(|only| IN_THE_MACHINE.starts_with(only) || only.starts_with(IN_THE_MACHINE))
    {
        let report = vm::bench(&workspace().join(BENCHES), only)?;
        rows.extend(parsed(&report)?);
        write(&rows)?;
    }
    if arguments.strict && !rows.iter().all(holds) {
        return Err(Failure("a row missed its target".to_owned()));
    }
    Ok(())
}

fn parsed(report: &str) -> Result<Vec<Value>, Failure> {
    serde_json::from_str(report)
        .map_err(|error| Failure(format!("the benches' report is no list of rows: {error}")))
}

fn write(rows: &[Value]) -> Result<(), Failure> {
    let path = workspace().join(REPORT);
    let failed = |error| Failure(format!("can't write `{REPORT}`: {error}"));
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    fs::write(&path, format!("{:#}\n", Value::from(rows.to_vec()))).map_err(failed)
}

fn holds(row: &Value) -> bool {
    row.get("holds").and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_only_if_it_says_so() {
        let rows = parsed(r#"[{"holds": true}, {"holds": false}, {}]"#).unwrap();
        assert_eq!(
            rows.iter().map(holds).collect::<Vec<_>>(),
            [true, false, false]
        );
        assert!(parsed("no rows").is_err());
    }
}
