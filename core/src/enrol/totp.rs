//! Enrolling a one-time-password app: a pending factor, then a first right code.

use std::fmt;

use zeroize::Zeroizing;

use super::{EnrolError, Registrar};
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::channel::message::{Answer, Code};
use crate::factor::totp::{TotpSecret, TotpVerifier, qr_for_terminal};
use crate::factor::{Context, MfaVerifier, Scene, Verdict, VerifyError};
use crate::id::{AttemptId, FactorId, LocationId, UserId};
use crate::key::PublicKey;
use crate::policy::{Failures, Throttle};
use crate::seal::{Row, SealError, Secret};
use crate::store::{
    Activated, Consume, FactorRecord, FactorState, Failure, FailureReason, FailureRecorded,
};
use crate::time::Timestamp;

/// A one-time-password app that waits for its first right code. Shown to the user once; holds the
/// secret, and prints none of it.
pub struct TotpEnrolment {
    /// The factor.
    pub factor: FactorId,
    /// What the app is given.
    pub secret: TotpSecret,
    uri: Zeroizing<String>,
}

impl TotpEnrolment {
    /// The `otpauth://` URI that authenticator apps read.
    pub fn expose_uri(&self) -> &str {
        &self.uri
    }

    /// The URI as a QR code for a terminal.
    ///
    /// # Errors
    /// [`EnrolError::Name`] when the names are too long for a QR code.
    pub fn expose_qr(&self) -> Result<Zeroizing<String>, EnrolError> {
        qr_for_terminal(&self.uri).map_err(|_| EnrolError::Name)
    }
}

impl fmt::Debug for TotpEnrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TotpEnrolment")
            .field("factor", &self.factor)
            .finish_non_exhaustive()
    }
}

impl Registrar {
    /// Begins the enrolment of an authenticator app. It counts for nothing until
    /// [`Registrar::confirm_totp`].
    ///
    /// # Errors
    /// [`EnrolError::Name`], [`EnrolError::Randomness`]; [`EnrolError::Store`], also when the user
    /// is unknown.
    pub async fn begin_totp(
        &self,
        user: &UserId,
        label: &str,
        issuer: &str,
    ) -> Result<TotpEnrolment, EnrolError> {
        let secret = TotpSecret::generate().map_err(|_| EnrolError::Randomness)?;
        let uri = secret
            .expose_uri(issuer, user.as_str())
            .map_err(|_| EnrolError::Name)?;
        let sealed = secret.to_secret();
        let factor = self
            .add_pending(user, FactorKind::TOTP, label, &sealed)
            .await?;
        Ok(TotpEnrolment {
            factor,
            secret,
            uri,
        })
    }

    /// Confirms an enrolment with a first right code, which is thereby used.
    ///
    /// # Errors
    /// [`EnrolError::WrongCode`] and [`EnrolError::UsedCode`], which count as failures of the factor
    /// (a code with too many or too few digits does not); [`EnrolError::Locked`];
    /// [`EnrolError::NoFactor`] when it is no pending one-time-password app of the user's;
    /// [`EnrolError::Seal`] and [`EnrolError::Unreadable`] when its secret can't be read;
    /// [`EnrolError::Store`].
    pub async fn confirm_totp(
        &self,
        user: &UserId,
        factor: FactorId,
        code: Code,
    ) -> Result<(), EnrolError> {
        let factors = self.store.factors(user).await?;
        let is_it = |record: &&FactorRecord| {
            record.id == factor
                && record.kind == FactorKind::TOTP
                && record.state == FactorState::Pending
        };
        let record = factors.iter().find(is_it).ok_or(EnrolError::NoFactor)?;
        let now = self.clock.now().timestamp;
        match self.verify_totp(record, code, now).await? {
            Ok(Verdict::Proven(proof)) => self.activate(record, proof.consume).await,
            Err(VerifyError::Wrong) => self.refuse(record, FailureReason::Wrong, now).await,
            Err(VerifyError::Replayed) => self.refuse(record, FailureReason::Replayed, now).await,
            Err(VerifyError::Unfit) => Err(EnrolError::WrongCode),
            Err(VerifyError::Backend(source)) => Err(EnrolError::Unreadable(source)),
            // A code is right or wrong: it is never late, and leads to no other question.
            Ok(Verdict::Ask(_)) => Err(EnrolError::NoFactor),
            Err(
                error @ (VerifyError::Expired
                | VerifyError::Busy { .. }
                | VerifyError::NotEnrollable),
            ) => Err(EnrolError::Unreadable(error.into())),
        }
    }

