//! Recovery codes and passwords: enrolled by a client with a token, and signing in with them.

use std::sync::Arc;

use async_trait::async_trait;
use mfagate::assurance::FactorKind;
use mfagate::channel::message::{Answer, Challenge, Denied, DeniedReason, SecretString};
use mfagate::client::{AuthChallenge, Prompt, PromptFailed, Response};
use mfagate::factor::password::PasswordVerifier;
use mfagate::factor::recovery_codes::RecoveryCodeVerifier;
use mfagate::gate::{GateConfig, Scope};
use mfagate::policy::Step;

use crate::office::Office;

const PASSWORD: &str = "correct horse battery staple";

fn with_a_password_and_a_code(config: &mut GateConfig) {
    let (password, codes) = (PasswordVerifier::new(), RecoveryCodeVerifier::new());
    config.verifiers.push(Arc::new(password));
    config.verifiers.push(Arc::new(codes));
    config.policy.steps = [FactorKind::PASSWORD, FactorKind::RECOVERY_CODES]
        .map(|kind| Step::AnyOf(vec![kind]))
        .into();
}

/// Someone who keeps codes as they are shown, and types what they are told to.
#[derive(Default)]
struct Person {
    codes: Vec<SecretString>,
    next: usize,
    password: Vec<&'static str>,
    denied: Vec<Denied>,
}

#[async_trait]
impl Prompt for Person {
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        self.denied.extend(question.denied.clone());
        if let Challenge::KeepRecoveryCodes { codes } = &question.challenge {
            self.codes.clone_from(codes);
            let code = self.codes[9].clone();
            return Ok(Some(Answer::RecoveryCode { code }.into()));
        }
        if matches!(question.challenge, Challenge::RecoveryCode { .. }) {
            let code = self.codes[self.next].clone();
            self.next += 1;
            return Ok(Some(Answer::RecoveryCode { code }.into()));
        }
        let text = self.password.pop().unwrap_or(PASSWORD).to_owned();
        let password = SecretString::new(text).unwrap();
        Ok(Some(Answer::Password { password }.into()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_code_signs_in_once_beside_a_password() {
    let office = Office::open_configured(with_a_password_and_a_code).await;
    let laptop = office.device("10.9.0.2/32").await;
    let (client, mut person) = (laptop.client(), Person::default());
    for kind in [FactorKind::PASSWORD, FactorKind::RECOVERY_CODES] {
        let factor = office.new_factor(kind, "mine").await;
        client.enrol(factor, &mut person).await.unwrap();
    }

    person.password.push("another password");
    client.connect(&mut person).await.unwrap();
    assert!(laptop.reach().await.is_ok());
    let reasons: Vec<_> = person.denied.iter().map(|denied| denied.reason).collect();
    assert_eq!(reasons, [DeniedReason::Wrong]);

    // The first code is spent; the second is not.
    office.gate().revoke(Scope::All).await.unwrap();
    person.next = 0;
    person.denied.clear();
    laptop.client().connect(&mut person).await.unwrap();
    let reasons: Vec<_> = person.denied.iter().map(|denied| denied.reason).collect();
    assert_eq!(reasons, [DeniedReason::Replayed]);
    assert_eq!(person.next, 2);
    office.verify_audit().await;
}
