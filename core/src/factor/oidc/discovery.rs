//! What is known of a provider: its metadata (OpenID Connect Discovery, section 3) and its keys.
//!
//! They are fetched once for all who wait, by a task of their own, so that no one who gives up
//! takes the others along. A provider that is slow or down delays its own logins and no others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType,
    CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm,
    CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::url::Url;
use openidconnect::{
    AdditionalProviderMetadata, DeviceAuthorizationUrl, DiscoveryError, IssuerUrl, ProviderMetadata,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::config::OidcProvider;
use super::error::{ProviderFault, SettingFault};
use super::http::Http;
use crate::log;
use crate::time::Timestamp;

/// How long what is known is taken for true: within it, a key that the provider has withdrawn is
/// still good.
const GOOD_FOR: Duration = Duration::from_secs(3600);
/// How often at most a token with an unknown key has the keys fetched again.
const KEYS_AT_MOST_EVERY: Duration = Duration::from_secs(30);
/// How long a failure is remembered, so that those who wait don't line up for the next one.
const FAILED_FOR: Duration = Duration::from_secs(5);

/// The metadata that `openidconnect` has no name for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ExtraMetadata {
    /// RFC 8628, section 4.
    pub(super) device_authorization_endpoint: Option<DeviceAuthorizationUrl>,
    /// RFC 9207, section 3.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for ExtraMetadata {}

pub(super) type Metadata = ProviderMetadata<
    ExtraMetadata,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// What was fetched, and when.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) metadata: Metadata,
    fetched: Timestamp,
}

impl Known {
    #[cfg(any(test, fuzzing))]
    pub(super) const fn new(metadata: Metadata, fetched: Timestamp) -> Self {
        Self { metadata, fetched }
    }
}

/// Finds a provider, and remembers it.
#[derive(Debug)]
pub(super) struct Discovery {
    settings: Arc<OidcProvider>,
    issuer: IssuerUrl,
    http: Http,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: Option<Arc<Known>>,
    failed: Option<(Timestamp, ProviderFault)>,
    flight: Option<Flight>,
}

/// A fetch that is under way.
type Flight = watch::Receiver<Option<Fetched>>;
type Fetched = Result<Arc<Known>, ProviderFault>;

impl Discovery {
    pub(super) fn new(settings: Arc<OidcProvider>, http: Http) -> Result<Self, SettingFault> {
        let issuer = IssuerUrl::new(settings.issuer.clone());
        Ok(Self {
            issuer: issuer.map_err(|_| SettingFault::Issuer)?,
            settings,
            http,
            state: Mutex::default(),
        })
    }

    /// What is known, fetched if it is not or no longer.
    pub(super) async fn known(self: &Arc<Self>, now: Timestamp) -> Fetched {
        let flight = {
            let mut state = self.lock();
            if let Some(known) = &state.known
                && is_within(GOOD_FOR, known.fetched, now)
            {
                return Ok(Arc::clone(known));
            }
            self.board(&mut state, now)?
        };
        arrival(flight).await
    }

    /// What is known by now, for a token whose key is not in `than`; `None` if no one may look
    /// again yet.
    pub(super) async fn newer(
        self: &Arc<Self>,
        than: &Arc<Known>,
        now: Timestamp,
    ) -> Result<Option<Arc<Known>>, ProviderFault> {
        let flight = {
            let mut state = self.lock();
            if let Some(known) = &state.known {
                if !Arc::ptr_eq(known, than) {
                    return Ok(Some(Arc::clone(known)));
                }
                if is_within(KEYS_AT_MOST_EVERY, known.fetched, now) {
                    return Ok(None);
                }
            }
            self.board(&mut state, now)?
        };
        arrival(flight).await.map(Some)
    }

    /// The fetch that is under way, or a new one.
    fn board(self: &Arc<Self>, state: &mut State, now: Timestamp) -> Result<Flight, ProviderFault> {
        if let Some(flight) = &state.flight
            && flight.has_changed().is_ok()
        {
            return Ok(flight.clone());
        }
        if let Some((at, fault)) = state.failed
            && is_within(FAILED_FOR, at, now)
        {
            return Err(fault);
        }
        let (land, flight) = watch::channel(None);
        state.flight = Some(flight.clone());
        let discovery = Arc::clone(self);
        tokio::spawn(async move {
            let fetched = discovery.fetch(now).await;
            discovery.remember(&fetched, now);
            land.send_replace(Some(fetched));
        });
        Ok(flight)
    }

    fn remember(&self, fetched: &Fetched, now: Timestamp) {
        let mut state = self.lock();
        state.flight = None;
        match fetched {
            Ok(known) => {
                state.known = Some(Arc::clone(known));
                state.failed = None;
            }
            Err(fault) => {
                let (issuer, why) = (self.settings.issuer.to_string(), fault.to_string());
                log::later(move || {
                    tracing::warn!(issuer, fault = why, "no metadata of a provider");
                });
                state.failed = Some((now, *fault));
            }
        }
    }

    async fn fetch(&self, now: Timestamp) -> Fetched {
        let metadata = Metadata::discover_async(self.issuer.clone(), &self.http).await;
        let metadata = metadata.map_err(|error| fault(&error))?;
        if !are_secure(&metadata, &self.settings) {
            return Err(ProviderFault::Insecure);
        }
        Ok(Arc::new(Known {
            metadata,
            fetched: now,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether all endpoints that are used may be reached.
pub(super) fn are_secure(metadata: &Metadata, settings: &OidcProvider) -> bool {
    let device = &metadata.additional_metadata().device_authorization_endpoint;
    let endpoints = [
        Some(metadata.authorization_endpoint().url()),
        Some(metadata.jwks_uri().url()),
        metadata.token_endpoint().map(|endpoint| endpoint.url()),
        device.as_ref().map(|endpoint| endpoint.url()),
    ];
    let may_reach = |url: &Url| settings.may_reach(url);
    endpoints.into_iter().flatten().all(may_reach)
}

/// What a fetch brings. One whose task is gone brings nothing.
async fn arrival(mut flight: Flight) -> Fetched {
    match flight.wait_for(Option::is_some).await {
        Ok(fetched) => fetched.clone().unwrap_or(Err(ProviderFault::Unreachable)),
        Err(_) => Err(ProviderFault::Unreachable),
    }
}

/// Whether a time is no longer ago than this. One that is yet to come is not: the clock was set.
fn is_within(span: Duration, then: Timestamp, now: Timestamp) -> bool {
    then <= now && now < then + span
}

fn fault(error: &DiscoveryError<ProviderFault>) -> ProviderFault {
    match error {
        DiscoveryError::Request(fault) => *fault,
        DiscoveryError::Response(..) => ProviderFault::Failed,
        DiscoveryError::Validation(_) => ProviderFault::OtherIssuer,
        DiscoveryError::Other(_) | DiscoveryError::Parse(_) | DiscoveryError::UrlParse(_) | _ => {
            ProviderFault::Malformed
        }
    }
}
