//! The embedder's last word: a hook that is asked after the factors and before the grant. It can
//! refuse an admission or shorten it, never lengthen it. An error, a panic or a time-out refuses.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

use crate::assurance::Assurance;
use crate::channel::message::Posture;
use crate::id::{GroupId, LocationId, UserId};
use crate::key::PublicKey;
use crate::time::Timestamp;

/// Decides about an admission whose factors are passed, or a renewal whose session is live.
///
/// Calls for different attempts run at the same time and must not wait on one another. A call may
/// be dropped at any await: then no one is admitted.
#[async_trait]
pub trait Authoriser: Send + Sync + 'static {
    /// Whether this may be.
    ///
    /// # Errors
    /// [`AuthoriseError`]; either refuses.
    async fn authorise(&self, admission: &Admission) -> Result<Permit, AuthoriseError>;
}

/// What is known of an admission to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admission {
    /// Where.
    pub location: LocationId,
    /// The peer.
    pub peer: PublicKey,
    /// Its owner.
    pub user: UserId,
    /// The owner's groups, as of when they were last asked anything.
    pub groups: Vec<GroupId>,
    /// The address that the request came from, as the transport saw it.
    pub source: Option<IpAddr>,
    /// What the client says of its device. No one vouches for it.
    pub posture: Posture,
    /// What the factors proved; empty for a renewal without a factor.
    pub proven: Vec<Assurance>,
    /// When the lease is to end by the policy.
    pub not_after: Timestamp,
    /// Whether a live session is to last longer without a factor.
    pub is_renewal: bool,
}

/// An admission may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Permit {
    /// How long the lease may last from now, if less than by the policy.
    pub longest: Option<Duration>,
}

impl Permit {
    /// As the policy has it.
    pub const fn as_is() -> Self {
        Self { longest: None }
    }

    /// For this long, if that is less than by the policy.
    pub const fn for_at_most(longest: Duration) -> Self {
        Self {
            longest: Some(longest),
        }
    }
}

/// An admission may not be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthoriseError {
    /// The embedder says no. The reason goes to the audit trail and not to the client.
    #[error("refused: {reason}")]
    Refused {
        /// Why, with no secret in it.
        reason: String,
    },
    /// It can't be decided now.
    #[error("the authoriser can't decide now")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}
