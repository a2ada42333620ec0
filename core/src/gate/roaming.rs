//! Where a peer is, and whether it has moved: the rule that
//! [`EndpointChange`] states.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::activity::aligned;
use crate::interface::Activity;
use crate::policy::EndpointChange;
use crate::time::{Instant, Timestamp};

/// How far apart samples are: at the most, and where something may be due.
const FAR: Duration = EndpointChange::SETTLES_AFTER;
const NEAR: Duration = Duration::from_secs(5);

/// The most that someone who has only the private key can have counted as received: a peer's
/// handshakes are limited to 50 a second, of 148 bytes (WireGuard paper, section 5.1).
const UNPROVEN_BYTES_PER_SECOND: u64 = 50 * 148;

/// Where a peer was, and is.
#[derive(Debug)]
pub(super) struct EndpointTracker {
    /// Where the session began; known from the first sample that found a session in use.
    first: Option<IpAddr>,
    /// Where it is, as was last told.
    current: Option<IpAddr>,
    away: Option<Relocation>,
    /// Since when the interface has not said where the peer is.
    unknown_since: Option<Instant>,
    begun: Instant,
}

/// A peer that is elsewhere. What was counted is as of the first sample that found it there.
#[derive(Debug)]
struct Relocation {
    since: Instant,
    received: u64,
    last_handshake: Option<Timestamp>,
    is_proven: bool,
}

/// What a sample found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoamingEvent {
    /// The peer has moved.
    Moved { from: IpAddr, to: IpAddr },
    /// The interface has not said for too long where the peer is.
    Unknown,
}

impl EndpointTracker {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            first: None,
            current: None,
            away: None,
            unknown_since: None,
            begun: now,
        }
    }

    /// Takes in what a sample saw; `None` where the interface could not say.
    pub(super) fn on_sample(
        &mut self,
        now: Instant,
        seen: Option<&Activity>,
    ) -> Option<RoamingEvent> {
        let is_in_use = |seen: &Activity| seen.is_endpoint_proven || seen.last_handshake.is_some();
        let Some(seen) = seen.filter(|seen| seen.endpoint.is_some() || !is_in_use(seen)) else {
            let since = *self.unknown_since.get_or_insert(now);
            let is_long = now.saturating_since(since) >= EndpointChange::UNKNOWN_FOR;
            return is_long.then_some(RoamingEvent::Unknown);
        };
        self.unknown_since = None;
        let at = seen.endpoint?.ip().to_canonical();
        let (Some(first), Some(current)) = (self.first, self.current) else {
            if is_in_use(seen) {
                (self.first, self.current) = (Some(at), Some(at));
            }
            return None;
        };
        for home in [first, current] {
            if network(home) == network(at) {
                self.current = Some(home);
                self.away = None;
                return None;
            }
        }
        let away = self.away.get_or_insert_with(|| Relocation::new(now, seen));
        if !away.is_settled(now, seen) {
            return None;
        }
        self.away = None;
        self.current = Some(at);
        Some(RoamingEvent::Moved {
            from: current,
            to: at,
        })
    }

    /// When the next sample is due: soon while the peer may be about to have moved, or when nothing is known
    /// yet, and then less and less often.
    pub(super) fn next_sample(&self, now: Instant) -> Instant {
        let since = match &self.away {
            Some(away) => Some(away.since),
            None if self.first.is_none() => Some(self.begun),
            None => self.unknown_since,
        };
        let Some(since) = since else {
            return aligned(now + FAR, FAR);
        };
        let wait = (now.saturating_since(since) / 2).clamp(NEAR, FAR);
        let settled = since + EndpointChange::SETTLES_AFTER;
        if settled > now {
            settled.min(now + wait)
        } else {
            now + wait
        }
    }
}

impl Relocation {
    const fn new(now: Instant, seen: &Activity) -> Self {
        Self {
            since: now,
            received: seen.received,
            last_handshake: seen.last_handshake,
            is_proven: false,
        }
    }

