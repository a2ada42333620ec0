//! Network namespaces that go with the bench, and what runs in them.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mfagate::key::PrivateKey;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Runtime;

use crate::floor::Error;

/// A network namespace; it goes when this does.
pub(super) struct Space {
    name: String,
}

impl Space {
    /// Needs root, and `ip` (Debian package iproute2).
    pub(super) fn new() -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let space = Self {
            name: format!("mfgb{}-{number}", std::process::id()),
        };
        run("ip", &["netns", "add", &space.name])
            .map_err(|error| format!("rows of the system's interfaces need root: {error}"))?;
        space.ip("link set lo up")?;
        Ok(space)
    }

    /// Joins two of them by a cable, with these addresses at its ends.
    pub(super) fn join(&self, here: &str, other: &Self, there: &str) -> Result<(), Error> {
        self.ip(&format!(
            "link add cable type veth peer name cable netns {}",
            other.name
        ))?;
        for (space, address) in [(self, here), (other, there)] {
            space.ip(&format!("address add {address} dev cable"))?;
            space.ip("link set cable up")?;
        }
        Ok(())
    }

    /// Runs `ip` there.
    pub(super) fn ip(&self, arguments: &str) -> Result<(), Error> {
        let arguments: Vec<_> = arguments.split(' ').collect();
        run("ip", &[&["-n", &self.name][..], &arguments[..]].concat())
    }

    /// Runs a closure on a thread of its own there, which what it starts inherits.
    pub(super) fn within<T: Send>(
        &self,
        closure: impl FnOnce() -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let path = format!("/run/netns/{}", self.name);
        let done = std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let work = || {
                    let space = File::open(path)?;
                    let network = Some(LinkNameSpaceType::Network);
                    move_into_link_name_space(space.as_fd(), network)?;
                    closure()
                };
                // Errors of this program are not for other threads.
                work().map_err(|error| error.to_string())
            });
            inside.join()
        });
        Ok(done.map_err(|_| "a bench stopped in the middle")??)
    }

    /// A runtime whose threads are there, with what is made on it.
    pub(super) fn runtime<T: Send>(
        &self,
        make: impl AsyncFnOnce() -> Result<T, Error> + Send,
    ) -> Result<(Runtime, T), Error> {
        self.within(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            let made = runtime.block_on(make())?;
            Ok((runtime, made))
        })
    }

    /// Begins a command that runs there.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        _ = run("ip", &["netns", "delete", &self.name]); // it may never have been made
    }
}

/// Debian's wireguard-go with this key; it goes when this does.
pub(super) struct WireguardGo {
    pub(super) name: String,
    program: Child,
}

impl WireguardGo {
    pub(super) fn start(space: &Space, key: &PrivateKey) -> Result<Self, Error> {
        let name = format!("mfgb{}", std::process::id());
        let mut command = space.command("wireguard-go");
        command.args(["-f", &name]).stdin(Stdio::null());
        let program = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let started = Self { name, program };
        for _ in 0..500 {
            // `wg` takes a socket away that does not listen yet.
            if UnixStream::connect(started.socket()).is_ok() {
                started.configure(key)?;
                space.ip(&format!("address add 10.0.0.1/8 dev {}", started.name))?;
                space.ip(&format!("link set {} up", started.name))?;
                return Ok(started);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err("wireguard-go did not start (Debian package wireguard-go)".into())
    }

    fn socket(&self) -> String {
        format!("/var/run/wireguard/{}.sock", self.name)
    }

    fn configure(&self, key: &PrivateKey) -> Result<(), Error> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), key.expose_base64().as_bytes())?;
        let path = file.path().to_string_lossy().into_owned();
        run("wg", &["set", &self.name, "private-key", &path])
    }
}

impl Drop for WireguardGo {
    fn drop(&mut self) {
        _ = self.program.kill(); // it ends by nothing else
        _ = self.program.wait();
        // What is killed leaves it behind, and the next one of this name would be taken to be up.
        _ = std::fs::remove_file(self.socket());
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), Error> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program} can't be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), said.trim()).into())
}
