//! Time-based one-time passwords (RFC 6238), by `totp-rs`.
//!
//! One step of skew each way (section 5.2). That a step is accepted once is the store's to keep:
//! the verifier says which step an answer takes.

use std::fmt;

use async_trait::async_trait;
use data_encoding::BASE32_NOPAD;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use totp_rs::{Algorithm, Builder, Totp};
use zeroize::Zeroizing;

use super::{
    Context, Credential, Enrolling, IssuedChallenge, MfaVerifier, Proof, Registration, Verdict,
    VerifyError,
};
use crate::assurance::{Assurance, FactorKind};
use crate::channel::message::{Answer, Challenge, Code, SecretString};
use crate::qr;
use crate::scrub::wiping;
use crate::seal::SecretBytes;
use crate::time::Timestamp;

const VERSION: u8 = 1;
const HEADER_LEN: usize = 5;
/// 160 bits, as RFC 4226 section 4 recommends.
const SECRET_LEN: usize = 20;

/// The hash of the HMAC. Most authenticator apps know SHA-1 only, and some ignore the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// HMAC-SHA-1.
    #[default]
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

/// A TOTP secret with its parameters: zeroized on drop, never printed.
#[derive(Clone)]
pub struct TotpSecret {
    secret: Zeroizing<Vec<u8>>,
    algorithm: HashAlgorithm,
    digits: u8,
    period: u16,
}

impl TotpSecret {
    /// A fresh secret of 160 bits with what every authenticator app knows: SHA-1, 6 digits, 30 s.
    ///
    /// # Errors
    /// [`getrandom::Error`] when the system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut secret = Zeroizing::new(vec![0; SECRET_LEN]);
        getrandom::fill(&mut secret)?;
        Ok(Self {
            secret,
            algorithm: HashAlgorithm::Sha1,
            digits: 6,
            period: 30,
        })
    }

    /// A secret from elsewhere: at least 128 bits (RFC 4226, section 4), 6 to 8 digits, a period
    /// of 1 to 65,535 seconds.
    ///
    /// # Errors
    /// [`InvalidTotp`] for any other figure.
    pub fn new(
        secret: Vec<u8>,
        algorithm: HashAlgorithm,
        digits: u8,
        period: u16,
    ) -> Result<Self, InvalidTotp> {
        let secret = Zeroizing::new(secret);
        if secret.len() < 16 || !(6..=8).contains(&digits) || period == 0 {
            return Err(InvalidTotp);
        }
        Ok(Self {
            secret,
            algorithm,
            digits,
            period,
        })
    }

    /// How many digits a code has.
    pub const fn digits(&self) -> u8 {
        self.digits
    }

    /// The code at a time: what an authenticator app shows.
    ///
    /// # Errors
    /// [`InvalidTotp`] does not come from a secret that was made by this type's constructors.
    pub fn code(&self, at: Timestamp) -> Result<Code, InvalidTotp> {
        wiping(|| {
            let code = Zeroizing::new(self.totp()?.generate(at.as_secs()).to_string());
            code.parse().map_err(|_| InvalidTotp)
        })
    }

    /// The number of the time step at a time (RFC 6238, section 4.2).
    pub fn step(&self, at: Timestamp) -> u64 {
        at.as_secs() / u64::from(self.period)
    }

    /// The step that a code takes, if it is right within one step of skew. Where steps share a
    /// code it takes the greatest of them, so that a replay finds none left. Each of the three is
    /// compared whole: how long that takes tells nothing.
    fn check(&self, code: &Code, at: Timestamp) -> Result<Option<u64>, InvalidTotp> {
        wiping(|| self.compare(code, at))
    }

    fn compare(&self, code: &Code, at: Timestamp) -> Result<Option<u64>, InvalidTotp> {
        let totp = self.totp()?;
        let step = self.step(at);
        let mut is_right = Choice::from(0);
        let mut taken = 0;
        for step in [step.saturating_sub(1), step, step.saturating_add(1)] {
            let at = step.saturating_mul(self.period.into());
            let expected = Zeroizing::new(totp.generate(at).to_string());
            let is_same = expected.as_bytes().ct_eq(code.expose_secret().as_bytes());
            taken.conditional_assign(&step, is_same);
            is_right |= is_same;
        }
        Ok(bool::from(is_right).then_some(taken))
    }

    /// What an authenticator app reads: an `otpauth://` URI. Holds the secret.
    ///
    /// # Errors
    /// [`InvalidTotp`] when the issuer or the account holds a colon, or the account is empty.
    pub fn expose_uri(
        &self,
        issuer: &str,
        account: &str,
    ) -> Result<Zeroizing<String>, InvalidTotp> {
        let named = self
            .builder()
            .with_issuer(Some(issuer))
            .with_account_name(account)
            .build();
        let totp = named.map_err(|_| InvalidTotp)?;
        totp.to_url().map(Zeroizing::new).map_err(|_| InvalidTotp)
    }

    /// The secret as Base32, for an app that can't scan.
    pub fn expose_base32(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE32_NOPAD.encode(&self.secret))
    }

    /// The secret and its parameters as bytes, to be sealed.
    pub fn to_secret(&self) -> SecretBytes {
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.secret.len());
        bytes.extend([VERSION, self.algorithm_code(), self.digits]);
        bytes.extend(self.period.to_be_bytes());
        bytes.extend(&*self.secret);
        SecretBytes::new(bytes)
    }

    /// Reads what [`TotpSecret::to_secret`] wrote.
    ///
    /// # Errors
    /// [`InvalidTotp`] for anything else.
    pub fn from_secret(secret: &SecretBytes) -> Result<Self, InvalidTotp> {
        let [VERSION, algorithm, digits, high, low, secret @ ..] = secret.expose_secret() else {
            return Err(InvalidTotp);
        };
        let algorithm = match algorithm {
            1 => HashAlgorithm::Sha1,
            2 => HashAlgorithm::Sha256,
            3 => HashAlgorithm::Sha512,
            _ => return Err(InvalidTotp),
        };
        Self::new(
            secret.to_vec(),
            algorithm,
            *digits,
            u16::from_be_bytes([*high, *low]),
        )
    }

    const fn algorithm_code(&self) -> u8 {
        match self.algorithm {
            HashAlgorithm::Sha1 => 1,
            HashAlgorithm::Sha256 => 2,
            HashAlgorithm::Sha512 => 3,
        }
    }

    fn builder(&self) -> Builder {
        let algorithm = match self.algorithm {
            HashAlgorithm::Sha1 => Algorithm::SHA1,
            HashAlgorithm::Sha256 => Algorithm::SHA256,
            HashAlgorithm::Sha512 => Algorithm::SHA512,
        };
        Builder::new()
            .with_algorithm(algorithm)
            .with_digits(self.digits)
            .with_step_duration(u64::from(self.period))
            .with_secret(self.secret.to_vec().into_boxed_slice())
    }

    fn totp(&self) -> Result<Totp, InvalidTotp> {
        self.builder()
            .with_account_name("mfagate")
            .build()
            .map_err(|_| InvalidTotp)
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret([redacted])")
    }
}

