//! A gate that starts where another was killed, with ten thousand live leases.
//!
//! The span is that of `Gate::start`: the sessions are read and unsealed, the peers are read once,
//! and the two are brought together. The interface is real, and stays; the first gate is cut off.

use std::sync::Arc;
use std::time::Duration;

use mfagate::interface::kernel::KernelInterface;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::netstack::Netstack;
use mfagate::interface::uapi::Uapi;
use mfagate::interface::userspace::Userspace;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PresharedKey, PublicKey};

use super::counted::Counted;
use super::fleet::{Fleet, peer};
use super::network::{Space, WireguardGo};
use crate::floor::Error;
use crate::measure::{Samples, time_async};
use crate::report::{Report, Target};

const LEASES: u32 = 10_000;
/// Peers that differ from what is leased, in four ways.
const DIFFERENCES: u32 = 10;
const ROUNDS: usize = 5;
/// How long a restart may take.
const SECONDS: f64 = 2.0;
const ADDRESS: &str = "10.0.0.1/8";

/// Measures what is wanted, but for the kernel's.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    let wants = |report: &Report, backend: &str| {
        let names = ["restart_10k", "reconcile_10k"];
        names
            .iter()
            .any(|name| report.wants(&format!("interface.{backend}_{name}")))
    };
    if wants(report, "in_process") {
        let runtime = tokio::runtime::Runtime::new()?;
        let restarts = runtime.block_on(async {
            let fleet = Fleet::admit(LEASES).await?;
            let netstack = Netstack::builder(fleet.key.clone())
                .listen("127.0.0.1:0".parse()?)
                .address(ADDRESS.parse()?)
                .build()
                .await?;
            measure(&fleet, Arc::new(netstack)).await
        })?;
        restarts.add(report, "in_process", Target::AtMost(SECONDS));
    }
    if wants(report, "guarded") {
        let space = Space::new()?;
        let (_, restarts) = space.runtime(async || {
            let fleet = Fleet::admit(LEASES).await?;
            let userspace = Userspace::builder("wg0", fleet.key.clone());
            let userspace = userspace.address(ADDRESS.parse()?).build().await?;
            let guard = LeaseGuard::around(Arc::new(userspace), "wg0").await?;
            measure(&fleet, Arc::new(guard)).await
        })?;
        restarts.add(report, "guarded", Target::AtMost(SECONDS));
    }
    if wants(report, "uapi") {
        let space = Space::new()?;
        let (_, restarts) = space.runtime(async || {
            let fleet = Fleet::admit(LEASES).await?;
            let program = WireguardGo::start(&space, &fleet.key)?;
            let uapi = Uapi::builder(&program.name).renews_in_place();
            measure(&fleet, Arc::new(uapi.build(&fleet.key).await?)).await
        })?;
        restarts.add(report, "uapi", Target::AtMost(SECONDS));
    }
    Ok(())
}

/// Measures what is wanted of the kernel's.
pub(super) fn rows_of_the_kernel(report: &mut Report) -> Result<(), Error> {
    if !report.wants("interface.kernel_restart_10k") && !report.wants("interface.kernel_reconcile")
    {
        return Ok(());
    }
    let space = Space::new()?;
    let (_, (kernel, guarded)) = space.runtime(async || {
        let fleet = Fleet::admit(LEASES).await?;
        let kernel = KernelInterface::builder("wg0", fleet.key.clone());
        let kernel = kernel.address(ADDRESS.parse()?).create().await?;
        let of_kernel = measure(&fleet, Arc::new(kernel.clone())).await?;
        let guard = LeaseGuard::around(Arc::new(kernel), "wg0").await?;
        let guarded = measure(&fleet, Arc::new(guard)).await?;
        Ok((of_kernel, guarded))
    })?;
    // A machine whose seconds are instructions says what a peer costs, not how long a boot takes.
    kernel.add(report, "kernel", Target::Lower);
    guarded.add(report, "kernel_guarded", Target::Lower);
    Ok(())
}

/// What was seen.
struct Restarts {
    /// Until the gate is open, with every peer in place.
    open: Duration,
    /// The same where no peer is: after a boot, or where the interface goes with the process.
    again: Duration,
    /// How often the peers were read at a start, at the most.
    dumps: usize,
    /// How many peers were touched where none differed, at the most.
    touched: usize,
    /// How many where ten did.
    reconciled: usize,
}

