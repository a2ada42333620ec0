//! The device authorisation grant (RFC 8628): the user logs in on another device, and the client
//! polls. It is the gate that asks the provider, and only as often as the provider allows.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use openidconnect::core::CoreDeviceAuthorizationResponse;
use openidconnect::{
    DeviceAuthorizationUrl, DeviceCodeErrorResponse, DeviceCodeErrorResponseType,
    PkceCodeChallenge, PkceCodeVerifier, RequestTokenError, Scope,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::config::OidcProvider;
use super::discovery::Known;
use super::error::{OidcFault, ProviderFault};
use super::provider::{Answered, Ceremony, Means, OidcClient, Provider};
use super::token::{Expected, Tokens};
use crate::channel::message::Challenge;
use crate::factor::{AttemptContext, VerifyError};
use crate::id::UserId;
use crate::time::Timestamp;

/// The shortest and the longest wait between two polls, whatever the provider says.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How often one user may begin a grant. Each costs the provider something.
const BEGIN_AT_MOST_EVERY: Duration = Duration::from_secs(5);
/// A user code that people can type.
const LONGEST_USER_CODE: usize = 64;

/// A grant that waits for its user.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    interval_ms: u64,
    #[zeroize(skip)]
    next_poll: Timestamp,
    #[zeroize(skip)]
    expires: Timestamp,
}

impl Grant {
    pub(super) fn challenge(&self) -> Challenge {
        Challenge::DeviceGrant {
            verification_uri: self.verification_uri.clone(),
            verification_uri_complete: self.verification_uri_complete.clone(),
            user_code: self.user_code.clone(),
            interval_ms: self.interval_ms,
        }
    }

    /// Waits from now on.
    fn wait(&mut self, interval: Duration, now: Timestamp) {
        let (shortest, longest) = INTERVALS;
        let interval = interval.clamp(shortest, longest);
        self.interval_ms = crate::channel::message::millis(interval);
        self.next_poll = now + interval;
    }
}

/// The endpoint where a grant begins, if the provider has it.
pub(super) fn endpoint(known: &Known) -> Option<&DeviceAuthorizationUrl> {
    let metadata = known.metadata.additional_metadata();
    metadata.device_authorization_endpoint.as_ref()
}

/// What the provider answered, if it can be shown to people.
pub(super) fn grant(
    settings: &OidcProvider,
    begun: &CoreDeviceAuthorizationResponse,
    now: Timestamp,
) -> Result<Grant, ProviderFault> {
    let uri = begun.verification_uri().url();
    if !settings.may_reach(uri) {
        return Err(ProviderFault::Insecure);
    }
    let complete = begun.verification_uri_complete();
    let complete = complete.map(|uri| uri.secret().clone());
    if let Some(complete) = &complete {
        let parsed = complete.parse().map_err(|_| ProviderFault::Malformed)?;
        if !settings.may_reach(&parsed) {
            return Err(ProviderFault::Insecure);
        }
    }
    let user_code = begun.user_code().secret();
    let is_shown = user_code.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if !is_shown || !(1..=LONGEST_USER_CODE).contains(&user_code.len()) {
        return Err(ProviderFault::Malformed);
    }
    let mut grant = Grant {
        device_code: begun.device_code().secret().clone(),
        user_code: user_code.clone(),
        verification_uri: uri.to_string(),
        verification_uri_complete: complete,
        interval_ms: 0,
        next_poll: now,
        expires: now + begun.expires_in(),
    };
    grant.wait(begun.interval(), now);
    Ok(grant)
}

