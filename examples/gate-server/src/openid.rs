//! OpenID providers, by the configuration's `[[factors.oidc]]`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mfagate::channel::message::Redirect;
use mfagate::factor::oidc::{InvalidProvider, OidcProvider, OidcVerifier, Vouched};
use mfagate::seal::SecretBytes;
use serde::Deserialize;

use crate::settings::parsed;
use crate::verifiers::read;

/// A provider, and the gate's registration there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    at: At,
    client_id: String,
    client_secret_file: Option<PathBuf>,
    /// The path of a loopback redirect, which is what `connect` uses.
    loopback: Option<String>,
    #[serde(default)]
    redirects: Vec<String>,
    #[serde(default)]
    device_grant: bool,
    #[serde(default)]
    workloads: bool,
    #[serde(default)]
    scopes: Vec<String>,
    max_age: Option<Age>,
    #[serde(default)]
    require_acr: Vec<String>,
    #[serde(default)]
    user_verified: Words,
    #[serde(default)]
    phishing_resistant: Words,
}

/// Which provider it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum At {
    Issuer(String),
    Google,
    Microsoft {
        tenant: String,
    },
    Okta {
        domain: String,
    },
    Jumpcloud,
    Keycloak {
        server: String,
        realm: String,
    },
    /// On this machine, for development.
    DangerWithoutTls(String),
}

/// How old a login may be: a span, or `danger-any`.
#[derive(Debug, Clone, Copy)]
enum Age {
    AtMost(Duration),
    Any,
}

impl std::str::FromStr for Age {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "danger-any" {
            return Ok(Self::Any);
        }
        humantime::parse_duration(text).map(Self::AtMost)
    }
}

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: serde::Deserializer<'de>>(field: D) -> Result<Self, D::Error> {
        parsed(field)
    }
}

/// The provider's words that mean so.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Words {
    acr: Vec<String>,
    amr: Vec<String>,
}

/// The verifier for all of them.
pub(crate) fn verifier(
    providers: &[Provider],
    folder: &Path,
) -> Result<OidcVerifier, Box<dyn Error>> {
    let providers = providers.iter().map(|provider| provider.open(folder));
    let providers: Vec<_> = providers.collect::<Result<_, _>>()?;
    Ok(OidcVerifier::new(providers)?)
}

impl Provider {
    fn open(&self, folder: &Path) -> Result<OidcProvider, Box<dyn Error>> {
        let mut provider = self.at.provider(&self.client_id)?;
        if let Some(file) = &self.client_secret_file {
            let text = zeroize::Zeroizing::new(read(&folder.join(file))?);
            let secret = SecretBytes::new(text.trim_end().as_bytes().to_vec());
            provider = provider.client_secret(secret)?;
        }
        if let Some(path) = &self.loopback {
            let path = path.clone();
            provider = provider.redirect(Redirect::Loopback { path })?;
        }
        for uri in &self.redirects {
            let uri = uri.clone();
            provider = provider.redirect(Redirect::Exact { uri })?;
        }
        if self.device_grant {
            provider = provider.device_grant();
        }
        if self.workloads {
            provider = provider.workloads();
        }
        for scope in &self.scopes {
            provider = provider.scope(scope)?;
        }
        provider = match self.max_age {
            None => provider,
            Some(Age::AtMost(age)) => provider.max_age(age)?,
            Some(Age::Any) => provider.dangerously_of_any_age(),
        };
        for acr in &self.require_acr {
            provider = provider.require_acr(acr)?;
        }
        provider = self.user_verified.mean(Vouched::UserVerified, provider)?;
        let means = Vouched::PhishingResistant;
        Ok(self.phishing_resistant.mean(means, provider)?)
    }
}

impl At {
    fn provider(&self, client_id: &str) -> Result<OidcProvider, InvalidProvider> {
        match self {
            Self::Issuer(issuer) => OidcProvider::new(issuer, client_id),
            Self::Google => OidcProvider::google(client_id),
            Self::Microsoft { tenant } => OidcProvider::microsoft(tenant, client_id),
            Self::Okta { domain } => OidcProvider::okta(domain, client_id),
            Self::Jumpcloud => OidcProvider::jumpcloud(client_id),
            Self::Keycloak { server, realm } => OidcProvider::keycloak(server, realm, client_id),
            Self::DangerWithoutTls(issuer) => {
                OidcProvider::dangerously_without_tls(issuer, client_id)
            }
        }
    }
}

impl Words {
    fn mean(
        &self,
        what: Vouched,
        mut provider: OidcProvider,
    ) -> Result<OidcProvider, InvalidProvider> {
        for acr in &self.acr {
            provider = provider.acr_proves(acr, what)?;
        }
        for amr in &self.amr {
            provider = provider.amr_proves(amr, what)?;
        }
        Ok(provider)
    }
}
