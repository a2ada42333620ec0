//! What comes out of the gate's machine for its shell to do.

use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use super::Input;
use super::grant::{Grant, Terms};
use crate::assurance::FactorKind;
use crate::audit::AuditEvent;
use crate::authorise::Admission;
use crate::channel::message::{Answer, Challenge, Denied, Offer, Refusal, Status};
use crate::factor::{Credential, Proof};
use crate::id::{AttemptId, FactorId, Generation, Label, LocationId, SessionId, TokenId, UserId};
use crate::interface::PeerConfig;
use crate::key::PublicKey;
use crate::seal::SecretBytes;
use crate::store::{EndReason, Enrolment, FactorFailure, FactorRecord};
use crate::time::Timestamp;

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
        context: Box<FactorContext>,
        /// When the attempt is over.
        expires: Timestamp,
    },
    /// Ask the verifier for a verdict; answer with [`Input::Verified`].
    Verify {
        /// The attempt.
        attempt: AttemptId,
        /// Whose factor.
        context: Box<FactorContext>,
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
        context: Box<FactorContext>,
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
        state: Option<SecretBytes>,
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
        label: Label,
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
        failure: Box<FactorFailure>,
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
    /// Read who is on the interface; answer with [`Input::Listed`].
    List,
    /// Read the preshared key of a leased peer's session; answer with [`Input::Restored`].
    Restore {
        /// The peer.
        peer: PublicKey,
        /// Its session.
        session: SessionId,
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
pub struct FactorContext {
    /// Where.
    pub location: LocationId,
    /// The peer.
    pub peer: PublicKey,
    /// Its owner.
    pub user: UserId,
    /// The factor.
    pub factor: FactorRecord,
    /// What the verifier remembers of its question.
    pub state: Option<SecretBytes>,
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
        challenge: Box<Challenge>,
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
