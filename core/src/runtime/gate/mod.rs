//! The gate as a service: give it a store, an interface and verifiers, hand it the bodies of
//! requests, and it admits, renews and ends.
//!
//! Each request and each thing that the [machine](crate::gate) asks for runs in a task of its own,
//! under a time-out: a slow store or verifier delays its own attempt and no other.
//!
//! | file | concern |
//! |---|---|
//! | `config`, `builder` | what a gate is made of |
//! | `folder` | a folder with its keys and its store |
//! | `conversation` | the channel's state per attempt, and the replies that are owed |
//! | `perform` | carrying out what the machine asks for |
//! | `head` | whether the store is an older copy |
//! | `ring_check` | whether the key ring is the store's |
//! | `factors` | asking the verifiers and the authoriser |
//! | `policy` | another policy while the gate runs |
//! | `revocation` | who has to be out before a call returns |
//! | `comparison` | reading what the interface has |
//! | `registrar` | enrolling a device with its profile |
//! | `driver` | time, start, stop, and the store's changes |

mod builder;
mod comparison;
mod config;
mod conversation;
mod driver;
mod factors;
#[cfg(feature = "sqlite")]
mod folder;
mod head;
mod perform;
mod policy;
mod registrar;
mod revocation;
mod ring_check;
#[cfg(test)]
#[cfg(all(feature = "totp", feature = "testing"))]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{Notify, Semaphore, broadcast, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use builder::GateBuilder;
pub(crate) use config::StartFault;
pub use config::{GateConfig, StartError, Timeouts};
#[cfg(feature = "sqlite")]
pub use folder::OpenError;
#[cfg(feature = "sqlite")]
pub(crate) use folder::OpenFault;
pub(crate) use policy::ChangeFault;
pub use policy::PolicyError;
pub use registrar::{LocationRegistrar, ProfileTemplate};
pub use revocation::RevokeError;

use crate::assurance::FactorKind;
use crate::audit::HeadFile;
use crate::authorise::Authoriser;
use crate::channel::{Responder, Unauthenticated};
use crate::factor::MfaVerifier;
use crate::gate::{Action, Closed, Event, Input, Machine};
use crate::id::{Generation, LocationId, SessionId, UserId};
use crate::interface::InterfaceBackend;
use crate::key::PublicKey;
use crate::log;
use crate::policy::Throttle;
use crate::seal::KeyRing;
use crate::store::PeerStore;
use crate::time::{Clock, Instant, Now, Timestamp};
use conversation::Conversations;

/// How many events a slow reader may lag behind.
const EVENTS_KEPT: usize = 4096;
/// How long a gate that ends the process waits for the line that says so.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A running gate. A cheap handle: clones share the gate, and when the last one is dropped every
/// peer leaves the interface, as [`Gate::shutdown`] would have it.
///
/// ```no_run
/// # #[cfg(all(feature = "sqlite", feature = "netstack", feature = "totp"))]
/// # async fn run(
/// #     store: std::sync::Arc<dyn mfagate::store::PeerStore>,
/// #     interface: std::sync::Arc<dyn mfagate::interface::InterfaceBackend>,
/// #     key: mfagate::key::PrivateKey,
/// #     ring: mfagate::seal::KeyRing,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// use mfagate::gate::{Gate, GateConfig};
///
/// let mut config = GateConfig::new("office".parse()?, key, ring, store, interface);
/// config.verifiers.push(std::sync::Arc::new(mfagate::factor::totp::TotpVerifier::new()));
/// let gate = Gate::start(config).await?;
/// # gate.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
    _stop: Arc<StopOnDrop>,
}

