//! Whether a policy supports an authentication assurance level of NIST SP 800-63B-4, and what it
//! falls short of.
//!
//! Only what a policy decides is judged. How factors are enrolled, bound, stored and replaced, and
//! what else an organisation must do, is not: a policy *supports* a level, it never makes a
//! deployment compliant.

use std::fmt;
use std::time::Duration;

use super::step::Ways;
use super::{Ability, Category, Claim, InvalidPolicy, Policy, Property};
use crate::assurance::FactorKind;
use crate::id::GroupId;

const HOUR: Duration = Duration::from_secs(3600);

/// An authentication assurance level (section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aal {
    /// Some confidence: one factor (section 2.1).
    Aal1,
    /// High confidence: two factors (section 2.2).
    Aal2,
    /// Very high confidence: two factors, one of them a key that can't be exported (section 2.3).
    Aal3,
}

impl Aal {
    /// The longest session, and the longest inactivity where the level has one.
    pub(crate) const fn spans(self) -> (Duration, Option<Duration>) {
        match self {
            Self::Aal1 => (Policy::LONGEST, None),
            Self::Aal2 => (Duration::from_secs(24 * 3600), Some(HOUR)),
            Self::Aal3 => (
                Duration::from_secs(12 * 3600),
                Some(Duration::from_secs(15 * 60)),
            ),
        }
    }
}

impl fmt::Display for Aal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aal1 => "AAL1",
            Self::Aal2 => "AAL2",
            Self::Aal3 => "AAL3",
        })
    }
}

/// What a policy falls short of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shortfall {
    /// The group by whose rule; `None` for the location's own policy.
    pub group: Option<GroupId>,
    /// What.
    pub gap: Gap,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            Some(group) => write!(f, "for the group `{group}`: {}", self.gap),
            None => self.gap.fmt(f),
        }
    }
}

/// One thing that a level asks for and a policy does not give. The factors named are a way to pass
/// that the policy allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Gap {
    /// [`Policy::check`] refuses it.
    #[error("{0}")]
    Refused(#[from] InvalidPolicy),
    /// None of the factors is an authenticator that the standard knows.
    #[error("{} is no authenticator that can be judged (section 3.1): add a factor that is", names(.0))]
    NoAuthenticator(Vec<FactorKind>),
    /// The factors are all possessions.
    #[error(
        "{} are all something you have, and two possessions are one factor (section 2.2.1): add a password, or require `user_verified` of a factor that can verify its user", names(.0)
    )]
    OnlyPossessions(Vec<FactorKind>),
    /// The factors are not two.
    #[error(
        "{} alone is one factor where two are needed (section 2.2.1): add a password or something you have, or require `user_verified` of a factor that can verify its user", names(.0)
    )]
    OneFactor(Vec<FactorKind>),
    /// The proofs could be replayed.
    #[error("{} can be replayed (sections 2.2.2 and 3.2.7): require `replay_resistant`", names(.0))]
    Replayable(Vec<FactorKind>),
    /// Nothing that resists phishing is offered.
    #[error(
        "nothing that resists phishing is offered (section 2.2.2): add `webauthn` or `device-key` as an alternative"
    )]
    NoPhishingResistantOption,
    /// The proofs could be phished.
    #[error("{} can be phished (section 2.3.2): require `phishing_resistant`", names(.0))]
    Phishable(Vec<FactorKind>),
    /// The key could be exported.
    #[error("{} may have a key that can be exported (section 2.3.2): require `hardware`", names(.0))]
    Exportable(Vec<FactorKind>),
    /// One factor could prove the hardware and another the rest.
    #[error(
        "{} may each have a part of what one authenticator must have as a whole (section 2.3.1): make them alternatives of one step", names(.0)
    )]
    Split(Vec<FactorKind>),
    /// A session may last too long.
    #[error("`max_age` is over {} (section {section}): shorten it", humantime::format_duration(*.most))]
    MaxAge {
        /// The longest.
        most: Duration,
        /// Where that is said.
        section: &'static str,
    },
    /// A session may be idle for too long.
    #[error("`inactivity` is over {} or off (section {section}): set it to that or less", humantime::format_duration(*.most))]
    Inactivity {
        /// The longest.
        most: Duration,
        /// Where that is said.
        section: &'static str,
    },
}

impl Gap {
    /// Whether the standard says SHALL; otherwise it says SHOULD.
    pub fn is_binding(&self) -> bool {
        !matches!(
            self,
            Self::Inactivity { .. }
                | Self::MaxAge {
                    section: "2.1.3" | "2.2.3",
                    ..
                }
        )
    }
}

fn names(kinds: &[FactorKind]) -> String {
    let all: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
    all.join(" and ")
}

/// Whether a policy, with what each rule for a group makes of it, supports a level.
///
/// Every way through the steps counts, and only what is certain: that a factor *may* have verified
/// its user or have its key in hardware counts where the policy requires it and no factor of an
/// unknown kind could have proven it instead.
///
/// # Errors
/// All that it falls short of, by what the standard says SHALL and SHOULD
/// ([`Gap::is_binding`]).
pub fn meets(policy: &Policy, level: Aal) -> Result<(), Vec<Shortfall>> {
    if let Err(fault) = policy.check() {
        return Err(vec![Shortfall {
            group: None,
            gap: fault.into(),
        }]);
    }
    let own = (None, policy.clone());
    let rules = policy.groups.iter();
    let of_groups = rules.map(|rule| (Some(rule.group.clone()), rule.over(policy)));
    let mut short = Vec::new();
    for (group, policy) in std::iter::once(own).chain(of_groups) {
        short.extend(gaps(&policy, level).into_iter().map(|gap| Shortfall {
            group: group.clone(),
            gap,
        }));
    }
    if short.is_empty() { Ok(()) } else { Err(short) }
}

