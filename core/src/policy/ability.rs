//! What a factor of each kind can prove, in the terms of NIST SP 800-63B-4.

use std::fmt;

use super::Property;
use crate::assurance::FactorKind;

/// What passing a factor of some kind proves: always, sometimes or never.
///
/// What was really proven is in the [`Assurance`](crate::assurance::Assurance) of each proof. This
/// table says in advance which policies can be passed at all, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) struct Ability {
    /// What the factor is, as the standard counts factors.
    pub(crate) category: Category,
    proves: [Claim; Property::ALL.len()],
}

/// Whether a factor of some kind proves a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// No factor of this kind does.
    Never,
    /// It depends on the factor: on its hardware, or on what its provider vouches for.
    May,
    /// Every factor of this kind does.
    Always,
}

/// What a factor is, as NIST SP 800-63B-4 counts factors (sections 2.2.1 and 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Category {
    /// Something that the user knows.
    Know,
    /// Something that the user has.
    Have,
    /// Something that the user has; with its user verified by it, both factors at once.
    HaveOrMultiFactor,
    /// Both factors at once.
    MultiFactor,
    /// What someone else vouches for; with its user verified by them, both factors at once.
    Federated,
    /// Nothing that the standard takes for an authenticator.
    Unrecognised,
    /// A kind of the embedder's own.
    Unknown,
}

impl Ability {
    /// What a factor of this kind can prove. A kind that this crate does not know may prove
    /// anything: its verifier says what it did prove, and that is what counts.
    pub(crate) fn of(kind: &FactorKind) -> Self {
        use Claim::{Always, May, Never};
        // In the order of `Property::ALL`: phishing resistant, user verified, replay resistant,
        // verifier bound, hardware.
        let (category, proves) = match kind.as_str() {
            "webauthn" => (Category::MultiFactor, [Always, Always, Always, Always, May]),
            "device-key" => (
                Category::HaveOrMultiFactor,
                [Always, May, Always, Always, May],
            ),
            "totp" => (Category::Have, [Never, Never, Always, Never, Never]),
            "oidc" => (Category::Federated, [May, May, Always, Never, Never]),
            // Section 3.1.3.1: e-mail shall not be used for out-of-band authentication.
            "email-code" => (Category::Unrecognised, [Never, Never, Always, Never, Never]),
            // Look-up secrets, section 3.1.2.
            "recovery-codes" => (Category::Have, [Never, Never, Always, Never, Never]),
            "password" => (Category::Know, [Never; 5]),
            _ => (Category::Unknown, [May; 5]),
        };
        Self { category, proves }
    }

    /// Whether a factor of this kind proves the property.
    pub(crate) fn claim(&self, property: Property) -> Claim {
        Property::ALL
            .into_iter()
            .zip(self.proves)
            .find(|(of, _)| *of == property)
            .map_or(Claim::Never, |(_, claim)| claim)
    }

    /// Whether a factor of this kind can prove the property at all.
    pub(crate) fn may_prove(&self, property: Property) -> bool {
        self.claim(property) > Claim::Never
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Know => "something you know",
            Self::Have | Self::HaveOrMultiFactor => "something you have",
            Self::MultiFactor => "two factors in one",
            Self::Federated => "what an identity provider vouches for",
            Self::Unrecognised => "nothing that the standard takes for an authenticator",
            Self::Unknown => "a kind of your own",
        })
    }
}
