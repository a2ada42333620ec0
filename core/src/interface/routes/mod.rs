#![doc = include_str!("docs.md")]

mod numbers;
mod plan;
mod system;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::sync::Mutex;

use super::netlink::{LinkError, LinkFault, NetlinkHandle};
use super::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::PublicKey;
use crate::log;
use numbers::{Numbers, RouteNumbers};
use system::System;

/// Addresses that are kept outside, apart from the peers' own; of more, those are forgotten that were
/// not asked for the longest.
const OUTSIDE: usize = 64;

/// Numbers for a client's rules and its routing table, before there is an interface.
///
/// They are the process's own until this, or the [`Routes`] made of it, is dropped.
pub struct Reserved {
    system: System,
    slot: RouteNumbers,
}

/// A client's interface whose routes come with a peer and go with it. A cheap handle: clones share
/// it.
#[derive(Clone)]
pub struct Routes {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Arc<dyn InterfaceBackend>,
    name: String,
    link: u32,
    system: System,
    slot: RouteNumbers,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    peers: BTreeMap<PublicKey, Peer>,
    /// Those first that were not asked for the longest.
    outside: Vec<IpAddr>,
    /// Whether the system was brought to this, and no call was dropped in the middle of that.
    is_applied: bool,
    left_out: Option<LinkFault>,
    /// Why the last change was not made.
    failure: Option<String>,
}

struct Peer {
    networks: Vec<IpNet>,
    endpoint: Option<IpAddr>,
}

impl Routes {
    /// Takes back what clients that were killed have left of rules and routes, and reserves numbers
    /// for a new one. Within a tokio runtime.
    ///
    /// Cancel safe: what was taken back stays so.
    ///
    /// # Errors
    /// `link-privilege`, `link-crowded`, `link-netlink`.
    pub async fn reserve() -> Result<Reserved, LinkError> {
        let system = System::open()?;
        let all = system.read().await?;
        let mut free = None;
        for numbers in Numbers::all() {
            let has_left = all.has_left(numbers);
            if !has_left && (free.is_some() || all.is_taken(numbers)) {
                continue;
            }
            // Where a process has them, what is there is in use.
            let Some(slot) = RouteNumbers::hold(numbers) else {
                continue;
            };
            if has_left {
                let table = numbers.table();
                log::later(move || {
                    tracing::info!(table, "an earlier client's routes are taken back");
                });
                system.clear(&all, numbers).await?;
            }
            if free.is_none() && !all.is_taken(numbers) {
                free = Some(slot);
            }
        }
        let slot = free.ok_or(LinkFault::Crowded)?;
        Ok(Reserved { system, slot })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The mark of packets that never go into the tunnel, for sockets of your own (`SO_MARK`).
    pub fn fwmark(&self) -> u32 {
        self.shared.slot.numbers().table()
    }

    /// Makes sure, before anyone signs in, that none of these networks is another interface's.
    ///
    /// # Errors
    /// `link-overlap`.
    pub async fn check_free(&self, networks: &[IpNet]) -> Result<(), LinkError> {
        NetlinkHandle::check_free(&self.shared.name, &[], networks)
            .await
            .map_err(LinkError)
    }

    /// Which routes the present session goes without, and why: where IPv6 is off.
    pub async fn left_out(&self) -> Option<String> {
        let state = self.shared.state.lock().await;
        state.left_out.as_ref().map(ToString::to_string)
    }

    /// Why the last session's routes were not set, in words for its user: a client only says that
    /// its interface failed.
    pub async fn failure(&self) -> Option<String> {
        self.shared.state.lock().await.failure.clone()
    }

    /// Has the system's routes be those of the peers that are there.
    async fn apply(&self, state: &mut State) -> Result<(), InterfaceError> {
        let Shared {
            system, slot, link, ..
        } = &*self.shared;
        state.is_applied = false;
        let peers = || state.peers.values();
        let networks: Vec<_> = peers().flat_map(|peer| peer.networks.clone()).collect();
        let mut outside = state.outside.clone();
        outside.extend(peers().filter_map(|peer| peer.endpoint));
        let wanted = plan::plan(&networks, &outside);
        let left_out = match system.have(&wanted, slot.numbers(), *link).await {
            Ok(left_out) => left_out,
            Err(error) => return Err(state.fail(error)),
        };
        state.left_out = left_out;
        state.is_applied = true;
        if let Some(error) = &state.left_out {
            let error = log::in_a_line(error);
            log::later(move || {
                tracing::warn!(error, "the tunnel is without its routes of IPv6");
            });
        }
        Ok(())
    }

    /// Adds the routes of peers that are on the interface.
    async fn lead_to(&self, peers: Vec<(PublicKey, Peer)>) -> Result<(), InterfaceError> {
        let mut state = self.shared.state.lock().await;
        state.failure = None;
        state.peers.extend(peers);
        self.apply(&mut state).await
    }
}

impl Reserved {
    /// The mark that WireGuard's own packets need, so that they stay outside the tunnel: for the
    /// builder of the interface.
    pub const fn fwmark(&self) -> u32 {
        self.slot.numbers().table()
    }

