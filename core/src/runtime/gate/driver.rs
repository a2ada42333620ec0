//! Start, the passing of time, the store's changes, and stop.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::conversation::Conversations;
use super::perform::{guarded, shorten_leases};
use super::{EVENTS_KEPT, GateConfig, Shared, StartError};
use crate::channel::Responder;
use crate::gate::{Event, Grant, Input, Machine, Rules, Unavailable};
use crate::interface::{InterfaceBackend, PeerConfig};
use crate::key::PublicKey;
use crate::policy::Policy;
use crate::store::{ChangeSet, ChangeStream};
use crate::time::Instant;

/// The longest sleep while anything is due at all: a system that slept, or whose clock was set, is
/// noticed by then.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// Leases that are compared with the store at the same time. A start compares all of them, and a
/// store that is asked for ten thousand at once answers the last ones too late to be believed.
const CHECKS: usize = 32;
/// How long after the store's changes broke off they are asked for again.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// Brings a gate up, with its tasks. Where that fails, for whatever reason, peers of an earlier run
/// leave the interface.
pub(super) async fn start(
    config: GateConfig,
    stop: CancellationToken,
) -> Result<Arc<Shared>, StartError> {
    let interface = Arc::clone(&config.interface);
    let unmanaged = config.danger_unmanaged_peers.clone();
    let limit = config.timeouts.interface;
    // In a task of its own, since it calls foreign code: a panic there is a failed start.
    let starting = tokio::spawn(bring_up(config, stop.clone()));
    let started = AbortOnDropHandle::new(starting).await.unwrap_or_else(|_| {
        tracing::error!("a store, verifier, clock or backend panicked at the start");
        stop.cancel();
        Err(StartError::Panicked)
    });
    if started.is_err() {
        clear(interface, &unmanaged, limit).await;
    }
    started
}

async fn bring_up(config: GateConfig, stop: CancellationToken) -> Result<Arc<Shared>, StartError> {
    let GateConfig {
        location,
        private_key,
        key_ring,
        policy,
        store,
        interface,
        verifiers,
        authoriser,
        clock,
        timeouts,
        danger_unmanaged_peers,
    } = config;
    let verifiers: BTreeMap<_, _> = verifiers
        .into_iter()
        .map(|verifier| (verifier.kind(), verifier))
        .collect();
    if let Some(kind) = policy.kinds().find(|kind| !verifiers.contains_key(kind)) {
        return Err(StartError::NoVerifier { kind: kind.clone() });
    }
    let mut machine = Machine::new(location.clone(), policy.clone(), clock.now())?;
    if authoriser.is_some() {
        machine = machine.with_authoriser();
    }
    let (events, mut opened) = broadcast::channel(EVENTS_KEPT);
    let shared = Arc::new(Shared {
        machine: Mutex::new(machine),
        conversations: Conversations::default(),
        responder: Responder::new(private_key),
        location,
        ring: key_ring,
        throttle: policy.throttle,
        store,
        interface,
        verifiers,
        authoriser,
        clock,
        timeouts,
        unmanaged: danger_unmanaged_peers,
        wake: Notify::new(),
        alarm: AtomicU64::new(0),
        events,
        tickets: Mutex::default(),
        next_ticket: AtomicU64::new(0),
        checks: Semaphore::new(CHECKS),
        stopped: CancellationToken::new(),
        stop,
        tasks: TaskTracker::new(),
    });
    let installed = read_interface(&shared).await?;
    // From before the sessions are read, so that no change falls in between.
    let changes = shared.store.watch();
    let input = read_sessions(&shared, &policy, installed).await?;
    shared.tasks.spawn(drive(Arc::clone(&shared)));
    shared.tasks.spawn(watch(Arc::clone(&shared), changes));
    shared.input(input);
    let open = async {
        loop {
            match opened.recv().await {
                Ok(Event::Open) => return true,
                // Among the events that were missed may be the one that is waited for.
                Err(broadcast::error::RecvError::Lagged(_)) if shared.machine().is_open() => {
                    return true;
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return false,
            }
        }
    };
    if !tokio::time::timeout(timeouts.start, open)
        .await
        .unwrap_or(false)
    {
        shared.stop.cancel();
        shared.tasks.wait().await;
        return Err(StartError::NotReconciled);
    }
    Ok(shared)
}

async fn read_interface(shared: &Arc<Shared>) -> Result<Vec<PeerConfig>, StartError> {
    let interface = Arc::clone(&shared.interface);
    let list = async move { interface.list().await };
    let listed = guarded(shared.timeouts.start, list).await;
    let mut peers = listed
        .map_err(|_| StartError::NotReconciled)?
        .map_err(StartError::Interface)?;
    peers.retain(|peer| !shared.unmanaged.contains(&peer.key));
    Ok(peers)
}

/// The sessions of earlier runs: those that open under the ring are restored, the others end.
async fn read_sessions(
    shared: &Arc<Shared>,
    policy: &Policy,
    mut installed: Vec<PeerConfig>,
) -> Result<Input, StartError> {
    // Foreign code, whose panic the caller of this takes for a failed start.
    let listed = shared.clock.now();
    let (store, location) = (Arc::clone(&shared.store), shared.location.clone());
    let read = async move { store.live_sessions(&location).await };
    let read = guarded(shared.timeouts.start, read).await;
    let records = read
        .map_err(|_| StartError::NotReconciled)?
        .map_err(StartError::Store)?;
    let store = Arc::clone(&shared.store);
    let read = guarded(shared.timeouts.start, async move { store.users().await }).await;
    let users = read
        .map_err(|_| StartError::NotReconciled)?
        .map_err(StartError::Store)?;
    let groups: BTreeMap<_, _> = users.iter().map(|user| (&user.id, &user.groups)).collect();
    let mut rules = Rules::new(policy.clone());
    let now = shared.clock.now();
    shorten_leases(&mut installed, now.instant.saturating_since(listed.instant));
    let (mut sessions, mut unreadable) = (Vec::new(), Vec::new());
    for record in records {
        if shared.unmanaged.contains(&record.peer) {
            tracing::warn!(session = %record.id, "a session of a peer that is left alone ends");
            unreadable.push(record);
            continue;
        }
        let groups = groups.get(&record.user).map_or(&[][..], |groups| groups);
        match Grant::reseal(&record, &shared.ring, rules.of(groups), now) {
            Ok(restored) => sessions.push(restored),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(session = %record.id, error, "a stored session does not open");
                unreadable.push(record);
            }
        }
    }
    Ok(Input::Start {
        sessions,
        unreadable,
        installed,
    })
}

