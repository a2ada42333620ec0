//! The person at the terminal, or what is piped in for one.

use async_trait::async_trait;
use mfagate::channel::message::{Answer, Challenge, Code, Hidden, Offer};
use mfagate::client::{Question, Response};
use mfagate::factor::totp::qr_for_terminal;
use mfagate::id::FactorId;
use mfagate::runtime::Prompt;
use zeroize::Zeroizing;

use crate::explain;
use crate::input::Input;

/// Reads answers, a line each, from the standard input. One-time codes show as they are typed: a
/// code is good for one use, and a typing error can be seen. Passwords and recovery codes don't.
#[derive(Debug, Clone)]
pub struct Person {
    input: Input,
}

/// What somebody typed instead of an answer.
enum Typed {
    Line(Zeroizing<String>),
    Choose(FactorId),
}

/// How what was typed becomes an answer, or what is wrong with it.
type Read<'a> = &'a (dyn Fn(&str) -> Result<Answer, String> + Sync);

impl Person {
    /// Whoever is at the standard input.
    pub fn new() -> Self {
        Self::at(Input::new())
    }

    /// Whoever is at this input.
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
                Err(error) => eprintln!("  {error}"),
            }
        }
    }

    /// A new password, typed twice alike where a person types it; `None` at the end of the input.
    pub async fn new_password(&self, question: &str) -> Option<Hidden> {
        loop {
            let chosen = self.input.ask_hidden(question).await?;
            if Input::is_terminal() && self.input.ask_hidden("  The same again: ").await? != chosen
            {
                eprintln!("  Those are not the same.");
                continue;
            }
            match Hidden::new(String::clone(&chosen)) {
                Some(password) => return Some(password),
                None => eprintln!("  That is too long."),
            }
        }
    }

    /// What to do about a question that something at hand did not answer: try that once more
    /// (`None` inside), or another factor.
    pub async fn again(&self, question: &Question) -> Option<Option<FactorId>> {
        show_others(question);
        let text = "  Press Enter to try again, or type /1 and the like: ";
        loop {
            match self.typed(text, question, false).await? {
                Typed::Choose(factor) => return Some(Some(factor)),
                Typed::Line(line) if line.trim().is_empty() => return Some(None),
                Typed::Line(_) => eprintln!("  That is not the number of a factor."),
            }
        }
    }

    /// A line, or another factor: `/1` is the first of the others, `/0` asks anew.
    async fn typed(&self, text: &str, question: &Question, is_hidden: bool) -> Option<Typed> {
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
            let at_hand = question.factor.iter();
            let mut offers = at_hand.chain(&question.others);
            match offers.nth(number.into()) {
                Some(Offer { factor, .. }) => return Some(Typed::Choose(*factor)),
                None => eprintln!("  There is no factor of that number."),
            }
        }
    }

    /// Asks until `read` takes what was typed.
    async fn ask(&self, text: &str, question: &Question, read: Read<'_>) -> Option<Response> {
        self.ask_for(text, question, false, read).await
    }

    /// The same for what is not to show.
    async fn ask_hidden(
        &self,
        text: &str,
        question: &Question,
        read: Read<'_>,
    ) -> Option<Response> {
        self.ask_for(text, question, true, read).await
    }

    async fn ask_for(
        &self,
        text: &str,
        question: &Question,
        is_hidden: bool,
        read: Read<'_>,
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

    /// A factor that nothing here can answer for: only another one helps.
    async fn only_another(&self, why: &str, question: &Question) -> Option<Response> {
        eprintln!("  {why}");
        if question.others.is_empty() {
            return None;
        }
        let nothing = |_: &str| Err("That is not the number of a factor.".to_owned());
        let text = "  Type /1 and the like for another factor: ";
        self.ask(text, question, &nothing).await
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
        match &question.denied {
            Some(denied) => eprintln!("  {}", explain(denied)),
            None => show_others(question),
        }
        let label = question.factor.as_ref().map(|factor| &*factor.label);
        let label = label.unwrap_or("the new factor");
        match &question.challenge {
            Challenge::Code { digits } => {
                let text = format!("  The {digits} digits of “{label}”: ");
                self.ask(&text, question, &code).await
            }
            Challenge::SentCode {
                digits, sent_to, ..
            } if question.factor.is_some() => {
                let text = format!("  The {digits} digits sent to {sent_to} (/0: send anew): ");
                self.ask(&text, question, &code).await
            }
            Challenge::SentCode {
                digits, sent_to, ..
            } => {
                let text = format!("  The {digits} digits sent to {sent_to}, or an address anew: ");
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
            Challenge::RegisterTotp { uri, digits } => {
                if question.denied.is_none() {
                    if let Ok(qr) = qr_for_terminal(uri.expose_secret()) {
                        eprintln!("{}", *qr);
                    }
                    eprintln!("  {}", uri.expose_secret());
                }
                let text = format!("  Scan this with your app, and type its {digits} digits: ");
                self.ask(&text, question, &code).await
            }
            Challenge::ChoosePassword { shortest } => loop {
                let text = format!("  A new password, {shortest} characters or more: ");
                let password = self.new_password(&text).await?;
                let shortest = usize::try_from(*shortest).unwrap_or(usize::MAX);
                if password.expose_secret().chars().count() >= shortest {
                    return Some(Answer::Password { password }.into());
                }
                eprintln!("  That is too short.");
            },
            Challenge::KeepRecoveryCodes { codes } => {
                if question.denied.is_none() {
                    eprintln!("  Keep these codes in a safe place; each is good once:");
                    for code in codes {
                        eprintln!("    {}", code.expose_secret());
                    }
                }
                let text = "  Type one of them, to show that you have them: ";
                self.ask_hidden(text, question, &recovery_code).await
            }
            Challenge::Address {} => {
                self.ask("  The address for codes: ", question, &address)
                    .await
            }
            Challenge::Signature { .. } | Challenge::RegisterKey { .. } => {
                let why = "This takes a device key: see `--device-key` and `--pkcs11-module`.";
                self.only_another(why, question).await
            }
            Challenge::WebAuthn { .. } | Challenge::RegisterWebAuthn { .. } => {
                let why = "This takes a security key: see `--rp-id`.";
                self.only_another(why, question).await
            }
            Challenge::OpenId { .. } | Challenge::DeviceGrant { .. } | _ => {
                let why = "The gate asks for a factor that this program can't answer.";
                self.only_another(why, question).await
            }
        }
    }
}

fn show_others(question: &Question) {
    for (number, other) in question.others.iter().enumerate() {
        eprintln!("  (/{}: “{}”, {})", number + 1, other.label, other.kind);
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
    let address = Hidden::new(line.trim().to_owned()).ok_or("That is too long.")?;
    Ok(Answer::Address { address })
}

fn recovery_code(line: &str) -> Result<Answer, String> {
    let code = Hidden::new(line.trim().to_owned()).ok_or("That is too long.")?;
    Ok(Answer::RecoveryCode { code })
}

fn password(line: &str) -> Result<Answer, String> {
    let password = Hidden::new(line.to_owned()).ok_or("That is too long.")?;
    Ok(Answer::Password { password })
}
