//! The calls of the interface: in order, one at a time, each under a time-out. A removal goes
//! before all else: what is under way is dropped for it.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Profile;
use super::builder::OnInterface;
use super::endpoint::Resolved;
use crate::client::{Input, Ticket, Traffic};
use crate::interface::{InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::{PresharedKey, PublicKey};
use crate::log;

/// After this many removals in a row that failed, the interface is taken down.
const FENCE_AFTER: u32 = 3;
/// The wait before a clearing that failed is tried again; each further one doubles it.
const CLEAR_AGAIN: Duration = Duration::from_millis(200);

/// What can be asked of the interface.
pub(super) enum Call {
    Install(Ticket, PresharedKey),
    Renew(Ticket, PresharedKey),
    Resume(Ticket, PresharedKey),
    Remove(Ticket),
    Sample(Ticket),
    Move(Ticket),
    /// Takes off what an earlier run may have left. The machine does not know of it.
    Clear,
}

/// What became of a call.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time is on its way, and nearly all are inputs"
)]
enum Outcome {
    /// For the machine.
    Input(Input),
    /// What an earlier run may have left is off.
    Cleared,
    /// It may still be there.
    NotCleared,
}

/// The gate's peer on the interface.
pub(super) struct Tunnel {
    interface: Arc<dyn InterfaceBackend>,
    peer: PeerConfig,
    endpoint: Arc<Resolved>,
    timeout: Duration,
    queue: VecDeque<Call>,
    running: Option<Running>,
    failed_removals: u32,
    /// Whether the interface has nothing that the machine does not know of.
    is_clear: bool,
    failed_clearings: u32,
    /// Whether the client is leaving, so that a clearing that fails is tried again.
    is_leaving: bool,
}

struct Running {
    on_panic: Outcome,
    is_removal: bool,
    task: AbortOnDrop,
}

