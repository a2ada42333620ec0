//! Logging in at an OpenID provider, as the gate asks for it.
//!
//! - **With a browser on this device.** A program listens ([`Loopback`]), an app has a scheme of its
//!   own. Either begins a [`Login`] at that redirect, opens its [`url`](Login::url) in the system's
//!   browser (never in a web view of its own: RFC 8252, section 8.12), and answers with what comes
//!   back.
//! - **With a browser on another device** ([`DeviceLogin`]): shown to the user, and polled for.
//! - **A program** with a token of its own ([`TokenSource`]).
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use mfagate::channel::message::{Answer, Challenge};
//! use mfagate::prove::oidc::{Login, LoginError, Loopback};
//!
//! async fn log_in(challenge: &Challenge) -> Result<Answer, LoginError> {
//!     let loopback = Loopback::listen(challenge).await?;
//!     let login = Login::begin(challenge, loopback.redirect_uri())?;
//!     println!("Open {}", login.url());
//!     loopback.wait(&login, Duration::from_secs(300)).await
//! }
//! ```
//!
//! The provider's codes and tokens are the gate's: nothing here sees a password, and a code is
//! worth nothing without what the gate keeps (RFC 7636).

mod device;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod loopback;
#[cfg(test)]
mod tests;
mod workload;

use std::fmt;
use std::io;

use subtle::ConstantTimeEq;
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::channel::message::{Answer, Challenge, Redirect, SecretString};

pub use device::DeviceLogin;
pub use loopback::Loopback;
pub use workload::{TokenSource, TokenSourceError, bring_token};

/// A login in a browser, from its beginning to what the browser comes back with.
pub struct Login {
    url: Url,
    redirect_uri: String,
    state: Zeroizing<String>,
}

impl Login {
    /// Begins the login that a gate asks for, with one of the redirects that it offers.
    ///
    /// # Errors
    /// `login-not-asked`, `login-not-offered`, `login-unsafe`.
    pub fn begin(challenge: &Challenge, redirect_uri: &str) -> Result<Self, LoginError> {
        let (authorize, redirects) = asked(challenge)?;
        if !redirects
            .iter()
            .any(|redirect| is_offer(redirect, redirect_uri))
        {
            return Err(LoginError(LoginFault::NotOffered));
        }
        let mut url = Url::parse(authorize).map_err(|_| LoginFault::Unsafe)?;
        // What else a browser opens could run here, or read files.
        if url.scheme() != "https" && !is_local(&url) {
            return Err(LoginError(LoginFault::Unsafe));
        }
        let state = parameter(&url, "state").ok_or(LoginFault::NotAsked)?;
        url.query_pairs_mut()
            .append_pair("redirect_uri", redirect_uri);
        Ok(Self {
            url,
            redirect_uri: redirect_uri.to_owned(),
            state,
        })
    }

    /// The address to open in the system's browser.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The answer, from the whole address that the browser came back to.
    ///
    /// # Errors
    /// `login-foreign` when it is not this login's: another may still come, so go on
    /// waiting. `login-declined`, `login-too-long`.
    pub fn returned(&self, address: &str) -> Result<Answer, LoginError> {
        let returned = Url::parse(address).map_err(|_| LoginFault::Foreign)?;
        let query = returned.query().ok_or(LoginFault::Foreign)?.to_owned();
        let query = Zeroizing::new(query);
        let mut to = returned.clone();
        to.set_query(None);
        to.set_fragment(None);
        let is_ours = parameter(&returned, "state")
            .is_some_and(|said| said.as_bytes().ct_eq(self.state.as_bytes()).into());
        if to.as_str() != self.redirect_uri || !is_ours {
            return Err(LoginError(LoginFault::Foreign));
        }
        if parameter(&returned, "error").is_some() {
            return Err(LoginError(LoginFault::Declined));
        }
        Ok(Answer::Redirected {
            redirect_uri: self.redirect_uri.clone(),
            query: SecretString::new((*query).clone()).ok_or(LoginFault::TooLong)?,
        })
    }
}

impl fmt::Debug for Login {
    /// Without the state, which no one else is to know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

crate::error_code::opaque! {
    /// Why a client could not log in.
    pub struct LoginError(LoginFault);
}

/// What is behind [`LoginError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginFault {
    /// The challenge does not ask for this.
    #[error("the gate does not ask for a login of this kind: look at what its challenge offers")]
    NotAsked,
    /// The redirect is none of those that the gate offers.
    #[error("the gate does not offer that redirect: configure it at the gate and at the provider")]
    NotOffered,
    /// The address to open is none that a browser may be sent to.
    #[error("the address to open is not an https address, and is not opened")]
    Unsafe,
    /// What came back is not this login's.
    #[error("what came back is not of this login: go on waiting")]
    Foreign,
    /// The provider, or the user there, said no.
    #[error("the provider did not log the user in")]
    Declined,
    /// What came back is longer than an answer may be.
    #[error("what came back is longer than 16,384 bytes")]
    TooLong,
    /// Nothing came back.
    #[error("the browser did not come back in time: begin again")]
    TimedOut,
    /// There is no port to listen on.
    #[error("no port of this device can be listened on")]
    Listen(#[source] io::Error),
    /// The source of tokens gave none.
    #[error("there is no token to bring")]
    NoToken(#[source] TokenSourceError),
}

/// What a challenge says of a login in a browser.
fn asked(challenge: &Challenge) -> Result<(&str, &[Redirect]), LoginFault> {
    if let Challenge::OpenId {
        authorize: Some(authorize),
        redirects,
        ..
    } = challenge
    {
        Ok((authorize, redirects))
    } else {
        Err(LoginFault::NotAsked)
    }
}

fn is_offer(redirect: &Redirect, redirect_uri: &str) -> bool {
    match redirect {
        Redirect::Exact { uri } => uri == redirect_uri,
        Redirect::Loopback { path } => Url::parse(redirect_uri)
            .is_ok_and(|url| is_local(&url) && url.path() == path && url.query().is_none()),
    }
}

/// Whether an address is plain HTTP on this device.
fn is_local(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Domain(domain)) => domain == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && is_here
}

/// A parameter that is there once.
fn parameter(url: &Url, name: &str) -> Option<Zeroizing<String>> {
    let mut values = url.query_pairs().filter(|(key, _)| key == name);
    let (_, value) = values.next()?;
    values
        .next()
        .is_none()
        .then(|| Zeroizing::new(value.into_owned()))
}
