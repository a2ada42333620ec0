//! What the machine says, checked as it says it.

use super::super::world::World;
use super::Model;
use super::attempt::{Attempt, are_all};
use crate::assurance::FactorKind;
use crate::channel::message::{DeniedReason, Refusal};
use crate::gate::{Action, Event, Intent, Outcome, Scope, Terms};
use crate::id::{AttemptId, FactorId, SessionId, TokenId};
use crate::store::EndReason;
use crate::time::{Now, Timestamp};

impl Model {
    pub(in super::super) fn announces(&mut self, event: &Event) {
        if let Event::Ended {
            session, reason, ..
        } = event
            && let Some(session) = self.sessions.get_mut(session)
        {
            session.ended = Some(*reason);
        }
    }

    pub(in super::super) fn asks(&mut self, action: &Action, world: &World) {
        self.seen += 1;
        self.now = world.now.instant;
        match action {
            Action::Challenge {
                attempt, context, ..
            } => {
                assert!(context.state.is_none(), "remembered of another question");
                let attempt = self.attempts.get_mut(attempt).expect("an attempt");
                let factor = &context.factor;
                attempt.asking = Some((factor.id, factor.kind.clone()));
            }
            Action::Verify {
                attempt, context, ..
            } => {
                let asked = (context.factor.id, context.factor.kind.clone());
                let question = Some((Some(asked), context.state.clone()));
                assert_eq!(self.attempts[attempt].question, question);
            }
            Action::Enrol { attempt, state, .. } => {
                let question = Some((None, state.clone()));
                assert_eq!(self.attempts[attempt].question, question);
            }
            Action::Pass { attempt, proof, .. } => {
                let right = self.attempts[attempt].right.as_ref();
                assert_eq!(right.map(|it| it.factor), Some(proof.factor));
            }
            Action::Authorise { attempt, admission } => {
                let attempt = self.attempts.get_mut(attempt).expect("an attempt");
                attempt.proposed = Some(admission.not_after);
                assert_eq!(admission.peer, attempt.peer);
                if !admission.is_renewal {
                    assert!(attempt.right.is_none(), "what was passed is not durable");
                    assert!(are_all(&self.policy.steps, &attempt.passed));
                }
            }
            Action::AddFactor {
                attempt,
                kind,
                token,
                passed,
                ..
            } => self.adds(&self.attempts[attempt], kind, *token, passed),
            Action::Open { attempt, grant, .. } => {
                let seen = self.seen;
                let attempt = self.attempts.get_mut(attempt).expect("an attempt");
                assert!(!attempt.intent.is_enrolment(), "an enrolment admits no one");
                attempt.opening = attempt.passed.clone();
                attempt.opening.extend(attempt.right.take());
                attempt.opening_since = seen;
                assert!(self.is_by_group || are_all(&self.policy.steps, &attempt.opening));
                let named: Vec<_> = grant.proofs().map(|proof| proof.factor).collect();
                let passed: Vec<_> = attempt.opening.iter().map(|it| it.factor).collect();
                assert_eq!(named, passed);
                assert_eq!(grant.terms().peer, attempt.peer);
                let (first, permit) = (attempt.opening[0].since, attempt.permit());
                self.is_bounded(grant.terms(), first);
                self.is_permitted(grant.terms(), permit);
            }
            Action::Renew {
                attempt,
                session,
                terms,
                ..
            } => {
                let attempt = self.attempts.get_mut(attempt).expect("an attempt");
                assert!(attempt.asked.is_some(), "no one confirmed");
                assert_eq!(attempt.intent, Intent::Renew(*session));
                assert_eq!(attempt.peer, terms.peer);
                let permit = attempt.permit();
                self.is_permitted(terms, permit);
            }
            Action::Install { peers, .. } => {
                for config in peers {
                    let lease = world.lease(config.key).expect("an install without a lease");
                    let is_over = lease.terms().left(world.now).is_zero();
                    assert!(!is_over, "an install for a lease whose end has passed");
                    let psk = self.sessions[&lease.session()].psk.clone();
                    assert_eq!(config.psk, psk, "not the newest key of the lease");
                    let is_removed = !self.to_remove.contains(&config.key);
                    assert!(is_removed, "a session ended by an install, not a removal");
                    self.installing.extend(psk.map(|psk| (config.key, psk)));
                }
            }
            Action::Close { session, .. } => {
                let is_there = self.is_installed(*session, world);
                assert!(!is_there, "an end was persisted before the removal");
            }
            Action::Reply { attempt, reply } => self.replies(*attempt, reply, world),
            Action::Forget { attempt } => self.ends_attempt(*attempt),
            Action::Revoked { ticket, sessions } => self.revokes(*ticket, sessions, world),
            _ => {}
        }
    }

