//! What it takes to put one more peer on an interface and to take it off, however many there are.

use std::sync::Arc;
use std::time::Duration;

use mfagate::interface::InterfaceBackend;
use mfagate::interface::kernel::KernelInterface;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::netstack::Netstack;
use mfagate::interface::uapi::Uapi;
use mfagate::interface::userspace::Userspace;
use mfagate::key::PrivateKey;

use super::fleet::peer;
use super::network::{Space, WireguardGo};
use crate::floor::Error;
use crate::measure::{Samples, micros, time_async};
use crate::report::{Report, Target};

/// Peers on the interface already.
const ALREADY: [u32; 3] = [1, 1000, 10_000];
/// Peers that come and go on top of them, one at a time.
const ON_TOP: u32 = 500;
const ADDRESS: &str = "10.0.0.1/8";
/// What still counts as flat: one in ten thousand is found by a few steps more than one in one, in
/// memory that no cache holds.
const FLAT: f64 = 3.0;

/// Measures what is wanted, but for the kernel's.
pub(super) fn rows(report: &mut Report) -> Result<(), Error> {
    if wants(report, "in_process") {
        let runtime = tokio::runtime::Runtime::new()?;
        let spans = runtime.block_on(async {
            let interface = Netstack::builder(PrivateKey::generate()?)
                .listen("127.0.0.1:0".parse()?)
                .address(ADDRESS.parse()?)
                .build()
                .await?;
            measure(&interface).await
        })?;
        add(report, "in_process", &spans, Some(FLAT));
    }
    if wants(report, "userspace") {
        let space = Space::new()?;
        let (_, spans) = space.runtime(async || measure(&userspace().await?).await)?;
        add(report, "userspace", &spans, Some(FLAT));
    }
    if wants(report, "guarded") {
        let space = Space::new()?;
        let (_, spans) = space.runtime(async || {
            let guard = LeaseGuard::around(Arc::new(userspace().await?), "wg0").await?;
            measure(&guard).await
        })?;
        add(report, "guarded", &spans, Some(FLAT));
    }
    if wants(report, "uapi") {
        let space = Space::new()?;
        let key = PrivateKey::generate()?;
        let program = WireguardGo::start(&space, &key)?;
        for (name, believes, flat) in [
            ("uapi", true, Some(FLAT)),
            // Each removal reads all peers: that is its floor.
            ("uapi_read_back", false, None),
        ] {
            let (_, spans) = space.runtime(async || {
                let mut builder = Uapi::builder(&program.name).renews_in_place();
                if believes {
                    builder = builder.danger_believe_removals();
                }
                measure(&builder.build(&key).await?).await
            })?;
            add(report, name, &spans, flat);
        }
    }
    Ok(())
}

/// Measures what is wanted of the kernel's.
pub(super) fn rows_of_the_kernel(report: &mut Report) -> Result<(), Error> {
    if wants(report, "kernel") {
        let space = Space::new()?;
        let (_, spans) = space.runtime(async || measure(&kernel().await?).await)?;
        add(report, "kernel", &spans, Some(FLAT));
    }
    if wants(report, "kernel_guarded") {
        let space = Space::new()?;
        let (_, spans) = space.runtime(async || {
            let guard = LeaseGuard::around(Arc::new(kernel().await?), "wg0").await?;
            measure(&guard).await
        })?;
        add(report, "kernel_guarded", &spans, Some(FLAT));
    }
    Ok(())
}

async fn userspace() -> Result<Userspace, Error> {
    let builder = Userspace::builder("wg0", PrivateKey::generate()?);
    Ok(builder.address(ADDRESS.parse()?).build().await?)
}

async fn kernel() -> Result<KernelInterface, Error> {
    let builder = KernelInterface::builder("wg0", PrivateKey::generate()?);
    Ok(builder.address(ADDRESS.parse()?).create().await?)
}

/// What one more peer takes to install and to remove, at the median, with so many there already.
type Spans = [(Duration, Duration); ALREADY.len()];

async fn measure(interface: &dyn InterfaceBackend) -> Result<Spans, Error> {
    let mut spans = Spans::default();
    let mut installed = 0;
    for (span, already) in spans.iter_mut().zip(ALREADY) {
        interface
            .install((installed..already).map(peer).collect())
            .await?;
        installed = already;
        *span = one_more(interface, already).await?;
    }
    let all: Vec<_> = (0..installed).map(|number| peer(number).key).collect();
    interface.remove(&all).await?;
    Ok(spans)
}

async fn one_more(
    interface: &dyn InterfaceBackend,
    already: u32,
) -> Result<(Duration, Duration), Error> {
    let (mut installs, mut removals) = (Vec::new(), Vec::new());
    for number in already..already + ON_TOP {
        let peer = peer(number);
        let key = peer.key;
        let (took, installed) = time_async(interface.install(vec![peer])).await;
        installed?;
        installs.push(took);
        let (took, removed) = time_async(interface.remove(&[key])).await;
        removed?;
        removals.push(took);
    }
    Ok((
        Samples::of(installs).median(),
        Samples::of(removals).median(),
    ))
}

fn wants(report: &Report, backend: &str) -> bool {
    ["install", "remove"]
        .iter()
        .any(|what| report.wants(&format!("interface.{backend}_{what}")))
}

fn add(report: &mut Report, backend: &str, spans: &Spans, flat: Option<f64>) {
    let [few, some, many] = spans;
    for (name, few, some, many) in [
        ("install", few.0, some.0, many.0),
        ("remove", few.1, some.1, many.1),
    ] {
        let name = format!("interface.{backend}_{name}");
        let target = flat.map_or(Target::Lower, Target::AtMost);
        report.add(format!("{name}_1"), micros(few), "µs", Target::Lower);
        report.add(format!("{name}_10k"), micros(many), "µs", Target::Lower);
        for (times, span) in [("1k_to_1", some), ("10k_to_1", many)] {
            let ratio = span.as_secs_f64() / few.as_secs_f64();
            report.add(format!("{name}_{times}"), ratio, "ratio", target);
        }
    }
}
