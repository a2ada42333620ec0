//! Who answers, and hears: a person at the terminal, or with `--json` a program.

use std::fmt::Display;

use async_trait::async_trait;
use mfagate::channel::message::{Challenge, SecretString};
use mfagate::client::{AuthChallenge, Prompt, PromptFailed, Response};
use mfagate::terminal::{Input, TerminalPrompt, explain, printable};
use mfagate_examples::program::{Program, Unanswered, say};
use serde_json::{Value, json};

use crate::factor_settings::{Authenticators, is_for_a_security_key};

/// The person or program at the other end of the standard input and output.
#[derive(Debug, Clone)]
pub(crate) enum Console {
    Person(TerminalPrompt, Input),
    Program(Program),
}

impl Console {
    pub(crate) fn new(is_program: bool) -> Self {
        let input = Input::new();
        if is_program {
            Self::Program(Program::at(input))
        } else {
            Self::Person(TerminalPrompt::at(input.clone()), input)
        }
    }

    pub(crate) const fn is_person(&self) -> bool {
        matches!(self, Self::Person(..))
    }

    /// Waits until the person types a line, which means that they want to do something else. Cancel
    /// safe.
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
            Self::Person(..) => println!("{}", printable(text)),
            Self::Program(_) => say(line),
        }
    }

    /// Asks for the PIN of a token; `None` where no one gives it.
    pub(crate) async fn pin(&self, of: &str) -> Option<SecretString> {
        match self {
            Self::Person(_, input) => {
                let pin = input.ask_hidden(&format!("  The PIN of {of}: ")).await?;
                let pin = (!pin.is_empty()).then(|| SecretString::new(String::clone(&pin)));
                pin.flatten()
            }
            Self::Program(program) => program.pin(of).await,
        }
    }

    /// A secret that is to be typed rather than to stand on the command line.
    pub(crate) async fn secret(&self, of: &str) -> Option<SecretString> {
        match self {
            Self::Person(_, input) => {
                let line = input.ask_hidden(&format!("  {of}: ")).await?;
                SecretString::new(line.trim().to_owned())
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

/// Answers with what the machine holds, and else asks at the console.
pub(crate) struct Answers {
    pub(crate) held: Authenticators,
    pub(crate) console: Console,
}

impl Answers {
    /// What is wanted where the machine's own answer is none, or was refused.
    async fn again(&self, question: &AuthChallenge, error: Option<&str>) -> Option<Unanswered> {
        match &self.console {
            Console::Program(program) => program.ask(question, error).await,
            Console::Person(person, _) => {
                if let Some(error) = error {
                    eprintln!("  {}.", printable(error));
                } else if let Some(denied) = &question.denied {
                    eprintln!("  {}", explain(denied));
                }
                Some(match person.again(question).await? {
                    Some(factor) => Unanswered::Respond(Response::Choose(factor)),
                    None => Unanswered::Retry,
                })
            }
        }
    }
}

#[async_trait]
impl Prompt for Answers {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        if !self.held.answers(&question.challenge) {
            return match &mut self.console {
                Console::Person(person, _) => {
                    if let Some(options) = options_for(&question.challenge) {
                        eprintln!("  {options} would have this machine answer.");
                    }
                    person.answer(question).await
                }
                Console::Program(program) => program.answer(question).await,
            };
        }
        Ok(self.respond(question).await)
    }
}

impl Answers {
    /// The machine's own answer, or what is wanted in its place; `None` where the user gives up.
    async fn respond(&self, question: &AuthChallenge) -> Option<Response> {
        let mut error = None;
        // An answer that was refused is not given again by itself: it would count again.
        if question.denied.is_some()
            && let Unanswered::Respond(response) = self.again(question, None).await?
        {
            return Some(response);
        }
        loop {
            match self.held.answer(question).await {
                Ok(answer) => return Some(answer.into()),
                Err(failed) => error.replace(failed.to_string()),
            };
            if let Unanswered::Respond(response) = self.again(question, error.as_deref()).await? {
                return Some(response);
            }
        }
    }
}

/// The options with which this program answers what no one can type.
const fn options_for(challenge: &Challenge) -> Option<&'static str> {
    if matches!(
        challenge,
        Challenge::Signature { .. } | Challenge::RegisterKey { .. }
    ) {
        return Some("`--device-key` or `--pkcs11-module`");
    }
    if is_for_a_security_key(challenge) {
        return Some("`--rp-id`");
    }
    None
}
