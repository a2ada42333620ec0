//! Another policy while the gate runs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mfagate::assurance::FactorKind;
use mfagate::audit::EndReason;
use mfagate::channel::message::Answer;
use mfagate::code::ErrorCode;
use mfagate::enrol::Registrar;
use mfagate::factor::{Context, IssuedChallenge, MfaVerifier, Verdict, VerifyError};
use mfagate::gate::{Gate, RevokeError, Scope};
use mfagate::id::UserId;
use mfagate::policy::{GroupRule, Policy, Step};
use mfagate::seal::KeyRing;
use mfagate::store::{AdminStore, MemoryStore, PeerStore};
use mfagate::testing::fake_interface::FakeInterface;
use mfagate::testing::{FaultyStore, StoreCall, StoreFault};

use super::{FaultyVerifier, MOMENT, Mood, Visitor, config, is_granted, is_unavailable, location};

const HOUR: Duration = Duration::from_secs(3600);

/// A factor that no one has.
struct Unheld;

#[async_trait]
impl MfaVerifier for Unheld {
    fn kind(&self) -> FactorKind {
        FactorKind::DEVICE_KEY
    }

    async fn challenge(&self, _: &Context<'_>) -> Result<IssuedChallenge, VerifyError> {
        Err(VerifyError::Wrong)
    }

    async fn verify(&self, _: &Context<'_>, _: &Answer) -> Result<Verdict, VerifyError> {
        Err(VerifyError::Wrong)
    }
}

/// A gate that could ask for more than a one-time password.
struct Site {
    gate: Gate,
    store: FaultyStore,
    registrar: Registrar,
    ring: KeyRing,
    interface: Arc<FakeInterface>,
    verifier: Arc<FaultyVerifier>,
    alice: Visitor,
    bob: Visitor,
}

impl Site {
    async fn open() -> Self {
        let interface = Arc::new(FakeInterface::new());
        let store = FaultyStore::new(MemoryStore::new());
        let (mut config, clock) = config(&store, interface.clone());
        let verifier = Arc::new(FaultyVerifier::default());
        config.verifiers.push(verifier.clone());
        config.verifiers.push(Arc::new(Unheld));
        let shared: Arc<dyn AdminStore> = Arc::new(store.clone());
        let registrar = Registrar::new(shared, config.key_ring.clone(), Arc::clone(&clock));
        config.policy.groups = by_group();
        let ring = config.key_ring.clone();
        let gate = Gate::start(config).await.unwrap();
        let alice = Visitor::enrol(&registrar, gate.clone(), Arc::clone(&clock), "alice");
        let alice = alice.await;
        let bob = Visitor::enrol(&registrar, gate.clone(), clock, "bob").await;
        Self {
            gate,
            store,
            registrar,
            ring,
            interface,
            verifier,
            alice,
            bob,
        }
    }

    /// Puts alice into this group alone, and waits until her session is held to its rules.
    async fn regroup_alice(&self, group: &str) -> Result<(), RevokeError> {
        let alice: UserId = "alice".parse().unwrap();
        let groups = vec![group.parse().unwrap()];
        self.registrar.put_groups(&alice, groups).await.unwrap();
        self.gate.recheck(Scope::User(alice)).await.map(|_| ())
    }

    /// What is left of alice's session, by the gate and by the interface.
    fn left(&self) -> (Duration, Duration) {
        let now = self.alice.clock.now().timestamp;
        let [session] = &self.gate.sessions()[..] else {
            panic!("one session")
        };
        let installed = &self.interface.installed()[&self.alice.peer()];
        let left = session.not_after.saturating_since(now);
        (left, installed.lease.unwrap())
    }
}

/// Contractors are in for an hour, externals only by a factor that no one has.
fn by_group() -> Vec<GroupRule> {
    let mut contractors = GroupRule::new("contractors".parse().unwrap());
    contractors.lease = Some(HOUR);
    let mut externals = GroupRule::new("externals".parse().unwrap());
    externals.steps = Some(vec![Step::AnyOf(vec![FactorKind::DEVICE_KEY])]);
    vec![contractors, externals]
}

fn hours(hours: u32) -> Policy {
    let mut policy = Policy::default();
    (policy.lease, policy.max_age) = (HOUR * hours, HOUR * hours);
    policy
}

/// Asks for what a one-time password does not prove.
fn stricter() -> Policy {
    let mut policy = hours(8);
    let either = [FactorKind::TOTP, FactorKind::DEVICE_KEY];
    policy.steps = vec![Step::AnyOf(either.to_vec())];
    policy.require.phishing_resistant = true;
    policy
}

