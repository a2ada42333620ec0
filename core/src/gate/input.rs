//! What goes into the gate's machine.

use std::collections::BTreeMap;
use std::net::IpAddr;

#[cfg(doc)]
use super::Action;
use super::comparison::Fingerprint;
use super::grant::{Grant, Restored, Terms};
use crate::assurance::Assurance;
use crate::authorise::{AuthoriseError, Permit};
use crate::channel::message::{EnrolRequest, Posture, Request};
use crate::factor::{IssuedChallenge, Registration, Verdict, VerifyError};
use crate::id::{AttemptId, FactorId, Generation, GroupId, SessionId, UserId};
use crate::interface::{Activity, InterfaceError, PeerConfig};
use crate::key::{PresharedKey, PublicKey};
use crate::policy::Policy;
use crate::store::{
    EndReason, Enrolled, Enrolment, FailureRecorded, OpenOutcome, PassOutcome, Renewed,
    SessionRecord,
};
use crate::time::Timestamp;

/// A store, a verifier or a backend failed, panicked or took too long. The shell logs the reason;
/// the machine makes no difference between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// Why the peers on the interface are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlisted {
    /// The interface is gone and does not come back.
    Gone,
    /// The interface is not there, and may come again.
    Away,
    /// It could not be read.
    Unavailable,
}

impl From<&InterfaceError> for Unlisted {
    fn from(error: &InterfaceError) -> Self {
        match error {
            InterfaceError::Down => Self::Gone,
            InterfaceError::Away => Self::Away,
            InterfaceError::Backend(_) => Self::Unavailable,
        }
    }
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// The gate starts, with the live sessions of the store and the peers on the interface.
    Start {
        /// Sessions of earlier runs whose envelopes opened.
        sessions: Vec<Restored>,
        /// Sessions that did not open: they end.
        unreadable: Vec<SessionRecord>,
        /// Sessions that the policy would not admit any more: they end.
        refused: Vec<SessionRecord>,
        /// The peers on the interface, each with the lease that it has left now, if the interface
        /// says.
        installed: Vec<PeerConfig>,
    },
    /// A first message of the channel verified: this peer holds its private key.
    Hello {
        /// A fresh handle for what follows.
        attempt: AttemptId,
        /// The peer.
        peer: PublicKey,
        /// The ephemeral key of the message, by which a replay is known.
        ephemeral: [u8; 32],
        /// The client's wall clock.
        sent_at: Timestamp,
        /// What it wants.
        intent: Intent,
        /// What it says of its device.
        posture: Posture,
        /// Where the request came from, as the transport saw it.
        source: Option<IpAddr>,
    },
    /// A later message of an attempt verified.
    Request {
        /// The attempt.
        attempt: AttemptId,
        /// The message.
        request: Request,
    },
    /// The answer to [`Action::Find`].
    Found {
        /// The attempt.
        attempt: AttemptId,
        /// The enrolment, if there is one.
        result: Result<Option<Box<Enrolment>>, Unavailable>,
    },
    /// The answer to [`Action::FindSession`].
    FoundSession {
        /// The conversation.
        attempt: AttemptId,
        /// The session, if the store has it.
        result: Result<Option<Box<SessionRecord>>, Unavailable>,
    },
    /// The answer to [`Action::Challenge`].
    Challenged {
        /// The attempt.
        attempt: AttemptId,
        /// What to ask.
        result: Result<IssuedChallenge, VerifyError>,
    },
    /// The answer to [`Action::Verify`].
    Verified {
        /// The attempt.
        attempt: AttemptId,
        /// The verdict.
        result: Result<Verdict, VerifyError>,
    },
    /// The answer to [`Action::Pass`].
    Passed {
        /// The attempt.
        attempt: AttemptId,
        /// What became of it.
        result: Result<PassOutcome, Unavailable>,
    },
    /// The answer to [`Action::Authorise`].
    Authorised {
        /// The attempt.
        attempt: AttemptId,
        /// What the authoriser says.
        result: Result<Permit, AuthoriseError>,
    },
    /// The answer to [`Action::Register`].
    Registering {
        /// The attempt.
        attempt: AttemptId,
        /// What to ask.
        result: Result<IssuedChallenge, VerifyError>,
    },
    /// The answer to [`Action::Enrol`].
    Enrolling {
        /// The attempt.
        attempt: AttemptId,
        /// The verdict.
        result: Result<Registration, VerifyError>,
    },
    /// The answer to [`Action::AddFactor`].
    FactorAdded {
        /// The attempt.
        attempt: AttemptId,
        /// The factor, and what became of it.
        result: Result<(FactorId, Enrolled), Unavailable>,
    },
    /// The answer to [`Action::RecordFailure`].
    FailureRecorded {
        /// The attempt.
        attempt: AttemptId,
        /// What became of it.
        result: Result<FailureRecorded, Unavailable>,
    },
    /// The answer to [`Action::Open`]. The grant comes back to be consumed.
    Opened {
        /// The attempt.
        attempt: AttemptId,
        /// The grant that [`Action::Open`] carried.
        grant: Grant,
        /// The id that the session has, or would have.
        session: SessionId,
        /// What became of it, and the preshared key.
        result: Result<(OpenOutcome, PresharedKey), Unavailable>,
    },
    /// The answer to [`Action::Renew`].
    Renewed {
        /// The attempt.
        attempt: AttemptId,
        /// The session.
        session: SessionId,
        /// The terms that [`Action::Renew`] carried.
        terms: Box<Terms>,
        /// What became of it, and the preshared key.
        result: Result<(Renewed, PresharedKey), Unavailable>,
    },
    /// The answer to [`Action::Install`].
    Installed {
        /// The peers.
        peers: Vec<PublicKey>,
        /// Whether they are in place.
        result: Result<(), Unavailable>,
    },
    /// The answer to [`Action::Remove`].
    Removed {
        /// The peers.
        peers: Vec<PublicKey>,
        /// Whether they are gone.
        result: Result<(), Unavailable>,
    },
    /// The answer to [`Action::Fence`].
    Fenced {
        /// Whether the interface is down.
        result: Result<(), Unavailable>,
    },
    /// The answer to [`Action::Close`].
    Closed {
        /// The session.
        session: SessionId,
        /// Whether the store has its end.
        result: Result<(), Unavailable>,
    },
    /// The answer to [`Action::Sample`].
    Sampled {
        /// The peers that were asked for.
        peers: Vec<PublicKey>,
        /// What the interface knows of them.
        result: Result<Vec<Activity>, Unavailable>,
    },
    /// The answer to [`Action::List`].
    Listed {
        /// The peers on the interface, but for those that the gate does not manage.
        result: Result<BTreeMap<PublicKey, Fingerprint>, Unlisted>,
    },
    /// The answer to [`Action::Restore`].
    Restored {
        /// The peer.
        peer: PublicKey,
        /// Its session.
        session: SessionId,
        /// The session's generation and preshared key, as the store has them.
        result: Result<(Generation, PresharedKey), Unavailable>,
    },
    /// The store reports that these may have changed; it does not say who changed them.
    Changed {
        /// Sessions.
        sessions: Vec<SessionId>,
        /// Peers.
        peers: Vec<PublicKey>,
        /// Users.
        users: Vec<UserId>,
    },
    /// The answer to [`Action::Check`].
    Checked {
        /// The peer.
        peer: PublicKey,
        /// The session that it had when the question was asked.
        session: SessionId,
        /// Whether the store still backs it.
        result: Result<LeaseCheck, Unavailable>,
    },
    /// The store was replaced or put back to an older copy ([`StoreError::Replaced`]): no one is
    /// admitted by its records.
    ///
    /// [`StoreError::Replaced`]: crate::store::StoreError::Replaced
    StoreReplaced,
    /// Ends the sessions and attempts in a scope. Answered by [`Action::Revoked`] with the same ticket.
    Revoke {
        /// Names the request.
        ticket: u64,
        /// Which sessions.
        scope: Scope,
    },
    /// Ends the attempts in a scope, and waits for its sessions that are ending already. Answered
    /// by [`Action::Revoked`] with the same ticket.
    Settle {
        /// Names the request.
        ticket: u64,
        /// Which sessions.
        scope: Scope,
    },
    /// Replaces the policy.
    Policy {
        /// The policy.
        policy: Box<Policy>,
        /// What the store knows of the live sessions. A lease of which nothing is known ends.
        known: Vec<KnownSession>,
    },
    /// Holds these live sessions to the policy again, by what the store knows of them and of their
    /// users' groups now.
    Judge {
        /// The sessions; others are left as they are.
        known: Vec<KnownSession>,
    },
    /// The gate stops: every peer leaves the interface, the sessions stay in the store for the
    /// next start. Answered by [`Action::Stopped`].
    Stop,
    /// The gate stops, and peers with a live lease stay where they are: for an interface that ends
    /// each lease on time by itself. Answered by [`Action::Stopped`].
    StopKeepingPeers,
}

