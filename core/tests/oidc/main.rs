//! Logins at real OpenID providers, which the tests start themselves: `oidc-provider`, and Keycloak
//! with its own one-time passwords. `cargo xtask test` installs them below `target/`; without them
//! these tests fail.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests stop at the first surprise"
)]

mod browser;
mod keycloak;
mod node;
mod process;

use std::time::Duration;

use mfagate::assurance::FactorKind;
use mfagate::channel::message::{Answer, Challenge, Redirect, SecretString};
use mfagate::factor::oidc::{Identity, OidcProvider, OidcVerifier};
use mfagate::factor::{
    AttemptContext, Context, IssuedChallenge, MfaVerifier, Proof, Verdict, VerifyError,
};
use mfagate::id::{AttemptId, FactorId, LocationId, UserId};
use mfagate::key::PublicKey;
use mfagate::policy::Failures;
use mfagate::prove::oidc::Login;
use mfagate::seal::{Sealed, SecretBytes};
use mfagate::store::{FactorRecord, FactorState};
use mfagate::time::{Clock, SystemClock, Timestamp};

/// Where browsers come back to; no one listens there, the tests' browser stops before it.
const BACK: &str = "http://127.0.0.1:49152/callback";

fn at(issuer: &str, client: &str) -> OidcProvider {
    let redirect = Redirect::Loopback {
        path: "/callback".to_owned(),
    };
    OidcProvider::dangerously_without_tls(issuer, client)
        .and_then(|provider| provider.redirect(redirect))
        .unwrap()
        .device_grant()
}

fn now() -> Timestamp {
    SystemClock::new().now().timestamp
}

/// A factor of someone's in an attempt.
struct Attempt {
    verifier: OidcVerifier,
    location: LocationId,
    user: UserId,
    id: AttemptId,
    factor: FactorRecord,
    secret: SecretBytes,
    state: Option<SecretBytes>,
    began: Timestamp,
}

impl Attempt {
    fn of(identity: &Identity, provider: OidcProvider) -> Self {
        let user: UserId = "alice".parse().unwrap();
        Self {
            verifier: OidcVerifier::new([provider]).unwrap(),
            location: "office".parse().unwrap(),
            user: user.clone(),
            id: AttemptId::generate().unwrap(),
            factor: FactorRecord {
                id: FactorId::generate().unwrap(),
                user,
                kind: FactorKind::OIDC,
                label: "work".parse().unwrap(),
                credential: Some(identity.credential()),
                sealed: Sealed::from_bytes(Vec::new()),
                state: FactorState::Active,
                last_counter: None,
                failures: Failures::default(),
            },
            secret: identity.to_secret(),
            state: None,
            began: now(),
        }
    }

    fn attempt(&self) -> AttemptContext<'_> {
        AttemptContext {
            location: &self.location,
            location_key: const { &PublicKey::from_bytes([4; 32]) },
            peer: const { &PublicKey::from_bytes([1; 32]) },
            user: &self.user,
            id: &self.id,
            now: now(),
            expires: self.began + Duration::from_secs(600),
        }
    }

    fn context(&self) -> Context<'_> {
        Context::new(self.attempt(), &self.factor, &self.secret).remembering(self.state.as_ref())
    }

    fn remember(&mut self, asked: IssuedChallenge) -> Challenge {
        self.state = asked.state;
        asked.challenge
    }

    /// Asks, and begins a login.
    async fn begin(&mut self) -> Login {
        let asked = self.verifier.challenge(&self.context()).await.unwrap();
        let challenge = self.remember(asked);
        Login::begin(&challenge, BACK).unwrap()
    }

    async fn judge(&self, answer: &Answer) -> Result<Verdict, VerifyError> {
        self.verifier.verify(&self.context(), answer).await
    }

    async fn verify(&self, answer: &Answer) -> Result<Proof, VerifyError> {
        match self.judge(answer).await? {
            Verdict::Proven(proof) => Ok(*proof),
            asked @ Verdict::Ask(_) => panic!("{asked:?}"),
        }
    }

    /// Asks for a login on another device: where the user is to go.
    async fn begin_on_another_device(&mut self) -> String {
        let asked = self.verifier.challenge(&self.context()).await.unwrap();
        self.remember(asked);
        let asked = self.judge(&Answer::BeginDeviceGrant {}).await.unwrap();
        let Verdict::Ask(asked) = asked else {
            panic!("{asked:?}")
        };
        let Challenge::DeviceGrant {
            verification_uri_complete,
            ..
        } = self.remember(asked)
        else {
            panic!("a device grant")
        };
        verification_uri_complete.unwrap()
    }

    /// Polls as the provider wants until there is a verdict.
    async fn poll(&mut self) -> Result<Proof, VerifyError> {
        for _ in 0..60 {
            match self.judge(&Answer::Poll {}).await {
                Ok(Verdict::Proven(proof)) => return Ok(*proof),
                Ok(Verdict::Ask(asked)) => {
                    self.remember(asked);
                }
                Err(VerifyError::Busy { retry }) => tokio::time::sleep(retry).await,
                Err(other) => return Err(other),
            }
        }
        panic!("the login does not come through")
    }
}

/// An answer with a code that the provider never gave.
fn with_another_code(answer: &Answer) -> Answer {
    let Answer::Redirected {
        redirect_uri,
        query,
    } = answer
    else {
        panic!("{answer:?}")
    };
    let pairs = url::form_urlencoded::parse(query.expose_secret().as_bytes());
    let changed = pairs.map(|(name, value)| match &*name {
        "code" => (name, format!("{value}x").into()),
        _ => (name, value),
    });
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(changed)
        .finish();
    Answer::Redirected {
        redirect_uri: redirect_uri.clone(),
        query: SecretString::new(query).unwrap(),
    }
}
