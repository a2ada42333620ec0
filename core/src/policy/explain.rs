//! What a policy means for one user: what is asked in which order and why, and whether the factors
//! that they have get them in.

use std::fmt;

use super::step::Ways;
use super::{Ability, Claim, EndpointChange, Policy, Property, RenewalRule, Step, Throttle};
use crate::assurance::FactorKind;
use crate::id::GroupId;

/// Explains what `policy` asks of a member of `groups` who has active factors of the kinds `held`,
/// each time the gate picks the first that it offers.
pub fn explain(policy: &Policy, groups: &[GroupId], held: &[FactorKind]) -> Explanation {
    let rule = policy.rule_for(groups);
    let resolved = policy.for_groups(groups);
    let ways = Ways::new(&resolved);
    let (mut passed, mut questions) = (Vec::new(), Vec::new());
    let verdict = loop {
        let Some(ask) = ways.ask(&passed, Some(held)) else {
            break ExplainedOutcome::Passes {
                if_proven: in_doubt(&resolved, &passed),
            };
        };
        let picked = ask.offered.first().cloned();
        questions.push(ExplainedStep {
            step: ask.step,
            left_out: left_out(&resolved, ask.step, &passed, &ask.offered, held),
            offered: ask.offered,
        });
        match picked {
            Some(kind) => passed.push(kind),
            None => break ExplainedOutcome::Stuck,
        }
    };
    Explanation {
        rule: rule.map(|rule| rule.group.clone()),
        changed: rule.map(|rule| rule.sets()).unwrap_or_default(),
        questions,
        verdict,
        policy: resolved,
    }
}

/// What a policy means for one user. Its `Display` is for people, several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The group whose rule applies; `None` when the location's policy does.
    pub(super) rule: Option<GroupId>,
    /// The fields that this rule sets.
    pub(super) changed: Vec<&'static str>,
    /// What is asked, in this order.
    pub(super) questions: Vec<ExplainedStep>,
    /// How it ends.
    pub(super) verdict: ExplainedOutcome,
    /// The policy that applies, resolved.
    pub(super) policy: Policy,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExplainedStep {
    /// The step that it belongs to, from 0.
    pub(super) step: usize,
    /// What is offered, in the policy's order of preference. When there is nothing, this is where
    /// the user can't get any further.
    pub(super) offered: Vec<FactorKind>,
    /// What the step names and is not offered.
    pub(super) left_out: Vec<(FactorKind, LeftOut)>,
}

/// Why a kind that a step names is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// The user has none.
    NotHeld,
    /// It was passed already, and counts for one step only.
    Passed,
    /// With it, what is required could not be proven any more.
    NotEnough(Property),
    /// With it, another step could not be passed.
    LeadsNowhere,
}

/// How it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExplainedOutcome {
    /// The user gets in.
    Passes {
        /// If these are proven: it depends on the very factor whether they are.
        if_proven: Vec<Property>,
    },
    /// The user does not: nothing can be offered for the last question.
    Stuck,
}

/// The properties that are required and that no factor of these kinds always proves.
fn in_doubt(policy: &Policy, passed: &[FactorKind]) -> Vec<Property> {
    let mut required = policy.require.properties();
    required.retain(|property| {
        let claims = passed.iter().map(|kind| Ability::of(kind).claim(*property));
        claims.max() != Some(Claim::Always)
    });
    required
}

fn left_out(
    policy: &Policy,
    step: usize,
    passed: &[FactorKind],
    offered: &[FactorKind],
    held: &[FactorKind],
) -> Vec<(FactorKind, LeftOut)> {
    let kinds = policy.steps.get(step).map(Step::kinds).unwrap_or_default();
    let others = kinds.iter().filter(|kind| !offered.contains(kind));
    let why = |kind: &FactorKind| {
        if passed.contains(kind) {
            LeftOut::Passed
        } else if !held.contains(kind) {
            LeftOut::NotHeld
        } else {
            why_not(policy, kind, passed, held)
        }
    };
    others.map(|kind| (kind.clone(), why(kind))).collect()
}

