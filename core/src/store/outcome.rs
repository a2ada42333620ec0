//! What became of an intent that may be refused.

use crate::id::{FactorId, Generation, SessionId};
use crate::policy::Lock;

#[cfg(doc)]
use super::{AdminStore, PeerStore};

/// What became of [`PeerStore::record_failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureRecorded {
    /// The count rose; this is the factor's lock now.
    Counted(Lock),
    /// The factor was locked; the count stays.
    Locked(Lock),
    /// There is no such factor any more.
    FactorGone,
}

/// What became of [`PeerStore::open_session`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenOutcome {
    /// The session is live and durable.
    Opened {
        /// Its generation.
        generation: Generation,
        /// The session that it ended.
        superseded: Option<SessionId>,
    },
    /// A step had been consumed before. It counted as a failure; this is the factor's lock now.
    Replayed {
        /// The factor.
        factor: FactorId,
        /// Its lock.
        lock: Lock,
    },
    /// A factor was locked: right or wrong, the answer is refused.
    Locked {
        /// The factor.
        factor: FactorId,
        /// Its lock.
        lock: Lock,
    },
    /// A factor is gone or not active.
    FactorGone {
        /// The factor.
        factor: FactorId,
    },
    /// A factor's secret is not the one any more that its answer would put another in place of:
    /// another answer came first.
    Overtaken {
        /// The factor.
        factor: FactorId,
    },
    /// A factor was to have a credential that another factor of the kind has, perhaps another
    /// user's. It counted as a failure; this is the factor's lock now.
    CredentialTaken {
        /// The factor.
        factor: FactorId,
        /// Its lock.
        lock: Lock,
    },
    /// The peer or its owner is gone or disabled.
    PeerGone,
    /// The user has as many sessions as may be.
    TooMany,
}

/// What became of [`PeerStore::pass_factor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassOutcome {
    /// What the answer takes is taken, and the factor's failures are forgotten.
    Recorded,
    /// The step had been consumed before. It counted as a failure; this is the factor's lock now.
    Replayed(Lock),
    /// The factor was locked: right or wrong, the answer is refused.
    Locked(Lock),
    /// The factor's secret is not the one any more that the answer would put another in place of.
    Overtaken,
    /// The factor was to have a credential that another factor of the kind has. It counted as a
    /// failure; this is the factor's lock now.
    CredentialTaken(Lock),
    /// The factor is gone or not active, or the peer or its owner is gone or disabled.
    Gone,
}

/// What became of [`PeerStore::enrol_factor`]. Where the factors that were passed are at fault, it
/// is as with [`OpenOutcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolled {
    /// The factor is enrolled.
    Enrolled,
    /// A step had been consumed before. It counted as a failure; this is the factor's lock now.
    Replayed {
        /// The factor.
        factor: FactorId,
        /// Its lock.
        lock: Lock,
    },
    /// A factor was locked: right or wrong, the answer is refused.
    Locked {
        /// The factor.
        factor: FactorId,
        /// Its lock.
        lock: Lock,
    },
    /// A factor is gone or not active.
    FactorGone {
        /// The factor.
        factor: FactorId,
    },
    /// A factor's secret is not the one any more that its answer would put another in place of.
    Overtaken {
        /// The factor.
        factor: FactorId,
    },
    /// The peer or its owner is gone or disabled.
    PeerGone,
    /// The token was used, is another user's, over or not for this kind; or there was neither a
    /// token nor a factor that was passed.
    TokenGone,
    /// Another factor of the kind, perhaps another user's, has the credential: that of the new
    /// factor, or one that a factor that was passed was to have, which counted as a failure of it.
    CredentialTaken,
}

/// What became of [`PeerStore::renew_session`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// The session has its new end and key; this is its generation now.
    Renewed(Generation),
    /// The session was not live with that generation, or its peer or owner is gone or disabled.
    Gone,
}

/// What became of [`AdminStore::activate_factor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activated {
    /// The factor is active.
    Activated,
    /// The factor was locked.
    Locked(Lock),
    /// There is no pending factor of that id.
    NotPending,
    /// The step had been consumed before. It counted as a failure; this is the factor's lock now.
    Replayed(Lock),
    /// The factor's secret is not the one any more that the answer would put another in place of.
    Overtaken,
}
