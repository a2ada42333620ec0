//! The steps of a policy, and which factor is asked for next.
//!
//! A kind counts for one step only, so one factor never stands in for two. What is offered is only
//! what leads on: a kind that a later step can't do without is kept for it, and a kind is left out
//! when the policy's [`Requirement`](super::Requirement) could not be met any more after it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Ability, Policy, Property};
use crate::assurance::FactorKind;

/// One step. Steps are passed in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// One of these, the first that the user has where no one chooses.
    AnyOf(Vec<FactorKind>),
    /// Every one of these, in whatever order they are passed.
    AllOf(Vec<FactorKind>),
}

impl Step {
    /// The kinds that the step names, in its order.
    pub fn kinds(&self) -> &[FactorKind] {
        match self {
            Self::AnyOf(kinds) | Self::AllOf(kinds) => kinds,
        }
    }
}

/// What comes after the factors that have been passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// One of these, in the policy's order of preference. When there is none, nothing that could be
    /// passed leads to the end: the attempt is over.
    Ask(Vec<FactorKind>),
    /// Every step is passed. Whether what was proven is enough is for
    /// [`Requirement::unmet`](super::Requirement::unmet) to say.
    Done,
}

impl Policy {
    /// What is asked for after `passed`, in the order in which it was passed. A kind counts for
    /// one step only; one that was not asked for at its time counts for nothing.
    ///
    /// This is what the policy offers to everybody. To someone who has only some of the kinds,
    /// offer [`Policy::next_of`]: the first that they have may lead to a step that they can't pass.
    pub fn next(&self, passed: &[FactorKind]) -> Next {
        Ways::new(self).ask(passed, None).into()
    }

    /// As [`Policy::next`], but offers only what someone who has `held` can pass and what leads
    /// them to the end. [`Next::Ask`] without a kind says that they can't get there.
    pub(crate) fn next_of(&self, passed: &[FactorKind], held: &[FactorKind]) -> Next {
        Ways::new(self).ask(passed, Some(held)).into()
    }

    /// Whether someone who has `held` can get through all steps. Worth asking before a factor is
    /// taken from a user: the store sees to it that one is left, and knows no policy.
    pub fn is_passable_with(&self, held: &[FactorKind]) -> bool {
        !matches!(self.next_of(&[], held), Next::Ask(offered) if offered.is_empty())
    }
}

impl From<Option<Ask>> for Next {
    fn from(ask: Option<Ask>) -> Self {
        ask.map_or(Self::Done, |ask| Self::Ask(ask.offered))
    }
}

/// A question, and the step that it belongs to.
pub(super) struct Ask {
    pub(super) step: usize,
    pub(super) offered: Vec<FactorKind>,
}

/// A set of the kinds that a policy names: a bit each.
type Set = u64;

/// The ways through the steps of a policy.
pub(super) struct Ways<'a> {
    steps: &'a [Step],
    required: Vec<Property>,
    /// Every kind that the steps name, once; its place is its bit in a [`Set`].
    kinds: Vec<&'a FactorKind>,
}

impl<'a> Ways<'a> {
    pub(super) fn new(policy: &'a Policy) -> Self {
        Self::through(&policy.steps, policy.require.properties())
    }

    pub(super) fn through(steps: &'a [Step], required: Vec<Property>) -> Self {
        let mut kinds = Vec::new();
        for kind in steps.iter().flat_map(Step::kinds) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        Self {
            steps,
            required,
            kinds,
        }
    }

    /// Whether there is a way from the first step to the end.
    pub(super) fn lead_on(&self) -> bool {
        self.open(0, 0, Set::MAX, &mut BTreeSet::new())
    }

