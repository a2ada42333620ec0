//! Compares the interface with the leases, over and over: a peer that is there without a lease is
//! removed, and a leased peer that is missing, or not as it was installed, is put right.
//!
//! Peers come and go while the interface is listed. So a listing judges only the peers that no
//! operation touched from before it began until it ended. Its cost grows with the number of peers:
//! the next one waits a hundred times as long as it took, and a minute at the most.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::action::Action;
use super::deadline::Due;
use super::entry::{Install, InstallState};
use super::event::Event;
use super::grant::Lease;
use super::input::{Unavailable, Unlisted};
use super::{Machine, Phase};
use crate::audit::AuditKind;
use crate::id::{Generation, SessionId};
use crate::interface::PeerConfig;
use crate::key::{PresharedKey, PublicKey};
use crate::scrub::wiping;
use crate::store::EndReason;
use crate::time::{Instant, Now};

/// The least time from one listing to the next.
const COMPARE_EVERY: Duration = Duration::from_secs(2);
/// How many times as long as a listing took the next one waits.
const COMPARE_WAIT: u32 = 100;
/// The longest time from one listing to the next: one that a system slept through took long.
const COMPARE_AFTER: Duration = Duration::from_secs(60);
/// How often a lease's peer is put right. Two whose networks are the same would otherwise take
/// turns until their leases end.
const MOST_REPAIRS: u8 = 10;

/// A digest of a peer's preshared key and networks, from which neither can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Of a peer as it is, or should be.
    pub fn of(peer: &PeerConfig) -> Self {
        // The digest's own state has the preshared key in it.
        wiping(|| Self::digest(peer))
    }

    fn digest(peer: &PeerConfig) -> Self {
        let mut digest = Sha256::new_with_prefix(b"mfagate peer");
        digest.update([u8::from(peer.psk.is_some())]);
        if let Some(psk) = &peer.psk {
            digest.update(psk.expose_secret());
        }
        let networks: BTreeSet<IpNet> = peer.allowed_ips.iter().map(IpNet::trunc).collect();
        for network in networks {
            match network.network() {
                std::net::IpAddr::V4(address) => {
                    digest.update([4]);
                    digest.update(address.octets());
                }
                std::net::IpAddr::V6(address) => {
                    digest.update([6]);
                    digest.update(address.octets());
                }
            }
            digest.update([network.prefix_len()]);
        }
        let digest: [u8; 32] = digest.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(digest.split_at(16).0);
        Self(half)
    }

    /// Of each peer that an interface lists. What is listed holds keys, and goes no further.
    pub(crate) fn by_peer(peers: Vec<PeerConfig>) -> BTreeMap<PublicKey, Self> {
        let peers = peers.iter();
        peers.map(|peer| (peer.key, Self::of(peer))).collect()
    }
}

/// The listings: the one under way, and what the last one found.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// When the one under way was asked for.
    began: Option<Instant>,
    /// Peers with an operation that began or ended since then.
    touched: BTreeSet<PublicKey>,
    /// Whether the last one said that the interface is not there now.
    pub(super) is_away: bool,
    /// Whether the last one failed.
    is_failing: bool,
}

impl Comparison {
    /// An operation on a peer begins, or has ended.
    pub(super) fn touch(&mut self, peer: PublicKey) {
        if self.began.is_some() {
            self.touched.insert(peer);
        }
    }
}

/// How a peer on the interface is, against what was installed for its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// As it should be.
    Right,
    /// Not there.
    Missing,
    /// There, with another preshared key or other networks.
    Changed,
}

impl Fit {
    pub(super) fn of(there: Option<Fingerprint>, wanted: Option<Fingerprint>) -> Self {
        match there {
            None => Self::Missing,
            there if there == wanted => Self::Right,
            Some(_) => Self::Changed,
        }
    }
}

impl Machine {
    /// Has the interface compared from now on.
    pub(super) fn begin_comparing(&mut self, now: Now) {
        self.deadlines
            .set(now.instant + COMPARE_EVERY, Due::Compare);
    }

    /// A listing is due.
    pub(super) fn compare_now(&mut self, now: Now) {
        if self.phase == Phase::Open && !self.stopping {
            self.comparison.began = Some(now.instant);
            self.actions.push_back(Action::List);
        }
    }

    pub(super) fn on_listed(
        &mut self,
        now: Now,
        result: Result<BTreeMap<PublicKey, Fingerprint>, Unlisted>,
    ) {
        let touched = std::mem::take(&mut self.comparison.touched);
        let Some(began) = self.comparison.began.take() else {
            return;
        };
        if self.phase != Phase::Open || self.stopping {
            return;
        }
        let took = now.instant.saturating_since(began);
        let wait = took.saturating_mul(COMPARE_WAIT);
        let mut wait = wait.clamp(COMPARE_EVERY, COMPARE_AFTER);
        match result {
            Ok(there) => {
                self.comparison.is_failing = false;
                if std::mem::take(&mut self.comparison.is_away) {
                    self.events.push_back(Event::InterfaceBack);
                }
                self.judge(now, &there, &touched);
            }
            Err(Unlisted::Gone) => return self.interface_gone(now),
            Err(Unlisted::Away) => {
                wait = COMPARE_EVERY;
                if !std::mem::replace(&mut self.comparison.is_away, true) {
                    self.events.push_back(Event::InterfaceAway);
                }
            }
            Err(Unlisted::Unavailable) => {
                wait = took.clamp(COMPARE_EVERY, COMPARE_AFTER);
                if !std::mem::replace(&mut self.comparison.is_failing, true) {
                    self.events.push_back(Event::InterfaceUnreadable);
                }
            }
        }
        self.deadlines.set(now.instant + wait, Due::Compare);
    }

