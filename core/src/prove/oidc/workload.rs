//! A program's own token, made for one attempt.

use std::error::Error;

use async_trait::async_trait;

use super::{LoginError, LoginFault};
use crate::channel::message::{Answer, Challenge, SecretString, Workload};

/// Where a program has its ID tokens from: the metadata service of a cloud, a CI system, an agent.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// A fresh ID token with that audience, and with that nonce where the issuer takes one. A token
    /// for any other audience is refused by the gate, so nothing that was made before will do.
    ///
    /// # Errors
    /// Whatever keeps it from making one.
    async fn token(&self, wanted: &Workload) -> Result<SecretString, TokenSourceError>;
}

/// Why there is no token.
pub type TokenSourceError = Box<dyn Error + Send + Sync>;

/// The answer to a challenge that asks for a workload's token.
///
/// # Errors
/// `login-not-asked`, `login-no-token`.
pub async fn bring_token(
    challenge: &Challenge,
    source: &dyn TokenSource,
) -> Result<Answer, LoginError> {
    let Challenge::OpenId {
        workload: Some(wanted),
        ..
    } = challenge
    else {
        return Err(LoginError(LoginFault::NotAsked));
    };
    let token = source.token(wanted).await.map_err(LoginFault::NoToken)?;
    Ok(Answer::IdToken { token })
}
