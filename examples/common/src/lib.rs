//! What the examples share: the log, answers by another program, and texts for people.

#[macro_use]
pub mod outlet;

#[cfg(feature = "programs")]
pub mod backend;
pub mod program;

use std::alloc::System;
use std::error::Error;

use mfagate::terminal::printable;
use zeroizing_alloc::ZeroAlloc;

/// Wipes every block of memory when it is freed: copies of a secret that other crates made on its way
/// in or out go with the block that holds them.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// Logs to the standard error what `RUST_LOG` asks for. A standard error that can't be written, or
/// that no one reads, delays nothing: lines are dropped.
#[cfg(feature = "programs")]
pub fn log_to_stderr() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(|| outlet::Log)
        .init();
}

/// Writes an error and its causes to the standard error, a line each.
pub fn complain(program: &str, error: &dyn Error) {
    eprintln!("{program}: {}", printable(error));
    for cause in causes(error) {
        eprintln!("  because {}", printable(cause));
    }
}

/// Gives an error and its causes in one line.
pub fn in_a_line(error: &dyn Error) -> String {
    causes(error).fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

fn causes(error: &dyn Error) -> impl Iterator<Item = &dyn Error> {
    std::iter::successors(error.source(), |&cause| cause.source())
}
