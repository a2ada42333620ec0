//! One provider: what it is asked for, and which of its ways an answer takes.

use std::sync::Arc;
use std::time::Duration;

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreClientAuthMethod, CoreErrorResponseType, CoreGenderClaim,
    CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse,
};
use openidconnect::{
    AuthType, Client, ClientId, ClientSecret, EndpointMaybeSet, EndpointNotSet, EndpointSet,
    RequestTokenError, StandardErrorResponse, TokenResponse,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::config::OidcProvider;
use super::device::{Grant, Pacing};
use super::discovery::{Discovery, Known};
use super::error::{OidcFault, ProviderFault, SettingFault, TokenFault};
use super::http::Http;
use super::token::{self, Expected, Extra, IdToken, Login, Tokens};
use super::{code, device, workload};
use crate::channel::message::{Answer, Challenge, Nonce};
use crate::factor::persisted::Pending;
use crate::factor::{AttemptContext, IssuedChallenge, VerifyError};
use crate::log;
use crate::time::Timestamp;

/// How long an answer may take to judge, all of the provider's answers together: less than a gate
/// waits for a verifier.
const PATIENCE: Duration = Duration::from_secs(8);

/// A configured provider at work.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) settings: Arc<OidcProvider>,
    pub(super) http: Http,
    pub(super) discovery: Arc<Discovery>,
    pub(super) pacing: Pacing,
}

/// Who is to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// Someone with a browser, here or on another device.
    Person,
    /// A program with a token.
    Workload,
}

/// What the gate remembers between a question and its answer.
#[derive(serde::Serialize, serde::Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub(super) struct Ceremony {
    issuer: String,
    #[zeroize(skip)]
    way: Way,
    #[zeroize(skip)]
    asked_at: Timestamp,
    pub(super) state: String,
    pub(super) nonce: String,
    /// The code verifier (RFC 7636, section 4.1).
    pub(super) proof_key: String,
    /// The workload's audience.
    pub(super) audience: String,
    /// The device grant, once it has begun.
    pub(super) grant: Option<Grant>,
}

/// What became of an answer that is not wrong.
pub(super) enum Answered {
    Ask(IssuedChallenge),
    LoggedIn(Login, Means),
}

/// How someone logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    Browser,
    OtherDevice,
    Workload,
}

/// The gate as a client of the provider's.
pub(super) type OidcClient = Client<
    Extra,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

impl Provider {
    pub(super) fn new(settings: OidcProvider) -> Result<Self, SettingFault> {
        settings.check()?;
        let settings = Arc::new(settings);
        let http = Http::new()?;
        let discovery = Discovery::new(Arc::clone(&settings), http.clone())?;
        Ok(Self {
            settings,
            http,
            discovery: Arc::new(discovery),
            pacing: Pacing::default(),
        })
    }

    pub(super) fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// Asks for a login.
    pub(super) async fn ask(
        &self,
        attempt: &AttemptContext<'_>,
        way: Way,
    ) -> Result<IssuedChallenge, VerifyError> {
        let nonce = Nonce::generate().map_err(|_| OidcFault::Randomness)?;
        let ceremony = Ceremony {
            issuer: self.issuer().to_owned(),
            way,
            asked_at: attempt.now,
            state: random()?,
            nonce: random()?,
            proof_key: random()?,
            audience: workload::audience(&attempt.binding().fingerprint(&nonce, attempt.expires)),
            grant: None,
        };
        let challenge = match way {
            Way::Person => self.challenge_person(&ceremony, attempt.now).await?,
            Way::Workload if self.settings.workloads => {
                workload::challenge(self.issuer(), &ceremony)
            }
            Way::Workload => return Err(self.fault(ProviderFault::NoEndpoint)),
        };
        self.asked(attempt, challenge, ceremony)
    }

    async fn challenge_person(
        &self,
        ceremony: &Ceremony,
        now: Timestamp,
    ) -> Result<Challenge, VerifyError> {
        let known = self.in_time(self.discovery.known(now)).await?;
        let known = known.map_err(|fault| self.fault(fault))?;
        let authorize = (!self.settings.redirects.is_empty())
            .then(|| code::authorize(&self.settings, &self.client(&known), &known, ceremony));
        let device = self.settings.device && device::endpoint(&known).is_some();
        if authorize.is_none() && !device {
            return Err(self.fault(ProviderFault::NoEndpoint));
        }
        Ok(Challenge::OpenId {
            issuer: self.issuer().to_owned(),
            authorize,
            redirects: self.settings.redirects.clone(),
            device,
            workload: None,
        })
    }

    /// A question, with what is to be remembered for its answer.
    pub(super) fn asked(
        &self,
        attempt: &AttemptContext<'_>,
        challenge: Challenge,
        ceremony: Ceremony,
    ) -> Result<IssuedChallenge, VerifyError> {
        let state = Pending::write(attempt, ceremony).map_err(|_| OidcFault::Unreadable)?;
        Ok(IssuedChallenge {
            challenge,
            state: Some(state),
        })
    }

    /// Judges an answer.
    pub(super) async fn answer(
        &self,
        attempt: &AttemptContext<'_>,
        ceremony: Ceremony,
        answer: &Answer,
    ) -> Result<Answered, VerifyError> {
        if ceremony.issuer != self.issuer() {
            return Err(VerifyError::Wrong);
        }
        if attempt.now >= attempt.expires {
            return Err(VerifyError::Expired);
        }
        self.in_time(self.take(attempt, ceremony, answer)).await?
    }

