//! The verifier: which signatures it takes, which keys it enrols, and what it says of the others.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use data_encoding::BASE64;

use super::*;
use crate::factor::harness::{Harness, NOW};
use crate::id::AttemptId;
use crate::key::PublicKey;
use crate::prove::device_key::{DeviceKeyProver, Signer, SoftwareSigner};
use crate::signature::Algorithm;

/// A peer with a device key, and a verifier.
struct Laptop {
    verifier: DeviceKeyVerifier,
    signer: Arc<SoftwareSigner>,
    harness: Harness,
}

impl Deref for Laptop {
    type Target = Harness;

    fn deref(&self) -> &Harness {
        &self.harness
    }
}

impl DerefMut for Laptop {
    fn deref_mut(&mut self) -> &mut Harness {
        &mut self.harness
    }
}

impl Laptop {
    fn new(algorithm: Algorithm, protection: Protection) -> Self {
        let signer = SoftwareSigner::generate(algorithm).unwrap();
        let key = DeviceKey::new(signer.public_key().clone(), protection);
        Self {
            verifier: DeviceKeyVerifier::new(),
            signer: Arc::new(signer),
            harness: Harness::new(FactorKind::DEVICE_KEY, key.to_secret()),
        }
    }

    /// Has the question asked, and remembers what the verifier wants remembered.
    async fn ask(&mut self) -> Challenge {
        let asked = self.verifier.challenge(&self.context()).await.unwrap();
        self.state = asked.state;
        asked.challenge
    }

    async fn ask_to_register(&mut self) -> Challenge {
        let asked = self.verifier.register(&self.enrolling()).await.unwrap();
        self.state = asked.state;
        asked.challenge
    }

    /// What the laptop's own client answers.
    async fn answer(&self, challenge: &Challenge) -> Answer {
        let prover = DeviceKeyProver::new(self.signer.clone(), self.location_key, self.peer);
        prover
            .answer(&self.attempt, challenge, self.now)
            .await
            .unwrap()
    }

    async fn verify(&self, answer: &Answer) -> Result<Proof, VerifyError> {
        match self.verifier.verify(&self.context(), answer).await? {
            Verdict::Proven(proof) => Ok(*proof),
            Verdict::Ask(asked) => panic!("asks again: {asked:?}"),
        }
    }

    async fn enrol(&self, answer: &Answer) -> Result<Credential, VerifyError> {
        match self.verifier.enrol(&self.enrolling(), answer).await? {
            Registration::Proven(credential) => Ok(credential),
            Registration::Ask(asked) => panic!("asks again: {asked:?}"),
        }
    }
}

fn laptop() -> Laptop {
    Laptop::new(Algorithm::Es256, Protection::HardwareUserVerified)
}

fn registration(answer: Answer) -> (String, String, Protection) {
    let Answer::RegisterKey {
        public_key,
        signature,
        protection,
        ..
    } = answer
    else {
        panic!("a registration")
    };
    (public_key, signature, protection)
}

#[tokio::test]
async fn a_signature_proves_what_the_keys_protection_allows_to_claim() {
    for algorithm in [Algorithm::Es256, Algorithm::Ed25519] {
        for (protection, hardware, user_verified) in [
            (Protection::Software, false, false),
            (Protection::Hardware, true, false),
            (Protection::HardwareUserVerified, true, true),
        ] {
            let mut laptop = Laptop::new(algorithm, protection);
            let challenge = laptop.ask().await;
            let proof = laptop.verify(&laptop.answer(&challenge).await).await;
            let assurance = Assurance {
                kind: FactorKind::DEVICE_KEY,
                phishing_resistant: true,
                user_verified,
                replay_resistant: true,
                verifier_bound: true,
                hardware,
                authenticated_at: NOW,
            };
            assert_eq!(proof.unwrap(), Proof::new(laptop.factor.id, assurance));
        }
    }
}

