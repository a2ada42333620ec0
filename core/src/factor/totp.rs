//! Time-based one-time passwords (RFC 6238), by `totp-rs`.
//!
//! One step of skew each way (section 5.2). That a step is accepted once is the store's to keep:
//! the verifier says which step an answer takes.

use std::fmt;

use async_trait::async_trait;
use data_encoding::BASE32_NOPAD;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use totp_rs::{Algorithm, Builder, Totp};
use zeroize::Zeroizing;

use super::{Context, MfaVerifier, Proof, VerifyError};
use crate::assurance::{Assurance, FactorKind};
use crate::channel::message::{Answer, Challenge, Code};
use crate::seal::Secret;
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
        let code = Zeroizing::new(self.totp()?.generate(at.as_secs()).to_string());
        code.parse().map_err(|_| InvalidTotp)
    }

    /// The number of the time step at a time (RFC 6238, section 4.2).
    pub fn step(&self, at: Timestamp) -> u64 {
        at.as_secs() / u64::from(self.period)
    }

    /// The step that a code takes, if it is right within one step of skew.
    fn check(&self, code: &Code, at: Timestamp) -> Result<Option<u64>, InvalidTotp> {
        Ok(self.totp()?.check(code.expose_secret(), at.as_secs()))
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
    pub fn to_secret(&self) -> Secret {
        let mut bytes = Vec::with_capacity(HEADER_LEN + self.secret.len());
        bytes.extend([VERSION, self.algorithm_code(), self.digits]);
        bytes.extend(self.period.to_be_bytes());
        bytes.extend(&*self.secret);
        Secret::new(bytes)
    }

    /// Reads what [`TotpSecret::to_secret`] wrote.
    ///
    /// # Errors
    /// [`InvalidTotp`] for anything else.
    pub fn from_secret(secret: &Secret) -> Result<Self, InvalidTotp> {
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
            .with_skew(1)
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
    let code = QrCode::new(uri).map_err(|_| InvalidTotp)?;
    let mut drawing = code.render::<Dense1x2>();
    let drawn = drawing
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    Ok(Zeroizing::new(drawn))
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

    async fn challenge(&self, context: &Context<'_>) -> Result<Challenge, VerifyError> {
        let secret = TotpSecret::from_secret(context.secret).map_err(backend)?;
        Ok(Challenge::Code {
            kind: FactorKind::TOTP,
            label: context.factor.label.clone(),
            digits: secret.digits(),
            locked_for_ms: None,
        })
    }

    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Proof, VerifyError> {
        let Answer::Code { code } = answer;
        let secret = TotpSecret::from_secret(context.secret).map_err(backend)?;
        if code.expose_secret().len() != usize::from(secret.digits()) {
            return Err(VerifyError::Unfit);
        }
        let step = secret
            .check(code, context.now)
            .map_err(backend)?
            .ok_or(VerifyError::Wrong)?;
        if context.factor.last_step.is_some_and(|last| step <= last) {
            return Err(VerifyError::Replayed);
        }
        Ok(Proof {
            factor: context.factor.id,
            assurance: Assurance {
                kind: FactorKind::TOTP,
                phishing_resistant: false,
                user_verified: false,
                replay_resistant: true,
                authenticated_at: context.now,
            },
            consume: Some(step),
        })
    }
}

fn backend(error: InvalidTotp) -> VerifyError {
    VerifyError::Backend(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, Appendix B: the secret is the ASCII digits, as long as the hash.
    fn rfc_secret(algorithm: HashAlgorithm, len: usize) -> TotpSecret {
        let secret = b"1234567890".iter().copied().cycle().take(len).collect();
        TotpSecret::new(secret, algorithm, 8, 30).unwrap()
    }

    #[test]
    fn the_codes_of_rfc_6238_appendix_b_come_out() {
        let sha1 = rfc_secret(HashAlgorithm::Sha1, 20);
        let sha256 = rfc_secret(HashAlgorithm::Sha256, 32);
        let sha512 = rfc_secret(HashAlgorithm::Sha512, 64);
        for (secs, one, two, three) in [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ] {
            let at = Timestamp::from_millis(secs * 1000);
            for (secret, code) in [(&sha1, one), (&sha256, two), (&sha512, three)] {
                assert_eq!(secret.code(at).unwrap().expose_secret(), code, "{secs}");
            }
        }
    }

    #[test]
    fn one_step_of_skew_each_way_is_accepted_and_no_more() {
        let secret = TotpSecret::generate().unwrap();
        let at = Timestamp::from_millis(1_767_225_615_000);
        let step = secret.step(at);
        for (offset, expected) in [
            (-2, None),
            (-1, Some(step - 1)),
            (0, Some(step)),
            (1, Some(step + 1)),
            (2, None),
        ] {
            let then = at.as_millis().checked_add_signed(offset * 30_000).unwrap();
            let code = secret.code(Timestamp::from_millis(then)).unwrap();
            assert_eq!(secret.check(&code, at).unwrap(), expected, "{offset}");
        }
    }

    #[test]
    fn codes_agree_with_oathtool() {
        for (algorithm, name) in [
            (HashAlgorithm::Sha1, "sha1"),
            (HashAlgorithm::Sha256, "sha256"),
            (HashAlgorithm::Sha512, "sha512"),
        ] {
            for digits in [6, 8] {
                let random = TotpSecret::generate().unwrap();
                let secret =
                    TotpSecret::new(random.secret.to_vec(), algorithm, digits, 30).unwrap();
                let at = 1_795_000_000 + u64::from(digits) * 12_345;
                let output = std::process::Command::new("oathtool")
                    .args([format!("--totp={name}"), format!("--digits={digits}")])
                    .arg(format!("--now=@{at}"))
                    .args(["--base32", &secret.expose_base32()])
                    .output()
                    .expect("oathtool is needed: install the package `oathtool`");
                let code = secret.code(Timestamp::from_millis(at * 1000)).unwrap();
                let theirs = String::from_utf8(output.stdout).unwrap();
                assert_eq!(code.expose_secret(), theirs.trim(), "{name} {digits}");
            }
        }
    }

    #[test]
    fn a_secret_reads_back_and_nothing_else_reads_as_one() {
        let secret = TotpSecret::generate().unwrap();
        let back = TotpSecret::from_secret(&secret.to_secret()).unwrap();
        assert_eq!(back.expose_base32(), secret.expose_base32());
        for bytes in [
            vec![],
            vec![1],
            vec![1, 1, 6, 0, 30, 1, 2],
            vec![2; 40],
            vec![1, 9, 6, 0, 30],
        ] {
            assert!(TotpSecret::from_secret(&Secret::new(bytes)).is_err());
        }
    }

    #[test]
    fn the_uri_is_what_authenticator_apps_read_and_fits_a_qr_code() {
        let secret = TotpSecret::new(vec![0; 20], HashAlgorithm::Sha1, 6, 30).unwrap();
        let uri = secret.expose_uri("Example", "alice@example.org").unwrap();
        assert!(
            uri.starts_with("otpauth://totp/Example:alice%40example.org?"),
            "{}",
            *uri
        );
        assert!(uri.contains("secret=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
        assert!(qr_for_terminal(&uri).unwrap().lines().count() > 10);
        assert!(secret.expose_uri("a:b", "alice").is_err());
        assert_eq!(format!("{secret:?}"), "TotpSecret([redacted])");
    }
}
