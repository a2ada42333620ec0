//! Recovery codes, for users who lost everything else: look-up secrets (NIST SP 800-63B-4, section
//! 3.1.2), ten at a time, each good once.
//!
//! A code is 80 random bits as four groups of four in Crockford's Base32, which reads `O` as `0`
//! and `I` and `L` as `1`. Stored is an Argon2id hash of each with one salt for the set: 19 MiB, 2
//! passes, 1 lane, the least that OWASP's cheat sheet on password storage recommends, which for 80
//! random bits is plenty. An answer costs one hash, however many codes are left, and is compared
//! with all ten in constant time.
//!
//! A code is spent by [`Proof::replace_secret`]: the store swaps the set for one in which it is marked, if
//! no one has changed the set meanwhile, in the transaction that admits. So two gates of one
//! deployment can't both take it. A spent code is told from a wrong one, and counted as wrong.

use std::sync::LazyLock;

use async_trait::async_trait;
use data_encoding::{Encoding, Specification};
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use super::argon2::{self, Cost, Hash, Salt};
use super::{
    Context, Credential, Enrolling, IssuedChallenge, MfaVerifier, Proof, Registration, Verdict,
    VerifyError,
};
use crate::assurance::{Assurance, FactorKind};
use crate::channel::message::{Answer, Challenge, SecretString};
use crate::seal::SecretBytes;

const VERSION: u8 = 1;
/// How many codes a set has.
const CODES: usize = 10;
/// 80 bits; NIST asks for 64 where hashes are to be safe without a count of failures.
const CODE_LEN: usize = 10;
const COST: Cost = Cost {
    memory: 19 * 1024,
    passes: 2,
    lanes: 1,
};

/// Verifies recovery codes. Its calls need a tokio runtime.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct RecoveryCodeVerifier;

impl RecoveryCodeVerifier {
    /// A verifier.
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl MfaVerifier for RecoveryCodeVerifier {
    fn kind(&self) -> FactorKind {
        FactorKind::RECOVERY_CODES
    }

    async fn challenge(&self, context: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        let left = Stored::read(context.secret)?.left();
        if left == 0 {
            return Err(VerifyError::backend(NoneLeft));
        }
        let left = u32::try_from(left).map_err(VerifyError::backend)?;
        Ok(Challenge::RecoveryCode { left }.into())
    }

    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Verdict, VerifyError> {
        let code = answered(answer)?;
        let mut stored = Stored::read(context.secret)?;
        let hashes = argon2::hash(vec![code.to_bytes()], &stored.salt, stored.cost).await?;
        let hash = hashes
            .first()
            .ok_or_else(|| VerifyError::backend(NoneLeft))?;
        // All are compared, so that the time does not tell which one it was.
        let mut found = None;
        for (at, code) in stored.codes.iter().enumerate() {
            if bool::from(code.hash.is_same(hash)) {
                found = Some(at);
            }
        }
        let code = found.and_then(|at| stored.codes.get_mut(at));
        let code = code.ok_or(VerifyError::Wrong)?;
        if std::mem::replace(&mut code.spent, true) {
            return Err(VerifyError::Replayed);
        }
        let assurance = Assurance {
            replay_resistant: true,
            ..Assurance::least(FactorKind::RECOVERY_CODES, context.attempt.now)
        };
        let mut proof = Proof::new(context.factor.id, assurance);
        proof.replace_secret = Some(stored.to_secret());
        Ok(proof.into())
    }

    async fn register(&self, _: &Enrolling<'_>) -> Result<IssuedChallenge, VerifyError> {
        let codes = RecoveryCodes::generate().map_err(VerifyError::backend)?;
        let shown = codes.0.iter().map(Code::shown).collect::<Option<_>>();
        Ok(IssuedChallenge {
            challenge: Challenge::KeepRecoveryCodes {
                codes: shown.ok_or_else(|| VerifyError::backend(Unreadable))?,
            },
            state: Some(codes.to_state()),
        })
    }

    async fn enrol(
        &self,
        enrolling: &Enrolling<'_>,
        answer: &Answer,
    ) -> Result<Registration, VerifyError> {
        let code = answered(answer)?;
        let codes = enrolling.state.and_then(RecoveryCodes::from_state);
        let codes = codes.ok_or_else(|| VerifyError::backend(Unreadable))?;
        let is_kept = codes
            .0
            .iter()
            .fold(Choice::from(0), |any, kept| any | kept.0.ct_eq(&code.0));
        if !bool::from(is_kept) {
            return Err(VerifyError::Wrong);
        }
        Ok(Registration::Proven(Credential {
            secret: codes.to_secret().await?,
            counter: None,
            id: None,
        }))
    }
}

/// A fresh set of codes, in the clear. Zeroized on drop, never printed.
pub struct RecoveryCodes(Vec<Code>);

impl RecoveryCodes {
    /// Ten from the operating system's generator.
    ///
    /// # Errors
    /// [`getrandom::Error`] when the system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut codes = Vec::with_capacity(CODES);
        for _ in 0..CODES {
            let mut code = Code([0; CODE_LEN]);
            getrandom::fill(&mut code.0)?;
            codes.push(code);
        }
        Ok(Self(codes))
    }

