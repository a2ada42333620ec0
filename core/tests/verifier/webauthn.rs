//! The verifier of passkeys, through the suite.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::channel::message::{Answer, Challenge, SecretString};
use mfagate::factor::webauthn::{RelyingParty, WebAuthnVerifier};
use mfagate::factor::{AttemptContext, Context, Enrolling, MfaVerifier, Registration};
use mfagate::id::AttemptId;
use mfagate::key::PublicKey;
use mfagate::seal::SecretBytes;
use mfagate::testing::verifier::{VerifierHarness, conformance};
use mfagate::time::Timestamp;

#[path = "../support/passkey.rs"]
#[expect(dead_code, reason = "the verifier's own tests need more of it")]
mod passkey;

use passkey::{SoftwareKey, with_a_bit_changed};

const ORIGIN: &str = "https://gate.example.com";

/// Keys with a signature counter, or without.
struct Keys {
    verifier: Arc<WebAuthnVerifier>,
    are_counting: bool,
}

impl Keys {
    fn new(are_counting: bool) -> Self {
        let party = RelyingParty::new("gate.example.com").expect("a domain");
        Self {
            verifier: Arc::new(WebAuthnVerifier::new(party).expect("a relying party")),
            are_counting,
        }
    }
}

/// A key, and what it is asked for by.
struct Key {
    key: SoftwareKey,
    id: serde_json::Value,
}

#[async_trait]
impl VerifierHarness for Keys {
    type Authenticator = Key;

    fn verifier(&self) -> Arc<dyn MfaVerifier> {
        let verifier: Arc<WebAuthnVerifier> = Arc::clone(&self.verifier);
        verifier
    }

    async fn enrol(&self) -> (Key, SecretBytes) {
        let key = SoftwareKey::at(ORIGIN);
        let key = if self.are_counting {
            key.counting()
        } else {
            key
        };
        let (location, user) = ("here".parse(), "alice".parse());
        let attempt = AttemptContext {
            location: &location.expect("a name"),
            location_key: &PublicKey::from_bytes([1; 32]),
            peer: &PublicKey::from_bytes([2; 32]),
            user: &user.expect("a name"),
            id: &AttemptId::from_bytes([3; 32]),
            now: Timestamp::from_millis(1),
            expires: Timestamp::from_millis(2),
        };
        let enrolling = Enrolling::new(attempt, &[]);
        let asked = self
            .verifier
            .register(&enrolling)
            .await
            .expect("a question");
        let Challenge::RegisterWebAuthn { options } = &asked.challenge else {
            panic!("instead of a registration: {asked:?}")
        };
        let created = key.create(options).await.expect("a credential");
        let id: serde_json::Value = serde_json::from_str(&created).expect("JSON");
        let credential = SecretString::new(created).expect("not too long");
        let answer = Answer::RegisterWebAuthn { credential };
        let enrolling = enrolling.remembering(asked.state.as_ref());
        let enrolled = self.verifier.enrol(&enrolling, &answer).await;
        let Ok(Registration::Proven(credential)) = enrolled else {
            panic!("a new credential is enrolled: {enrolled:?}")
        };
        let id = id["id"].clone();
        (Key { key, id }, credential.secret)
    }

    async fn answer(&self, key: &Key, _: &Context<'_>, challenge: &Challenge) -> Answer {
        let Challenge::WebAuthn { options } = challenge else {
            panic!("a passkey is asked for an assertion: {challenge:?}")
        };
        // Whichever key is asked for: an honest browser would not ask this one for another's.
        let mut options: serde_json::Value = serde_json::from_str(options).expect("JSON");
        options["publicKey"]["allowCredentials"][0]["id"] = key.id.clone();
        let assertion = key.key.get(&options.to_string()).await;
        answer(assertion.expect("an assertion"))
    }

    fn tampered(&self, right: &Answer) -> Vec<Answer> {
        let right = text(right);
        let mut tampered = Vec::new();
        for member in ["clientDataJSON", "authenticatorData", "signature"] {
            for bit in (0..passkey::bits(right, member)).step_by(37) {
                tampered.push(answer(with_a_bit_changed(right, member, bit)));
            }
        }
        tampered
    }

    fn unfit(&self, _: &Challenge) -> Vec<Answer> {
        let code = "123456".parse().expect("digits");
        vec![
            Answer::Code { code },
            answer(String::new()),
            answer("{}".to_owned()),
        ]
    }

    /// Nothing that a gate has of a passkey is private but the record as a whole.
    fn private(&self, _: &Key, right: &Answer) -> Vec<Vec<u8>> {
        vec![text(right).as_bytes().to_vec()]
    }

    fn is_bound(&self) -> bool {
        true
    }

    fn too_late_after(&self) -> Option<Duration> {
        None
    }
}

fn answer(credential: String) -> Answer {
    let credential = SecretString::new(credential).expect("not too long");
    Answer::WebAuthn { credential }
}

fn text(answer: &Answer) -> &str {
    let Answer::WebAuthn { credential } = answer else {
        panic!("a passkey answers with an assertion")
    };
    credential.expose_secret()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_of_passkeys_conforms() {
    conformance(&Keys::new(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_of_keys_that_count_conforms() {
    conformance(&Keys::new(true)).await;
}