    /// The verdict of the verifier that a gate would ask.
    async fn verify_totp(
        &self,
        record: &FactorRecord,
        code: Code,
        now: Timestamp,
    ) -> Result<Result<Verdict, VerifyError>, SealError> {
        let secret = self.ring.open(&Row::from(record), &record.sealed)?;
        // A factor proves itself here as it will at a gate; the peer plays no part in a code.
        let (location, peer, attempt) = nowhere();
        let context = Context {
            scene: Scene {
                location: &location,
                location_key: &peer,
                peer: &peer,
                user: &record.user,
                attempt: &attempt,
                now,
                expires: now,
            },
            factor: record,
            secret: &secret,
            state: None,
        };
        let verifier = TotpVerifier::new();
        Ok(verifier.verify(&context, &Answer::Code { code }).await)
    }

    async fn activate(&self, record: &FactorRecord, step: Option<u64>) -> Result<(), EnrolError> {
        let factor = record.id;
        let event = self.factor_event(AuditKind::FactorActivated, &record.user, factor);
        let consume = Consume {
            factor,
            step,
            swap: None,
            credential: None,
        };
        let throttle = Throttle::default();
        match self.store.activate_factor(consume, throttle, event).await? {
            Activated::Activated => Ok(()),
            Activated::Locked(lock) => Err(EnrolError::Locked(lock)),
            Activated::NotPending => Err(EnrolError::NoFactor),
            Activated::Replayed(_) => Err(EnrolError::UsedCode),
            Activated::Overtaken => Err(EnrolError::NoFactor), // no swap was asked for
        }
    }

    /// Counts a failure, and says it.
    async fn refuse(
        &self,
        record: &FactorRecord,
        reason: FailureReason,
        at: Timestamp,
    ) -> Result<(), EnrolError> {
        let failure = Failure {
            factor: record.id,
            at,
            throttle: Throttle::default(),
            event: self.factor_event(AuditKind::Denied { reason }, &record.user, record.id),
        };
        Err(match self.store.record_failure(failure).await? {
            FailureRecorded::Counted(_) if reason == FailureReason::Replayed => {
                EnrolError::UsedCode
            }
            FailureRecorded::Counted(_) => EnrolError::WrongCode,
            FailureRecorded::Locked(lock) => EnrolError::Locked(lock),
            FailureRecorded::FactorGone => EnrolError::NoFactor,
        })
    }

    async fn add_pending(
        &self,
        user: &UserId,
        kind: FactorKind,
        label: &str,
        secret: &Secret,
    ) -> Result<FactorId, EnrolError> {
        let id = FactorId::generate().map_err(|_| EnrolError::Randomness)?;
        let row = Row::Factor {
            id: &id,
            user,
            kind: &kind,
        };
        let sealed = self.ring.seal(&row, secret.expose_secret())?;
        let event = self.factor_event(AuditKind::FactorAdded { kind: kind.clone() }, user, id);
        let factor = FactorRecord {
            id,
            user: user.clone(),
            kind,
            label: label.to_owned(),
            credential: None,
            sealed,
            state: FactorState::Pending,
            last_step: None,
            failures: Failures::default(),
        };
        self.store.add_factor(factor, event).await?;
        Ok(id)
    }
}

fn nowhere() -> (LocationId, PublicKey, AttemptId) {
    let location = "enrolment"
        .parse()
        .unwrap_or_else(|_| unreachable!("a valid name"));
    (
        location,
        PublicKey::from_bytes([0; 32]),
        AttemptId::from_bytes([0; 32]),
    )
}
