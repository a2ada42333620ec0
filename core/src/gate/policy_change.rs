//! Another policy for a gate that runs: new attempts go by it, and what is live is held to it.

use std::collections::BTreeMap;

use super::action::Outcome;
use super::activity::Watch;
use super::attempt::AttemptState;
use super::entry::{Install, InstallState, LeaseEntry};
use super::grant::{Lease, Terms};
use super::input::KnownSession;
use super::policy_cache::PolicyCache;
use super::reconcile::SLACK;
use super::{Machine, Phase};
use crate::assurance::Assurance;
use crate::channel::message::Refusal;
use crate::id::{AttemptId, SessionId};
use crate::key::PublicKey;
use crate::policy::{Hours, Next, Policy};
use crate::store::EndReason;
use crate::time::Now;

impl Machine {
    /// Goes by another policy from now on. Attempts under way begin again. A live lease is ended
    /// where what was proven for it would not do any more, or where the store was not asked about
    /// it; it is shortened where the new policy gives less time, and never lengthened.
    pub(super) fn on_policy(&mut self, now: Now, policy: Policy, known: Vec<KnownSession>) {
        // One that is no policy changes nothing: the shell has refused it before.
        if self.takes_no_policy() || policy.check().is_err() {
            return;
        }
        self.widen_window(now, policy.clock_skew);
        self.policies = PolicyCache::new(policy.clone());
        self.policy = policy;
        self.break_off_attempts();
        let mut known: BTreeMap<SessionId, KnownSession> =
            known.into_iter().map(|one| (one.session, one)).collect();
        let leased = self
            .leases()
            .map(|lease| (lease.terms().peer, lease.session()));
        for (peer, session) in leased.collect::<Vec<_>>() {
            match known.remove(&session) {
                Some(known) => self.hold_to_policy(now, peer, known),
                None => self.end(peer, EndReason::PolicyChanged),
            }
        }
    }

    /// Whether the gate is past going by another policy.
    pub(crate) const fn takes_no_policy(&self) -> bool {
        self.stopping || matches!(self.phase, Phase::Fencing | Phase::Fenced | Phase::Stopped)
    }

    /// Holds these sessions to the policy as it is: the rules for their users may be others, since
    /// these may be in other groups. Nothing is lengthened.
    pub(super) fn on_judge(&mut self, now: Now, known: Vec<KnownSession>) {
        for one in known {
            if let Some(peer) = self.sessions.get(&one.session).copied() {
                self.hold_to_policy(now, peer, one);
            }
        }
    }

    /// Ends the attempts that go by the old policy; marks those that are past recall.
    fn break_off_attempts(&mut self) {
        let open: Vec<AttemptId> = self.attempts.iter().map(|(id, _)| *id).collect();
        for id in open {
            let Some(attempt) = self.attempts.get_mut(id) else {
                continue;
            };
            // A question about a session goes by no policy.
            if matches!(attempt.state, AttemptState::FindingSession) {
                continue;
            }
            attempt.is_outdated = true;
            if attempt.is_recallable() {
                self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
            }
        }
    }

    fn hold_to_policy(&mut self, now: Now, peer: PublicKey, known: KnownSession) {
        let policy = self.policies.of(&known.groups);
        let Some(lease) = self.lease_of(peer) else {
            return;
        };
        // A store that gives another peer's record has none of this one.
        if known.peer != peer {
            return self.end(peer, EndReason::PolicyChanged);
        }
        let Some(terms) = terms_under(&policy, lease.terms(), &known.proven, now) else {
            return self.end(peer, EndReason::PolicyChanged);
        };
        let taken = lease.terms().left(now).saturating_sub(terms.left(now));
        let is_same_psk = lease.generation() == known.generation;
        let place = self.slots.get(&peer).map(|slot| slot.place);
        // What ends leases beside the gate has the old time. It can be told of the new one where
        // the peer is in place; where one is on its way, the lease ends.
        let install = if taken <= SLACK {
            None
        } else {
            match (place, known.psk) {
                (Some(InstallState::Present), Some(psk)) if is_same_psk => Some(Install {
                    config: Self::config(&terms, psk),
                    in_place: true,
                }),
                _ => return self.end(peer, EndReason::PolicyChanged),
            }
        };
        let Some(LeaseEntry { mut lease, watch }) = self.take_held(peer) else {
            return;
        };
        let watch = watch.and_then(|watch| Watch::under(watch, now.instant, &policy));
        lease.govern(terms, policy);
        self.hold(now, lease, watch);
        if let Some(install) = install {
            self.place(now, peer, None, install);
        }
    }

    /// The terms of a renewal that was begun under an older policy than the lease is under now.
    pub(super) fn renewed_terms(&self, now: Now, id: AttemptId, terms: Terms) -> Terms {
        let is_outdated = self
            .attempts
            .get(id)
            .is_none_or(|attempt| attempt.is_outdated);
        match self.lease_of(terms.peer).map(Lease::policy) {
            Some(policy) if is_outdated => {
                let mut terms = terms.within(policy, now);
                match policy.hours(now.timestamp) {
                    Hours::Open { until: None } => {}
                    Hours::Open { until: Some(until) } => terms.end_by(until, now),
                    Hours::Closed => terms.end_by(now.timestamp, now),
                }
                terms
            }
            Some(_) | None => terms,
        }
    }
}

/// What is left of a lease under these rules; `None` where they would not admit its peer any more.
pub(super) fn terms_under(
    policy: &Policy,
    terms: &Terms,
    proven: &[Assurance],
    now: Now,
) -> Option<Terms> {
    let kinds: Vec<_> = proven.iter().map(|proof| proof.kind.clone()).collect();
    if policy.next(&kinds) != Next::Done {
        return None;
    }
    // As of then: what was fresh at the admission has aged since by its own right.
    if policy.require.unmet(proven, terms.verified_at).is_some() {
        return None;
    }
    let Hours::Open { until } = policy.hours(now.timestamp) else {
        return None;
    };
    let mut terms = terms.within(policy, now);
    if let Some(until) = until {
        terms.end_by(until, now);
    }
    (!terms.are_over(now)).then_some(terms)
}