    /// An admission's terms begin when the answer came in and are no longer than the policy.
    fn is_bounded(&self, terms: &Terms, right: Now) {
        assert_eq!(terms.verified_at, right.timestamp);
        assert!(terms.not_after <= right.timestamp + self.policy.max_age);
        assert!(terms.ends <= right.instant + self.policy.max_age);
        assert!(terms.renewable_ends <= right.instant + self.policy.max_age);
    }

    /// Where there is an authoriser, it was asked about these terms and they are no longer than it
    /// says.
    fn is_permitted(&self, terms: &Terms, permit: Option<(Timestamp, Now)>) {
        if self.has_authoriser {
            let (proposed, most) = permit.expect("the authoriser's word");
            assert!(terms.not_after <= proposed, "longer than was authorised");
            assert!(terms.not_after <= most.timestamp && terms.ends <= most.instant);
        }
    }

    /// A factor is enrolled by who proved to hold it, and has a token or passed what the policy
    /// asks for.
    fn adds(
        &self,
        attempt: &Attempt,
        kind: &FactorKind,
        token: Option<TokenId>,
        passed: &[FactorId],
    ) {
        let Intent::Enrol(request) = &attempt.intent else {
            panic!("no one wanted to enrol");
        };
        assert!(attempt.holds_new && request.kind == *kind);
        assert_eq!(token.is_some(), request.token.is_some());
        if token.is_none() {
            assert!(are_all(&self.policy.steps, &attempt.passed));
        }
        let mut known = attempt.passed.iter().map(|it| &it.factor);
        assert!(known.by_ref().eq(passed), "not what was passed");
    }

    fn ends_attempt(&mut self, attempt: AttemptId) {
        self.is_replaced(attempt);
        let attempt = self.attempts.get_mut(&attempt).expect("an attempt");
        assert!(!attempt.is_over, "an attempt ended twice");
        attempt.is_over = true;
    }

    /// An attempt that ends while another begins gives way to that: it is of the same peer, was
    /// never answered, and no other of that kind is older.
    fn is_replaced(&mut self, ended: AttemptId) {
        let Some(beginning) = self.beginning.filter(|beginning| *beginning != ended) else {
            return;
        };
        let peer = self.attempts[&beginning].peer;
        let attempt = &self.attempts[&ended];
        // Its own time was over.
        if attempt.expires <= self.now {
            return;
        }
        assert_eq!(attempt.peer, peer, "another peer's attempt gave way");
        assert!(!attempt.is_answered, "an answered attempt gave way");
        self.replaced += 1;
    }

