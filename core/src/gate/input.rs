//! What goes into the gate's machine.

use std::net::IpAddr;

#[cfg(doc)]
use super::Action;
use super::grant::{Grant, Restored, Terms};
use crate::assurance::FactorKind;
use crate::authorise::{AuthoriseError, Permit};
use crate::channel::message::{Hidden, Posture, Request};
use crate::factor::{Asked, Registration, Verdict, VerifyError};
use crate::id::{AttemptId, FactorId, SessionId, UserId};
use crate::interface::{Activity, PeerConfig};
use crate::key::{PresharedKey, PublicKey};
use crate::store::{
    EndReason, Enrolled, Enrolment, FailureRecorded, Opened, Passed, Renewed, SessionRecord,
};
use crate::time::Timestamp;

/// A store, a verifier or a backend did not do its part: it failed, panicked or took too long.
/// Why is the shell's to log; to the machine it is all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// The gate starts: what the store holds live and what is on the interface.
    Start {
        /// Sessions of earlier runs whose envelopes opened.
        sessions: Vec<Restored>,
        /// Sessions that did not open: they end.
        unreadable: Vec<SessionRecord>,
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
        result: Result<Asked, VerifyError>,
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
        result: Result<Passed, Unavailable>,
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
        result: Result<Asked, VerifyError>,
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
        result: Result<(Opened, PresharedKey), Unavailable>,
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
    /// The store says that these may have changed, by whoever.
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
        result: Result<Standing, Unavailable>,
    },
    /// Someone ends sessions. Answered by [`Action::Revoked`] with the same ticket.
    Revoke {
        /// Names the request.
        ticket: u64,
        /// Which sessions.
        scope: Scope,
    },
    /// The gate stops: every peer leaves the interface, the sessions stay in the store for the
    /// next start. Answered by [`Action::Stopped`].
    Stop,
}

/// What a first message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// A new session.
    Begin,
    /// More time for a live session.
    Renew(SessionId),
    /// A new factor.
    Enrol(Wish),
    /// What became of a session.
    Status(SessionId),
    /// The end of a session.
    End(SessionId),
}

impl Intent {
    /// Whether a factor is to be enrolled, and nobody admitted.
    pub(super) const fn is_enrolment(&self) -> bool {
        matches!(self, Self::Enrol(_))
    }
}

/// The factor that a client is to enrol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Its kind.
    pub kind: FactorKind,
    /// A label for people.
    pub label: String,
    /// A one-time enrolment token, where the client has one.
    pub token: Option<Hidden>,
}

/// Whether the store still backs a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The session is live, its peer and owner are enrolled and enabled, and its addresses are
    /// still the peer's.
    Good,
    /// The session has been ended elsewhere.
    Ended(EndReason),
    /// The peer or its owner is gone, disabled or another, or an address is not the peer's any
    /// more.
    NotEligible,
}

impl Standing {
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
