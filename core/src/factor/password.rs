//! Passwords and PINs that the gate verifies: the "something you know" that stands beside a device
//! (NIST SP 800-63B-4, section 3.1.1).
//!
//! - At least 15 characters where a password is all there is, 8 beside another factor; at most 256.
//!   No rules on composition, no hints, no expiry.
//! - A [`Blocklist`] of yours is asked about each new one. NIST requires one of common, expected
//!   and leaked passwords; none is built in.
//! - Unicode, in Normalization Form C (RFC 8265, section 4.2.2), whole: nothing is cut off.
//! - Stored as an Argon2id hash with a salt of 128 bits: 64 MiB, 3 passes, 4 lanes, the second
//!   recommendation of RFC 9106, section 4. When that changes, the next right answer stores the
//!   password again.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::argon2::{self, Cost, Hash, Salt};
use super::{
    Context, Credential, Enrolling, IssuedChallenge, MfaVerifier, Proof, Registration, Verdict,
    VerifyError,
};
use crate::assurance::{Assurance, FactorKind};
use crate::channel::message::{Answer, Challenge};
use crate::id::UserId;
use crate::seal::SecretBytes;

const VERSION: u8 = 1;
/// Characters, by Unicode code points. NIST asks for 64 at least.
const LONGEST: usize = 256;
const COST: Cost = Cost {
    memory: 64 * 1024,
    passes: 3,
    lanes: 4,
};

/// Passwords that no one may choose.
pub trait Blocklist: Send + Sync + 'static {
    /// Whether this user may not have this password, which comes normalised: because it is common
    /// or leaked, or says who the user or what the service is. Answers at once: look things up in
    /// memory.
    fn holds(&self, user: &UserId, password: &str) -> bool;
}

/// Verifies passwords. Its calls need a tokio runtime.
#[derive(Clone)]
pub struct PasswordVerifier {
    shortest: u32,
    blocklist: Option<Arc<dyn Blocklist>>,
    cost: Cost,
}

impl PasswordVerifier {
    /// A verifier for passwords that are all there is: at least 15 characters.
    pub const fn new() -> Self {
        Self {
            shortest: 15,
            blocklist: None,
            cost: COST,
        }
    }

    /// A verifier for passwords that the policy only ever accepts beside another factor: at least 8
    /// characters.
    pub fn beside_another_factor() -> Self {
        Self {
            shortest: 8,
            ..Self::new()
        }
    }

    /// Asks this about each new password.
    #[must_use]
    pub fn blocklist(mut self, blocklist: Arc<dyn Blocklist>) -> Self {
        self.blocklist = Some(blocklist);
        self
    }

    /// What a hash costs, in place of RFC 9106's: memory in KiB, passes, lanes. Less than that
    /// makes a stolen hash easier to guess at. A cost that Argon2 does not have verifies no one.
    #[must_use]
    pub const fn danger_cost(mut self, memory: u32, passes: u32, lanes: u32) -> Self {
        self.cost = Cost {
            memory,
            passes,
            lanes,
        };
        self
    }

    /// A new password as bytes, to be sealed: hashed. For an administrator who hands one out;
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// [`VerifyError::Unfit`] for a password that may not be chosen; [`VerifyError::Backend`] when
    /// it can't be hashed.
    pub async fn secret(&self, user: &UserId, password: &str) -> Result<SecretBytes, VerifyError> {
        let password = Password::new(password).ok_or(VerifyError::Unfit)?;
        let shortest = usize::try_from(self.shortest).map_err(VerifyError::backend)?;
        let is_blocked = |list: &Arc<dyn Blocklist>| list.holds(user, &password.0);
        if password.0.chars().count() < shortest || self.blocklist.as_ref().is_some_and(is_blocked)
        {
            return Err(VerifyError::Unfit);
        }
        self.stored(&password).await
    }

