//! Passkeys: enrolled by a client with a token, and signing in with them.

use std::sync::Arc;

use async_trait::async_trait;
use mfagate::assurance::FactorKind;
use mfagate::channel::message::{Answer, Challenge, Denied, DeniedReason};
use mfagate::client::{AuthChallenge, Prompt, PromptFailed, Response};
use mfagate::factor::webauthn::{RelyingParty, WebAuthnVerifier};
use mfagate::gate::{GateConfig, Scope};
use mfagate::policy::Step;
use mfagate::prove::webauthn;

use crate::office::Office;

#[path = "../support/passkey.rs"]
#[expect(dead_code, reason = "the verifier's own tests need more of it")]
pub(crate) mod passkey;

use passkey::{SoftwareKey, with_a_bit_changed};

const ORIGIN: &str = "https://gate.example.com";

fn with_passkeys(config: &mut GateConfig) {
    let party = RelyingParty::new("gate.example.com").unwrap();
    let verifier = WebAuthnVerifier::new(party).unwrap();
    config.verifiers.push(Arc::new(verifier));
    config.policy.steps = vec![Step::AnyOf(vec![FactorKind::WEBAUTHN])];
}

/// A browser with a key: it answers with the key, or with what it is told to first.
struct Browser {
    key: SoftwareKey,
    first: Vec<String>,
    given: Vec<String>,
    denied: Vec<Denied>,
}

impl Browser {
    fn with(key: SoftwareKey) -> Self {
        Self {
            key,
            first: Vec::new(),
            given: Vec::new(),
            denied: Vec::new(),
        }
    }

    fn reasons(&self) -> Vec<DeniedReason> {
        self.denied.iter().map(|denied| denied.reason).collect()
    }
}

#[async_trait]
impl Prompt for Browser {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        self.denied.extend(question.denied.clone());
        let answer = if let Challenge::RegisterWebAuthn { options } = &question.challenge {
            webauthn::created(self.key.create(options).await.map_err(PromptFailed::new)?)
        } else if let Challenge::WebAuthn { options } = &question.challenge {
            let assertion = match self.first.pop() {
                Some(assertion) => assertion,
                None => self.key.get(options).await.map_err(PromptFailed::new)?,
            };
            self.given.push(assertion.clone());
            webauthn::asserted(assertion)
        } else {
            panic!("{:?}", question.challenge)
        };
        Ok(answer.map(Answer::into))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_enrols_signs_in_and_ends_with_its_removal() {
    let office = Office::open_configured(with_passkeys).await;
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    let mut browser = Browser::with(SoftwareKey::at(ORIGIN));

    let enrolled = client
        .enrol(
            office.new_factor(FactorKind::WEBAUTHN, "key").await,
            &mut browser,
        )
        .await;
    let factor = enrolled.unwrap();
    assert!(laptop.reach().await.is_err(), "enrolled is not admitted");
    client.connect(&mut browser).await.unwrap();
    assert!(laptop.reach().await.is_ok());

    let removed = office
        .registrar
        .danger_remove_last_factor(&office.user, factor);
    removed.await.unwrap();
    office.until(|gate| gate.sessions().is_empty()).await;
    assert!(laptop.client().connect(&mut browser).await.is_err());
    office.verify_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_or_altered_answer_is_wrong_and_the_next_admits() {
    let office = Office::open_configured(with_passkeys).await;
    let laptop = office.device("10.9.0.2/32").await;
    let mut browser = Browser::with(SoftwareKey::at(ORIGIN));
    let client = laptop.client();
    client
        .enrol(
            office.new_factor(FactorKind::WEBAUTHN, "key").await,
            &mut browser,
        )
        .await
        .unwrap();
    client.connect(&mut browser).await.unwrap();
    let used = browser.given.pop().unwrap();
    office.gate().revoke(Scope::All).await.unwrap();

    browser.first = vec![with_a_bit_changed(&used, "signature", 70), used];
    laptop.client().connect(&mut browser).await.unwrap();
    assert_eq!(
        browser.reasons(),
        [DeniedReason::Wrong, DeniedReason::Wrong]
    );
    office.verify_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_counter_is_kept_with_the_admission() {
    let office = Office::open_configured(with_passkeys).await;
    let laptop = office.device("10.9.0.2/32").await;
    let mut browser = Browser::with(SoftwareKey::at(ORIGIN).counting());
    let client = laptop.client();
    client
        .enrol(
            office.new_factor(FactorKind::WEBAUTHN, "key").await,
            &mut browser,
        )
        .await
        .unwrap();
    let sealed = async || {
        let factors = office.registrar.factors(&office.user).await.unwrap();
        let passkey = factors.into_iter().find(|f| f.kind == FactorKind::WEBAUTHN);
        passkey.unwrap().sealed
    };
    let mut before = sealed().await;
    for _ in 0..3 {
        client.connect(&mut browser).await.unwrap();
        let after = sealed().await;
        assert_ne!(after, before);
        before = after;
    }
    assert!(browser.denied.is_empty(), "{:?}", browser.denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_enrolled_once() {
    let office = Office::open_configured(with_passkeys).await;
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    let mut browser = Browser::with(SoftwareKey::at(ORIGIN));
    client
        .enrol(
            office.new_factor(FactorKind::WEBAUTHN, "key").await,
            &mut browser,
        )
        .await
        .unwrap();
    // The key sees in the options that it is known.
    let again = client
        .enrol(
            office.new_factor(FactorKind::WEBAUTHN, "key").await,
            &mut browser,
        )
        .await;
    assert!(again.is_err(), "{again:?}");
    let factors = office.registrar.factors(&office.user).await.unwrap();
    let passkeys = factors.iter().filter(|f| f.kind == FactorKind::WEBAUTHN);
    assert_eq!(passkeys.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_gets_nobody_in() {
    let office = Office::open_configured(with_passkeys).await;
    let laptop = office.device("10.9.0.2/32").await;
    let client = laptop.client();
    let mut browser = Browser::with(SoftwareKey::at(ORIGIN));
    client
        .enrol(
            office.new_factor(FactorKind::WEBAUTHN, "key").await,
            &mut browser,
        )
        .await
        .unwrap();
    // A browser that believes a look-alike: the key itself won't sign for another site.
    let mut phished = Browser::with(SoftwareKey::at("https://gate.example.org"));
    assert!(client.connect(&mut phished).await.is_err());
    assert!(phished.given.is_empty());
    assert!(office.gate().sessions().is_empty());
}
