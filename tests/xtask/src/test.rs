//! `cargo xtask test`: all tests, with all set-up.

use clap::ValueEnum;

use crate::command::{self, Failure, cargo, program, workspace};
use crate::tally::Tally;
use crate::{boringtun, debian, kotlin, providers, python, quickstart, swift, vm};

/// What `cargo test` runs and counts by itself: units, integration and doc tests; tests inside
/// the examples; and the client-only core.
const CARGO_TESTS: &[&str] = &[
    "test --workspace --all-features --no-fail-fast",
    "test --workspace --all-features --no-fail-fast --examples",
    "test --package mfagate --no-default-features --no-fail-fast",
];

/// Which tests to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only the tests of this language.
    #[arg(long)]
    only: Option<Language>,
}

/// A language that has tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Language {
    Rust,
    Python,
    Kotlin,
    Swift,
}

/// Runs them all, or those of one language, and goes on after one that fails.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let languages = match &arguments.only {
        Some(language) => std::slice::from_ref(language),
        None => Language::value_variants(),
    };
    let (mut tests, mut steps) = (Tally::default(), Tally::default());
    for language in languages {
        match language {
            Language::Rust => rust(&mut tests, &mut steps)?,
            Language::Python => python::take(&mut steps),
            Language::Kotlin => kotlin::take(&mut steps),
            Language::Swift => swift::take(&mut steps),
        }
    }
    println!("\nSteps that cargo test does not count:");
    println!("{}", steps.line());
    match (tests.verdict(), steps.verdict()) {
        (Err(Failure(tests)), Err(Failure(steps))) => Err(Failure(format!("{tests}; {steps}"))),
        (tests, steps) => tests.and(steps),
    }
}

fn rust(tests: &mut Tally, steps: &mut Tally) -> Result<(), Failure> {
    debian::ensure(&[debian::TEST, debian::VM].concat())?;
    providers::install()?;
    boringtun::install()?;
    for arguments in CARGO_TESTS {
        tests.take(
            &format!("cargo {arguments}"),
            command::run(&mut cargo(arguments)),
        );
    }
    quickstart::run(steps);
    check_vectors(steps);
    // By itself: its tests look at spans, and its processors are emulated.
    vm::take(steps, None);
    Ok(())
}

fn check_vectors(steps: &mut Tally) {
    let script = "tests/vectors/check.py";
    if workspace().join(script).exists() {
        steps.take(script, command::run(program("python3").arg(script)));
    }
}