    /// Whether the peer has been away for long enough, and it is the peer that has been.
    fn is_settled(&mut self, now: Instant, seen: &Activity) -> bool {
        let span = now.saturating_since(self.since);
        let received = seen.received.checked_sub(self.received);
        // An interface that installed the peer again counts from zero.
        let received = received.unwrap_or(seen.received);
        let unproven = (span.as_secs() + 1).saturating_mul(UNPROVEN_BYTES_PER_SECOND);
        let has_new_handshake =
            seen.last_handshake.is_some() && seen.last_handshake != self.last_handshake;
        self.is_proven |= seen.is_endpoint_proven || has_new_handshake || received > unproven;
        self.is_proven && span >= EndpointChange::SETTLES_AFTER
    }
}

/// What counts of an address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::key::PublicKey;

    const HOME: &str = "192.0.2.1:5000";
    const AWAY: &str = "198.51.100.7:5000";

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    /// A peer whose address a packet has proven.
    fn proven(endpoint: &str) -> Activity {
        Activity {
            is_endpoint_proven: true,
            ..unproven(endpoint)
        }
    }

    /// A peer on an interface that believes the first message of a handshake.
    fn unproven(endpoint: &str) -> Activity {
        Activity {
            last_handshake: Some(Timestamp::from_millis(1)),
            endpoint: Some(endpoint.parse::<SocketAddr>().unwrap()),
            ..Activity::silent(PublicKey::from_bytes([1; 32]))
        }
    }

    /// At home from the first second on.
    fn at_home() -> EndpointTracker {
        let mut endpoint = EndpointTracker::new(at(0));
        assert_eq!(endpoint.on_sample(at(1), Some(&proven(HOME))), None);
        endpoint
    }

    fn moved(from: &str, to: &str) -> Option<RoamingEvent> {
        let ip = |endpoint: &str| endpoint.parse::<SocketAddr>().unwrap().ip();
        Some(RoamingEvent::Moved {
            from: ip(from),
            to: ip(to),
        })
    }

    #[test]
    fn a_peer_that_stays_away_has_moved_once() {
        let mut endpoint = at_home();
        for second in [10, 20, 30, 39] {
            assert_eq!(endpoint.on_sample(at(second), Some(&proven(AWAY))), None);
        }
        let found = endpoint.on_sample(at(40), Some(&proven(AWAY)));
        assert_eq!(found, moved(HOME, AWAY));
        assert_eq!(endpoint.on_sample(at(400), Some(&proven(AWAY))), None);
    }

    #[test]
    fn a_return_to_the_first_address_is_no_change() {
        let mut endpoint = at_home();
        endpoint.on_sample(at(10), Some(&proven(AWAY)));
        assert_eq!(endpoint.on_sample(at(39), Some(&proven(HOME))), None);
        // The time begins again.
        endpoint.on_sample(at(45), Some(&proven(AWAY)));
        assert_eq!(endpoint.on_sample(at(74), Some(&proven(AWAY))), None);
        assert!(endpoint.on_sample(at(75), Some(&proven(AWAY))).is_some());
        for second in [100, 200] {
            assert_eq!(endpoint.on_sample(at(second), Some(&proven(HOME))), None);
        }
    }

    #[test]
    fn another_port_interface_id_or_mapped_address_is_no_change() {
        for (one, other) in [
            (HOME, "192.0.2.1:61000"),
            (HOME, "[::ffff:192.0.2.1]:5000"),
            ("[2001:db8:1:2::3]:5000", "[2001:db8:1:2:a:b:c:d]:9"),
        ] {
            let mut endpoint = EndpointTracker::new(at(0));
            endpoint.on_sample(at(1), Some(&proven(one)));
            for second in [10, 100, 1000] {
                let found = endpoint.on_sample(at(second), Some(&proven(other)));
                assert_eq!(found, None, "{other}");
            }
        }
        let mut endpoint = EndpointTracker::new(at(0));
        let (one, other) = ("[2001:db8:1:2::3]:1", "[2001:db8:1:3::3]:1");
        endpoint.on_sample(at(1), Some(&proven(one)));
        endpoint.on_sample(at(10), Some(&proven(other)));
        let found = endpoint.on_sample(at(40), Some(&proven(other)));
        assert_eq!(found, moved(one, other));
    }

    /// On interfaces that move an endpoint at the first message of a handshake.
    #[test]
    fn who_has_the_private_key_alone_moves_no_one() {
        let mut endpoint = at_home();
        let mut seen = unproven(AWAY);
        for second in 10..1000 {
            seen.received += UNPROVEN_BYTES_PER_SECOND;
            let found = endpoint.on_sample(at(second), Some(&seen));
            assert_eq!(found, None, "after {second} s");
        }
        // Nor before the owner has been seen at all.
        let mut endpoint = EndpointTracker::new(at(0));
        seen.last_handshake = None;
        assert_eq!(endpoint.on_sample(at(1), Some(&seen)), None);
        assert_eq!(endpoint.on_sample(at(2), Some(&proven(HOME))), None);
        assert_eq!(endpoint.on_sample(at(100), Some(&proven(HOME))), None);
    }

    #[test]
    fn a_handshake_or_payload_proves_that_it_is_the_peer_that_moved() {
        type Prove = fn(&mut Activity);
        let proofs: [Prove; 3] = [
            |seen| seen.last_handshake = Some(Timestamp::from_millis(2)),
            |seen| seen.received += 31 * UNPROVEN_BYTES_PER_SECOND + 1,
            |seen| seen.is_endpoint_proven = true,
        ];
        for prove in proofs {
            let mut endpoint = at_home();
            let mut seen = unproven(AWAY);
            endpoint.on_sample(at(10), Some(&seen));
            prove(&mut seen);
            assert_eq!(endpoint.on_sample(at(39), Some(&seen)), None);
            let found = endpoint.on_sample(at(40), Some(&seen));
            assert_eq!(found, moved(HOME, AWAY));
        }
    }

    #[test]
    fn an_interface_that_never_says_where_a_peer_is_is_given_up() {
        let mut nowhere = proven(HOME);
        nowhere.endpoint = None;
        for seen in [None, Some(&nowhere)] {
            let mut endpoint = at_home();
            assert_eq!(endpoint.on_sample(at(10), seen), None);
            assert_eq!(endpoint.on_sample(at(129), seen), None);
            assert_eq!(
                endpoint.on_sample(at(130), seen),
                Some(RoamingEvent::Unknown)
            );
        }
        // One that was never used is nowhere.
        let mut endpoint = EndpointTracker::new(at(0));
        let silent = Activity::silent(PublicKey::from_bytes([1; 32]));
        for second in [1, 1000] {
            assert_eq!(endpoint.on_sample(at(second), Some(&silent)), None);
        }
    }

    #[test]
    fn samples_are_far_apart_at_home_and_close_when_one_is_due() {
        let mut endpoint = at_home();
        assert_eq!(endpoint.next_sample(at(1)), at(30));
        assert_eq!(endpoint.next_sample(at(30)), at(60));
        endpoint.on_sample(at(60), Some(&proven(AWAY)));
        let mut looks = vec![];
        let mut now = at(60);
        while now < at(90) {
            now = endpoint.next_sample(now);
            looks.push(now.as_nanos() / 1_000_000_000);
        }
        assert_eq!(looks, [65, 70, 75, 82, 90]);
    }

    proptest! {
        /// Whatever a peer does, a change is told if and only if it stayed away for long enough.
        #[test]
        fn a_change_is_a_settled_stay_elsewhere(
            steps in prop::collection::vec((1..20_u64, prop::bool::weighted(0.8)), 1..60)
        ) {
            let mut endpoint = at_home();
            let (mut now, mut away_since, mut has_moved) = (1, None, false);
            for (wait, is_away) in steps {
                now += wait;
                let seen = proven(if is_away { AWAY } else { HOME });
                let found = endpoint.on_sample(at(now), Some(&seen));
                away_since = is_away.then(|| away_since.unwrap_or(now));
                let is_long = away_since.is_some_and(|since| now - since >= 30);
                prop_assert_eq!(found.is_some(), is_long && !has_moved);
                has_moved = is_away && (has_moved || is_long);
            }
        }
    }
}
