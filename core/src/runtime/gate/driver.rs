//! Start, the passing of time, the store's changes, and stop.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::conversation::Conversations;
use super::{EVENTS_KEPT, GateConfig, Shared, StartError};
use crate::channel::Responder;
use crate::gate::{Event, Grant, Input, Machine};
use crate::interface::{InterfaceBackend, PeerConfig};
use crate::policy::Policy;
use crate::store::ChangeSet;
use crate::time::Instant;

/// The longest sleep while anything is due at all: a system that slept, or whose clock was set, is
/// noticed by then.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// How long after the store's changes broke off they are asked for again.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// Brings a gate up, with its tasks.
pub(super) async fn start(
    config: GateConfig,
    stop: CancellationToken,
) -> Result<Arc<Shared>, StartError> {
    let GateConfig {
        location,
        private_key,
        key_ring,
        policy,
        store,
        interface,
        verifiers,
        clock,
        timeouts,
        danger_unmanaged_peers,
    } = config;
    let verifiers: std::collections::BTreeMap<_, _> = verifiers
        .into_iter()
        .map(|verifier| (verifier.kind(), verifier))
        .collect();
    if let Some(kind) = policy
        .any_of
        .iter()
        .find(|kind| !verifiers.contains_key(kind))
    {
        return Err(StartError::NoVerifier { kind: kind.clone() });
    }
    let machine = Machine::new(location.clone(), policy.clone(), clock.now())?;
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
        clock,
        timeouts,
        unmanaged: danger_unmanaged_peers,
        wake: Notify::new(),
        alarm: AtomicU64::new(0),
        events,
        tickets: Mutex::default(),
        next_ticket: AtomicU64::new(0),
        stopped: CancellationToken::new(),
        stop,
        tasks: TaskTracker::new(),
    });
    let installed = read_interface(&shared).await?;
    // From before the sessions are read, so that no change falls in between.
    let changes = shared.store.watch();
    let input = match read_sessions(&shared, &policy, installed.clone()).await {
        Ok(input) => input,
        Err(error) => {
            clear(&shared, &installed).await;
            return Err(error);
        }
    };
    shared.tasks.spawn(drive(Arc::clone(&shared)));
    shared.tasks.spawn(watch(Arc::clone(&shared), changes));
    shared.input(input);
    let open = async {
        while let Ok(event) = opened.recv().await {
            if matches!(event, Event::Open) {
                return true;
            }
        }
        false
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
    let listed = tokio::time::timeout(shared.timeouts.start, shared.interface.list()).await;
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
    installed: Vec<PeerConfig>,
) -> Result<Input, StartError> {
    let read = shared.store.live_sessions(&shared.location);
    let read = tokio::time::timeout(shared.timeouts.start, read).await;
    let records = read
        .map_err(|_| StartError::NotReconciled)?
        .map_err(StartError::Store)?;
    let now = shared.now();
    let (mut sessions, mut unreadable) = (Vec::new(), Vec::new());
    for record in records {
        if shared.unmanaged.contains(&record.peer) {
            tracing::warn!(session = %record.id, "a session of a peer that is left alone ends");
            unreadable.push(record);
            continue;
        }
        match Grant::reseal(&record, &shared.ring, policy, now) {
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

/// Takes every peer off an interface whose store can't be read; takes the interface down if that
/// fails.
async fn clear(shared: &Arc<Shared>, installed: &[PeerConfig]) {
    let peers: Vec<_> = installed.iter().map(|peer| peer.key).collect();
    let interface: &dyn InterfaceBackend = &*shared.interface;
    let removed = tokio::time::timeout(shared.timeouts.interface, interface.remove(&peers)).await;
    if !matches!(removed, Ok(Ok(()))) {
        tracing::error!(location = %shared.location, "taking the interface down");
        _ = tokio::time::timeout(shared.timeouts.interface, interface.fence()).await;
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
        _ = tokio::time::timeout(self.timeouts.interface, self.interface.fence()).await;
        self.stopped.cancel();
    }
}

/// Tells the machine what changes in the store, by whoever.
async fn watch(shared: Arc<Shared>, mut changes: crate::store::ChangeStream) {
    loop {
        let next = poll_fn(|context| changes.as_mut().poll_next(context));
        let next = tokio::select! {
            next = next => next,
            () = shared.stop.cancelled() => return,
        };
        match next {
            Some(Ok(ChangeSet {
                sessions,
                peers,
                users,
            })) => {
                shared.input(Input::Changed {
                    sessions,
                    peers,
                    users,
                });
                continue;
            }
            Some(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(location = %shared.location, error, "the store's changes broke off");
            }
            None => tracing::warn!(location = %shared.location, "the store's changes ended"),
        }
        // Changes may have been missed: listens anew, and has every lease checked.
        tokio::time::sleep(WATCH_AGAIN).await;
        changes = shared.store.watch();
        let peers = shared
            .machine()
            .leases()
            .map(|lease| lease.terms().peer)
            .collect();
        shared.input(Input::Changed {
            sessions: Vec::new(),
            peers,
            users: Vec::new(),
        });
    }
}
