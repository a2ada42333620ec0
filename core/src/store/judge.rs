//! Whether the factors that a user passed let them through. Pure, called inside the transaction
//! that acts on it, and the same for every store here and for every intent that takes answers.

use super::attribution;
use super::{
    Activated, Consume, Enrolled, EnrolmentToken, FactorChange, FactorPass, FactorRecord,
    FactorState, FailureReason, NewFactor, NewSession, Opened, Passed,
};
use crate::audit::{AuditEvent, AuditKind};
use crate::id::{FactorId, LocationId, UserId};
use crate::key::PublicKey;
use crate::policy::{Failures, Lock, Throttle};
use crate::seal::Sealed;
use crate::time::Timestamp;

/// What a peer asks for on the strength of the factors that its owner passed.
#[derive(Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) location: &'a LocationId,
    pub(super) peer: PublicKey,
    pub(super) user: &'a UserId,
    pub(super) consume: &'a [Consume],
    pub(super) throttle: &'a Throttle,
    pub(super) at: Timestamp,
    pub(super) event: &'a AuditEvent,
}

impl<'a> From<&'a NewSession> for Claim<'a> {
    fn from(new: &'a NewSession) -> Self {
        Self {
            location: &new.location,
            peer: new.peer,
            user: &new.user,
            consume: &new.consume,
            throttle: &new.throttle,
            at: new.event.at,
            event: &new.event,
        }
    }
}

impl<'a> From<&'a NewFactor> for Claim<'a> {
    fn from(new: &'a NewFactor) -> Self {
        Self {
            location: &new.location,
            peer: new.peer,
            user: &new.factor.user,
            consume: &new.consume,
            throttle: &new.throttle,
            at: new.at,
            event: &new.event,
        }
    }
}

impl<'a> From<&'a FactorPass> for Claim<'a> {
    fn from(pass: &'a FactorPass) -> Self {
        Self {
            location: &pass.location,
            peer: pass.peer,
            user: &pass.user,
            consume: std::slice::from_ref(&pass.consume),
            throttle: &pass.throttle,
            at: pass.event.at,
            event: &pass.event,
        }
    }
}

impl Claim<'_> {
    /// Whether a factor is named twice: such a claim makes no sense.
    pub(super) fn names_a_factor_twice(&self) -> bool {
        let consume = self.consume.iter().enumerate();
        consume.into_iter().any(|(i, one)| {
            let mut before = self.consume[..i].iter();
            before.any(|other| other.factor == one.factor)
        })
    }

    /// Judges all the factors together, before anything is changed. `standings` are those of
    /// `consume`, in its order; `taken` are the factors whose new credential another factor has.
    pub(super) fn judge(
        &self,
        standings: &[Option<Standing>],
        taken: &[FactorId],
    ) -> Result<(), Refused> {
        let mut found = Vec::with_capacity(self.consume.len());
        for (n, consume) in self.consume.iter().enumerate() {
            let standing = standings.get(n).and_then(Option::as_ref);
            let usable = |s: &&Standing| s.user == *self.user && s.state == FactorState::Active;
            let Some(standing) = standing.filter(usable) else {
                return Err(Refused::FactorGone(consume.factor));
            };
            found.push((consume, standing));
        }
        for (consume, standing) in &found {
            if let Some(lock) = standing.locked(self.throttle, self.at) {
                return Err(Refused::Locked(consume.factor, lock));
            }
        }
        let spent = found.iter().filter(|(c, s)| s.is_spent(c.step));
        let spent: Vec<_> = spent
            .map(|(c, s)| (c.factor, s.failures.plus_one(self.at)))
            .collect();
        if let Some((first, failures)) = spent.first() {
            let (factor, lock) = (*first, self.throttle.lock(*failures, self.at));
            return Err(Refused::Replayed {
                factor,
                lock,
                spent,
            });
        }
        if let Some((consume, _)) = found.iter().find(|(c, s)| s.is_overtaken(c)) {
            return Err(Refused::Overtaken(consume.factor));
        }
        let taken = found.iter().find(|(c, _)| taken.contains(&c.factor));
        taken.map_or(Ok(()), |(consume, standing)| {
            let failures = standing.failures.plus_one(self.at);
            Err(Refused::CredentialTaken {
                factor: consume.factor,
                lock: self.throttle.lock(failures, self.at),
                count: [(consume.factor, failures)],
            })
        })
    }
}

/// Why a claim is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    PeerGone,
    /// Gone, not active, or another user's.
    FactorGone(FactorId),
    Locked(FactorId, Lock),
    Replayed {
        factor: FactorId,
        lock: Lock,
        /// Every factor whose step was spent, with its failures from now on.
        spent: Vec<(FactorId, Failures)>,
    },
    Overtaken(FactorId),
    CredentialTaken {
        factor: FactorId,
        lock: Lock,
        /// Its failures from now on.
        count: [(FactorId, Failures); 1],
    },
}

impl Refused {
    /// The failures that the refusal leaves behind.
    pub(super) fn counts(&self) -> &[(FactorId, Failures)] {
        match self {
            Self::Replayed { spent, .. } => spent,
            Self::CredentialTaken { count, .. } => count,
            Self::PeerGone | Self::FactorGone(_) | Self::Locked(..) | Self::Overtaken(_) => &[],
        }
    }

