//! Whether the factors that a user passed let them through: for those who write a store.
//!
//! Pure functions, called inside the transaction that acts on the outcome. Every store of this crate
//! judges by them, and a store of your own should: the order of the refusals, the limit and the
//! counting of failures are then right by construction. [`attribution`] says what
//! the audit records of each outcome are about.
//!
//! A store reads what a [`Claim`] depends on, a [`FactorSnapshot`] for each factor, and asks
//! [`Claim::judge`]. A [`Refused`] says which failures to count and which records to append.

use super::attribution;
use super::{
    Activated, Enrolled, EnrolmentToken, FactorChange, FactorEnrolment, FactorPass, FactorRecord,
    FactorState, FactorUse, FailureReason, NewSession, OpenOutcome, PassOutcome, Peer,
    SessionRecord,
};
use crate::audit::{AuditEvent, AuditKind};
use crate::id::{FactorId, LocationId, UserId};
use crate::key::PublicKey;
use crate::policy::{Failures, Lock, Throttle};
use crate::seal::Sealed;
use crate::time::Timestamp;

/// What a peer asks for on the strength of the factors that its owner passed.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Where.
    pub location: &'a LocationId,
    /// Who.
    pub peer: PublicKey,
    /// The peer's owner.
    pub user: &'a UserId,
    /// The factors, each with what its answer takes.
    pub factor_uses: &'a [FactorUse],
    /// The limit that each of them is judged by.
    pub throttle: &'a Throttle,
    /// The time at which locks are judged.
    pub at: Timestamp,
    /// The audit record of the intent.
    pub event: &'a AuditEvent,
}

impl<'a> From<&'a NewSession> for Claim<'a> {
    fn from(new: &'a NewSession) -> Self {
        Self {
            location: &new.location,
            peer: new.peer,
            user: &new.user,
            factor_uses: &new.factor_uses,
            throttle: &new.throttle,
            at: new.event.at,
            event: &new.event,
        }
    }
}

impl<'a> From<&'a FactorEnrolment> for Claim<'a> {
    fn from(new: &'a FactorEnrolment) -> Self {
        Self {
            location: &new.location,
            peer: new.peer,
            user: &new.factor.user,
            factor_uses: &new.factor_uses,
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
            factor_uses: std::slice::from_ref(&pass.factor_use),
            throttle: &pass.throttle,
            at: pass.event.at,
            event: &pass.event,
        }
    }
}

impl Claim<'_> {
    /// Whether a factor is named twice: such a claim makes no sense.
    pub fn names_a_factor_twice(&self) -> bool {
        let factor_use = self.factor_uses.iter().enumerate();
        factor_use.into_iter().any(|(i, one)| {
            let mut before = self.factor_uses[..i].iter();
            before.any(|other| other.factor == one.factor)
        })
    }

    /// Judges all the factors together, before anything is changed. `snapshots` are those of
    /// `factor_uses`, in their order, `None` for a factor that is not there; `taken` are the factors
    /// whose new credential another factor has.
    ///
    /// # Errors
    /// [`Refused`], which says why and what the refusal leaves behind.
    pub fn judge(
        &self,
        snapshots: &[Option<FactorSnapshot>],
        taken: &[FactorId],
    ) -> Result<(), Refused> {
        let mut found = Vec::with_capacity(self.factor_uses.len());
        for (n, factor_use) in self.factor_uses.iter().enumerate() {
            let snapshot = snapshots.get(n).and_then(Option::as_ref);
            let usable =
                |s: &&FactorSnapshot| s.user == *self.user && s.state == FactorState::Active;
            let Some(snapshot) = snapshot.filter(usable) else {
                return Err(Refused::FactorGone(factor_use.factor));
            };
            found.push((factor_use, snapshot));
        }
        for (factor_use, snapshot) in &found {
            if let Some(lock) = snapshot.locked(self.throttle, self.at) {
                return Err(Refused::Locked(factor_use.factor, lock));
            }
        }
        let spent = found.iter().filter(|(c, s)| s.is_spent(c.counter));
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
        if let Some((factor_use, _)) = found.iter().find(|(c, s)| s.is_overtaken(c)) {
            return Err(Refused::Overtaken(factor_use.factor));
        }
        let taken = found.iter().find(|(c, _)| taken.contains(&c.factor));
        taken.map_or(Ok(()), |(factor_use, snapshot)| {
            let failures = snapshot.failures.plus_one(self.at);
            Err(Refused::CredentialTaken {
                factor: factor_use.factor,
                lock: self.throttle.lock(failures, self.at),
                count: [(factor_use.factor, failures)],
            })
        })
    }
}

