//! The attempts that are open: what each one waits for, and how many there may be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::action::FactorContext;
use super::grant::{PassedFactor, Terms};
use super::input::Intent;
use crate::channel::message::{Answer, Posture};
use crate::id::{AttemptId, FactorId, UserId};
use crate::key::PublicKey;
use crate::policy::Policy;
use crate::seal::SecretBytes;
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
    pub(super) intent: Intent,
    pub(super) posture: Posture,
    pub(super) expires: Instant,
    /// The same by the wall clock, for what is signed and sent.
    pub(super) expires_at: Timestamp,
    pub(super) state: AttemptState,
    /// Whether the user has ever answered a question of it.
    pub(super) is_answered: bool,
    /// Whether the store has told of changes since the enrolment was asked for.
    pub(super) is_dated: bool,
    /// Whether the policy is another one since the attempt began.
    pub(super) is_outdated: bool,
    /// The factors that were passed, in that order.
    pub(super) passed: Vec<PassedFactor>,
    /// The revocations of the peer or its owner that came while the attempt was past recall, by
    /// their tickets.
    pub(super) revoked_by: Vec<u64>,
}

/// What an attempt waits for.
#[derive(Debug)]
pub(super) enum AttemptState {
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
    Passing(Box<Candidate>, Box<PassedFactor>),
    /// The client's confirmation that it is live, for a renewal.
    AwaitingConfirm(Arc<Enrolment>, Arc<Policy>),
    /// The authoriser's decision on an admission, or without a candidate on a renewal.
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

/// What a user does about a challenge.
#[derive(Debug, Clone)]
pub(super) enum Reaction {
    /// Answers it.
    Answer(Answer),
    /// Asks for a challenge of this factor, or for another one of the same.
    Choose(FactorId),
}

/// Who is to be admitted, by which rules, and what is being asked.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) enrolment: Arc<Enrolment>,
    pub(super) policy: Arc<Policy>,
    pub(super) context: FactorContext,
}

/// Who enrols a factor.
#[derive(Debug, Clone)]
pub(super) struct Applicant {
    pub(super) enrolment: Arc<Enrolment>,
    /// How many wrong answers there were.
    pub(super) failures: u32,
    /// What the verifier remembers of its question.
    pub(super) state: Option<SecretBytes>,
}

impl Attempt {
    /// Whether the attempt can be dropped without a trace: nothing that it set off can still
    /// lead to an admission.
    pub(super) const fn is_recallable(&self) -> bool {
        !matches!(
            self.state,
            AttemptState::Opening(_)
                | AttemptState::Renewing
                | AttemptState::Installing
                | AttemptState::Ending
        )
    }

    /// Whether a later attempt of the same peer may take its place: nothing was ever answered. What
    /// was answered is its user's alone to end, since the private key is all that it takes to
    /// begin, and a thief of that key has it as well.
    pub(super) const fn is_replaceable(&self) -> bool {
        !self.is_answered
            && (self.waits_for_client()
                || matches!(
                    self.state,
                    AttemptState::Finding
                        | AttemptState::Challenging { .. }
                        | AttemptState::Refreshing(_, Reaction::Choose(_), _)
                        | AttemptState::Registering(_)
                ))
    }

    /// Whether it is the client's turn, so that no request of it waits for a reply.
    pub(super) const fn waits_for_client(&self) -> bool {
        matches!(
            self.state,
            AttemptState::AwaitingAnswer(_)
                | AttemptState::AwaitingRegistration(_)
                | AttemptState::AwaitingConfirm(..)
        )
    }

    /// Whether only the interface is waited for.
    pub(super) const fn is_installing(&self) -> bool {
        matches!(self.state, AttemptState::Installing)
    }

    /// The owner of the peer, once it is known.
    pub(super) fn user(&self) -> Option<&UserId> {
        match &self.state {
            AttemptState::Challenging { asked, .. } => Some(&asked.context.user),
            AttemptState::AwaitingAnswer(candidate)
            | AttemptState::Refreshing(candidate, ..)
            | AttemptState::Verifying(candidate, _)
            | AttemptState::Recording(candidate, _)
            | AttemptState::Passing(candidate, _)
            | AttemptState::Opening(candidate) => Some(&candidate.context.user),
            AttemptState::AwaitingConfirm(enrolment, _) => Some(&enrolment.user.id),
            AttemptState::Authorising(terms, _) => Some(&terms.user),
            AttemptState::Registering(applicant)
            | AttemptState::AwaitingRegistration(applicant)
            | AttemptState::Enrolling(applicant) => Some(&applicant.enrolment.user.id),
            AttemptState::Finding
            | AttemptState::FindingSession
            | AttemptState::Ending
            | AttemptState::Renewing
            | AttemptState::Installing => None,
        }
    }
}

