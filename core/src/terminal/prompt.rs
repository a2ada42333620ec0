//! Each kind of challenge as a question to a person, and what they type as its answer.

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{Input, explain, printable, say, say_line};
use crate::channel::message::{Answer, Challenge, Code, Offer, SecretString};
use crate::client::{AuthChallenge, Prompt, PromptFailed, Response};
use crate::id::{FactorId, is_printable};
use crate::qr;

/// A [`Prompt`] that reads answers, a line each, from the standard input. One-time codes show as they
/// are typed: a code is good for one use, and a typing error can be seen. Passwords and recovery
/// codes don't.
///
/// `/1` and the like take another factor, as the questions say. What takes a key or a browser it can't
/// answer: it offers the other factors.
#[derive(Debug, Clone)]
pub struct TerminalPrompt {
    input: Input,
}

/// What a person typed instead of an answer.
enum Typed {
    Line(Zeroizing<String>),
    Choose(FactorId),
}

/// How what was typed becomes an answer, or what is wrong with it.
type Read<'a> = &'a (dyn Fn(&str) -> Result<Answer, String> + Sync);

impl TerminalPrompt {
    /// Asks at the standard input.
    pub fn new() -> Self {
        Self::at(Input::new())
    }

    /// Asks at this input, which others may share.
    pub const fn at(input: Input) -> Self {
        Self { input }
    }

    /// Asks until the answer is a code; `None` at the end of the input.
    ///
    /// Cancel safe: a line that is typed later answers the next question.
    pub async fn code(&self, question: &str) -> Option<Code> {
        loop {
            match self.input.ask(question).await?.trim().parse() {
                Ok(code) => return Some(code),
                Err(error) => say_line(format_args!("  {error}")),
            }
        }
    }

    /// A new password, typed twice alike where a person types it; `None` at the end of the input.
    pub async fn new_password(&self, question: &str) -> Option<SecretString> {
        loop {
            let chosen = self.input.ask_hidden(question).await?;
            if Input::is_terminal() && self.input.ask_hidden("  The same again: ").await? != chosen
            {
                say_line("  Those are not the same: type it again.");
                continue;
            }
            match SecretString::new(String::clone(&chosen)) {
                Some(password) => return Some(password),
                None => say_line("  That is too long: use a shorter one."),
            }
        }
    }

    /// Asks what to do about a question that a key of this machine did not answer: try it once more
    /// (`None` inside), or another factor.
    pub async fn again(&self, question: &AuthChallenge) -> Option<Option<FactorId>> {
        show_others(question);
        let text = "  Press Enter to try again, or type /1 and the like: ";
        loop {
            match self.typed(text, question, false).await? {
                Typed::Choose(factor) => return Some(Some(factor)),
                Typed::Line(line) if line.trim().is_empty() => return Some(None),
                Typed::Line(_) => say_line("  That is not the number of a factor."),
            }
        }
    }

    /// A line, or another factor: `/1` is the first of the others, `/0` asks again.
    async fn typed(&self, text: &str, question: &AuthChallenge, is_hidden: bool) -> Option<Typed> {
        loop {
            let line = if is_hidden {
                self.input.ask_hidden(text).await?
            } else {
                self.input.ask(text).await?
            };
            // A password may begin with a slash; none is as short as this.
            let number = line.trim().strip_prefix('/').map(str::parse::<u8>);
            let Some(Ok(number)) = number else {
                return Some(Typed::Line(line));
            };
            let present = question.factor.iter();
            let mut offers = present.chain(&question.others);
            match offers.nth(number.into()) {
                Some(Offer { factor, .. }) => return Some(Typed::Choose(*factor)),
                None => say_line("  There is no factor of that number: see the list above."),
            }
        }
    }

    /// Asks until `read` takes what was typed.
    async fn ask(&self, text: &str, question: &AuthChallenge, read: Read<'_>) -> Option<Response> {
        self.ask_for(text, question, false, read).await
    }

    /// The same for what is not to show.
    async fn ask_hidden(
        &self,
        text: &str,
        question: &AuthChallenge,
        read: Read<'_>,
    ) -> Option<Response> {
        self.ask_for(text, question, true, read).await
    }

    async fn ask_for(
        &self,
        text: &str,
        question: &AuthChallenge,
        is_hidden: bool,
        read: Read<'_>,
    ) -> Option<Response> {
        loop {
            match self.typed(text, question, is_hidden).await? {
                Typed::Choose(factor) => return Some(Response::Choose(factor)),
                Typed::Line(line) => match read(&line) {
                    Ok(answer) => return Some(answer.into()),
                    Err(complaint) => say_line(format_args!("  {complaint}")),
                },
            }
        }
    }

    /// A factor that nothing here can answer for: only another one helps.
    async fn only_another(&self, why: &str, question: &AuthChallenge) -> Option<Response> {
        say_line(format_args!("  {why}"));
        if question.others.is_empty() {
            return None;
        }
        let nothing = |_: &str| Err("That is not the number of a factor.".to_owned());
        let text = "  Type /1 and the like for another factor: ";
        self.ask(text, question, &nothing).await
    }
}

impl Default for TerminalPrompt {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Prompt for TerminalPrompt {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        Ok(self.respond(question).await)
    }
}

