//! What answers questions by itself on this machine: a device key, a security key, logins at a
//! provider.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use clap::{Args, ValueEnum};
use mfagate::assurance::FactorKind;
use mfagate::channel::message::{Answer, Challenge, Protection, SecretString};
use mfagate::client::{AuthChallenge, Profile};
use mfagate::prove::device_key::{
    DeviceKeyProver, PinEntry, Pkcs11Key, Pkcs11Signer, SignError, Signer, SoftwareSigner,
};
use mfagate::prove::webauthn::security_key::{Holder, SecurityKey};
use mfagate::signature::Algorithm;
use mfagate::time::{Clock, SystemClock};
use zeroize::Zeroizing;

use crate::console::Console;
use crate::login::{LoginOptions, Logins};

#[derive(Debug, Args)]
#[command(next_help_heading = "Keys of this machine")]
pub(crate) struct FactorSettings {
    /// File of a device key (PKCS #8 in PEM); `enrol --kind device-key` makes it if it is missing.
    #[arg(long, value_name = "FILE", conflicts_with = "pkcs11_module")]
    device_key: Option<PathBuf>,
    /// PKCS #11 module of a token that holds a device key.
    #[arg(long, value_name = "FILE", requires_all = ["pkcs11_token", "pkcs11_key"])]
    pkcs11_module: Option<PathBuf>,
    /// Label of the token.
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    pkcs11_token: Option<String>,
    /// Label of the key; `enrol --kind device-key` makes the key if it is missing.
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    pkcs11_key: Option<String>,
    /// File with the token's PIN (default: ask for it).
    #[arg(long, value_name = "FILE", requires = "pkcs11_module")]
    pkcs11_pin_file: Option<PathBuf>,
    /// How the token keeps the key, as the gate is told. Say what is true.
    #[arg(
        long,
        value_enum,
        default_value = "software",
        requires = "pkcs11_module"
    )]
    pkcs11_protection: Kept,
    /// Have a security key on USB answer, for the relying party of this id and no other.
    #[arg(long, value_name = "DOMAIN")]
    rp_id: Option<String>,
    #[command(flatten)]
    login: LoginOptions,
}

/// How a device key is kept.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kept {
    Software,
    Hardware,
    HardwareUserVerified,
}

impl From<Kept> for Protection {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Software => Self::Software,
            Kept::Hardware => Self::Hardware,
            Kept::HardwareUserVerified => Self::HardwareUserVerified,
        }
    }
}

/// The same, ready to answer.
pub(crate) struct Authenticators {
    device_key: Option<DeviceKeyProver>,
    rp_id: Option<String>,
    logins: Logins,
    console: Console,
}

impl FactorSettings {
    /// Opens what there is. A device key that is not there yet is made where one is enrolled.
    pub(crate) async fn open(
        &self,
        profile: &Profile,
        enrols: Option<&FactorKind>,
        console: &Console,
    ) -> Result<Authenticators, Box<dyn Error>> {
        let makes = enrols == Some(&FactorKind::DEVICE_KEY);
        let signer: Option<Arc<dyn Signer>> = if let Some(path) = &self.device_key {
            if makes && !path.try_exists()? {
                SoftwareSigner::generate(Algorithm::Es256)?.write_new(path)?;
            }
            Some(Arc::new(SoftwareSigner::read(path)?))
        } else {
            self.in_token(makes, console).await?
        };
        let peer = profile.private_key.public_key();
        let device_key =
            signer.map(|signer| DeviceKeyProver::new(signer, profile.location_key, peer));
        Ok(Authenticators {
            device_key,
            rp_id: self.rp_id.clone(),
            logins: self.login.open(console),
            console: console.clone(),
        })
    }

