//! Policies with the figures of NIST SP 800-63B-4. They support a level as far as a policy can:
//! see [`meets`] for what that leaves out.

use std::time::Duration;

use super::{Aal, Policy, Requirement, Shortfall, Step, meets};
use crate::assurance::FactorKind;

/// No lease is longer: by then a client must have shown that it is still there.
const LONGEST_LEASE: Duration = Duration::from_secs(24 * 3600);

impl Policy {
    /// Supports AAL1: one factor, `webauthn`, `device-key` or `totp` (section 2.1.1), again after
    /// 30 days at the latest (section 2.1.3).
    pub fn aal1() -> Self {
        let kinds = vec![
            FactorKind::WEBAUTHN,
            FactorKind::DEVICE_KEY,
            FactorKind::TOTP,
        ];
        Self::at(Aal::Aal1, vec![Step::AnyOf(kinds)], Requirement::default())
    }

    /// Supports AAL2: `webauthn` or `device-key`, either with its user verified, so that it is two
    /// factors in one (section 2.2.1) and resists phishing and replay (section 2.2.2). Again after
    /// 24 hours or an hour without traffic (section 2.2.3).
    ///
    /// For a password with one of several possessions, see [`Policy::aal2_with`].
    pub fn aal2() -> Self {
        let require = Requirement {
            user_verified: true,
            replay_resistant: true,
            ..Requirement::default()
        };
        Self::at(Aal::Aal2, vec![keys()], require)
    }

    /// Supports AAL3: as [`Policy::aal2`], with a key that can't leave its hardware and a proof
    /// that is bound to this gate (sections 2.3.1 and 2.3.2). Again after 12 hours or 15 minutes
    /// without traffic (section 2.3.3).
    pub fn aal3() -> Self {
        let require = Requirement {
            phishing_resistant: true,
            user_verified: true,
            replay_resistant: true,
            verifier_bound: true,
            hardware: true,
            authentication_age: None,
        };
        Self::at(Aal::Aal3, vec![keys()], require)
    }

    /// The figures of [`Policy::aal2`] with steps of your own, such as a password and then
    /// something that the user has:
    ///
    /// ```
    /// use mfagate::assurance::FactorKind;
    /// use mfagate::policy::{Policy, Requirement, Step};
    ///
    /// let password = Step::AnyOf(vec![FactorKind::PASSWORD]);
    /// let had = Step::AnyOf(vec![FactorKind::DEVICE_KEY, FactorKind::TOTP]);
    /// let policy = Policy::aal2_with(vec![password, had], Requirement::default());
    /// assert!(policy.is_ok());
    ///
    /// let [key, code] = [FactorKind::DEVICE_KEY, FactorKind::TOTP];
    /// let possessions = vec![Step::AllOf(vec![key, code])];
    /// let short = Policy::aal2_with(possessions, Requirement::default()).unwrap_err();
    /// assert!(short[0].to_string().contains("two possessions are one factor (section 2.2.1)"));
    /// ```
    ///
    /// # Errors
    /// What the steps fall short of at AAL2.
    pub fn aal2_with(steps: Vec<Step>, require: Requirement) -> Result<Self, Vec<Shortfall>> {
        let policy = Self::at(Aal::Aal2, steps, require);
        meets(&policy, Aal::Aal2).map(|()| policy)
    }

    /// The figures of [`Policy::aal3`] with steps of your own.
    ///
    /// # Errors
    /// What the steps fall short of at AAL3.
    pub fn aal3_with(steps: Vec<Step>, require: Requirement) -> Result<Self, Vec<Shortfall>> {
        let policy = Self::at(Aal::Aal3, steps, require);
        meets(&policy, Aal::Aal3).map(|()| policy)
    }

    fn at(level: Aal, steps: Vec<Step>, require: Requirement) -> Self {
        let (max_age, inactivity) = level.spans();
        Self {
            steps,
            require,
            max_age,
            inactivity,
            lease: max_age.min(LONGEST_LEASE),
            ..Self::default()
        }
    }
}

fn keys() -> Step {
    Step::AnyOf(vec![FactorKind::WEBAUTHN, FactorKind::DEVICE_KEY])
}
