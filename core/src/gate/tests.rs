//! Tests of the machine against a real store in memory and an interface that is a map.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::assurance::{Assurance, FactorKind};
use crate::channel::message::{Answer, Refusal, Request};
use crate::factor::{Proof, VerifyError};
use crate::id::{FactorId, Generation, UserId};
use crate::interface::PeerConfig;
use crate::key::PresharedKey;
use crate::policy::Failures;
use crate::seal::{KeyId, KeyRing, RingKey, Sealed};
use crate::store::{
    Consume, FactorRecord, FactorState, MemoryStore, NewSession, Peer, PeerStore, User,
};
use crate::time::Timestamp;

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the store in memory waits for nothing"),
    }
}

const PEER: PublicKey = PublicKey::from_bytes([1; 32]);

struct World {
    machine: Machine,
    store: MemoryStore,
    interface: BTreeMap<PublicKey, PeerConfig>,
    ring: KeyRing,
    now: Now,
    next: u8,
    location: LocationId,
    replies: Vec<(AttemptId, Outcome)>,
    revoked: Vec<u64>,
    install_fails: bool,
    remove_fails: bool,
    store_fails: bool,
    is_down: bool,
    /// Disable the user right after the store has taken an admission.
    disabled_while_opening: bool,
}

impl World {
    fn new() -> Self {
        let now = Now {
            instant: Instant::from_nanos(1),
            timestamp: Timestamp::from_millis(1_700_000_000_000),
        };
        let location: LocationId = "office".parse().unwrap();
        let user: UserId = "ada".parse().unwrap();
        let store = MemoryStore::new();
        let event = || AuditEvent::new(now.timestamp, AuditKind::FactorActivated);
        let (id, enabled) = (user.clone(), true);
        ready(store.put_user(User { id, enabled }, event())).unwrap();
        let peer = Peer {
            location: location.clone(),
            key: PEER,
            user: user.clone(),
            allowed_ips: vec!["10.0.0.2/32".parse().unwrap()],
            label: String::new(),
            enabled,
        };
        ready(store.put_peer(peer, event())).unwrap();
        let factor = FactorRecord {
            id: FactorId::from_bytes([7; 16]),
            user,
            kind: FactorKind::TOTP,
            label: String::new(),
            sealed: Sealed::from_bytes(Vec::new()),
            state: FactorState::Active,
            last_step: None,
            failures: Failures::default(),
        };
        ready(store.add_factor(factor, event())).unwrap();
        let id: KeyId = "k1".parse().unwrap();
        let mut world = Self {
            machine: Machine::new(location.clone(), Policy::default(), now).unwrap(),
            store,
            interface: BTreeMap::new(),
            ring: KeyRing::new(id, RingKey::from_bytes([9; 32])),
            now,
            next: 0,
            location,
            replies: Vec::new(),
            revoked: Vec::new(),
            install_fails: false,
            remove_fails: false,
            store_fails: false,
            is_down: false,
            disabled_while_opening: false,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        let live = ready(self.store.live_sessions(&self.location)).unwrap();
        let policy = Policy::default();
        let sessions = live
            .iter()
            .map(|record| Grant::reseal(record, &self.ring, &policy, self.now).unwrap())
            .collect();
        let installed = self.interface.values().cloned().collect();
        self.input(Input::Start {
            sessions,
            unreadable: Vec::new(),
            installed,
        });
    }

    fn crash(&mut self) {
        self.machine = Machine::new(self.location.clone(), Policy::default(), self.now).unwrap();
        self.start();
    }

    fn input(&mut self, input: Input) {
        self.machine.handle_input(self.now, input);
        self.settle();
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant = self.now.instant + time;
        self.now.timestamp = self.now.timestamp + time;
        self.tick();
    }

    fn tick(&mut self) {
        self.machine.handle_timeout(self.now);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            if let Some(input) = self.carry_out(action) {
                self.machine.handle_input(self.now, input);
            }
        }
        let due = self.machine.poll_timeout(self.now);
        assert!(due.is_none_or(|(at, _)| at >= self.now.instant));
    }