struct AbortOnDrop(JoinHandle<Outcome>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tunnel {
    pub(super) fn new(
        interface: Arc<dyn InterfaceBackend>,
        profile: &Profile,
        endpoint: Arc<Resolved>,
        timeout: Duration,
        on_interface: OnInterface,
    ) -> Self {
        let mut peer = PeerConfig::new(profile.location_key, None, profile.allowed_ips.clone());
        peer.keepalive = profile.keepalive;
        Self {
            interface,
            peer,
            endpoint,
            timeout,
            queue: match on_interface {
                OnInterface::IsCleared => VecDeque::from([Call::Clear]),
                OnInterface::IsKept => VecDeque::new(),
            },
            running: None,
            failed_removals: 0,
            is_clear: false,
            failed_clearings: 0,
            is_leaving: false,
        }
    }

    pub(super) fn push(&mut self, call: Call) {
        if matches!(call, Call::Remove(_)) {
            self.queue.clear();
        } else if matches!(call, Call::Install(..)) {
            self.is_leaving = false;
        }
        self.queue.push_back(call);
    }

    /// The client leaves: what an earlier run left, and could not be taken off so far, is tried
    /// again, and the interface taken down if that keeps failing.
    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
        self.failed_clearings = 0;
        if self.is_idle() && !self.is_clear {
            self.queue.push_back(Call::Clear);
        }
    }

    /// Whether all that was asked is done.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_none()
    }

    /// Whether nothing of an earlier run can be there any more.
    pub(super) const fn is_clear(&self) -> bool {
        self.is_clear
    }

    /// Waits until the next call is over, and gives its outcome where the machine waits for one.
    /// It returns after *each* call: what waits for the queue to be empty looks again only then.
    /// Pending while there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Input> {
        self.make_way().await;
        if self.running.is_none() {
            self.start_next();
        }
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        let done = (&mut running.task.0).await;
        let running = self.running.take()?;
        // A backend that panics is one that failed.
        let outcome = done.unwrap_or(running.on_panic);
        if running.is_removal {
            let failed = !matches!(outcome, Outcome::Input(Input::TunnelRemoved { .. }));
            self.failed_removals = if failed { self.failed_removals + 1 } else { 0 };
        }
        self.note(outcome)
    }

    fn note(&mut self, outcome: Outcome) -> Option<Input> {
        match outcome {
            Outcome::Input(input) => {
                // An install replaces what was there, and a removal takes it off.
                self.is_clear |= matches!(
                    input,
                    Input::TunnelInstalled { .. } | Input::TunnelRemoved { .. }
                );
                Some(input)
            }
            Outcome::Cleared => {
                self.is_clear = true;
                None
            }
            Outcome::NotCleared => {
                self.failed_clearings = self.failed_clearings.saturating_add(1);
                if self.is_leaving && self.failed_clearings <= FENCE_AFTER {
                    self.queue.push_back(Call::Clear);
                }
                None
            }
        }
    }

    /// The address that the tunnel came to use while it was up, told once.
    pub(super) fn take_moved(&self) -> Option<SocketAddr> {
        self.endpoint.take_moved()
    }

    /// Drops what is under way where a removal waits, and waits until it is gone.
    async fn make_way(&mut self) {
        let waits = matches!(self.queue.front(), Some(Call::Remove(_)));
        if let Some(running) = self
            .running
            .as_mut()
            .filter(|running| waits && !running.is_removal)
        {
            running.task.0.abort();
            _ = (&mut running.task.0).await; // aborted, or done just now: the removal undoes it
            self.running = None;
        }
    }

    fn start_next(&mut self) {
        let Some(call) = self.queue.pop_front() else {
            return;
        };
        let key = self.peer.key;
        let is_removal = matches!(call, Call::Remove(_));
        let interface = Arc::clone(&self.interface);
        let failed = |ticket| Outcome::Input(Input::TunnelFailed { ticket });
        let (on_panic, work): (_, Work) = match call {
            Call::Install(ticket, psk) => {
                let mut peer = self.peer(psk);
                let endpoint = Arc::clone(&self.endpoint);
                let work = async move {
                    let to = endpoint.first();
                    peer.endpoint = to;
                    let done = interface.install(vec![peer]).await;
                    endpoint.is_used(to);
                    installed(ticket, done)
                };
                (failed(ticket), Box::pin(work))
            }
            Call::Renew(ticket, psk) => {
                let mut peer = self.peer(psk);
                let endpoint = Arc::clone(&self.endpoint);
                let work = async move {
                    // A moment to see whether the name has the address still.
                    let to = endpoint.resolve().await.ok();
                    peer.endpoint = to;
                    let done = interface.renew(vec![peer]).await;
                    endpoint.is_used(to);
                    installed(ticket, done)
                };
                (failed(ticket), Box::pin(work))
            }
            Call::Resume(ticket, psk) => {
                let peer = self.peer(psk);
                let endpoint = Arc::clone(&self.endpoint);
                let work = async move {
                    let done = go_on(&*interface, peer, &endpoint).await;
                    installed(ticket, done)
                };
                (failed(ticket), Box::pin(work))
            }
            Call::Move(ticket) => {
                let endpoint = Arc::clone(&self.endpoint);
                let work = async move {
                    relocate(&*interface, key, &endpoint).await;
                    Outcome::Input(Input::TunnelMoved { ticket })
                };
                let moved = Outcome::Input(Input::TunnelMoved { ticket });
                (moved, Box::pin(work))
            }
            Call::Remove(ticket) => {
                self.endpoint.is_unused();
                let fence = self.failed_removals >= FENCE_AFTER;
                (
                    failed(ticket),
                    Box::pin(remove(interface, key, ticket, fence)),
                )
            }
            Call::Sample(ticket) => {
                let work = Box::pin(sample(interface, key, ticket));
                (Outcome::Input(unknown(ticket)), work)
            }
            Call::Clear => {
                let failures = self.failed_clearings;
                let work = Box::pin(clear(interface, key, failures));
                (Outcome::NotCleared, work)
            }
        };
        let on_timeout = match &on_panic {
            Outcome::Input(Input::TunnelActivity { ticket, .. }) => {
                Outcome::Input(unknown(*ticket))
            }
            Outcome::Input(Input::TunnelFailed { ticket }) => failed(*ticket),
            Outcome::Input(Input::TunnelMoved { ticket }) => {
                Outcome::Input(Input::TunnelMoved { ticket: *ticket })
            }
            Outcome::Input(_) | Outcome::Cleared | Outcome::NotCleared => Outcome::NotCleared,
        };
        let timeout = self.timeout;
        let task = tokio::spawn(async move {
            let done = tokio::time::timeout(timeout, work).await;
            done.unwrap_or(on_timeout)
        });
        self.running = Some(Running {
            on_panic,
            is_removal,
            task: AbortOnDrop(task),
        });
    }

    fn peer(&self, psk: PresharedKey) -> PeerConfig {
        let mut peer = self.peer.clone();
        peer.psk = Some(psk);
        peer
    }
}

