//! What is checked after every step, and once all has come to its end.

use std::collections::BTreeMap;

use super::super::fixtures::{self, USERS};
use super::super::world::{World, ready};
use super::{Model, Session};
use crate::gate::Closed;
use crate::key::PresharedKey;
use crate::store::{EndReason, PeerStore};

impl Model {
    pub(in super::super) fn looks_at(&mut self, world: &World) {
        self.stays_revoked(world);
        self.counts_are_durable(world);
        if !world.is_running() {
            return;
        }
        self.ended_leases_leave(world);
        for (peer, config) in world.installed() {
            let key = config.psk.as_ref().map(PresharedKey::expose_secret);
            let Some(session) = key.and_then(|key| self.keys.get(key)) else {
                continue; // a stranger that a test planted
            };
            let of_peer = |session: &&Session| session.peer == peer && session.ended.is_none();
            assert!(
                self.sessions.values().any(|session| of_peer(&session)),
                "{peer:?} is on the interface and no session of it is left"
            );
            let ended = self.sessions[session].ended;
            let is_replaced = matches!(ended, None | Some(EndReason::Superseded));
            assert!(
                is_replaced,
                "a session that ended is on the interface: {ended:?}"
            );
        }
        for lease in world.machine.leases() {
            let (terms, session) = (lease.terms(), &self.sessions[&lease.session()]);
            assert_eq!(terms.verified_at, session.verified_at);
            assert!(terms.not_after <= session.verified_at + self.policy.max_age);
            assert!(session.ends.is_none_or(|ends| terms.ends <= ends));
        }
    }

    /// A lease that ended otherwise than by a newer one takes its peer off the interface.
    fn ended_leases_leave(&mut self, world: &World) {
        let leases = world.machine.leases();
        let leased = leases
            .map(|lease| (lease.terms().peer, lease.session()))
            .collect();
        for (peer, session) in std::mem::replace(&mut self.leased, leased) {
            let is_there = world.is_installed(peer) || world.is_operating(peer);
            let has_ended = self.leased.get(&peer) != Some(&session);
            if has_ended && is_there && !self.is_superseded(session) {
                self.to_remove.insert(peer);
            }
        }
    }

    fn counts_are_durable(&self, world: &World) {
        for name in USERS {
            for factor in ready(world.disk.factors(&fixtures::user(name))).unwrap() {
                let counted = self.failures.get(&factor.id).copied().unwrap_or_default();
                assert_eq!(
                    factor.failures.count, counted,
                    "a count fell or rose by itself"
                );
            }
        }
    }

    /// No lease is over by either clock once the time was looked at.
    pub(in super::super) fn none_is_over(&self, world: &World) {
        let mut leases = world.machine.leases();
        let over = leases.find(|lease| lease.terms().left(world.now).is_zero());
        assert!(over.is_none(), "a lease outlives its end: {over:?}");
    }

    /// After a start: a client that was told of an admission still has it, unless its time is over.
    pub(in super::super) fn is_restored(&self, world: &World) {
        let acknowledged = self.sessions.iter().filter(|(_, it)| it.is_acknowledged);
        for (id, session) in acknowledged {
            let record = world
                .record(*id)
                .expect("an acknowledged session is durable");
            let is_leased = world
                .lease(session.peer)
                .is_some_and(|it| it.session() == *id);
            assert_eq!(record.is_live(world.now.timestamp), is_leased);
        }
    }

    pub(in super::super) fn is_settled(&self, world: &World) {
        assert!(self.revocations.is_empty(), "a revocation is not answered");
        assert!(!self.is_stopping || !world.is_running(), "never stopped");
        for (id, attempt) in &self.attempts {
            let is_answered = attempt.waits && attempt.out_of_turn == 0;
            assert!(attempt.is_over || is_answered, "{id} gets no answer");
        }
        let fenced = world.interface.is_fenced();
        assert!(world.machine.is_open() || fenced || !world.is_running());
        // What is left of a gate whose interface is gone has no leases, and ends.
        let is_gone = world.machine.why_closed() == Some(Closed::InterfaceGone);
        if world.is_running() && !is_gone {
            self.is_in_line(world);
        }
    }

    /// The disk, the leases and the interface say the same.
    fn is_in_line(&self, world: &World) {
        let leases: BTreeMap<_, _> = world
            .machine
            .leases()
            .map(|lease| (lease.terms().peer, lease.session()))
            .collect();
        let live = world.live().into_iter();
        let live: BTreeMap<_, _> = live.map(|record| (record.peer, record.id)).collect();
        assert_eq!(live, leases, "the disk and the leases differ");
        let installed = world.installed();
        assert!(
            installed.keys().eq(leases.keys()),
            "{installed:?} {leases:?}"
        );
        for (peer, session) in leases {
            assert_eq!(installed[&peer].psk, self.sessions[&session].psk);
            let found = ready(world.disk.enrolment(&fixtures::location(), &peer)).unwrap();
            assert!(found.is_some_and(|found| found.peer.enabled && found.user.enabled));
            let rested = world.now.instant.saturating_since(self.active[&peer]);
            let limit = self.policy.inactivity;
            assert!(
                limit.is_none_or(|limit| rested <= limit * 3 / 2),
                "{peer:?} is idle"
            );
        }
    }
}
