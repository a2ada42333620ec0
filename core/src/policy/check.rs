//! Which policies are refused, and where in one the fault is.

use std::fmt;
use std::time::Duration;

use super::step::Ways;
use super::{Policy, Property};
use crate::assurance::FactorKind;
use crate::id::GroupId;

impl Policy {
    /// The longest `max_age`: 30 days (NIST SP 800-63B-4, section 2.1.3).
    pub const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

    /// The longest `attempt_ttl`: what was asked for once is no proof of who is there now.
    pub(crate) const LONGEST_ATTEMPT: Duration = Duration::from_secs(15 * 60);

    /// The greatest `clock_skew`: for so long a first message that was recorded can be sent again.
    pub(crate) const MOST_SKEW: Duration = Duration::from_secs(10 * 60);

    /// The longest `fence_after`: for so long those who were to leave may pass.
    pub(crate) const LONGEST_TO_FENCE: Duration = Duration::from_secs(5 * 60);

    /// The greatest `throttle.disable_at` (NIST SP 800-63B-4, section 3.2.2).
    pub(crate) const MOST_FAILURES: u32 = 100;

    /// How many steps a policy may have.
    pub(crate) const MOST_STEPS: usize = 8;

    /// How many kinds of factor the steps of a policy may name.
    pub(crate) const MOST_KINDS: usize = 16;

    /// Says what is wrong with the policy, if anything is: first with the location's, then with
    /// what becomes of it by each group's rule.
    ///
    /// A `lease` that is longer than `max_age` is not wrong: the earlier end counts.
    ///
    /// # Errors
    /// [`InvalidPolicy`] when the policy can admit no one, or would not end.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        self.check_own()?;
        for (rule, of) in self.groups.iter().enumerate() {
            let earlier = self.groups.iter().take(rule);
            if earlier
                .map(|rule| &rule.group)
                .any(|group| *group == of.group)
            {
                return Err(InvalidPolicy(PolicyFault::GroupTwice {
                    rule,
                    group: of.group.clone(),
                }));
            }
            of.over(self)
                .check_own()
                .map_err(|fault| PolicyFault::Group {
                    rule,
                    group: of.group.clone(),
                    fault: Box::new(fault),
                })?;
        }
        Ok(())
    }

    /// All but the rules for groups.
    fn check_own(&self) -> Result<(), PolicyFault> {
        self.check_figures()?;
        self.check_steps()?;
        let mut required = Vec::new();
        for property in self.require.properties() {
            required.push(property);
            if !Ways::through(&self.steps, required.clone()).lead_on() {
                return Err(PolicyFault::Unprovable { property });
            }
        }
        Ok(())
    }

    fn check_figures(&self) -> Result<(), PolicyFault> {
        let age = self.require.authentication_age;
        let spans = [
            ("max_age", Some(self.max_age)),
            ("lease", Some(self.lease)),
            ("inactivity", self.inactivity),
            ("attempt_ttl", Some(self.attempt_ttl)),
            ("clock_skew", Some(self.clock_skew)),
            ("require.authentication_age", age),
        ];
        if let Some((field, _)) = spans
            .into_iter()
            .find(|(_, span)| span.is_some_and(|span| span.is_zero()))
        {
            return Err(PolicyFault::Zero { field });
        }
        if self.max_age > Self::LONGEST {
            return Err(PolicyFault::TooLong);
        }
        for (field, span, most) in [
            ("attempt_ttl", self.attempt_ttl, Self::LONGEST_ATTEMPT),
            ("clock_skew", self.clock_skew, Self::MOST_SKEW),
            ("fence_after", self.fence_after, Self::LONGEST_TO_FENCE),
        ] {
            if span > most {
                return Err(PolicyFault::TooLongFor { field, most });
            }
        }
        if self.throttle.disable_at > Self::MOST_FAILURES {
            return Err(PolicyFault::TooManyFailures);
        }
        let most = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let counts = [
            ("sessions_per_user", self.sessions_per_user.unwrap_or(1)),
            ("attempts_per_peer", most(self.attempts_per_peer)),
            ("attempts_in_all", most(self.attempts_in_all)),
            ("throttle.disable_at", self.throttle.disable_at),
        ];
        for (field, count) in counts {
            match count {
                0 => return Err(PolicyFault::Zero { field }),
                u32::MAX => return Err(PolicyFault::TooMany { field }),
                _ => {}
            }
        }
        Ok(())
    }

    fn check_steps(&self) -> Result<(), PolicyFault> {
        if self.steps.is_empty() {
            return Err(PolicyFault::NoFactor);
        }
        if self.steps.len() > Self::MOST_STEPS {
            return Err(PolicyFault::TooManySteps);
        }
        let mut known: Vec<&FactorKind> = Vec::new();
        for (step, of) in self.steps.iter().enumerate() {
            if of.kinds().is_empty() {
                return Err(PolicyFault::EmptyStep { step });
            }
            for (place, kind) in of.kinds().iter().enumerate() {
                if of.kinds().iter().take(place).any(|earlier| earlier == kind) {
                    let kind = kind.clone();
                    return Err(PolicyFault::Twice { step, place, kind });
                }
                if let Some(meant) = misspelt(kind) {
                    return Err(PolicyFault::Kind { step, place, meant });
                }
                if !known.contains(&kind) {
                    known.push(kind);
                }
                if known.len() > Self::MOST_KINDS {
                    return Err(PolicyFault::TooManyKinds { step, place });
                }
            }
        }
        let stuck = (1..=self.steps.len()).find(|count| {
            let first = self.steps.get(..*count).unwrap_or_default();
            !Ways::through(first, Vec::new()).lead_on()
        });
        match stuck {
            Some(count) => Err(PolicyFault::Stuck { step: count - 1 }),
            None => Ok(()),
        }
    }
}