async fn measure(fleet: &Fleet, interface: Arc<dyn InterfaceBackend>) -> Result<Restarts, Error> {
    let again = start(fleet, &interface).await?;
    if interface.list().await?.len() != usize::try_from(LEASES)? {
        return Err("a start did not install every peer".into());
    }
    let mut opens = Vec::new();
    let (mut dumps, mut touched) = (again.dumps, 0);
    for _ in 0..ROUNDS {
        let start = start(fleet, &interface).await?;
        opens.push(start.took);
        dumps = dumps.max(start.dumps);
        touched = touched.max(start.touched);
    }
    differ(&*interface).await?;
    let reconciled = start(fleet, &interface).await?;
    check(&*interface).await?;
    let all: Vec<_> = (0..LEASES).map(|number| peer(number).key).collect();
    interface.remove(&all).await?;
    Ok(Restarts {
        open: Samples::of(opens).median(),
        again: again.took,
        dumps: dumps.max(reconciled.dumps),
        touched,
        reconciled: reconciled.touched,
    })
}

/// One start.
struct Start {
    took: Duration,
    dumps: usize,
    touched: usize,
}

async fn start(fleet: &Fleet, interface: &Arc<dyn InterfaceBackend>) -> Result<Start, Error> {
    let counted = Arc::new(Counted::new(Arc::clone(interface)));
    let (took, gate) = time_async(fleet.open(counted.clone())).await;
    let start = Start {
        took,
        dumps: counted.lists(),
        touched: counted.touched(),
    };
    counted.cut();
    gate?.shutdown().await;
    Ok(start)
}

/// Makes ten peers differ: absent, present without a lease, and changed in two ways.
async fn differ(interface: &dyn InterfaceBackend) -> Result<(), Error> {
    let absent: Vec<_> = (1..4).map(|number| peer(number).key).collect();
    interface.remove(&absent).await?;
    let mut changed: Vec<PeerConfig> = (LEASES..LEASES + 2).map(peer).collect();
    for number in 4..7 {
        let mut other = peer(number);
        other.psk = Some(PresharedKey::from_bytes([8; 32]));
        changed.push(other);
    }
    for number in 7..9 {
        let mut other = peer(number);
        other.allowed_ips = vec![format!("10.200.0.{number}/32").parse()?];
        changed.push(other);
    }
    interface.install(changed).await?;
    Ok(())
}

/// Makes sure that the differences are gone.
async fn check(interface: &dyn InterfaceBackend) -> Result<(), Error> {
    let listed = interface.list().await?;
    let find = |key: PublicKey| listed.iter().find(|peer| peer.key == key);
    for number in 0..9 {
        let wanted = peer(number);
        let found = find(wanted.key);
        let is_right =
            |found: &PeerConfig| found.psk == wanted.psk && found.allowed_ips == wanted.allowed_ips;
        if !found.is_some_and(is_right) {
            return Err(format!("peer {number} is not as it is leased").into());
        }
    }
    if listed.len() != usize::try_from(LEASES)? {
        return Err("a peer without a lease is left".into());
    }
    Ok(())
}

impl Restarts {
    fn add(&self, report: &mut Report, backend: &str, of_anew: Target) {
        let count = |count: usize| u32::try_from(count).map_or(f64::NAN, f64::from);
        let name = |what: &str| format!("interface.{backend}_{what}");
        let seconds = self.open.as_secs_f64();
        report.add(name("restart_10k"), seconds, "s", Target::AtMost(SECONDS));
        let seconds = self.again.as_secs_f64();
        report.add(name("restart_10k_anew"), seconds, "s", of_anew);
        let dumps = count(self.dumps);
        report.add(
            name("restart_10k_dumps"),
            dumps,
            "dumps",
            Target::Exactly(1.0),
        );
        let touched = count(self.touched);
        report.add(
            name("restart_10k_touched"),
            touched,
            "peers",
            Target::Exactly(0.0),
        );
        let touched = count(self.reconciled);
        let target = Target::Exactly(f64::from(DIFFERENCES));
        report.add(name("reconcile_10k_touched"), touched, "peers", target);
    }
}
