//! What a command says: to people, or to programs as a line of JSON each.

use std::fmt::Display;

use mfagate::terminal::printable;
use mfagate_examples::program;
use serde_json::Value;

/// Who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    People,
    Programs,
}

impl Output {
    pub(crate) fn say(self, text: impl Display, json: &Value) {
        match self {
            Self::People => println!("{}", printable(text)),
            Self::Programs => println!("{}", program::printable(json)),
        }
    }

    /// Says that an answer was not taken, and that another may be given.
    pub(crate) fn complain(self, error: &impl Display) {
        match self {
            Self::People => eprintln!("  {}.", printable(error)),
            Self::Programs => {
                let error = error.to_string();
                let line = serde_json::json!({"type": "error", "error": error});
                println!("{}", program::printable(&line));
            }
        }
    }
}
