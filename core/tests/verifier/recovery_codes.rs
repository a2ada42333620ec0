//! The verifier of recovery codes, through the suite.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::channel::message::{Answer, Challenge, SecretString};
use mfagate::factor::recovery_codes::{RecoveryCodeVerifier, RecoveryCodes};
use mfagate::factor::{Context, MfaVerifier};
use mfagate::seal::SecretBytes;
use mfagate::testing::verifier::{VerifierHarness, conformance};

struct Notes;

#[async_trait]
impl VerifierHarness for Notes {
    type Authenticator = String;

    fn verifier(&self) -> Arc<dyn MfaVerifier> {
        Arc::new(RecoveryCodeVerifier::new())
    }

    fn shown(&self) -> String {
        format!("{:?}", RecoveryCodeVerifier::new())
    }

    async fn enrol(&self) -> (String, SecretBytes) {
        let codes = RecoveryCodes::generate().expect("codes");
        let secret = codes.to_secret().await.expect("hashes");
        (codes.expose()[6].to_string(), secret)
    }

    async fn answer(&self, code: &String, _: &Context<'_>, _: &Challenge) -> Answer {
        answer(code)
    }

    fn tampered(&self, right: &Answer) -> Vec<Answer> {
        let code = code(right);
        let altered = |at: usize| {
            let other = if code[at..].starts_with('7') {
                "8"
            } else {
                "7"
            };
            let mut code = code.to_owned();
            code.replace_range(at..=at, other);
            answer(&code)
        };
        [0, 8, 18].map(altered).into()
    }

    fn unfit(&self, _: &Challenge) -> Vec<Answer> {
        let code = "123456".parse().expect("digits");
        vec![Answer::Code { code }, answer("0000-0000")]
    }

    fn private(&self, code: &String, _: &Answer) -> Vec<Vec<u8>> {
        vec![code.clone().into_bytes()]
    }

    fn is_bound(&self) -> bool {
        false
    }

    fn too_late_after(&self) -> Option<Duration> {
        None
    }
}

fn answer(code: &str) -> Answer {
    Answer::RecoveryCode {
        code: SecretString::new(code.to_owned()).expect("short"),
    }
}

fn code(answer: &Answer) -> &str {
    let Answer::RecoveryCode { code } = answer else {
        panic!("a recovery code is asked for")
    };
    code.expose_secret()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_of_recovery_codes_conforms() {
    conformance(&Notes).await;
}
