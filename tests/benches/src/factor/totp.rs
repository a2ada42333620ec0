//! One-time passwords. Their row is `gate.admission_cpu…`.

use std::hint::black_box;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac};
use mfagate::assurance::FactorKind;
use mfagate::channel::binding::Binding;
use mfagate::channel::message::{Answer, Challenge};
use mfagate::enrol::Registrar;
use mfagate::factor::MfaVerifier;
use mfagate::factor::totp::{TotpSecret, TotpVerifier};
use mfagate::id::{Label, UserId};
use mfagate::time::Timestamp;
use sha1::Sha1;

use super::Factor;
use crate::floor::Error;

/// An authenticator app.
#[derive(Clone)]
pub(crate) struct Totp(TotpSecret);

impl Totp {
    /// What the app shows.
    pub(crate) fn code(&self, now: Timestamp) -> Result<Answer, Error> {
        let code = self.0.code(now)?;
        Ok(Answer::Code { code })
    }
}

impl Factor for Totp {
    const KIND: FactorKind = FactorKind::TOTP;

    fn verifier() -> Arc<dyn MfaVerifier> {
        Arc::new(TotpVerifier::new())
    }

    async fn enrol(registrar: &Registrar, user: &UserId, now: Timestamp) -> Result<Self, Error> {
        let enrolment = registrar
            .begin_totp(user, &Label::from_stored("phone"), "bench")
            .await?;
        let first = enrolment.secret.code(now)?;
        registrar
            .confirm_totp(user, enrolment.factor, first)
            .await?;
        Ok(Self(enrolment.secret.clone()))
    }

    async fn answer(
        &self,
        _: &Binding<'_>,
        _: &Challenge,
        now: Timestamp,
    ) -> Result<Answer, Error> {
        self.code(now)
    }

    /// Three HMAC-SHA-1.
    fn primitives() -> Result<Box<dyn FnMut()>, Error> {
        Ok(Box::new(|| {
            for _ in 0..3 {
                if let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(black_box(&[7; 20])) {
                    mac.update(black_box(&[9; 8]));
                    let _ = black_box(mac.finalize());
                }
            }
        }))
    }
}
