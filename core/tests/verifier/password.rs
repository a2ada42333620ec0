//! The verifier of passwords, through the suite.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mfagate::channel::message::{Answer, Challenge, SecretString};
use mfagate::factor::password::PasswordVerifier;
use mfagate::factor::{Context, MfaVerifier};
use mfagate::seal::SecretBytes;
use mfagate::testing::verifier::{VerifierHarness, conformance};

/// With little work for each of the many answers: what a hash costs changes no verdict.
fn verifier() -> PasswordVerifier {
    PasswordVerifier::new().danger_cost(64, 1, 1)
}

struct Heads(AtomicU8);

#[async_trait]
impl VerifierHarness for Heads {
    type Authenticator = String;

    fn verifier(&self) -> Arc<dyn MfaVerifier> {
        Arc::new(verifier())
    }

    fn shown(&self) -> String {
        format!("{:?}", verifier())
    }

    async fn enrol(&self) -> (String, SecretBytes) {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        let password = format!("correct horse battery staple {n}");
        let user = "alice".parse().expect("a name");
        let secret = verifier().secret(&user, &password).await;
        (password, secret.expect("it may be chosen"))
    }

    async fn answer(&self, password: &String, _: &Context<'_>, _: &Challenge) -> Answer {
        answer(password)
    }

    fn tampered(&self, right: &Answer) -> Vec<Answer> {
        let Answer::Password { password } = right else {
            panic!("a password is asked for")
        };
        let password = password.expose_secret();
        let upper = password.replacen('h', "H", 1);
        let longer = format!("{password} ");
        [&upper, &longer, &password[1..]].map(answer).into()
    }

    fn unfit(&self, _: &Challenge) -> Vec<Answer> {
        let code = "123456".parse().expect("digits");
        vec![Answer::Code { code }, answer("")]
    }

    fn private(&self, password: &String, _: &Answer) -> Vec<Vec<u8>> {
        vec![password.clone().into_bytes()]
    }

    fn is_bound(&self) -> bool {
        false
    }

    fn too_late_after(&self) -> Option<Duration> {
        None
    }
}

fn answer(password: &str) -> Answer {
    Answer::Password {
        password: SecretString::new(password.to_owned()).expect("short"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_of_passwords_conforms() {
    conformance(&Heads(AtomicU8::new(0))).await;
}
