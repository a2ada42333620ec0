//! The verifier of device keys, through the suite.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::channel::binding::Purpose;
use mfagate::channel::message::{Answer, Challenge, Protection};
use mfagate::factor::device_key::{DeviceKey, DeviceKeyVerifier};
use mfagate::factor::{Context, MfaVerifier};
use mfagate::prove::device_key::{Signer, SoftwareSigner};
use mfagate::seal::SecretBytes;
use mfagate::signature::{Algorithm, Signature};
use mfagate::testing::verifier::{VerifierHarness, conformance};

struct Laptops(Algorithm);

#[async_trait]
impl VerifierHarness for Laptops {
    type Authenticator = SoftwareSigner;

    fn verifier(&self) -> Arc<dyn MfaVerifier> {
        Arc::new(DeviceKeyVerifier::new())
    }

    fn shown(&self) -> String {
        format!("{:?}", DeviceKeyVerifier::new())
    }

    async fn enrol(&self) -> (SoftwareSigner, SecretBytes) {
        let signer = SoftwareSigner::generate(self.0).expect("a key");
        let key = DeviceKey::new(signer.public_key().clone(), Protection::Software);
        (signer, key.to_secret())
    }

    async fn answer(
        &self,
        signer: &SoftwareSigner,
        context: &Context<'_>,
        challenge: &Challenge,
    ) -> Answer {
        let Challenge::Signature {
            nonce, expires_at, ..
        } = challenge
        else {
            panic!("a device key is asked for a signature: {challenge:?}")
        };
        // Whatever key is asked for: a prover would refuse to sign for another's.
        let message = context
            .attempt
            .binding()
            .signed_message(Purpose::SignIn, nonce, *expires_at);
        let signature = signer.sign(&message).await.expect("a signature");
        answer(signature)
    }

    fn tampered(&self, right: &Answer) -> Vec<Answer> {
        let right = *signature(right).as_bytes();
        let altered = |bit: usize| {
            let mut bytes = right;
            bytes[bit / 8] ^= 1 << (bit % 8);
            answer(Signature::from_bytes(bytes))
        };
        (0..512).step_by(13).map(altered).collect()
    }

    fn unfit(&self, _: &Challenge) -> Vec<Answer> {
        let code = "123456".parse().expect("digits");
        let signature = String::from("c2hvcnQ=");
        vec![Answer::Code { code }, Answer::Signature { signature }]
    }

    fn private(&self, signer: &SoftwareSigner, _: &Answer) -> Vec<Vec<u8>> {
        let pem = signer.expose_pkcs8_pem().expect("a key");
        let line = pem.lines().nth(1).expect("a line of Base64");
        vec![line.as_bytes().to_vec()]
    }

    fn is_bound(&self) -> bool {
        true
    }

    fn too_late_after(&self) -> Option<Duration> {
        Some(DeviceKeyVerifier::GOOD_FOR)
    }
}

fn answer(signature: Signature) -> Answer {
    Answer::Signature {
        signature: signature.to_base64(),
    }
}

fn signature(answer: &Answer) -> Signature {
    let Answer::Signature { signature } = answer else {
        panic!("a device key answers with a signature")
    };
    Signature::from_base64(signature).expect("a signature")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_of_es256_keys_conforms() {
    conformance(&Laptops(Algorithm::Es256)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_of_ed25519_keys_conforms() {
    conformance(&Laptops(Algorithm::Ed25519)).await;
}
