//! A workload's ID token: made for one attempt, since its audience names that attempt.

use super::error::TokenFault;
use super::provider::{Answered, Ceremony, Means, Provider};
use super::token::{Expected, IdToken};
use crate::channel::message::{Challenge, SecretString, Workload};
use crate::factor::{AttemptContext, VerifyError};

/// The audience that stands for an attempt, by its fingerprint.
pub(super) fn audience(fingerprint: &str) -> String {
    format!("urn:mfagate:attempt:{fingerprint}")
}

/// What a workload is asked.
pub(super) fn challenge(issuer: &str, ceremony: &Ceremony) -> Challenge {
    Challenge::OpenId {
        issuer: issuer.to_owned(),
        authorize: None,
        redirects: Vec::new(),
        device: false,
        workload: Some(Workload {
            audience: ceremony.audience.clone(),
            nonce: ceremony.nonce.clone(),
        }),
    }
}

impl Provider {
    pub(super) async fn take_workload(
        &self,
        attempt: &AttemptContext<'_>,
        ceremony: &Ceremony,
        token: &SecretString,
    ) -> Result<Answered, VerifyError> {
        let token: IdToken = token
            .expose_secret()
            .parse()
            .map_err(|_| self.refused(TokenFault::Malformed))?;
        let known = self.known(attempt.now).await?;
        let expected = Expected {
            audience: &ceremony.audience,
            trusted: &[],
            // It was issued to the workload.
            is_issued_to_audience: false,
            // Not every issuer can be asked for one; the audience binds the token by itself.
            nonce_may_lack: true,
            // A program has no session that could be old, and no class.
            acr: &[],
            max_age: None,
            ..self.expected(ceremony, attempt.now)
        };
        let login = self.judge(&token, &known, &expected).await?;
        Ok(Answered::LoggedIn(login, Means::Workload))
    }
}