/// A TOTP secret or a name for it that does not fit RFC 6238 or the `otpauth` format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a TOTP secret: it needs 128 bits or more, 6 to 8 digits, a period, and names without a colon"
)]
pub struct InvalidTotp;

/// An `otpauth://` URI as a QR code for a terminal, dark on light whatever the terminal's colours.
///
/// # Errors
/// [`InvalidTotp`] when the URI is too long for a QR code.
pub fn qr_for_terminal(uri: &str) -> Result<Zeroizing<String>, InvalidTotp> {
    qr::for_terminal(uri).ok_or(InvalidTotp)
}

/// Verifies one-time passwords.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct TotpVerifier;

impl TotpVerifier {
    /// A verifier.
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl MfaVerifier for TotpVerifier {
    fn kind(&self) -> FactorKind {
        FactorKind::TOTP
    }

    async fn challenge(&self, context: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        let secret = TotpSecret::from_secret(context.secret).map_err(VerifyError::backend)?;
        let digits = secret.digits();
        Ok(Challenge::Code { digits }.into())
    }

    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Verdict, VerifyError> {
        let secret = TotpSecret::from_secret(context.secret).map_err(VerifyError::backend)?;
        let now = context.attempt.now;
        let step = taken(&secret, answer, now)?;
        if context.factor.last_counter.is_some_and(|last| step <= last) {
            return Err(VerifyError::Replayed);
        }
        let assurance = Assurance {
            replay_resistant: true,
            ..Assurance::least(FactorKind::TOTP, now)
        };
        let proof = Proof {
            counter: Some(step),
            ..Proof::new(context.factor.id, assurance)
        };
        Ok(proof.into())
    }

    /// The gate makes the secret and shows it to the client once.
    async fn register(&self, enrolling: &Enrolling<'_>) -> Result<IssuedChallenge, VerifyError> {
        let secret = TotpSecret::generate().map_err(VerifyError::backend)?;
        let (location, user) = (enrolling.attempt.location, enrolling.attempt.user);
        let uri = secret
            .expose_uri(location.as_str(), user.as_str())
            .map_err(VerifyError::backend)?;
        let uri = SecretString::new(String::clone(&uri)).ok_or(VerifyError::NotEnrollable)?;
        let digits = secret.digits();
        Ok(IssuedChallenge {
            challenge: Challenge::RegisterTotp { uri, digits },
            state: Some(secret.to_secret()),
        })
    }

    async fn enrol(
        &self,
        enrolling: &Enrolling<'_>,
        answer: &Answer,
    ) -> Result<Registration, VerifyError> {
        let secret = enrolling.state.ok_or(VerifyError::Unfit)?;
        let totp = TotpSecret::from_secret(secret).map_err(VerifyError::backend)?;
        let step = taken(&totp, answer, enrolling.attempt.now)?;
        Ok(Registration::Proven(Credential {
            secret: secret.clone(),
            counter: Some(step),
            id: None,
        }))
    }
}

/// The step that a right answer takes.
fn taken(secret: &TotpSecret, answer: &Answer, now: Timestamp) -> Result<u64, VerifyError> {
    let Answer::Code { code } = answer else {
        return Err(VerifyError::Unfit);
    };
    if code.expose_secret().len() != usize::from(secret.digits()) {
        return Err(VerifyError::Unfit);
    }
    secret
        .check(code, now)
        .map_err(VerifyError::backend)?
        .ok_or(VerifyError::Wrong)
}

#[cfg(test)]
mod tests;
