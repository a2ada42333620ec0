//! Logins at an OpenID provider: enrolled by a client, bound by an administrator, and signing in.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::assurance::FactorKind;
use mfagate::audit::{AuditKind, FailureReason};
use mfagate::channel::message::{Answer, Challenge, Denied, DeniedReason, Redirect, SecretString};
use mfagate::client::{AuthChallenge, Prompt, PromptFailed, Response};
use mfagate::code::ErrorCode;
use mfagate::factor::oidc::{Identity, OidcProvider, OidcVerifier};
use mfagate::gate::{GateConfig, Scope};
use mfagate::id::UserId;
use mfagate::policy::Step;
use mfagate::prove::oidc::{DeviceLogin, Login, Loopback, bring_token};
use mfagate::time::{Clock, SystemClock};

use crate::office::Office;

#[path = "../support/oidc_provider.rs"]
#[expect(dead_code, reason = "the verifier's own tests need more of it")]
pub(crate) mod oidc_provider;

use oidc_provider::{CLIENT, HostileProvider};

/// An office whose users log in at a provider.
async fn open() -> (Arc<HostileProvider>, Office) {
    let now = SystemClock::new().now().timestamp.as_secs();
    let provider = Arc::new(HostileProvider::start(now).await);
    let issuer = provider.issuer();
    let office = Office::open_configured(move |config| with_provider(config, &issuer)).await;
    provider.acts().now = office.clock.now().timestamp.as_secs();
    (provider, office)
}

fn with_provider(config: &mut GateConfig, issuer: &str) {
    let redirect = Redirect::Loopback {
        path: "/callback".to_owned(),
    };
    let provider = OidcProvider::dangerously_without_tls(issuer, CLIENT)
        .unwrap()
        .redirect(redirect)
        .unwrap()
        .device_grant()
        .workloads();
    let verifier = OidcVerifier::new([provider]).unwrap();
    config.verifiers.push(Arc::new(verifier));
    config.policy.steps = vec![Step::AnyOf(vec![FactorKind::OIDC])];
}

/// A client that listens, with a user who logs in, or with what it is told to answer first.
struct Browser {
    provider: Arc<HostileProvider>,
    first: Vec<Answer>,
    given: Vec<Answer>,
    denied: Vec<Denied>,
}

impl Browser {
    fn at(provider: &Arc<HostileProvider>) -> Self {
        Self {
            provider: Arc::clone(provider),
            first: Vec::new(),
            given: Vec::new(),
            denied: Vec::new(),
        }
    }

    fn reasons(&self) -> Vec<DeniedReason> {
        self.denied.iter().map(|denied| denied.reason).collect()
    }

    async fn log_in(&self, challenge: &Challenge) -> Answer {
        let loopback = Loopback::listen(challenge).await.unwrap();
        let login = Login::begin(challenge, loopback.redirect_uri()).unwrap();
        let query = self.provider.browse(login.url()).await;
        let back = format!("{}?{query}", loopback.redirect_uri());
        let (answer, page) = tokio::join!(
            loopback.wait(&login, Duration::from_secs(60)),
            reqwest::get(back)
        );
        assert_eq!(page.unwrap().status(), 200);
        answer.unwrap()
    }
}

#[async_trait]
impl Prompt for Browser {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        self.denied.extend(question.denied.clone());
        if self.denied.len() > 2 {
            return Ok(None);
        }
        let answer = match self.first.pop() {
            Some(answer) => answer,
            None => self.log_in(&question.challenge).await,
        };
        self.given.push(answer.clone());
        Ok(Some(answer.into()))
    }
}

