//! What a command says: to people, or to programs as a line of JSON each.

use std::fmt::Display;

use serde_json::Value;

/// To whom it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    People,
    Programs,
}

impl Output {
    pub(crate) fn say(self, text: impl Display, json: &Value) {
        match self {
            Self::People => println!("{text}"),
            Self::Programs => println!("{json}"),
        }
    }

    /// Says that an answer was not taken, and that another may be given.
    pub(crate) fn complain(self, error: &impl Display) {
        match self {
            Self::People => eprintln!("  {error}."),
            Self::Programs => {
                let error = error.to_string();
                println!("{}", serde_json::json!({"type": "error", "error": error}));
            }
        }
    }
}
