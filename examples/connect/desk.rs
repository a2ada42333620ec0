//! Who answers, and hears: a person at the terminal, or with `--json` a program.

use std::fmt::Display;

use async_trait::async_trait;
use mfagate::channel::message::Hidden;
use mfagate::client::{Question, Response};
use mfagate::runtime::Prompt;
use mfagate_examples::explain;
use mfagate_examples::input::Input;
use mfagate_examples::program::{Program, Wish, say};
use mfagate_examples::terminal::Person;
use serde_json::{Value, json};

use crate::holding::Held;

/// Whoever is at the other end of the standard input and output.
#[derive(Debug, Clone)]
pub(crate) enum Desk {
    Person(Person, Input),
    Program(Program),
}

impl Desk {
    pub(crate) fn new(is_program: bool) -> Self {
        let input = Input::new();
        if is_program {
            Self::Program(Program::at(input))
        } else {
            Self::Person(Person::at(input.clone()), input)
        }
    }

    pub(crate) const fn is_person(&self) -> bool {
        matches!(self, Self::Person(..))
    }

    /// Waits until whoever sits there types a line, for want of something else to do. Cancel safe.
    pub(crate) async fn put_aside(&self) {
        if let Self::Person(_, input) = self
            && input.line().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }

    /// Says the one to a person, and the other to a program.
    pub(crate) fn say(&self, text: impl Display, line: &Value) {
        match self {
            Self::Person(..) => println!("{text}"),
            Self::Program(_) => say(line),
        }
    }

    /// The PIN of a token; `None` when nobody wants to say.
    pub(crate) async fn pin(&self, of: &str) -> Option<Hidden> {
        match self {
            Self::Person(_, input) => {
                let pin = input.ask_hidden(&format!("  The PIN of {of}: ")).await?;
                let pin = (!pin.is_empty()).then(|| Hidden::new(String::clone(&pin)));
                pin.flatten()
            }
            Self::Program(program) => program.pin(of).await,
        }
    }

    /// A secret that is to be typed rather than to stand on the command line.
    pub(crate) async fn secret(&self, of: &str) -> Option<Hidden> {
        match self {
            Self::Person(_, input) => {
                let line = input.ask_hidden(&format!("  {of}: ")).await?;
                Hidden::new(line.trim().to_owned())
            }
            Self::Program(program) => program.pin(of).await,
        }
    }

    /// The security key waits to be touched.
    pub(crate) fn touch(&self) {
        match self {
            Self::Person(..) => eprintln!("  Touch the security key."),
            Self::Program(_) => say(&json!({"type": "touch"})),
        }
    }
}

/// Answers with what the machine holds, and else asks at the desk.
pub(crate) struct Answers {
    pub(crate) held: Held,
    pub(crate) desk: Desk,
}

impl Answers {
    /// What is wanted where the machine's own answer is none, or was refused.
    async fn again(&self, question: &Question, error: Option<&str>) -> Option<Wish> {
        match &self.desk {
            Desk::Program(program) => program.ask(question, error).await,
            Desk::Person(person, _) => {
                if let Some(error) = error {
                    eprintln!("  {error}.");
                } else if let Some(denied) = &question.denied {
                    eprintln!("  {}", explain(denied));
                }
                Some(match person.again(question).await? {
                    Some(factor) => Wish::Respond(Response::Choose(factor)),
                    None => Wish::Retry,
                })
            }
        }
    }
}

#[async_trait]
impl Prompt for Answers {
    async fn answer(&mut self, question: &Question) -> Option<Response> {
        if !self.held.answers(&question.challenge) {
            return match &mut self.desk {
                Desk::Person(person, _) => person.answer(question).await,
                Desk::Program(program) => program.answer(question).await,
            };
        }
        let mut error = None;
        // An answer that was refused is not given again by itself: it would count again.
        if question.denied.is_some()
            && let Wish::Respond(response) = self.again(question, None).await?
        {
            return Some(response);
        }
        loop {
            match self.held.answer(question).await {
                Ok(answer) => return Some(answer.into()),
                Err(failed) => error.replace(failed.to_string()),
            };
            if let Wish::Respond(response) = self.again(question, error.as_deref()).await? {
                return Some(response);
            }
        }
    }
}
