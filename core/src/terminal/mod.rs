//! Asking a person at a terminal, or what is piped in for one.
//!
//! ```no_run
//! # #[cfg(all(feature = "netstack", feature = "profile", feature = "http-client"))]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use mfagate::terminal::TerminalPrompt;
//! use mfagate::{Client, Onboarding};
//!
//! let start = Onboarding::read("alice.toml")?;
//! let tunnel = Client::up(start, &mut TerminalPrompt::new()).await?;
//! # tunnel.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! It writes to the standard error, so that the standard output is the program's own. What can't be
//! written there is lost, and is no failure: the question still takes an answer.
//!
//! What is typed is held in memory that is wiped, also on its way: no buffer of the standard library
//! or of tokio's is in between. For the same reason a program that asks here must not read its
//! standard input by other means.
//!
//! | file | concern |
//! |---|---|
//! | `prompt` | each kind of challenge as a question |
//! | `input` | lines of the standard input, for all that ask |
//! | `lines` | bytes to lines, and nothing left behind |
//! | `echo` | what is typed does not show, and shows again however that ends |

mod echo;
mod input;
mod lines;
mod prompt;

use std::fmt::{Display, Write as _};
use std::io::Write as _;

pub use echo::{leave_ends_to_the_program, restore_echo};
pub use input::Input;
pub use prompt::TerminalPrompt;

use crate::channel::message::{Denied, DeniedReason};
use crate::id::is_printable;

/// A text from elsewhere as a terminal may show it: what would steer the terminal is escaped, but for
/// the ends of lines.
pub fn printable(text: impl Display) -> String {
    let mut out = String::new();
    for c in text.to_string().chars() {
        if is_printable(c) || c == '\n' {
            out.push(c);
        } else {
            // Writing to a string does not fail.
            _ = write!(out, "{}", c.escape_unicode());
        }
    }
    out
}

/// Describes a refusal, with the tries that are left.
pub fn explain(denied: &Denied) -> String {
    let why = match denied.reason {
        DeniedReason::Wrong => "That is wrong",
        DeniedReason::Replayed => "That has been used: take the next one",
        DeniedReason::Locked => "Too many wrong answers",
        DeniedReason::Disabled => {
            "Too many wrong answers: ask an administrator to reset the factor"
        }
        DeniedReason::Unfit => {
            "That is not an answer to this question, such as a code too short, or a factor that is not on offer"
        }
        DeniedReason::Expired => "That came too late: ask again",
        DeniedReason::Busy => "That was asked for too often",
        DeniedReason::Overtaken => "Another sign-in came in between: answer again",
    };
    match denied.locked_for_ms {
        Some(wait) => format!("{why}; the next try counts in {} s.", wait.div_ceil(1000)),
        None => format!("{why}; {}.", before_a_wait(denied.tries_left)),
    }
}

fn before_a_wait(tries: u32) -> String {
    match tries {
        0 => "one more wrong answer costs a wait".to_owned(),
        1 => "one more wrong answer costs no wait".to_owned(),
        more => format!("{more} more wrong answers cost no wait"),
    }
}

/// Writes to the standard error. One that can't be written must not end a sign-in.
fn say(text: impl Display) {
    _ = write!(std::io::stderr(), "{text}");
}

/// Writes a line there.
fn say_line(text: impl Display) {
    say(format_args!("{text}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_escaped() {
        let odd = "a\u{1b}[2J\u{9b}b\u{202e}c\u{e0041}d é\n";
        assert_eq!(
            printable(odd),
            "a\\u{1b}[2J\\u{9b}b\\u{202e}c\\u{e0041}d é\n"
        );
    }
}