/// All open attempts, with their number per peer.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    by_id: BTreeMap<AttemptId, Attempt>,
    by_peer: BTreeSet<(PublicKey, AttemptId)>,
    by_expiry: BTreeSet<(Instant, AttemptId)>,
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

    /// The oldest attempt of a peer whose place a later one may take.
    pub(super) fn oldest_replaceable(&self, peer: PublicKey) -> Option<AttemptId> {
        let replaceable = self.of_peer(peer).filter_map(|id| {
            let attempt = self.by_id.get(&id)?;
            attempt.is_replaceable().then_some((attempt.expires, id))
        });
        replaceable.min().map(|(_, id)| id)
    }

    /// When the first attempt of a peer is over at the latest.
    pub(super) fn first_end_of(&self, peer: PublicKey) -> Option<Instant> {
        let ends = self.of_peer(peer).filter_map(|id| self.by_id.get(&id));
        ends.map(|attempt| attempt.expires).min()
    }

    /// When the first attempt of all is over at the latest.
    pub(super) fn first_end(&self) -> Option<Instant> {
        self.by_expiry.first().map(|(at, _)| *at)
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
        if matches!(attempt.state, AttemptState::Finding) {
            self.by_peer.insert((attempt.peer, id));
        }
        self.by_expiry.insert((attempt.expires, id));
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
        self.by_expiry.remove(&(attempt.expires, id));
        Some(attempt)
    }

    /// Has an attempt wait for something else from now on. `None` where it is over.
    pub(super) fn enter(&mut self, id: AttemptId, state: AttemptState) -> Option<&mut Attempt> {
        let attempt = self.by_id.get_mut(&id)?;
        attempt.state = state;
        Some(attempt)
    }
}

/// What an attempt waits for, asked by the handlers of the answers. Each of these gives nothing
/// where the attempt is over or waits for something else by now: an answer that comes late, or
/// twice, changes nothing.
impl Attempts {
    /// The peer whose session is looked up.
    pub(super) fn finding_session(&self, id: AttemptId) -> Option<PublicKey> {
        let attempt = self.get(id)?;
        matches!(attempt.state, AttemptState::FindingSession).then_some(attempt.peer)
    }

    /// The candidate for whom the verifier makes a challenge, and the one whose challenge stands
    /// meanwhile, which is taken out.
    pub(super) fn challenging(
        &mut self,
        id: AttemptId,
    ) -> Option<(Box<Candidate>, Option<Box<Candidate>>)> {
        let AttemptState::Challenging { asked, standing } = &mut self.get_mut(id)?.state else {
            return None;
        };
        Some((asked.clone(), standing.take()))
    }

    /// The candidate whose answer the verifier checks, and when it came in.
    pub(super) fn verifying(&self, id: AttemptId) -> Option<(Box<Candidate>, Now)> {
        let AttemptState::Verifying(candidate, since) = &self.get(id)?.state else {
            return None;
        };
        Some((candidate.clone(), *since))
    }

    /// The candidate whose failure is to be durable, and why the answer was wrong.
    pub(super) fn recording(&self, id: AttemptId) -> Option<(Box<Candidate>, FailureReason)> {
        let AttemptState::Recording(candidate, reason) = &self.get(id)?.state else {
            return None;
        };
        Some((candidate.clone(), *reason))
    }

    /// The candidate whose passed factor is to be durable, and that factor.
    pub(super) fn passing(&self, id: AttemptId) -> Option<(Box<Candidate>, PassedFactor)> {
        let AttemptState::Passing(candidate, passed) = &self.get(id)?.state else {
            return None;
        };
        Some((candidate.clone(), (**passed).clone()))
    }

    /// The terms that the authoriser decides on; the candidate, if there is one, is taken out.
    pub(super) fn authorising(
        &mut self,
        id: AttemptId,
    ) -> Option<(Box<Terms>, Option<Box<Candidate>>)> {
        let AttemptState::Authorising(terms, candidate) = &mut self.get_mut(id)?.state else {
            return None;
        };
        Some((terms.clone(), candidate.take()))
    }

    /// The candidate that the store is to admit, with the attempt as it is.
    pub(super) fn opening(&mut self, id: AttemptId) -> Option<(Box<Candidate>, &mut Attempt)> {
        let attempt = self.get_mut(id)?;
        let AttemptState::Opening(candidate) = &attempt.state else {
            return None;
        };
        Some((candidate.clone(), attempt))
    }

    /// The user for whom the verifier makes the first challenge of an enrolment.
    pub(super) fn registering(&self, id: AttemptId) -> Option<&Applicant> {
        let AttemptState::Registering(applicant) = &self.get(id)?.state else {
            return None;
        };
        Some(applicant)
    }

    /// The user whose new factor the verifier checks or the store takes.
    pub(super) fn enrolling(&self, id: AttemptId) -> Option<&Applicant> {
        let AttemptState::Enrolling(applicant) = &self.get(id)?.state else {
            return None;
        };
        Some(applicant)
    }
}
