//! What the machine says, checked as it says it.

use super::super::world::World;
use super::Model;
use crate::channel::message::{DeniedReason, Refusal};
use crate::gate::{Action, Event, Intent, Outcome, Scope, Terms};
use crate::id::{AttemptId, SessionId};
use crate::store::EndReason;
use crate::time::Now;

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
        match action {
            Action::Open { attempt, grant, .. } => {
                let seen = self.seen;
                let attempt = self.attempts.get_mut(attempt).expect("an attempt");
                let right = attempt
                    .right
                    .take()
                    .expect("a right answer of this attempt");
                attempt.opening_since = seen;
                assert_eq!(grant.terms().peer, attempt.peer);
                self.is_bounded(grant.terms(), right);
            }
            Action::Renew {
                attempt,
                session,
                terms,
                ..
            } => {
                let attempt = &self.attempts[attempt];
                assert!(attempt.asked.is_some(), "nobody confirmed");
                assert_eq!(attempt.intent, Intent::Renew(*session));
                assert_eq!(attempt.peer, terms.peer);
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

    fn ends_attempt(&mut self, attempt: AttemptId) {
        let attempt = self.attempts.get_mut(&attempt).expect("an attempt");
        assert!(!attempt.is_over, "an attempt ended twice");
        attempt.is_over = true;
    }

    fn replies(&mut self, id: AttemptId, reply: &Outcome, world: &World) {
        let attempt = self.attempts.get_mut(&id).expect("an attempt");
        match reply {
            Outcome::Challenge { .. } | Outcome::Confirm { .. } => return attempt.waits = true,
            Outcome::Denied(denied) => {
                let is_counted = matches!(
                    denied.reason,
                    DeniedReason::Wrong | DeniedReason::Replayed | DeniedReason::Expired
                );
                let is_recorded = attempt.untold_failures > 0 || !is_counted;
                assert!(is_recorded, "a failure was told before it was durable");
                attempt.untold_failures = 0;
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
            Outcome::Enrolled(_) | Outcome::Status(_) | Outcome::Refused(_) => {}
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