#[tokio::test]
async fn a_proof_for_another_attempt_peer_location_or_time_is_wrong() {
    let mut laptop = laptop();
    let challenge = laptop.ask().await;
    let answer = laptop.answer(&challenge).await;
    let (attempt, peer, key) = (laptop.attempt, laptop.peer, laptop.location_key);

    laptop.attempt = AttemptId::from_bytes([7; 32]);
    assert!(matches!(
        laptop.verify(&answer).await,
        Err(VerifyError::Wrong)
    ));
    laptop.attempt = attempt;
    laptop.peer = PublicKey::from_bytes([7; 32]);
    assert!(matches!(
        laptop.verify(&answer).await,
        Err(VerifyError::Wrong)
    ));
    laptop.peer = peer;
    laptop.location_key = PublicKey::from_bytes([7; 32]);
    assert!(matches!(
        laptop.verify(&answer).await,
        Err(VerifyError::Wrong)
    ));
    laptop.location_key = key;

    // A client that pretends to a later end signs another message.
    let Challenge::Signature {
        key_id,
        nonce,
        expires_at,
    } = challenge
    else {
        panic!("a question to a key")
    };
    let later = Challenge::Signature {
        key_id,
        nonce,
        expires_at: expires_at + Duration::from_millis(1),
    };
    let pretended = laptop.answer(&later).await;
    assert!(matches!(
        laptop.verify(&pretended).await,
        Err(VerifyError::Wrong)
    ));
    assert!(laptop.verify(&answer).await.is_ok());
}

#[tokio::test]
async fn an_answer_to_an_earlier_question_is_wrong() {
    let mut laptop = laptop();
    let challenge = laptop.ask().await;
    let answer = laptop.answer(&challenge).await;
    let next = laptop.ask().await;
    assert_ne!(next, challenge);
    assert!(matches!(
        laptop.verify(&answer).await,
        Err(VerifyError::Wrong)
    ));
}

#[tokio::test]
async fn a_late_answer_has_expired_however_right_it_is() {
    let mut laptop = laptop();
    let challenge = laptop.ask().await;
    let answer = laptop.answer(&challenge).await;
    laptop.now = NOW + DeviceKeyVerifier::GOOD_FOR;
    let late = laptop.verify(&answer).await;
    assert!(matches!(late, Err(VerifyError::Expired)), "{late:?}");
    laptop.now = NOW + (DeviceKeyVerifier::GOOD_FOR - Duration::from_millis(1));
    assert!(laptop.verify(&answer).await.is_ok());
}

#[tokio::test]
async fn a_question_ends_with_its_attempt_at_the_latest() {
    let mut laptop = laptop();
    laptop.verifier = DeviceKeyVerifier::new().good_for(Duration::from_secs(3600));
    let Challenge::Signature { expires_at, .. } = laptop.ask().await else {
        panic!("a question to a key")
    };
    assert_eq!(expires_at, laptop.expires);
}

#[tokio::test]
async fn any_bit_of_a_signature_changed_is_wrong() {
    for algorithm in [Algorithm::Es256, Algorithm::Ed25519] {
        let mut laptop = Laptop::new(algorithm, Protection::Software);
        let challenge = laptop.ask().await;
        let Answer::Signature { signature } = laptop.answer(&challenge).await else {
            panic!("a signature")
        };
        let signature = *Signature::from_base64(&signature).unwrap().as_bytes();
        for bit in (0..512).step_by(7) {
            let mut altered = signature;
            altered[bit / 8] ^= 1 << (bit % 8);
            let signature = Signature::from_bytes(altered).to_base64();
            let wrong = laptop.verify(&Answer::Signature { signature }).await;
            assert!(matches!(wrong, Err(VerifyError::Wrong)), "{bit}: {wrong:?}");
        }
    }
}

#[tokio::test]
async fn another_users_key_does_not_answer_for_this_one() {
    let mut laptop = laptop();
    laptop.ask().await;
    let question = ChallengeState::from_state(Purpose::SignIn, laptop.state.as_ref()).unwrap();
    let message = laptop.attempt().binding().signed_message(
        Purpose::SignIn,
        &question.nonce,
        question.expires_at,
    );
    let mallory = SoftwareSigner::generate(Algorithm::Es256).unwrap();
    let signature = mallory.sign(&message).await.unwrap().to_base64();
    let wrong = laptop.verify(&Answer::Signature { signature }).await;
    assert!(matches!(wrong, Err(VerifyError::Wrong)), "{wrong:?}");
}

