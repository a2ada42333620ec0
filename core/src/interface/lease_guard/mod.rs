#![doc = include_str!("docs.md")]

mod elements;
mod error;
mod interval;
mod message;
mod registry;
mod rules;
mod socket;
mod table;
mod worker;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;

pub use error::GuardError;
pub(crate) use error::GuardFault;

use super::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use crate::key::PublicKey;
use crate::time::{Clock, Instant, SystemClock};
use interval::Interval;
use registry::Registry;
use table::Pass;
use worker::Worker;

/// A backend around a backend, whose leases end in the kernel by themselves.
///
/// Dropping it leaves the table in the kernel: what is leased passes until its lease is over, and
/// nothing else does. [`close`](Self::close) takes the table away.
pub struct LeaseGuard {
    inner: Arc<dyn InterfaceBackend>,
    worker: Worker,
    registry: Arc<Mutex<Registry>>,
}

impl LeaseGuard {
    /// Shuts an interface that need not be there yet: from now on nothing passes it, except what
    /// a guard of an earlier process let in and whose lease is not over. Call it before the
    /// interface comes up with peers of its own; [`around`](Self::around) does the same.
    ///
    /// # Errors
    /// As of [`around`](Self::around).
    pub async fn shut(interface: &str) -> Result<(), GuardError> {
        Worker::start(interface).await.map(drop).map_err(GuardError)
    }

    /// Puts a guard around the backend of this network interface. When it returns, only addresses
    /// with a live lease pass; those that a guard of an earlier process let in are kept, each
    /// until its time.
    ///
    /// The guard works in the network namespace of the thread that polls this, which has to be
    /// the interface's. Dropping the future half-way leaves the interface shut.
    ///
    /// # Errors
    /// `lease-guard-interface-name`, `lease-guard-not-permitted`, `lease-guard-unsupported`,
    /// `lease-guard-taken`, `lease-guard-refused`, `lease-guard-unanswered`.
    pub async fn around(
        inner: Arc<dyn InterfaceBackend>,
        interface: &str,
    ) -> Result<Self, GuardError> {
        Ok(Self {
            inner,
            worker: Worker::start(interface).await?,
            registry: Arc::default(),
        })
    }

    /// Takes the table away, once the interface is down or empty of peers. The guard is of no use
    /// after. A second call succeeds.
    ///
    /// # Errors
    /// `lease-guard-in-use` while there are peers, and `interface-failed` when the
    /// interface doesn't say; the table then stays. `lease-guard-refused`,
    /// `lease-guard-unanswered`.
    pub async fn close(&self) -> Result<(), GuardError> {
        match self.inner.list().await {
            Err(InterfaceError::Down) => {}
            Ok(peers) if peers.is_empty() => {}
            Ok(peers) => return Err(GuardError(GuardFault::InUse { peers: peers.len() })),
            Err(unknown) => return Err(GuardError(GuardFault::Interface(unknown))),
        }
        self.worker
            .run(table::Table::unmake)
            .await
            .map_err(GuardError)
    }

    /// Makes sure that the peers from before this guard are known, as their addresses may still
    /// pass.
    async fn learn(&self) -> Result<(), InterfaceError> {
        if !lock(&self.registry).knows_all {
            self.survey().await?;
        }
        Ok(())
    }

    /// Compares the interface with the sets: returns who is there and what passes,
    /// and shuts out the addresses that are no one's.
    async fn survey(&self) -> Result<(Vec<PeerConfig>, Live), InterfaceError> {
        let peers = self.inner.list().await?;
        lock(&self.registry).learn(&peers);
        let registry = Arc::clone(&self.registry);
        let live = self.worker.run(move |table| {
            let live = table.list()?;
            // Claimed before here is known here; claimed after is put in after this.
            let known = lock(&registry).intervals();
            let is_known = |passes: &Interval| known.binary_search(passes).is_ok();
            let (live, nobodys): (Live, Live) = live.into_iter().partition(|(n, _)| is_known(n));
            let nobodys: Vec<_> = nobodys.into_iter().map(|(net, _)| net).collect();
            table.take(&nobodys)?;
            Ok(live)
        });
        Ok((peers, live.await?))
    }

    /// Gives the peers their networks, and shuts out what they no longer have.
    async fn claim(
        &self,
        peers: &[PeerConfig],
    ) -> Result<Vec<(Interval, Instant)>, InterfaceError> {
        let now = SystemClock::new().now().instant;
        let mut until = Vec::with_capacity(peers.len());
        for peer in peers {
            let lease = peer.lease.ok_or(GuardFault::NoLease { peer: peer.key })?;
            until.push((peer.key, now + lease));
        }
        self.learn().await?;
        let (given_up, leases) = {
            let mut registry = lock(&self.registry);
            let given_up = registry.claim(peers)?;
            let mut leases = Vec::with_capacity(peers.len());
            for (key, until) in until {
                let networks = registry.networks_of(key).iter().copied();
                leases.extend(networks.map(|net| (Interval::from(net), until)));
            }
            (given_up, leases)
        };
        if !given_up.is_empty() {
            self.take(given_up.into_iter().map(Interval::from).collect())
                .await?;
        }
        Ok(leases)
    }