    /// Each set of kinds by which someone can come to the end, once.
    pub(super) fn all(&self) -> Vec<Vec<&'a FactorKind>> {
        let mut reached = BTreeSet::from([0]);
        for step in self.steps {
            reached = reached
                .into_iter()
                .flat_map(|used| self.after(step, used, Set::MAX))
                .collect();
        }
        reached
            .into_iter()
            .filter(|used| self.are_enough(*used))
            .map(|used| self.named(used))
            .collect()
    }

    /// The question after `passed`, among what is `held`; `None` when every step is passed.
    pub(super) fn ask(&self, passed: &[FactorKind], held: Option<&[FactorKind]>) -> Option<Ask> {
        let held = held.map_or(Set::MAX, |held| self.set(held));
        let mut passed = passed.iter();
        let mut used = 0;
        for (place, step) in self.steps.iter().enumerate() {
            let wanted = self.set(step.kinds());
            let mut free = wanted & !used;
            let count = match step {
                Step::AnyOf(_) => 1,
                Step::AllOf(kinds) => kinds.len(),
            };
            for _ in 0..count.max(1) {
                let counts = |kind| self.bit(kind).filter(|bit| free & bit != 0);
                let Some(bit) = passed.find_map(counts) else {
                    let offered = self.offered(place, step, used, free & held, held);
                    return Some(Ask {
                        step: place,
                        offered,
                    });
                };
                free &= !bit;
                used |= bit;
            }
        }
        None
    }

    /// What of `free` leads to the end, in the step's order.
    fn offered(
        &self,
        place: usize,
        step: &Step,
        used: Set,
        free: Set,
        held: Set,
    ) -> Vec<FactorKind> {
        let mut dead = BTreeSet::new();
        let leads_on = |kind: &&FactorKind| {
            let bit = self.bit(kind).unwrap_or_default() & free;
            let then = match step {
                Step::AnyOf(_) => used | bit,
                Step::AllOf(_) => used | free,
            };
            let is_whole = match step {
                Step::AnyOf(_) => true,
                Step::AllOf(kinds) => self.set(kinds) & !then == 0,
            };
            bit != 0 && is_whole && self.open(place + 1, then, held, &mut dead)
        };
        step.kinds().iter().filter(leads_on).cloned().collect()
    }

    /// Whether a way leads from this step to the end with kinds of `held` that are not used yet.
    /// `dead` keeps what was found to lead nowhere, so that each question is answered once.
    fn open(&self, place: usize, used: Set, held: Set, dead: &mut BTreeSet<(usize, Set)>) -> bool {
        let Some(step) = self.steps.get(place) else {
            return self.are_enough(used);
        };
        if dead.contains(&(place, used)) {
            return false;
        }
        let open = self
            .after(step, used, held)
            .into_iter()
            .any(|used| self.open(place + 1, used, held, dead));
        if !open {
            dead.insert((place, used));
        }
        open
    }

    /// What may have been used after a step, when `used` was before it.
    fn after(&self, step: &Step, used: Set, held: Set) -> Vec<Set> {
        let wanted = self.set(step.kinds());
        let free = wanted & !used & held;
        match step {
            Step::AllOf(_) if free == wanted && wanted != 0 => vec![used | wanted],
            Step::AllOf(_) => Vec::new(),
            Step::AnyOf(_) => (0..Set::BITS)
                .map(|place| 1 << place)
                .filter(|bit| free & bit != 0)
                .map(|bit| used | bit)
                .collect(),
        }
    }

    /// Whether those that were used can prove, together, all that is required.
    fn are_enough(&self, used: Set) -> bool {
        let used = self.named(used);
        self.required.iter().all(|property| {
            used.iter()
                .any(|kind| Ability::of(kind).may_prove(*property))
        })
    }

    fn named(&self, set: Set) -> Vec<&'a FactorKind> {
        let in_set = |kind: &&&FactorKind| self.bit(kind).is_some_and(|bit| set & bit != 0);
        self.kinds.iter().filter(in_set).copied().collect()
    }

    fn set(&self, kinds: &[FactorKind]) -> Set {
        kinds
            .iter()
            .filter_map(|kind| self.bit(kind))
            .fold(0, |set, bit| set | bit)
    }

    /// `None` for a kind that no step names, and for those past the 64th, which
    /// [`Policy::check`] refuses: what has no bit is never offered and never counts.
    fn bit(&self, kind: &FactorKind) -> Option<Set> {
        let place = self.kinds.iter().position(|known| *known == kind)?;
        1_u64.checked_shl(u32::try_from(place).ok()?)
    }
}
