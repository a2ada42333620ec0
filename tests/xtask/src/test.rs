//! `cargo xtask test`: all tests, with all set-up.

use std::thread;

use clap::ValueEnum;

use crate::command::{self, Failure, cargo, program, workspace};
use crate::tally::Tally;
use crate::{boringtun, debian, kotlin, providers, python, quickstart, swift, vm};

/// All that the first of [`CARGO_TESTS`] runs.
const BUILD: &str = "test --workspace --all-features --no-run";

/// What `cargo test` runs and counts by itself: units, integration and doc tests; tests inside
/// the examples; and the client-only core, beside a package that has all dependencies, so that none is
/// compiled again.
const CARGO_TESTS: &[&str] = &[
    "test --workspace --all-features --no-fail-fast",
    "test --workspace --all-features --no-fail-fast --examples",
    "test --package mfagate --package mfagate-features --no-default-features --no-fail-fast",
];

/// How many tests of one executable run at once. Nearly all of them wait, for leases to end and programs
/// to start: with one for each of two processors these are idle three quarters of the time.
const THREADS: &str = "RUST_TEST_THREADS";
const AT_ONCE: &str = "8";

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
    set_up(languages)?;
    for language in languages {
        match language {
            Language::Rust => rust(&mut tests, &mut steps),
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

/// Installs and builds. What is fetched comes while Rust is compiled, which leaves the network idle.
fn set_up(languages: &[Language]) -> Result<(), Failure> {
    let has = |language| languages.contains(&language);
    if has(Language::Rust) {
        debian::ensure(&[debian::TEST, debian::VM, debian::PROVIDERS].concat())?;
    }
    if has(Language::Swift) {
        debian::ensure(debian::SWIFT)?;
    }
    thread::scope(|scope| {
        let fetched = scope.spawn(|| {
            if has(Language::Swift) {
                swift::fetch();
            }
            if has(Language::Rust) {
                providers::install()
            } else {
                Ok(())
            }
        });
        let built = match languages {
            [Language::Rust, ..] => {
                boringtun::install().and_then(|()| command::run(&mut cargo(BUILD)))
            }
            _ => Ok(()),
        };
        let panicked = |_| Err(Failure("what fetches the providers panicked".to_owned()));
        fetched.join().unwrap_or_else(panicked).and(built)
    })
}

fn rust(tests: &mut Tally, steps: &mut Tally) {
    for arguments in CARGO_TESTS {
        let mut test = cargo(arguments);
        if std::env::var_os(THREADS).is_none() {
            test.env(THREADS, AT_ONCE);
        }
        tests.take(&format!("cargo {arguments}"), command::run(&mut test));
    }
    quickstart::run(steps);
    check_vectors(steps);
    // By itself: its tests look at spans, and its processors are emulated.
    vm::take(steps, None);
}

fn check_vectors(steps: &mut Tally) {
    let script = "tests/vectors/check.py";
    if workspace().join(script).exists() {
        steps.take(script, command::run(program("python3").arg(script)));
    }
}
