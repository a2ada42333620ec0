//! The simulated shell. What the machine asks for is *pending* until the test has it done, in
//! whatever order, and its answer is pending in turn until the test has it told; a crash loses
//! what is pending.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::fixtures;
use super::model::Model;
use crate::gate::persistence::StoredSessions;
use crate::gate::{Action, Event, Input, Machine, Outcome};
use crate::id::{AttemptId, CredentialId, SessionId};
use crate::interface::InterfaceBackend;
use crate::key::PublicKey;
use crate::policy::Policy;
use crate::seal::{KeyRing, RingKey};
use crate::store::{MemoryStore, PeerStore};
use crate::testing::FaultyStore;
use crate::testing::fake_interface::FakeInterface;
use crate::time::{Instant, Now, Timestamp};

/// The value of a future that waits for nothing.
pub(super) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the fakes wait for nothing"),
    }
}

/// What the shell still has to do.
#[derive(Debug)]
pub(super) enum Job {
    /// An action that has had no effect yet.
    Do(Action),
    /// An answer that the machine has not had yet.
    Tell(Input),
}

/// How far the gate has come. An embedder has it in hand once it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It could not read its store or its interface, or has not yet.
    Down,
    Reconciling,
    Open,
    Stopped,
}

/// What an authoriser says. One that panics or takes too long has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ruling {
    AsIs,
    ForAtMost(Duration),
    Refuses,
    Fails,
}

pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) policy: Policy,
    pub(super) now: Now,
    /// What the store holds, whatever the gate is told of it.
    pub(super) disk: MemoryStore,
    /// The store as the gate sees it.
    pub(super) store: FaultyStore,
    pub(super) interface: FakeInterface,
    pub(super) ring: KeyRing,
    pub(super) verifier_fails: bool,
    pub(super) verifier_is_busy: bool,
    /// The numbers that the verifiers have shown in each attempt.
    pub(super) shown: BTreeMap<AttemptId, Vec<u64>>,
    /// The enrolment token that was issued last.
    pub(super) token: String,
    /// How long the factors vouch for what they prove.
    pub(super) vouched: Option<Duration>,
    /// What a factor that a client enrols is known by.
    pub(super) credential: Option<CredentialId>,
    /// What the authoriser says, where there is one.
    pub(super) authoriser: Option<Ruling>,
    pub(super) pending: Vec<Job>,
    pub(super) replies: Vec<(AttemptId, Outcome)>,
    pub(super) events: Vec<Event>,
    pub(super) revoked: BTreeMap<u64, Vec<SessionId>>,
    pub(super) model: Model,
    pub(super) life: Life,
    /// Whether a change in the store has not been told to the gate.
    pub(super) is_unnoticed: bool,
    /// Peers with an interface operation under way.
    pub(super) operating: BTreeSet<PublicKey>,
    pub(super) bytes: u64,
    /// Peers that others changed on the interface, or took off, since the gate installed them.
    pub(super) meddled: BTreeSet<PublicKey>,
    /// Where peers are, by their endpoints.
    pub(super) places: BTreeMap<PublicKey, SocketAddr>,
    serial: u64,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(fixtures::policy())
    }

    pub(super) fn with(policy: Policy) -> Self {
        Self::under(policy, None)
    }

    /// A world whose model does not know what is asked for: it is for policies with groups.
    pub(super) fn unmodelled(policy: Policy) -> Self {
        let mut world = Self::with(policy);
        world.model.knows_no_steps();
        world
    }

    /// A world with an authoriser, if there is to be one.
    pub(super) fn under(policy: Policy, authoriser: Option<Ruling>) -> Self {
        let now = Now {
            instant: Instant::from_nanos(1),
            timestamp: Timestamp::from_millis(1_700_000_000_000),
        };
        let disk = MemoryStore::new();
        let ring = KeyRing::new("k1".parse().unwrap(), RingKey::from_bytes([9; 32]));
        fixtures::enrol(&disk, &ring, now.timestamp);
        let mut world = Self {
            machine: machine(&policy, authoriser, now),
            model: Model::new(policy.clone(), authoriser.is_some()),
            policy,
            now,
            store: FaultyStore::new(disk.clone()),
            disk,
            interface: FakeInterface::new(),
            ring,
            verifier_fails: false,
            verifier_is_busy: false,
            shown: BTreeMap::new(),
            token: String::new(),
            vouched: None,
            credential: None,
            authoriser,
            pending: Vec::new(),
            replies: Vec::new(),
            events: Vec::new(),
            revoked: BTreeMap::new(),
            life: Life::Down,
            is_unnoticed: false,
            operating: BTreeSet::new(),
            bytes: 0,
            meddled: BTreeSet::new(),
            places: BTreeMap::new(),
            serial: 0,
        };
        world.start();
        world.settle();
        world
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.life, Life::Reconciling | Life::Open)
    }

    pub(super) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    // Start and end of a run.

    /// Starts as the real shell does: reads the interface, then the store; where the store can't
    /// be read, clears the interface and does not start.
    pub(super) fn start(&mut self) {
        let Ok(installed) = ready(self.interface.list()) else {
            return;
        };
        let Ok(records) = ready(self.store.live_sessions(&fixtures::location())) else {
            let peers: Vec<_> = installed.iter().map(|peer| peer.key).collect();
            if ready(self.interface.remove(&peers)).is_err() {
                ready(self.interface.fence()).ok();
            }
            return;
        };
        let users = ready(self.disk.users()).unwrap();
        let stored = StoredSessions::of(records, &users, &self.policy, &self.ring, self.now);
        let unreadable = stored.unreadable.into_iter().map(|(record, _)| record);
        self.life = Life::Reconciling;
        self.is_unnoticed = false;
        self.input(Input::Start {
            sessions: stored.restored,
            unreadable: unreadable.collect(),
            refused: stored.refused,
            installed,
        });
        self.model.is_restored(self);
    }

    /// The process dies after those pending actions have had their effect whose bits are set.
    pub(super) fn crash_with(&mut self, effects: u64) {
        for (n, job) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            if let Job::Do(action) = job
                && n < 64
                && effects >> n & 1 == 1
            {
                self.carry_out(action);
            }
        }
        self.crash();
    }

    /// The process dies, with all that it knew and all that was pending, and starts again.
    pub(super) fn crash(&mut self) {
        self.machine = machine(&self.policy, self.authoriser, self.now);
        self.pending.clear();
        self.operating.clear();
        self.revoked.clear();
        self.model.crashed();
        self.life = Life::Down;
        if self.interface.is_fenced() || self.interface.is_gone() {
            self.interface.restart();
        }
        self.start();
    }

    // Time.

    pub(super) fn pass(&mut self, span: Duration) {
        self.now.instant = self.now.instant + span;
        self.now.timestamp = self.now.timestamp + span;
        self.tick();
    }

    pub(super) fn step_wall(&mut self, millis: i64) {
        let span = Duration::from_millis(millis.unsigned_abs());
        let wall = self.now.timestamp;
        self.now.timestamp = if millis < 0 { wall - span } else { wall + span };
        self.tick();
    }

    pub(super) fn tick(&mut self) {
        self.model.sees_time(self.now);
        self.machine.handle_timeout(self.now);
        self.drain();
        self.model.none_is_over(self);
        let due = self.machine.poll_timeout(self.now);
        assert!(
            due.is_none_or(|(at, _)| at > self.now.instant),
            "due again at once: {due:?}"
        );
    }

    // What goes into the machine, and what comes out.

    pub(super) fn input(&mut self, input: Input) {
        if let Input::Installed { peers, .. } | Input::Removed { peers, .. } = &input {
            self.operating.retain(|peer| !peers.contains(peer));
        }
        self.model.hears(&input, self.now, &self.machine);
        self.machine.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            self.model.announces(&event);
            if event == Event::Open {
                self.life = Life::Open;
            }
            self.events.push(event);
        }
        self.watch();
        while let Some(action) = self.machine.poll_action() {
            self.take(action);
        }
        self.watch();
    }

    /// Has the model look at everything.
    pub(super) fn watch(&mut self) {
        let mut model = std::mem::take(&mut self.model);
        model.looks_at(self);
        self.model = model;
    }

    fn take(&mut self, action: Action) {
        let mut model = std::mem::take(&mut self.model);
        model.asks(&action, self);
        self.model = model;
        match action {
            Action::Reply { attempt, reply } => self.replies.push((attempt, reply)),
            Action::Forget { .. } => {}
            Action::Revoked { ticket, sessions } => {
                let before = self.revoked.insert(ticket, sessions);
                assert!(before.is_none(), "ticket {ticket} is answered twice");
            }
            Action::Stopped => self.life = Life::Stopped,
            waits => {
                for peer in operated(&waits) {
                    let is_free = self.operating.insert(peer);
                    assert!(is_free, "two operations on {peer:?} at a time");
                }
                self.pending.push(Job::Do(waits));
            }
        }
    }

    // What is pending.

    /// Does the next bit of one of the pending jobs.
    pub(super) fn run(&mut self, index: usize) {
        if index >= self.pending.len() {
            return;
        }
        match self.pending.remove(index) {
            Job::Do(action) => {
                let answers = self.carry_out(action);
                let jobs = answers.into_iter().map(Job::Tell);
                self.pending.splice(index..index, jobs);
                self.watch();
            }
            Job::Tell(input) => self.input(input),
        }
    }

    /// Does all that is pending, in order, and what comes of it.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.pending.is_empty() {
                return;
            }
            self.run(0);
        }
        panic!("the machine never rests: {:?}", self.pending);
    }

    /// Does what is pending until a job of this kind is next, and says where it is.
    pub(super) fn settle_until(&mut self, is_meant: impl Fn(&Job) -> bool) -> usize {
        for _ in 0..10_000 {
            if let Some(index) = self.pending.iter().position(&is_meant) {
                return index;
            }
            self.run(0);
        }
        panic!("that never comes");
    }

    /// All faults end.
    pub(super) fn heal(&mut self) {
        self.store.heal();
        self.interface.heal();
        self.interface.come_back();
        self.verifier_fails = false;
        self.verifier_is_busy = false;
    }

    /// All faults end and some time passes: everything comes to its end.
    pub(super) fn recover(&mut self) {
        self.heal();
        if !self.is_running() {
            self.crash();
        }
        if self.is_unnoticed {
            self.notice();
        }
        for _ in 0..15 {
            self.settle();
            self.pass(Duration::from_secs(1));
        }
        // By then the interface has been compared, whatever the last time took.
        for _ in 0..7 {
            self.settle();
            self.pass(Duration::from_secs(20));
        }
        self.settle();
        self.model.is_settled(self);
        if self.interface.is_fenced() || self.interface.is_gone() || !self.is_running() {
            self.crash();
            self.recover();
        }
    }
}

fn machine(policy: &Policy, authoriser: Option<Ruling>, now: Now) -> Machine {
    let machine = Machine::new(fixtures::location(), policy.clone(), now).unwrap();
    match authoriser {
        Some(_) => machine.with_authoriser(),
        None => machine,
    }
}

/// Bytes that name a number and show no pattern of another one.
pub(super) fn spread<const N: usize>(serial: u64) -> [u8; N] {
    let mut bytes = [0xC3; N];
    bytes[..8].copy_from_slice(&serial.to_be_bytes());
    bytes
}

fn operated(action: &Action) -> Vec<PublicKey> {
    match action {
        Action::Install { peers, .. } => peers.iter().map(|peer| peer.key).collect(),
        Action::Remove { peers } => peers.clone(),
        _ => Vec::new(),
    }
}
