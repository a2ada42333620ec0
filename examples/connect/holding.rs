//! What answers questions by itself on this machine: a device key, a security key, logins at a
//! provider.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use clap::{Args, ValueEnum};
use mfagate::assurance::FactorKind;
use mfagate::channel::message::{Answer, Challenge, Hidden, Protection};
use mfagate::client::Question;
use mfagate::prove::device_key::{
    DeviceKeyProver, PinEntry, Pkcs11Key, Pkcs11Signer, SignError, Signer, SoftwareSigner,
};
use mfagate::prove::webauthn::security_key::{Holder, SecurityKey, SecurityKeyError};
use mfagate::runtime::{Profile, SystemClock};
use mfagate::signature::Algorithm;
use mfagate::time::Clock;
use zeroize::Zeroizing;

use crate::desk::Desk;
use crate::login::{LoginOptions, Logins};

#[derive(Debug, Args)]
#[command(next_help_heading = "What this machine holds")]
pub(crate) struct Holding {
    /// A device key in a file (PKCS #8 in PEM); `enrol --kind device-key` makes it if it is not
    /// there.
    #[arg(long, value_name = "FILE", conflicts_with = "pkcs11_module")]
    device_key: Option<PathBuf>,
    /// A device key in a token: the token's PKCS #11 module.
    #[arg(long, value_name = "FILE", requires_all = ["pkcs11_token", "pkcs11_key"])]
    pkcs11_module: Option<PathBuf>,
    /// The token's label.
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    pkcs11_token: Option<String>,
    /// The key's label; `enrol --kind device-key` makes it if it is not there.
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    pkcs11_key: Option<String>,
    /// Where the token's PIN is, if nobody is to be asked for it.
    #[arg(long, value_name = "FILE", requires = "pkcs11_module")]
    pkcs11_pin_file: Option<PathBuf>,
    /// What to tell the gate of how the token keeps the key. Say what is true.
    #[arg(
        long,
        value_enum,
        default_value = "software",
        requires = "pkcs11_module"
    )]
    pkcs11_protection: Kept,
    /// A security key on USB answers, for the gate's relying party of this id and no other.
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
pub(crate) struct Held {
    device_key: Option<DeviceKeyProver>,
    rp_id: Option<String>,
    logins: Logins,
    desk: Desk,
}

impl Holding {
    /// Opens what there is. A device key that is not there yet is made where one is enrolled.
    pub(crate) async fn open(
        &self,
        profile: &Profile,
        enrols: Option<&FactorKind>,
        desk: &Desk,
    ) -> Result<Held, Box<dyn Error>> {
        let makes = enrols == Some(&FactorKind::DEVICE_KEY);
        let signer: Option<Arc<dyn Signer>> = if let Some(path) = &self.device_key {
            if makes && !path.try_exists()? {
                SoftwareSigner::generate(Algorithm::Es256)?.write_new(path)?;
            }
            Some(Arc::new(SoftwareSigner::read(path)?))
        } else {
            self.in_token(makes, desk).await?
        };
        let peer = profile.private_key.public_key();
        let device_key =
            signer.map(|signer| DeviceKeyProver::new(signer, profile.location_key, peer));
        Ok(Held {
            device_key,
            rp_id: self.rp_id.clone(),
            logins: self.login.open(desk),
            desk: desk.clone(),
        })
    }

    async fn in_token(
        &self,
        makes: bool,
        desk: &Desk,
    ) -> Result<Option<Arc<dyn Signer>>, Box<dyn Error>> {
        let (Some(module), Some(token), Some(label)) =
            (&self.pkcs11_module, &self.pkcs11_token, &self.pkcs11_key)
        else {
            return Ok(None);
        };
        let pin: Arc<dyn PinEntry> = match &self.pkcs11_pin_file {
            None => Arc::new(desk.clone()),
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
                let text = Zeroizing::new(text);
                let pin = Hidden::new(text.trim_end().to_owned());
                Arc::new(pin.ok_or("the token's PIN is too long")?)
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

impl Held {
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
        question: &Question,
    ) -> Result<Answer, Box<dyn Error + Send>> {
        if let Some(rp_id) = &self.rp_id
            && is_for_a_security_key(&question.challenge)
        {
            return match self.touch(rp_id.clone(), question.challenge.clone()).await {
                Ok(answer) => answer.map_err(boxed),
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
    ) -> Result<Result<Answer, SecurityKeyError>, tokio::task::JoinError> {
        let finger = Finger {
            desk: self.desk.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        let touched = move || {
            let mut key = SecurityKey::open(&rp_id, &finger)?;
            if let Challenge::RegisterWebAuthn { options } = &challenge {
                key.create(options)
            } else if let Challenge::WebAuthn { options } = &challenge {
                key.get(options)
            } else {
                Err(SecurityKeyError::Unexpected)
            }
        };
        tokio::task::spawn_blocking(touched).await
    }
}

const fn is_for_a_security_key(challenge: &Challenge) -> bool {
    matches!(
        challenge,
        Challenge::WebAuthn { .. } | Challenge::RegisterWebAuthn { .. }
    )
}

/// An error of any kind.
pub(crate) fn boxed(error: impl Error + Send + 'static) -> Box<dyn Error + Send> {
    Box::new(error)
}

/// Whoever sits before the security key.
struct Finger {
    desk: Desk,
    runtime: tokio::runtime::Handle,
}

impl Holder for Finger {
    fn pin(&self) -> Option<Zeroizing<String>> {
        let pin = self.runtime.block_on(self.desk.pin("the security key"))?;
        Some(Zeroizing::new(pin.expose_secret().to_owned()))
    }

    fn touch(&self) {
        self.desk.touch();
    }
}

#[async_trait]
impl PinEntry for Desk {
    async fn pin(&self, token: &str) -> Result<Option<Hidden>, SignError> {
        let pin = Self::pin(self, token).await;
        pin.map(Some).ok_or(SignError::UserCancelled)
    }
}
