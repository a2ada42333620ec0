//! What goes into the gate's machine and what comes out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::grant::{Grant, Restored, Terms};
use crate::assurance::FactorKind;
use crate::audit::AuditEvent;
use crate::authorise::{Admission, AuthoriseError, Permit};
use crate::channel::message::{
    Answer, Challenge, Denied, Hidden, Offer, Posture, Refusal, Request, Status,
};
use crate::factor::{Asked, Credential, Proof, Registration, Verdict, VerifyError};
use crate::id::{AttemptId, FactorId, Generation, LocationId, SessionId, TokenId, UserId};
use crate::interface::{Activity, PeerConfig};
use crate::key::{PresharedKey, PublicKey};
use crate::seal::Secret;
use crate::store::{
    EndReason, Enrolled, Enrolment, FactorRecord, Failure, FailureRecorded, Opened, Passed,
    Renewed, SessionRecord,
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
        /// The peers on the interface.
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

/// What the shell is to do. Each is answered by the input that it names; no answer is needed where
/// none is named.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action {
    /// Read a peer's enrolment; answer with [`Input::Found`].
    Find {
        /// The attempt.
        attempt: AttemptId,
        /// The peer.
        peer: PublicKey,
    },
    /// Read a session; answer with [`Input::FoundSession`].
    FindSession {
        /// The conversation.
        attempt: AttemptId,
        /// The session.
        session: SessionId,
    },
    /// Ask the verifier for a challenge; answer with [`Input::Challenged`].
    Challenge {
        /// The attempt.
        attempt: AttemptId,
        /// Whose factor.
        subject: Box<Subject>,
        /// When the attempt is over.
        expires: Timestamp,
    },
    /// Ask the verifier for a verdict; answer with [`Input::Verified`].
    Verify {
        /// The attempt.
        attempt: AttemptId,
        /// Whose factor.
        subject: Box<Subject>,
        /// The answer.
        answer: Answer,
        /// When the attempt is over.
        expires: Timestamp,
    },
    /// Make the success of a factor durable, where more is to be decided; answer with
    /// [`Input::Passed`].
    Pass {
        /// The attempt.
        attempt: AttemptId,
        /// Whose factor.
        subject: Box<Subject>,
        /// What it proved.
        proof: Box<Proof>,
        /// The audit record.
        event: Box<AuditEvent>,
    },
    /// Ask the authoriser; answer with [`Input::Authorised`].
    Authorise {
        /// The attempt.
        attempt: AttemptId,
        /// What is to be.
        admission: Box<Admission>,
    },
    /// Ask the verifier of a kind what to ask of a user who enrols; answer with
    /// [`Input::Registering`].
    Register {
        /// The attempt.
        attempt: AttemptId,
        /// The kind.
        kind: FactorKind,
        /// Who enrols.
        enrolment: Arc<Enrolment>,
        /// When the attempt is over.
        expires: Timestamp,
    },
    /// Ask the verifier of a kind for a verdict on an enrolment; answer with [`Input::Enrolling`].
    Enrol {
        /// The attempt.
        attempt: AttemptId,
        /// The kind.
        kind: FactorKind,
        /// Who enrols.
        enrolment: Arc<Enrolment>,
        /// What the verifier remembers of its question.
        state: Option<Secret>,
        /// The answer.
        answer: Answer,
        /// When the attempt is over.
        expires: Timestamp,
    },
    /// Seal a new factor and make it durable; answer with [`Input::FactorAdded`].
    AddFactor {
        /// The attempt.
        attempt: AttemptId,
        /// Who enrols.
        enrolment: Arc<Enrolment>,
        /// The factor's kind.
        kind: FactorKind,
        /// Its label.
        label: String,
        /// The factor.
        credential: Box<Credential>,
        /// The token to use up.
        token: Option<TokenId>,
        /// The factors that were passed before.
        passed: Vec<FactorId>,
        /// The audit record.
        event: Box<AuditEvent>,
    },
    /// Make a failure durable; answer with [`Input::FailureRecorded`].
    RecordFailure {
        /// The attempt.
        attempt: AttemptId,
        /// The failure.
        failure: Box<Failure>,
    },
    /// Derive the preshared key, seal it and make the session durable; answer with
    /// [`Input::Opened`].
    Open {
        /// The attempt.
        attempt: AttemptId,
        /// What to open.
        grant: Grant,
        /// The audit record of the admission, for the session's id to be added.
        event: Box<AuditEvent>,
    },
    /// Derive a new preshared key, seal it and make the new end durable; answer with
    /// [`Input::Renewed`].
    Renew {
        /// The attempt.
        attempt: AttemptId,
        /// The session.
        session: SessionId,
        /// The generation that the store must find.
        generation: Generation,
        /// The new terms.
        terms: Box<Terms>,
        /// The audit record.
        event: Box<AuditEvent>,
    },
    /// Reply to the client.
    Reply {
        /// The attempt.
        attempt: AttemptId,
        /// What.
        reply: Outcome,
    },
    /// The attempt is over without a reply: forget its channel.
    Forget {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Put peers on the interface; answer with [`Input::Installed`].
    Install {
        /// The peers.
        peers: Vec<PeerConfig>,
        /// Whether they are there with an older key and keep their traffic.
        in_place: bool,
    },
    /// Take peers off the interface; answer with [`Input::Removed`].
    Remove {
        /// The peers.
        peers: Vec<PublicKey>,
    },
    /// Take the interface down; answer with [`Input::Fenced`].
    Fence,
    /// Make the end of a session durable; answer with [`Input::Closed`].
    Close {
        /// The session.
        session: SessionId,
        /// Why it ended.
        reason: EndReason,
        /// The audit record.
        event: Box<AuditEvent>,
    },
    /// Append a record that belongs to no other action.
    Record {
        /// The audit record.
        event: Box<AuditEvent>,
    },
    /// Read the peers' traffic; answer with [`Input::Sampled`].
    Sample {
        /// The peers.
        peers: Vec<PublicKey>,
    },
    /// Read whether the store still backs a lease; answer with [`Input::Checked`].
    Check {
        /// The peer.
        peer: PublicKey,
        /// Its session.
        session: SessionId,
    },
    /// What [`Input::Revoke`] asked for is done: off the interface, and durable.
    Revoked {
        /// The request's ticket.
        ticket: u64,
        /// The sessions that it ended.
        sessions: Vec<SessionId>,
    },
    /// What [`Input::Stop`] asked for is done.
    Stopped,
}

/// Whose factor a verifier is asked about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Subject {
    /// Where.
    pub location: LocationId,
    /// The peer.
    pub peer: PublicKey,
    /// Its owner.
    pub user: UserId,
    /// The factor.
    pub factor: FactorRecord,
    /// What the verifier remembers of its question.
    pub state: Option<Secret>,
}

/// What to reply to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The attempt waits for an answer.
    Challenge {
        /// The factor that is asked for; `None` while one is being enrolled.
        factor: Option<Offer>,
        /// What to ask.
        challenge: Challenge,
        /// The factors that would do in its place.
        others: Vec<Offer>,
        /// How long the attempt stays open.
        expires_in: Duration,
    },
    /// The attempt waits for the client to confirm.
    Confirm {
        /// How long the attempt stays open.
        expires_in: Duration,
    },
    /// The answer was refused; the attempt stays open.
    Denied(Denied),
    /// The grant that [`Action::Open`] or [`Action::Renew`] prepared is in force. Ends the attempt.
    Granted,
    /// The factor is enrolled. Ends the attempt.
    Enrolled(FactorId),
    /// What became of a session. Ends the conversation.
    Status(Status),
    /// The gate does not do what was asked. Ends the attempt.
    Refused(Refusal),
    /// What was asked is done. Ends the attempt.
    Done,
}

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
