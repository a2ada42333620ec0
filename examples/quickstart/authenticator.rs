//! The user's side of the ceremony: a person at a terminal, or an authenticator that is played.

use std::error::Error;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use mfagate::channel::message::{Answer, Challenge, Code, DeniedReason};
use mfagate::client::{AuthChallenge, Prompt, PromptFailed, Response};
use mfagate::code::ErrorCode;
use mfagate::factor::totp::TotpSecret;
use mfagate::terminal::{TerminalPrompt, explain};
use mfagate::time::{Clock, SystemClock};

use crate::network::Office;

/// Who reads the codes.
pub(crate) enum Authenticator {
    /// A person with an app.
    Person(TerminalPrompt),
    /// The example itself.
    Played(TotpSecret),
}

impl Authenticator {
    /// Enrols an authenticator app for the office's user, with a confirming first code.
    pub(crate) async fn enrol(office: &Office, auto: bool) -> Result<Self, Box<dyn Error>> {
        let enrolment = office
            .registrar
            .begin_totp(&office.user, &"app".parse()?, "mfagate quickstart")
            .await?;
        if auto {
            let code = enrolment.secret.code(SystemClock::new().now().timestamp)?;
            office
                .registrar
                .confirm_totp(&office.user, enrolment.factor, code)
                .await?;
            return Ok(Self::Played(enrolment.secret));
        }
        println!(
            "\nScan this with any authenticator app:\n\n{}",
            *enrolment.expose_qr()?
        );
        println!(
            "Or type the key in: {}\n",
            *enrolment.secret.expose_base32()
        );
        let person = TerminalPrompt::new();
        loop {
            let code = person.code("The code it shows, to confirm: ").await;
            let code = code.ok_or("the factor is not confirmed")?;
            match office
                .registrar
                .confirm_totp(&office.user, enrolment.factor, code)
                .await
            {
                Ok(()) => return Ok(Self::Person(person)),
                Err(error) if ["enrol-wrong-code", "enrol-used-code"].contains(&error.code()) => {
                    println!("  {error}.")
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The answers to one attempt, and what became of them.
pub(crate) struct Script<'a> {
    authenticator: Option<&'a mut Authenticator>,
    replay: Option<Code>,
    asked: u32,
    verdict: Option<DeniedReason>,
    pub(crate) last_code: Option<Code>,
    pub(crate) answered_at: Instant,
}

impl<'a> Script<'a> {
    /// A person's answers; or, played, a wrong one and then the right one.
    pub(crate) fn new(authenticator: &'a mut Authenticator) -> Self {
        Self {
            authenticator: Some(authenticator),
            ..Self::empty()
        }
    }

    fn empty() -> Self {
        Self {
            authenticator: None,
            replay: None,
            asked: 0,
            verdict: None,
            last_code: None,
            answered_at: Instant::now(),
        }
    }
}

impl Script<'static> {
    /// One code that has been used, and no other.
    pub(crate) fn replay(code: Code) -> Self {
        Self {
            replay: Some(code),
            ..Self::empty()
        }
    }
}

impl Script<'_> {
    /// What became of the first answer, which was to be denied for that reason.
    pub(crate) fn first_verdict(&self, expected: DeniedReason) -> &'static str {
        match self.verdict {
            Some(reason) if reason == expected => "denied",
            Some(_) => "denied for another reason",
            None => "not denied",
        }
    }

    async fn next(&mut self) -> Result<Option<Code>, Box<dyn Error + Send + Sync>> {
        self.asked += 1;
        if let Some(code) = &self.replay {
            return Ok((self.asked == 1).then(|| code.clone()));
        }
        match &mut self.authenticator {
            Some(Authenticator::Played(secret)) => {
                // The present code was used to enrol, and the next one is taken already.
                let ahead = SystemClock::new().now().timestamp + Duration::from_secs(30);
                let right = secret.code(ahead)?;
                Ok(Some(if self.asked == 1 {
                    wrong(&right)?
                } else {
                    right
                }))
            }
            Some(Authenticator::Person(person)) => Ok(person.code("  The next code: ").await),
            None => Ok(None),
        }
    }
}

#[async_trait]
impl Prompt for Script<'_> {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        if let Some(denied) = &question.denied {
            self.verdict.get_or_insert(denied.reason);
            println!("  {}", explain(denied));
        } else if let (Challenge::Code { digits }, Some(factor)) =
            (&question.challenge, &question.factor)
        {
            let label = &factor.label;
            println!("  the gate asks for the {digits} digits of the factor “{label}”");
        }
        let Some(code) = self.next().await.map_err(PromptFailed::new)? else {
            return Ok(None);
        };
        self.last_code = Some(code.clone());
        self.answered_at = Instant::now();
        Ok(Some(Answer::Code { code }.into()))
    }
}

/// The right code with its last digit changed.
fn wrong(right: &Code) -> Result<Code, Box<dyn Error + Send + Sync>> {
    let (head, last) = right
        .expose_secret()
        .split_at(right.expose_secret().len() - 1);
    let last = if last == "0" { "1" } else { "0" };
    Ok(format!("{head}{last}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_counts_for_its_own_reason_only() {
        let mut script = Script::replay("123456".parse().unwrap());
        assert_eq!(script.first_verdict(DeniedReason::Replayed), "not denied");
        script.verdict = Some(DeniedReason::Locked);
        assert_ne!(script.first_verdict(DeniedReason::Replayed), "denied");
        script.verdict = Some(DeniedReason::Replayed);
        assert_eq!(script.first_verdict(DeniedReason::Replayed), "denied");
    }
}
