//! Start, the passing of time, the store's changes, and stop.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::conversation::Conversations;
use super::perform::{guarded, shorten_leases};
use super::{EVENTS_KEPT, GateConfig, Shared, StartFault};
use crate::channel::Responder;
use crate::gate::persistence::StoredSessions;
use crate::gate::{Event, Input, Machine, Scope, Unavailable};
use crate::interface::{InterfaceBackend, PeerConfig};
use crate::key::PublicKey;
use crate::log;
use crate::policy::Policy;
use crate::store::{ChangeSet, ChangeStream, StoreError};
use crate::time::Instant;

/// The longest sleep while anything is due: by then the gate notices that the system slept, or that
/// its clock was set.
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
) -> Result<Arc<Shared>, StartFault> {
    let interface = Arc::clone(&config.interface);
    let unmanaged = config.danger_unmanaged_peers.clone();
    let limit = config.timeouts.interface;
    // In a task of its own, since it calls foreign code: a panic there is a failed start.
    let starting = tokio::spawn(bring_up(config, stop.clone()));
    let started = AbortOnDropHandle::new(starting).await.unwrap_or_else(|_| {
        stop.cancel();
        log::later(|| {
            tracing::error!("a store, verifier, clock or backend panicked at the start");
        });
        Err(StartFault::Panicked)
    });
    if started.is_err() {
        clear(interface, &unmanaged, limit).await;
    }
    started
}

async fn bring_up(config: GateConfig, stop: CancellationToken) -> Result<Arc<Shared>, StartFault> {
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
        head_file,
        danger_accept_older_store,
        danger_unmanaged_peers,
        registrar,
        locks,
    } = config;
    let verifiers: BTreeMap<_, _> = verifiers
        .into_iter()
        .map(|verifier| (verifier.kind(), verifier))
        .collect();
    if let Some(kind) = policy.kinds().find(|kind| !verifiers.contains_key(kind)) {
        return Err(StartFault::NoVerifier { kind: kind.clone() });
    }
    let mut machine = Machine::new(location.clone(), policy.clone(), clock.now())?;
    if authoriser.is_some() {
        machine = machine.with_authoriser();
    }
    // Received from before anything can happen, so that the opening is not missed.
    let (events, mut opened) = broadcast::channel(EVENTS_KEPT);
    let shared = Arc::new(Shared {
        machine: Mutex::new(machine),
        conversations: Conversations::default(),
        responder: Responder::new(private_key),
        location,
        ring: key_ring,
        throttle: Mutex::new(policy.throttle),
        policy_turn: tokio::sync::Mutex::default(),
        store,
        interface,
        verifiers,
        authoriser,
        clock,
        timeouts,
        head_file,
        is_store_replaced: AtomicBool::new(false),
        head_moved: Notify::new(),
        unmanaged: danger_unmanaged_peers,
        wake: Notify::new(),
        alarm: AtomicU64::new(0),
        events,
        tickets: Mutex::default(),
        next_ticket: AtomicU64::new(0),
        checks: Semaphore::new(CHECKS),
        stopped: CancellationToken::new(),
        closed: CancellationToken::new(),
        stop,
        keeps_peers: AtomicBool::new(false),
        tasks: TaskTracker::new(),
        registrar,
        locks: Mutex::new(locks),
    });
    // With the time that each lease has left now. What the store takes afterwards is taken off it,
    // so that a slow start lengthens no lease.
    let installed = read_interface(&shared).await?;
    // From before the sessions are read, so that no change falls in between.
    let changes = shared.store.watch();
    let is_older = shared.is_older_store(danger_accept_older_store).await?;
    let input = read_sessions(&shared, &policy, installed, is_older).await?;
    // Before the machine starts: what falls due while its first actions are under way is done.
    shared.tasks.spawn(drive(Arc::clone(&shared)));
    shared.tasks.spawn(watch(Arc::clone(&shared), changes));
    shared.input(input);
    let open = opens(&shared, &mut opened);
    let mut is_open = tokio::time::timeout(timeouts.start, open)
        .await
        .unwrap_or(false);
    if is_open && is_older {
        // Their ends are durable before the head is written down: a start that fails until then asks
        // again whether the store may be older.
        let everyone = |ticket| Input::Settle {
            ticket,
            scope: Scope::All,
        };
        let ended = tokio::time::timeout(timeouts.start, shared.ended(everyone)).await;
        is_open = matches!(ended, Ok(Ok(_)));
    }
    if !is_open {
        // The caller clears the interface next: by then no task may install a peer any more.
        shared.stop.cancel();
        shared.tasks.wait().await;
        return Err(StartFault::NotReconciled);
    }
    if let Some(file) = shared.head_file.clone() {
        shared.head_moved.notify_one();
        shared.tasks.spawn(Arc::clone(&shared).note_heads(file));
    }
    Ok(shared)
}

/// Waits until the machine admits; `false` when it has stopped instead.
async fn opens(shared: &Shared, events: &mut broadcast::Receiver<Event>) -> bool {
    loop {
        match events.recv().await {
            Ok(Event::Open) => return true,
            // Among the events that were missed may be the one that is waited for.
            Err(broadcast::error::RecvError::Lagged(_)) if shared.machine().is_open() => {
                return true;
            }
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return false,
        }
    }
}

