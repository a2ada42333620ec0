//! What the gate's machine tells whoever embeds it.

use std::net::IpAddr;
use std::time::Duration;

use crate::assurance::FactorKind;
use crate::channel::message::{Denied, Refusal};
use crate::id::{FactorId, SessionId, UserId};
use crate::key::PublicKey;
use crate::store::EndReason;
use crate::time::Timestamp;

/// What an embedder may want to know. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The gate has reconciled the interface and admits.
    Open,
    /// A peer was admitted.
    Admitted {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: PublicKey,
        /// Its owner.
        user: UserId,
        /// When the lease ends at the latest.
        not_after: Timestamp,
        /// The kinds of the factors passed.
        factors: Vec<FactorKind>,
    },
    /// A session got a later end.
    Renewed {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: PublicKey,
        /// When the lease ends at the latest now.
        not_after: Timestamp,
    },
    /// A lease ends soon.
    Ending {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: PublicKey,
        /// How soon.
        left: Duration,
    },
    /// A session's peer went on from another address. Where the policy says so, the session ends.
    EndpointChanged {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: PublicKey,
        /// Its owner.
        user: UserId,
        /// Where it was.
        from: IpAddr,
        /// Where it is.
        to: IpAddr,
    },
    /// A session ended, and its peer is off the interface.
    Ended {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: PublicKey,
        /// Its owner.
        user: UserId,
        /// Why.
        reason: EndReason,
    },
    /// An answer was refused.
    Denied {
        /// The peer.
        peer: PublicKey,
        /// Its owner.
        user: UserId,
        /// The factor.
        factor: FactorId,
        /// Why, and what is left.
        denied: Denied,
    },
    /// The factors were right, and the policy or the authoriser admitted the peer all the same not.
    NotAdmitted {
        /// The peer.
        peer: PublicKey,
        /// Its owner.
        user: UserId,
        /// Why.
        refusal: Refusal,
    },
    /// A recovery code was used: its user may have lost everything else, or someone found the
    /// codes.
    RecoveryCodeUsed {
        /// The peer.
        peer: PublicKey,
        /// Its owner.
        user: UserId,
    },
    /// A client enrolled a factor.
    FactorEnrolled {
        /// The user.
        user: UserId,
        /// The factor.
        factor: FactorId,
    },
    /// A peer can't be taken off the interface; the gate tries again, and fences in the end.
    RemovalFailing {
        /// The peer.
        peer: PublicKey,
    },
    /// The end of a session can't be made durable; the gate tries again. The peer is off the
    /// interface.
    StoreFailing {
        /// The session.
        session: SessionId,
    },
    /// The interface has been taken down, since a peer could not be removed. The gate admits
    /// nobody until it is started anew.
    Fenced,
    /// The interface can't even be taken down. The gate tries again; a person is needed.
    FenceFailing,
}
