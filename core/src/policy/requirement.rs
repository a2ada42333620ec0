//! What the proofs of one attempt must show together, whichever factors they came from.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
use crate::assurance::Assurance;
use crate::time::Timestamp;

/// What an attempt must have proven, over all its steps. Each property is met when one of its
/// proofs has it; the default requires nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Requirement {
    /// A proof that can't be relayed from a look-alike site (section 3.2.5).
    pub phishing_resistant: bool,
    /// An authenticator that verified its user, by a biometric or a PIN (section 3.2.3).
    pub user_verified: bool,
    /// A proof that is worth nothing a second time (section 3.2.7).
    pub replay_resistant: bool,
    /// A proof that is worth nothing to another verifier (section 3.2.5).
    pub verifier_bound: bool,
    /// A key that can't be taken out of its hardware (section 2.3.2).
    pub hardware: bool,
    /// How long ago the user may have authenticated, for *every* proof: a provider's single
    /// sign-on of this morning is older than a code that was typed just now (section 5.2).
    #[serde(with = "duration")]
    pub authentication_age: Option<Duration>,
}

impl Requirement {
    /// The first thing that the proofs of an attempt don't show, if there is one. No proof at all
    /// meets no requirement.
    ///
    /// A time of authentication in the future is as bad as one equally far in the past: a
    /// provider's clock that is ahead does not make its sign-ons fresher.
    #[cfg_attr(
        not(feature = "runtime"),
        allow(dead_code, reason = "only the gate asks")
    )]
    pub(crate) fn unmet(&self, proven: &[Assurance], now: Timestamp) -> Option<Unmet> {
        let missing = self
            .properties()
            .into_iter()
            .find(|property| !proven.iter().any(|proof| property.is_in(proof)));
        if let Some(property) = missing {
            return Some(Unmet::Property(property));
        }
        let age = self.authentication_age?;
        let is_fresh = |proof: &Assurance| {
            let off = now.as_millis().abs_diff(proof.authenticated_at.as_millis());
            Duration::from_millis(off) <= age
        };
        let all_are = !proven.is_empty() && proven.iter().all(is_fresh);
        (!all_are).then_some(Unmet::Age(age))
    }

    /// The properties that are required, in the order in which [`Requirement::unmet`] looks.
    pub(crate) fn properties(&self) -> Vec<Property> {
        let mut all = Property::ALL.to_vec();
        all.retain(|property| match property {
            Property::PhishingResistant => self.phishing_resistant,
            Property::UserVerified => self.user_verified,
            Property::ReplayResistant => self.replay_resistant,
            Property::VerifierBound => self.verifier_bound,
            Property::Hardware => self.hardware,
        });
        all
    }
}

/// What a proof can have, apart from the kind of its factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// [`Assurance::phishing_resistant`].
    PhishingResistant,
    /// [`Assurance::user_verified`].
    UserVerified,
    /// [`Assurance::replay_resistant`].
    ReplayResistant,
    /// [`Assurance::verifier_bound`].
    VerifierBound,
    /// [`Assurance::hardware`].
    Hardware,
}

impl Property {
    /// Every one, once.
    pub const ALL: [Self; 5] = [
        Self::PhishingResistant,
        Self::UserVerified,
        Self::ReplayResistant,
        Self::VerifierBound,
        Self::Hardware,
    ];

    /// Whether the proof has it.
    #[cfg_attr(
        not(feature = "runtime"),
        allow(dead_code, reason = "only the gate asks")
    )]
    pub(crate) fn is_in(self, proof: &Assurance) -> bool {
        match self {
            Self::PhishingResistant => proof.phishing_resistant,
            Self::UserVerified => proof.user_verified,
            Self::ReplayResistant => proof.replay_resistant,
            Self::VerifierBound => proof.verifier_bound,
            Self::Hardware => proof.hardware,
        }
    }

    /// Its name in a policy file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PhishingResistant => "phishing_resistant",
            Self::UserVerified => "user_verified",
            Self::ReplayResistant => "replay_resistant",
            Self::VerifierBound => "verifier_bound",
            Self::Hardware => "hardware",
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PhishingResistant => "a proof that resists phishing",
            Self::UserVerified => "an authenticator that verified its user",
            Self::ReplayResistant => "a proof that can't be replayed",
            Self::VerifierBound => "a proof bound to this gate",
            Self::Hardware => "a key that can't leave its hardware",
        })
    }
}

/// What an attempt did not prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(
    not(feature = "runtime"),
    allow(dead_code, reason = "only the gate asks")
)]
pub(crate) enum Unmet {
    /// No proof had a property.
    #[error("the policy requires {0}: use a factor that gives it")]
    Property(Property),
    /// A proof was too old.
    #[error("the policy requires an authentication of the last {}: sign in again", humantime::format_duration(*.0))]
    Age(Duration),
}