impl TerminalPrompt {
    /// What the user types about a question; `None` at the end of the input.
    async fn respond(&self, question: &AuthChallenge) -> Option<Response> {
        match &question.denied {
            Some(denied) => say_line(format_args!("  {}", explain(denied))),
            None => show_others(question),
        }
        let label = question.factor.as_ref().map(|factor| factor.label.as_str());
        let label = label.unwrap_or("the new factor");
        match &question.challenge {
            Challenge::Code { digits } => {
                let text = format!("  The {digits} digits of “{label}”: ");
                self.ask(&text, question, &code).await
            }
            Challenge::SentCode {
                digits, sent_to, ..
            } if question.factor.is_some() => {
                let text = format!("  The {digits} digits sent to {sent_to} (/0: send another): ");
                self.ask(&text, question, &code).await
            }
            Challenge::SentCode {
                digits, sent_to, ..
            } => {
                let text =
                    format!("  The {digits} digits sent to {sent_to}, or the address again: ");
                self.ask(&text, question, &code_or_address).await
            }
            Challenge::RecoveryCode { left } => {
                let text = format!("  One of your {left} recovery codes: ");
                self.ask_hidden(&text, question, &recovery_code).await
            }
            Challenge::Password {} => {
                let text = format!("  Your password “{label}”: ");
                self.ask_hidden(&text, question, &password).await
            }
            Challenge::RegisterTotp { .. }
            | Challenge::ChoosePassword { .. }
            | Challenge::KeepRecoveryCodes { .. }
            | Challenge::Address {}
            | Challenge::Signature { .. }
            | Challenge::RegisterKey { .. }
            | Challenge::WebAuthn { .. }
            | Challenge::RegisterWebAuthn { .. }
            | Challenge::OpenId { .. }
            | Challenge::DeviceGrant { .. } => self.enrol(question).await,
        }
    }

    /// The same about a new factor, and about what no one can type.
    async fn enrol(&self, question: &AuthChallenge) -> Option<Response> {
        match &question.challenge {
            Challenge::RegisterTotp { uri, digits } => {
                if question.denied.is_none() {
                    show_uri(uri);
                }
                let text = format!("  Scan this with your app, and type its {digits} digits: ");
                self.ask(&text, question, &code).await
            }
            Challenge::ChoosePassword { shortest } => self.choose_password(*shortest).await,
            Challenge::KeepRecoveryCodes { codes } => {
                if question.denied.is_none() {
                    show_codes(codes);
                }
                let text = "  Type one of them, to show that you have them: ";
                self.ask_hidden(text, question, &recovery_code).await
            }
            Challenge::Address {} => {
                let text = "  The address for codes: ";
                self.ask(text, question, &address).await
            }
            Challenge::Signature { .. } | Challenge::RegisterKey { .. } => {
                let why = "This takes a device key, and no key answers here.";
                self.only_another(why, question).await
            }
            Challenge::WebAuthn { .. } | Challenge::RegisterWebAuthn { .. } => {
                let why = "This takes a security key, and none answers here.";
                self.only_another(why, question).await
            }
            Challenge::OpenId { .. }
            | Challenge::DeviceGrant { .. }
            | Challenge::Code { .. }
            | Challenge::SentCode { .. }
            | Challenge::RecoveryCode { .. }
            | Challenge::Password {} => {
                let why = "The gate asks for a factor that this program can't answer.";
                self.only_another(why, question).await
            }
        }
    }

    async fn choose_password(&self, shortest: u32) -> Option<Response> {
        let text = format!("  A new password, {shortest} characters or more: ");
        let shortest = usize::try_from(shortest).unwrap_or(usize::MAX);
        loop {
            let password = self.new_password(&text).await?;
            if password.expose_secret().chars().count() >= shortest {
                return Some(Answer::Password { password }.into());
            }
            say_line("  That is too short: use a longer one.");
        }
    }
}

fn show_uri(uri: &SecretString) {
    if let Some(qr) = qr::for_terminal(uri.expose_secret()) {
        say_line(&*qr);
    }
    say_secret("  ", uri);
}

fn show_codes(codes: &[SecretString]) {
    say_line("  Keep these codes in a safe place; each is good once:");
    for code in codes {
        say_secret("    ", code);
    }
}

/// As [`printable`], without a copy of the text.
fn say_secret(indent: &str, secret: &SecretString) {
    say(indent);
    for c in secret.expose_secret().chars() {
        if is_printable(c) {
            say(c);
        } else {
            say(c.escape_unicode());
        }
    }
    say("\n");
}

fn show_others(question: &AuthChallenge) {
    for (number, other) in question.others.iter().enumerate() {
        let other = printable(format_args!("“{}”, {}", other.label, other.kind));
        say_line(format_args!("  (/{}: {other})", number + 1));
    }
}

fn code(line: &str) -> Result<Answer, String> {
    let code = line.trim().parse();
    code.map(|code| Answer::Code { code })
        .map_err(|error| format!("{error}"))
}

fn code_or_address(line: &str) -> Result<Answer, String> {
    if line.contains('@') {
        address(line)
    } else {
        code(line)
    }
}

fn address(line: &str) -> Result<Answer, String> {
    let address = SecretString::new(line.trim().to_owned()).ok_or("That is too long.")?;
    Ok(Answer::Address { address })
}

fn recovery_code(line: &str) -> Result<Answer, String> {
    let code = SecretString::new(line.trim().to_owned()).ok_or("That is too long.")?;
    Ok(Answer::RecoveryCode { code })
}

fn password(line: &str) -> Result<Answer, String> {
    let password = SecretString::new(line.to_owned()).ok_or("That is too long.")?;
    Ok(Answer::Password { password })
}