/// What is wrong with a kind's name, if anything is: what was probably meant, or nothing at all.
#[expect(clippy::option_option, reason = "a fault, and perhaps its remedy")]
fn misspelt(kind: &FactorKind) -> Option<Option<FactorKind>> {
    let name = kind.as_str();
    let is_name = (1..=128).contains(&name.len())
        && name.trim() == name
        && !name.chars().any(char::is_control);
    if !is_name {
        return Some(None);
    }
    let plain = name.to_ascii_lowercase().replace(['_', ' '], "-");
    FactorKind::ALL
        .into_iter()
        .find(|known| known.as_str() == plain && known != kind)
        .map(Some)
}

crate::error_code::opaque! {
    /// Why a policy is refused when it is loaded. Steps, rules and places count from 0.
    #[derive(Clone, PartialEq, Eq)]
    pub struct InvalidPolicy(PolicyFault);
}

/// What is behind [`InvalidPolicy`].
#[allow(dead_code, reason = "some features only have all of these reasons")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PolicyFault {
    /// It names no factor, so no one could be admitted.
    #[error("the policy names no factor, so it would admit no one: list at least one")]
    NoFactor,
    /// A step names no factor, so no one could pass it.
    #[error("a step lists no factor, so no one could pass it: list at least one, or take it out")]
    EmptyStep {
        /// Which step.
        step: usize,
    },
    /// A step names a factor twice.
    #[error(
        "the step lists `{kind}` twice: once is enough, and a second one needs a step of its own kind"
    )]
    Twice {
        /// Which step.
        step: usize,
        /// Which of its factors.
        place: usize,
        /// The factor.
        kind: FactorKind,
    },
    /// A factor's name is none, or an odd spelling of one.
    #[error("{}", no_kind(.meant.as_ref()))]
    Kind {
        /// Which step.
        step: usize,
        /// Which of its factors.
        place: usize,
        /// What it was probably meant to be.
        meant: Option<FactorKind>,
    },
    /// There are more steps than a policy may have.
    #[error("the policy has over {} steps: take some out", Policy::MOST_STEPS)]
    TooManySteps,
    /// There are more kinds of factor than a policy may name.
    #[error(
        "the steps name over {} kinds of factor: take some out",
        Policy::MOST_KINDS
    )]
    TooManyKinds {
        /// The step with the first one too many.
        step: usize,
        /// Which of its factors.
        place: usize,
    },
    /// A step can't be passed, since a factor counts for one step only.
    #[error(
        "no one could pass this step, since a factor counts for one step only and those before it use up what it lists: add another factor"
    )]
    Stuck {
        /// Which step.
        step: usize,
    },
    /// What is required can't be proven, together with the other requirements, by any factors
    /// that lead through the steps.
    #[error(
        "`{}` is required, and no factors that lead through the steps can prove it together with what else is required: add a factor that can, or don't require it", .property.as_str()
    )]
    Unprovable {
        /// What can't be proven.
        property: Property,
    },
    /// A figure is zero, so no one could be admitted.
    #[error("`{field}` is zero, so the policy would admit no one: give it a value above zero")]
    Zero {
        /// The figure's name.
        field: &'static str,
    },
    /// A count is without bound in effect.
    #[error("`{field}` is too great to limit anything: give it a value below 4294967295")]
    TooMany {
        /// The count's name.
        field: &'static str,
    },
    /// The lease would, in effect, never end.
    #[error("`max_age` is over 30 days, the longest that NIST SP 800-63B-4 allows: shorten it")]
    TooLong,
    /// A span is longer than is safe.
    #[error("`{field}` is over {}, the longest that is safe: shorten it", humantime::format_duration(*.most))]
    TooLongFor {
        /// The span's name.
        field: &'static str,
        /// The longest that it may be.
        most: Duration,
    },
    /// A factor could be tried more often than is safe.
    #[error(
        "`throttle.disable_at` is over 100, the most consecutive failures that NIST SP 800-63B-4 allows: lower it"
    )]
    TooManyFailures,
    /// It can't be written. Nothing is known that leads to this.
    #[error("the policy can't be written: report this")]
    Unwritable,
    /// Two rules are for one group, and the second could never apply.
    #[error("there is a rule for the group `{group}` already: make one of the two")]
    GroupTwice {
        /// The second rule.
        rule: usize,
        /// The group.
        group: GroupId,
    },
    /// What a group's rule makes of the policy is refused.
    #[error("for the group `{group}`: {fault}")]
    Group {
        /// Which rule.
        rule: usize,
        /// The group.
        group: GroupId,
        /// What is wrong then.
        fault: Box<PolicyFault>,
    },
}