/// Takes every peer off an interface that no gate came up for; takes the interface down if that
/// fails.
async fn clear(
    interface: Arc<dyn InterfaceBackend>,
    unmanaged: &BTreeSet<PublicKey>,
    limit: Duration,
) {
    let called = Arc::clone(&interface);
    let list = guarded(limit, async move { called.list().await }).await;
    let removed = match list {
        Ok(Ok(peers)) => {
            let peers = peers.into_iter().map(|peer| peer.key);
            let peers: Vec<_> = peers.filter(|peer| !unmanaged.contains(peer)).collect();
            let called = Arc::clone(&interface);
            let remove = async move { called.remove(&peers).await };
            matches!(guarded(limit, remove).await, Ok(Ok(())))
        }
        Ok(Err(_)) | Err(Unavailable) => false,
    };
    if !removed {
        tracing::error!("the gate did not start: taking the interface down");
        let fence = async move { interface.fence().await };
        if !matches!(guarded(limit, fence).await, Ok(Ok(()))) {
            tracing::error!("the interface could not be taken down: do it by hand");
        }
    }
}

/// Lets the machine see the time whenever something is due, until the gate has stopped.
async fn drive(shared: Arc<Shared>) {
    let mut stopping = false;
    loop {
        let due = {
            let now = shared.now();
            let machine = shared.machine();
            let next = machine.poll_timeout(now);
            let due = next.map(|(at, _)| at.min(now.instant + LONGEST_SLEEP));
            let alarm = due.map_or(u64::MAX, Instant::as_nanos);
            shared.alarm.store(alarm, Ordering::Relaxed);
            due.map(|at| at.saturating_since(now.instant))
        };
        let sleep = async {
            match due {
                Some(span) => tokio::time::sleep(span).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => shared.tick(),
            () = shared.wake.notified() => {}
            () = shared.stop.cancelled(), if !stopping => {
                stopping = true;
                shared.input(Input::Stop);
                let stopper = Arc::clone(&shared);
                shared.tasks.spawn(async move { stopper.stop_in_time().await });
            }
            () = shared.stopped.cancelled() => break,
        }
    }
    shared.tasks.close();
}

impl Shared {
    /// Waits for the peers to leave; takes the interface down when they don't.
    async fn stop_in_time(&self) {
        let limit = self.timeouts.shutdown;
        if tokio::time::timeout(limit, self.stopped.cancelled())
            .await
            .is_ok()
        {
            return;
        }
        tracing::error!(location = %self.location, "peers did not leave in time: taking the interface down");
        let interface = Arc::clone(&self.interface);
        let fence = async move { interface.fence().await };
        if !matches!(guarded(self.timeouts.interface, fence).await, Ok(Ok(()))) {
            tracing::error!(location = %self.location, "the interface could not be taken down: do it by hand");
        }
        self.stopped.cancel();
    }
}

/// Tells the machine of the store's changes until the gate stops. The store's own code runs in a
/// task of its own: where it panics, the changes have broken off like any other time.
async fn watch(shared: Arc<Shared>, changes: ChangeStream) {
    let mut changes = Some(changes);
    loop {
        let following = tokio::spawn(follow(Arc::clone(&shared), changes.take()));
        let following = AbortOnDropHandle::new(following);
        tokio::select! {
            ended = following => if ended.is_err() {
                tracing::error!(location = %shared.location, "the store panicked");
            },
            () = shared.stop.cancelled() => return,
        }
        tokio::time::sleep(WATCH_AGAIN).await;
    }
}

/// Follows the store's changes until they break off. Without a stream it listens anew, and has
/// every lease checked, since changes may have been missed.
async fn follow(shared: Arc<Shared>, changes: Option<ChangeStream>) {
    let mut changes = match changes {
        Some(changes) => changes,
        None => {
            let changes = shared.store.watch();
            let machine = shared.machine();
            let peers = machine.leases().map(|lease| lease.terms().peer).collect();
            drop(machine);
            shared.input(changed(ChangeSet {
                peers,
                ..ChangeSet::default()
            }));
            changes
        }
    };
    loop {
        match poll_fn(|context| changes.as_mut().poll_next(context)).await {
            Some(Ok(set)) => shared.input(changed(set)),
            Some(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(location = %shared.location, error, "the store's changes broke off");
                return;
            }
            None => {
                tracing::warn!(location = %shared.location, "the store's changes ended");
                return;
            }
        }
    }
}

fn changed(set: ChangeSet) -> Input {
    let ChangeSet {
        sessions,
        peers,
        users,
    } = set;
    Input::Changed {
        sessions,
        peers,
        users,
    }
}
