//! The verifier of codes by e-mail, through the suite.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mfagate::channel::message::{Answer, Challenge, Code};
use mfagate::factor::email_code::{CodeSender, EmailAddress, EmailCodeVerifier, Letter, SendError};
use mfagate::factor::{Context, MfaVerifier};
use mfagate::seal::SecretBytes;
use mfagate::testing::verifier::{VerifierHarness, conformance};

use crate::other_digit;

/// The last code in each mailbox.
#[derive(Default)]
struct Mailboxes(Mutex<BTreeMap<String, Code>>);

#[async_trait]
impl CodeSender for Mailboxes {
    async fn send(&self, letter: &Letter<'_>) -> Result<(), SendError> {
        tokio::task::yield_now().await; // as a real one waits
        let mut mailboxes = self.0.lock().expect("no one panicked");
        mailboxes.insert(letter.to.expose().to_owned(), letter.code.clone());
        Ok(())
    }
}

struct Readers {
    mailboxes: Arc<Mailboxes>,
    verifier: Arc<EmailCodeVerifier>,
    enrolled: AtomicU8,
}

impl Readers {
    fn new() -> Self {
        let mailboxes = Arc::new(Mailboxes::default());
        let verifier = EmailCodeVerifier::new(mailboxes.clone()).expect("randomness");
        Self {
            mailboxes,
            // The suite asks more often than any user may.
            verifier: Arc::new(verifier.pace(Duration::ZERO, usize::MAX)),
            enrolled: AtomicU8::new(0),
        }
    }
}

#[async_trait]
impl VerifierHarness for Readers {
    type Authenticator = EmailAddress;

    fn verifier(&self) -> Arc<dyn MfaVerifier> {
        let verifier: Arc<EmailCodeVerifier> = Arc::clone(&self.verifier);
        verifier
    }

    fn shown(&self) -> String {
        format!("{:?}", self.verifier)
    }

    async fn enrol(&self) -> (EmailAddress, SecretBytes) {
        let n = self.enrolled.fetch_add(1, Ordering::Relaxed);
        let address = format!("reader.{n}@example.com").parse();
        let address: EmailAddress = address.expect("an address");
        let secret = address.to_secret();
        (address, secret)
    }

    async fn answer(&self, address: &EmailAddress, _: &Context<'_>, _: &Challenge) -> Answer {
        let mailboxes = self.mailboxes.0.lock().expect("no one panicked");
        let code = mailboxes[address.expose()].clone();
        Answer::Code { code }
    }

    fn tampered(&self, right: &Answer) -> Vec<Answer> {
        let Answer::Code { code } = right else {
            panic!("a code is asked for")
        };
        (0..8).map(|at| other_digit(code, at)).collect()
    }

    fn unfit(&self, _: &Challenge) -> Vec<Answer> {
        ["123456", "1234567890"]
            .map(|code| code.parse().expect("digits"))
            .map(|code| Answer::Code { code })
            .into()
    }

    fn private(&self, address: &EmailAddress, right: &Answer) -> Vec<Vec<u8>> {
        let Answer::Code { code } = right else {
            panic!("a code is asked for")
        };
        vec![address.expose().into(), code.expose_secret().into()]
    }

    fn is_bound(&self) -> bool {
        true
    }

    fn too_late_after(&self) -> Option<Duration> {
        Some(Duration::from_secs(600))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_of_codes_by_e_mail_conforms() {
    conformance(&Readers::new()).await;
}
