//! Device keys: enrolled by a client with a token, and signing in with them.

use std::sync::Arc;

use async_trait::async_trait;
use mfagate::assurance::FactorKind;
use mfagate::channel::message::{Answer, Denied, DeniedReason};
use mfagate::client::{AuthChallenge, Prompt, PromptFailed, Response};
use mfagate::factor::device_key::DeviceKeyVerifier;
use mfagate::gate::{GateConfig, Scope};
use mfagate::policy::Step;
use mfagate::prove::device_key::{DeviceKeyProver, SoftwareSigner};
use mfagate::signature::Algorithm;
use mfagate::time::{Clock, Timestamp};

use crate::office::{Device, Office};

fn with_device_keys(config: &mut GateConfig) {
    config.verifiers.push(Arc::new(DeviceKeyVerifier::new()));
    config.policy.steps = vec![Step::AnyOf(vec![FactorKind::DEVICE_KEY])];
}

/// A laptop that signs: with its key, or what it is told to answer first.
struct Signing {
    prover: DeviceKeyProver,
    now: Timestamp,
    first: Vec<Answer>,
    given: Vec<Answer>,
    denied: Vec<Denied>,
}

impl Signing {
    fn with(signer: &Arc<SoftwareSigner>, office: &Office, device: &Device) -> Self {
        Self {
            prover: DeviceKeyProver::new(signer.clone(), office.gate().public_key(), device.key()),
            now: office.clock.now().timestamp,
            first: Vec::new(),
            given: Vec::new(),
            denied: Vec::new(),
        }
    }
}

#[async_trait]
impl Prompt for Signing {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        self.denied.extend(question.denied.clone());
        let answer = match self.first.pop() {
            Some(answer) => answer,
            None => {
                let (attempt, challenge) = (&question.attempt, &question.challenge);
                let answer = self.prover.answer(attempt, challenge, self.now).await;
                answer.unwrap()
            }
        };
        self.given.push(answer.clone());
        Ok(Some(answer.into()))
    }
}

fn signer() -> Arc<SoftwareSigner> {
    Arc::new(SoftwareSigner::generate(Algorithm::Es256).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_enrols_signs_in_and_ends_with_its_removal() {
    let office = Office::open_configured(with_device_keys).await;
    let laptop = office.device("10.9.0.2/32").await;
    let (client, signer) = (laptop.client(), signer());
    let mut signing = Signing::with(&signer, &office, &laptop);

    let enrolled = client
        .enrol(
            office.new_factor(FactorKind::DEVICE_KEY, "laptop").await,
            &mut signing,
        )
        .await;
    let factor = enrolled.unwrap();
    assert!(laptop.reach().await.is_err(), "enrolled is not admitted");
    client.connect(&mut signing).await.unwrap();
    assert!(laptop.reach().await.is_ok());

    let removed = office
        .registrar
        .danger_remove_last_factor(&office.user, factor);
    removed.await.unwrap();
    office.until(|gate| gate.sessions().is_empty()).await;
    assert!(laptop.client().connect(&mut signing).await.is_err());
    office.verify_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_attempts_signature_is_wrong_and_the_next_admits() {
    let office = Office::open_configured(with_device_keys).await;
    let laptop = office.device("10.9.0.2/32").await;
    let (client, signer) = (laptop.client(), signer());
    let mut signing = Signing::with(&signer, &office, &laptop);
    client
        .enrol(
            office.new_factor(FactorKind::DEVICE_KEY, "laptop").await,
            &mut signing,
        )
        .await
        .unwrap();
    client.connect(&mut signing).await.unwrap();
    let used = signing.given.pop().unwrap();
    office.gate().revoke(Scope::All).await.unwrap();

    let mut again = Signing::with(&signer, &office, &laptop);
    again.first.push(used);
    laptop.client().connect(&mut again).await.unwrap();
    let reasons: Vec<_> = again.denied.iter().map(|denied| denied.reason).collect();
    assert_eq!(reasons, [DeniedReason::Wrong]);
    assert_eq!(again.given.len(), 2);
    office.verify_audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_enrolled_once() {
    let office = Office::open_configured(with_device_keys).await;
    let laptop = office.device("10.9.0.2/32").await;
    let (client, signer) = (laptop.client(), signer());
    let mut signing = Signing::with(&signer, &office, &laptop);
    client
        .enrol(
            office.new_factor(FactorKind::DEVICE_KEY, "laptop").await,
            &mut signing,
        )
        .await
        .unwrap();
    let again = client
        .enrol(
            office.new_factor(FactorKind::DEVICE_KEY, "laptop").await,
            &mut signing,
        )
        .await;
    assert!(again.is_err(), "{again:?}");
    let factors = office.registrar.factors(&office.user).await.unwrap();
    let keys = factors.iter().filter(|f| f.kind == FactorKind::DEVICE_KEY);
    assert_eq!(keys.count(), 1);
}
