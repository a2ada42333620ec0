//! What is on the interface: at most one operation per peer at a time, and after each the next
//! that brings the interface to what is leased.

use std::time::Duration;

use super::action::{Action, Outcome};
use super::activity::Watch;
use super::comparison::Fingerprint;
use super::deadline::{Due, OfLease};
use super::entry::{
    Failing, Install, InstallState, LeaseEntry, PeerEntry, PendingOperation, Waiting,
};
use super::event::Event;
use super::grant::{Grant, Lease, Terms};
use super::input::Unavailable;
use super::{Machine, Phase};
use crate::channel::message::Refusal;
use crate::id::{Generation, SessionId};
use crate::interface::PeerConfig;
use crate::key::{PresharedKey, PublicKey};
use crate::store::EndReason;
use crate::time::Now;

/// How long after a failed removal it is tried again.
const REMOVE_AGAIN: Duration = Duration::from_millis(500);
/// How long after failing to take the interface down it is tried again.
const FENCE_AGAIN: Duration = Duration::from_secs(1);

impl Machine {
    /// Turns a grant whose session is durable into a lease, and has its peer installed.
    pub(super) fn admit(
        &mut self,
        now: Now,
        waiting: Waiting,
        grant: Grant,
        session: SessionId,
        generation: Generation,
        install: Install,
    ) {
        let peer = grant.terms().peer;
        let older = self.lease_of(peer).map(Lease::generation);
        if older.is_some_and(|older| older >= generation) {
            // A newer session took the place while this one's answer was on its way.
            self.refuse_waiting(Some(waiting));
            return;
        }
        let attempt = self.attempts.get_mut(waiting.attempt);
        let is_dated = attempt.is_none_or(|attempt| attempt.is_dated);
        // The older lease leaves first, with its deadlines: the new one takes its place.
        self.supersede(peer);
        self.hold(now, Lease::new(grant, session, generation), None);
        self.place(now, peer, Some(waiting), install);
        if is_dated {
            // What changed in the store may bear on a lease that was not there yet to be ended.
            self.check(peer);
        }
    }

    /// Records a lease and arms its deadlines. `watch` is what was known of its traffic: a renewal
    /// is no payload.
    pub(super) fn hold(&mut self, now: Now, lease: Lease, watch: Option<Box<Watch>>) {
        let (session, peer) = (lease.session(), lease.terms().peer);
        // Deadlines are by session: a lease that shared its session with another's would share
        // its end. None does, unless the store or the generator is broken.
        let holder = self.sessions.get(&session).copied();
        if let Some(holder) = holder.filter(|holder| *holder != peer) {
            self.end(holder, EndReason::Revoked);
        }
        self.sessions.insert(session, peer);
        self.deadlines.set_wall(lease.terms().not_after, session);
        let watch = watch.or_else(|| Watch::new(now.instant, lease.policy()));
        if let Some(watch) = watch.as_ref().filter(|watch| !watch.is_sampling) {
            let due = Due::Lease(session, OfLease::Sample);
            self.deadlines.set(watch.next, due);
        }
        // The warning, or the end where the time for a warning is past.
        let (at, what) = if lease.warns() > now.instant {
            (lease.warns(), OfLease::Warn)
        } else {
            (lease.terms().ends, OfLease::End)
        };
        self.deadlines.set(at, Due::Lease(session, what));
        let slot = self.slots.entry(peer).or_default();
        slot.held = Some(LeaseEntry { lease, watch });
        slot.repairs = 0;
    }

    /// Has a peer installed, now or when the operation under way is over.
    pub(super) fn place(
        &mut self,
        now: Now,
        peer: PublicKey,
        waiting: Option<Waiting>,
        install: Install,
    ) {
        self.comparison.touch(peer);
        let slot = self.slots.entry(peer).or_default();
        slot.under_way().restoring = false;
        // The peer has one operation under way at a time. A later installation waits for it and
        // takes the place of an earlier one that waits.
        let displaced = std::mem::replace(&mut slot.under_way().waiting, waiting);
        match slot.place {
            InstallState::Absent | InstallState::Present => {
                slot.place = InstallState::Installing;
                slot.fingerprint = Some(Fingerprint::of(&install.config));
                let left = slot.lease().map(|lease| lease.terms().left(now));
                self.actions.push_back(Action::Install {
                    peers: vec![PeerConfig {
                        lease: left,
                        ..install.config
                    }],
                    in_place: install.in_place,
                });
            }
            InstallState::Installing | InstallState::Removing | InstallState::Stuck => {
                slot.under_way().queued = Some(install);
            }
        }
        self.refuse_waiting(displaced);
    }

    /// Ends the attempt that waited for an installation which won't come.
    pub(super) fn refuse_waiting(&mut self, waiting: Option<Waiting>) {
        if let Some(waiting) = waiting {
            self.finish(waiting.attempt, Outcome::Refused(Refusal::Unavailable {}));
        }
    }