async fn bind(office: &Office, identity: &Identity) {
    let label = "work".parse().unwrap();
    let bound = office
        .registrar
        .bind_identity(&office.user, &label, identity);
    bound.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_enrols_signs_in_and_ends_with_its_removal() {
    let (provider, office) = open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    let mut browser = Browser::at(&provider);

    let enrolled = client
        .enrol(
            office.new_factor(FactorKind::OIDC, "work").await,
            &mut browser,
        )
        .await;
    let factor = enrolled.unwrap();
    assert!(laptop.reach().await.is_err(), "enrolled is not admitted");
    client.connect(&mut browser).await.unwrap();
    assert!(laptop.reach().await.is_ok());

    let again = client
        .enrol(
            office.new_factor(FactorKind::OIDC, "work").await,
            &mut browser,
        )
        .await;
    assert!(again.is_err(), "{again:?}");
    let removed = office
        .registrar
        .danger_remove_last_factor(&office.user, factor);
    removed.await.unwrap();
    office.until(|gate| gate.sessions().is_empty()).await;
    assert!(laptop.client().connect(&mut browser).await.is_err());
    office.verify_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_or_foreign_login_is_wrong_and_the_next_one_admits() {
    let (provider, office) = open().await;
    let laptop = office.device("10.9.0.2/32").await;
    bind(
        &office,
        &Identity::subject(&provider.issuer(), "alice-at-provider"),
    )
    .await;
    let mut browser = Browser::at(&provider);
    let client = laptop.client();
    client.connect(&mut browser).await.unwrap();
    let used = browser.given.pop().unwrap();
    office.gate().revoke(Scope::All).await.unwrap();

    browser.first = vec![used];
    laptop.client().connect(&mut browser).await.unwrap();
    assert_eq!(browser.reasons(), [DeniedReason::Wrong]);
    office.gate().revoke(Scope::All).await.unwrap();

    provider.acts().claims = serde_json::json!({ "sub": "mallory-at-provider" });
    let mut other = Browser::at(&provider);
    let admitted = laptop.client().connect(&mut other).await;
    assert!(admitted.is_err(), "{admitted:?}");
    assert!(other.reasons().contains(&DeniedReason::Wrong));
    assert!(office.gate().sessions().is_empty());
    office.verify_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_binds_until_the_first_login_pins_its_subject() {
    let (provider, office) = open().await;
    let laptop = office.device("10.9.0.2/32").await;
    bind(
        &office,
        &Identity::email(&provider.issuer(), "alice@example.com"),
    )
    .await;
    let verified = serde_json::json!({ "email": "alice@example.com", "email_verified": true });
    provider.acts().lies = verified;
    let mut browser = Browser::at(&provider);
    let client = laptop.client();
    client.connect(&mut browser).await.unwrap();

    provider.acts().lies = serde_json::json!({ "email": "new@example.com" });
    client.connect(&mut browser).await.unwrap();
    assert!(browser.denied.is_empty(), "{:?}", browser.denied);
    assert!(laptop.reach().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_was_pinned_is_nobody_elses() {
    let (provider, office) = open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let issuer = provider.issuer();
    bind(&office, &Identity::email(&issuer, "alice@example.com")).await;
    let lies = |email| serde_json::json!({ "email": email, "email_verified": true });
    provider.acts().lies = lies("alice@example.com");
    let client = laptop.client();
    client.connect(&mut Browser::at(&provider)).await.unwrap();

    // The address is free, and she has another now, which an administrator takes for Bob's.
    let bob: UserId = "bob".parse().unwrap();
    office.registrar.put_user(&bob, true).await.unwrap();
    let subject = Identity::subject(&issuer, "alice-at-provider");
    let bound = office
        .registrar
        .bind_identity(&bob, &"work".parse().unwrap(), &subject)
        .await;
    assert!(
        matches!(&bound, Err(error) if error.code() == "enrol-credential-taken"),
        "{bound:?}"
    );
    let address = Identity::email(&issuer, "bob@example.com");
    let bound = office
        .registrar
        .bind_identity(&bob, &"work".parse().unwrap(), &address)
        .await;
    let factor = bound.unwrap();
    provider.acts().lies = lies("bob@example.com");
    let his = office.device_of(&bob, "10.9.0.3/32").await;
    let mut browser = Browser::at(&provider);
    let admitted = his.client().connect(&mut browser).await;
    assert!(admitted.is_err(), "{admitted:?}");
    assert_eq!(browser.reasons(), [DeniedReason::Wrong; 3]);
    assert!(his.reach().await.is_err());

    let reason = FailureReason::CredentialTaken;
    let denied = office.audit().await.into_iter().filter(|record| {
        record.event.kind == AuditKind::Denied { reason } && record.event.factor == Some(factor)
    });
    assert_eq!(denied.count(), 3);
    let factors = office.registrar.factors(&bob).await.unwrap();
    assert_eq!(factors[0].failures.count, 3);
    assert_eq!(factors[0].credential, Some(address.credential()));
    office.verify_audit().await;
}

/// A client without a browser: a code for another device, or a token of its own.
struct Machine(Arc<HostileProvider>);

#[async_trait]
impl mfagate::prove::oidc::TokenSource for Machine {
    async fn token(
        &self,
        wanted: &mfagate::channel::message::Workload,
    ) -> Result<SecretString, mfagate::prove::oidc::TokenSourceError> {
        let token = self.0.workload_token(&wanted.audience, Some(&wanted.nonce));
        SecretString::new(token).ok_or_else(|| "too long".into())
    }
}

#[async_trait]
impl Prompt for Machine {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        let challenge = &question.challenge;
        let answer = if matches!(
            challenge,
            Challenge::OpenId {
                workload: Some(_),
                ..
            }
        ) {
            bring_token(challenge, self).await.unwrap()
        } else if let Ok(shown) = DeviceLogin::read(challenge) {
            assert!(shown.to_string().contains("WDJB-MJHT"), "{shown}");
            Answer::Poll {}
        } else {
            DeviceLogin::begin(challenge).unwrap()
        };
        Ok(Some(answer.into()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_brings_a_token_and_its_lease_ends_with_it() {
    let (provider, office) = open().await;
    let laptop = office.device("10.9.0.2/32").await;
    let identity = Identity::workload(&provider.issuer(), "alice-at-provider");
    let label = "robot".parse().unwrap();
    let bound = office
        .registrar
        .bind_identity(&office.user, &label, &identity);
    bound.await.unwrap();
    let client = laptop.client();
    let mut machine = Machine(Arc::clone(&provider));
    client.connect(&mut machine).await.unwrap();
    assert!(laptop.reach().await.is_ok());
    // The token is good for five minutes.
    office.clock.advance(Duration::from_secs(301));
    office.until(|gate| gate.sessions().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_comes_too_soon_is_busy_and_does_not_count() {
    let (provider, office) = open().await;
    let laptop = office.device("10.9.0.2/32").await;
    bind(
        &office,
        &Identity::subject(&provider.issuer(), "alice-at-provider"),
    )
    .await;
    let mut patient = Patient {
        machine: Machine(Arc::clone(&provider)),
        clock: office.clock.clone(),
        denied: Vec::new(),
    };
    let client = laptop.client();
    client.connect(&mut patient).await.unwrap();
    assert_eq!(
        patient.denied,
        [DeniedReason::Busy],
        "the first poll came at once"
    );
    assert!(laptop.reach().await.is_ok());
}

/// Polls at once, and then lets the time pass that it is told to wait.
struct Patient {
    machine: Machine,
    clock: mfagate::testing::SimClock,
    denied: Vec<DeniedReason>,
}

#[async_trait]
impl Prompt for Patient {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        if let Some(denied) = &question.denied {
            self.denied.push(denied.reason);
            self.clock.advance(Duration::from_secs(5));
        }
        self.machine.answer(question).await
    }
}
