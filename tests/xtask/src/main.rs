//! The project's tasks, as `cargo xtask …`. One file per task; no task knows another.

mod api;
mod bench;
mod boringtun;
mod check;
mod command;
mod debian;
mod fuzz;
mod house;
mod kotlin;
mod pages;
mod providers;
mod python;
mod quickstart;
mod swift;
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
    /// What is public, written to core/api.txt.
    Api,
    /// All tests, with all set-up, on a Debian machine that has only Rust.
    Test(test::Arguments),
    /// The tests that need the kernel's own WireGuard, in a virtual machine: a part of `test`.
    Vm(vm::Arguments),
    /// The OpenID providers that tests start: a part of `test`.
    Providers,
    /// The boringtun that tests start: a part of `test`.
    Boringtun,
    /// What pages quote and list, written again from its sources.
    Pages,
    /// The benches, as a table and in target/bench/report.json.
    Bench(bench::Arguments),
    /// Every fuzz target in tests/fuzz, each for a bounded time.
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Check => check::run(),
        Task::Api => api::run(),
        Task::Test(arguments) => test::run(&arguments),
        Task::Vm(arguments) => vm::run(&arguments),
        Task::Providers => providers::install(),
        Task::Boringtun => boringtun::install(),
        Task::Pages => pages::write(),
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