    fn carry_out(&mut self, action: Action) -> Option<Input> {
        let done = |fails: bool| if fails { Err(Unavailable) } else { Ok(()) };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the others need no answer here"
        )]
        Some(match action {
            Action::Find { attempt, peer } => Input::Found {
                attempt,
                result: Ok(ready(self.store.enrolment(&self.location, &peer))
                    .unwrap()
                    .map(Box::new)),
            },
            Action::Challenge { attempt, subject } => Input::Challenged {
                attempt,
                result: Ok(crate::channel::message::Challenge::Code {
                    kind: subject.factor.kind.clone(),
                    label: String::new(),
                    digits: 6,
                    locked_for_ms: None,
                }),
            },
            Action::Verify {
                attempt,
                subject,
                answer: Answer::Code { code },
            } => Input::Verified {
                attempt,
                result: if code.expose_secret() == "111111" {
                    Ok(Proof {
                        factor: subject.factor.id,
                        assurance: Assurance {
                            kind: FactorKind::TOTP,
                            phishing_resistant: false,
                            user_verified: false,
                            replay_resistant: true,
                            authenticated_at: self.now.timestamp,
                        },
                        consume: Some(self.now.timestamp.as_secs() / 30),
                    })
                } else {
                    Err(VerifyError::Wrong)
                },
            },
            Action::RecordFailure { attempt, failure } => Input::FailureRecorded {
                attempt,
                result: ready(self.store.record_failure(*failure)).map_err(|_| Unavailable),
            },
            Action::Open {
                attempt,
                grant,
                event,
            } => self.open(attempt, grant, *event),
            Action::Reply { attempt, reply } => {
                self.replies.push((attempt, reply));
                return None;
            }
            Action::Install { peers, .. } => {
                let keys = peers.iter().map(|peer| peer.key).collect();
                if !self.install_fails {
                    self.interface.extend(peers.into_iter().map(|p| (p.key, p)));
                }
                Input::Installed {
                    peers: keys,
                    result: done(self.install_fails),
                }
            }
            Action::Remove { peers } => {
                if !self.remove_fails {
                    self.interface.retain(|key, _| !peers.contains(key));
                }
                Input::Removed {
                    peers,
                    result: done(self.remove_fails),
                }
            }
            Action::Fence => {
                self.is_down = true;
                Input::Fenced { result: Ok(()) }
            }
            Action::Close {
                session,
                reason,
                event,
            } => {
                if !self.store_fails {
                    ready(self.store.close_session(session, reason, *event)).unwrap();
                }
                Input::Closed {
                    session,
                    result: done(self.store_fails),
                }
            }
            Action::Check { peer, session } => Input::Checked {
                peer,
                session,
                result: Ok(self.standing(peer, session)),
            },
            Action::Revoked { ticket, .. } => {
                self.revoked.push(ticket);
                return None;
            }
            _ => return None,
        })
    }

    fn open(&mut self, attempt: AttemptId, grant: Grant, event: AuditEvent) -> Input {
        self.next += 1;
        let session = SessionId::from_bytes([self.next; 16]);
        let psk = PresharedKey::from_bytes([self.next; 32]);
        let terms = grant.terms().clone();
        let sealed = self
            .ring
            .seal(&terms.row(&session), psk.expose_secret())
            .unwrap();
        let proofs = grant.proofs().iter();
        let consume = proofs.clone().map(|p| Consume {
            factor: p.factor,
            step: p.consume,
        });
        let new = NewSession {
            id: session,
            location: terms.location,
            peer: terms.peer,
            user: terms.user,
            allowed_ips: terms.allowed_ips,
            verified_at: terms.verified_at,
            not_after: terms.not_after,
            psk: sealed,
            assurance: proofs.map(|p| p.assurance.clone()).collect(),
            consume: consume.collect(),
            throttle: Policy::default().throttle,
            event,
        };
        let result = ready(self.store.open_session(new)).map_err(|_| Unavailable);
        if self.disabled_while_opening {
            self.disable_user();
        }
        Input::Opened {
            attempt,
            grant,
            session,
            result: result.map(|opened| (opened, psk)),
        }
    }

    /// Disables the user in the store, which tells the machine at once.
    fn disable_user(&mut self) {
        let id: UserId = "ada".parse().unwrap();
        let event = AuditEvent::new(self.now.timestamp, AuditKind::UserPut { enabled: false });
        let user = User {
            id: id.clone(),
            enabled: false,
        };
        ready(self.store.put_user(user, event)).unwrap();
        let changed = Input::Changed {
            sessions: Vec::new(),
            peers: Vec::new(),
            users: vec![id],
        };
        self.machine.handle_input(self.now, changed);
    }

    fn standing(&self, peer: PublicKey, session: SessionId) -> Standing {
        let record = ready(self.store.session(session)).unwrap();
        let enrolment = ready(self.store.enrolment(&self.location, &peer)).unwrap();
        match record.map(|record| record.ended) {
            Some(Some((reason, _))) => Standing::Ended(reason),
            Some(None) if enrolment.is_some_and(|e| e.user.enabled && e.peer.enabled) => {
                Standing::Good
            }
            Some(None) | None => Standing::NotEligible,
        }
    }

    fn begin(&mut self, n: u8, peer: PublicKey) -> AttemptId {
        let attempt = AttemptId::from_bytes([n; 32]);
        self.input(Input::Hello {
            attempt,
            peer,
            ephemeral: [n; 32],
            sent_at: self.now.timestamp,
            intent: Intent::Begin,
            source: None,
        });
        attempt
    }

    fn answer(&mut self, attempt: AttemptId, code: &str) {
        let code = code.parse().unwrap();
        let request = Request::Answer {
            answer: Answer::Code { code },
        };
        self.input(Input::Request { attempt, request });
    }

    fn admit(&mut self, n: u8) {
        let attempt = self.begin(n, PEER);
        self.answer(attempt, "111111");
    }

    fn last(&self) -> &Outcome {
        &self.replies.last().unwrap().1
    }

    fn live(&self) -> usize {
        ready(self.store.live_sessions(&self.location))
            .unwrap()
            .len()
    }
}

