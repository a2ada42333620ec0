//! The figures of the project, in one run: `cargo xtask bench`.
//!
//! Absolute times move with the machine, so a row that has a target is a ratio to a floor that is
//! measured beside it in the same run. One file per subject; its rows begin with its name.

mod factor;
mod floor;
mod gate;
mod interface;
mod machine;
mod measure;
mod memory;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::report::Report;

/// Runs the benches.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only the rows whose names begin so.
    #[arg(long, value_name = "PREFIX")]
    only: Option<String>,
    /// Where to write the rows as JSON.
    #[arg(long, default_value = "target/bench/report.json")]
    report: PathBuf,
    /// Exit with a status other than zero when a row misses its target.
    #[arg(long)]
    strict: bool,
    /// Measure what needs the kernel's WireGuard, and nothing else. As root.
    #[arg(long)]
    kernel: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut report = Report::new(arguments.only);
    let outcome = if arguments.kernel {
        interface::rows_of_the_kernel(&mut report)
    } else {
        machine::rows(&mut report)
            .and_then(|()| gate::rows(&mut report))
            .and_then(|()| factor::rows(&mut report))
            .and_then(|()| interface::rows(&mut report))
    };
    print!("{}", report.table());
    if let Err(error) = outcome.and_then(|()| report.write(&arguments.report)) {
        eprintln!("benches: {error}");
        return ExitCode::FAILURE;
    }
    if report.is_empty() {
        eprintln!("benches: no row's name begins so");
        return ExitCode::FAILURE;
    }
    if arguments.strict && !report.holds() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