async fn read_interface(shared: &Arc<Shared>) -> Result<Vec<PeerConfig>, StartFault> {
    let interface = Arc::clone(&shared.interface);
    let list = async move { interface.list().await };
    let listed = guarded(shared.timeouts.start, list).await;
    let mut peers = listed
        .map_err(|_| StartFault::NotReconciled)?
        .map_err(StartFault::Interface)?;
    peers.retain(|peer| !shared.unmanaged.contains(&peer.key));
    Ok(peers)
}

/// The sessions of earlier runs: those that open under the ring are restored, the others end.
async fn read_sessions(
    shared: &Arc<Shared>,
    policy: &Policy,
    mut installed: Vec<PeerConfig>,
    is_older: bool,
) -> Result<Input, StartFault> {
    // Foreign code, whose panic the caller of this takes for a failed start.
    let listed = shared.clock.now();
    let (store, location) = (Arc::clone(&shared.store), shared.location.clone());
    let read = async move { store.live_sessions(&location).await };
    let read = guarded(shared.timeouts.start, read).await;
    let records = read
        .map_err(|_| StartFault::NotReconciled)?
        .map_err(StartFault::Store)?;
    let store = Arc::clone(&shared.store);
    let read = guarded(shared.timeouts.start, async move { store.users().await }).await;
    let users = read
        .map_err(|_| StartFault::NotReconciled)?
        .map_err(StartFault::Store)?;
    let now = shared.clock.now();
    shorten_leases(&mut installed, now.instant.saturating_since(listed.instant));
    let (mut unreadable, records): (Vec<_>, Vec<_>) = records
        .into_iter()
        .partition(|record| shared.unmanaged.contains(&record.peer));
    for record in &unreadable {
        let session = record.id;
        log::later(move || {
            tracing::warn!(%session, "a session of a peer that is left alone ends");
        });
    }
    // An older copy of the store does not know whether a session was revoked since it was made.
    let records = if is_older {
        unreadable.extend(records);
        Vec::new()
    } else {
        records
    };
    let stored = StoredSessions::of(records, &users, policy, &shared.ring, now);
    let any_opened = stored.any_opened();
    let mut closed = None;
    for (record, error) in stored.unreadable {
        let (session, said) = (record.id, log::in_a_line(&error));
        log::later(move || {
            tracing::error!(%session, error = said, "a stored session does not open");
        });
        closed = closed.or(Some(error));
        unreadable.push(record);
    }
    // Before any of them ends: with the wrong ring all would, and the right one would come too
    // late.
    if !any_opened {
        shared.ring_is_the_stores(&users, closed).await?;
    }
    Ok(Input::Start {
        sessions: stored.restored,
        unreadable,
        refused: stored.refused,
        installed,
    })
}

/// Takes every peer off an interface that no gate is there for; takes the interface down if that
/// fails.
pub(super) async fn clear(
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
        log::later(|| tracing::error!("peers can't be taken off: taking the interface down"));
        let fence = async move { interface.fence().await };
        if !matches!(guarded(limit, fence).await, Ok(Ok(()))) {
            log::later(|| tracing::error!("the interface could not be taken down: do it by hand"));
        }
    }
}

/// Tells the machine the time whenever something is due, until the gate has stopped.
async fn drive(shared: Arc<Shared>) {
    let mut stopping = false;
    loop {
        let due = {
            let now = shared.now();
            let forget = shared.conversations.expire(now.instant);
            let machine = shared.machine();
            let next = machine.poll_timeout(now).map(|(at, _)| at);
            let next = next.into_iter().chain(forget).min();
            let due = next.map(|at| at.min(now.instant + LONGEST_SLEEP));
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
                let keep = shared.keeps_peers.load(Ordering::SeqCst);
                shared.input(if keep { Input::StopKeepingPeers } else { Input::Stop });
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
        self.keeps_peers.store(false, Ordering::SeqCst);
        self.complain("peers did not leave in time: taking the interface down");
        let interface = Arc::clone(&self.interface);
        let fence = async move { interface.fence().await };
        if !matches!(guarded(self.timeouts.interface, fence).await, Ok(Ok(()))) {
            self.complain("the interface could not be taken down: do it by hand");
        }
        self.stopped.cancel();
    }

    /// Logs a failure of the gate as a whole.
    pub(super) fn complain(&self, what: &'static str) {
        let location = self.location.clone();
        log::later(move || tracing::error!(%location, "{what}"));
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
                shared.complain("the store panicked");
            },
            () = shared.stop.cancelled() => return,
        }
        tokio::time::sleep(WATCH_AGAIN).await;
    }
}

/// Follows the store's changes until they break off. Without a stream it asks for one, and has
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
            Some(Ok(set)) => {
                shared.head_moved.notify_one();
                shared.input(changed(set));
            }
            // Leases are not compared with what has forgotten why they are there: they end in time.
            Some(Err(StoreError::Replaced)) => {
                shared.input(Input::StoreReplaced);
                shared.complain("the store was replaced or put back to an older copy: the gate admits no one any more");
                return shared.stop.cancelled().await;
            }
            Some(Err(error)) => {
                let (location, error) = (shared.location.clone(), log::in_a_line(&error));
                log::later(move || {
                    tracing::warn!(%location, error, "the store's changes broke off");
                });
                return;
            }
            None => {
                let location = shared.location.clone();
                log::later(move || tracing::warn!(%location, "the store's changes ended"));
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
