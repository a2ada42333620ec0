//! Enrolling a one-time-password app: a pending factor, then a first right code.

use std::fmt;

use zeroize::Zeroizing;

use super::{EnrolError, EnrolFault, Registrar};
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::channel::message::{Answer, Code};
use crate::factor::totp::{TotpSecret, TotpVerifier, qr_for_terminal};
use crate::factor::{AttemptContext, Context, MfaVerifier, Verdict, VerifyError};
use crate::id::{AttemptId, FactorId, Label, LocationId, UserId};
use crate::key::PublicKey;
use crate::policy::{Failures, Throttle};
use crate::seal::{AssociatedData, SealError, SecretBytes};
use crate::store::{
    Activated, FactorFailure, FactorRecord, FactorState, FactorUse, FailureReason, FailureRecorded,
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
    /// `enrol-name` when the names are too long for a QR code.
    pub fn expose_qr(&self) -> Result<Zeroizing<String>, EnrolError> {
        qr_for_terminal(&self.uri)
            .map_err(|_| EnrolFault::Name)
            .map_err(EnrolError)
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
    /// `enrol-name`, `enrol-randomness`; what [`StoreError`](crate::store::StoreError) says, also when the user
    /// is unknown.
    pub async fn begin_totp(
        &self,
        user: &UserId,
        label: &Label,
        issuer: &str,
    ) -> Result<TotpEnrolment, EnrolError> {
        let secret = TotpSecret::generate().map_err(|_| EnrolFault::Randomness)?;
        let uri = secret
            .expose_uri(issuer, user.as_str())
            .map_err(|_| EnrolFault::Name)?;
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
    /// `enrol-wrong-code` and `enrol-used-code`, which count as failures of the factor
    /// (a code with too many or too few digits does not); `enrol-locked`;
    /// `enrol-no-factor` when it is no pending one-time-password app of the user's;
    /// what [`SealError`] says and `enrol-unreadable` when its secret can't be read;
    /// what [`StoreError`](crate::store::StoreError) says.
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
        let record = factors.iter().find(is_it).ok_or(EnrolFault::NoFactor)?;
        let now = self.clock.now().timestamp;
        match self.verify_totp(record, code, now).await? {
            Ok(Verdict::Proven(proof)) => self.activate(record, proof.counter).await,
            Err(VerifyError::Wrong) => self.refuse(record, FailureReason::Wrong, now).await,
            Err(VerifyError::Replayed) => self.refuse(record, FailureReason::Replayed, now).await,
            Err(VerifyError::Unfit) => Err(EnrolError(EnrolFault::WrongCode)),
            Err(VerifyError::Backend(source)) => Err(EnrolError(EnrolFault::Unreadable(source))),
            // A code is right or wrong: it is never late, and leads to no other question.
            Ok(Verdict::Ask(_)) => Err(EnrolError(EnrolFault::NoFactor)),
            Err(
                error @ (VerifyError::Expired
                | VerifyError::Busy { .. }
                | VerifyError::NotEnrollable),
            ) => Err(EnrolError(EnrolFault::Unreadable(error.into()))),
        }
    }

    /// The verdict of the verifier that a gate would ask.
    async fn verify_totp(
        &self,
        record: &FactorRecord,
        code: Code,
        now: Timestamp,
    ) -> Result<Result<Verdict, VerifyError>, SealError> {
        let secret = self
            .ring
            .open(&AssociatedData::from(record), &record.sealed)?;
        // A factor proves itself here as it will at a gate; the peer plays no part in a code.
        let (location, peer, attempt) = nowhere();
        let context = Context {
            attempt: AttemptContext {
                location: &location,
                location_key: &peer,
                peer: &peer,
                user: &record.user,
                id: &attempt,
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

    async fn activate(
        &self,
        record: &FactorRecord,
        counter: Option<u64>,
    ) -> Result<(), EnrolError> {
        let factor = record.id;
        let event = self.factor_event(AuditKind::FactorActivated, &record.user, factor);
        let factor_use = FactorUse {
            factor,
            counter,
            replace_secret: None,
            credential: None,
        };
        let throttle = Throttle::default();
        match self
            .store
            .activate_factor(factor_use, throttle, event)
            .await?
        {
            Activated::Activated => Ok(()),
            Activated::Locked(lock) => Err(EnrolError(EnrolFault::Locked(lock))),
            Activated::NotPending => Err(EnrolError(EnrolFault::NoFactor)),
            Activated::Replayed(_) => Err(EnrolError(EnrolFault::UsedCode)),
            Activated::Overtaken => Err(EnrolError(EnrolFault::NoFactor)), // no swap was asked for
        }
    }

    /// Counts a failure, and says it.
    async fn refuse(
        &self,
        record: &FactorRecord,
        reason: FailureReason,
        at: Timestamp,
    ) -> Result<(), EnrolError> {
        let failure = FactorFailure {
            factor: record.id,
            at,
            throttle: Throttle::default(),
            event: self.factor_event(AuditKind::Denied { reason }, &record.user, record.id),
        };
        Err(match self.store.record_failure(failure).await? {
            FailureRecorded::Counted(_) if reason == FailureReason::Replayed => {
                EnrolError(EnrolFault::UsedCode)
            }
            FailureRecorded::Counted(_) => EnrolError(EnrolFault::WrongCode),
            FailureRecorded::Locked(lock) => EnrolError(EnrolFault::Locked(lock)),
            FailureRecorded::FactorGone => EnrolError(EnrolFault::NoFactor),
        })
    }

    async fn add_pending(
        &self,
        user: &UserId,
        kind: FactorKind,
        label: &Label,
        secret: &SecretBytes,
    ) -> Result<FactorId, EnrolError> {
        let id = FactorId::generate().map_err(|_| EnrolFault::Randomness)?;
        let row = AssociatedData::Factor {
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
            label: label.clone(),
            credential: None,
            sealed,
            state: FactorState::Pending,
            last_counter: None,
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
