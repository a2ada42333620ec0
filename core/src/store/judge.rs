//! Whether a factor's standing lets an answer through. Pure, called inside the transaction that
//! acts on it, and the same for every store here.

use crate::id::UserId;
use crate::policy::{Failures, Lock, Throttle};
use crate::time::Timestamp;

use super::{Consume, FactorRecord, FactorState};

/// What an answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) user: UserId,
    pub(super) state: FactorState,
    pub(super) last_step: Option<u64>,
    pub(super) failures: Failures,
}

impl From<&FactorRecord> for Standing {
    fn from(factor: &FactorRecord) -> Self {
        Self {
            user: factor.user.clone(),
            state: factor.state,
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

    /// Whether the step has been consumed, or one after it.
    pub(super) fn is_spent(&self, step: Option<u64>) -> bool {
        matches!((step, self.last_step), (Some(step), Some(last)) if step <= last)
    }
}

/// Whether the factors of an admission let it through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They do.
    Admit,
    /// One is gone, not active, or another user's.
    Gone(usize),
    /// One is locked.
    Locked(usize, Lock),
    /// None is gone or locked, but at least one step is spent.
    Spent,
}

/// Judges all the factors of an admission together, before anything is changed.
pub(super) fn judge(
    user: &UserId,
    factors: &[(Consume, Option<Standing>)],
    throttle: &Throttle,
    now: Timestamp,
) -> Verdict {
    let mut spent = false;
    let mut locked = None;
    for (index, (consume, standing)) in factors.iter().enumerate() {
        let Some(standing) = standing
            .as_ref()
            .filter(|s| s.user == *user && s.state == FactorState::Active)
        else {
            return Verdict::Gone(index);
        };
        if let Some(lock) = standing.locked(throttle, now) {
            locked.get_or_insert((index, lock));
        }
        spent |= standing.is_spent(consume.step);
    }
    match locked {
        Some((index, lock)) => Verdict::Locked(index, lock),
        None if spent => Verdict::Spent,
        None => Verdict::Admit,
    }
}

/// Whether a factor is named twice: such an admission makes no sense.
pub(super) fn names_a_factor_twice(consume: &[Consume]) -> bool {
    consume
        .iter()
        .enumerate()
        .any(|(i, one)| consume[..i].iter().any(|other| other.factor == one.factor))
}
