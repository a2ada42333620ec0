//! The prover: what it signs, and what it refuses to; and keys in files.

use super::*;
use crate::signature::Algorithm;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_615_000);
const LOCATION: PublicKey = PublicKey::from_bytes([1; 32]);
const PEER: PublicKey = PublicKey::from_bytes([2; 32]);
const ATTEMPT: AttemptId = AttemptId::from_bytes([3; 32]);

fn signer(algorithm: Algorithm) -> Arc<SoftwareSigner> {
    Arc::new(SoftwareSigner::generate(algorithm).unwrap())
}

fn prover(signer: Arc<dyn Signer>) -> DeviceKeyProver {
    DeviceKeyProver::new(signer, LOCATION, PEER)
}

fn question(key: &VerifyingKey, span: Duration) -> Challenge {
    Challenge::Signature {
        key_id: key.id(),
        nonce: Nonce::from_bytes([4; 32]),
        expires_at: NOW + span,
    }
}

fn registration(protection: Protection) -> Challenge {
    Challenge::RegisterKey {
        nonce: Nonce::from_bytes([4; 32]),
        expires_at: NOW + DeviceKeyProver::HORIZON,
        protection,
    }
}

fn message(purpose: Purpose) -> Vec<u8> {
    let binding = Binding {
        location: &LOCATION,
        peer: &PEER,
        attempt: &ATTEMPT,
    };
    let expires_at = NOW + DeviceKeyProver::HORIZON;
    binding.signed_message(purpose, &Nonce::from_bytes([4; 32]), expires_at)
}

#[tokio::test]
async fn an_answer_signs_the_attempt_peer_and_location() {
    for algorithm in [Algorithm::Es256, Algorithm::Ed25519] {
        let signer = signer(algorithm);
        let question = question(signer.public_key(), DeviceKeyProver::HORIZON);
        let prover = prover(signer.clone());
        let Ok(Answer::Signature { signature }) = prover.answer(&ATTEMPT, &question, NOW).await
        else {
            panic!("a signature")
        };
        let signature = Signature::from_base64(&signature).unwrap();
        let key = signer.public_key();
        assert!(key.verifies(&message(Purpose::SignIn), &signature));
        assert!(!key.verifies(&message(Purpose::Enrol), &signature));
    }
}

#[tokio::test]
async fn a_registration_is_a_key_its_protection_and_a_signature() {
    let signer = signer(Algorithm::Ed25519);
    let challenge = registration(Protection::Software);
    let answer = prover(signer.clone())
        .answer(&ATTEMPT, &challenge, NOW)
        .await
        .unwrap();
    let Answer::RegisterKey {
        public_key,
        signature,
        protection,
        attestation,
    } = answer
    else {
        panic!("a registration")
    };
    assert_eq!(public_key, BASE64.encode(signer.public_key().spki()));
    assert_eq!((protection, attestation), (Protection::Software, None));
    let signature = Signature::from_base64(&signature).unwrap();
    let key = signer.public_key();
    assert!(key.verifies(&message(Purpose::Enrol), &signature));
}

#[tokio::test]
async fn nothing_is_signed_for_another_key_time_or_protection() {
    let signer = Arc::new(Never(SoftwareSigner::generate(Algorithm::Ed25519).unwrap()));
    let prover = prover(signer.clone());
    let other = SoftwareSigner::generate(Algorithm::Ed25519).unwrap();
    let span = Duration::from_secs(60);
    let asked = question(other.public_key(), span);
    let refused = prover.answer(&ATTEMPT, &asked, NOW).await;
    assert!(
        matches!(refused, Err(ProveError(ProveFault::OtherKey))),
        "{refused:?}"
    );

    let far = DeviceKeyProver::HORIZON + Duration::from_millis(1);
    let asked = question(signer.public_key(), far);
    let refused = prover.answer(&ATTEMPT, &asked, NOW).await;
    assert!(matches!(refused, Err(ProveError(ProveFault::TooFarAhead))));

    let refused = prover
        .answer(&ATTEMPT, &registration(Protection::Hardware), NOW)
        .await;
    assert!(matches!(
        refused,
        Err(ProveError(ProveFault::LessProtected { .. }))
    ));

    let refused = prover
        .answer(&ATTEMPT, &Challenge::Code { digits: 6 }, NOW)
        .await;
    assert!(matches!(refused, Err(ProveError(ProveFault::NotForAKey))));
}

