//! What has its effect on the disk, whatever the machine hears of it.

use crate::gate::Grant;
use crate::id::{AttemptId, FactorId, SessionId, TokenId};
use crate::key::PresharedKey;
use crate::policy::{Failures, Throttle};
use crate::store::{FactorRecord, SessionRecord};
use crate::time::Timestamp;

use super::{Model, Session};

impl Model {
    pub(in super::super) fn derives(&mut self, psk: &PresharedKey, session: SessionId) {
        self.keys.insert(*psk.expose_secret(), session);
    }

    /// Something was done for an attempt, at that time, that may have counted a failure of a
    /// factor, or taken what a right answer takes.
    pub(in super::super) fn takes(
        &mut self,
        attempt: AttemptId,
        (before, codes): (&FactorRecord, &[u8]),
        (after, left): (&FactorRecord, &[u8]),
        at: Timestamp,
    ) {
        let (id, failures) = (before.id, (before.failures, after.failures));
        let count = self.failures.entry(id).or_default();
        assert_eq!(*count, failures.0.count, "something else changed the count");
        let attempt = self.attempts.get_mut(&attempt);
        if failures.1.count == failures.0.count + 1 {
            *count += 1;
            if let Some(attempt) = attempt {
                attempt.untold_failures += 1;
            }
            return;
        }
        let step = after
            .last_counter
            .filter(|step| before.last_counter != Some(*step));
        let codes = codes.iter().filter(|code| !left.contains(code));
        let taken: Vec<u64> = step
            .into_iter()
            .chain(codes.map(|it| (*it).into()))
            .collect();
        if taken.is_empty() && failures.0 == failures.1 {
            return;
        }
        *count = 0;
        assert_eq!(failures.1.count, 0, "a count that is neither more nor none");
        let is_locked = is_locked(&self.policy.throttle, failures.0, at);
        assert!(!is_locked, "a right answer past the limit was accepted");
        let attempt = attempt.expect("whose answer it was");
        let mut passed = attempt.passed.iter().chain(&attempt.opening);
        let is_right = passed.any(|pass| pass.factor == id)
            || attempt.right.as_ref().is_some_and(|it| it.factor == id);
        assert!(is_right, "a count fell by no right answer of its factor");
        for number in taken {
            let is_new = self.consumed.insert((id, number));
            assert!(is_new, "a code was accepted twice");
        }
    }

    /// Someone failed who is not at this gate.
    pub(in super::super) fn fails_elsewhere(&mut self, factor: FactorId) {
        *self.failures.entry(factor).or_default() += 1;
    }

    /// An administrator reset the count.
    pub(in super::super) fn resets(&mut self, factor: FactorId) {
        self.failures.insert(factor, 0);
    }

    /// A session became durable.
    pub(in super::super) fn opens(
        &mut self,
        attempt: AttemptId,
        record: &SessionRecord,
        grant: &Grant,
    ) {
        let asked = self.attempts.get(&attempt).map(|it| it.opening_since);
        self.sessions.insert(
            record.id,
            Session {
                peer: record.peer,
                user: record.user.clone(),
                verified_at: record.verified_at,
                ends: Some(grant.terms().ends.max(grant.terms().renewable_ends)),
                opening_since: asked.unwrap_or_default(),
                psk: None,
                is_acknowledged: false,
                ended: None,
            },
        );
    }

    /// No user gets more sessions than the policy allows.
    pub(in super::super) fn is_one_of_few(&self, new: &SessionRecord, live: &[SessionRecord]) {
        let is_theirs = |it: &&SessionRecord| it.user == new.user && new.verified_at < it.not_after;
        let count = live.iter().filter(is_theirs).count();
        let most = self.policy.sessions_per_user;
        let is_allowed = most.is_none_or(|most| u32::try_from(count).unwrap() <= most);
        assert!(is_allowed, "{count} sessions of {}", new.user);
    }

    /// A client enrolled a factor.
    pub(in super::super) fn enrols(&mut self, factor: FactorId, token: Option<TokenId>) {
        self.enrolled.insert(factor);
        let is_new = token.is_none_or(|token| self.tokens.insert(token));
        assert!(is_new, "a token was used twice");
    }
}

/// NIST SP 800-63B-4, section 3.2.2, as the policy puts it: some free tries, then waits that
/// double, then an end.
fn is_locked(throttle: &Throttle, failures: Failures, at: Timestamp) -> bool {
    if failures.count < throttle.free {
        return false;
    }
    let doubled = throttle.first_wait * 2_u32.pow(failures.count - throttle.free);
    // No wait comes of a clock that was wrong when it noted the failure.
    let is_wrong = failures.last_at > at + Throttle::CLOCKS_DIFFER;
    failures.count >= throttle.disable_at || (!is_wrong && at < failures.last_at + doubled)
}
