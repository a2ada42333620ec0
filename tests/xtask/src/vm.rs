//! Tests that need the kernel's own WireGuard: run in a virtual machine that boots Debian's cloud
//! kernel with nothing but these tests on it.
//!
//! The machine is always emulated. It is slower than a host with `/dev/kvm`, and the same on every
//! host: what is measured in it says that something happens, and little of how fast.

mod boot;
mod image;
mod tree;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::{Failure, cargo, executable_in, output, workspace};
use crate::debian;
use crate::tally::Tally;

/// A test executable of the workspace that runs in the machine.
#[derive(Debug)]
struct Job {
    /// What the step is called, and where the source is.
    name: &'static str,
    /// Its name as a target of cargo's.
    target: &'static str,
    /// Programs of its package that it starts, at the places where cargo put them.
    programs: &'static [&'static str],
    /// Which of its tests run.
    tests: Tests,
}

#[derive(Debug, Clone, Copy)]
enum Tests {
    /// Those that need the kernel's WireGuard, and are ignored elsewhere.
    Ignored,
    /// All: they run elsewhere too, and here on an old kernel.
    All,
}

/// Every test executable of which the machine runs tests.
const JOBS: &[Job] = &[
    Job {
        name: "core/tests/kernel",
        target: "kernel",
        programs: &[],
        tests: Tests::Ignored,
    },
    Job {
        name: "core/tests/lease_guard",
        target: "lease_guard",
        programs: &[],
        tests: Tests::All,
    },
    Job {
        name: "examples/tests/daemon",
        target: "daemon",
        programs: &["tested-gate-server", "tested-connect"],
        tests: Tests::Ignored,
    },
];

/// Kernel modules that the machine loads, with whatever these need.
const MODULES: &[&str] = &[
    "wireguard",
    "tun",
    "veth",
    "dummy",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_limit",
    "nft_log",
    "nft_masq",
    "nft_reject_inet",
];

/// Programs of the host that tests call in the machine, apart from those of busybox.
const PROGRAMS: &[&str] = &[
    "bash",
    "ip",
    "nft",
    "nsenter",
    "ping",
    "setpriv",
    "stat",
    "unshare",
    "wg",
    "wg-quick",
    "wireguard-go",
];

/// Files of the host that programs read there: without authorities a client of HTTP does not begin.
const FILES: &[&str] = &["/etc/ssl/certs/ca-certificates.crt"];

/// All of it, boot to power-off, on a slow machine.
const LIMIT: Duration = Duration::from_secs(1500);

/// The same for the benches.
const BENCH_LIMIT: Duration = Duration::from_secs(1800);

/// Which tests to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose names contain this.
    filter: Option<String>,
}

/// `cargo xtask vm`: these tests alone.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    debian::ensure(debian::VM)?;
    let mut steps = Tally::default();
    take(&mut steps, arguments.filter.as_deref());
    println!("{}", steps.line());
    steps.verdict()
}

/// Takes each test executable as a step of its own.
pub(crate) fn take(steps: &mut Tally, filter: Option<&str>) {
    let console = prepared(filter).and_then(|machine| boot::run(&machine, boot::Time::Host, LIMIT));
    for job in JOBS {
        let step = format!("kernel WireGuard in a VM: {}", job.name);
        let outcome = match &console {
            Ok(console) => boot::verdict(console, job.name),
            Err(failure) => Err(Failure(failure.0.clone())),
        };
        steps.take(&step, outcome);
    }
}

/// Measures the rows of the benches that need the kernel's WireGuard; gives them as JSON.
pub(crate) fn bench(benches: &Path, only: Option<&str>) -> Result<String, Failure> {
    debian::ensure(debian::VM)?;
    let load = tree::Load {
        executables: vec![benches.to_path_buf()],
        beside: Vec::new(),
        commands: |places: &[String]| boot::bench_command(&places.concat(), only),
    };
    let console = boot::run(&machine(load)?, boot::Time::Instructions, BENCH_LIMIT)?;
    boot::report(&console)
}

/// Builds the tests, and a machine with them on it.
fn prepared(filter: Option<&str>) -> Result<boot::Machine, Failure> {
    let (mut executables, mut beside) = (Vec::new(), Vec::new());
    for job in JOBS {
        let (executable, programs) = built(job)?;
        executables.push(executable);
        beside.extend(programs);
    }
    machine(tree::Load {
        executables,
        beside,
        commands: |places: &[String]| {
            let command = |(job, place): (&Job, &String)| boot::command(job, place, filter);
            JOBS.iter().zip(places).map(command).collect()
        },
    })
}

fn machine(load: tree::Load<impl Fn(&[String]) -> String>) -> Result<boot::Machine, Failure> {
    let folder = workspace().join("target/vm");
    let kernel = image::kernel(&folder)?;
    let initramfs = tree::pack(&folder, &kernel, load)?;
    Ok(boot::Machine {
        kernel: kernel.image,
        initramfs,
    })
}

/// Builds a test executable as `cargo xtask test` built it before, and says where it is, and where
/// the programs are that it starts.
fn built(job: &Job) -> Result<(PathBuf, Vec<PathBuf>), Failure> {
    let target = job.target;
    let arguments =
        format!("test --workspace --all-features --test {target} --no-run --message-format json");
    let lines = output(&mut cargo(&arguments))?;
    let find = |target: &str| {
        executable_in(&lines, target)
            .ok_or_else(|| Failure(format!("cargo did not say where `{target}` is")))
    };
    let programs = job.programs.iter().map(|program| find(program));
    Ok((find(target)?, programs.collect::<Result<_, _>>()?))
}
