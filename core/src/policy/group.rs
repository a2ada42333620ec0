//! What a policy changes for a group of users.
//!
//! The first rule in the policy's order whose group the user is in applies, alone: what it sets
//! takes the place of what the location says, and what it leaves out stays as the location says.
//! Rules are never mixed. So there is one policy per rule, each of them is checked when the policy
//! is, and one name says which applied. Put the strictest rule first.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{EndpointChange, Policy, RenewalRule, Requirement, Step, Window, duration};
use crate::assurance::FactorKind;
use crate::id::GroupId;

/// What is different for one group. `None` leaves a field as the location says; `Some(None)` takes
/// a limit away that the location sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct GroupRule {
    /// The audience that it is for.
    pub group: GroupId,
    /// In place of [`Policy::steps`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<Step>>,
    /// In place of [`Policy::require`], as a whole: what it leaves out is not required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Requirement>,
    /// In place of [`Policy::max_age`].
    #[serde(
        default,
        with = "duration::given",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_age: Option<Duration>,
    /// In place of [`Policy::lease`].
    #[serde(
        default,
        with = "duration::given",
        skip_serializing_if = "Option::is_none"
    )]
    pub lease: Option<Duration>,
    /// In place of [`Policy::inactivity`].
    #[serde(
        default,
        with = "duration::given",
        skip_serializing_if = "Option::is_none"
    )]
    pub inactivity: Option<Option<Duration>>,
    /// In place of [`Policy::endpoint_change`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_change: Option<EndpointChange>,
    /// In place of [`Policy::warn_before`].
    #[serde(
        default,
        with = "duration::given",
        skip_serializing_if = "Option::is_none"
    )]
    pub warn_before: Option<Duration>,
    /// In place of [`Policy::renewal`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<RenewalRule>,
    /// In place of [`Policy::end_on_wake`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_on_wake: Option<bool>,
    /// In place of [`Policy::windows`]; an empty list is *always*.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Vec<Window>>,
    /// In place of [`Policy::sessions_per_user`].
    #[serde(
        default,
        with = "duration::given",
        skip_serializing_if = "Option::is_none"
    )]
    pub sessions_per_user: Option<Option<u32>>,
}

impl GroupRule {
    /// A rule that changes nothing yet.
    pub const fn new(group: GroupId) -> Self {
        Self {
            group,
            steps: None,
            require: None,
            max_age: None,
            lease: None,
            inactivity: None,
            endpoint_change: None,
            warn_before: None,
            renewal: None,
            end_on_wake: None,
            windows: None,
            sessions_per_user: None,
        }
    }

    /// The names of the fields that it sets, in the order of the struct.
    pub(crate) fn sets(&self) -> Vec<&'static str> {
        [
            ("steps", self.steps.is_some()),
            ("require", self.require.is_some()),
            ("max_age", self.max_age.is_some()),
            ("lease", self.lease.is_some()),
            ("inactivity", self.inactivity.is_some()),
            ("endpoint_change", self.endpoint_change.is_some()),
            ("warn_before", self.warn_before.is_some()),
            ("renewal", self.renewal.is_some()),
            ("end_on_wake", self.end_on_wake.is_some()),
            ("windows", self.windows.is_some()),
            ("sessions_per_user", self.sessions_per_user.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_set)| is_set.then_some(name))
        .collect()
    }

    /// The policy for the members of this group.
    pub(super) fn over(&self, policy: &Policy) -> Policy {
        let rule = self.clone();
        let mut resolved = Policy {
            groups: Vec::new(),
            ..policy.clone()
        };
        replace(&mut resolved.steps, rule.steps);
        replace(&mut resolved.require, rule.require);
        replace(&mut resolved.max_age, rule.max_age);
        replace(&mut resolved.lease, rule.lease);
        replace(&mut resolved.inactivity, rule.inactivity);
        replace(&mut resolved.endpoint_change, rule.endpoint_change);
        replace(&mut resolved.warn_before, rule.warn_before);
        replace(&mut resolved.renewal, rule.renewal);
        replace(&mut resolved.end_on_wake, rule.end_on_wake);
        replace(&mut resolved.windows, rule.windows);
        replace(&mut resolved.sessions_per_user, rule.sessions_per_user);
        resolved
    }
}

fn replace<T>(field: &mut T, with: Option<T>) {
    if let Some(with) = with {
        *field = with;
    }
}

impl Policy {
    /// The policy for a member of these groups: the location's, with what the first rule for one of
    /// the groups changes. Its own `groups` are empty. The order of `groups` does not matter, that
    /// of the rules does.
    #[must_use]
    pub fn for_groups(&self, groups: &[GroupId]) -> Policy {
        match self.rule_for(groups) {
            Some(rule) => rule.over(self),
            None => Policy {
                groups: Vec::new(),
                ..self.clone()
            },
        }
    }

    /// Every kind of factor that a step names, of the location's or of a group's; some more than
    /// once.
    pub fn kinds(&self) -> impl Iterator<Item = &FactorKind> {
        let of_groups = self.groups.iter().filter_map(|rule| rule.steps.as_ref());
        std::iter::once(&self.steps)
            .chain(of_groups)
            .flatten()
            .flat_map(Step::kinds)
    }

    /// The one rule that applies to a member of these groups.
    pub(crate) fn rule_for(&self, groups: &[GroupId]) -> Option<&GroupRule> {
        self.groups.iter().find(|rule| groups.contains(&rule.group))
    }
}