type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

fn installed(ticket: Ticket, done: Result<(), InterfaceError>) -> Outcome {
    Outcome::Input(match done {
        Ok(()) => Input::TunnelInstalled { ticket },
        Err(error) => {
            let error = log::in_a_line(&error);
            log::later(move || tracing::warn!(error, "the tunnel can't be put up"));
            Input::TunnelFailed { ticket }
        }
    })
}

/// Leaves the peer where it is there already as it should be, and else puts it there.
async fn go_on(
    interface: &dyn InterfaceBackend,
    mut peer: PeerConfig,
    endpoint: &Resolved,
) -> Result<(), InterfaceError> {
    let peers = interface.list().await?;
    // Installing it again would end its keypairs, and interrupt its traffic.
    if let Some(there) = peers.iter().find(|there| there.admits_as(&peer)) {
        endpoint.is_used(there.endpoint);
        return Ok(());
    }
    peer.endpoint = endpoint.resolve().await.ok();
    let to = peer.endpoint;
    interface.install(vec![peer]).await?;
    endpoint.is_used(to);
    Ok(())
}

/// Has the tunnel's packets go to another address, where the endpoint has one. The peer is taken as
/// it is on the interface, so that its preshared key is kept nowhere else.
async fn relocate(interface: &dyn InterfaceBackend, key: PublicKey, endpoint: &Resolved) {
    let Some(to) = endpoint.next().await else {
        return;
    };
    let peers = interface.list().await.unwrap_or_default();
    let there = peers.into_iter().find(|peer| peer.key == key);
    let Some(mut peer) = there.filter(|peer| peer.psk.is_some()) else {
        return;
    };
    peer.endpoint = Some(to);
    match interface.renew(vec![peer]).await {
        Ok(()) => endpoint.is_used(Some(to)),
        Err(error) => {
            let error = log::in_a_line(&error);
            log::later(move || {
                tracing::warn!(error, "the tunnel can't be sent to another address")
            });
        }
    }
}

/// Takes off what an earlier run left. With failures behind it, later each time, and at last by
/// taking the interface down.
async fn clear(interface: Arc<dyn InterfaceBackend>, key: PublicKey, failures: u32) -> Outcome {
    if let Some(doublings) = failures.checked_sub(1) {
        tokio::time::sleep(CLEAR_AGAIN * 2_u32.saturating_pow(doublings.min(4))).await;
    }
    let mut done = interface.remove(&[key]).await;
    if done.is_err() && failures >= FENCE_AFTER {
        log::later(|| {
            tracing::error!("what an earlier run left can't be taken off: the interface goes down");
        });
        done = interface.fence().await;
    }
    match done {
        Ok(()) => Outcome::Cleared,
        Err(_) => {
            log::later(|| {
                tracing::warn!("what an earlier run left on the interface stays for now");
            });
            Outcome::NotCleared
        }
    }
}

async fn remove(
    interface: Arc<dyn InterfaceBackend>,
    key: PublicKey,
    ticket: Ticket,
    fence: bool,
) -> Outcome {
    let mut done = interface.remove(&[key]).await;
    if done.is_err() && fence {
        log::later(|| {
            tracing::error!("the tunnel can't be taken down: the interface goes down");
        });
        done = interface.fence().await;
    }
    Outcome::Input(match done {
        Ok(()) => Input::TunnelRemoved { ticket },
        Err(_) => Input::TunnelFailed { ticket },
    })
}

const fn unknown(ticket: Ticket) -> Input {
    Input::TunnelActivity {
        ticket,
        traffic: None,
    }
}

async fn sample(interface: Arc<dyn InterfaceBackend>, key: PublicKey, ticket: Ticket) -> Outcome {
    let all = match interface.activity(&[key]).await {
        Ok(all) => all,
        Err(InterfaceError::Down | InterfaceError::Away) => {
            return Outcome::Input(Input::TunnelLost { ticket });
        }
        Err(InterfaceError::Backend(_)) => return Outcome::Input(unknown(ticket)),
    };
    Outcome::Input(match all.into_iter().find(|activity| activity.key == key) {
        None => Input::TunnelLost { ticket },
        Some(activity) => Input::TunnelActivity {
            ticket,
            traffic: Some(Traffic {
                last_handshake: activity.last_handshake,
                received: activity.received,
                sent: activity.sent,
            }),
        },
    })
}