    /// Judges the peers that are there, and those that are not, but for those that an operation
    /// touched meanwhile.
    fn judge(
        &mut self,
        now: Now,
        there: &BTreeMap<PublicKey, Fingerprint>,
        touched: &BTreeSet<PublicKey>,
    ) {
        let (mut unleased, mut unfit) = (Vec::new(), Vec::new());
        for peer in there.keys().filter(|peer| !touched.contains(peer)) {
            let slot = self.slots.get(peer);
            let place = slot.map_or(InstallState::Absent, |slot| slot.place);
            let is_idle = matches!(place, InstallState::Absent | InstallState::Present);
            if is_idle && slot.is_none_or(|slot| slot.held.is_none()) {
                unleased.push(*peer);
            }
        }
        for (peer, slot) in self
            .slots
            .iter()
            .filter(|(peer, _)| !touched.contains(peer))
        {
            let there = there.get(peer).copied();
            let fit = match slot.place {
                _ if slot.held.is_none() => continue,
                InstallState::Present => Fit::of(there, slot.fingerprint),
                // While its key is read from the store, a leased peer is not to be there.
                InstallState::Absent if there.is_some() => Fit::Changed,
                InstallState::Absent if !slot.is_restoring() => Fit::Missing,
                InstallState::Absent
                | InstallState::Installing
                | InstallState::Removing
                | InstallState::Stuck => continue,
            };
            if fit != Fit::Right {
                unfit.push((*peer, fit));
            }
        }
        for peer in unleased {
            self.unleased(now, peer);
        }
        for (peer, fit) in unfit {
            self.put_right(now, peer, fit);
        }
    }

    /// Removes a peer that holds no lease and that others put there.
    fn unleased(&mut self, now: Now, peer: PublicKey) {
        self.slots.entry(peer).or_default().place = InstallState::Present;
        self.begin_removal(peer);
        self.events.push_back(Event::UnleasedPeer { peer });
        let mut event = Box::new(self.audit(now, AuditKind::UnleasedPeer));
        event.peer = Some(peer);
        self.actions.push_back(Action::Record { event });
    }

    /// Puts a leased peer right that is missing, or not as it was installed; in the second case it
    /// leaves at once. The machine does not keep its preshared key, so the store is asked for it.
    fn put_right(&mut self, now: Now, peer: PublicKey, fit: Fit) {
        let Some(slot) = self.slots.get_mut(&peer) else {
            return;
        };
        let Some(held) = &slot.held else { return };
        slot.repairs = slot.repairs.saturating_add(1);
        let is_hopeless = slot.repairs > MOST_REPAIRS;
        let session = held.lease.session();
        let user = held.lease.terms().user.clone();
        if fit == Fit::Missing {
            slot.place = InstallState::Absent;
            self.events.push_back(Event::PeerMissing { session, peer });
        } else {
            slot.place = InstallState::Present;
            self.events.push_back(Event::PeerChanged { session, peer });
            let mut event = Box::new(self.audit(now, AuditKind::PeerChanged));
            (event.peer, event.session, event.user) = (Some(peer), Some(session), Some(user));
            self.actions.push_back(Action::Record { event });
        }
        if is_hopeless {
            return self.end(peer, EndReason::InterfaceFailed);
        }
        if fit == Fit::Changed {
            self.begin_removal(peer);
        }
        let slot = self.slots.get_mut(&peer);
        if slot.is_some_and(|slot| !std::mem::replace(&mut slot.under_way().restoring, true)) {
            self.actions.push_back(Action::Restore { peer, session });
        }
    }

    /// Installs a leased peer again, with the preshared key that the store gave.
    pub(super) fn on_restored(
        &mut self,
        now: Now,
        peer: PublicKey,
        session: SessionId,
        result: Result<(Generation, PresharedKey), Unavailable>,
    ) {
        let Some(slot) = self.slots.get_mut(&peer) else {
            return;
        };
        let lease = slot.held.as_ref().map(|held| &held.lease);
        let Some(lease) = lease.filter(|lease| lease.session() == session) else {
            return;
        };
        let (terms, generation) = (lease.terms().clone(), lease.generation());
        // Otherwise something newer is on its way.
        if !std::mem::take(&mut slot.under_way().restoring) {
            return;
        }
        match result {
            Ok((stored, psk)) if stored == generation => {
                let config = Self::config(&terms, psk);
                let in_place = false;
                self.place(now, peer, None, Install { config, in_place });
            }
            // A renewal is durable whose answer is still on its way. That one installs the peer; if
            // it does not, the next listing finds the peer missing again.
            Ok(_) => slot.settle(),
            Err(Unavailable) => self.end(peer, EndReason::InterfaceFailed),
        }
    }

    /// Closes the gate, since the interface is gone and does not come back. It is still taken down,
    /// as far as this process reaches anything of it.
    fn interface_gone(&mut self, now: Now) {
        self.events.push_back(Event::InterfaceGone);
        let event = Box::new(self.audit(now, AuditKind::InterfaceGone));
        self.actions.push_back(Action::Record { event });
        self.phase = Phase::Fencing;
        self.is_gone = true;
        self.actions.push_back(Action::Fence);
    }

    /// Takes a peer's lease and leaves its session in the store: with the interface gone, the next
    /// start goes on with the sessions whose time is not over.
    pub(super) fn park(&mut self, peer: PublicKey) {
        let lease = self.take_lease(peer);
        if let Some((session, user)) = lease.as_ref().map(who) {
            self.parked.insert(session, (peer, user));
        }
        let slot = self.slots.get_mut(&peer);
        let waiting = slot.and_then(|slot| slot.under_way().waiting.take());
        self.refuse_waiting(waiting);
    }
}

fn who(lease: &Lease) -> (SessionId, crate::id::UserId) {
    (lease.session(), lease.terms().user.clone())
}
