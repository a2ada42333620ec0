//! A standard output and a standard error that can't be written, or that no one reads.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::app::{code, now};
use crate::network::{HERE, Host, in_new_network};
use crate::report::{enrol, office};
use crate::site::{GATE_SERVER, Running, Site};
use crate::system::{INSIDE, LATE, Pings, WgQuick, export, lasts};

/// A daemon that is killed at the end of the test.
struct Daemon(Child);

impl Daemon {
    /// Waits for its socket, since it may have no way to say that it is up.
    #[track_caller]
    fn start(site: &Site, command: &mut Command) -> Self {
        let mut daemon = Self(command.spawn().unwrap());
        let socket = site.path().join("state/admin.sock");
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert_eq!(daemon.0.try_wait().unwrap(), None, "it ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        _ = self.0.kill(); // it may have ended
        _ = self.0.wait();
    }
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// Each is a way in which a terminal, a disk or a supervisor is gone.
#[test]
fn access_ends_on_time_whatever_becomes_of_the_log() {
    const LEASE: Duration = Duration::from_secs(14);
    for way in ["full", "unread", "closed"] {
        in_new_network(move || async move {
            let (host, site) = (Host::joined(), Site::at(HERE));
            site.configure(|text| lasts(text, LEASE));
            let secret = enrol(&site);
            let mut command = site.server(&["run", "--backend", "userspace"]);
            command.env("RUST_LOG", "trace");
            match way {
                "full" => command.stdout(full()).stderr(full()),
                // A pipe takes 64 KiB, which is soon said at this level.
                "unread" => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
                _ => {
                    let closed = "exec \"$@\" >&- 2>&-";
                    let mut shell = Command::new("sh");
                    shell.args(["-c", closed, "sh", GATE_SERVER]);
                    shell.args(["run", "--backend", "userspace"]);
                    shell.current_dir(site.path()).env("RUST_LOG", "trace");
                    command = shell;
                    &mut command
                }
            };
            let mut daemon = Daemon::start(&site, &mut command);
            for _ in 0..200 {
                _ = std::net::TcpStream::connect(site.control); // each is worth some lines
            }
            let (mut connect, file) = export(&host, &site);
            connect.enter(&code(&secret));
            connect.wait_for("is good for");
            let latest_end = now() + LEASE;
            let tunnel = WgQuick::up(&host, &file);
            assert!(host.reaches(INSIDE, 8), "{way}");
            let last = Pings::past(&host, latest_end).last();
            assert!(last < latest_end + LATE, "{way}: cut too late");
            drop(tunnel);
            assert_eq!(site.admin(&["revoke", "--all"]), "Sessions ended: 0\n");
            assert_eq!(daemon.0.try_wait().unwrap(), None, "{way}: it ended");
            Command::new("kill")
                .arg(daemon.0.id().to_string())
                .status()
                .unwrap();
            assert_eq!(daemon.0.wait().unwrap().code(), Some(0), "{way}");
        });
    }
}

#[test]
fn a_command_whose_output_is_not_written_fails_without_a_panic() {
    let (site, _) = office();
    for command in [
        &["peer", "list", "--json"][..],
        &["sessions"],
        &["policy", "explain", "--user", "alice"],
    ] {
        let output = site.server(command).stdout(full()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("not all of the output was written"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    // Who reads no further, as `head` does, is told nothing.
    let mut child = site.server(&["sessions"]);
    let mut child = child
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    child.wait().unwrap();
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_daemon_whose_output_is_not_written_serves_and_stops() {
    let (site, secret) = office();
    let mut command = site.server(&["run"]);
    let mut daemon = Daemon::start(&site, command.stdout(full()).stderr(full()));
    let mut connect = crate::report::connect(&site);
    connect.enter(&code(&secret));
    connect.wait_for("Connected");
    Command::new("kill")
        .arg(daemon.0.id().to_string())
        .status()
        .unwrap();
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
    assert!(!Path::new(&site.path().join("state/admin.sock")).exists());
    drop::<Running>(connect);
}
