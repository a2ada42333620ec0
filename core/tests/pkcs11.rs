//! Device keys in a token: SoftHSM's, behind PKCS #11.
//!
//! SoftHSM learns from its environment where its tokens are. So each test makes a token in a folder
//! of its own and runs itself again, in a process that has that environment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use mfagate::channel::message::{Answer, Challenge, Nonce, Protection, SecretString};
use mfagate::id::AttemptId;
use mfagate::key::PublicKey;
use mfagate::prove::device_key::{
    DeviceKeyProver, PinEntry, Pkcs11Key, Pkcs11Signer, SignError, Signer,
};
use mfagate::signature::{Algorithm, Signature};
use mfagate::time::Timestamp;

const CONFIGURATION: &str = "SOFTHSM2_CONF";
const TOKEN: &str = "office token";
const PIN: &str = "493817";
const MESSAGE: &[u8] = b"a message";

/// Where Debian's package has it, in its releases.
const MODULES: [&str; 2] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
];

fn module() -> &'static Path {
    let module = MODULES
        .map(Path::new)
        .into_iter()
        .find(|path| path.exists());
    module.expect("SoftHSM is not there: install softhsm2")
}

/// Runs a test's body in a process that sees one fresh token and nothing else.
fn with_a_token(test: &str, body: impl Future<Output = ()>) {
    if std::env::var_os("MFAGATE_TEST_TOKEN").is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        return runtime.expect("a runtime").block_on(body);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = folder.path().join("softhsm2.conf");
    let tokens = folder.path().join("tokens");
    std::fs::create_dir(&tokens).expect("a folder for tokens");
    let lines = format!(
        "directories.tokendir = {}\nlog.level = ERROR\n",
        tokens.display()
    );
    std::fs::write(&configuration, lines).expect("a configuration");
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", TOKEN])
        .args(["--so-pin", "12345678", "--pin", PIN])
        .env(CONFIGURATION, &configuration)
        .output()
        .expect("softhsm2-util is not there: install softhsm2");
    assert!(made.status.success(), "{made:?}");
    let run = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(CONFIGURATION, &configuration)
        .env("MFAGATE_TEST_TOKEN", "1")
        .output()
        .expect("this program runs");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

fn labelled(label: &str) -> Pkcs11Key {
    Pkcs11Key::with_label(module(), TOKEN, label)
}

fn pin(digits: &str) -> Arc<dyn PinEntry> {
    Arc::new(SecretString::new(digits.to_owned()).expect("short"))
}

async fn made(key: Pkcs11Key) -> Pkcs11Signer {
    Pkcs11Signer::generate(key, Protection::Hardware, pin(PIN))
        .await
        .expect("a key")
}

#[test]
fn a_key_that_was_made_in_the_token_signs_and_is_found_again() {
    with_a_token(
        "a_key_that_was_made_in_the_token_signs_and_is_found_again",
        async {
            let by_id = Pkcs11Key::with_id(module(), TOKEN, [7; 16]);
            for key in [labelled("laptop"), by_id] {
                let signer = made(key.clone()).await;
                let signature = signer.sign(MESSAGE).await.unwrap();
                assert_eq!(signer.public_key().algorithm(), Algorithm::Es256);
                assert!(signer.public_key().verifies(MESSAGE, &signature));

                let found = Pkcs11Signer::open(key, Protection::Hardware, pin(PIN));
                let found = found.await.unwrap();
                assert_eq!(found.public_key(), signer.public_key());
                let again = found.sign(MESSAGE).await.unwrap();
                assert!(signer.public_key().verifies(MESSAGE, &again));
            }
        },
    );
}

#[test]
fn a_token_answers_a_gates_question() {
    with_a_token("a_token_answers_a_gates_question", async {
        let signer = Arc::new(made(labelled("laptop")).await);
        let question = Challenge::Signature {
            key_id: signer.public_key().id(),
            nonce: Nonce::from_bytes([1; 32]),
            expires_at: Timestamp::from_millis(60_000),
        };
        let (location, peer) = (
            PublicKey::from_bytes([2; 32]),
            PublicKey::from_bytes([3; 32]),
        );
        let attempt = AttemptId::from_bytes([4; 32]);
        let answer = DeviceKeyProver::new(signer, location, peer)
            .answer(&attempt, &question, Timestamp::from_millis(0))
            .await;
        let Ok(Answer::Signature { signature }) = answer else {
            panic!("{answer:?}")
        };
        assert!(Signature::from_base64(&signature).is_ok());
    });
}

#[test]
fn signatures_at_once_all_hold_and_leave_nobody_logged_in() {
    with_a_token(
        "signatures_at_once_all_hold_and_leave_nobody_logged_in",
        async {
            let signer = Arc::new(made(labelled("laptop")).await);
            let mut signatures = tokio::task::JoinSet::new();
            for _ in 0..16 {
                let signer = Arc::clone(&signer);
                signatures.spawn(async move { signer.sign(MESSAGE).await.unwrap() });
            }
            for signature in signatures.join_all().await {
                assert!(signer.public_key().verifies(MESSAGE, &signature));
            }
            // A PIN that is wrong gets nowhere on another's login.
            let stranger =
                Pkcs11Signer::open(labelled("laptop"), Protection::Hardware, pin("000000"));
            let refused = stranger.await.unwrap().sign(MESSAGE).await;
            assert!(
                matches!(refused, Err(SignError::NotRecognised)),
                "{refused:?}"
            );
        },
    );
}

#[test]
fn a_wrong_pin_is_tried_once() {
    with_a_token("a_wrong_pin_is_tried_once", async {
        made(labelled("laptop")).await;
        let entry = Arc::new(Counting(AtomicUsize::new(0)));
        let signer = Pkcs11Signer::open(labelled("laptop"), Protection::Hardware, entry.clone());
        let signer = signer.await.unwrap();
        assert_eq!(entry.0.load(Ordering::Relaxed), 0, "asked for nothing");
        let refused = signer.sign(MESSAGE).await;
        assert!(
            matches!(refused, Err(SignError::NotRecognised)),
            "{refused:?}"
        );
        assert_eq!(entry.0.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_user_who_cancels_is_not_asked_by_the_token() {
    with_a_token("a_user_who_cancels_is_not_asked_by_the_token", async {
        made(labelled("laptop")).await;
        let entry = Arc::new(Cancels);
        let signer = Pkcs11Signer::open(labelled("laptop"), Protection::Hardware, entry);
        let refused = signer.await.unwrap().sign(MESSAGE).await;
        assert!(
            matches!(refused, Err(SignError::UserCancelled)),
            "{refused:?}"
        );
    });
}

#[test]
fn a_missing_key_token_or_module_is_not_a_refusal() {
    with_a_token("a_missing_key_token_or_module_is_not_a_refusal", async {
        for key in [
            labelled("no-ones"),
            Pkcs11Key::with_label(module(), "another token", "laptop"),
        ] {
            let opened = Pkcs11Signer::open(key, Protection::Hardware, pin(PIN)).await;
            assert!(matches!(opened, Err(SignError::NotAvailable)), "{opened:?}");
        }
        let nowhere = Pkcs11Key::with_label(PathBuf::from("nowhere.so"), TOKEN, "laptop");
        let opened = Pkcs11Signer::open(nowhere, Protection::Hardware, pin(PIN)).await;
        assert!(matches!(opened, Err(SignError::Backend(_))), "{opened:?}");
    });
}

#[test]
fn a_name_that_is_taken_is_not_given_twice() {
    with_a_token("a_name_that_is_taken_is_not_given_twice", async {
        let first = made(labelled("laptop")).await;
        let second = Pkcs11Signer::generate(labelled("laptop"), Protection::Hardware, pin(PIN));
        assert!(matches!(second.await, Err(SignError::Backend(_))));
        let signature = first.sign(MESSAGE).await.unwrap();
        assert!(first.public_key().verifies(MESSAGE, &signature));
    });
}

#[test]
fn a_key_that_came_from_outside_does_not_pass_for_hardware() {
    with_a_token(
        "a_key_that_came_from_outside_does_not_pass_for_hardware",
        async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("key.pem");
            let software = mfagate::prove::device_key::SoftwareSigner::generate(Algorithm::Es256);
            let software = software.unwrap();
            software.write_new(&path).unwrap();
            let imported = Command::new("softhsm2-util")
                .args(["--import", path.to_str().unwrap(), "--token", TOKEN])
                .args(["--label", "imported", "--id", "0a", "--pin", PIN])
                .output()
                .unwrap();
            assert!(imported.status.success(), "{imported:?}");
            let signer = Pkcs11Signer::open(labelled("imported"), Protection::Hardware, pin(PIN));
            let refused = signer.await.unwrap().sign(MESSAGE).await;
            assert!(matches!(refused, Err(SignError::Backend(_))), "{refused:?}");

            let signer = Pkcs11Signer::open(labelled("imported"), Protection::Software, pin(PIN));
            let signature = signer.await.unwrap().sign(MESSAGE).await.unwrap();
            assert!(software.public_key().verifies(MESSAGE, &signature));
        },
    );
}

/// Gives a wrong PIN, and counts how often it was asked for.
struct Counting(AtomicUsize);

#[async_trait]
impl PinEntry for Counting {
    async fn pin(&self, token: &str) -> Result<Option<SecretString>, SignError> {
        assert_eq!(token, TOKEN);
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(SecretString::new("000000".to_owned()))
    }
}

/// A user who does not want to.
struct Cancels;

#[async_trait]
impl PinEntry for Cancels {
    async fn pin(&self, _: &str) -> Result<Option<SecretString>, SignError> {
        Err(SignError::UserCancelled)
    }
}
