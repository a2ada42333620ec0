//! One-time enrolment tokens, in an administrator's hands: with one, a user's client enrols a
//! factor without having passed another.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{EnrolError, EnrolFault, Registrar};
use crate::assurance::FactorKind;
use crate::audit::{AuditEvent, AuditKind};
use crate::id::{FactorId, TokenId, UserId};
use crate::policy::Policy;
use crate::store::EnrolmentToken;
use crate::time::Timestamp;

/// A token as it was issued. Shown once, to the person who hands it to the user; prints none of it.
pub struct IssuedToken {
    /// Its id, which is not secret.
    pub id: TokenId,
    /// From when on it is no longer good.
    pub not_after: Timestamp,
    text: Zeroizing<String>,
}

impl IssuedToken {
    /// The token: `mfe_` and 43 letters, digits, hyphens and underscores. No one can show it again.
    pub fn expose_text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken")
            .field("id", &self.id)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Registrar {
    /// How long a token lasts where nothing speaks for another time: a day.
    pub const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

    /// Issues a token with which the user's client may enrol one factor of these kinds, or of any
    /// where there are none, within this time: a second to 30 days.
    ///
    /// # Errors
    /// `enrol-token-lifetime`, `enrol-randomness`; what [`StoreError`](crate::store::StoreError) says, also when
    /// the user is unknown.
    pub async fn issue_token(
        &self,
        user: &UserId,
        kinds: Vec<FactorKind>,
        ttl: Duration,
    ) -> Result<IssuedToken, EnrolError> {
        self.issue(user, kinds, ttl, None).await
    }

    /// Issues a token for a factor in the place of another, of which the user has lost the device,
    /// say: using it removes that one and ends the sessions that it opened, in the same
    /// transaction. Until then the old one is what it was: suspend it if it may be in the wrong
    /// hands.
    ///
    /// # Errors
    /// `enrol-no-factor` when it is none of the user's; else as
    /// [`issue_token`](Self::issue_token).
    pub async fn issue_replacement(
        &self,
        user: &UserId,
        factor: FactorId,
        kinds: Vec<FactorKind>,
        ttl: Duration,
    ) -> Result<IssuedToken, EnrolError> {
        self.owned(user, factor).await?;
        self.issue(user, kinds, ttl, Some(factor)).await
    }

    async fn issue(
        &self,
        user: &UserId,
        kinds: Vec<FactorKind>,
        ttl: Duration,
        replaces: Option<FactorId>,
    ) -> Result<IssuedToken, EnrolError> {
        let (issued, token, event) = self.token(user, kinds, ttl, replaces)?;
        self.store.put_token(token, event).await?;
        Ok(issued)
    }

    /// A token that is not in the store yet, with the record of its issue.
    pub(super) fn token(
        &self,
        user: &UserId,
        kinds: Vec<FactorKind>,
        ttl: Duration,
        replaces: Option<FactorId>,
    ) -> Result<(IssuedToken, EnrolmentToken, AuditEvent), EnrolError> {
        if !(Duration::from_secs(1)..=Policy::LONGEST).contains(&ttl) {
            return Err(EnrolError(EnrolFault::TokenLifetime));
        }
        let id = TokenId::generate().map_err(|_| EnrolFault::Randomness)?;
        let text = EnrolmentToken::generate_text().map_err(|_| EnrolFault::Randomness)?;
        let not_after = self.clock.now().timestamp + ttl;
        let kind = AuditKind::TokenIssued {
            token: id,
            kinds: kinds.clone(),
            not_after,
        };
        let mut event = self.user_event(kind, user);
        event.factor = replaces;
        let token = EnrolmentToken {
            id,
            user: user.clone(),
            digest: EnrolmentToken::digest_of(&text),
            kinds,
            not_after,
            replaces,
        };
        let issued = IssuedToken {
            id,
            not_after,
            text,
        };
        Ok((issued, token, event))
    }

    /// The user's tokens that have not been used, those that are over included.
    ///
    /// # Errors
    /// what [`StoreError`](crate::store::StoreError) says.
    pub async fn tokens(&self, user: &UserId) -> Result<Vec<EnrolmentToken>, EnrolError> {
        Ok(self.store.tokens(user).await?)
    }

    /// Takes a token back before its use.
    ///
    /// # Errors
    /// `enrol-no-token`; what [`StoreError`](crate::store::StoreError) says.
    pub async fn remove_token(&self, user: &UserId, token: TokenId) -> Result<(), EnrolError> {
        let tokens = self.store.tokens(user).await?;
        if !tokens.iter().any(|one| one.id == token) {
            return Err(EnrolError(EnrolFault::NoToken));
        }
        let event = self.user_event(AuditKind::TokenRemoved { token }, user);
        let removed = self.store.remove_token(token, event).await?;
        removed.then_some(()).ok_or(EnrolError(EnrolFault::NoToken))
    }
}