/// What the gate's tasks share.
struct Shared {
    machine: Mutex<Machine>,
    conversations: Conversations,
    responder: Responder,
    location: LocationId,
    ring: KeyRing,
    throttle: Mutex<Throttle>,
    /// Whose turn it is to change the policy.
    policy_turn: tokio::sync::Mutex<()>,
    store: Arc<dyn PeerStore>,
    interface: Arc<dyn InterfaceBackend>,
    verifiers: BTreeMap<FactorKind, Arc<dyn MfaVerifier>>,
    authoriser: Option<Arc<dyn Authoriser>>,
    clock: Arc<dyn Clock>,
    timeouts: Timeouts,
    head_file: Option<HeadFile>,
    /// The store has said that it is another.
    is_store_replaced: AtomicBool,
    /// Woken when the store may have made something durable.
    head_moved: Notify,
    /// Left alone on the interface, and never admitted.
    unmanaged: BTreeSet<PublicKey>,
    /// Woken when the machine has an earlier deadline than the one that is slept for.
    wake: Notify,
    /// What is slept for, by the monotonic clock in nanoseconds; read and set under the machine's
    /// lock.
    alarm: AtomicU64,
    events: broadcast::Sender<Event>,
    tickets: Mutex<BTreeMap<u64, oneshot::Sender<Vec<SessionId>>>>,
    next_ticket: AtomicU64,
    /// Whose turn it is to be compared with the store.
    checks: Semaphore,
    stopped: CancellationToken,
    /// The machine says that it admits no one any more.
    closed: CancellationToken,
    stop: CancellationToken,
    /// Whether a stop leaves the peers where they are.
    keeps_peers: AtomicBool,
    tasks: TaskTracker,
    /// `None` where the store is not known to be administered.
    registrar: Option<LocationRegistrar>,
    /// Let go of once the gate has stopped, so that another may take its place.
    locks: Mutex<Vec<File>>,
}