#[tokio::test]
async fn an_answer_of_another_shape_is_unfit() {
    let mut laptop = laptop();
    laptop.ask().await;
    let short = BASE64.encode(&[0; 63]);
    for signature in ["", "AAAA", "not base64", short.as_str()] {
        let signature = signature.to_owned();
        let unfit = laptop.verify(&Answer::Signature { signature }).await;
        assert!(matches!(unfit, Err(VerifyError::Unfit)), "{unfit:?}");
    }
    let code = Answer::Code {
        code: "123456".parse().unwrap(),
    };
    assert!(matches!(
        laptop.verify(&code).await,
        Err(VerifyError::Unfit)
    ));
    assert!(matches!(laptop.enrol(&code).await, Err(VerifyError::Unfit)));
}

#[tokio::test]
async fn without_its_own_memory_of_the_question_nothing_is_judged() {
    let mut laptop = laptop();
    let challenge = laptop.ask().await;
    let answer = laptop.answer(&challenge).await;
    let good = laptop.state.take().unwrap().expose_secret().to_vec();
    laptop.ask_to_register().await;
    let to_register = laptop.state.take().unwrap();
    let mut states = vec![None, Some(to_register), Some(SecretBytes::new(Vec::new()))];
    states.push(Some(SecretBytes::new(good[..good.len() - 1].to_vec())));
    states.push(Some(SecretBytes::new([&good[..], &[0]].concat())));
    for state in states {
        laptop.state = state;
        let unjudged = laptop.verify(&answer).await;
        assert!(
            matches!(unjudged, Err(VerifyError::Backend(_))),
            "{unjudged:?}"
        );
    }
}

#[tokio::test]
async fn a_key_enrols_once_it_has_signed_for_it_and_signs_in_then() {
    for algorithm in [Algorithm::Es256, Algorithm::Ed25519] {
        let mut laptop = Laptop::new(algorithm, Protection::Software);
        let challenge = laptop.ask_to_register().await;
        let credential = laptop
            .enrol(&laptop.answer(&challenge).await)
            .await
            .unwrap();
        let fingerprint = laptop.signer.public_key().fingerprint();
        assert_eq!(credential.id.unwrap().as_bytes(), fingerprint);
        assert_eq!(credential.counter, None);
        let key = DeviceKey::from_secret(&credential.secret).unwrap();
        assert_eq!(key.verifying_key(), laptop.signer.public_key());
        assert_eq!(key.protection(), Protection::Software);

        laptop.secret = credential.secret;
        let challenge = laptop.ask().await;
        assert!(
            laptop
                .verify(&laptop.answer(&challenge).await)
                .await
                .is_ok()
        );
    }
}

#[tokio::test]
async fn a_key_that_somebody_else_holds_does_not_enrol() {
    let mut laptop = laptop();
    let challenge = laptop.ask_to_register().await;
    let (_, signature, protection) = registration(laptop.answer(&challenge).await);
    let other = SoftwareSigner::generate(Algorithm::Es256).unwrap();
    let wrong = laptop
        .enrol(&Answer::RegisterKey {
            public_key: BASE64.encode(other.public_key().spki()),
            signature,
            protection,
            attestation: None,
        })
        .await;
    assert!(matches!(wrong, Err(VerifyError::Wrong)), "{wrong:?}");
}

#[tokio::test]
async fn a_signature_to_sign_in_enrols_nothing_and_the_other_way_round() {
    let mut laptop = laptop();
    let Challenge::RegisterKey {
        nonce, expires_at, ..
    } = laptop.ask_to_register().await
    else {
        panic!("a question to register")
    };
    let key_id = laptop.signer.public_key().id();
    let sign_in = Challenge::Signature {
        key_id,
        nonce: nonce.clone(),
        expires_at,
    };
    let Answer::Signature { signature } = laptop.answer(&sign_in).await else {
        panic!("a signature")
    };
    let wrong = laptop
        .enrol(&Answer::RegisterKey {
            public_key: BASE64.encode(laptop.signer.public_key().spki()),
            signature,
            protection: Protection::Software,
            attestation: None,
        })
        .await;
    assert!(matches!(wrong, Err(VerifyError::Wrong)), "{wrong:?}");

    let Challenge::Signature {
        nonce, expires_at, ..
    } = laptop.ask().await
    else {
        panic!("a question to a key")
    };
    let protection = Protection::Software;
    let to_register = Challenge::RegisterKey {
        nonce,
        expires_at,
        protection,
    };
    let (_, signature, _) = registration(laptop.answer(&to_register).await);
    let wrong = laptop.verify(&Answer::Signature { signature }).await;
    assert!(matches!(wrong, Err(VerifyError::Wrong)), "{wrong:?}");
}