/// Why a kind that the user has does not lead on: the first requirement without which it would, or
/// else the steps.
fn why_not(
    policy: &Policy,
    kind: &FactorKind,
    passed: &[FactorKind],
    held: &[FactorKind],
) -> LeftOut {
    let mut required = Vec::new();
    let is_offered = |required: Vec<Property>| {
        Ways::through(&policy.steps, required)
            .ask(passed, Some(held))
            .is_some_and(|ask| ask.offered.contains(kind))
    };
    if is_offered(Vec::new()) {
        for property in policy.require.properties() {
            required.push(property);
            if !is_offered(required.clone()) {
                return LeftOut::NotEnough(property);
            }
        }
    }
    LeftOut::LeadsNowhere
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Some(group) => writeln!(
                f,
                "The rule for the group `{group}` applies: it sets {}.",
                or_nothing(&self.changed.join(", "))
            )?,
            None => writeln!(
                f,
                "The location's policy applies: no rule is for a group of theirs."
            )?,
        }
        self.requirements(f)?;
        for (place, question) in self.questions.iter().enumerate() {
            self.question(f, place + 1, question)?;
        }
        match &self.verdict {
            ExplainedOutcome::Passes { if_proven } if if_proven.is_empty() => {
                writeln!(f, "They can pass.")?
            }
            ExplainedOutcome::Passes { if_proven } => {
                writeln!(
                    f,
                    "They can pass, if their factor gives {}.",
                    list(if_proven)
                )?;
            }
            ExplainedOutcome::Stuck => {
                writeln!(f, "They can't pass: enrol a factor that is missing above.")?
            }
        }
        self.lease(f)?;
        self.failures(f)
    }
}

impl Explanation {
    fn requirements(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let required = self.policy.require.properties();
        if !required.is_empty() {
            writeln!(f, "Required: {}.", list(&required))?;
        }
        if let Some(age) = self.policy.require.authentication_age {
            let age = humantime::format_duration(age);
            writeln!(f, "Required: every proof from the last {age}.")?;
        }
        Ok(())
    }

    fn question(
        &self,
        f: &mut fmt::Formatter<'_>,
        number: usize,
        question: &ExplainedStep,
    ) -> fmt::Result {
        let of = match self.policy.steps.get(question.step) {
            Some(Step::AnyOf(kinds)) => format!("any of {}", names(kinds)),
            Some(Step::AllOf(kinds)) => format!("all of {}", names(kinds)),
            None => String::new(),
        };
        let step = question.step + 1;
        let offered = names(&question.offered);
        writeln!(f, "{number}. {} (step {step}: {of})", or_nothing(&offered))?;
        for (kind, why) in &question.left_out {
            let why = match why {
                LeftOut::NotHeld => "they have none".to_owned(),
                LeftOut::Passed => "it counts for one step only".to_owned(),
                LeftOut::NotEnough(property) => format!("with it, {property} can't be had"),
                LeftOut::LeadsNowhere => "with it, a step can't be passed".to_owned(),
            };
            writeln!(f, "   not `{kind}`: {why}")?;
        }
        Ok(())
    }

    fn lease(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = humantime::format_duration;
        let policy = &self.policy;
        let (lease, most) = (policy.lease.min(policy.max_age), policy.max_age);
        match policy.renewal {
            RenewalRule::Free if lease < most => writeln!(
                f,
                "Lease: {}, renewed without a factor until {} after signing in.",
                span(lease),
                span(most)
            )?,
            RenewalRule::Free | RenewalRule::Factor => {
                writeln!(f, "Lease: {}, renewed by the factors.", span(lease))?;
            }
            RenewalRule::Off => writeln!(f, "Lease: {}, not renewed.", span(lease))?,
        }
        if let Some(idle) = policy.inactivity {
            writeln!(f, "It ends after {} without traffic.", span(idle))?;
        }
        match policy.endpoint_change {
            EndpointChange::Off => {}
            EndpointChange::Warn => {
                writeln!(f, "Going on from another address is told and recorded.")?;
            }
            EndpointChange::Reauthenticate => {
                writeln!(f, "It ends when the device goes on from another address.")?;
            }
        }
        if policy.end_on_wake {
            writeln!(f, "It ends when the device wakes or is unlocked.")?;
        }
        if let Some(most) = policy.sessions_per_user {
            writeln!(f, "Sessions at a time: {most}.")?;
        }
        for window in &policy.windows {
            writeln!(f, "Open: {window}.")?;
        }
        Ok(())
    }

    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Throttle {
            free,
            first_wait,
            longest_wait,
            disable_at,
        } = self.policy.throttle;
        let span = humantime::format_duration;
        if free < disable_at {
            writeln!(
                f,
                "Wrong answers, for each factor by itself: from number {} on each costs a wait, of {} at first, doubled each time up to {}.",
                free.max(1),
                span(first_wait.min(longest_wait)),
                span(longest_wait)
            )?;
        }
        writeln!(
            f,
            "After {disable_at} of them without a right one, an administrator has to reset the factor."
        )
    }
}

fn names(kinds: &[FactorKind]) -> String {
    let all: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
    all.join(", ")
}

fn list(properties: &[Property]) -> String {
    let all: Vec<String> = properties.iter().map(ToString::to_string).collect();
    all.join("; ")
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}