/// What a live session is judged by when the policy changes.
#[derive(Debug)]
pub struct KnownSession {
    /// The session.
    pub session: SessionId,
    /// Whose it is.
    pub peer: PublicKey,
    /// Its generation when the store was asked.
    pub generation: Generation,
    /// The groups that its user is in.
    pub groups: Vec<GroupId>,
    /// What was proven for it, in that order.
    pub proven: Vec<Assurance>,
    /// Its preshared key of that generation, where it could be opened.
    pub psk: Option<PresharedKey>,
}

/// What a first message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// A new session.
    Begin,
    /// More time for a live session.
    Renew(SessionId),
    /// A new factor.
    Enrol(EnrolRequest),
    /// What became of a session.
    Status(SessionId),
    /// The end of a session.
    End(SessionId),
}

impl Intent {
    /// Whether a factor is to be enrolled, so that no one is admitted.
    pub(super) const fn is_enrolment(&self) -> bool {
        matches!(self, Self::Enrol(_))
    }
}

/// Whether the store still backs a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseCheck {
    /// The session is live, its peer and owner are enrolled and enabled, and its addresses are
    /// still the peer's.
    Good,
    /// The session has been ended elsewhere.
    Ended(EndReason),
    /// The peer or its owner is gone, disabled or another, or an address is not the peer's any
    /// more.
    NotEligible,
}

impl LeaseCheck {
    /// Judges what the store says of a session and of its peer.
    pub fn of(session: Option<&SessionRecord>, enrolment: Option<&Enrolment>) -> Self {
        let (Some(session), Some(Enrolment { peer, user, .. })) = (session, enrolment) else {
            return match session.and_then(|session| session.ended) {
                Some((reason, _)) => Self::Ended(reason),
                None => Self::NotEligible,
            };
        };
        if let Some((reason, _)) = session.ended {
            return Self::Ended(reason);
        }
        let has = |address| peer.allowed_ips.contains(address);
        let is_eligible = peer.enabled
            && user.enabled
            && user.id == session.user
            && session.allowed_ips.iter().all(has);
        if is_eligible {
            Self::Good
        } else {
            Self::NotEligible
        }
    }
}

/// Which sessions to end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// One session.
    Session(SessionId),
    /// A peer's session, and its attempts.
    Peer(PublicKey),
    /// All sessions of a user, and the attempts.
    User(UserId),
    /// All sessions and attempts at this gate.
    All,
}
