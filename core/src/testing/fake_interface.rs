//! An [`InterfaceBackend`] that is a map, and that fails where a test tells it to.
//!
//! It keeps to the contract unless a [`Fault`] is scheduled, so it shows what a gate does when a
//! real interface refuses, does half of what it was told, or never answers. It passes no packets.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::PublicKey;

/// An interface in memory. Share it by `Arc`: the gate holds one end, the test the other.
#[derive(Debug, Default)]
pub struct FakeInterface {
    state: Mutex<State>,
}

/// A call that an interface can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`InterfaceBackend::install`]
    Install,
    /// [`InterfaceBackend::renew`]
    Renew,
    /// [`InterfaceBackend::remove`]
    Remove,
    /// [`InterfaceBackend::list`]
    List,
    /// [`InterfaceBackend::activity`]
    Activity,
    /// [`InterfaceBackend::fence`]
    Fence,
}

/// What goes wrong in one call. Of a batch, "part" is the first half, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens, and the call fails.
    Fail,
    /// The first part of the batch is applied, and the call fails.
    ApplyPartThenFail,
    /// All of it is applied, and the call fails anyway.
    ApplyThenFail,
    /// Nothing happens, and the call never returns.
    Hang,
    /// All of it is applied, and the call never returns.
    ApplyThenHang,
}

/// One call as the interface saw it, with the peers it named, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was asked for.
    pub operation: Operation,
    /// Whom it named; empty for `list` and `fence`.
    pub peers: Vec<PublicKey>,
    /// What went wrong, if something was scheduled to.
    pub fault: Option<Fault>,
}

impl FakeInterface {
    /// An empty interface that works.
    pub fn new() -> Self {
        Self::default()
    }

    /// Schedules a fault for the next call of `operation` that has none scheduled yet. Faults of
    /// one operation are met in the order in which they were scheduled; then it works again.
    pub fn fail_next(&self, operation: Operation, fault: Fault) {
        self.lock()
            .scheduled
            .entry(operation)
            .or_default()
            .push_back(fault);
    }

    /// Every call of `operation` meets this fault, once the scheduled ones are spent, until
    /// [`heal`](Self::heal).
    pub fn fail_always(&self, operation: Operation, fault: Fault) {
        self.lock().always.insert(operation, fault);
    }

    /// Takes back every fault that is still to come. What is fenced stays fenced.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.scheduled.clear();
        state.always.clear();
    }

    /// The peers that are on the interface now.
    pub fn installed(&self) -> BTreeMap<PublicKey, PeerConfig> {
        self.lock().installed.clone()
    }

    /// Puts a peer there behind the gate's back, as a crash or a stranger might.
    pub fn plant(&self, peer: PeerConfig) {
        self.lock().installed.insert(peer.key, peer);
    }

    /// Sets what [`activity`](InterfaceBackend::activity) tells of a peer while it is installed.
    /// Removing or replacing the peer forgets it, as a real interface does.
    pub fn set_activity(&self, activity: Activity) {
        self.lock().activity.insert(activity.key, activity);
    }

    /// All calls so far, oldest first, including those that failed or hang.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Whether the interface was taken down.
    pub fn is_fenced(&self) -> bool {
        self.lock().fenced
    }

    /// From now on it outlives the process and ends leases by itself, as behind a lease guard.
    pub fn end_leases(&self) {
        self.lock().ends_leases = true;
    }

    /// Whether it was left to the next process.
    pub fn is_left(&self) -> bool {
        self.lock().is_left
    }

    /// Whether the interface is gone for good.
    pub fn is_gone(&self) -> bool {
        self.lock().gone
    }

    /// The interface is not there, as when the program that runs it ends: its peers are gone with
    /// it, and the peer that is to be removed is removed.
    pub fn go_away(&self) {
        let mut state = self.lock();
        state.away = true;
        state.installed.clear();
        state.activity.clear();
    }

    /// The interface is there again, empty.
    pub fn come_back(&self) {
        self.lock().away = false;
    }

    /// The interface is gone for good, as when it was deleted.
    pub fn vanish(&self) {
        let mut state = self.lock();
        state.gone = true;
        state.installed.clear();
        state.activity.clear();
    }

    /// Removes a peer behind the gate's back.
    pub fn take_off(&self, peer: &PublicKey) {
        self.lock().installed.remove(peer);
    }

    /// Takes the interface up again, empty, as a restart of the host would.
    pub fn restart(&self) {
        let mut state = self.lock();
        state.fenced = false;
        state.gone = false;
        state.away = false;
        state.installed.clear();
        state.activity.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a test thread must not hide what the interface holds.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the call and applies `change` to as many of `items` as the fault leaves.
    async fn run<T>(
        &self,
        operation: Operation,
        items: Vec<T>,
        key: impl Fn(&T) -> PublicKey,
        change: impl Fn(&mut State, T),
    ) -> Result<(), InterfaceError> {
        let fault = {
            let mut state = self.lock();
            let peers = items.iter().map(key).collect();
            let fault = state.begin(operation, peers);
            if (state.fenced || state.gone) && operation != Operation::Fence {
                return Err(InterfaceError::Down);
            }
            if state.away && !matches!(operation, Operation::Fence | Operation::Remove) {
                return Err(InterfaceError::Away);
            }
            let applied = match fault {
                None | Some(Fault::ApplyThenFail | Fault::ApplyThenHang) => items.len(),
                Some(Fault::ApplyPartThenFail) => items.len().div_ceil(2),
                Some(Fault::Fail | Fault::Hang) => 0,
            };
            for item in items.into_iter().take(applied) {
                change(&mut state, item);
            }
            fault
        };
        end(fault).await
    }
}

