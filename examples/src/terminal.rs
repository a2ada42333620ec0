//! The person at the terminal, or what is piped in for one.

use std::io::IsTerminal;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::channel::message::{Answer, Challenge, Code, Hidden, Offer};
use mfagate::client::{Question, Response};
use mfagate::factor::totp::qr_for_terminal;
use mfagate::id::FactorId;
use mfagate::runtime::Prompt;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin};

use crate::explain;

/// Reads answers, a line each, from the standard input. One-time codes show as they are typed: a
/// code is good for one use, and a typing error can be seen. Passwords and recovery codes don't.
#[derive(Debug)]
pub struct Person {
    lines: Lines<BufReader<Stdin>>,
    /// The question that a fresh wait belongs to, so that a poll is told of once.
    shown: Option<String>,
}

/// What somebody typed instead of an answer.
enum Typed {
    Line(String),
    Choose(FactorId),
}

impl Person {
    /// Whoever is at the standard input. Only one can be.
    pub fn new() -> Self {
        Self {
            lines: BufReader::new(stdin()).lines(),
            shown: None,
        }
    }

    /// Asks until the answer is a code; `None` at the end of the input.
    ///
    /// Cancel safe: a line that is typed later answers the next question.
    pub async fn code(&mut self, question: &str) -> Option<Code> {
        loop {
            match self.line(question).await?.trim().parse() {
                Ok(code) => return Some(code),
                Err(error) => eprintln!("  {error}"),
            }
        }
    }

    /// A line; `None` at the end of the input.
    async fn line(&mut self, question: &str) -> Option<String> {
        eprint!("{question}");
        self.lines.next_line().await.ok()?
    }

    /// A line that does not show as it is typed.
    async fn hidden(&mut self, question: &str) -> Option<String> {
        let silence = Silence::begin();
        let line = self.line(question).await;
        if silence.is_some() {
            eprintln!();
        }
        line
    }

    /// A line, or another factor: `/1` is the first of the others, `/0` asks anew.
    async fn typed(&mut self, text: &str, question: &Question, is_hidden: bool) -> Option<Typed> {
        loop {
            let line = if is_hidden {
                self.hidden(text).await?
            } else {
                self.line(text).await?
            };
            let Some(number) = line.trim().strip_prefix('/') else {
                return Some(Typed::Line(line));
            };
            let at_hand = question.factor.iter();
            let mut offers = at_hand.chain(&question.others);
            let chosen = number.parse().ok().and_then(|number| offers.nth(number));
            match chosen {
                Some(Offer { factor, .. }) => return Some(Typed::Choose(*factor)),
                None => eprintln!("  There is no factor of that number."),
            }
        }
    }

    /// Asks until `read` takes what was typed.
    async fn ask(
        &mut self,
        text: &str,
        question: &Question,
        is_hidden: bool,
        read: impl Fn(&str) -> Result<Answer, String> + Send,
    ) -> Option<Response> {
        loop {
            match self.typed(text, question, is_hidden).await? {
                Typed::Choose(factor) => return Some(Response::Choose(factor)),
                Typed::Line(line) => match read(&line) {
                    Ok(answer) => return Some(answer.into()),
                    Err(complaint) => eprintln!("  {complaint}"),
                },
            }
        }
    }

    /// Says something once, however often it is asked.
    fn say_once(&mut self, text: String) {
        if self.shown.as_ref() != Some(&text) {
            eprintln!("{text}");
            self.shown = Some(text);
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
    async fn answer(&mut self, question: &Question) -> Option<Response> {
        if let Some(denied) = &question.denied {
            eprintln!("  {}", explain(denied));
        } else {
            for (number, other) in question.others.iter().enumerate() {
                eprintln!("  (/{}: “{}”, {})", number + 1, other.label, other.kind);
            }
        }
        let label = question.factor.as_ref().map(|factor| &*factor.label);
        let label = label.unwrap_or("the new factor");
        match &question.challenge {
            Challenge::Code { digits } => {
                let text = format!("  The {digits} digits of “{label}”: ");
                self.ask(&text, question, false, code).await
            }
            Challenge::SentCode {
                digits, sent_to, ..
            } => {
                let text = format!("  The {digits} digits sent to {sent_to} (/0: send anew): ");
                self.ask(&text, question, false, code).await
            }
            Challenge::RecoveryCode { left } => {
                let text = format!("  One of your {left} recovery codes: ");
                self.ask(&text, question, true, recovery_code).await
            }
            Challenge::Password {} => {
                let text = format!("  Your password “{label}”: ");
                self.ask(&text, question, true, password).await
            }
            Challenge::DeviceGrant {
                verification_uri,
                user_code,
                interval_ms,
                ..
            } => {
                let open = format!("  Open {verification_uri} on any device and type {user_code}.");
                self.say_once(open);
                tokio::time::sleep(Duration::from_millis(*interval_ms)).await;
                Some(Answer::Poll {}.into())
            }
            Challenge::OpenId { device: true, .. } => Some(Answer::BeginDeviceGrant {}.into()),
            Challenge::RegisterTotp { uri, digits } => {
                if let Ok(qr) = qr_for_terminal(uri.expose_secret()) {
                    eprintln!("{}", *qr);
                }
                eprintln!("  {}", uri.expose_secret());
                let text = format!("  Scan this with your app, and type its {digits} digits: ");
                self.ask(&text, question, false, code).await
            }
            Challenge::ChoosePassword { shortest } => {
                let text = format!("  A new password, {shortest} characters or more: ");
                let chosen = self.hidden(&text).await?;
                let again = self.hidden("  The same again: ").await?;
                if chosen != again {
                    eprintln!("  Those are not the same.");
                    return None;
                }
                Some(password(&chosen).ok()?.into())
            }
            Challenge::KeepRecoveryCodes { codes } => {
                eprintln!("  Keep these codes in a safe place; each is good once:");
                for code in codes {
                    eprintln!("    {}", code.expose_secret());
                }
                let text = "  Type one of them, to show that you have them: ";
                self.ask(text, question, true, recovery_code).await
            }
            Challenge::Address {} => {
                self.ask("  The address for codes: ", question, false, |line| {
                    Ok(Answer::Address {
                        address: line.trim().to_owned(),
                    })
                })
                .await
            }
            Challenge::Signature { .. }
            | Challenge::WebAuthn { .. }
            | Challenge::OpenId { .. }
            | Challenge::RegisterKey { .. }
            | Challenge::RegisterWebAuthn { .. }
            | _ => {
                eprintln!("  The gate asks for a factor that this program can't answer.");
                let text = "  Type /1 and the like for another one: ";
                let nothing = |_: &str| Err("That is not the number of a factor.".to_owned());
                if question.others.is_empty() {
                    return None;
                }
                self.ask(text, question, false, nothing).await
            }
        }
    }
}

fn code(line: &str) -> Result<Answer, String> {
    let code = line.trim().parse();
    code.map(|code| Answer::Code { code })
        .map_err(|error| format!("{error}"))
}

fn recovery_code(line: &str) -> Result<Answer, String> {
    let code = Hidden::new(line.trim().to_owned()).ok_or("That is too long.")?;
    Ok(Answer::RecoveryCode { code })
}

fn password(line: &str) -> Result<Answer, String> {
    let password = Hidden::new(line.to_owned()).ok_or("That is too long.")?;
    Ok(Answer::Password { password })
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Silence(Termios);

impl Silence {
    /// `None` where the standard input is no terminal.
    fn begin() -> Option<Self> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return None;
        }
        let before = tcgetattr(&input).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Now, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // Nothing more can be done for a terminal that does not take its own settings back.
        _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
