//! Start, stop, and what the store says of live leases in between: the interface is brought to
//! what is leased by difference, so that live traffic is left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::action::{Action, Outcome};
use super::comparison::{Fingerprint, Fit};
use super::entry::InstallState;
use super::event::Event;
use super::grant::{Lease, Restored};
use super::input::{LeaseCheck, Unavailable};
use super::{Machine, Phase};
use crate::channel::message::Refusal;
use crate::id::{AttemptId, SessionId, UserId};
use crate::interface::PeerConfig;
use crate::key::PublicKey;
use crate::store::{EndReason, SessionRecord};
use crate::time::Now;

/// How far off an interface may be with the end of a lease.
pub(super) const SLACK: Duration = Duration::from_millis(500);

impl Machine {
    /// Brings the interface in line with the sessions of earlier runs. Until every operation has
    /// succeeded or its lease has ended, no one is admitted.
    pub(super) fn on_start(
        &mut self,
        now: Now,
        sessions: Vec<Restored>,
        ended: impl Iterator<Item = (SessionRecord, EndReason)>,
        installed: Vec<PeerConfig>,
    ) {
        if self.phase != Phase::Starting {
            return;
        }
        // What is over ends last: such an end waits for its peer to be off the interface, and by
        // then every peer that has to leave is known.
        let mut over = Vec::new();
        for (record, reason) in ended {
            over.push((record.id, (record.peer, record.user), reason));
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
                // The peer stays in `present` and leaves with those that hold no lease.
                let who = (peer, terms.user.clone());
                over.push((session, who, EndReason::Expired));
                continue;
            }
            let config = PeerConfig {
                lease: Some(terms.left(now)),
                ..Self::config(terms, psk)
            };
            let there = present.remove(&peer);
            let wanted = Some(Fingerprint::of(&config));
            let fit = Fit::of(there.as_ref().map(Fingerprint::of), wanted);
            self.hold(now, Lease::new(grant, session, generation), None);
            let Some(slot) = self.slots.get_mut(&peer) else {
                continue;
            };
            // A peer that is in place as it should be is left alone: its traffic goes on through
            // the restart. One whose lease the interface would end at another time is told the
            // right one without being taken off.
            slot.place = InstallState::Installing;
            slot.fingerprint = wanted;
            match there {
                Some(there) if fit == Fit::Right && is_mistimed(&there, &config) => {
                    mistimed.push(config);
                }
                Some(_) if fit == Fit::Right => slot.place = InstallState::Present,
                Some(_) | None => missing.push(config),
            }
            // What changed in the store while no gate was there to hear of it.
            self.check(peer);
        }
        // What is left there holds no lease.
        for orphan in present.into_keys() {
            self.slots.entry(orphan).or_default().place = InstallState::Present;
            self.begin_removal(orphan);
        }
        for (session, who, reason) in over {
            self.end_unleased(now, session, who, reason);
        }
        // Before the operations are asked for: the gate admits once each of these has been answered.
        let under_way = |slot: &super::entry::PeerEntry| slot.place != InstallState::Present;
        let pending = self.slots.iter().filter(|(_, slot)| under_way(slot));
        self.phase = Phase::Reconciling(pending.map(|(peer, _)| *peer).collect());
        for (peers, in_place) in [(missing, false), (mistimed, true)] {
            if !peers.is_empty() {
                self.actions.push_back(Action::Install { peers, in_place });
            }
        }
        self.reconciled(now, &[]);
    }

    /// Takes in that operations on these peers are over, and opens the gate once none is left.
    pub(super) fn reconciled(&mut self, now: Now, peers: &[PublicKey]) {
        let Phase::Reconciling(pending) = &mut self.phase else {
            return;
        };
        for peer in peers {
            let place = self
                .slots
                .get(peer)
                .map_or(InstallState::Absent, |slot| slot.place);
            if matches!(place, InstallState::Absent | InstallState::Present) {
                pending.remove(peer);
            }
        }
        if pending.is_empty() {
            self.phase = Phase::Open;
            self.events.push_back(Event::Open);
            self.begin_comparing(now);
        }
    }

    /// Asks the store about the leases that a change may bear on, and marks the attempts under way,
    /// so that it is asked about the leases that they lead to.
    pub(super) fn on_changed(
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

    pub(super) fn on_checked(
        &mut self,
        peer: PublicKey,
        session: SessionId,
        result: Result<LeaseCheck, Unavailable>,
    ) {
        if self.sessions.get(&session) != Some(&peer) {
            return;
        }
        match result {
            Ok(LeaseCheck::Good) => {}
            Ok(LeaseCheck::Ended(reason)) => self.end_stored(peer, reason),
            // A lease is not left on the word of a store that reports a change and then fails to say
            // which.
            Ok(LeaseCheck::NotEligible) | Err(Unavailable) => self.end(peer, EndReason::Revoked),
        }
    }

    /// Removes every peer, or with `keep` every peer that is not in place under a live lease. The
    /// sessions stay in the store.
    pub(super) fn on_stop(&mut self, keep: bool) {
        let keep = keep && self.is_open();
        self.keeps_peers = keep;
        self.stopping = true;
        let attempts: Vec<AttemptId> = self.attempts.iter().map(|(id, _)| *id).collect();
        // What the store is at work on is past recall: it is answered, and ends then.
        for id in attempts {
            let open = self.attempts.get_mut(id);
            if open.is_some_and(|attempt| attempt.is_recallable() || attempt.is_installing()) {
                self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
            }
        }
        let peers: Vec<PublicKey> = self.slots.keys().copied().collect();
        for peer in peers {
            let lease = self.take_lease(peer);
            let was_leased = lease.is_some();
            if let Some(lease) = lease {
                let user = lease.terms().user.clone();
                self.parked.insert(lease.session(), (peer, user));
            }
            let Some(slot) = self.slots.get_mut(&peer) else {
                continue;
            };
            slot.under_way().queued = None;
            slot.under_way().waiting = None;
            let stays = keep && was_leased && slot.under_way().leaving.is_empty();
            match slot.place {
                InstallState::Present if stays => {
                    self.slots.remove(&peer);
                    self.kept.insert(peer);
                }
                InstallState::Present => self.begin_removal(peer),
                // It waited to be installed again.
                InstallState::Absent => drop(self.slots.remove(&peer)),
                InstallState::Installing | InstallState::Removing | InstallState::Stuck => {}
            }
        }
    }

    /// Says that the gate has stopped, once nothing is on the interface or under way.
    pub(super) fn stop_if_idle(&mut self) {
        let is_idle = self.slots.is_empty() && self.endings.is_empty() && self.attempts.len() == 0;
        if self.stopping && is_idle && self.phase != Phase::Stopped {
            self.phase = Phase::Stopped;
            self.actions.push_back(Action::Stopped);
        }
    }
}

/// Whether an interface that ends leases by itself has another time for this one and has to be
/// told.
fn is_mistimed(there: &PeerConfig, wanted: &PeerConfig) -> bool {
    let times = there.lease.zip(wanted.lease);
    times.is_some_and(|(there, wanted)| there.abs_diff(wanted) > SLACK)
}
