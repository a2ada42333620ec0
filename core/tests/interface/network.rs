//! Network namespaces that a test makes, and that go when it ends, however it ends.

use std::fmt::Debug;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::thread::UnshareFlags;

/// Runs a test in a network namespace of its own, with its loopback interface up. Whatever it
/// starts is in there too; the namespace goes with the last of it.
pub(crate) fn in_new_network<F, T>(test: F)
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()>,
{
    let thread = std::thread::spawn(move || {
        // SAFETY: the thread leaves the network namespace that it shares with the others, and
        // nothing else.
        let left = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
        left.expect("these tests need root");
        run("ip", &["link", "set", "lo", "up"]);
        // Its threads are made by this one, and so belong to the same namespace.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a program that must succeed; gives what it printed.
pub(crate) fn run<S: AsRef<std::ffi::OsStr> + Debug>(program: &str, arguments: &[S]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} can't be run: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaint}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Another machine: a network namespace, joined to this one by a cable of two ends.
pub(crate) struct Host {
    /// Holds the namespace.
    holder: Child,
}

/// This end's address, and the other's.
pub(crate) const HERE: &str = "192.0.2.1";
pub(crate) const THERE: &str = "192.0.2.2";

impl Host {
    /// A host without a cable.
    pub(crate) fn apart() -> Self {
        let holder = Command::new("unshare")
            .args(["--net", "sleep", "infinity"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let host = Self { holder };
        host.wait_until_apart();
        host
    }

    /// The host at the other end of a new cable.
    pub(crate) fn joined() -> Self {
        Self::cabled("cable", HERE, THERE)
    }

    /// The host at the other end of a new cable of this name, both ends with addresses of one /24.
    pub(crate) fn cabled(name: &str, here: &str, there: &str) -> Self {
        let host = Self::apart();
        let (near, far, pid) = (format!("{name}0"), format!("{name}1"), host.pid());
        let ends = ["link", "add", &near, "type", "veth", "peer", "name", &far];
        run("ip", &[ends.as_slice(), &["netns", &pid]].concat());
        run(
            "ip",
            &["address", "add", &format!("{here}/24"), "dev", &near],
        );
        run("ip", &["link", "set", &near, "up"]);
        host.run("ip", &["link", "set", "lo", "up"]);
        host.run(
            "ip",
            &["address", "add", &format!("{there}/24"), "dev", &far],
        );
        host.run("ip", &["link", "set", &far, "up"]);
        host
    }

    /// The process that holds its namespace.
    pub(crate) fn pid(&self) -> String {
        self.holder.id().to_string()
    }

    fn wait_until_apart(&self) {
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let of_holder = format!("/proc/{}/ns/net", self.pid());
        while std::fs::read_link(&of_holder).unwrap() == own {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A command that runs there.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let namespace = format!("--net=/proc/{}/ns/net", self.pid());
        command.args([namespace.as_str(), program]);
        command
    }

    /// Runs a program there that must succeed; gives what it printed.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let namespace = format!("--net=/proc/{}/ns/net", self.pid());
        run(
            "nsenter",
            &[&[namespace.as_str(), program], arguments].concat(),
        )
    }

    /// Whether the address answers from there to one of some pings.
    pub(crate) fn reaches(&self, address: IpAddr, seconds: u32) -> bool {
        let (address, seconds) = (address.to_string(), seconds.to_string());
        let mut ping = self.command("ping");
        ping.args([
            "-q", "-i", "0.2", "-c", "1", "-W", "1", "-w", &seconds, &address,
        ]);
        ping.stdout(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        _ = self.holder.kill(); // it ends by nothing else
        _ = self.holder.wait();
    }
}
