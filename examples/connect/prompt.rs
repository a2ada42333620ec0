//! Asks for the codes: on a terminal unseen, otherwise a line of the standard input each.

use std::io::IsTerminal;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::channel::message::{Answer, Challenge, Code, Denied};
use mfagate::runtime::Prompt;
use mfagate_examples::explain;

/// Whoever answers.
pub(crate) struct Person {
    pub(crate) code_stdin: bool,
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
            println!("{}", explain(denied));
        }
        let Challenge::Code { label, digits, .. } = challenge else {
            println!("The gate asks for a factor that this program can't answer.");
            return None;
        };
        let question = format!("The {digits} digits of “{label}”: ");
        let from_terminal = !self.code_stdin && std::io::stdin().is_terminal();
        let code = tokio::task::spawn_blocking(move || ask(&question, from_terminal)).await;
        Some(Answer::Code { code: code.ok()?? })
    }
}

/// Asks until the answer is a code; `None` at the end of the input.
fn ask(question: &str, from_terminal: bool) -> Option<Code> {
    loop {
        let line = if from_terminal {
            rpassword::prompt_password(question).ok()?
        } else {
            let mut line = String::new();
            if std::io::stdin().read_line(&mut line).ok()? == 0 {
                return None;
            }
            line
        };
        match line.trim().parse() {
            Ok(code) => return Some(code),
            Err(error) => println!("{error}"),
        }
    }
}
