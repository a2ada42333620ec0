//! A provider, as an operator configures it: refused where it could not work or would be unsafe.

use std::time::Duration;

use openidconnect::url::{Host, Url};

use super::error::{InvalidProvider, SettingFault};
use super::vouching::{Vouched, Vouching};
use crate::channel::message::Redirect;
use crate::seal::SecretBytes;

/// How old a login may be where nothing else is said.
const MAX_AGE: Duration = Duration::from_secs(300);
const LONGEST_MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// An OpenID provider, the gate's registration there, and what the provider is trusted to vouch
/// for.
///
/// ```
/// use mfagate::channel::message::Redirect;
/// use mfagate::factor::oidc::{OidcProvider, OidcVerifier, Vouched};
///
/// # fn main() -> Result<(), mfagate::factor::oidc::InvalidProvider> {
/// let provider = OidcProvider::new("https://id.example.com/realms/staff", "mfagate")?
///     .redirect(Redirect::Loopback { path: "/callback".to_owned() })?
///     .device_grant()
///     .require_acr("2")?
///     .acr_proves("2", Vouched::UserVerified)?;
/// let verifier = OidcVerifier::new([provider])?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct OidcProvider {
    pub(super) issuer: String,
    pub(super) client_id: String,
    pub(super) client_secret: Option<SecretBytes>,
    pub(super) redirects: Vec<Redirect>,
    pub(super) device: bool,
    pub(super) workloads: bool,
    pub(super) scopes: Vec<String>,
    pub(super) max_age: Option<Duration>,
    pub(super) acr: Vec<String>,
    pub(super) trusted_audiences: Vec<String>,
    pub(super) vouching: Vouching,
    pub(super) may_be_plain: bool,
}

impl OidcProvider {
    /// A provider by its issuer, exactly as it writes it, and the id under which the gate is
    /// registered there as a client. It is found by discovery (OpenID Connect Discovery, section
    /// 4).
    ///
    /// # Errors
    /// `provider-issuer`, `provider-client-id`.
    pub fn new(issuer: &str, client_id: &str) -> Result<Self, InvalidProvider> {
        if parsed(issuer)?.scheme() != "https" {
            return Err(InvalidProvider(SettingFault::Issuer));
        }
        Self::at(issuer, client_id, false).map_err(InvalidProvider)
    }

    /// A provider on this machine without TLS: for development and tests.
    ///
    /// # Errors
    /// `provider-not-local` where it is not on this machine; else as [`new`](Self::new).
    pub fn dangerously_without_tls(issuer: &str, client_id: &str) -> Result<Self, InvalidProvider> {
        if !is_local(&parsed(issuer)?) {
            return Err(InvalidProvider(SettingFault::NotLocal));
        }
        Self::at(issuer, client_id, true).map_err(InvalidProvider)
    }

