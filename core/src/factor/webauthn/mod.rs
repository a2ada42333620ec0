#![doc = include_str!("docs.md")]

mod relying_party;
mod response;
mod stored;

use async_trait::async_trait;
use webauthn_rs::Webauthn;
use webauthn_rs::prelude::{Credential as CredentialRecord, Uuid, WebauthnError};
use webauthn_rs_proto::ResidentKeyRequirement;

use self::stored::{Asserting, Creating, Record};
use super::persisted::Pending;
use super::{
    AttemptContext, Context, Credential, Enrolling, IssuedChallenge, MfaVerifier, Proof,
    Registration, Verdict, VerifyError,
};
use crate::assurance::{Assurance, FactorKind};
use crate::channel::message::{Answer, Challenge};
use crate::id::CredentialId;
use crate::log;

pub(crate) use self::relying_party::RelyingPartyFault;
pub use self::relying_party::{InvalidRelyingParty, RelyingParty};

/// Verifies passkeys and security keys.
#[derive(Debug, Clone)]
pub struct WebAuthnVerifier {
    party: RelyingParty,
    webauthn: Webauthn,
}

impl WebAuthnVerifier {
    /// A verifier for a relying party.
    ///
    /// # Errors
    /// [`InvalidRelyingParty`].
    pub fn new(party: RelyingParty) -> Result<Self, InvalidRelyingParty> {
        let webauthn = party.webauthn()?;
        Ok(Self { party, webauthn })
    }

    /// A credential that the relying party still takes.
    fn record(&self, context: &Context<'_>) -> Result<(Record, CredentialRecord), VerifyError> {
        let record = Record::read(context.secret).map_err(VerifyError::backend)?;
        let credential = record.credential();
        if self.party.device_bound_only && credential.backup_eligible {
            return Err(VerifyError::backend(Synchronised));
        }
        Ok((record, credential))
    }

    fn assurance(&self, credential: &CredentialRecord, attempt: &AttemptContext<'_>) -> Assurance {
        Assurance {
            phishing_resistant: true,
            user_verified: true,
            replay_resistant: true,
            verifier_bound: true,
            hardware: self.party.trusts_device_bound && !credential.backup_eligible,
            ..Assurance::least(FactorKind::WEBAUTHN, attempt.now)
        }
    }
}

#[async_trait]
impl MfaVerifier for WebAuthnVerifier {
    fn kind(&self) -> FactorKind {
        FactorKind::WEBAUTHN
    }

    async fn challenge(&self, context: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        let (record, _) = self.record(context)?;
        let (mut options, ceremony) = self
            .webauthn
            .start_passkey_authentication(&[record.passkey])
            .map_err(VerifyError::backend)?;
        options.public_key.timeout = Some(time_left(&context.attempt));
        Ok(IssuedChallenge {
            challenge: Challenge::WebAuthn {
                options: serde_json::to_string(&options).map_err(VerifyError::backend)?,
            },
            state: Some(Pending::write(&context.attempt, ceremony).map_err(VerifyError::backend)?),
        })
    }

    async fn verify(&self, context: &Context<'_>, answer: &Answer) -> Result<Verdict, VerifyError> {
        let Answer::WebAuthn { credential: text } = answer else {
            return Err(VerifyError::Unfit);
        };
        let attempt = &context.attempt;
        let (mut record, credential) = self.record(context)?;
        let ceremony = Pending::<Asserting>::read(attempt, context.state)
            .map_err(VerifyError::backend)?
            .ok_or(VerifyError::Wrong)?;
        let assertion = response::assertion(text)?;
        in_time(attempt)?;
        if !response::is_sound_assertion(&self.party, &assertion, &record.user_handle) {
            return Err(VerifyError::Wrong);
        }
        let result = self
            .webauthn
            .finish_passkey_authentication(&assertion, &ceremony)
            .map_err(|error| refused(context, &error))?;
        // The ceremony has the credential as it was when the question was asked. What it is now
        // decides: another attempt may have passed since.
        if has_gone_back(result.counter(), credential.counter) {
            return Err(refused(
                context,
                &WebauthnError::CredentialPossibleCompromise,
            ));
        }
        // `webauthn-rs` lets a passkey become backup eligible; section 7.2, step 18, does not.
        let is_as_enrolled = result.backup_eligible() == credential.backup_eligible;
        let Some(changes) = record.passkey.update_credential(&result) else {
            return Err(VerifyError::Wrong);
        };
        if !is_as_enrolled || !result.user_verified() {
            return Err(VerifyError::Wrong);
        }
        let assurance = self.assurance(&credential, attempt);
        let mut proof = Proof::new(context.factor.id, assurance);
        if changes {
            proof.replace_secret = Some(record.write().map_err(VerifyError::backend)?);
        }
        Ok(proof.into())
    }