impl Provider {
    pub(super) async fn begin_grant(
        &self,
        attempt: &AttemptContext<'_>,
        mut ceremony: Ceremony,
    ) -> Result<Answered, VerifyError> {
        let known = self.known(attempt.now).await?;
        let endpoint = endpoint(&known).ok_or_else(|| self.fault(ProviderFault::NoEndpoint))?;
        self.pacing.begin(attempt.user, attempt.now)?;
        let client = self.client(&known);
        let client = client.set_device_authorization_url(endpoint.clone());
        let scopes = self.settings.scopes.iter().cloned().map(Scope::new);
        let proof_key = PkceCodeVerifier::new(ceremony.proof_key.clone());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&proof_key);
        let mut request = client
            .exchange_device_code()
            .add_scopes(scopes)
            // RFC 8628 has none of these; providers that know them answer to them. Keycloak wants a
            // proof key here too, from clients that are registered as having one.
            .add_extra_param("nonce", ceremony.nonce.clone())
            .add_extra_param("code_challenge", challenge.as_str().to_owned())
            .add_extra_param(
                "code_challenge_method",
                challenge.method().as_str().to_owned(),
            );
        if let Some(age) = self.settings.max_age {
            request = request.add_extra_param("max_age", age.as_secs().to_string());
        }
        if !self.settings.acr.is_empty() {
            request = request.add_extra_param("acr_values", self.settings.acr.join(" "));
        }
        let begun = request.request_async(&self.http).await;
        let begun = begun.map_err(|error| self.request_failed(&error))?;
        let grant =
            grant(&self.settings, &begun, attempt.now).map_err(|fault| self.fault(fault))?;
        let challenge = grant.challenge();
        ceremony.grant = Some(grant);
        Ok(Answered::Ask(self.asked(attempt, challenge, ceremony)?))
    }

    pub(super) async fn poll_grant(
        &self,
        attempt: &AttemptContext<'_>,
        mut ceremony: Ceremony,
    ) -> Result<Answered, VerifyError> {
        let mut grant = ceremony.grant.take().ok_or(VerifyError::Unfit)?;
        let early = grant.next_poll.saturating_since(attempt.now);
        if !early.is_zero() {
            return Err(VerifyError::Busy { retry: early });
        }
        if attempt.now >= grant.expires {
            return Err(VerifyError::Expired);
        }
        let known = self.known(attempt.now).await?;
        let client = self.client(&known);
        let proof_key = &ceremony.proof_key;
        let tokens = match self.poll_once(&client, &grant, proof_key).await? {
            Polled::Tokens(tokens) => tokens,
            Polled::Wait(interval) => {
                grant.wait(interval, attempt.now);
                let challenge = grant.challenge();
                ceremony.grant = Some(grant);
                return Ok(Answered::Ask(self.asked(attempt, challenge, ceremony)?));
            }
        };
        // The device code is this attempt's and never left the gate: it binds the token by itself.
        let expected = Expected {
            nonce_may_lack: true,
            ..self.expected(&ceremony, attempt.now)
        };
        let login = self.judge_tokens(&tokens, &known, &expected).await?;
        Ok(Answered::LoggedIn(login, Means::OtherDevice))
    }

    /// Asks the provider once. The crate would ask for as long as it takes; where it would wait,
    /// here the client does.
    async fn poll_once(
        &self,
        client: &OidcClient,
        grant: &Grant,
        proof_key: &str,
    ) -> Result<Polled, VerifyError> {
        let begun: CoreDeviceAuthorizationResponse = serde_json::from_value(json!({
            "device_code": grant.device_code,
            "user_code": grant.user_code,
            "verification_uri": grant.verification_uri,
            "expires_in": 3600,
            "interval": grant.interval_ms / 1000,
        }))
        .map_err(|_| OidcFault::Unreadable)?;
        let request = client
            .exchange_device_access_token(&begun)
            .map_err(|_| self.fault(ProviderFault::NoEndpoint))?
            .add_extra_param("code_verifier", proof_key.to_owned());
        let (would_wait, mut wait) = mpsc::unbounded_channel();
        let asked = request.request_async(
            &self.http,
            move |interval| {
                _ = would_wait.send(interval);
                std::future::pending()
            },
            None,
        );
        tokio::select! {
            biased;
            tokens = asked => match tokens {
                Ok(tokens) => Ok(Polled::Tokens(Box::new(tokens))),
                Err(error) => Err(self.poll_failed(&error)),
            },
            Some(interval) = wait.recv() => Ok(Polled::Wait(interval)),
        }
    }

    fn poll_failed(
        &self,
        error: &RequestTokenError<ProviderFault, DeviceCodeErrorResponse>,
    ) -> VerifyError {
        match error {
            RequestTokenError::ServerResponse(said) => match said.error() {
                DeviceCodeErrorResponseType::AccessDenied => VerifyError::Wrong,
                DeviceCodeErrorResponseType::ExpiredToken => VerifyError::Expired,
                DeviceCodeErrorResponseType::Basic(basic) => self.said(basic),
                // The crate waits at these.
                DeviceCodeErrorResponseType::AuthorizationPending
                | DeviceCodeErrorResponseType::SlowDown => self.fault(ProviderFault::Malformed),
            },
            RequestTokenError::Request(fault) => self.fault(*fault),
            RequestTokenError::Parse(..) => self.fault(ProviderFault::Malformed),
            RequestTokenError::Other(_) => self.fault(ProviderFault::Failed),
        }
    }
}

/// What a poll brought.
enum Polled {
    Tokens(Box<Tokens>),
    Wait(Duration),
}

/// Who began a grant a moment ago.
#[derive(Debug, Default)]
pub(super) struct Pacing(Mutex<BTreeMap<UserId, Timestamp>>);

impl Pacing {
    fn begin(&self, user: &UserId, now: Timestamp) -> Result<(), VerifyError> {
        let mut began = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        began.retain(|_, at| *at <= now && now < *at + BEGIN_AT_MOST_EVERY);
        if let Some(at) = began.get(user) {
            let retry = (*at + BEGIN_AT_MOST_EVERY).saturating_since(now);
            return Err(VerifyError::Busy { retry });
        }
        began.insert(user.clone(), now);
        Ok(())
    }
}
