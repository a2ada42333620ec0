//! The authorisation code with a proof key (OpenID Connect Core, section 3.1; RFC 7636; RFC 9207).
//!
//! The client opens a browser and hands over what the browser came back with. The code goes from
//! here to the provider, so that neither the client's secret nor any token leaves the gate.

use std::borrow::Cow;

use openidconnect::core::CoreAuthenticationFlow;
use openidconnect::url::{Host, Url, form_urlencoded};
use openidconnect::{
    AuthenticationContextClass, AuthorizationCode, CsrfToken, Nonce, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, Scope,
};
use serde_json::json;

use super::config::OidcProvider;
use super::discovery::Known;
use super::error::ProviderFault;
use super::provider::{Answered, Ceremony, Means, OidcClient, Provider};
use super::token::is_same;
use crate::channel::message::{Redirect, SecretString};
use crate::factor::{AttemptContext, VerifyError};

/// The address to open, but for its redirect.
pub(super) fn authorize(
    settings: &OidcProvider,
    client: &OidcClient,
    known: &Known,
    ceremony: &Ceremony,
) -> String {
    let (state, nonce) = (ceremony.state.clone(), ceremony.nonce.clone());
    let proof_key = PkceCodeVerifier::new(ceremony.proof_key.clone());
    let scopes = settings.scopes.iter().cloned().map(Scope::new);
    let mut request = client
        .authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            move || CsrfToken::new(state),
            move || Nonce::new(nonce),
        )
        .add_scopes(scopes)
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&proof_key));
    if let Some(age) = settings.max_age {
        request = request.set_max_age(age);
    }
    for acr in &settings.acr {
        request = request.add_auth_context_value(AuthenticationContextClass::new(acr.clone()));
    }
    let takes_claims = known.metadata.claims_parameter_supported() == Some(true);
    if takes_claims && !settings.acr.is_empty() {
        let acr = json!({ "essential": true, "values": settings.acr });
        let claims = json!({ "id_token": { "acr": acr } });
        request = request.add_extra_param("claims", claims.to_string());
    }
    let (url, _, _) = request.url();
    url.into()
}

impl Provider {
    pub(super) async fn take_code(
        &self,
        attempt: &AttemptContext<'_>,
        ceremony: &Ceremony,
        redirect_uri: &str,
        query: &SecretString,
    ) -> Result<Answered, VerifyError> {
        let redirect = offered(&self.settings.redirects, redirect_uri).ok_or(VerifyError::Wrong)?;
        let returned = Returned::parse(query.expose_secret()).ok_or(VerifyError::Wrong)?;
        let known = self.known(attempt.now).await?;
        let code = returned.code(&ceremony.state, self.issuer(), &known)?;
        let client = self.client(&known);
        let request = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|_| self.fault(ProviderFault::NoEndpoint))?
            .set_pkce_verifier(PkceCodeVerifier::new(ceremony.proof_key.clone()))
            .set_redirect_uri(Cow::Owned(redirect));
        let tokens = request.request_async(&self.http).await;
        let tokens = tokens.map_err(|error| self.request_failed(&error))?;
        let expected = self.expected(ceremony, attempt.now);
        let login = self.judge_tokens(&tokens, &known, &expected).await?;
        Ok(Answered::LoggedIn(login, Means::Browser))
    }
}

/// A redirect, if it is one of those that were offered.
pub(super) fn offered(redirects: &[Redirect], redirect_uri: &str) -> Option<RedirectUrl> {
    let is_it = |redirect: &Redirect| match redirect {
        Redirect::Exact { uri } => uri == redirect_uri,
        Redirect::Loopback { path } => is_loopback(redirect_uri, path),
    };
    redirects
        .iter()
        .any(is_it)
        .then(|| RedirectUrl::new(redirect_uri.to_owned()).ok())?
}

/// RFC 8252, section 7.3: an address of this machine, not a name for it, with any port.
fn is_loopback(redirect_uri: &str, path: &str) -> bool {
    let Ok(url) = Url::parse(redirect_uri) else {
        return false;
    };
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == std::net::Ipv6Addr::LOCALHOST,
        Some(Host::Domain(_)) | None => false,
    };
    // As it is written, so that the parser's normalisation hides nothing.
    url.as_str() == redirect_uri
        && url.scheme() == "http"
        && is_here
        && url.path() == path
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// What a browser came back with.
pub(super) struct Returned {
    code: Option<String>,
    state: Option<String>,
    issuer: Option<String>,
    has_failed: bool,
}

impl Returned {
    /// Reads a query; `None` when a parameter is there twice (RFC 6749, section 3.1).
    pub(super) fn parse(query: &str) -> Option<Self> {
        let mut returned = Self {
            code: None,
            state: None,
            issuer: None,
            has_failed: false,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let slot = match &*name {
                "code" => &mut returned.code,
                "state" => &mut returned.state,
                "iss" => &mut returned.issuer,
                "error" => {
                    returned.has_failed = true;
                    continue;
                }
                _ => continue,
            };
            if slot.replace(value.into_owned()).is_some() {
                return None;
            }
        }
        Some(returned)
    }

    /// The code, if all of this is an answer to this login's question, by this provider. An error
    /// is wrong, whatever it says: it comes from the client, and no one vouches for it.
    fn code(self, state: &str, issuer: &str, known: &Known) -> Result<String, VerifyError> {
        let says_issuer = known
            .metadata
            .additional_metadata()
            .authorization_response_iss_parameter_supported;
        self.code_if(state, issuer, says_issuer)
            .ok_or(VerifyError::Wrong)
    }

    pub(super) fn code_if(self, state: &str, issuer: &str, says_issuer: bool) -> Option<String> {
        let is_ours = self.state.is_some_and(|said| is_same(&said, state));
        // RFC 9207, section 2.4.
        let is_theirs = match self.issuer {
            Some(said) => said == issuer,
            None => !says_issuer,
        };
        let is_good = is_ours && is_theirs && !self.has_failed;
        self.code.filter(|code| is_good && !code.is_empty())
    }
}
