//! The harness of the verifiers' tests: one user's factor in an attempt.

use std::time::Duration;

use super::{AttemptContext, Context, Enrolling};
use crate::assurance::FactorKind;
use crate::id::{AttemptId, FactorId, Label, LocationId, UserId};
use crate::key::PublicKey;
use crate::policy::Failures;
use crate::seal::{Sealed, SecretBytes};
use crate::store::{FactorRecord, FactorState};
use crate::time::Timestamp;

/// When the plays begin.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_767_225_615_000);

/// What a gate would hand to a verifier: set what a test is about.
pub(super) struct Harness {
    location: LocationId,
    pub(super) location_key: PublicKey,
    pub(super) peer: PublicKey,
    pub(super) user: UserId,
    pub(super) attempt: AttemptId,
    pub(super) factor: FactorRecord,
    pub(super) secret: SecretBytes,
    pub(super) state: Option<SecretBytes>,
    pub(super) now: Timestamp,
    pub(super) expires: Timestamp,
}

impl Harness {
    pub(super) fn new(kind: FactorKind, secret: SecretBytes) -> Self {
        let user: UserId = "alice".parse().expect("a name");
        Self {
            location: "office".parse().expect("a name"),
            location_key: PublicKey::from_bytes([9; 32]),
            peer: PublicKey::from_bytes([1; 32]),
            user: user.clone(),
            attempt: AttemptId::from_bytes([2; 32]),
            factor: FactorRecord {
                id: FactorId::from_bytes([3; 16]),
                user,
                kind,
                label: Label::from_stored("a label"),
                credential: None,
                sealed: Sealed::from_bytes(Vec::new()),
                state: FactorState::Active,
                last_counter: None,
                failures: Failures::default(),
            },
            secret,
            state: None,
            now: NOW,
            expires: NOW + Duration::from_secs(300),
        }
    }

    pub(super) fn attempt(&self) -> AttemptContext<'_> {
        AttemptContext {
            location: &self.location,
            location_key: &self.location_key,
            peer: &self.peer,
            user: &self.user,
            id: &self.attempt,
            now: self.now,
            expires: self.expires,
        }
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context::new(self.attempt(), &self.factor, &self.secret).remembering(self.state.as_ref())
    }

    pub(super) fn enrolling(&self) -> Enrolling<'_> {
        Enrolling::new(self.attempt(), &[]).remembering(self.state.as_ref())
    }
}
