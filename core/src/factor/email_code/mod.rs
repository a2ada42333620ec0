//! Codes by e-mail: eight digits that a user reads in their mailbox.
//!
//! A code is good once, for ten minutes, and in the attempt that it was sent for: it names the
//! attempt, the peer and the location, and with the attempt it ends. Another can be asked for, by
//! choosing the factor again, after half a minute; no more than ten are sent to one address within
//! an hour, over all attempts at this gate. A new code never resets a count of failures.
//!
//! **E-mail is a weak factor.** NIST SP 800-63B-4, section 3.1.3.1, does not allow it for
//! out-of-band authentication, and no preset of [`Policy`](crate::policy::Policy) takes it. A code
//! can be phished, a mailbox is often open with a password alone, and what carries the mail can
//! read it. Where nothing else can be had, ask for something beside it.
//!
//! [`SmtpSender`] sends over SMTP, with TLS; a [`CodeSender`] of yours sends in another way.
//!
//! The code itself is not kept: the attempt remembers a keyed hash of it, under a key that only
//! this verifier has. The whole address is in the factor's sealed secret and in the letter; clients
//! are shown `a…@example.com`, and nothing else prints more of it.

mod address;
mod issued;
mod pace;
mod sender;
mod smtp;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use address::{EmailAddress, InvalidAddress};
pub use sender::{CodeSender, Letter, Occasion, SendError};
pub(crate) use smtp::SmtpFault;
pub use smtp::{SmtpBuilder, SmtpError, SmtpSender};

use super::{
    AttemptContext, Context, Credential, Enrolling, IssuedChallenge, MfaVerifier, Proof,
    Registration, Verdict, VerifyError,
};
use crate::assurance::{Assurance, FactorKind};
use crate::channel::message::{Answer, Challenge, Code, millis};
use issued::{DIGITS, Issued, Key};
use pace::{Pace, Recipient};

/// How long a code is good: the longest that NIST SP 800-63B-4, section 3.1.3.2, allows.
const GOOD_FOR: Duration = Duration::from_secs(600);

/// Sends codes by e-mail, and verifies them.
pub struct EmailCodeVerifier {
    sender: Arc<dyn CodeSender>,
    key: Key,
    pace: Pace,
}

impl EmailCodeVerifier {
    /// A verifier that sends its codes by this sender.
    ///
    /// # Errors
    /// [`getrandom::Error`] when the system has no randomness to give.
    pub fn new(sender: Arc<dyn CodeSender>) -> Result<Self, getrandom::Error> {
        Ok(Self {
            sender,
            key: Key::generate()?,
            pace: Pace::default(),
        })
    }

    /// How long to wait in an attempt before another code is sent in it, and how many are sent
    /// within an hour for a factor, or to enrol those of a user, over all attempts. Half a minute
    /// and ten, unless this says otherwise. What more an hour allows, anyone who has a peer's private
    /// key can fill its owner's mailbox with.
    #[must_use]
    pub fn pace(mut self, resend_after: Duration, most_an_hour: usize) -> Self {
        self.pace = Pace::new(resend_after, most_an_hour);
        self
    }

    /// Sends a code to the address, unless too many were sent.
    async fn send(
        &self,
        occasion: Occasion,
        attempt: &AttemptContext<'_>,
        recipient: Recipient,
        address: &EmailAddress,
    ) -> Result<(Challenge, Issued), SendFailure> {
        self.pace
            .take(recipient, *attempt.id, attempt.now)
            .map_err(SendFailure::TooOften)?;
        let code = issued::generate().map_err(|error| SendFailure::Failed(error.into()))?;
        let expires = attempt.now + GOOD_FOR;
        let issued = Issued::new(&self.key, &attempt.binding(), address, expires, &code)
            .map_err(|error| SendFailure::Failed(error.into()))?;
        let good_for = GOOD_FOR.min(attempt.expires.saturating_since(attempt.now));
        let letter = Letter {
            to: address,
            code: &code,
            occasion,
            location: attempt.location,
            user: attempt.user,
            good_for,
            at: attempt.now,
        };
        self.sender.send(&letter).await?;
        let challenge = Challenge::SentCode {
            digits: DIGITS,
            sent_to: address.masked(),
            good_for_ms: millis(good_for),
            resend_in_ms: millis(self.pace.resend_after()),
        };
        Ok((challenge, issued))
    }

