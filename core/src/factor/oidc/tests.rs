//! Against a provider that tells the truth until a test has it lie.

mod browser;
mod config;
mod device;
mod discovery;
mod enrolment;
mod seeds;
mod token;
mod workload;

use serde_json::json;

use super::*;
use crate::channel::message::{Challenge, Redirect, SecretString};
use crate::factor::harness::{Harness, NOW};
use crate::id::AttemptId;
use crate::oidc_provider::{CLIENT, HostileProvider, Instead, Signing};

/// Where the browser comes back to.
const BACK: &str = "http://127.0.0.1:49152/callback";

/// A user of a provider, before a verifier.
struct ProviderHarness {
    provider: HostileProvider,
    verifier: OidcVerifier,
    harness: Harness,
}

impl ProviderHarness {
    async fn open() -> Self {
        Self::open_as(Ok).await
    }

    /// With a provider that is configured like this.
    async fn open_as(
        configure: impl FnOnce(OidcProvider) -> Result<OidcProvider, InvalidProvider>,
    ) -> Self {
        let provider = HostileProvider::start(NOW.as_secs()).await;
        let config = configure(basic(&provider)).unwrap();
        let identity = Identity::subject(&provider.issuer(), "alice-at-provider");
        Self {
            verifier: OidcVerifier::new([config]).unwrap(),
            harness: Harness::new(FactorKind::OIDC, identity.to_secret()),
            provider,
        }
    }

    async fn try_ask(&mut self) -> Result<Challenge, VerifyError> {
        let asked = self.verifier.challenge(&self.harness.context()).await?;
        self.harness.state = asked.state;
        Ok(asked.challenge)
    }

    async fn ask(&mut self) -> Challenge {
        self.try_ask().await.unwrap()
    }

    /// Asks, and logs in with a browser that comes back there.
    async fn log_in_at(&mut self, redirect_uri: &str) -> Answer {
        let challenge = self.ask().await;
        let query = self
            .provider
            .browse(&opened(&challenge, redirect_uri))
            .await;
        redirected(redirect_uri, &query)
    }

    async fn log_in(&mut self) -> Answer {
        self.log_in_at(BACK).await
    }

    async fn judge(&self, answer: &Answer) -> Result<Verdict, VerifyError> {
        self.verifier.verify(&self.harness.context(), answer).await
    }

    async fn verify(&self, answer: &Answer) -> Result<Proof, VerifyError> {
        match self.judge(answer).await? {
            Verdict::Proven(proof) => Ok(*proof),
            asked @ Verdict::Ask(_) => panic!("{asked:?}"),
        }
    }

    /// Asks, logs in, and has it judged.
    async fn admit(&mut self) -> Result<Proof, VerifyError> {
        let answer = self.log_in().await;
        self.verify(&answer).await
    }
}

fn basic(provider: &HostileProvider) -> OidcProvider {
    let redirect = Redirect::Loopback {
        path: "/callback".to_owned(),
    };
    OidcProvider::dangerously_without_tls(&provider.issuer(), CLIENT)
        .unwrap()
        .redirect(redirect)
        .unwrap()
        .device_grant()
        .workloads()
}

/// What a client opens.
fn opened(challenge: &Challenge, redirect_uri: &str) -> String {
    let Challenge::OpenId {
        authorize: Some(url),
        ..
    } = challenge
    else {
        panic!("{challenge:?}")
    };
    let mut url = url::Url::parse(url).unwrap();
    url.query_pairs_mut()
        .append_pair("redirect_uri", redirect_uri);
    url.into()
}

fn redirected(redirect_uri: &str, query: &str) -> Answer {
    Answer::Redirected {
        redirect_uri: redirect_uri.to_owned(),
        query: SecretString::new(query.to_owned()).unwrap(),
    }
}

/// What the provider is said to have done.
fn provider_fault(error: &VerifyError) -> Option<ProviderFault> {
    let VerifyError::Backend(error) = error else {
        return None;
    };
    match &error.downcast_ref::<OidcError>()?.0 {
        OidcFault::Provider { fault, .. } => Some(*fault),
        OidcFault::UnknownIssuer { .. }
        | OidcFault::Unreadable
        | OidcFault::Token(_)
        | OidcFault::Randomness => None,
    }
}