#[tokio::test]
async fn a_signature_that_is_none_does_not_leave_the_client() {
    let signer = Arc::new(Garbage(SoftwareSigner::generate(Algorithm::Es256).unwrap()));
    let asked = question(signer.public_key(), Duration::from_secs(60));
    let refused = prover(signer).answer(&ATTEMPT, &asked, NOW).await;
    assert!(matches!(refused, Err(ProveError(ProveFault::Inconsistent))));
}

#[tokio::test]
async fn a_key_reads_back_from_its_file_and_signs_as_before() {
    let folder = tempfile::tempdir().unwrap();
    for algorithm in [Algorithm::Es256, Algorithm::Ed25519] {
        let path = folder.path().join(format!("{algorithm:?}.pem"));
        let signer = SoftwareSigner::generate(algorithm).unwrap();
        signer.write_new(&path).unwrap();
        let again = SoftwareSigner::read(&path).unwrap();
        assert_eq!(again.public_key(), signer.public_key());
        let signature = again.sign(b"a message").await.unwrap();
        assert!(signer.public_key().verifies(b"a message", &signature));
        let overwritten = signer.write_new(&path);
        assert!(matches!(
            overwritten,
            Err(SoftwareKeyError(SoftwareKeyFault::File { .. }))
        ));
    }
}

#[cfg(unix)]
#[test]
fn a_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let signer = SoftwareSigner::generate(Algorithm::Ed25519).unwrap();
    signer.write_new(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let read = SoftwareSigner::read(&path);
    assert!(matches!(
        read,
        Err(SoftwareKeyError(SoftwareKeyFault::Exposed {
            mode: 0o640,
            ..
        }))
    ));
}

#[test]
fn the_keys_of_openssl_can_be_read() {
    // `openssl genpkey -algorithm ed25519` and `-algorithm EC -pkeyopt ec_paramgen_curve:P-256`,
    // with what `openssl pkey -pubout` says of them.
    for (private, public) in [
        (
            include_str!("tests/ed25519.pem"),
            include_str!("tests/ed25519.pub.pem"),
        ),
        (
            include_str!("tests/p256.pem"),
            include_str!("tests/p256.pub.pem"),
        ),
    ] {
        let signer = SoftwareSigner::from_pkcs8_pem(private).unwrap();
        let lines: String = public
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        assert_eq!(BASE64.encode(signer.public_key().spki()), lines);
    }
}

#[test]
fn a_text_that_is_no_key_is_refused_without_repeating_it() {
    let secret = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v";
    for text in [
        "",
        secret,
        &format!("-----BEGIN PRIVATE KEY-----\n{secret}\n"),
    ] {
        let refused = SoftwareSigner::from_pkcs8_pem(text);
        let Err(error) = refused else {
            panic!("read: {text:?}")
        };
        assert!(!format!("{error} {error:?}").contains("MC4C"));
    }
}

#[test]
fn the_private_key_never_prints() {
    let signer = signer(Algorithm::Es256);
    let shown = format!("{signer:?} {:?}", prover(signer.clone()));
    let pem = signer.expose_pkcs8_pem().unwrap();
    for line in pem.lines() {
        assert!(!shown.contains(line), "{shown}");
    }
    assert!(shown.contains(&signer.public_key().id()));
}

/// A signer that must not be asked.
struct Never(SoftwareSigner);

#[async_trait]
impl Signer for Never {
    fn public_key(&self) -> &VerifyingKey {
        self.0.public_key()
    }

    fn protection(&self) -> Protection {
        Protection::Software
    }

    async fn sign(&self, _: &[u8]) -> Result<Signature, SignError> {
        panic!("asked to sign")
    }
}

/// A signer that does not know its key.
struct Garbage(SoftwareSigner);

#[async_trait]
impl Signer for Garbage {
    fn public_key(&self) -> &VerifyingKey {
        self.0.public_key()
    }

    fn protection(&self) -> Protection {
        Protection::Software
    }

    async fn sign(&self, _: &[u8]) -> Result<Signature, SignError> {
        Ok(Signature::from_bytes([7; 64]))
    }
}
