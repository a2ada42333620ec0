//! The attempts that are open: what each one waits for, and how many there may be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::action::Subject;
use super::grant::{Passed, Terms};
use super::input::Intent;
use crate::channel::message::{Answer, Posture};
use crate::id::{AttemptId, FactorId, UserId};
use crate::key::PublicKey;
use crate::policy::Policy;
use crate::seal::Secret;
use crate::store::{Enrolment, FailureReason};
use crate::time::{Instant, Now, Timestamp};

/// A verified first message.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) attempt: AttemptId,
    pub(super) peer: PublicKey,
    pub(super) ephemeral: [u8; 32],
    pub(super) sent_at: Timestamp,
    pub(super) intent: Intent,
    pub(super) posture: Posture,
    pub(super) source: Option<IpAddr>,
}

/// One run of the ceremony.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) peer: PublicKey,
    pub(super) source: Option<IpAddr>,
    pub(super) ephemeral: [u8; 32],
    pub(super) intent: Intent,
    pub(super) posture: Posture,
    pub(super) expires: Instant,
    /// The same by the wall clock, for what is signed and sent.
    pub(super) expires_at: Timestamp,
    pub(super) step: Step,
    /// Whether the store has told of changes since the enrolment was asked for.
    pub(super) is_dated: bool,
    /// The factors that were passed, in that order.
    pub(super) passed: Vec<Passed>,
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
    /// The verifier's challenge. The question that stands goes on if it has none to give now.
    Challenging {
        asked: Box<Candidate>,
        standing: Option<Box<Candidate>>,
    },
    /// The user's answer.
    AwaitingAnswer(Box<Candidate>),
    /// The enrolment as it is now, before what the user did about the question is looked at.
    Refreshing(Box<Candidate>, Reaction, Now),
    /// The verifier's verdict on an answer that came in at that time.
    Verifying(Box<Candidate>, Now),
    /// A failure to be durable.
    Recording(Box<Candidate>, FailureReason),
    /// A passed factor to be durable, where others are still to be passed.
    Passing(Box<Candidate>, Box<Passed>),
    /// The client's word that it is live, for a renewal.
    AwaitingConfirm(Arc<Enrolment>, Arc<Policy>),
    /// The authoriser's word on an admission, or without a candidate on a renewal.
    Authorising(Box<Terms>, Option<Box<Candidate>>),
    /// The store's answer to an admission.
    Opening(Box<Candidate>),
    /// The store's answer to a renewal.
    Renewing,
    /// The interface.
    Installing,
    /// The verifier's question about a factor to be enrolled.
    Registering(Box<Applicant>),
    /// The user's answer to it.
    AwaitingRegistration(Box<Applicant>),
    /// The verifier's verdict on that, or the store's answer to the new factor.
    Enrolling(Box<Applicant>),
}

/// What a user does about a question.
#[derive(Debug, Clone)]
pub(super) enum Reaction {
    /// Answers it.
    Answer(Answer),
    /// Would rather be asked for this factor, or anew for the same.
    Choose(FactorId),
}

/// Who is to be admitted, by which rules, and what is being asked.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) enrolment: Arc<Enrolment>,
    pub(super) rules: Arc<Policy>,
    pub(super) subject: Subject,
}

/// Who enrols a factor.
#[derive(Debug, Clone)]
pub(super) struct Applicant {
    pub(super) enrolment: Arc<Enrolment>,
    /// How many wrong answers there were.
    pub(super) failures: u32,
    /// What the verifier remembers of its question.
    pub(super) state: Option<Secret>,
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
            Step::Challenging { asked, .. } => Some(&asked.subject.user),
            Step::AwaitingAnswer(candidate)
            | Step::Refreshing(candidate, ..)
            | Step::Verifying(candidate, _)
            | Step::Recording(candidate, _)
            | Step::Passing(candidate, _)
            | Step::Opening(candidate) => Some(&candidate.subject.user),
            Step::AwaitingConfirm(enrolment, _) => Some(&enrolment.user.id),
            Step::Authorising(terms, _) => Some(&terms.user),
            Step::Registering(applicant)
            | Step::AwaitingRegistration(applicant)
            | Step::Enrolling(applicant) => Some(&applicant.enrolment.user.id),
            Step::Finding
            | Step::FindingSession
            | Step::Ending
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

    pub(super) fn get(&self, id: AttemptId) -> Option<&Attempt> {
        self.by_id.get(&id)
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