    pub(super) fn on_installed(
        &mut self,
        now: Now,
        peers: &[PublicKey],
        result: Result<(), Unavailable>,
    ) {
        for peer in peers {
            self.comparison.touch(*peer);
            let Some(slot) = self.slot_in(*peer, InstallState::Installing) else {
                continue;
            };
            slot.place = InstallState::Present;
            match (result, slot.under_way().queued.take(), slot.held.is_some()) {
                (Ok(()), None, true) => self.in_place(*peer),
                (Ok(()), Some(next), true) if slot.under_way().leaving.is_empty() => {
                    let waiting = slot.under_way().waiting.take();
                    self.place(now, *peer, waiting, next);
                }
                // What a failed installation left behind is unknown, and an older session that
                // ended meanwhile ends by a removal: a queued one waits for that.
                (_, Some(next), true) => {
                    slot.under_way().queued = Some(next);
                    self.begin_removal(*peer);
                }
                // Any other lease ends.
                (Err(Unavailable), None, true) => {
                    self.end(*peer, EndReason::InterfaceFailed);
                }
                (_, _, false) => self.begin_removal(*peer),
            }
        }
        self.reconciled(now, peers);
    }

    /// A peer's slot while this operation on it is under way. An answer to another one, which came
    /// late or twice, changes nothing.
    fn slot_in(&mut self, peer: PublicKey, operation: InstallState) -> Option<&mut PeerEntry> {
        let slot = self.slots.get_mut(&peer)?;
        (slot.place == operation).then_some(&mut **slot)
    }

    /// Tells the attempt that waits for it that a lease is in force.
    fn in_place(&mut self, peer: PublicKey) {
        let Some(slot) = self.slots.get_mut(&peer) else {
            return;
        };
        let waiting = slot.under_way().waiting.take();
        slot.settle();
        if let Some(waiting) = waiting {
            self.events.push_back(waiting.event);
            self.finish(waiting.attempt, Outcome::Granted);
        }
    }

    /// Asks for a peer to be taken off the interface.
    pub(super) fn begin_removal(&mut self, peer: PublicKey) {
        self.comparison.touch(peer);
        let Some(slot) = self.slots.get_mut(&peer) else {
            return;
        };
        slot.place = InstallState::Removing;
        match self.actions.back_mut() {
            Some(Action::Remove { peers }) => peers.push(peer),
            _ => self.actions.push_back(Action::Remove { peers: vec![peer] }),
        }
    }

    pub(super) fn on_removed(
        &mut self,
        now: Now,
        peers: &[PublicKey],
        result: Result<(), Unavailable>,
    ) {
        for peer in peers {
            self.comparison.touch(*peer);
            match result {
                Ok(()) => self.gone(now, *peer),
                Err(Unavailable) => self.stuck(now, *peer),
            }
        }
        self.reconciled(now, peers);
    }

    /// Goes on with what waited for a peer to be off the interface.
    fn gone(&mut self, now: Now, peer: PublicKey) {
        let Some(slot) = self.slot_in(peer, InstallState::Removing) else {
            return;
        };
        slot.place = InstallState::Absent;
        let PendingOperation {
            queued,
            waiting,
            leaving,
            failing: _,
            restoring,
        } = std::mem::take(slot.under_way());
        match queued {
            Some(next) => {
                self.place(now, peer, waiting, next);
            }
            // Its key is read from the store, and it is installed again.
            None if slot.held.is_some() => slot.under_way().restoring = restoring,
            None => {
                self.slots.remove(&peer);
            }
        }
        // Last, with the slot in its new state: what an end sets off sees the peer gone.
        for session in leaving {
            self.left(now, session);
        }
    }

    /// Has a removal that failed tried again, and the interface taken down once removals have been
    /// failing for too long.
    fn stuck(&mut self, now: Now, peer: PublicKey) {
        let Some(slot) = self.slot_in(peer, InstallState::Removing) else {
            return;
        };
        let again = now.instant + REMOVE_AGAIN;
        let before = slot.under_way().failing;
        let since = before.map_or(now.instant, |failing| failing.since);
        slot.under_way().failing = Some(Failing { since, again });
        slot.place = InstallState::Stuck;
        let first = before.is_none();
        self.deadlines.set(again, Due::Remove(peer));
        if first {
            self.events.push_back(Event::RemovalFailing { peer });
        }
        let too_long = now.instant.saturating_since(since) >= self.policy.fence_after;
        if too_long && !matches!(self.phase, Phase::Fencing | Phase::Fenced) {
            self.phase = Phase::Fencing;
            self.actions.push_back(Action::Fence);
        }
    }

    pub(super) fn on_fenced(&mut self, now: Now, result: Result<(), Unavailable>) {
        if result.is_err() {
            self.events.push_back(Event::FenceFailing);
            self.deadlines.set(now.instant + FENCE_AGAIN, Due::Fence);
            return;
        }
        self.phase = Phase::Fenced;
        if !self.is_gone {
            self.events.push_back(Event::Fenced);
            let event = Box::new(self.audit(now, crate::audit::AuditKind::Fenced));
            self.actions.push_back(Action::Record { event });
        }
        // No packet of any peer passes any more: every lease ends, and every removal is done.
        let peers: Vec<PublicKey> = self.slots.keys().copied().collect();
        for peer in peers {
            if self.is_gone {
                self.park(peer);
            } else {
                self.end(peer, EndReason::InterfaceFailed);
            }
            if let Some(slot) = self.slots.get_mut(&peer) {
                if let Some(failing) = slot.under_way().failing {
                    self.deadlines.clear(failing.again, Due::Remove(peer));
                }
                slot.place = InstallState::Removing;
                slot.under_way().queued = None;
                self.gone(now, peer);
            }
        }
        self.actions
            .retain(|action| !matches!(action, Action::Remove { .. }));
    }

    /// The configuration of a leased peer.
    pub(super) fn config(terms: &Terms, psk: PresharedKey) -> PeerConfig {
        PeerConfig::new(terms.peer, Some(psk), terms.allowed_ips.to_vec())
    }
}