    /// The codes as a user keeps them. The caller is responsible for where they go: they
    /// are shown once.
    pub fn expose(&self) -> Vec<Zeroizing<String>> {
        self.0.iter().map(Code::text).collect()
    }

    /// The set as bytes, to be sealed: hashed, so that it can't be read back. For an administrator
    /// who hands codes out; inside a tokio runtime.
    ///
    /// # Errors
    /// [`VerifyError::Backend`] when they can't be hashed.
    pub async fn to_secret(&self) -> Result<SecretBytes, VerifyError> {
        let salt = Salt::generate()?;
        let texts = self.0.iter().map(Code::to_bytes).collect();
        let hashes = argon2::hash(texts, &salt, COST).await?;
        let codes = hashes
            .into_iter()
            .map(|hash| StoredCode { hash, spent: false });
        let stored = Stored {
            version: VERSION,
            cost: COST,
            salt,
            codes: codes.collect(),
        };
        Ok(stored.to_secret())
    }

    fn to_state(&self) -> SecretBytes {
        let mut bytes = Vec::with_capacity(1 + CODES * CODE_LEN); // no copies left by growing
        bytes.push(VERSION);
        for code in &self.0 {
            bytes.extend(code.0);
        }
        SecretBytes::new(bytes)
    }

    fn from_state(state: &SecretBytes) -> Option<Self> {
        let [VERSION, codes @ ..] = state.expose_secret() else {
            return None;
        };
        let (codes, rest) = codes.as_chunks();
        let fits = codes.len() == CODES && rest.is_empty();
        fits.then(|| Self(codes.iter().copied().map(Code).collect()))
    }
}

impl std::fmt::Debug for RecoveryCodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoveryCodes([redacted])")
    }
}

/// One code.
struct Code([u8; CODE_LEN]);

impl Drop for Code {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Code {
    /// As a user types it; spaces and hyphens are dropped.
    fn parse(text: &str) -> Option<Self> {
        let len = BASE32.decode_len(text.len()).ok();
        let mut bytes = Zeroizing::new(vec![0; len.unwrap_or(text.len())]);
        let len = BASE32
            .decode_mut(text.as_bytes(), bytes.get_mut(..len?)?)
            .ok()?;
        bytes.get(..len)?.try_into().map(Self).ok()
    }

    fn text(&self) -> Zeroizing<String> {
        let digits = Zeroizing::new(BASE32.encode(&self.0));
        let mut text = Zeroizing::new(String::with_capacity(digits.len() + 3));
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && at.is_multiple_of(4) {
                text.push('-');
            }
            text.push(digit);
        }
        text
    }

    fn shown(&self) -> Option<SecretString> {
        SecretString::new(std::mem::take(&mut *self.text()))
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.to_vec())
    }
}

/// Crockford's Base32, without its check symbol.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    specification
        .translate
        .from
        .push_str("abcdefghjkmnpqrstvwxyzOoIiLl");
    specification
        .translate
        .to
        .push_str("ABCDEFGHJKMNPQRSTVWXYZ001111");
    specification.ignore.push_str("- ");
    #[expect(
        clippy::expect_used,
        reason = "a constant: shown by every test of this module"
    )]
    specification.encoding().expect("an alphabet")
});

fn answered(answer: &Answer) -> Result<Code, VerifyError> {
    let Answer::RecoveryCode { code } = answer else {
        return Err(VerifyError::Unfit);
    };
    Code::parse(code.expose_secret()).ok_or(VerifyError::Unfit)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u8,
    cost: Cost,
    salt: Salt,
    codes: Vec<StoredCode>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCode {
    hash: Hash,
    spent: bool,
}

impl Stored {
    fn read(secret: &SecretBytes) -> Result<Self, VerifyError> {
        serde_json::from_slice(secret.expose_secret())
            .ok()
            .filter(|stored: &Self| stored.version == VERSION)
            .ok_or_else(|| VerifyError::backend(Unreadable))
    }

    fn to_secret(&self) -> SecretBytes {
        // Texts and numbers: there is nothing that JSON could not say.
        SecretBytes::new(serde_json::to_vec(self).unwrap_or_default())
    }

    fn left(&self) -> usize {
        self.codes.iter().filter(|code| !code.spent).count()
    }
}

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the stored recovery codes can't be read: enrol new ones")]
struct Unreadable;

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("all recovery codes are spent: enrol new ones")]
struct NoneLeft;

#[cfg(test)]
mod tests;