#[tokio::test(start_paused = true)]
async fn another_policy_shortens_live_leases_and_lengthens_none() {
    let site = Site::open().await;
    assert!(is_granted(&site.alice.sign_in(true).await));
    assert_eq!(site.left().0, 8 * HOUR);

    site.gate.set_policy(hours(1)).await.unwrap();
    tokio::time::sleep(MOMENT).await;
    let (lease, installed) = site.left();
    assert!(lease <= HOUR && lease + MOMENT * 2 > HOUR, "{lease:?}");
    // What ends leases beside the gate is told as well.
    assert!(installed <= HOUR, "{installed:?}");

    site.gate.set_policy(hours(8)).await.unwrap();
    assert!(site.left().0 <= HOUR);
    tokio::time::sleep(HOUR).await;
    assert!(site.gate.sessions().is_empty() && site.interface.installed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_policy_ends_weaker_sessions_and_new_attempts_obey_it() {
    let site = Site::open().await;
    assert!(is_granted(&site.alice.sign_in(true).await));
    let session = site.gate.sessions()[0].session;

    site.gate.set_policy(stricter()).await.unwrap();
    tokio::time::sleep(MOMENT).await;

    assert!(site.gate.sessions().is_empty() && site.interface.installed().is_empty());
    let record = site.store.session(session).await.unwrap().unwrap();
    assert_eq!(record.ended.unwrap().0, EndReason::PolicyChanged);
    assert!(!is_granted(&site.bob.sign_in(true).await));

    site.gate.set_policy(hours(8)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(is_granted(&site.bob.sign_in(true).await));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_under_way_is_refused_when_the_policy_changes() {
    let site = Site::open().await;
    let hangs = (site.bob.peer(), Mood::Hangs);
    site.verifier.0.lock().unwrap().extend([hangs]);
    let begun = tokio::time::Instant::now();
    let bob = site.bob.clone();
    let attempt = tokio::spawn(async move { bob.sign_in(true).await });
    tokio::time::sleep(MOMENT).await;

    site.gate.set_policy(hours(1)).await.unwrap();

    assert!(is_unavailable(&attempt.await.unwrap()));
    assert_eq!(begun.elapsed(), MOMENT, "it waits for nothing");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_can_t_be_had_changes_nothing() {
    let site = Site::open().await;
    assert!(is_granted(&site.alice.sign_in(true).await));

    let mut nothing = hours(1);
    nothing.steps.clear();
    let refused = site.gate.set_policy(nothing).await;
    assert!(matches!(&refused, Err(error) if error.code().starts_with("policy-")));
    let mut unserved = hours(1);
    unserved.steps = vec![Step::AnyOf(vec![FactorKind::PASSWORD])];
    let refused = site.gate.set_policy(unserved).await;
    assert!(matches!(&refused, Err(error) if error.code() == "policy-change-no-verifier"));
    site.store
        .fail_always(StoreCall::LiveSessions, StoreFault::Fail);
    let refused = site.gate.set_policy(hours(1)).await;
    assert!(matches!(&refused, Err(error) if error.code().starts_with("store-")));
    site.store.heal();

    assert_eq!(site.left().0, 8 * HOUR);
    assert!(is_granted(&site.bob.sign_in(true).await));
    let live = site.store.live_sessions(&location()).await.unwrap();
    assert_eq!(live.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_policy_for_a_gate_that_has_stopped_is_an_error() {
    let site = Site::open().await;
    site.gate.set_policy(hours(1)).await.unwrap();
    site.gate.shutdown().await;

    let refused = site.gate.set_policy(hours(8)).await;

    assert!(matches!(&refused, Err(error) if error.code() == "policy-change-gate-closed"));
}

#[tokio::test(start_paused = true)]
async fn another_group_counts_for_a_live_session_when_a_recheck_returns() {
    let site = Site::open().await;
    assert!(is_granted(&site.alice.sign_in(true).await));
    assert_eq!(site.left().0, 8 * HOUR);
    let session = site.gate.sessions()[0].session;

    site.regroup_alice("staff").await.unwrap();
    assert_eq!(site.left().0, 8 * HOUR, "no rule is for that group");
    site.regroup_alice("contractors").await.unwrap();
    assert_eq!(site.left().0, HOUR);
    site.regroup_alice("staff").await.unwrap();
    assert_eq!(site.left().0, HOUR, "nothing becomes longer");
    site.regroup_alice("externals").await.unwrap();
    assert!(site.gate.sessions().is_empty() && site.interface.installed().is_empty());
    let record = site.store.session(session).await.unwrap().unwrap();
    assert_eq!(record.ended.unwrap().0, EndReason::PolicyChanged);
}

#[tokio::test(start_paused = true)]
async fn a_recheck_says_that_it_could_not_judge_by_the_groups() {
    let site = Site::open().await;
    assert!(is_granted(&site.alice.sign_in(true).await));
    site.store
        .fail_always(StoreCall::LiveSessions, StoreFault::Fail);
    assert_eq!(site.regroup_alice("externals").await, Err(RevokeError));
    site.store.heal();
    site.regroup_alice("externals").await.unwrap();
    assert!(site.interface.installed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_changed_while_no_gate_ran_counts_at_the_next_start() {
    let site = Site::open().await;
    assert!(is_granted(&site.alice.sign_in(true).await));
    let session = site.gate.sessions()[0].session;
    site.gate.shutdown().await;

    let start = async |policy| {
        let (mut config, _) = config(&site.store, site.interface.clone());
        config.key_ring = site.ring.clone();
        config.verifiers.push(site.verifier.clone());
        config.verifiers.push(Arc::new(Unheld));
        config.policy = policy;
        Gate::start(config).await.unwrap()
    };
    let gate = start(hours(8)).await;
    assert_eq!(gate.sessions().len(), 1, "the same policy keeps it");
    gate.shutdown().await;
    let gate = start(stricter()).await;
    assert!(gate.sessions().is_empty() && site.interface.installed().is_empty());
    tokio::time::sleep(MOMENT).await;
    let record = site.store.session(session).await.unwrap().unwrap();
    assert_eq!(record.ended.unwrap().0, EndReason::PolicyChanged);
}
