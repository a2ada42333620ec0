//! A program in the place of a person: questions on the standard output and answers on the
//! standard input, a line of JSON each. `README.md` has the lines.

use async_trait::async_trait;
use mfagate::channel::message::{Answer, Hidden};
use mfagate::client::{Question, Response};
use mfagate::id::FactorId;
use mfagate::runtime::Prompt;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::input::Input;

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
    Pin { pin: Hidden },
    Cancel {},
}

/// What it wants done about a question that something at hand did not answer.
#[derive(Debug)]
pub enum Wish {
    /// Have that try once more.
    Retry,
    /// This, instead.
    Respond(Response),
}

/// Says a line of JSON.
pub fn say(line: &Value) {
    println!("{line}");
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
    pub async fn ask(&self, question: &Question, error: Option<&str>) -> Option<Wish> {
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
                Line::Answer { answer } => return Some(Wish::Respond(answer.into())),
                Line::Choose { factor } if is_offered(question, factor) => {
                    return Some(Wish::Respond(Response::Choose(factor)));
                }
                Line::Choose { .. } => say_error("that factor is not among the others"),
                Line::Retry {} => return Some(Wish::Retry),
                Line::Cancel {} => return None,
                Line::Pin { .. } => say_error("no PIN was asked for"),
            }
        }
    }

    /// Asks for a PIN; `None` where the program gives up.
    pub async fn pin(&self, of: &str) -> Option<Hidden> {
        say(&json!({"type": "pin", "of": of}));
        loop {
            match self.line().await? {
                Line::Pin { pin } => return Some(pin),
                Line::Cancel {} => return None,
                Line::Answer { .. } | Line::Choose { .. } | Line::Retry {} => {
                    say_error("a PIN was asked for");
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
                    say_error("not one of the lines that are understood, or not a field of it");
                }
                Err(_) => say_error("not a line of JSON"),
            }
        }
    }
}

fn is_offered(question: &Question, factor: FactorId) -> bool {
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
    async fn answer(&mut self, question: &Question) -> Option<Response> {
        let mut error = None;
        loop {
            match self.ask(question, error).await? {
                Wish::Respond(response) => return Some(response),
                Wish::Retry => error = Some("there is nothing here to try again"),
            }
        }
    }
}