#[tokio::test]
async fn a_late_registration_has_expired() {
    let mut laptop = laptop();
    let challenge = laptop.ask_to_register().await;
    let answer = laptop.answer(&challenge).await;
    laptop.now = NOW + DeviceKeyVerifier::GOOD_FOR;
    assert!(matches!(
        laptop.enrol(&answer).await,
        Err(VerifyError::Expired)
    ));
}

#[tokio::test]
async fn a_required_protection_holds_for_new_and_old_keys() {
    let mut laptop = Laptop::new(Algorithm::Es256, Protection::Hardware);
    let challenge = laptop.ask_to_register().await;
    let answer = laptop.answer(&challenge).await;
    laptop.verifier = DeviceKeyVerifier::new().require(Protection::Hardware);
    let refused = laptop.enrol(&answer).await;
    assert!(
        matches!(refused, Err(VerifyError::NotEnrollable)),
        "{refused:?}"
    );
    let challenge = laptop.ask_to_register().await;
    let Challenge::RegisterKey { protection, .. } = challenge else {
        panic!("a question to register")
    };
    assert_eq!(protection, Protection::Hardware);

    let challenge = laptop.ask().await;
    let answer = laptop.answer(&challenge).await;
    assert!(laptop.verify(&answer).await.is_ok());
    laptop.verifier = laptop.verifier.require(Protection::HardwareUserVerified);
    let refused = laptop.verify(&answer).await;
    assert!(
        matches!(refused, Err(VerifyError::Backend(_))),
        "{refused:?}"
    );
    let refused = laptop.verifier.challenge(&laptop.context()).await;
    assert!(matches!(refused, Err(VerifyError::Backend(_))));
}

#[tokio::test]
async fn an_attestation_is_kept_within_bounds() {
    let mut laptop = laptop();
    let challenge = laptop.ask_to_register().await;
    let (public_key, signature, protection) = registration(laptop.answer(&challenge).await);
    for (len, is_kept) in [
        (0, true),
        (DeviceKey::LONGEST_ATTESTATION, true),
        (DeviceKey::LONGEST_ATTESTATION + 1, false),
    ] {
        let attestation = vec![5; len];
        let answer = Answer::RegisterKey {
            public_key: public_key.clone(),
            signature: signature.clone(),
            protection,
            attestation: Some(BASE64.encode(&attestation)),
        };
        match laptop.enrol(&answer).await {
            Ok(credential) => {
                assert!(is_kept);
                let key = DeviceKey::from_secret(&credential.secret).unwrap();
                assert_eq!(key.attestation(), Some(attestation.as_slice()));
            }
            Err(VerifyError::Unfit) => assert!(!is_kept),
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn a_stored_key_is_read_strictly() {
    let key = SoftwareSigner::generate(Algorithm::Ed25519).unwrap();
    let key = DeviceKey::new(key.public_key().clone(), Protection::Hardware);
    let secret = key.to_secret();
    assert_eq!(DeviceKey::from_secret(&secret), Ok(key));
    let text = String::from_utf8(secret.expose_secret().to_vec()).unwrap();
    for bad in [
        String::new(),
        text.replace(r#""version":1"#, r#""version":2"#),
        text.replace("hardware", "cardboard"),
        text.replace(r#"{"version""#, r#"{"more":1,"version""#),
        text.replace(r#","attestation":null"#, ""),
        text.replace("MCow", "MCox"),
        text.clone() + "{}",
    ] {
        assert_ne!(bad, text);
        let read = DeviceKey::from_secret(&SecretBytes::new(bad.clone().into_bytes()));
        assert_eq!(read, Err(InvalidDeviceKey), "{bad}");
    }
}
