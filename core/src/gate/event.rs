//! What the gate's machine tells its embedder.

use std::net::IpAddr;
use std::time::Duration;

use crate::assurance::FactorKind;
use crate::channel::message::{Denied, Refusal};
use crate::id::{FactorId, SessionId, UserId};
use crate::key::PublicKey;
use crate::store::EndReason;
use crate::time::Timestamp;

/// Something that an embedder may want to know. It holds no secret.
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
    /// All factors were correct, but the policy or the authoriser refused the peer.
    NotAdmitted {
        /// The peer.
        peer: PublicKey,
        /// Its owner.
        user: UserId,
        /// Why.
        refusal: Refusal,
    },
    /// A recovery code was used: its user may have lost every other factor, or the codes were
    /// stolen.
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
    /// The store was deleted, replaced, or put back to an older copy. Leases go on to their ends,
    /// and the gate admits no one until it is started again.
    StoreReplaced,
    /// A peer can't be taken off the interface. The gate tries again, and takes the interface down
    /// when that has failed for too long.
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
    /// A peer without a lease was found on the interface. The gate did not put it there, and removes
    /// it.
    UnleasedPeer {
        /// The peer.
        peer: PublicKey,
    },
    /// A leased peer was not on the interface any more. The gate installs it again.
    PeerMissing {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: PublicKey,
    },
    /// A leased peer had another preshared key or other allowed IPs on the interface than those
    /// that the gate gave it. The gate removes it, and installs it again.
    PeerChanged {
        /// The session.
        session: SessionId,
        /// The peer.
        peer: PublicKey,
    },
    /// The interface is not there, as when the program that runs it has ended. The gate admits
    /// no one until it is there again.
    InterfaceAway,
    /// The interface is there again. The gate installs the leased peers, and admits.
    InterfaceBack,
    /// The interface can't be read: a peer that is put on it by hand is not noticed. The gate tries
    /// again.
    InterfaceUnreadable,
    /// The interface was removed, or moved away, and does not come back. The gate admits no one any
    /// more; the sessions stay in the store for the next start.
    InterfaceGone,
    /// The interface has been taken down, since a peer could not be removed. This gate admits
    /// no one any more.
    Fenced,
    /// The interface can't be taken down. The gate tries again; an operator has to act.
    FenceFailing,
}
