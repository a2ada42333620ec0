//! Recovery codes and passwords: enrolled by a client with a token, and signing in with them.

use std::sync::Arc;

use async_trait::async_trait;
use mfagate::assurance::FactorKind;
use mfagate::channel::message::{Answer, Challenge, Denied, DeniedReason, Hidden};
use mfagate::client::{Question, Response};
use mfagate::factor::password::PasswordVerifier;
use mfagate::factor::recovery_codes::RecoveryCodeVerifier;
use mfagate::gate::Scope;
use mfagate::policy::Step;
use mfagate::runtime::{GateConfig, Prompt};

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

/// Somebody who keeps codes as they are shown, and types what they are told to.
#[derive(Default)]
struct Person {
    codes: Vec<Hidden>,
    next: usize,
    password: Vec<&'static str>,
    denied: Vec<Denied>,
}

#[async_trait]
impl Prompt for Person {
    async fn answer(&mut self, question: &Question) -> Option<Response> {
        self.denied.extend(question.denied.clone());
        if let Challenge::KeepRecoveryCodes { codes } = &question.challenge {
            self.codes.clone_from(codes);
            let code = self.codes[9].clone();
            return Some(Answer::RecoveryCode { code }.into());
        }
        if matches!(question.challenge, Challenge::RecoveryCode { .. }) {
            let code = self.codes[self.next].clone();
            self.next += 1;
            return Some(Answer::RecoveryCode { code }.into());
        }
        let text = self.password.pop().unwrap_or(PASSWORD).to_owned();
        let password = Hidden::new(text).unwrap();
        Some(Answer::Password { password }.into())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_and_a_recovery_code_sign_in_and_each_code_does_so_once() {
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
