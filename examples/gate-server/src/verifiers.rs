//! The kinds of factors that the gate verifies, by the configuration's `[factors]`.

use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mfagate::channel::message::{Protection, SecretString};
use mfagate::factor::MfaVerifier;
use mfagate::factor::device_key::DeviceKeyVerifier;
use mfagate::factor::email_code::{EmailAddress, EmailCodeVerifier, SmtpSender};
use mfagate::factor::password::{Blocklist, PasswordVerifier};
use mfagate::factor::recovery_codes::RecoveryCodeVerifier;
use mfagate::factor::totp::TotpVerifier;
use mfagate::factor::webauthn::{RelyingParty, WebAuthnVerifier};
use mfagate::id::UserId;
use serde::Deserialize;

use crate::openid;
use crate::settings::parsed;

/// What may be set about them. One-time passwords and recovery codes have nothing to set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Kinds {
    device_key: DeviceKeys,
    password: Passwords,
    webauthn: Option<WebAuthn>,
    pub(crate) email: Option<Email>,
    pub(crate) oidc: Vec<openid::Provider>,
}

/// Device keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceKeys {
    protection: Protection,
}

impl Default for DeviceKeys {
    fn default() -> Self {
        let protection = Protection::Software;
        Self { protection }
    }
}

/// Passwords.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Passwords {
    beside_another_factor: bool,
    blocklist: Option<PathBuf>,
}

/// The relying party that passkeys and security keys know the gate as.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebAuthn {
    rp_id: String,
    name: Option<String>,
    #[serde(default)]
    origins: Vec<String>,
    #[serde(default)]
    device_bound_only: bool,
}

/// The mail server that takes codes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Email {
    #[serde(deserialize_with = "parsed")]
    from: EmailAddress,
    server: String,
    port: Option<u16>,
    #[serde(default)]
    tls: Tls,
    user: Option<String>,
    password_file: Option<PathBuf>,
    root_certificate: Option<PathBuf>,
}

/// How it speaks TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Tls {
    #[default]
    Implicit,
    Starttls,
    DangerNoneToLoopback,
}

impl Kinds {
    /// One verifier for each kind. `folder` is where the configuration's own paths begin.
    pub(crate) fn verifiers(
        &self,
        folder: &Path,
    ) -> Result<Vec<Arc<dyn MfaVerifier>>, Box<dyn Error>> {
        let mut verifiers: Vec<Arc<dyn MfaVerifier>> = vec![
            Arc::new(TotpVerifier::new()),
            Arc::new(RecoveryCodeVerifier::new()),
            Arc::new(DeviceKeyVerifier::new().require(self.device_key.protection)),
            Arc::new(self.password(folder)?),
        ];
        if let Some(webauthn) = &self.webauthn {
            verifiers.push(Arc::new(webauthn.verifier()?));
        }
        if let Some(email) = &self.email {
            let sender = Arc::new(email.sender(folder)?);
            verifiers.push(Arc::new(EmailCodeVerifier::new(sender)?));
        }
        if !self.oidc.is_empty() {
            verifiers.push(Arc::new(openid::verifier(&self.oidc, folder)?));
        }
        Ok(verifiers)
    }

    /// What new passwords must be like.
    pub(crate) fn password(&self, folder: &Path) -> Result<PasswordVerifier, Box<dyn Error>> {
        let verifier = if self.password.beside_another_factor {
            PasswordVerifier::beside_another_factor()
        } else {
            PasswordVerifier::new()
        };
        let list = self.password.blocklist.as_ref();
        let text = list.map(|list| read(&folder.join(list))).transpose()?;
        let lines = text.iter().flat_map(|text| text.lines());
        let words = lines.map(|line| line.trim().to_lowercase());
        let common = Common(words.filter(|word| !word.is_empty()).collect());
        Ok(verifier.blocklist(Arc::new(common)))
    }
}

impl WebAuthn {
    fn verifier(&self) -> Result<WebAuthnVerifier, Box<dyn Error>> {
        let mut party = RelyingParty::new(&self.rp_id)?;
        if let Some(name) = &self.name {
            party = party.named(name);
        }
        for origin in &self.origins {
            party = party.origin(origin)?;
        }
        if self.device_bound_only {
            party = party.device_bound_only();
        }
        Ok(WebAuthnVerifier::new(party)?)
    }
}

impl Email {
    fn sender(&self, folder: &Path) -> Result<SmtpSender, Box<dyn Error>> {
        let mut builder = SmtpSender::builder(&self.server, self.from.clone());
        builder = match self.tls {
            Tls::Implicit => builder,
            Tls::Starttls => builder.starttls(),
            Tls::DangerNoneToLoopback => builder.danger_plaintext_to_loopback(),
        };
        if let Some(port) = self.port {
            builder = builder.port(port);
        }
        builder = match (&self.user, &self.password_file) {
            (None, None) => builder,
            (Some(user), Some(file)) => {
                let text = zeroize::Zeroizing::new(read(&folder.join(file))?);
                let password = SecretString::new(text.trim_end().to_owned());
                builder.credentials(user, password.ok_or("the mail password is too long: see password_file in [factors.email]")?)
            }
            _ => return Err("[factors.email] needs both `user` and `password_file`, or neither: add the missing one".into()),
        };
        if let Some(certificate) = &self.root_certificate {
            builder = builder.root_certificate(read(&folder.join(certificate))?.as_bytes());
        }
        Ok(builder.build()?)
    }
}

/// Refuses passwords that are on a list, and those that contain the user's name.
struct Common(HashSet<String>);

impl Blocklist for Common {
    fn holds(&self, user: &UserId, password: &str) -> bool {
        let password = zeroize::Zeroizing::new(password.to_lowercase());
        let user = user.as_str().to_lowercase();
        // A name of a few letters is in many a word.
        let names_the_user = user.len() >= 4 && password.contains(&user);
        names_the_user || *password == user || self.0.contains(&*password)
    }
}

/// Reads a file that the configuration names.
pub(crate) fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