    async fn stored(&self, password: &Password) -> Result<SecretBytes, VerifyError> {
        let salt = Salt::generate()?;
        let hash = password.hash(&salt, self.cost).await?;
        let stored = Stored {
            version: VERSION,
            cost: self.cost,
            salt,
            hash,
        };
        serde_json::to_vec(&stored)
            .map(SecretBytes::new)
            .map_err(VerifyError::backend)
    }
}

impl Default for PasswordVerifier {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PasswordVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordVerifier")
            .field("shortest", &self.shortest)
            .field("blocklist", &self.blocklist.is_some())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl MfaVerifier for PasswordVerifier {
    fn kind(&self) -> FactorKind {
        FactorKind::PASSWORD
    }

    async fn challenge(&self, context: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        Stored::read(context.secret)?;
        Ok(Challenge::Password {}.into())
    }

    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Verdict, VerifyError> {
        let Answer::Password { password } = answer else {
            return Err(VerifyError::Unfit);
        };
        let password = Password::new(password.expose_secret()).ok_or(VerifyError::Unfit)?;
        let stored = Stored::read(context.secret)?;
        let hash = password.hash(&stored.salt, stored.cost).await?;
        if !bool::from(stored.hash.is_same(&hash)) {
            return Err(VerifyError::Wrong);
        }
        let assurance = Assurance::least(FactorKind::PASSWORD, context.attempt.now);
        let mut proof = Proof::new(context.factor.id, assurance);
        if stored.cost != self.cost {
            proof.replace_secret = Some(self.stored(&password).await?);
        }
        Ok(proof.into())
    }

    async fn register(&self, _: &Enrolling<'_>) -> Result<IssuedChallenge, VerifyError> {
        let shortest = self.shortest;
        Ok(Challenge::ChoosePassword { shortest }.into())
    }

    async fn enrol(
        &self,
        enrolling: &Enrolling<'_>,
        answer: &Answer,
    ) -> Result<Registration, VerifyError> {
        let Answer::Password { password } = answer else {
            return Err(VerifyError::Unfit);
        };
        let user = enrolling.attempt.user;
        Ok(Registration::Proven(Credential {
            secret: self.secret(user, password.expose_secret()).await?,
            counter: None,
            id: None,
        }))
    }
}

/// A password, normalised.
struct Password(Zeroizing<String>);

impl Password {
    /// `None` for no password at all, and for one that is too long.
    fn new(text: &str) -> Option<Self> {
        // A character takes four bytes at most, and composing makes none longer than three times
        // itself (UAX 15, table 11): no copies left by growing.
        let mut normal = Zeroizing::new(String::with_capacity(text.len().saturating_mul(3)));
        normal.extend(text.nfc());
        let fits = (1..=LONGEST).contains(&normal.chars().count());
        fits.then_some(Self(normal))
    }

    async fn hash(&self, salt: &Salt, cost: Cost) -> Result<Hash, VerifyError> {
        let text = Zeroizing::new(self.0.as_bytes().to_vec());
        let hashes = argon2::hash(vec![text], salt, cost).await?;
        let hash = hashes.into_iter().next();
        hash.ok_or_else(|| VerifyError::backend(Unreadable))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u8,
    cost: Cost,
    salt: Salt,
    hash: Hash,
}

impl Stored {
    fn read(secret: &SecretBytes) -> Result<Self, VerifyError> {
        serde_json::from_slice(secret.expose_secret())
            .ok()
            .filter(|stored: &Self| stored.version == VERSION)
            .ok_or_else(|| VerifyError::backend(Unreadable))
    }
}

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the stored password can't be read: set it again")]
struct Unreadable;

/// What the fuzz target calls: whether a factor's secret can be read. Not a part of the crate as it
/// is built elsewhere.
#[cfg(any(test, fuzzing))]
pub fn fuzz_stored(secret: &SecretBytes) -> bool {
    Stored::read(secret).is_ok()
}

#[cfg(test)]
mod tests;
