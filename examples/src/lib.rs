//! What the examples share: the log, whoever answers questions, and things in words.

pub mod backend;
pub mod input;
pub mod program;
pub mod terminal;

use std::error::Error;

use mfagate::channel::message::{Denied, DeniedReason};
use tracing_subscriber::EnvFilter;

/// Logs to the standard error what `RUST_LOG` asks for.
pub fn log_to_stderr() {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
}

/// An error and its causes on the standard error, a line each.
pub fn complain(program: &str, error: &dyn Error) {
    eprintln!("{program}: {error}");
    for cause in causes(error) {
        eprintln!("  because {cause}");
    }
}

/// An error and its causes, in one line.
pub fn in_a_line(error: &dyn Error) -> String {
    causes(error).fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

fn causes(error: &dyn Error) -> impl Iterator<Item = &dyn Error> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// A refusal in words, with what is left.
pub fn explain(denied: &Denied) -> String {
    let why = match denied.reason {
        DeniedReason::Wrong => "That is wrong",
        DeniedReason::Replayed => "That has been used: take the next one",
        DeniedReason::Locked => "Too many wrong answers",
        DeniedReason::Disabled => {
            "Too many wrong answers: an administrator has to reset the factor"
        }
        DeniedReason::Unfit => {
            "That is not an answer to this question, such as a code too short, or a factor that is not on offer"
        }
        DeniedReason::Expired => "That came too late: ask anew",
        DeniedReason::Busy => "That was asked for too often",
        DeniedReason::Overtaken => "Another sign-in came in between: answer again",
        _ => "The answer was refused",
    };
    match denied.locked_for_ms {
        Some(wait) => format!("{why}; the next try counts in {} s.", wait.div_ceil(1000)),
        None => format!("{why}; {} tries are left before a wait.", denied.tries_left),
    }
}
