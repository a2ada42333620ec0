//! The attempts that are open: what each one waits for, and how many there may be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::input::{Intent, Subject};
use crate::channel::message::Answer;
use crate::id::{AttemptId, UserId};
use crate::key::PublicKey;
use crate::store::{FailureReason, Peer};
use crate::time::{Instant, Now, Timestamp};

/// A verified first message.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) attempt: AttemptId,
    pub(super) peer: PublicKey,
    pub(super) ephemeral: [u8; 32],
    pub(super) sent_at: Timestamp,
    pub(super) intent: Intent,
    pub(super) source: Option<IpAddr>,
}

/// One run of the ceremony.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) peer: PublicKey,
    pub(super) source: Option<IpAddr>,
    pub(super) ephemeral: [u8; 32],
    pub(super) intent: Intent,
    pub(super) expires: Instant,
    pub(super) step: Step,
    /// Whether the store has told of changes since the enrolment was asked for.
    pub(super) is_dated: bool,
    /// Whoever revoked the peer or its owner while this attempt was past recall.
    pub(super) revoked_by: Vec<u64>,
}

/// What an attempt waits for.
#[derive(Debug)]
pub(super) enum Step {
    /// The enrolment, for the first time.
    Finding,
    /// A session's record, for a conversation about it.
    FindingSession,
    /// A session's end, for a client that signs out.
    Ending,
    /// The verifier's challenge.
    Challenging(Box<Candidate>),
    /// The user's answer.
    AwaitingAnswer(Box<Candidate>),
    /// The enrolment as it is now, before the answer is looked at.
    Refreshing(Box<Candidate>, Answer, Now),
    /// The verifier's verdict on an answer that came in at that time.
    Verifying(Box<Candidate>, Now),
    /// A failure to be durable.
    Recording(Box<Candidate>, FailureReason),
    /// The client's word that it is live, for a renewal.
    AwaitingConfirm,
    /// The store's answer to an admission.
    Opening(Box<Candidate>),
    /// The store's answer to a renewal.
    Renewing,
    /// The interface.
    Installing,
}

/// Who is to be admitted, and by which factor.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) peer: Peer,
    pub(super) subject: Subject,
}

impl Attempt {
    /// Whether the attempt can be dropped without a trace: nothing that it set off can still
    /// lead to an admission.
    pub(super) const fn is_recallable(&self) -> bool {
        !matches!(
            self.step,
            Step::Opening(_) | Step::Renewing | Step::Installing | Step::Ending
        )
    }

    /// Whether only the interface is waited for.
    pub(super) const fn is_installing(&self) -> bool {
        matches!(self.step, Step::Installing)
    }

    /// The owner of the peer, once it is known.
    pub(super) fn user(&self) -> Option<&UserId> {
        match &self.step {
            Step::Challenging(candidate)
            | Step::AwaitingAnswer(candidate)
            | Step::Refreshing(candidate, ..)
            | Step::Verifying(candidate, _)
            | Step::Recording(candidate, _)
            | Step::Opening(candidate) => Some(&candidate.subject.user),
            Step::Finding
            | Step::FindingSession
            | Step::Ending
            | Step::AwaitingConfirm
            | Step::Renewing
            | Step::Installing => None,
        }
    }
}

/// All open attempts, with their number per peer.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_id: BTreeMap<AttemptId, Attempt>,
    by_peer: BTreeSet<(PublicKey, AttemptId)>,
}

impl Attempts {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn of_peer(&self, peer: PublicKey) -> impl Iterator<Item = AttemptId> {
        let (least, greatest) = (
            AttemptId::from_bytes([0; 32]),
            AttemptId::from_bytes([255; 32]),
        );
        self.by_peer
            .range((peer, least)..=(peer, greatest))
            .map(|(_, attempt)| *attempt)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&AttemptId, &Attempt)> {
        self.by_id.iter()
    }

    /// The store has told of changes.
    pub(super) fn date(&mut self) {
        for attempt in self.by_id.values_mut() {
            attempt.is_dated = true;
        }
    }

    /// Adds an attempt; `false` when the handle is taken.
    pub(super) fn insert(&mut self, id: AttemptId, attempt: Attempt) -> bool {
        if self.by_id.contains_key(&id) {
            return false;
        }
        // A question about a session does not keep its peer from beginning an attempt.
        if matches!(attempt.step, Step::Finding) {
            self.by_peer.insert((attempt.peer, id));
        }
        self.by_id.insert(id, attempt);
        true
    }

    pub(super) fn get_mut(&mut self, id: AttemptId) -> Option<&mut Attempt> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: AttemptId) -> Option<Attempt> {
        let attempt = self.by_id.remove(&id)?;
        self.by_peer.remove(&(attempt.peer, id));
        Some(attempt)
    }
}