fn no_kind(meant: Option<&FactorKind>) -> String {
    match meant {
        Some(meant) => format!("there is no such kind of factor: write `{meant}`"),
        None => "a kind of factor is named by 1 to 128 bytes of printable text without surrounding spaces: correct it".to_owned(),
    }
}

impl PolicyFault {
    /// Where in the policy the fault is, as in `groups[1].steps[0]`.
    pub(crate) fn place(&self) -> PolicyPath {
        match self {
            Self::NoFactor | Self::TooManySteps => PolicyPath::field("steps"),
            Self::EmptyStep { step } | Self::Stuck { step } => PolicyPath::field("steps").at(*step),
            Self::Twice { step, place, .. }
            | Self::Kind { step, place, .. }
            | Self::TooManyKinds { step, place } => {
                PolicyPath::field("steps").at(*step).kind(*place)
            }
            Self::Unprovable { property } => PolicyPath::field("require").then(property.as_str()),
            Self::TooManyFailures => PolicyPath::field("throttle").then("disable_at"),
            Self::Zero { field } | Self::TooMany { field } | Self::TooLongFor { field, .. } => {
                let mut names = field.split('.');
                let first = PolicyPath::field(names.next().unwrap_or_default());
                names.fold(first, PolicyPath::then)
            }
            Self::TooLong => PolicyPath::field("max_age"),
            Self::Unwritable => PolicyPath(Vec::new()),
            Self::GroupTwice { rule, .. } => PolicyPath::field("groups").at(*rule).then("group"),
            Self::Group { rule, fault, .. } => {
                let mut place = PolicyPath::field("groups").at(*rule);
                place.0.extend(fault.place().0);
                place
            }
        }
    }
}

/// A place in a policy: the way to it from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyPath(Vec<PathSegment>);

/// One turn on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathSegment {
    /// Into the field of this name.
    Field(&'static str),
    /// Into this element of a list.
    Element(usize),
    /// Into whatever the only field is: a step is a table with one.
    Only,
}

impl PolicyPath {
    fn field(name: &'static str) -> Self {
        Self(vec![PathSegment::Field(name)])
    }

    fn then(mut self, name: &'static str) -> Self {
        self.0.push(PathSegment::Field(name));
        self
    }

    fn at(mut self, element: usize) -> Self {
        self.0.push(PathSegment::Element(element));
        self
    }

    fn kind(mut self, element: usize) -> Self {
        self.0.push(PathSegment::Only);
        self.at(element)
    }

    pub(super) fn turns(&self) -> &[PathSegment] {
        &self.0
    }
}

impl fmt::Display for PolicyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, turn) in self.0.iter().enumerate() {
            match turn {
                PathSegment::Field(name) if place == 0 => f.write_str(name)?,
                PathSegment::Field(name) => write!(f, ".{name}")?,
                PathSegment::Element(element) => write!(f, "[{element}]")?,
                PathSegment::Only => {}
            }
        }
        Ok(())
    }
}