    async fn register(&self, enrolling: &Enrolling<'_>) -> Result<IssuedChallenge, VerifyError> {
        let attempt = &enrolling.attempt;
        let mut handle = [0; 16];
        getrandom::fill(&mut handle).map_err(VerifyError::backend)?;
        let user_handle = Uuid::from_bytes(handle);
        let user = attempt.user.as_str();
        let known = credentials(enrolling)
            .map(|id| id.as_bytes().to_vec())
            .collect();
        let (mut options, registration) = self
            .webauthn
            .start_passkey_registration(user_handle, user, user, Some(known))
            .map_err(VerifyError::backend)?;
        options.public_key.timeout = Some(time_left(attempt));
        if let Some(selection) = &mut options.public_key.authenticator_selection {
            // One that is found without its id: Android's Credential Manager makes no other.
            selection.resident_key = Some(ResidentKeyRequirement::Preferred);
        }
        let creating = Creating {
            user_handle,
            registration,
        };
        Ok(IssuedChallenge {
            challenge: Challenge::RegisterWebAuthn {
                options: serde_json::to_string(&options).map_err(VerifyError::backend)?,
            },
            state: Some(Pending::write(attempt, creating).map_err(VerifyError::backend)?),
        })
    }

    async fn enrol(
        &self,
        enrolling: &Enrolling<'_>,
        answer: &Answer,
    ) -> Result<Registration, VerifyError> {
        let Answer::RegisterWebAuthn { credential: text } = answer else {
            return Err(VerifyError::Unfit);
        };
        let attempt = &enrolling.attempt;
        let creating = Pending::<Creating>::read(attempt, enrolling.state)
            .map_err(VerifyError::backend)?
            .ok_or(VerifyError::Wrong)?;
        let created = response::attestation(text)?;
        in_time(attempt)?;
        if !response::is_sound_attestation(&self.party, &created) {
            return Err(VerifyError::Wrong);
        }
        let passkey = self
            .webauthn
            .finish_passkey_registration(&created, &creating.registration)
            .map_err(|error| {
                let (user, error) = (attempt.user.clone(), error.to_string());
                log::later(move || tracing::debug!(%user, error, "no credential enrolled"));
                VerifyError::Wrong
            })?;
        let record = Record::new(creating.user_handle, passkey);
        let credential = record.credential();
        if !credential.user_verified {
            return Err(VerifyError::Wrong);
        }
        if self.party.device_bound_only && credential.backup_eligible {
            return Err(VerifyError::NotEnrollable);
        }
        // Section 7.1, step 25: `webauthn-rs` takes longer ones.
        let id = CredentialId::new(credential.cred_id).ok_or(VerifyError::NotEnrollable)?;
        if credentials(enrolling).any(|known| *known == id) {
            return Err(VerifyError::NotEnrollable);
        }
        Ok(Registration::Proven(Credential {
            secret: record.write().map_err(VerifyError::backend)?,
            counter: None,
            id: Some(id),
        }))
    }
}

/// The user's WebAuthn credentials.
fn credentials<'a>(enrolling: &'a Enrolling<'_>) -> impl Iterator<Item = &'a CredentialId> {
    enrolling
        .factors
        .iter()
        .filter(|factor| factor.kind == FactorKind::WEBAUTHN)
        .filter_map(|factor| factor.credential.as_ref())
}

/// How long the client should let the user take, in milliseconds.
fn time_left(attempt: &AttemptContext<'_>) -> u32 {
    let left = attempt
        .expires
        .as_millis()
        .saturating_sub(attempt.now.as_millis());
    u32::try_from(left).unwrap_or(u32::MAX)
}

fn in_time(attempt: &AttemptContext<'_>) -> Result<(), VerifyError> {
    if attempt.now < attempt.expires {
        Ok(())
    } else {
        Err(VerifyError::Expired)
    }
}

/// Whether a signature counter that is in use has not grown (section 7.2, step 22).
const fn has_gone_back(now: u32, before: u32) -> bool {
    (now > 0 || before > 0) && now <= before
}

fn refused(context: &Context<'_>, error: &WebauthnError) -> VerifyError {
    if *error == WebauthnError::CredentialPossibleCompromise {
        let (user, factor) = (context.attempt.user.clone(), context.factor.id);
        log::later(move || {
            tracing::warn!(
                %user,
                %factor,
                "a passkey's signature counter has not grown: it is used twice, or copied"
            );
        });
        return VerifyError::Replayed;
    }
    let (factor, error) = (context.factor.id, error.to_string());
    log::later(move || tracing::debug!(%factor, error, "an assertion was refused"));
    VerifyError::Wrong
}

/// The credential was enrolled before the relying party refused its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the passkey is synchronised between devices, which the relying party does not take: enrol a security key"
)]
struct Synchronised;

#[cfg(test)]
mod tests;