    fn at(issuer: &str, client_id: &str, may_be_plain: bool) -> Result<Self, SettingFault> {
        if client_id.is_empty() || client_id.contains(char::is_control) {
            return Err(SettingFault::ClientId);
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            client_secret: None,
            redirects: Vec::new(),
            device: false,
            workloads: false,
            scopes: Vec::new(),
            max_age: Some(MAX_AGE),
            acr: Vec::new(),
            trusted_audiences: Vec::new(),
            vouching: Vouching::default(),
            may_be_plain,
        })
    }

    /// The client's secret, if it has one. It stays in the gate.
    ///
    /// # Errors
    /// `provider-client-secret`.
    pub fn client_secret(mut self, secret: SecretBytes) -> Result<Self, InvalidProvider> {
        let text = str::from_utf8(secret.expose_secret());
        if text.is_err() || text == Ok("") {
            return Err(InvalidProvider(SettingFault::ClientSecret));
        }
        self.client_secret = Some(secret);
        Ok(self)
    }

    /// One more way back from a browser login. Register it at the provider too: a loopback redirect
    /// as `http://127.0.0.1<path>`, with any port.
    ///
    /// # Errors
    /// `provider-redirect-path`, `provider-redirect-uri`.
    pub fn redirect(mut self, redirect: Redirect) -> Result<Self, InvalidProvider> {
        match &redirect {
            Redirect::Loopback { path } if !is_path(path) => {
                return Err(InvalidProvider(SettingFault::RedirectPath));
            }
            Redirect::Exact { uri } if !is_redirect(uri) => {
                return Err(InvalidProvider(SettingFault::RedirectUri));
            }
            Redirect::Loopback { .. } | Redirect::Exact { .. } => {}
        }
        self.redirects.push(redirect);
        Ok(self)
    }

    /// Offers the device authorisation grant (RFC 8628), for machines without a browser, where the
    /// provider has it. Anyone who can make a user type a code can log in as them, so it never proves
    /// [`Vouched::PhishingResistant`].
    #[must_use]
    pub const fn device_grant(mut self) -> Self {
        self.device = true;
        self
    }

    /// Takes ID tokens of workloads: of identities that an administrator bound as such
    /// ([`Identity::workload`](super::Identity::workload)), and of no one else.
    #[must_use]
    pub const fn workloads(mut self) -> Self {
        self.workloads = true;
        self
    }

    /// One more scope to ask for; `openid` is asked for always. `email` is needed for identities
    /// that are bound by e-mail.
    ///
    /// # Errors
    /// `provider-word`.
    pub fn scope(mut self, scope: &str) -> Result<Self, InvalidProvider> {
        self.scopes.push(word(scope)?);
        Ok(self)
    }

    /// How long before the gate's question the user may have authenticated at the provider, at the
    /// longest: five minutes if this is not called. It is asked for (`max_age`), and the token must
    /// show it (`auth_time`); NIST SP 800-63B-4, section 5.2.
    ///
    /// # Errors
    /// `provider-max-age`.
    pub fn max_age(mut self, age: Duration) -> Result<Self, InvalidProvider> {
        if age > LONGEST_MAX_AGE {
            return Err(InvalidProvider(SettingFault::MaxAge));
        }
        self.max_age = Some(age);
        Ok(self)
    }

    /// Takes logins without a time of authentication, for providers that don't tell it. A session
    /// at the provider may then be weeks old, and a policy that asks for an age of authentication
    /// lets no one in by it.
    #[must_use]
    pub const fn dangerously_of_any_age(mut self) -> Self {
        self.max_age = None;
        self
    }

    /// One more context class that is good enough: it is asked for, and a person's token must have
    /// one of them (OpenID Connect Core, section 5.5.1.1).
    ///
    /// # Errors
    /// `provider-word`.
    pub fn require_acr(mut self, acr: &str) -> Result<Self, InvalidProvider> {
        self.acr.push(word(acr)?);
        Ok(self)
    }

    /// What this provider means when it says that method (`amr`, RFC 8176).
    ///
    /// # Errors
    /// `provider-word`.
    pub fn amr_proves(mut self, amr: &str, what: Vouched) -> Result<Self, InvalidProvider> {
        self.vouching.amr(word(amr)?, what);
        Ok(self)
    }

    /// What this provider means when it says that context class (`acr`).
    ///
    /// # Errors
    /// `provider-word`.
    pub fn acr_proves(mut self, acr: &str, what: Vouched) -> Result<Self, InvalidProvider> {
        self.vouching.acr(word(acr)?, what);
        Ok(self)
    }

    /// Takes tokens that are also for this audience. Anyone who is one can play the user here, within
    /// the nonce. Such a token must name the gate's client as its authorised party (`azp`).
    ///
    /// # Errors
    /// `provider-word`.
    pub fn trust_audience(mut self, audience: &str) -> Result<Self, InvalidProvider> {
        self.trusted_audiences.push(word(audience)?);
        Ok(self)
    }

    /// Whether someone could log in.
    pub(super) fn check(&self) -> Result<(), SettingFault> {
        let has_a_way = !self.redirects.is_empty() || self.device || self.workloads;
        has_a_way.then_some(()).ok_or(SettingFault::NoWay)
    }

    /// Whether the gate, or a user, may be sent to an address of the provider's.
    pub(super) fn may_reach(&self, url: &Url) -> bool {
        url.scheme() == "https" || (self.may_be_plain && is_local(url))
    }
}

fn parsed(issuer: &str) -> Result<Url, SettingFault> {
    let url = Url::parse(issuer).map_err(|_| SettingFault::Issuer)?;
    let is_plain = url.host().is_some()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    // As it is written: the parser would normalise it, and no token holds the normalised form.
    let is_normal = url.as_str().trim_end_matches('/') == issuer.trim_end_matches('/');
    (is_plain && is_normal)
        .then_some(url)
        .ok_or(SettingFault::Issuer)
}

/// Whether an address is plain HTTP on this machine.
pub(super) fn is_local(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Domain(domain)) => domain == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && is_here
}

/// Whether a path stays one, behind a host. One that begins with two slashes would be a host.
fn is_path(path: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://127.0.0.1{path}")) else {
        return false;
    };
    path.starts_with('/')
        && !path.starts_with("//")
        && url.path() == path
        && url.query().is_none()
        && url.fragment().is_none()
}

/// Whether a browser may be sent there with a code (RFC 8252, section 7).
fn is_redirect(uri: &str) -> bool {
    let Ok(url) = Url::parse(uri) else {
        return false;
    };
    // Section 7.1: an app's scheme is a domain of its maker, reversed, so it has a dot; those that
    // browsers run or open themselves have none.
    let is_apps = url.scheme().contains('.');
    let is_claimed = url.scheme() == "https" && url.host().is_some();
    let is_bare = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    url.as_str() == uri && is_bare && (is_apps || is_claimed || is_local(&url))
}

fn word(text: &str) -> Result<String, SettingFault> {
    let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_word.then(|| text.to_owned()).ok_or(SettingFault::Word)
}