struct StopOnDrop(CancellationToken);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Gate {
    /// Starts a gate: brings the interface in line with the store's live sessions, then admits.
    ///
    /// Must be called within a tokio runtime. Not cancel safe: a start that is dropped half-way
    /// leaves the interface as far as it came; start again.
    ///
    /// # Errors
    /// [`StartError`]. Where the store can't be read, every peer is taken off the interface first.
    pub async fn start(config: GateConfig) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let shared = driver::start(config, stop.clone()).await?;
        Ok(Self {
            shared,
            _stop: Arc::new(StopOnDrop(stop)),
        })
    }

    /// Takes the body of one request and gives the body of its response. Bodies come over HTTP by
    /// [`crate::http::router`], or by any transport of the embedder's.
    ///
    /// `source` is the client's address where the transport knows it, for the audit trail.
    ///
    /// Cancel safe: what was begun is carried through, and the same body sent again gets the same
    /// response.
    ///
    /// # Errors
    /// [`Unauthenticated`], for a body that does not come from a client of this location's or
    /// speaks of an attempt that is not open. Its [`to_body`](Unauthenticated::to_body) is the
    /// response to send.
    pub async fn handle(
        &self,
        body: Vec<u8>,
        source: Option<IpAddr>,
    ) -> Result<Vec<u8>, Unauthenticated> {
        let shared = Arc::clone(&self.shared);
        let task = self
            .shared
            .tasks
            .spawn(async move { shared.respond(&body, source).await });
        task.await.unwrap_or(Err(Unauthenticated::Unavailable))
    }

    /// The location's public key, which clients know it by.
    pub fn public_key(&self) -> PublicKey {
        self.shared.responder.public_key()
    }

    /// The location that this gate serves.
    pub fn location(&self) -> &LocationId {
        &self.shared.location
    }

    /// The live sessions. One that has just ended is no longer among them, though its peer may
    /// still be on its way off the interface: [`Event::Ended`] tells when it has left.
    pub fn sessions(&self) -> Vec<SessionView> {
        let machine = self.shared.machine();
        machine.leases().map(SessionView::from).collect()
    }

    /// How many attempts are open.
    #[cfg(all(test, feature = "http-server", feature = "totp", feature = "testing"))]
    pub(crate) fn open_attempts(&self) -> usize {
        self.shared.machine().attempt_count()
    }

    /// Events from now on.
    pub fn events(&self) -> Events {
        Events(self.shared.events.subscribe())
    }

    /// Waits until the gate admits no one any more, and says why: it was stopped, it had to take its
    /// interface down, or the interface is gone. It does not come back from that, so that a service
    /// ends here, with a status on which its supervisor starts it again.
    ///
    /// Until then, [`Event::InterfaceAway`] and [`Event::InterfaceBack`] tell of an interface that
    /// is not there for a while. Cancel safe.
    pub async fn closed(&self) -> Closed {
        tokio::select! {
            () = self.shared.closed.cancelled() => {}
            () = self.shared.stopped.cancelled() => {}
        }
        // One that could not stop in time has not closed by itself.
        self.shared
            .machine()
            .why_closed()
            .unwrap_or(Closed::Stopped)
    }

    /// Has deadlines looked at now: call it when the system wakes from sleep or its clock was set,
    /// where the platform tells. Without it the gate notices within fifteen seconds.
    pub fn time_changed(&self) {
        self.shared.tick();
    }

    /// Stops: refuses what comes in, takes every peer off the interface, finishes what is under
    /// way. The sessions stay in the store, and the next start admits their peers again.
    ///
    /// Where the peers can't be taken off within [`Timeouts::shutdown`], the interface goes down.
    /// Cancel safe; calling it twice waits for the same end.
    pub async fn shutdown(&self) {
        self.stop().await;
        self.shared.unlock();
    }

    async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.wait().await;
    }

    /// Stops as [`shutdown`](Self::shutdown) does, for a gate that comes back at once: peers whose
    /// lease is live stay on the interface, and their traffic goes on. Returns whether they stay.
    ///
    /// They do only where something outlives this process and ends each lease on time, which is a
    /// lease guard around an interface that the kernel or another program runs
    /// ([`InterfaceBackend::ends_leases`]). Anywhere else, and where a stop is under way already,
    /// every peer leaves. Until the next gate starts, no one is admitted or renewed; what is
    /// revoked in the store meanwhile is taken off by that start.
    ///
    /// An interface that this process made is left to the system: see
    /// [`InterfaceBackend::leave`].
    ///
    /// Not cancel safe: whether the peers stay is then not known.
    pub async fn shutdown_keeping_peers(&self) -> bool {
        let kept = self.stop_keeping_peers().await;
        // Only now: until the interface is left, it is this gate's.
        self.shared.unlock();
        kept
    }

    async fn stop_keeping_peers(&self) -> bool {
        let shared = &self.shared;
        if shared.interface.ends_leases() && !shared.stop.is_cancelled() {
            shared.keeps_peers.store(true, Ordering::SeqCst);
        }
        self.stop().await;
        let kept = shared.keeps_peers.load(Ordering::SeqCst) && shared.machine().keeps_peers();
        if !kept {
            self.say_stopped("stopped: every peer has left");
            return false;
        }
        let interface = Arc::clone(&shared.interface);
        let leave = async move { interface.leave().await };
        let left = perform::guarded(shared.timeouts.interface, leave).await;
        if matches!(left, Ok(Ok(()))) {
            self.say_stopped("stopped for a restart: peers stay until their leases end");
            return true;
        }
        let interface = Arc::clone(&shared.interface);
        driver::clear(interface, &shared.unmanaged, shared.timeouts.interface).await;
        self.say_stopped("stopped: the interface can't be left, and every peer was taken off");
        false
    }

    fn say_stopped(&self, how: &'static str) {
        let location = self.shared.location.clone();
        log::later(move || tracing::info!(%location, "{how}"));
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("location", &self.shared.location)
            .field("public_key", &self.public_key())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// The time. Without it no lease would end: a clock that panics takes the process with it.
    fn now(&self) -> Now {
        let _guard = NoUnwinding::new();
        self.clock.now()
    }

    /// The machine. Nothing awaits while it is locked, and nothing unwinds.
    fn machine(&self) -> Locked<'_> {
        let guard = NoUnwinding::new();
        let machine = self.machine.lock();
        Locked {
            machine: machine.unwrap_or_else(|_| std::process::abort()),
            _guard: guard,
        }
    }

    /// Lets another gate serve from the same folder.
    fn unlock(&self) {
        let locks = self.locks.lock();
        locks
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clear();
    }

    fn tickets(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Vec<SessionId>>>> {
        self.tickets
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Hands an input to the machine and carries out what it asks for.
    fn input(self: &Arc<Self>, input: Input) {
        self.advance(|machine, now| machine.handle_input(now, input));
    }

    /// Lets the machine see the time.
    fn tick(self: &Arc<Self>) {
        self.advance(Machine::handle_timeout);
    }

    /// Lets the machine take a step, and drains it.
    fn advance(self: &Arc<Self>, step: impl FnOnce(&mut Machine, Now)) {
        // What the machine asks for is carried out whole: a removal must not get lost.
        let _guard = NoUnwinding::new();
        let now = self.now();
        let mut told = Vec::new();
        let (actions, is_sooner): (Vec<Action>, bool) = {
            let mut machine = self.machine();
            step(&mut machine, now);
            while let Some(event) = machine.poll_event() {
                told.push(event.clone());
                _ = self.events.send(event); // there may be no listener
            }
            let actions = std::iter::from_fn(|| machine.poll_action()).collect();
            if machine.why_closed().is_some() {
                self.closed.cancel();
            }
            // An alarm that is past belongs to a clock that jumped: the sleeper is to look again.
            let alarm = Instant::from_nanos(self.alarm.load(Ordering::Relaxed));
            let next = machine.poll_timeout(now);
            let is_sooner = next.is_some_and(|(at, _)| at < alarm || now.instant >= alarm);
            (actions, is_sooner)
        };
        for action in actions {
            self.perform(action);
        }
        if is_sooner {
            self.wake.notify_one();
        }
        // Last, and on a thread of its own: no removal waits for a log that blocks.
        for event in told {
            let location = self.location.clone();
            log::later(move || {
                if is_alarming(&event) {
                    tracing::warn!(%location, ?event, "gate");
                } else {
                    tracing::info!(%location, ?event, "gate");
                }
            });
        }
    }
}

/// Whether an operator should see it who is not looking for it.
fn is_alarming(event: &Event) -> bool {
    match event {
        Event::UnleasedPeer { .. }
        | Event::PeerMissing { .. }
        | Event::PeerChanged { .. }
        | Event::InterfaceAway
        | Event::InterfaceBack
        | Event::InterfaceUnreadable
        | Event::InterfaceGone
        | Event::RemovalFailing { .. }
        | Event::StoreFailing { .. }
        | Event::StoreReplaced
        | Event::Fenced
        | Event::FenceFailing => true,
        Event::Open
        | Event::Admitted { .. }
        | Event::Renewed { .. }
        | Event::Ending { .. }
        | Event::EndpointChanged { .. }
        | Event::Ended { .. }
        | Event::Denied { .. }
        | Event::NotAdmitted { .. }
        | Event::RecoveryCodeUsed { .. }
        | Event::FactorEnrolled { .. } => false,
    }
}

/// Ends the process when a panic unwinds past it.
///
/// A panic inside the machine leaves it in an unknown state, and one around it loses what it asked
/// for or the passing of time: the process must not go on admitting with that. Its end leaves the
/// peers to the next start's reconciliation and to the lease guard; an interface inside the process
/// goes with it.
struct NoUnwinding {
    was_unwinding: bool,
}

impl NoUnwinding {
    fn new() -> Self {
        Self {
            was_unwinding: std::thread::panicking(),
        }
    }
}

impl Drop for NoUnwinding {
    fn drop(&mut self) {
        if !self.was_unwinding && std::thread::panicking() {
            log::later(|| tracing::error!("a fault inside the gate: ending the process"));
            log::flush(LAST_WORDS);
            std::process::abort();
        }
    }
}

/// The locked machine.
struct Locked<'a> {
    machine: std::sync::MutexGuard<'a, Machine>,
    _guard: NoUnwinding,
}

impl std::ops::Deref for Locked<'_> {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

/// A live session, for people and their tools.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionView {
    /// The session.
    pub session: SessionId,
    /// The peer.
    pub peer: PublicKey,
    /// Its owner.
    pub user: UserId,
    /// The addresses that the peer has.
    pub allowed_ips: Vec<IpNet>,
    /// How often the peer has been admitted or renewed.
    pub generation: Generation,
    /// When the factors were verified.
    pub verified_at: Timestamp,
    /// When the lease ends at the latest.
    pub not_after: Timestamp,
}

impl From<&crate::gate::Lease> for SessionView {
    fn from(lease: &crate::gate::Lease) -> Self {
        let terms = lease.terms();
        Self {
            session: lease.session(),
            peer: terms.peer,
            user: terms.user.clone(),
            allowed_ips: terms.allowed_ips.to_vec(),
            generation: lease.generation(),
            verified_at: terms.verified_at,
            not_after: terms.not_after,
        }
    }
}

/// What a gate tells as it happens.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// The next event; `None` when the gate is gone. A reader that lags far behind misses the
    /// oldest. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    log::later(move || tracing::warn!(missed, "a reader of events is too slow"));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
