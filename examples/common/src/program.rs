//! A program in the place of a person: questions on the standard output and answers on the
//! standard input, a line of JSON each. `examples/README.md` has the lines.

use std::fmt::Write;

use async_trait::async_trait;
use mfagate::channel::message::{Answer, SecretString};
use mfagate::client::{AuthChallenge, Prompt, PromptFailed, Response};
use mfagate::id::{FactorId, is_printable};
use mfagate::terminal::Input;
use serde::Deserialize;
use serde_json::{Value, json};

/// The program at the other end.
#[derive(Debug, Clone)]
pub struct Program {
    input: Input,
}

/// What it may say.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Answer { answer: Answer },
    Choose { factor: FactorId },
    Retry {},
    Pin { pin: SecretString },
    Cancel {},
}

/// What it wants done about a question that a key of this machine did not answer.
#[derive(Debug)]
pub enum Unanswered {
    /// Have that try once more.
    Retry,
    /// This, instead.
    Respond(Response),
}

/// Says a line of JSON.
pub fn say(line: &Value) {
    println!("{}", printable(line));
}

/// JSON itself escapes the first 32 characters only, and a terminal obeys others too, such as U+009B.
/// What is escaped stands in texts alone, and reads back as the same.
pub fn printable(line: &Value) -> String {
    let mut out = String::new();
    for c in line.to_string().chars() {
        if is_printable(c) || c == '\n' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// Says that something failed.
pub fn say_failed(error: &dyn std::error::Error) {
    say(&json!({"type": "failed", "error": error.to_string()}));
}

impl Program {
    /// The program at this input.
    pub const fn at(input: Input) -> Self {
        Self { input }
    }

    /// Puts a question, with what went wrong before; `None` where the program gives up.
    pub async fn ask(&self, question: &AuthChallenge, error: Option<&str>) -> Option<Unanswered> {
        say(&json!({
            "type": "question",
            "attempt": question.attempt,
            "factor": question.factor,
            "challenge": question.challenge,
            "others": question.others,
            "denied": question.denied,
            "error": error,
            "expires_in_ms": u64::try_from(question.expires_in.as_millis()).unwrap_or(u64::MAX),
        }));
        loop {
            match self.line().await? {
                Line::Answer { answer } => return Some(Unanswered::Respond(answer.into())),
                Line::Choose { factor } if is_offered(question, factor) => {
                    return Some(Unanswered::Respond(Response::Choose(factor)));
                }
                Line::Choose { .. } => {
                    say_error("that factor is not on offer: choose one of `others`")
                }
                Line::Retry {} => return Some(Unanswered::Retry),
                Line::Cancel {} => return None,
                Line::Pin { .. } => say_error("no PIN was asked for: send an answer"),
            }
        }
    }

    /// Asks for a PIN; `None` where the program gives up.
    pub async fn pin(&self, of: &str) -> Option<SecretString> {
        say(&json!({"type": "pin", "of": of}));
        loop {
            match self.line().await? {
                Line::Pin { pin } => return Some(pin),
                Line::Cancel {} => return None,
                Line::Answer { .. } | Line::Choose { .. } | Line::Retry {} => {
                    say_error("a PIN was asked for: send it, or cancel");
                }
            }
        }
    }

    async fn line(&self) -> Option<Line> {
        loop {
            let line = self.input.line().await?;
            match serde_json::from_str(&line) {
                Ok(line) => return Some(line),
                // Serde's own words may repeat what was said, which may be a secret.
                Err(error) if error.is_data() => {
                    say_error(
                        "not a line of a known type, or a field is missing, unknown or of the wrong type: see examples/README.md",
                    );
                }
                Err(_) => say_error("not a line of JSON"),
            }
        }
    }
}

fn is_offered(question: &AuthChallenge, factor: FactorId) -> bool {
    let others = question.others.iter();
    others
        .chain(&question.factor)
        .any(|offer| offer.factor == factor)
}

fn say_error(error: &str) {
    say(&json!({"type": "error", "error": error}));
}

#[async_trait]
impl Prompt for Program {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        let mut error = None;
        loop {
            match self.ask(question, error).await {
                Some(Unanswered::Respond(response)) => return Ok(Some(response)),
                Some(Unanswered::Retry) => {
                    error = Some(
                        "no key of this machine answers this: send an answer, or choose another factor",
                    )
                }
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_is_escaped_reads_back_as_the_same() {
        let value = json!({ "label": "a\u{1b}[2J\u{9b}b\u{202e}c\u{e0041}d é" });
        let line = printable(&value);
        assert!(line.chars().all(is_printable), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