    fn replies(&mut self, id: AttemptId, reply: &Outcome, world: &World) {
        if let Outcome::Refused(Refusal::Busy { retry_ms }) = reply
            && self.beginning == Some(id)
        {
            let wait = std::time::Duration::from_millis(*retry_ms);
            let longest = self.policy.attempt_ttl.max(self.policy.clock_skew * 2);
            assert!(wait <= longest + std::time::Duration::from_millis(2));
        }
        let attempt = self.attempts.get_mut(&id).expect("an attempt");
        match reply {
            Outcome::Challenge { .. } | Outcome::Confirm { .. } => {
                assert!(attempt.right.is_none(), "told before it was durable");
                return attempt.waits = true;
            }
            Outcome::Denied(denied) => {
                // Who enrols has no factor yet to count for.
                let is_counted = !attempt.is_enrolling()
                    && matches!(
                        denied.reason,
                        DeniedReason::Wrong | DeniedReason::Replayed | DeniedReason::Expired
                    );
                let is_recorded = attempt.untold_failures > 0 || !is_counted;
                assert!(is_recorded, "a failure was told before it was durable");
                attempt.untold_failures = 0;
                attempt.right = None;
                attempt.waits = true;
                return;
            }
            Outcome::Refused(Refusal::OutOfOrder {}) if attempt.out_of_turn > 0 => {
                attempt.out_of_turn -= 1;
                return;
            }
            Outcome::Refused(Refusal::NoAttempt {}) if attempt.is_over => return,
            Outcome::Granted => {
                let psk = attempt.persisted.take();
                assert!(psk.is_some(), "granted before it was durable");
                let peer = attempt.peer;
                assert_eq!(
                    self.in_place.get(&peer),
                    psk.as_ref(),
                    "granted, not installed"
                );
                let there = world.installed().remove(&peer).and_then(|it| it.psk);
                // A fence that no answer has told of yet is as one that comes right after.
                let is_there = there == psk || world.interface.is_fenced();
                let is_there = is_there || world.meddled.contains(&peer);
                assert!(is_there, "granted with another key");
                let session = psk.map(|psk| self.keys[psk.expose_secret()]).unwrap();
                self.sessions.get_mut(&session).unwrap().is_acknowledged = true;
            }
            Outcome::Done => {
                if let Intent::End(session) = attempt.intent
                    && self.sessions[&session].peer == attempt.peer
                {
                    assert!(!is_live(session, world), "signed out, still live");
                    let is_there = self.is_installed(session, world);
                    assert!(
                        !is_there || self.is_superseded(session),
                        "signed out, still there"
                    );
                }
            }
            Outcome::Enrolled(factor) => {
                assert!(self.enrolled.contains(factor), "told before it was durable");
            }
            Outcome::Refused(
                Refusal::Assurance {} | Refusal::NotAuthorised {} | Refusal::OutsideHours {},
            ) => assert!(attempt.right.is_none(), "told before it was durable"),
            Outcome::Status(_) | Outcome::Refused(_) => {}
        }
        self.ends_attempt(id);
    }

    /// A revocation was acknowledged: every session that it meant is off the interface and ended.
    fn revokes(&mut self, ticket: u64, listed: &[SessionId], world: &World) {
        let revocation = self.revocations.remove(&ticket).expect("a revocation");
        let meant = self.sessions.iter().filter(|(id, session)| {
            let is_older = session.opening_since <= revocation.since;
            match &revocation.scope {
                Scope::Session(wanted) => wanted == *id && revocation.is_known,
                Scope::Peer(peer) => session.peer == *peer && is_older,
                Scope::User(user) => session.user == *user && is_older,
                Scope::All => is_older,
            }
        });
        let meant: Vec<_> = meant.map(|(id, _)| *id).collect();
        self.revoked.extend(meant.iter().chain(listed));
        self.stays_revoked(world);
    }

    pub(super) fn stays_revoked(&self, world: &World) {
        for session in &self.revoked {
            assert!(!is_live(*session, world), "revoked and live: {session}");
            let is_there = self.is_installed(*session, world);
            assert!(!is_there, "revoked and on the interface: {session}");
        }
    }

    pub(super) fn is_superseded(&self, session: SessionId) -> bool {
        self.sessions[&session].ended == Some(EndReason::Superseded)
    }

    /// Whether the interface really has a peer with a key of this session.
    pub(super) fn is_installed(&self, session: SessionId, world: &World) -> bool {
        let installed = world.installed();
        let mut keys = installed.values().filter_map(|config| config.psk.as_ref());
        keys.any(|psk| self.keys.get(psk.expose_secret()) == Some(&session))
    }
}

fn is_live(session: SessionId, world: &World) -> bool {
    world
        .record(session)
        .is_some_and(|record| record.ended.is_none())
}