    async fn in_token(
        &self,
        makes: bool,
        console: &Console,
    ) -> Result<Option<Arc<dyn Signer>>, Box<dyn Error>> {
        let (Some(module), Some(token), Some(label)) =
            (&self.pkcs11_module, &self.pkcs11_token, &self.pkcs11_key)
        else {
            return Ok(None);
        };
        let pin: Arc<dyn PinEntry> = match &self.pkcs11_pin_file {
            None => Arc::new(console.clone()),
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
                let text = Zeroizing::new(text);
                let pin = SecretString::new(text.trim_end().to_owned());
                Arc::new(
                    pin.ok_or("the token's PIN is too long: see the file of --pkcs11-pin-file")?,
                )
            }
        };
        let key = Pkcs11Key::with_label(module, token, label);
        let protection = self.pkcs11_protection.into();
        let opened = Pkcs11Signer::open(key.clone(), protection, Arc::clone(&pin)).await;
        let signer = match opened {
            Err(SignError::NotAvailable) if makes => {
                Pkcs11Signer::generate(key, protection, pin).await?
            }
            opened => opened?,
        };
        Ok(Some(Arc::new(signer)))
    }
}

impl Authenticators {
    /// Whether something here answers such a question.
    pub(crate) const fn answers(&self, challenge: &Challenge) -> bool {
        let is_for_a_device_key = matches!(
            challenge,
            Challenge::Signature { .. } | Challenge::RegisterKey { .. }
        );
        (is_for_a_device_key && self.device_key.is_some())
            || (is_for_a_security_key(challenge) && self.rp_id.is_some())
            || self.logins.answers(challenge)
    }

    /// The answer, or why there is none.
    pub(crate) async fn answer(
        &self,
        question: &AuthChallenge,
    ) -> Result<Answer, Box<dyn Error + Send>> {
        if let Some(rp_id) = &self.rp_id
            && is_for_a_security_key(&question.challenge)
        {
            return match self.touch(rp_id.clone(), question.challenge.clone()).await {
                Ok(answer) => answer,
                Err(error) => Err(boxed(error)),
            };
        }
        if self.logins.answers(&question.challenge) {
            return self.logins.answer(question).await;
        }
        let Some(device_key) = &self.device_key else {
            return Err(boxed(SignError::NotAvailable));
        };
        let now = SystemClock::new().now().timestamp;
        let answer = device_key.answer(&question.attempt, &question.challenge, now);
        answer.await.map_err(boxed)
    }

    /// Has the security key answer, on a thread that may wait for a finger.
    async fn touch(
        &self,
        rp_id: String,
        challenge: Challenge,
    ) -> Result<Result<Answer, Box<dyn Error + Send>>, tokio::task::JoinError> {
        let finger = Finger {
            console: self.console.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        let touched = move || {
            let mut key = SecurityKey::open(&rp_id, &finger).map_err(boxed)?;
            if let Challenge::RegisterWebAuthn { options } = &challenge {
                key.create(options).map_err(boxed)
            } else if let Challenge::WebAuthn { options } = &challenge {
                key.get(options).map_err(boxed)
            } else {
                Err(boxed(SignError::NotAvailable))
            }
        };
        tokio::task::spawn_blocking(touched).await
    }
}

pub(crate) const fn is_for_a_security_key(challenge: &Challenge) -> bool {
    matches!(
        challenge,
        Challenge::WebAuthn { .. } | Challenge::RegisterWebAuthn { .. }
    )
}

/// An error of any kind.
pub(crate) fn boxed(error: impl Error + Send + 'static) -> Box<dyn Error + Send> {
    Box::new(error)
}

/// The person who touches the security key.
struct Finger {
    console: Console,
    runtime: tokio::runtime::Handle,
}

impl Holder for Finger {
    fn pin(&self) -> Option<Zeroizing<String>> {
        let pin = self
            .runtime
            .block_on(self.console.pin("the security key"))?;
        Some(Zeroizing::new(pin.expose_secret().to_owned()))
    }

    fn touch(&self) {
        self.console.touch();
    }
}

#[async_trait]
impl PinEntry for Console {
    async fn pin(&self, token: &str) -> Result<Option<SecretString>, SignError> {
        let pin = Self::pin(self, token).await;
        pin.map(Some).ok_or(SignError::UserCancelled)
    }
}