    async fn take(
        &self,
        attempt: &AttemptContext<'_>,
        ceremony: Ceremony,
        answer: &Answer,
    ) -> Result<Answered, VerifyError> {
        let (way, has_begun) = (ceremony.way, ceremony.grant.is_some());
        if let (Answer::IdToken { token }, Way::Workload) = (answer, way) {
            return self.take_workload(attempt, &ceremony, token).await;
        }
        if way == Way::Workload {
            return Err(VerifyError::Unfit);
        }
        if let (
            Answer::Redirected {
                redirect_uri,
                query,
            },
            false,
        ) = (answer, has_begun)
        {
            return self
                .take_code(attempt, &ceremony, redirect_uri, query)
                .await;
        }
        if let (Answer::BeginDeviceGrant {}, false, true) =
            (answer, has_begun, self.settings.device)
        {
            return self.begin_grant(attempt, ceremony).await;
        }
        if let (Answer::Poll {}, true) = (answer, has_begun) {
            return self.poll_grant(attempt, ceremony).await;
        }
        Err(VerifyError::Unfit)
    }

    /// The token among a provider's tokens, judged.
    pub(super) async fn judge_tokens(
        &self,
        tokens: &Tokens,
        known: &Arc<Known>,
        expected: &Expected<'_>,
    ) -> Result<Login, VerifyError> {
        let token = tokens.id_token().ok_or(TokenFault::Missing);
        let token = token.map_err(TokenFault::verdict)?;
        self.judge(token, known, expected).await
    }

    /// A token, judged. One whose key is not known has the keys fetched again, once.
    pub(super) async fn judge(
        &self,
        token: &IdToken,
        known: &Arc<Known>,
        expected: &Expected<'_>,
    ) -> Result<Login, VerifyError> {
        let mut judged = token::judge(token, known, expected);
        if matches!(judged, Err(TokenFault::UnknownKey)) {
            let newer = self.discovery.newer(known, expected.now).await;
            if let Some(newer) = newer.map_err(|fault| self.fault(fault))? {
                judged = token::judge(token, &newer, expected);
            }
        }
        judged.map_err(|fault| self.refused(fault))
    }

    /// What a person's token must say.
    pub(super) fn expected<'a>(&'a self, ceremony: &'a Ceremony, now: Timestamp) -> Expected<'a> {
        Expected {
            audience: &self.settings.client_id,
            trusted: &self.settings.trusted_audiences,
            is_issued_to_audience: true,
            nonce: &ceremony.nonce,
            nonce_may_lack: false,
            acr: &self.settings.acr,
            max_age: self.settings.max_age,
            asked_at: ceremony.asked_at,
            now,
        }
    }

    pub(super) async fn known(&self, now: Timestamp) -> Result<Arc<Known>, VerifyError> {
        let known = self.discovery.known(now).await;
        known.map_err(|fault| self.fault(fault))
    }

    pub(super) fn client(&self, known: &Known) -> OidcClient {
        let secret = self.settings.client_secret.as_ref();
        let secret = secret.and_then(|secret| str::from_utf8(secret.expose_secret()).ok());
        let client = OidcClient::from_provider_metadata(
            known.metadata.clone(),
            ClientId::new(self.settings.client_id.clone()),
            secret.map(|secret| ClientSecret::new(secret.to_owned())),
        );
        let methods = known.metadata.token_endpoint_auth_methods_supported();
        // What is not said is `client_secret_basic` (Discovery, section 3).
        let is_in_body = methods.is_some_and(|methods| {
            !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
                && methods.contains(&CoreClientAuthMethod::ClientSecretPost)
        });
        if is_in_body {
            client.set_auth_type(AuthType::RequestBody)
        } else {
            client
        }
    }

    async fn in_time<T>(&self, call: impl Future<Output = T>) -> Result<T, VerifyError> {
        let done = tokio::time::timeout(PATIENCE, call).await;
        done.map_err(|_| self.fault(ProviderFault::TimedOut))
    }

    pub(super) fn fault(&self, fault: ProviderFault) -> VerifyError {
        let issuer = self.issuer().to_owned();
        OidcFault::Provider { issuer, fault }.into()
    }

    pub(super) fn refused(&self, fault: TokenFault) -> VerifyError {
        let (issuer, why) = (self.issuer().to_owned(), fault.to_string());
        log::later(move || tracing::debug!(issuer, fault = why, "an ID token was refused"));
        fault.verdict()
    }

    /// Whose fault it is that an endpoint gave nothing.
    pub(super) fn request_failed(
        &self,
        error: &RequestTokenError<ProviderFault, StandardErrorResponse<CoreErrorResponseType>>,
    ) -> VerifyError {
        match error {
            RequestTokenError::ServerResponse(said) => self.said(said.error()),
            RequestTokenError::Request(fault) => self.fault(*fault),
            RequestTokenError::Parse(..) => self.fault(ProviderFault::Malformed),
            RequestTokenError::Other(_) => self.fault(ProviderFault::Failed),
        }
    }

    /// An error of RFC 6749, section 5.2.
    pub(super) fn said(&self, error: &CoreErrorResponseType) -> VerifyError {
        match error {
            CoreErrorResponseType::InvalidGrant => VerifyError::Wrong,
            CoreErrorResponseType::InvalidClient
            | CoreErrorResponseType::InvalidRequest
            | CoreErrorResponseType::InvalidScope
            | CoreErrorResponseType::UnauthorizedClient
            | CoreErrorResponseType::UnsupportedGrantType => {
                self.fault(ProviderFault::ClientRefused)
            }
            CoreErrorResponseType::Extension(_) => self.fault(ProviderFault::Failed),
        }
    }
}

/// 256 bits, as 43 characters that need no escape anywhere.
fn random() -> Result<String, OidcFault> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| OidcFault::Randomness)?;
    let text = data_encoding::BASE64URL_NOPAD.encode(&bytes);
    bytes.zeroize();
    Ok(text)
}
