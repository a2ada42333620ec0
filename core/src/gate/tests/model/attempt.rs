//! What an attempt has come to, by what was asked, answered and found right.

use crate::assurance::FactorKind;
use crate::channel::message::Request;
use crate::factor::{Registration, Verdict};
use crate::gate::{Input, Intent};
use crate::id::{AttemptId, FactorId};
use crate::key::{PresharedKey, PublicKey};
use crate::policy::{Policy, Step};
use crate::seal::SecretBytes;
use crate::store;
use crate::time::{Instant, Now, Timestamp};

use super::Model;

pub(super) struct Attempt {
    pub(super) peer: PublicKey,
    pub(super) intent: Intent,
    pub(super) expires: Instant,
    /// Whether it is the client's turn.
    pub(super) waits: bool,
    /// Requests out of turn that will be refused one by one.
    pub(super) out_of_turn: usize,
    pub(super) is_over: bool,
    /// Whether a question of it was ever answered.
    pub(super) is_answered: bool,
    pub(super) asked: Option<Now>,
    /// The factor that a verifier is to ask for.
    pub(super) asking: Asking,
    /// The question that stands, and what is remembered of it.
    pub(super) question: Option<(Asking, Option<SecretBytes>)>,
    /// A factor that a verifier found right, and that is not durable yet.
    pub(super) right: Option<Pass>,
    /// The factors that are durable, in their order.
    pub(super) passed: Vec<Pass>,
    /// The factors that an admission under way is made of.
    pub(super) opening: Vec<Pass>,
    pub(super) opening_since: u64,
    /// Up to when the authoriser was told that the lease is to last.
    pub(super) proposed: Option<Timestamp>,
    /// Up to when the authoriser says that it may, by both clocks.
    pub(super) permitted: Option<Now>,
    /// Whether a verifier found that the user holds the new factor.
    pub(super) holds_new: bool,
    pub(super) untold_failures: u32,
    /// What the store said is durable.
    pub(super) persisted: Option<PresharedKey>,
}

/// The factor that a question is about; none for one that is being enrolled.
type Asking = Option<(FactorId, FactorKind)>;

/// A factor that was passed, and when its answer came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) factor: FactorId,
    pub(super) kind: FactorKind,
    pub(super) since: Now,
}

impl Attempt {
    pub(super) const fn new(peer: PublicKey, intent: Intent, expires: Instant) -> Self {
        Self {
            peer,
            intent,
            expires,
            waits: false,
            out_of_turn: 0,
            is_over: false,
            is_answered: false,
            asked: None,
            asking: None,
            question: None,
            right: None,
            passed: Vec::new(),
            opening: Vec::new(),
            opening_since: 0,
            proposed: None,
            permitted: None,
            holds_new: false,
            untold_failures: 0,
            persisted: None,
        }
    }

    pub(super) fn hears_request(&mut self, request: &Request, now: Now) {
        if self.is_over {
            return;
        }
        if std::mem::replace(&mut self.waits, false) {
            self.asked = Some(now);
            self.is_answered |= matches!(request, Request::Answer { .. });
        } else {
            self.out_of_turn += 1;
        }
    }

    /// What a verifier, the store or the authoriser says of it.
    pub(super) fn hears(&mut self, input: &Input, now: Now) {
        if self.is_over {
            return;
        }
        match input {
            Input::Challenged { result, .. } => {
                let asking = self.asking.take();
                if let Ok(asked) = result {
                    self.question = Some((asking, asked.state.clone()));
                }
            }
            Input::Registering {
                result: Ok(asked), ..
            } => self.question = Some((None, asked.state.clone())),
            Input::Verified { result, .. } => match result {
                Ok(Verdict::Proven(proof)) => {
                    self.right = Some(Pass {
                        factor: proof.factor,
                        kind: proof.assurance.kind.clone(),
                        since: self.asked.take().expect("an answer"),
                    });
                }
                Ok(Verdict::Ask(asked)) => self.is_asked_on(asked.state.clone()),
                Err(_) => {}
            },
            Input::Enrolling { result, .. } => match result {
                Ok(Registration::Proven(_)) => self.holds_new = true,
                Ok(Registration::Ask(asked)) => self.is_asked_on(asked.state.clone()),
                Err(_) => {}
            },
            Input::Passed { result, .. } => {
                let right = self.right.take();
                if *result == Ok(store::PassOutcome::Recorded) {
                    self.passed.extend(right);
                    self.question = None;
                }
            }
            Input::Authorised { result, .. } => {
                self.permitted = result.as_ref().ok().map(|permit| {
                    let longest = permit.longest.unwrap_or(Policy::LONGEST);
                    Now {
                        instant: now.instant + longest,
                        timestamp: now.timestamp + longest,
                    }
                });
            }
            _ => {}
        }
    }

    /// Whether the question that stands is about a factor to be.
    pub(super) fn is_enrolling(&self) -> bool {
        matches!(self.question, Some((None, _)))
    }

    /// What the authoriser was asked and what it said, for one use.
    pub(super) fn permit(&mut self) -> Option<(Timestamp, Now)> {
        self.proposed.take().zip(self.permitted.take())
    }

    /// The same question goes on in another round.
    fn is_asked_on(&mut self, state: Option<SecretBytes>) {
        let standing = self.question.take();
        let (factor, _) = standing.expect("a question that was answered");
        self.question = Some((factor, state));
    }
}

impl Model {
    /// The factor that an attempt is being asked for.
    pub(in super::super) fn question(&self, attempt: AttemptId) -> Option<(FactorId, FactorKind)> {
        let attempt = self.attempts.get(&attempt)?;
        attempt.question.as_ref()?.0.clone()
    }
}

/// Whether these factors, in the order in which they were passed, are all that the steps ask for,
/// and no more.
pub(super) fn are_all(steps: &[Step], passed: &[Pass]) -> bool {
    let mut rest = passed.iter().map(|pass| &pass.kind);
    let are_passed = steps.iter().all(|step| {
        let count = match step {
            Step::AnyOf(_) => 1,
            Step::AllOf(kinds) => kinds.len(),
        };
        let given: Vec<_> = rest.by_ref().take(count).collect();
        given.len() == count && given.iter().all(|kind| step.kinds().contains(kind))
    });
    let mut kinds: Vec<_> = passed.iter().map(|pass| &pass.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    are_passed && rest.next().is_none() && kinds.len() == passed.len()
}