    /// Whether the code is the one that was issued.
    fn check(
        &self,
        attempt: &AttemptContext<'_>,
        issued: &Issued,
        address: &EmailAddress,
        code: &Code,
    ) -> Result<(), VerifyError> {
        if code.expose_secret().len() != usize::from(DIGITS) {
            return Err(VerifyError::Unfit);
        }
        if issued.is_over(attempt.now) {
            return Err(VerifyError::Expired);
        }
        let is_it = issued
            .is_for(&self.key, &attempt.binding(), address, code)
            .map_err(VerifyError::backend)?;
        is_it.then_some(()).ok_or(VerifyError::Wrong)
    }

    async fn send_to_new(
        &self,
        enrolling: &Enrolling<'_>,
        address: &str,
    ) -> Result<Registration, VerifyError> {
        let address: EmailAddress = address.parse().map_err(|_| VerifyError::Unfit)?;
        let attempt = &enrolling.attempt;
        let recipient = Recipient::New(attempt.user.clone());
        let sent = self
            .send(Occasion::Enrol, attempt, recipient.clone(), &address)
            .await;
        match sent {
            Ok((challenge, issued)) => Ok(Registration::Ask(IssuedChallenge {
                challenge,
                state: Some(issued.to_state(Some(&address))),
            })),
            // Mistyped, it may be: the user is to type another.
            Err(SendFailure::Send(SendError::Undeliverable)) => {
                self.pace.went_nowhere(&recipient, *attempt.id);
                Err(VerifyError::Unfit)
            }
            Err(failure) => Err(failure.into()),
        }
    }
}

impl fmt::Debug for EmailCodeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailCodeVerifier").finish_non_exhaustive()
    }
}

#[async_trait]
impl MfaVerifier for EmailCodeVerifier {
    fn kind(&self) -> FactorKind {
        FactorKind::EMAIL_CODE
    }

    /// Sends a code, and returns once the sender has taken it.
    async fn challenge(&self, context: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        let address = EmailAddress::from_secret(context.secret).map_err(VerifyError::backend)?;
        let recipient = Recipient::Enrolled(context.factor.id);
        let sent = self
            .send(Occasion::SignIn, &context.attempt, recipient, &address)
            .await;
        let (challenge, issued) = sent?;
        Ok(IssuedChallenge {
            challenge,
            state: Some(issued.to_state(None)),
        })
    }

    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Verdict, VerifyError> {
        let address = EmailAddress::from_secret(context.secret).map_err(VerifyError::backend)?;
        let Answer::Code { code } = answer else {
            return Err(VerifyError::Unfit);
        };
        let state = context.state.ok_or(VerifyError::Unfit)?;
        let (issued, _) = Issued::from_state(state).map_err(VerifyError::backend)?;
        self.check(&context.attempt, &issued, &address, code)?;
        let assurance = Assurance {
            // Once the attempt has taken it, nothing takes it any more.
            replay_resistant: true,
            ..Assurance::least(FactorKind::EMAIL_CODE, context.attempt.now)
        };
        Ok(Proof::new(context.factor.id, assurance).into())
    }

    async fn register(&self, _: &Enrolling<'_>) -> Result<IssuedChallenge, VerifyError> {
        Ok(Challenge::Address {}.into())
    }

    /// Takes an address, and then the code that was sent there. An address in place of the code,
    /// the same or another, asks for another code.
    async fn enrol(
        &self,
        enrolling: &Enrolling<'_>,
        answer: &Answer,
    ) -> Result<Registration, VerifyError> {
        if let Answer::Address { address } = answer {
            return self.send_to_new(enrolling, address.expose_secret()).await;
        }
        let (Answer::Code { code }, Some(state)) = (answer, enrolling.state) else {
            return Err(VerifyError::Unfit);
        };
        let (issued, address) = Issued::from_state(state).map_err(VerifyError::backend)?;
        let address = address.ok_or_else(|| VerifyError::backend(issued::Unreadable))?;
        self.check(&enrolling.attempt, &issued, &address, code)?;
        Ok(Registration::Proven(Credential {
            secret: address.to_secret(),
            counter: None,
            id: None,
        }))
    }
}

/// Why no code was sent.
enum SendFailure {
    TooOften(Duration),
    Send(SendError),
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl From<SendError> for SendFailure {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

impl From<SendFailure> for VerifyError {
    fn from(failure: SendFailure) -> Self {
        match failure {
            SendFailure::TooOften(retry) => Self::Busy { retry },
            SendFailure::Send(error) => Self::backend(error),
            SendFailure::Failed(error) => Self::Backend(error),
        }
    }
}

#[cfg(test)]
mod tests;