#[test]
fn invariant_1_only_leased_peers_are_installed() {
    let mut world = World::new();
    let attempt = world.begin(1, PEER);
    world.answer(attempt, "222222");
    assert!(world.interface.is_empty());
    world.answer(attempt, "111111");
    assert_eq!(world.last(), &Outcome::Granted);
    assert!(world.interface.contains_key(&PEER));
}

#[test]
fn invariant_3_expiry_needs_no_store() {
    let mut world = World::new();
    world.admit(1);
    world.store_fails = true;
    world.pass(Policy::default().lease);
    assert!(world.interface.is_empty());
    assert_eq!(world.machine.lease_count(), 0);
}

#[test]
fn two_leases_never_share_a_session_and_with_it_their_end() {
    let world = World::new();
    let mut machine = Machine::new(world.location.clone(), Policy::default(), world.now).unwrap();
    let enrolment = ready(world.store.enrolment(&world.location, &PEER)).unwrap();
    let peer = enrolment.unwrap().peer;
    let restored = |key| {
        let (peer, location) = (
            Peer {
                key,
                ..peer.clone()
            },
            world.location.clone(),
        );
        let terms = Terms::begin(location, &peer, &Policy::default(), world.now);
        Restored {
            grant: Grant::assertion(terms, Vec::new()),
            session: SessionId::from_bytes([1; 16]),
            generation: Generation::new(1),
            psk: PresharedKey::from_bytes([1; 32]),
        }
    };
    let start = Input::Start {
        sessions: vec![restored(PEER), restored(PublicKey::from_bytes([2; 32]))],
        unreadable: Vec::new(),
        installed: Vec::new(),
    };
    machine.handle_input(world.now, start);
    assert_eq!(machine.leases().count(), 1);
}

#[test]
fn invariant_4_a_code_admits_once() {
    let mut world = World::new();
    let (a, b) = (world.begin(1, PEER), world.begin(2, PEER));
    world.answer(a, "111111");
    world.answer(b, "111111");
    assert!(matches!(world.last(), Outcome::Denied(_)));
    assert_eq!(world.live(), 1);
}

#[test]
fn invariant_7_a_failed_installation_admits_nobody() {
    let mut world = World::new();
    world.install_fails = true;
    world.admit(1);
    assert!(matches!(world.last(), Outcome::Refused(_)));
    assert_eq!((world.machine.lease_count(), world.live()), (0, 0));
}

#[test]
fn invariant_8_a_crash_heals_at_the_next_start() {
    let mut world = World::new();
    world.admit(1);
    let orphan = PublicKey::from_bytes([5; 32]);
    world.interface.clear();
    let config = PeerConfig::new(orphan, None, Vec::new());
    world.interface.insert(orphan, config);
    world.crash();
    assert!(world.machine.is_open());
    assert_eq!(world.interface.keys().collect::<Vec<_>>(), [&PEER]);
}

#[test]
fn invariant_9_a_revoke_is_a_removal_and_waits_until_it_is_durable() {
    let mut world = World::new();
    world.admit(1);
    world.store_fails = true;
    let scope = Scope::Peer(PEER);
    world.input(Input::Revoke { ticket: 3, scope });
    assert!(world.interface.is_empty());
    assert!(world.revoked.is_empty());
    world.store_fails = false;
    world.pass(Duration::from_secs(2));
    assert_eq!(
        (world.revoked.as_slice(), world.live()),
        ([3].as_slice(), 0)
    );
}