    /// The audit records of the refusal.
    pub(super) fn events(&self, claim: &Claim<'_>) -> Vec<AuditEvent> {
        let refused = |kind, factor| vec![attribution::claimed(claim, kind, factor)];
        match self {
            Self::PeerGone => refused(AuditKind::NotEligible, None),
            Self::FactorGone(factor) | Self::Overtaken(factor) => {
                refused(AuditKind::NotEligible, Some(*factor))
            }
            Self::Locked(factor, _) => refused(AuditKind::LockedOut, Some(*factor)),
            Self::Replayed { .. } => self.denials(claim, FailureReason::Replayed),
            Self::CredentialTaken { .. } => self.denials(claim, FailureReason::CredentialTaken),
        }
    }

    /// A record for each factor that the refusal counts against.
    fn denials(&self, claim: &Claim<'_>, reason: FailureReason) -> Vec<AuditEvent> {
        let denied = |(factor, _): &(FactorId, Failures)| {
            attribution::claimed(claim, AuditKind::Denied { reason }, Some(*factor))
        };
        self.counts().iter().map(denied).collect()
    }
}

impl From<Refused> for Opened {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::PeerGone => Self::PeerGone,
            Refused::FactorGone(factor) => Self::FactorGone { factor },
            Refused::Locked(factor, lock) => Self::Locked { factor, lock },
            Refused::Replayed { factor, lock, .. } => Self::Replayed { factor, lock },
            Refused::Overtaken(factor) => Self::Overtaken { factor },
            Refused::CredentialTaken { factor, lock, .. } => Self::CredentialTaken { factor, lock },
        }
    }
}

impl From<Refused> for Enrolled {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::PeerGone => Self::PeerGone,
            Refused::FactorGone(factor) => Self::FactorGone { factor },
            Refused::Locked(factor, lock) => Self::Locked { factor, lock },
            Refused::Replayed { factor, lock, .. } => Self::Replayed { factor, lock },
            Refused::Overtaken(factor) => Self::Overtaken { factor },
            Refused::CredentialTaken { .. } => Self::CredentialTaken,
        }
    }
}

impl From<Refused> for Passed {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::PeerGone | Refused::FactorGone(_) => Self::Gone,
            Refused::Locked(_, lock) => Self::Locked(lock),
            Refused::Replayed { lock, .. } => Self::Replayed(lock),
            Refused::Overtaken(_) => Self::Overtaken,
            Refused::CredentialTaken { lock, .. } => Self::CredentialTaken(lock),
        }
    }
}

/// What an answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) user: UserId,
    pub(super) state: FactorState,
    pub(super) sealed: Sealed,
    pub(super) last_step: Option<u64>,
    pub(super) failures: Failures,
}

impl From<&FactorRecord> for Standing {
    fn from(factor: &FactorRecord) -> Self {
        Self {
            user: factor.user.clone(),
            state: factor.state,
            sealed: factor.sealed.clone(),
            last_step: factor.last_step,
            failures: factor.failures,
        }
    }
}

impl Standing {
    /// The factor's lock at `now`, if it is locked.
    pub(super) fn locked(&self, throttle: &Throttle, now: Timestamp) -> Option<Lock> {
        match throttle.lock(self.failures, now) {
            Lock::Open { .. } => None,
            lock @ (Lock::Until(_) | Lock::Disabled) => Some(lock),
        }
    }

    /// Whether a pending factor's first right answer is refused: as what, with which audit record
    /// and which failures from now on.
    pub(super) fn refuses_activation(
        &self,
        consume: &Consume,
        throttle: &Throttle,
        now: Timestamp,
    ) -> Option<(Activated, AuditKind, Option<Failures>)> {
        if let Some(lock) = self.locked(throttle, now) {
            return Some((Activated::Locked(lock), AuditKind::LockedOut, None));
        }
        if self.is_spent(consume.step) {
            let failures = self.failures.plus_one(now);
            let outcome = Activated::Replayed(throttle.lock(failures, now));
            let reason = FailureReason::Replayed;
            return Some((outcome, AuditKind::Denied { reason }, Some(failures)));
        }
        let overtaken = (Activated::Overtaken, AuditKind::NotEligible, None);
        self.is_overtaken(consume).then_some(overtaken)
    }

    /// Whether the factor is in a state that the change needs.
    pub(super) fn is_fit_for(&self, change: &FactorChange) -> bool {
        match change {
            FactorChange::Rename(_) => true,
            FactorChange::Suspend(_) => self.state == FactorState::Active,
            FactorChange::Resume => self.state == FactorState::Suspended,
        }
    }

    /// Whether the step has been consumed, or one after it.
    fn is_spent(&self, step: Option<u64>) -> bool {
        matches!((step, self.last_step), (Some(step), Some(last)) if step <= last)
    }

    /// Whether the secret is not the one any more that the answer would put another in place of.
    fn is_overtaken(&self, consume: &Consume) -> bool {
        let swap = consume.swap.as_ref();
        swap.is_some_and(|swap| swap.from != self.sealed)
    }
}

/// Whether a user has too many sessions with one more. `ends` are those of the others that are not
/// closed.
pub(super) fn is_one_too_many(
    most: u32,
    now: Timestamp,
    ends: impl IntoIterator<Item = Timestamp>,
) -> bool {
    let live = ends.into_iter().filter(|end| now < *end).count();
    u32::try_from(live).unwrap_or(u32::MAX) >= most
}

/// Whether a client may enrol the factor: with a token that is good for it, or having passed a
/// factor without one. `token` is the one that `new` names, if there is such a one.
pub(super) fn is_entitled(new: &NewFactor, token: Option<&EnrolmentToken>) -> bool {
    if new.token.is_none() {
        return !new.consume.is_empty();
    }
    token.is_some_and(|token| {
        token.user == new.factor.user && token.allows(&new.factor.kind, new.at)
    })
}
