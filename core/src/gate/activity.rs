//! Samples of live leases, where the policy asks: whether they carry payload, and where their peers
//! are.
//!
//! One read of the interface tells of all its peers, so that samples are moved to common times: as
//! many leases as there are cost as many reads as one. They are far apart while nothing can be due
//! soon, and closer when something may be.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Machine;
use super::action::Action;
use super::deadline::{Due, OfLease};
use super::event::Event;
use super::input::Unavailable;
use super::roaming::{EndpointTracker, RoamingEvent};
use crate::audit::AuditKind;
use crate::interface::Activity;
use crate::key::PublicKey;
use crate::policy::{EndpointChange, Policy};
use crate::store::EndReason;
use crate::time::{Instant, Now};

/// A handshake message in both directions every five seconds, and a keepalive each way every
/// second, are the most that an idle tunnel carries: for interfaces that do not tell payload from
/// it.
const IDLE_BYTES_PER_SECOND: u64 = 2 * 148 / 5 + 2 * 32;

/// What is known of a lease's traffic.
#[derive(Debug)]
pub(super) struct Watch {
    /// When payload was last seen to have passed.
    active: Instant,
    /// When the bytes were last read.
    read: Instant,
    /// Bytes in both directions at that time.
    bytes: u64,
    /// Of payload, where the interface counts it.
    payload: u64,
    endpoint: EndpointTracker,
    /// When the next sample is due.
    pub(super) next: Instant,
    /// Whether a sample is under way, so that `next` is past.
    pub(super) is_sampling: bool,
}

impl Watch {
    /// For a lease that begins now, and counts as active; `None` where the policy does not ask.
    pub(super) fn new(now: Instant, policy: &Policy) -> Option<Box<Self>> {
        let mut watch = Self {
            active: now,
            read: now,
            bytes: 0,
            payload: 0,
            endpoint: EndpointTracker::new(now),
            next: now,
            is_sampling: false,
        };
        watch.next = watch.next_sample(now, policy)?;
        Some(Box::new(watch))
    }

    /// The same watch under another policy; `None` where that does not ask.
    pub(super) fn under(mut watch: Box<Self>, now: Instant, policy: &Policy) -> Option<Box<Self>> {
        watch.next = watch.next_sample(now, policy)?;
        Some(watch)
    }

    fn next_sample(&self, now: Instant, policy: &Policy) -> Option<Instant> {
        let activity = policy.inactivity.map(|limit| self.next_count(now, limit));
        let place = match policy.endpoint_change {
            EndpointChange::Off => None,
            EndpointChange::Warn | EndpointChange::Reauthenticate => {
                Some(self.endpoint.next_sample(now))
            }
        };
        [activity, place].into_iter().flatten().min()
    }

    /// When to count bytes: payload is dated by the sample that finds it, so a lease that rests ends
    /// late by the distance of two looks at the most. That is a quarter of `limit`, and an eighth
    /// when the end is near.
    fn next_count(&self, now: Instant, limit: Duration) -> Instant {
        let end = self.active + limit;
        let left = end.saturating_since(now);
        let (near, far) = (limit / 8, limit / 4);
        if left <= near {
            return end;
        }
        aligned(now + (left / 2).clamp(near, far), near)
    }

    /// Takes a count in.
    fn count(&mut self, now: Instant, seen: &Activity) {
        // An interface that installed the peer again counts from zero.
        let grown = |from: u64, to: u64| to.checked_sub(from).unwrap_or(to);
        let bytes = seen.received.saturating_add(seen.sent);
        let is_active = seen.payload.map_or_else(
            || {
                let span = now.saturating_since(self.read).as_secs() + 2;
                grown(self.bytes, bytes) > span.saturating_mul(IDLE_BYTES_PER_SECOND)
            },
            |payload| grown(self.payload, payload) > 0,
        );
        if is_active {
            self.active = now;
        }
        self.bytes = bytes;
        self.payload = seen.payload.unwrap_or_default();
        self.read = now;
    }
}

/// The last common time at or before `at`. Common times are `apart` from one another.
pub(super) fn aligned(at: Instant, apart: Duration) -> Instant {
    let apart = u64::try_from(apart.as_nanos()).unwrap_or(u64::MAX).max(1);
    Instant::from_nanos(at.as_nanos() - at.as_nanos() % apart)
}

