//! The project's tasks, as `cargo xtask …`. One file per task; no task knows another.

mod bench;
mod boringtun;
mod check;
mod command;
mod debian;
mod fuzz;
mod house;
mod providers;
mod quickstart;
mod tally;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the mfagate workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Formatting, lints, documentation, dependencies and the rules of the house.
    Check,
    /// All tests, with all set-up, on a Debian machine that has only Rust.
    Test,
    /// The tests that need the kernel's own WireGuard, in a virtual machine: a part of `test`.
    Vm(vm::Arguments),
    /// The OpenID providers that tests start: a part of `test`.
    Providers,
    /// The boringtun that tests start: a part of `test`.
    Boringtun,
    /// The benches, as a table and in target/bench/report.json.
    Bench(bench::Arguments),
    /// Every fuzz target in tests/fuzz, each for a bounded time.
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Check => check::run(),
        Task::Test => test::run(),
        Task::Vm(arguments) => vm::run(&arguments),
        Task::Providers => providers::install(),
        Task::Boringtun => boringtun::install(),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
