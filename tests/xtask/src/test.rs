//! `cargo xtask test`: all tests, with all set-up.

use crate::command::{self, Failure, cargo, program, workspace};
use crate::tally::Tally;
use crate::{boringtun, debian, providers, quickstart, vm};

/// What `cargo test` runs and counts by itself: units, integration and doc tests; tests inside
/// the examples; and the client-only core.
const CARGO_TESTS: &[&str] = &[
    "test --workspace --all-features --no-fail-fast",
    "test --workspace --all-features --no-fail-fast --examples",
    "test --package mfagate --no-default-features --no-fail-fast",
];

pub(crate) fn run() -> Result<(), Failure> {
    debian::ensure(&[debian::TEST, debian::VM].concat())?;
    providers::install()?;
    boringtun::install()?;
    let mut tests = Tally::default();
    for arguments in CARGO_TESTS {
        tests.take(
            &format!("cargo {arguments}"),
            command::run(&mut cargo(arguments)),
        );
    }
    let mut steps = Tally::default();
    quickstart::run(&mut steps);
    check_vectors(&mut steps);
    vm::take(&mut steps, None);
    println!("\nSteps that cargo test does not count:");
    println!("{}", steps.line());
    match (tests.verdict(), steps.verdict()) {
        (Err(Failure(tests)), Err(Failure(steps))) => Err(Failure(format!("{tests}; {steps}"))),
        (tests, steps) => tests.and(steps),
    }
}

fn check_vectors(steps: &mut Tally) {
    let script = "tests/vectors/check.py";
    if workspace().join(script).exists() {
        steps.take(script, command::run(program("python3").arg(script)));
    }
}
