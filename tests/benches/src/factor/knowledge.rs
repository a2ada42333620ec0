//! Passwords and recovery codes: `factor.password…`, `factor.recovery_codes…`. Argon2id is nearly
//! all of it, as is meant.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::{Algorithm, Argon2, Params, Version};
use mfagate::assurance::FactorKind;
use mfagate::channel::binding::Binding;
use mfagate::channel::message::{Answer, Challenge, SecretString};
use mfagate::enrol::Registrar;
use mfagate::factor::MfaVerifier;
use mfagate::factor::password::PasswordVerifier;
use mfagate::factor::recovery_codes::{RecoveryCodeVerifier, RecoveryCodes};
use mfagate::id::{Label, UserId};
use mfagate::time::Timestamp;

use super::Factor;
use crate::floor::Error;
use crate::report::Report;

const PASSWORD: &str = "correct horse battery staple";

/// Measures what is wanted of this subject.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    super::row::<Memory>(report, "password")?;
    super::row::<Paper>(report, "recovery_codes")
}

/// One hash, with the cost that the verifier has unless it is told otherwise.
fn hashed(
    text: &'static [u8],
    memory: u32,
    passes: u32,
    lanes: u32,
) -> Result<Box<dyn FnMut()>, Error> {
    let params = Params::new(memory, passes, lanes, Some(32)).map_err(|error| error.to_string())?;
    Ok(Box::new(move || {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        let mut hash = [0; 32];
        let done = argon2.hash_password_into(black_box(text), &[7; 16], &mut hash);
        let _ = black_box((done.is_ok(), hash));
    }))
}

/// Someone with a password.
#[derive(Clone)]
struct Memory;

impl Factor for Memory {
    const KIND: FactorKind = FactorKind::PASSWORD;
    // A tenth of a second each.
    const ROUNDS: usize = 3;

    fn verifier() -> Arc<dyn MfaVerifier> {
        Arc::new(PasswordVerifier::new())
    }

    async fn enrol(registrar: &Registrar, user: &UserId, _: Timestamp) -> Result<Self, Error> {
        let secret = PasswordVerifier::new().secret(user, PASSWORD).await?;
        registrar
            .add_factor(user, Self::KIND, &Label::from_stored("mine"), &secret, None)
            .await?;
        Ok(Self)
    }

    async fn answer(&self, _: &Binding<'_>, _: &Challenge, _: Timestamp) -> Result<Answer, Error> {
        let password = SecretString::new(PASSWORD.to_owned()).ok_or("too long")?;
        Ok(Answer::Password { password })
    }

    fn primitives() -> Result<Box<dyn FnMut()>, Error> {
        hashed(PASSWORD.as_bytes(), 64 * 1024, 3, 4)
    }
}

/// Someone with codes on paper, of which so many are crossed out.
#[derive(Clone)]
struct Paper(Arc<(Vec<String>, AtomicUsize)>);

impl Factor for Paper {
    const KIND: FactorKind = FactorKind::RECOVERY_CODES;
    // There are ten, and one goes before the first round.
    const ROUNDS: usize = 5;

    fn verifier() -> Arc<dyn MfaVerifier> {
        Arc::new(RecoveryCodeVerifier::new())
    }

    async fn enrol(registrar: &Registrar, user: &UserId, _: Timestamp) -> Result<Self, Error> {
        let codes = RecoveryCodes::generate()?;
        let secret = codes.to_secret().await?;
        registrar
            .add_factor(
                user,
                Self::KIND,
                &Label::from_stored("paper"),
                &secret,
                None,
            )
            .await?;
        let codes = codes.expose().iter().map(|code| code.to_string()).collect();
        Ok(Self(Arc::new((codes, AtomicUsize::new(0)))))
    }

    async fn answer(&self, _: &Binding<'_>, _: &Challenge, _: Timestamp) -> Result<Answer, Error> {
        let (codes, next) = &*self.0;
        let next = next.fetch_add(1, Ordering::Relaxed);
        let code = codes.get(next).ok_or("no code is left")?;
        let code = SecretString::new(code.clone()).ok_or("too long")?;
        Ok(Answer::RecoveryCode { code })
    }

    fn primitives() -> Result<Box<dyn FnMut()>, Error> {
        hashed(&[9; 10], 19 * 1024, 2, 1)
    }
}
