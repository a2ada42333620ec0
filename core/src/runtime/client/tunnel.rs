//! The calls of the interface: in order, one at a time, each under a time-out. A removal goes
//! before all else: what is under way is dropped for it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Profile;
use super::endpoint::Resolved;
use crate::client::{Input, Ticket, Traffic};
use crate::interface::{InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::{PresharedKey, PublicKey};

/// After this many removals in a row that failed, the interface is taken down.
const FENCE_AFTER: u32 = 3;

/// What can be asked of the interface.
pub(super) enum Call {
    Install(Ticket, PresharedKey),
    Renew(Ticket, PresharedKey),
    Remove(Ticket),
    Sample(Ticket),
    /// Takes off what an earlier run may have left. Nobody waits for it.
    Clear,
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
}

struct Running {
    on_panic: Option<Input>,
    is_removal: bool,
    task: AbortOnDrop,
}

struct AbortOnDrop(JoinHandle<Option<Input>>);

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
    ) -> Self {
        let mut peer = PeerConfig::new(profile.location_key, None, profile.allowed_ips.clone());
        peer.keepalive = profile.keepalive;
        Self {
            interface,
            peer,
            endpoint,
            timeout,
            queue: VecDeque::from([Call::Clear]),
            running: None,
            failed_removals: 0,
        }
    }

    pub(super) fn push(&mut self, call: Call) {
        if matches!(call, Call::Remove(_)) {
            self.queue.clear();
        }
        self.queue.push_back(call);
    }

    /// Whether all that was asked is done.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_none()
    }

    /// The outcome of the next call. Pending while there is none. Cancel safe.
    pub(super) async fn next(&mut self) -> Input {
        loop {
            self.make_way().await;
            if self.running.is_none() {
                self.start_next();
            }
            let Some(running) = &mut self.running else {
                return std::future::pending().await;
            };
            let done = (&mut running.task.0).await;
            let Some(running) = self.running.take() else {
                continue;
            };
            // A backend that panics is one that failed.
            let outcome = done.unwrap_or(running.on_panic);
            if running.is_removal {
                let failed = !matches!(outcome, Some(Input::TunnelRemoved { .. }));
                self.failed_removals = if failed { self.failed_removals + 1 } else { 0 };
            }
            if let Some(input) = outcome {
                return input;
            }
        }
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
        let failed = |ticket| Some(Input::TunnelFailed { ticket });
        let (on_panic, work): (_, Work) = match call {
            Call::Install(ticket, psk) => {
                let peer = self.peer(psk);
                let work = async move { installed(ticket, interface.install(vec![peer]).await) };
                (failed(ticket), Box::pin(work))
            }
            Call::Renew(ticket, psk) => {
                let peer = self.peer(psk);
                let work = async move { installed(ticket, interface.renew(vec![peer]).await) };
                (failed(ticket), Box::pin(work))
            }
            Call::Remove(ticket) => {
                let fence = self.failed_removals >= FENCE_AFTER;
                (
                    failed(ticket),
                    Box::pin(remove(interface, key, ticket, fence)),
                )
            }
            Call::Sample(ticket) => {
                let unknown = Input::TunnelActivity {
                    ticket,
                    traffic: None,
                };
                (Some(unknown), Box::pin(sample(interface, key, ticket)))
            }
            Call::Clear => {
                let work = async move {
                    if interface.remove(&[key]).await.is_err() {
                        tracing::warn!("what an earlier run left on the interface stays for now");
                    }
                    None
                };
                (None, Box::pin(work))
            }
        };
        let on_timeout = match &on_panic {
            Some(Input::TunnelActivity { ticket, .. }) => Some(Input::TunnelActivity {
                ticket: *ticket,
                traffic: None,
            }),
            Some(Input::TunnelFailed { ticket }) => failed(*ticket),
            Some(_) | None => None,
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
        peer.endpoint = self.endpoint.address();
        peer
    }
}

type Work = Pin<Box<dyn Future<Output = Option<Input>> + Send>>;

fn installed(ticket: Ticket, done: Result<(), InterfaceError>) -> Option<Input> {
    Some(match done {
        Ok(()) => Input::TunnelInstalled { ticket },
        Err(error) => {
            tracing::warn!(error = error.to_string(), "the tunnel can't be put up");
            Input::TunnelFailed { ticket }
        }
    })
}

async fn remove(
    interface: Arc<dyn InterfaceBackend>,
    key: PublicKey,
    ticket: Ticket,
    fence: bool,
) -> Option<Input> {
    let mut done = interface.remove(&[key]).await;
    if done.is_err() && fence {
        tracing::error!("the tunnel can't be taken down: the interface goes down");
        done = interface.fence().await;
    }
    Some(match done {
        Ok(()) => Input::TunnelRemoved { ticket },
        Err(_) => Input::TunnelFailed { ticket },
    })
}

async fn sample(
    interface: Arc<dyn InterfaceBackend>,
    key: PublicKey,
    ticket: Ticket,
) -> Option<Input> {
    let all = match interface.activity(&[key]).await {
        Ok(all) => all,
        Err(InterfaceError::Down) => return Some(Input::TunnelLost { ticket }),
        Err(InterfaceError::Backend(_)) => {
            let traffic = None;
            return Some(Input::TunnelActivity { ticket, traffic });
        }
    };
    Some(match all.into_iter().find(|activity| activity.key == key) {
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
