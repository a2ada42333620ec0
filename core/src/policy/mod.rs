//! What a location asks of those who want in: plain data, and pure functions over it. No clock, no
//! I/O; what enforces it is the [`gate`](crate::gate).
//!
//! [`manual::policy`](crate::manual::policy) is the chapter.

mod aal;
mod ability;
mod check;
mod duration;
mod explain;
mod group;
mod load;
mod preset;
mod requirement;
mod roaming;
mod step;
#[cfg(test)]
mod tests;
mod throttle;
mod window;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use aal::{Aal, Gap, Shortfall, meets};
pub(crate) use ability::{Ability, Category, Claim};
pub use check::InvalidPolicy;
pub(crate) use check::PolicyFault;
#[cfg(test)]
pub(crate) use explain::{ExplainedOutcome, LeftOut};
pub use explain::{Explanation, explain};
pub use group::GroupRule;
pub use load::LoadError;
pub(crate) use load::LoadFault;
#[cfg(test)]
pub(crate) use load::Position;
pub(crate) use requirement::Unmet;
pub use requirement::{Property, Requirement};
pub use roaming::EndpointChange;
pub use step::{Next, Step};
pub use throttle::{Failures, Lock, Throttle};
pub use window::{Hours, InvalidWindow, ParseTimeError, TimeOfDay, UtcOffset, Weekday, Window};
pub(crate) use window::{TimeFault, WindowFault};

use crate::assurance::FactorKind;

/// The rules of one location. [`Policy::default`] asks for a one-time password once per working
/// day; every figure in it can be changed, none can be made infinite.
///
/// It has one strict form in every format that serde knows: unknown fields are refused, spans are
/// texts such as `"8h"`, what is left out is as in the default, and what [`Policy::check`] refuses
/// can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// The factors to pass, step by step.
    pub steps: Vec<Step>,
    /// What they must prove together.
    pub require: Requirement,
    /// How long after a successful verification a lease may last at most, renewals included.
    pub max_age: Duration,
    /// How long one lease lasts, at most until `max_age` is over. What ends a shorter one is its
    /// client's failing to renew it, by `renewal`.
    pub lease: Duration,
    /// End a lease after this long without payload; `None` does not look.
    pub inactivity: Option<Duration>,
    /// What to do when a peer goes on from another address.
    pub endpoint_change: EndpointChange,
    /// How long before a lease's end an [`Event::Ending`](crate::gate::Event::Ending) warns.
    pub warn_before: Duration,
    /// What the renewal of a lease asks for.
    pub renewal: RenewalRule,
    /// Whether a client ends its session when its device wakes or is unlocked. The client does
    /// this; a gate can't see it.
    pub end_on_wake: bool,
    /// When the location is open. None at all: always.
    pub windows: Vec<Window>,
    /// How many sessions one user may have at a time, over all their peers; `None` does not count.
    pub sessions_per_user: Option<u32>,
    /// How long an attempt may take from its first message to its grant.
    pub attempt_ttl: Duration,
    /// How many attempts one peer may have open at a time.
    pub attempts_per_peer: usize,
    /// How many attempts the gate holds open at a time, over all peers.
    pub attempts_in_all: usize,
    /// How far a client's clock may be from the gate's in a first message. A client that is off by
    /// more is told the gate's time and tries again by itself.
    pub clock_skew: Duration,
    /// How the failures of one factor are limited.
    pub throttle: Throttle,
    /// How long removals may keep failing before the interface goes down.
    pub fence_after: Duration,
    /// What is different for groups of users. The first rule in this order whose group a user is
    /// in applies, alone; see [`Policy::for_groups`].
    pub groups: Vec<GroupRule>,
}

/// What the renewal of a lease asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RenewalRule {
    /// No factor, until `max_age` is over.
    #[default]
    Free,
    /// The factors of the policy, every time.
    Factor,
    /// There is none: a lease ends at its end.
    Off,
}

impl Default for Policy {
    fn default() -> Self {
        let working_day = Duration::from_secs(8 * 3600);
        Self {
            steps: vec![Step::AnyOf(vec![FactorKind::TOTP])],
            require: Requirement::default(),
            max_age: working_day,
            lease: working_day,
            inactivity: None,
            endpoint_change: EndpointChange::Off,
            warn_before: Duration::from_secs(5 * 60),
            renewal: RenewalRule::Free,
            end_on_wake: false,
            windows: Vec::new(),
            sessions_per_user: None,
            attempt_ttl: Duration::from_secs(5 * 60),
            attempts_per_peer: 4,
            attempts_in_all: 65_536,
            clock_skew: Duration::from_secs(60),
            throttle: Throttle::default(),
            fence_after: Duration::from_secs(10),
            groups: Vec::new(),
        }
    }
}