    /// Puts the routes of each peer, its allowed IPs, on the system as it is installed, so that they
    /// lead to the interface of this name, and takes them back as it is removed.
    ///
    /// # Errors
    /// `link-missing`, and those of an interface that can't be asked for.
    pub async fn over(
        self,
        name: impl Into<String>,
        backend: Arc<dyn InterfaceBackend>,
    ) -> Result<Routes, LinkError> {
        let name = name.into();
        let Some(link) = NetlinkHandle::find(&name).await? else {
            return Err(LinkError(LinkFault::Missing { name }));
        };
        Ok(Routes {
            shared: Arc::new(Shared {
                inner: backend,
                name,
                link: link.index(),
                system: self.system,
                slot: self.slot,
                state: Mutex::default(),
            }),
        })
    }
}

#[async_trait]
impl InterfaceBackend for Routes {
    /// The peers first: until its routes are there, a peer's traffic goes as it went before.
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        let routed = peers.iter().map(routed).collect();
        for peer in &peers {
            if let Err(error) = self.check_free(&peer.allowed_ips).await {
                return Err(self.shared.state.lock().await.fail(error.0));
            }
        }
        self.shared.inner.install(peers).await?;
        self.lead_to(routed).await
    }

    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        let routed = peers.iter().map(routed).collect();
        self.shared.inner.renew(peers).await?;
        self.lead_to(routed).await
    }

    /// The peers first, and their routes whatever became of that: the machine's own routes then
    /// apply.
    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        let removed = self.shared.inner.remove(peers).await;
        let mut state = self.shared.state.lock().await;
        for peer in peers {
            state.peers.remove(peer);
        }
        let taken_back = self.apply(&mut state).await;
        removed.and(taken_back)
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        self.shared.inner.list().await
    }

    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        self.shared.inner.activity(peers).await
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        let fenced = self.shared.inner.fence().await;
        let mut state = self.shared.state.lock().await;
        state.peers.clear();
        let taken_back = self.apply(&mut state).await;
        fenced.and(taken_back)
    }

    async fn keep_outside(&self, addresses: &[IpAddr]) -> Result<(), InterfaceError> {
        let mut state = self.shared.state.lock().await;
        let has_new = state.keep_outside(addresses);
        if state.peers.is_empty() || (state.is_applied && !has_new) {
            return Ok(());
        }
        self.apply(&mut state).await
    }
}

fn routed(peer: &PeerConfig) -> (PublicKey, Peer) {
    let endpoint = peer.endpoint.map(|endpoint| endpoint.ip().to_canonical());
    let peer_routes = Peer {
        networks: peer.allowed_ips.clone(),
        endpoint: endpoint.filter(|address| !address.is_loopback()),
    };
    (peer.key, peer_routes)
}

impl State {
    /// Says whether any of the addresses was not kept outside before.
    fn keep_outside(&mut self, addresses: &[IpAddr]) -> bool {
        let mut has_new = false;
        for address in addresses.iter().map(IpAddr::to_canonical) {
            if address.is_loopback() {
                continue;
            }
            let known = self.outside.iter().position(|known| *known == address);
            match known {
                Some(at) => _ = self.outside.remove(at),
                None => has_new = true,
            }
            self.outside.push(address);
        }
        let surplus = self.outside.len().saturating_sub(OUTSIDE);
        self.outside.drain(..surplus);
        has_new
    }

    fn fail(&mut self, error: LinkFault) -> InterfaceError {
        self.failure = Some(error.to_string());
        InterfaceError::Backend(Box::new(LinkError(error)))
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes")
            .field("name", &self.shared.name)
            .field("fwmark", &self.fwmark())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Reserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reserved")
            .field("fwmark", &self.fwmark())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_address_that_was_asked_for_last_is_forgotten_last() {
        let mut state = State::default();
        let gate = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
        for other in 0..=u8::MAX {
            assert_eq!(state.keep_outside(&[gate]), other == 0);
            let other = IpAddr::from(Ipv4Addr::new(198, 51, 100, other));
            assert!(state.keep_outside(&[other]));
        }
        assert_eq!(state.outside.len(), OUTSIDE);
        assert!(state.outside.contains(&gate));
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert!(!state.keep_outside(&[loopback]));
    }
}
