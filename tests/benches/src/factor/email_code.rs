//! Codes by e-mail: `factor.email_code…`. What the mail server does is not in it.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hkdf::Hkdf;
use mfagate::assurance::FactorKind;
use mfagate::channel::binding::Binding;
use mfagate::channel::message::{Answer, Challenge, Code};
use mfagate::enrol::Registrar;
use mfagate::factor::MfaVerifier;
use mfagate::factor::email_code::{CodeSender, EmailAddress, EmailCodeVerifier, Letter, SendError};
use mfagate::id::{Label, UserId};
use mfagate::time::Timestamp;
use sha2::Sha256;

use super::Factor;
use crate::floor::Error;
use crate::report::Report;

/// How long what a code is bound to is: a label, three names, a time, the code and the address.
const BOUND: usize = 21 + 3 * 32 + 8 + 8 + 20;

/// Measures what is wanted of this subject.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    super::row::<Reader>(report, "email_code")
}

/// The last code in each mailbox.
#[derive(Default)]
struct Mailboxes(Mutex<BTreeMap<String, Code>>);

static MAILBOXES: LazyLock<Arc<Mailboxes>> = LazyLock::new(Arc::default);

#[async_trait]
impl CodeSender for Mailboxes {
    async fn send(&self, letter: &Letter<'_>) -> Result<(), SendError> {
        let mut mailboxes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.insert(letter.to.expose().to_owned(), letter.code.clone());
        Ok(())
    }
}

/// Someone with a mailbox.
#[derive(Clone)]
struct Reader(EmailAddress);

impl Factor for Reader {
    const KIND: FactorKind = FactorKind::EMAIL_CODE;

    fn verifier() -> Arc<dyn MfaVerifier> {
        let verifier = EmailCodeVerifier::new(MAILBOXES.clone()).expect("randomness");
        // The bench asks more often than any user may.
        Arc::new(verifier.pace(Duration::ZERO, usize::MAX))
    }

    async fn enrol(registrar: &Registrar, user: &UserId, _: Timestamp) -> Result<Self, Error> {
        let address: EmailAddress = format!("{user}@example.com").parse()?;
        registrar
            .add_factor(
                user,
                Self::KIND,
                &Label::from_stored("mail"),
                &address.to_secret(),
                None,
            )
            .await?;
        Ok(Self(address))
    }

    async fn answer(&self, _: &Binding<'_>, _: &Challenge, _: Timestamp) -> Result<Answer, Error> {
        let mailboxes = MAILBOXES.0.lock().unwrap_or_else(PoisonError::into_inner);
        let code = mailboxes.get(self.0.expose()).ok_or("no letter came")?;
        Ok(Answer::Code { code: code.clone() })
    }

    /// The keyed hash of a code, as it is sent and as it is judged.
    fn primitives() -> Result<Box<dyn FnMut()>, Error> {
        Ok(Box::new(|| {
            for _ in 0..2 {
                let mut tag = [0; 32];
                let key = Hkdf::<Sha256>::from_prk(black_box(&[7; 32]));
                let _ = black_box(key.is_ok_and(|key| key.expand(&[9; BOUND], &mut tag).is_ok()));
            }
        }))
    }
}
