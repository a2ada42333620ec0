//! The person at the terminal, or what is piped in for one.

use std::time::Duration;

use async_trait::async_trait;
use mfagate::channel::message::{Answer, Challenge, Code, Denied};
use mfagate::runtime::Prompt;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin};

use crate::explain;

/// Reads one-time codes, a line each, from the standard input. They show as they are typed: a
/// code is good for one use, and a typing error can be seen.
#[derive(Debug)]
pub struct Person {
    lines: Lines<BufReader<Stdin>>,
}

impl Person {
    /// Whoever is at the standard input. Only one can be.
    pub fn new() -> Self {
        Self {
            lines: BufReader::new(stdin()).lines(),
        }
    }

    /// Asks until the answer is a code; `None` at the end of the input.
    ///
    /// Cancel safe: a line that is typed later answers the next question.
    pub async fn code(&mut self, question: &str) -> Option<Code> {
        loop {
            eprint!("{question}");
            let line = self.lines.next_line().await.ok()??;
            match line.trim().parse() {
                Ok(code) => return Some(code),
                Err(error) => eprintln!("  {error}"),
            }
        }
    }
}

impl Default for Person {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Prompt for Person {
    async fn answer(
        &mut self,
        challenge: &Challenge,
        denied: Option<&Denied>,
        _expires_in: Duration,
    ) -> Option<Answer> {
        if let Some(denied) = denied {
            eprintln!("  {}", explain(denied));
        }
        let Challenge::Code { label, digits, .. } = challenge else {
            eprintln!("  The gate asks for a factor that this program can't answer.");
            return None;
        };
        let question = format!("  The {digits} digits of “{label}”: ");
        Some(Answer::Code {
            code: self.code(&question).await?,
        })
    }
}