impl Machine {
    /// Begins a sample of a peer's lease that is due; `false` where one is under way, or none is
    /// asked for.
    pub(super) fn begin_sample(&mut self, peer: PublicKey) -> bool {
        let watch = self.watch_of(peer);
        watch.is_some_and(|watch| !std::mem::replace(&mut watch.is_sampling, true))
    }

    pub(super) fn on_sampled(
        &mut self,
        now: Now,
        peers: &[PublicKey],
        result: Result<Vec<Activity>, Unavailable>,
    ) {
        let seen = result.unwrap_or_default().into_iter();
        let seen: BTreeMap<_, _> = seen.map(|one| (one.key, one)).collect();
        for peer in peers {
            match self.judge_sample(now, *peer, seen.get(peer)) {
                Some(reason) => self.end(*peer, reason),
                None => self.sample_again(now, *peer),
            }
        }
    }

    /// Takes in what a sample of a peer found; `None` where the interface could not say. Returns
    /// why the lease ends, if it does.
    fn judge_sample(
        &mut self,
        now: Now,
        peer: PublicKey,
        seen: Option<&Activity>,
    ) -> Option<EndReason> {
        let held = self.slots.get_mut(&peer)?.held.as_mut()?;
        let policy = held.lease.policy();
        let (limit, rule) = (policy.inactivity, policy.endpoint_change);
        // A sample that was asked for about an earlier lease says nothing of this one.
        let watch = held.watch.as_mut().filter(|watch| watch.is_sampling)?;
        watch.is_sampling = false;
        if let Some(seen) = seen {
            watch.count(now.instant, seen);
        }
        // A peer whose bytes can't be read counts as silent.
        let rested = now.instant.saturating_since(watch.active);
        let is_inactive = limit.is_some_and(|limit| rested >= limit);
        let found = match rule {
            EndpointChange::Off => None,
            EndpointChange::Warn | EndpointChange::Reauthenticate => {
                watch.endpoint.on_sample(now.instant, seen)
            }
        };
        let ends = rule == EndpointChange::Reauthenticate;
        match found {
            Some(RoamingEvent::Moved { from, to }) => {
                self.tell_of_move(now, peer, from, to);
                if ends {
                    return Some(EndReason::EndpointChanged);
                }
            }
            Some(RoamingEvent::Unknown) if ends => return Some(EndReason::InterfaceFailed),
            Some(RoamingEvent::Unknown) | None => {}
        }
        is_inactive.then_some(EndReason::Inactive)
    }

    fn sample_again(&mut self, now: Now, peer: PublicKey) {
        let held = self
            .slots
            .get_mut(&peer)
            .and_then(|slot| slot.held.as_mut());
        let Some(held) = held else { return };
        let due = Due::Lease(held.lease.session(), OfLease::Sample);
        let watch = held.watch.as_mut().filter(|watch| !watch.is_sampling);
        let Some(watch) = watch else { return };
        let Some(next) = watch.next_sample(now.instant, held.lease.policy()) else {
            return;
        };
        self.deadlines.clear(watch.next, due);
        watch.next = next;
        self.deadlines.set(next, due);
    }

    fn tell_of_move(
        &mut self,
        now: Now,
        peer: PublicKey,
        from: std::net::IpAddr,
        to: std::net::IpAddr,
    ) {
        let Some(lease) = self.lease_of(peer) else {
            return;
        };
        let (session, user) = (lease.session(), lease.terms().user.clone());
        let mut event = self.audit(now, AuditKind::EndpointChanged { from, to });
        event.session = Some(session);
        event.peer = Some(peer);
        event.user = Some(user.clone());
        let event = Box::new(event);
        self.actions.push_back(Action::Record { event });
        self.events.push_back(Event::EndpointChanged {
            session,
            peer,
            user,
            from,
            to,
        });
    }

    fn watch_of(&mut self, peer: PublicKey) -> Option<&mut Watch> {
        self.slots
            .get_mut(&peer)?
            .held
            .as_mut()?
            .watch
            .as_deref_mut()
    }
}