#[async_trait]
impl InterfaceBackend for FakeInterface {
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.run(Operation::Install, peers, |p| p.key, State::replace)
            .await
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        self.run(
            Operation::Renew,
            peers,
            |peer| peer.key,
            |state, peer| {
                state.installed.insert(peer.key, peer);
            },
        )
        .await
    }

    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        self.run(
            Operation::Remove,
            peers.to_vec(),
            |key| *key,
            |state, key| {
                state.installed.remove(&key);
                state.activity.remove(&key);
            },
        )
        .await
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        self.run(Operation::List, Vec::new(), |key| *key, |_, _| ())
            .await?;
        // Like most, it does not know of leases.
        let installed = self.lock().installed.clone().into_values();
        Ok(installed
            .map(|peer| PeerConfig {
                lease: None,
                ..peer
            })
            .collect())
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        self.run(Operation::Activity, peers.to_vec(), |key| *key, |_, _| ())
            .await?;
        let state = self.lock();
        Ok(peers
            .iter()
            .filter(|key| state.installed.contains_key(key))
            .map(|key| {
                let known = state.activity.get(key).copied();
                known.unwrap_or_else(|| Activity::silent(*key))
            })
            .collect())
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        // One item, so that a fault decides whether the interface goes down.
        self.run(
            Operation::Fence,
            vec![()],
            |()| PublicKey::from_bytes([0; 32]),
            |state, ()| {
                state.fenced = true;
                state.installed.clear();
                state.activity.clear();
            },
        )
        .await
    }

    fn outlives_process(&self) -> bool {
        self.lock().ends_leases
    }

    fn ends_leases(&self) -> bool {
        self.lock().ends_leases
    }

    async fn leave(&self) -> Result<(), InterfaceError> {
        self.lock().is_left = true;
        Ok(())
    }
}

#[derive(Debug, Default)]
struct State {
    installed: BTreeMap<PublicKey, PeerConfig>,
    activity: BTreeMap<PublicKey, Activity>,
    scheduled: BTreeMap<Operation, VecDeque<Fault>>,
    always: BTreeMap<Operation, Fault>,
    calls: Vec<Call>,
    fenced: bool,
    ends_leases: bool,
    is_left: bool,
    away: bool,
    gone: bool,
}

impl State {
    fn begin(&mut self, operation: Operation, peers: Vec<PublicKey>) -> Option<Fault> {
        let scheduled = self
            .scheduled
            .get_mut(&operation)
            .and_then(VecDeque::pop_front);
        let fault = scheduled.or_else(|| self.always.get(&operation).copied());
        let peers = if operation == Operation::Fence {
            Vec::new()
        } else {
            peers
        };
        self.calls.push(Call {
            operation,
            peers,
            fault,
        });
        fault
    }

    fn replace(&mut self, peer: PeerConfig) {
        self.activity.remove(&peer.key);
        self.installed.insert(peer.key, peer);
    }
}

async fn end(fault: Option<Fault>) -> Result<(), InterfaceError> {
    match fault {
        None => Ok(()),
        Some(Fault::Hang | Fault::ApplyThenHang) => std::future::pending().await,
        Some(Fault::Fail | Fault::ApplyPartThenFail | Fault::ApplyThenFail) => {
            Err(InterfaceError::Backend(Box::new(Scheduled)))
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a fault scheduled by the test")]
struct Scheduled;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn peer(n: u8) -> PeerConfig {
        PeerConfig::new(PublicKey::from_bytes([n; 32]), None, Vec::new())
    }

    #[tokio::test]
    async fn a_scheduled_fault_is_met_once_and_in_order() {
        let interface = FakeInterface::new();
        interface.fail_next(Operation::Install, Fault::ApplyPartThenFail);
        interface.fail_next(Operation::Install, Fault::Fail);

        let three = vec![peer(1), peer(2), peer(3)];
        assert!(interface.install(three).await.is_err());
        assert_eq!(interface.installed().len(), 2);
        assert!(interface.install(vec![peer(4)]).await.is_err());
        assert_eq!(interface.installed().len(), 2);
        interface.install(vec![peer(4)]).await.unwrap();
        assert_eq!(interface.installed().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_removal_says_whether_it_was_applied() {
        let interface = FakeInterface::new();
        interface.install(vec![peer(1), peer(2)]).await.unwrap();
        interface.fail_next(Operation::Remove, Fault::Hang);
        interface.fail_always(Operation::Remove, Fault::ApplyThenHang);

        let hour = Duration::from_secs(3600);
        let (one, two) = ([peer(1).key], [peer(2).key]);
        assert!(
            tokio::time::timeout(hour, interface.remove(&one))
                .await
                .is_err()
        );
        assert_eq!(interface.installed().len(), 2);
        assert!(
            tokio::time::timeout(hour, interface.remove(&two))
                .await
                .is_err()
        );
        assert_eq!(interface.installed().len(), 1);
        interface.heal();
        interface.remove(&one).await.unwrap();
        assert!(interface.installed().is_empty());
    }

    #[tokio::test]
    async fn a_fenced_interface_is_empty_and_refuses() {
        let interface = FakeInterface::new();
        interface.install(vec![peer(1)]).await.unwrap();
        interface.fence().await.unwrap();

        assert!(interface.installed().is_empty() && interface.is_fenced());
        let refused = interface.install(vec![peer(1)]).await;
        assert!(matches!(refused, Err(InterfaceError::Down)));
        assert!(matches!(interface.list().await, Err(InterfaceError::Down)));
    }
}
