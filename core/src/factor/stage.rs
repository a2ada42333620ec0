//! The stage of the verifiers' tests: a factor of somebody's in an attempt.

use std::time::Duration;

use super::{Context, Enrolling, Scene};
use crate::assurance::FactorKind;
use crate::id::{AttemptId, FactorId, LocationId, UserId};
use crate::key::PublicKey;
use crate::policy::Failures;
use crate::seal::{Sealed, Secret};
use crate::store::{FactorRecord, FactorState};
use crate::time::Timestamp;

/// When the plays begin.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_767_225_615_000);

/// What a gate would hand to a verifier: set what a test is about.
pub(super) struct Stage {
    location: LocationId,
    pub(super) location_key: PublicKey,
    pub(super) peer: PublicKey,
    pub(super) user: UserId,
    pub(super) attempt: AttemptId,
    pub(super) factor: FactorRecord,
    pub(super) secret: Secret,
    pub(super) state: Option<Secret>,
    pub(super) now: Timestamp,
    pub(super) expires: Timestamp,
}

impl Stage {
    pub(super) fn new(kind: FactorKind, secret: Secret) -> Self {
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
                label: "a label".to_owned(),
                credential: None,
                sealed: Sealed::from_bytes(Vec::new()),
                state: FactorState::Active,
                last_step: None,
                failures: Failures::default(),
            },
            secret,
            state: None,
            now: NOW,
            expires: NOW + Duration::from_secs(300),
        }
    }

    pub(super) fn scene(&self) -> Scene<'_> {
        Scene {
            location: &self.location,
            location_key: &self.location_key,
            peer: &self.peer,
            user: &self.user,
            attempt: &self.attempt,
            now: self.now,
            expires: self.expires,
        }
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context::new(self.scene(), &self.factor, &self.secret).remembering(self.state.as_ref())
    }

    pub(super) fn enrolling(&self) -> Enrolling<'_> {
        Enrolling::new(self.scene(), &[]).remembering(self.state.as_ref())
    }
}