/// Why a claim is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The peer or its owner is gone or disabled.
    PeerGone,
    /// Gone, not active, or another user's.
    FactorGone(FactorId),
    /// The factor is locked.
    Locked(FactorId, Lock),
    /// A counter was used before.
    Replayed {
        /// The first factor whose counter was.
        factor: FactorId,
        /// Its lock, with this failure counted.
        lock: Lock,
        /// Every factor whose counter was spent, with its failures from now on.
        spent: Vec<(FactorId, Failures)>,
    },
    /// The factor's secret changed after the answer was checked.
    Overtaken(FactorId),
    /// Another factor of the kind has the new credential.
    CredentialTaken {
        /// The factor that was to have it.
        factor: FactorId,
        /// Its lock, with this failure counted.
        lock: Lock,
        /// Its failures from now on.
        count: [(FactorId, Failures); 1],
    },
}

impl Refused {
    /// The failures that the refusal leaves behind.
    pub fn counts(&self) -> &[(FactorId, Failures)] {
        match self {
            Self::Replayed { spent, .. } => spent,
            Self::CredentialTaken { count, .. } => count,
            Self::PeerGone | Self::FactorGone(_) | Self::Locked(..) | Self::Overtaken(_) => &[],
        }
    }

    /// The audit records of the refusal.
    pub fn events(&self, claim: &Claim<'_>) -> Vec<AuditEvent> {
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

impl From<Refused> for OpenOutcome {
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

impl From<Refused> for PassOutcome {
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
pub struct FactorSnapshot {
    /// The factor's owner.
    pub user: UserId,
    /// Whether the factor can be used.
    pub state: FactorState,
    /// Its secret, sealed.
    pub sealed: Sealed,
    /// The greatest counter used so far.
    pub last_counter: Option<u64>,
    /// Consecutive failures.
    pub failures: Failures,
}

impl From<&FactorRecord> for FactorSnapshot {
    fn from(factor: &FactorRecord) -> Self {
        Self {
            user: factor.user.clone(),
            state: factor.state,
            sealed: factor.sealed.clone(),
            last_counter: factor.last_counter,
            failures: factor.failures,
        }
    }
}

impl FactorSnapshot {
    /// The factor's lock at `now`, if it is locked.
    pub fn locked(&self, throttle: &Throttle, now: Timestamp) -> Option<Lock> {
        match throttle.lock(self.failures, now) {
            Lock::Open { .. } => None,
            lock @ (Lock::Until(_) | Lock::Disabled) => Some(lock),
        }
    }

    /// Whether a pending factor's first right answer is refused: as what, with which audit record
    /// and which failures from now on.
    pub fn refuses_activation(
        &self,
        factor_use: &FactorUse,
        throttle: &Throttle,
        now: Timestamp,
    ) -> Option<(Activated, AuditKind, Option<Failures>)> {
        if let Some(lock) = self.locked(throttle, now) {
            return Some((Activated::Locked(lock), AuditKind::LockedOut, None));
        }
        if self.is_spent(factor_use.counter) {
            let failures = self.failures.plus_one(now);
            let outcome = Activated::Replayed(throttle.lock(failures, now));
            let reason = FailureReason::Replayed;
            return Some((outcome, AuditKind::Denied { reason }, Some(failures)));
        }
        let overtaken = (Activated::Overtaken, AuditKind::NotEligible, None);
        self.is_overtaken(factor_use).then_some(overtaken)
    }

    /// Whether the factor is in a state that the change needs.
    pub fn is_fit_for(&self, change: &FactorChange) -> bool {
        match change {
            FactorChange::Rename(_) => true,
            FactorChange::Suspend(_) => self.state == FactorState::Active,
            FactorChange::Resume => self.state == FactorState::Suspended,
        }
    }

    /// Whether the counter has been consumed, or one after it.
    fn is_spent(&self, counter: Option<u64>) -> bool {
        matches!((counter, self.last_counter), (Some(counter), Some(last)) if counter <= last)
    }

    /// Whether the secret is not the one any more that the answer would put another in place of.
    fn is_overtaken(&self, factor_use: &FactorUse) -> bool {
        let replacement = factor_use.replace_secret.as_ref();
        replacement.is_some_and(|replacement| replacement.from != self.sealed)
    }
}

/// Whether a live session of a peer's goes on once the peer is as given.
pub fn outlasts(session: &SessionRecord, peer: &Peer) -> bool {
    let has = |address| peer.allowed_ips.contains(address);
    peer.enabled && peer.user == session.user && session.allowed_ips.iter().all(has)
}

/// Whether a user has too many sessions with one more. `ends` are those of the others that are not
/// closed.
pub fn is_one_too_many(
    most: u32,
    now: Timestamp,
    ends: impl IntoIterator<Item = Timestamp>,
) -> bool {
    let live = ends.into_iter().filter(|end| now < *end).count();
    u32::try_from(live).unwrap_or(u32::MAX) >= most
}

/// Whether a client may enrol the factor: with a token that is good for it, or having passed a
/// factor without one. `token` is the one that `new` names, if there is such a one.
pub fn is_entitled(new: &FactorEnrolment, token: Option<&EnrolmentToken>) -> bool {
    if new.token.is_none() {
        return !new.factor_uses.is_empty();
    }
    token.is_some_and(|token| {
        token.user == new.factor.user && token.allows(&new.factor.kind, new.at)
    })
}