    async fn take(&self, networks: Vec<Interval>) -> Result<(), GuardFault> {
        self.worker.run(move |table| table.take(&networks)).await
    }

    async fn put(&self, leases: Vec<(Interval, Instant)>) -> Result<(), GuardFault> {
        self.worker.run(move |table| table.put(&leases)).await
    }

    /// Shuts these peers out by their addresses.
    async fn shut_out(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        self.learn().await?;
        let networks = {
            let registry = lock(&self.registry);
            let networks = peers.iter().flat_map(|key| registry.networks_of(*key));
            networks.copied().map(Interval::from).collect()
        };
        Ok(self.take(networks).await?)
    }
}

#[async_trait]
impl InterfaceBackend for LeaseGuard {
    /// The peers first, their leases after: until both are there nothing passes, and one without
    /// the other is told by an error or, after a crash, by [`list`](InterfaceBackend::list).
    async fn install(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        let leases = self.claim(&peers).await?;
        self.inner.install(peers).await?;
        Ok(self.put(leases).await?)
    }

    /// The leases first, as the peers are there already: a crash in between leaves a peer with
    /// its old preshared key, which the next start replaces. The other way round it would leave
    /// an old lease that no one notices until it ends.
    async fn renew(&self, peers: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        let leases = self.claim(&peers).await?;
        self.put(leases).await?;
        self.inner.renew(peers).await
    }

    /// The leases first: they are quick, and nothing passes from then on, whatever becomes of the
    /// rest. Each half is tried even if the other fails, and both have to succeed.
    async fn remove(&self, peers: &[PublicKey]) -> Result<(), InterfaceError> {
        let shut_out = self.shut_out(peers).await;
        self.inner.remove(peers).await?;
        shut_out?;
        let mut registry = lock(&self.registry);
        for key in peers {
            registry.release(*key);
        }
        Ok(())
    }

    /// The peers on the interface, each with those of its allowed IPs that are guarded, and with
    /// the time that is left for all of them: none, where one of them may not pass. So a peer that
    /// is only half there can be let in as it is.
    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        let (mut peers, live) = self.survey().await?;
        let registry = lock(&self.registry);
        let now = SystemClock::new().now().instant;
        for peer in &mut peers {
            let own = registry.networks_of(peer.key);
            let ends = own.iter().map(|net| Some(pass_of(&live, net)?.until));
            let left =
                |end: Option<Instant>| end.map_or(Duration::ZERO, |end| end.saturating_since(now));
            peer.lease = ends.min().map(left);
            let is_guarded = |net: &IpNet| own.iter().any(|guarded| guarded.contains(net));
            peer.allowed_ips.retain(is_guarded);
        }
        Ok(peers)
    }

    /// What the interface says, and, where it does not count payload, what the kernel counted of
    /// the peer's addresses.
    async fn activity(&self, peers: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        let mut seen = self.inner.activity(peers).await?;
        if seen.iter().all(|one| one.payload.is_some()) {
            return Ok(seen);
        }
        self.learn().await?;
        let live = self.worker.run(table::Table::list).await?;
        let registry = lock(&self.registry);
        for one in seen.iter_mut().filter(|one| one.payload.is_none()) {
            let own = registry.networks_of(one.key);
            if !own.is_empty() {
                let bytes = own.iter().map(|net| pass_of(&live, net)?.bytes);
                one.payload = bytes.sum();
            }
        }
        Ok(seen)
    }

    /// Shuts everybody out and takes the interface down; each is tried even if the other fails.
    async fn fence(&self) -> Result<(), InterfaceError> {
        let shut = self.worker.run(table::Table::fence).await;
        self.inner.fence().await?;
        Ok(shut?)
    }

    async fn keep_outside(&self, addresses: &[std::net::IpAddr]) -> Result<(), InterfaceError> {
        self.inner.keep_outside(addresses).await
    }

    fn outlives_process(&self) -> bool {
        self.inner.outlives_process()
    }

    /// The kernel ends them, where there is an interface to go on without this process.
    fn ends_leases(&self) -> bool {
        self.inner.outlives_process()
    }

    async fn leave(&self) -> Result<(), InterfaceError> {
        // Made again where someone has deleted the table, as reloading a firewall does before Linux
        // 6.9: from here on nothing else ends these leases.
        self.worker.run(table::Table::list).await?;
        self.inner.leave().await
    }
}

impl fmt::Debug for LeaseGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseGuard").finish_non_exhaustive()
    }
}

fn lock(registry: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    // Its changes are whole: nothing under the lock panics between two halves.
    registry.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What passes, in order.
type Live = Vec<(Interval, Pass)>;

/// What is known of a network, if it passes.
fn pass_of<'a>(live: &'a Live, network: &IpNet) -> Option<&'a Pass> {
    let wanted = Interval::from(*network);
    let found = live.binary_search_by_key(&wanted, |(net, _)| *net).ok()?;
    live.get(found).map(|(_, pass)| pass)
}
