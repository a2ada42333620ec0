//! An app's authenticators as the core's prompt: each question goes to the one that it is for.

use std::sync::Arc;
use std::time::Duration;

use mfagate::channel::message::{Answer, Challenge, Offer};
use mfagate::client::{AuthChallenge, PromptFailed, Response};
use mfagate::code::ErrorCode as _;
use mfagate::prove::device_key::DeviceKeyProver;
use mfagate::prove::oidc::Login;
use mfagate::prove::webauthn;
use mfagate::time::{Clock, SystemClock};
use mfagate::{Prompt, PublicKey};

use super::bounded;
use super::signer::AppKey;
use crate::authenticators::{Authenticators, BrowserLogin, DeviceKeySigner, PasskeyProvider};
use crate::callback::CallbackError;
use crate::response::secret;

/// The authenticators of one attempt.
pub(crate) struct Prompter {
    pub(crate) authenticators: Authenticators,
    pub(crate) location: PublicKey,
    pub(crate) peer: PublicKey,
    /// For what asks no user.
    pub(crate) timeout: Duration,
}

/// An answer, or that the user gave up, or that another authenticator should be asked.
enum Asked {
    Answer(Option<Response>),
    OfAnother,
}

#[async_trait::async_trait]
impl Prompt for Prompter {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        // A user who is asked for longer than the challenge is good answers nothing.
        let asked = tokio::time::timeout(question.expires_in, self.ask(question)).await;
        let late = |_| PromptFailed::new("there was no answer in time");
        asked.map_err(late)?
    }
}

impl Prompter {
    async fn ask(&self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        let Authenticators {
            device_key,
            passkey,
            browser,
            ..
        } = &self.authenticators;
        let asked = match &question.challenge {
            Challenge::Signature { .. } | Challenge::RegisterKey { .. } => match device_key {
                Some(signer) => self.sign(signer, question).await?,
                None => Asked::OfAnother,
            },
            Challenge::WebAuthn { options } => match passkey {
                Some(passkey) => assert(passkey, options).await?,
                None => Asked::OfAnother,
            },
            Challenge::RegisterWebAuthn { options } => match passkey {
                Some(passkey) => create(passkey, options).await?,
                None => Asked::OfAnother,
            },
            Challenge::OpenId { .. } => match browser {
                Some(browser) => self.log_in(browser, &question.challenge).await?,
                None => Asked::OfAnother,
            },
            Challenge::Code { .. }
            | Challenge::SentCode { .. }
            | Challenge::RecoveryCode { .. }
            | Challenge::Password { .. }
            | Challenge::DeviceGrant { .. }
            | Challenge::RegisterTotp { .. }
            | Challenge::ChoosePassword { .. }
            | Challenge::KeepRecoveryCodes { .. }
            | Challenge::Address { .. }
            | _ => Asked::OfAnother,
        };
        match asked {
            Asked::Answer(answer) => Ok(answer),
            Asked::OfAnother => self.ask_user(question).await,
        }
    }

    async fn ask_user(&self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        let Some(prompt) = &self.authenticators.code else {
            // No one is there to ask, but the app may have what another factor takes.
            let other = question.others.iter().find(|offer| self.answers_for(offer));
            let none = || PromptFailed::new("it has no authenticator for what the gate asks for");
            return other
                .map(|offer| Some(Response::Choose(offer.factor)))
                .ok_or_else(none);
        };
        let response = cancellable(prompt.answer(question.into()).await)?;
        response.map(crate::response::Response::convert).transpose()
    }

    /// Whether the app has an authenticator that answers for this factor by itself.
    fn answers_for(&self, offer: &Offer) -> bool {
        let app = &self.authenticators;
        match offer.kind.as_str() {
            "device-key" => app.device_key.is_some(),
            "webauthn" => app.passkey.is_some(),
            "oidc" => app.browser.is_some(),
            _ => false,
        }
    }

    async fn sign(
        &self,
        signer: &Arc<dyn DeviceKeySigner>,
        question: &AuthChallenge,
    ) -> Result<Asked, PromptFailed> {
        let key = match AppKey::read(Arc::clone(signer), self.timeout).await {
            Ok(key) => key,
            Err(error) => return cancellable(Err(error)).map(Asked::Answer),
        };
        let now = SystemClock::new().now().timestamp;
        let prover = DeviceKeyProver::new(Arc::new(key), self.location, self.peer);
        let answered = prover
            .answer(&question.attempt, &question.challenge, now)
            .await;
        match answered {
            Ok(answer) => Ok(Asked::Answer(Some(answer.into()))),
            Err(error) if error.code() == "prove-other-key" => Ok(Asked::OfAnother),
            Err(error) if error.code() == "sign-user-cancelled" => Ok(Asked::Answer(None)),
            Err(error) => Err(PromptFailed::new(error)),
        }
    }

    async fn log_in(
        &self,
        browser: &Arc<dyn BrowserLogin>,
        challenge: &Challenge,
    ) -> Result<Asked, PromptFailed> {
        let redirect = bounded(self.timeout, browser.redirect_uri()).await;
        let redirect = redirect.map_err(PromptFailed::new)?;
        let login = match Login::begin(challenge, &redirect) {
            Ok(login) => login,
            // The provider takes no browser here, or not this app's.
            Err(error) if ["login-not-asked", "login-not-offered"].contains(&error.code()) => {
                return Ok(Asked::OfAnother);
            }
            Err(error) => return Err(PromptFailed::new(error)),
        };
        let opened = cancellable(browser.open(login.url().to_owned()).await)?;
        let Some(address) = opened else {
            return Ok(Asked::Answer(None));
        };
        let address = address.text().map_err(PromptFailed::new)?;
        let answer = login.returned(address).map_err(PromptFailed::new)?;
        Ok(Asked::Answer(Some(answer.into())))
    }
}

async fn assert(passkey: &Arc<dyn PasskeyProvider>, options: &str) -> Result<Asked, PromptFailed> {
    let options = webauthn::public_key(options).map_err(PromptFailed::new)?;
    let credential = cancellable(passkey.get(options).await)?;
    let answer = credential.map(|credential| {
        let credential = secret(&credential)?;
        Ok(Answer::WebAuthn { credential }.into())
    });
    answer.transpose().map(Asked::Answer)
}

async fn create(passkey: &Arc<dyn PasskeyProvider>, options: &str) -> Result<Asked, PromptFailed> {
    let options = webauthn::public_key(options).map_err(PromptFailed::new)?;
    let credential = cancellable(passkey.create(options).await)?;
    let answer = credential.map(|credential| {
        let credential = secret(&credential)?;
        Ok(Answer::RegisterWebAuthn { credential }.into())
    });
    answer.transpose().map(Asked::Answer)
}

/// A user who did not want to is one who gave up.
fn cancellable<T>(answered: Result<Option<T>, CallbackError>) -> Result<Option<T>, PromptFailed> {
    match answered {
        Ok(answer) => Ok(answer),
        Err(CallbackError::Cancelled) => Ok(None),
        Err(error) => Err(PromptFailed::new(error)),
    }
}
