//! Inactivity, where the policy asks for it: traffic is sampled four times in the span that it may
//! rest, and what WireGuard itself sends does not count.

use super::Machine;
use super::deadline::{Due, OfLease};
use super::input::Unavailable;
use crate::interface::Activity;
use crate::key::PublicKey;
use crate::store::EndReason;
use crate::time::Now;

/// A handshake message in both directions every five seconds, and a keepalive each way every
/// second, are the most that an idle tunnel carries.
const IDLE_BYTES_PER_SECOND: u64 = 2 * 148 / 5 + 2 * 32;

impl Machine {
    pub(super) fn sampled(
        &mut self,
        now: Now,
        peers: &[PublicKey],
        result: Result<Vec<Activity>, Unavailable>,
    ) {
        let activities = result.unwrap_or_default();
        for peer in peers {
            let seen = activities.iter().find(|activity| activity.key == *peer);
            if self.is_inactive(now, *peer, seen) {
                self.end(*peer, EndReason::Inactive);
            }
        }
    }

    /// Takes a sample in. A peer whose traffic can't be read counts as silent.
    fn is_inactive(&mut self, now: Now, peer: PublicKey, seen: Option<&Activity>) -> bool {
        let held = self
            .slots
            .get_mut(&peer)
            .and_then(|slot| slot.held.as_mut());
        let Some(held) = held else { return false };
        let session = held.lease.session();
        let Some(limit) = held.lease.rules().inactivity else {
            return false;
        };
        let Some(idle) = held.idle.as_mut() else {
            return false;
        };
        if let Some(seen) = seen {
            let bytes = seen.received.saturating_add(seen.sent);
            let span = now.instant.saturating_since(idle.read).as_secs() + 2;
            // An interface that installed the peer anew counts from zero.
            let grown = bytes.checked_sub(idle.bytes).unwrap_or(bytes);
            if grown > span.saturating_mul(IDLE_BYTES_PER_SECOND) {
                idle.active = now.instant;
            }
            idle.bytes = bytes;
            idle.read = now.instant;
        }
        if now.instant.saturating_since(idle.active) >= limit {
            return true;
        }
        let due = Due::Lease(session, OfLease::Sample);
        self.deadlines.clear(idle.next, due);
        idle.next = now.instant + limit / 4;
        self.deadlines.set(idle.next, due);
        false
    }
}