#[test]
fn a_user_who_is_disabled_while_the_store_admits_does_not_stay() {
    let mut world = World::new();
    world.disabled_while_opening = true;
    world.admit(1);
    assert!(world.interface.is_empty());
    assert_eq!(world.live(), 0);
}

#[test]
fn a_user_who_is_disabled_later_is_put_out() {
    let mut world = World::new();
    world.admit(1);
    assert_eq!(world.interface.len(), 1);
    world.disable_user();
    world.settle();
    assert!(world.interface.is_empty());
    assert_eq!(world.live(), 0);
}

#[test]
fn a_removal_that_keeps_failing_fences() {
    let mut world = World::new();
    world.admit(1);
    world.remove_fails = true;
    let scope = Scope::All;
    world.input(Input::Revoke { ticket: 1, scope });
    assert!(world.revoked.is_empty() && !world.is_down);
    world.pass(Duration::from_secs(11));
    assert!(world.is_down && !world.machine.is_open());
    assert_eq!(world.revoked, [1]);
}

#[test]
fn an_unknown_peer_leaves_no_state() {
    let mut world = World::new();
    world.begin(1, PublicKey::from_bytes([8; 32]));
    assert_eq!(world.last(), &Outcome::Refused(Refusal::NotEnrolled {}));
    assert_eq!(world.machine.attempt_count(), 0);
}

#[test]
fn a_wall_clock_step_forward_ends_a_lease_and_a_step_back_does_not_lengthen_it() {
    let mut world = World::new();
    world.admit(1);
    world.now.timestamp = Timestamp::from_millis(1_600_000_000_000);
    world.pass(Policy::default().lease);
    assert!(world.interface.is_empty());
    let mut world = World::new();
    world.admit(1);
    world.now.timestamp = world.now.timestamp + Policy::default().lease;
    world.tick();
    assert!(world.interface.is_empty());
}

#[test]
fn a_replayed_first_message_is_refused_and_disturbs_nobody() {
    let mut world = World::new();
    let attempt = world.begin(1, PEER);
    world.input(Input::Hello {
        attempt: AttemptId::from_bytes([2; 32]),
        peer: PEER,
        ephemeral: [1; 32],
        sent_at: world.now.timestamp,
        intent: Intent::Begin,
        source: None,
    });
    assert_eq!(world.last(), &Outcome::Refused(Refusal::Replay {}));
    world.answer(attempt, "111111");
    assert_eq!(world.last(), &Outcome::Granted);
}

#[test]
fn a_clock_that_is_off_is_refused_with_the_gates_time() {
    let mut world = World::new();
    let gate_time = world.now.timestamp;
    let off = Duration::from_secs(61);
    for (n, sent_at) in [(1, gate_time + off), (2, gate_time - off)] {
        world.input(Input::Hello {
            attempt: AttemptId::from_bytes([n; 32]),
            peer: PEER,
            ephemeral: [n; 32],
            sent_at,
            intent: Intent::Begin,
            source: None,
        });
        assert_eq!(
            world.last(),
            &Outcome::Refused(Refusal::Clock { gate_time })
        );
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_happens_only_leased_peers_are_installed(
        steps in proptest::collection::vec(0_u8..12, 1..30),
    ) {
        let mut world = World::new();
        let mut attempt = AttemptId::from_bytes([0; 32]);
        for (n, step) in (1_u8..).zip(steps) {
            match step {
                0 => attempt = world.begin(n, PEER),
                1 => world.answer(attempt, "111111"),
                2 => world.answer(attempt, "222222"),
                3 => world.admit(n),
                4 => world.input(Input::Revoke { ticket: n.into(), scope: Scope::All }),
                5 => world.pass(Duration::from_secs(31)),
                6 => world.pass(Policy::default().lease / 3),
                7 => world.install_fails = !world.install_fails,
                8 => world.remove_fails = !world.remove_fails,
                9 => world.store_fails = !world.store_fails,
                10 => world.crash(),
                _ => {
                    world.now.timestamp = world.now.timestamp + Duration::from_secs(3600);
                    world.tick();
                }
            }
            if world.revoked.contains(&n.into()) {
                assert_eq!(world.live(), 0);
            }
            let leased: Vec<_> = world.machine.leases().collect();
            assert!(leased.iter().all(|lease| !lease.terms().are_over(world.now)));
            if !world.remove_fails && !world.is_down {
                world.pass(Duration::from_secs(1));
                let leases: Vec<_> = world.machine.leases().map(|l| l.terms().peer).collect();
                assert!(world.interface.keys().all(|peer| leases.contains(peer)));
            }
        }
    }
}