fn gaps<'p>(policy: &'p Policy, level: Aal) -> Vec<Gap> {
    let ways: Vec<Way<'_>> = Ways::new(policy)
        .all()
        .into_iter()
        .map(|kinds| Way { policy, kinds })
        .collect();
    let tests: &[fn(&Way<'p>) -> Option<Gap>] = match level {
        Aal::Aal1 => &[Way::no_authenticator],
        Aal::Aal2 => &[Way::not_two_factors, Way::replayable],
        Aal::Aal3 => &[
            Way::not_two_factors,
            Way::replayable,
            Way::phishable,
            Way::exportable,
            Way::split,
        ],
    };
    // One way that fails a test stands for all of them.
    let mut gaps: Vec<Gap> = tests
        .iter()
        .filter_map(|test| ways.iter().find_map(test))
        .collect();
    if level == Aal::Aal2
        && !ways
            .iter()
            .any(|way| way.is_certain(Property::PhishingResistant))
    {
        gaps.push(Gap::NoPhishingResistantOption);
    }
    gaps.extend(wrong_figures(policy, level));
    gaps
}

fn wrong_figures(policy: &Policy, level: Aal) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let (most, idle) = level.spans();
    let section = match level {
        Aal::Aal1 => "2.1.3",
        Aal::Aal2 => "2.2.3",
        Aal::Aal3 => "2.3.3",
    };
    if policy.max_age > most {
        gaps.push(Gap::MaxAge { most, section });
    }
    if let Some(most) = idle
        && policy.inactivity.is_none_or(|span| span > most)
    {
        gaps.push(Gap::Inactivity { most, section });
    }
    gaps
}

/// One set of factors by which someone may come to the end of the steps.
struct Way<'a> {
    policy: &'a Policy,
    kinds: Vec<&'a FactorKind>,
}

impl Way<'_> {
    fn no_authenticator(&self) -> Option<Gap> {
        let is_none = |category| matches!(category, Category::Unrecognised | Category::Unknown);
        let none = self.categories().into_iter().all(is_none);
        none.then(|| Gap::NoAuthenticator(self.named()))
    }

    fn not_two_factors(&self) -> Option<Gap> {
        let all = self.categories();
        let has = |wanted: &[Category]| all.iter().any(|category| wanted.contains(category));
        let physical = [Category::Have, Category::HaveOrMultiFactor];
        let verified = [Category::HaveOrMultiFactor, Category::Federated];
        let is_enough = has(&[Category::MultiFactor])
            || (has(&[Category::Know]) && has(&physical))
            || (has(&verified) && self.is_certain(Property::UserVerified));
        if is_enough {
            return None;
        }
        let are_possessions = all.len() > 1 && all.iter().all(|one| physical.contains(one));
        Some(if are_possessions {
            Gap::OnlyPossessions(self.named())
        } else {
            Gap::OneFactor(self.named())
        })
    }

    fn replayable(&self) -> Option<Gap> {
        let certain = self.is_certain(Property::ReplayResistant);
        (!certain).then(|| Gap::Replayable(self.named()))
    }

    fn phishable(&self) -> Option<Gap> {
        let certain = self.is_certain(Property::PhishingResistant);
        (!certain).then(|| Gap::Phishable(self.named()))
    }

    fn exportable(&self) -> Option<Gap> {
        let certain = self.is_certain(Property::Hardware);
        (!certain).then(|| Gap::Exportable(self.named()))
    }

    /// A key in hardware that verified no one, beside a verified user whose key is not, is not what
    /// AAL3 asks for.
    fn split(&self) -> Option<Gap> {
        let mut keys = self.named();
        keys.retain(|kind| {
            let ability = Ability::of(kind);
            ability.may_prove(Property::Hardware)
                || (ability.may_prove(Property::UserVerified) && !self.knows())
        });
        (keys.len() > 1).then_some(Gap::Split(keys))
    }

    fn knows(&self) -> bool {
        self.categories().contains(&Category::Know)
    }

    /// Whether passing this way proves the property without doubt.
    fn is_certain(&self, property: Property) -> bool {
        let may = |kind: &&&FactorKind| Ability::of(kind).may_prove(property);
        let required = self.policy.require.properties().contains(&property);
        let mut provers = self.kinds.iter().filter(may).peekable();
        let by_nature = |kind: &&FactorKind| Ability::of(kind).claim(property) == Claim::Always;
        let is_known = |kind: &&FactorKind| Ability::of(kind).category != Category::Unknown;
        self.kinds.iter().any(by_nature)
            || (required && provers.peek().is_some() && provers.all(is_known))
    }

    fn categories(&self) -> Vec<Category> {
        let of = |kind: &&FactorKind| Ability::of(kind).category;
        self.kinds.iter().map(of).collect()
    }

    fn named(&self) -> Vec<FactorKind> {
        self.kinds.iter().copied().cloned().collect()
    }
}
