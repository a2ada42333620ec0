//! The policy as it is for the members of each set of groups, worked out once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::GroupId;
use crate::policy::Policy;

/// How many sets of groups are remembered: any more are worked out each time.
const MOST_KEPT: usize = 1024;

/// A location's policy, by the groups that a user is in.
#[derive(Debug)]
pub(super) struct PolicyCache {
    policy: Policy,
    by_groups: BTreeMap<Vec<GroupId>, Arc<Policy>>,
}

impl PolicyCache {
    pub(super) const fn new(policy: Policy) -> Self {
        Self {
            policy,
            by_groups: BTreeMap::new(),
        }
    }

    /// The rules for a user who is in these groups.
    pub(super) fn of(&mut self, groups: &[GroupId]) -> Arc<Policy> {
        if let Some(policy) = self.by_groups.get(groups) {
            return Arc::clone(policy);
        }
        let policy = Arc::new(self.policy.for_groups(groups));
        if self.by_groups.len() < MOST_KEPT {
            self.by_groups.insert(groups.to_vec(), Arc::clone(&policy));
        }
        policy
    }
}
