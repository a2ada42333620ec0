//! Start, stop, and what the store says of live leases in between: the interface is brought to
//! what is leased by difference, so that live traffic is left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::action::{Action, Outcome};
use super::event::Event;
use super::grant::{Lease, Restored};
use super::input::{Standing, Unavailable};
use super::slot::Place;
use super::{Machine, Phase};
use crate::channel::message::Refusal;
use crate::id::{AttemptId, SessionId, UserId};
use crate::interface::PeerConfig;
use crate::key::PublicKey;
use crate::store::{EndReason, SessionRecord};
use crate::time::Now;

/// How far off an interface may be with the end of a lease.
const SLACK: Duration = Duration::from_millis(500);

impl Machine {
    /// Brings the interface in line with the sessions of earlier runs. Until every operation has
    /// succeeded or its lease has ended, nobody is admitted.
    pub(super) fn start(
        &mut self,
        now: Now,
        sessions: Vec<Restored>,
        unreadable: Vec<SessionRecord>,
        installed: Vec<PeerConfig>,
    ) {
        if self.phase != Phase::Starting {
            return;
        }
        let mut over = Vec::new();
        for record in unreadable {
            let who = (record.peer, record.user);
            over.push((record.id, who, EndReason::Unreadable));
        }
        let mut present: BTreeMap<PublicKey, PeerConfig> =
            installed.into_iter().map(|peer| (peer.key, peer)).collect();
        let (mut missing, mut mistimed) = (Vec::new(), Vec::new());
        for Restored {
            grant,
            session,
            generation,
            psk,
        } in sessions
        {
            let terms = grant.terms();
            let peer = terms.peer;
            if terms.are_over(now) {
                let who = (peer, terms.user.clone());
                over.push((session, who, EndReason::Expired));
                continue;
            }
            let config = PeerConfig {
                lease: Some(terms.left(now)),
                ..Self::config(terms, psk)
            };
            let there = present
                .remove(&peer)
                .filter(|there| there.admits_as(&config));
            self.hold(now, Lease::new(grant, session, generation), None);
            let Some(slot) = self.slots.get_mut(&peer) else {
                continue;
            };
            slot.place = Place::Installing;
            match there {
                None => missing.push(config),
                Some(there) if is_mistimed(&there, &config) => mistimed.push(config),
                Some(_) => slot.place = Place::Present,
            }
            // What changed in the store while no gate was there to hear of it.
            self.check(peer);
        }
        for orphan in present.into_keys() {
            self.slots.entry(orphan).or_default().place = Place::Present;
            self.begin_removal(orphan);
        }
        for (session, who, reason) in over {
            self.end_unleased(now, session, who, reason);
        }
        let under_way = |slot: &super::slot::Slot| slot.place != Place::Present;
        let pending = self.slots.iter().filter(|(_, slot)| under_way(slot));
        self.phase = Phase::Reconciling(pending.map(|(peer, _)| *peer).collect());
        for (peers, in_place) in [(missing, false), (mistimed, true)] {
            if !peers.is_empty() {
                self.actions.push_back(Action::Install { peers, in_place });
            }
        }
        self.reconciled(&[]);
    }

    /// Operations on these peers have come to an end: opens the gate once none is left.
    pub(super) fn reconciled(&mut self, peers: &[PublicKey]) {
        let Phase::Reconciling(pending) = &mut self.phase else {
            return;
        };
        for peer in peers {
            let place = self
                .slots
                .get(peer)
                .map_or(Place::Absent, |slot| slot.place);
            if matches!(place, Place::Absent | Place::Present) {
                pending.remove(peer);
            }
        }
        if pending.is_empty() {
            self.phase = Phase::Open;
            self.events.push_back(Event::Open);
        }
    }

    /// The store says that these may have changed: asks about the leases among them, and has those
    /// asked about that attempts under way lead to.
    pub(super) fn changed(
        &mut self,
        sessions: &[SessionId],
        peers: &[PublicKey],
        users: &[UserId],
    ) {
        self.attempts.date();
        let of_sessions = sessions
            .iter()
            .filter_map(|session| self.sessions.get(session));
        let mut affected: Vec<PublicKey> = of_sessions.chain(peers).copied().collect();
        if !users.is_empty() {
            let owned = self
                .leases()
                .filter(|lease| users.contains(&lease.terms().user));
            affected.extend(owned.map(|lease| lease.terms().peer));
        }
        affected.sort_unstable();
        affected.dedup();
        for peer in affected {
            self.check(peer);
        }
    }

    /// Asks the store whether it still backs a peer's lease.
    pub(super) fn check(&mut self, peer: PublicKey) {
        if let Some(lease) = self.lease_of(peer) {
            let session = lease.session();
            self.actions.push_back(Action::Check { peer, session });
        }
    }

    pub(super) fn checked(
        &mut self,
        peer: PublicKey,
        session: SessionId,
        result: Result<Standing, Unavailable>,
    ) {
        if self.sessions.get(&session) != Some(&peer) {
            return;
        }
        match result {
            Ok(Standing::Good) => {}
            Ok(Standing::Ended(reason)) => self.end_stored(peer, reason),
            // A store that reports a change and then won't say which is not to be relied on.
            Ok(Standing::NotEligible) | Err(Unavailable) => self.end(peer, EndReason::Revoked),
        }
    }

    /// Every peer leaves the interface; the sessions stay in the store.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        let attempts: Vec<AttemptId> = self.attempts.iter().map(|(id, _)| *id).collect();
        for id in attempts {
            let open = self.attempts.get_mut(id);
            if open.is_some_and(|attempt| attempt.is_recallable() || attempt.is_installing()) {
                self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
            }
        }
        let peers: Vec<PublicKey> = self.slots.keys().copied().collect();
        for peer in peers {
            if let Some(lease) = self.take_lease(peer) {
                let user = lease.terms().user.clone();
                self.parked.insert(lease.session(), (peer, user));
            }
            let Some(slot) = self.slots.get_mut(&peer) else {
                continue;
            };
            slot.under_way().queued = None;
            slot.under_way().waiting = None;
            if slot.place == Place::Present {
                self.begin_removal(peer);
            }
        }
    }

    /// Says that the gate has stopped, once nothing is on the interface or under way.
    pub(super) fn stopped(&mut self) {
        let is_idle = self.slots.is_empty() && self.endings.is_empty() && self.attempts.len() == 0;
        if self.stopping && is_idle && self.phase != Phase::Stopped {
            self.phase = Phase::Stopped;
            self.actions.push_back(Action::Stopped);
        }
    }
}

/// Whether what ends leases by itself has another time for this one, which it has to be told.
fn is_mistimed(there: &PeerConfig, wanted: &PeerConfig) -> bool {
    let times = there.lease.zip(wanted.lease);
    times.is_some_and(|(there, wanted)| there.abs_diff(wanted) > SLACK)
}
