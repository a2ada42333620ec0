//! Both programs on interfaces of the system, on two hosts, with pings for packets.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mfagate::time::Timestamp;

use crate::app::{code, now};
use crate::network::{HERE, Host, in_new_network, run};
use crate::report::enrol;
use crate::site::{CONNECT, Running, Site};

pub(crate) const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
/// How much later than a lease's end a machine that has other work may still show an echo. What was
/// sent in time is one; under attack, `flood` wants less.
pub(crate) const LATE: Duration = Duration::from_secs(2);
pub(crate) const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

pub(crate) fn site() -> Site {
    let site = Site::at(HERE);
    site.configure(|text| {
        text.replace("forward = false", "forward = true")
            .replace("masquerade = false", "masquerade = true")
    });
    site
}

pub(crate) fn run_on_a_tun_device(site: &Site) -> Running {
    let mut daemon = Running::start(&mut site.server(&["run", "--backend", "userspace"]));
    daemon.wait_for("is up");
    daemon
}

#[test]
fn a_code_opens_a_tun_device_and_all_changes_are_taken_back() {
    in_new_network(|| async {
        let host = Host::joined();
        let site = site();
        let secret = enrol(&site);
        let before = run("cat", &[FORWARDING]);
        let mut daemon = run_on_a_tun_device(&site);
        assert_eq!(run("cat", &[FORWARDING]), "1\n");
        assert!(run("nft", &["list", "ruleset"]).contains("masquerade"));

        let mut connect = host.command(CONNECT);
        let mut connect = Running::start(
            connect
                .arg(site.path().join("profile.toml"))
                .args(["--backend", "userspace"]),
        );
        assert!(!host.reaches(INSIDE, 1));
        connect.enter(&code(&secret));
        connect.wait_for("Connected");
        assert!(host.reaches(INSIDE, 10));
        site.admin(&["revoke", "--user", "alice"]);
        assert!(!host.reaches(INSIDE, 2));

        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        assert_eq!(run("cat", &[FORWARDING]), before);
        assert!(!run("nft", &["list", "ruleset"]).contains("mfagate"));
        assert!(!run("ip", &["link", "show"]).contains("wg0"));
    });
}

#[test]
fn an_exported_session_works_with_wg_quick_until_it_is_revoked() {
    in_new_network(|| async {
        let host = Host::joined();
        let site = site();
        let secret = enrol(&site);
        let _daemon = run_on_a_tun_device(&site);
        let tunnel = admitted(&host, &site, &code(&secret));
        assert!(host.reaches(INSIDE, 10));
        site.admin(&["revoke", "--user", "alice"]);
        assert!(!host.reaches(INSIDE, 2));
        drop(tunnel);
    });
}

#[test]
fn an_exported_session_works_with_wg_quick_while_it_lasts() {
    const LEASE: Duration = Duration::from_secs(14);
    in_new_network(|| async {
        let host = Host::joined();
        let site = site();
        site.configure(|text| lasts(text, LEASE));
        let secret = enrol(&site);
        let _daemon = run_on_a_tun_device(&site);
        let (mut connect, file) = export(&host, &site);
        let earliest_end = now() + LEASE;
        connect.enter(&code(&secret));
        connect.wait_for("is good for");
        let latest_end = now() + LEASE;
        let _tunnel = WgQuick::up(&host, &file);
        assert!(host.reaches(INSIDE, 8));
        let last = Pings::past(&host, latest_end).last();
        assert!(
            last + Duration::from_secs(1) > earliest_end,
            "cut too early"
        );
        assert!(last < latest_end + LATE, "cut too late");
        assert!(!site.admin(&["sessions"]).contains("alice"));
    });
}

/// In the process and on a TUN device nothing passes once the process is gone, however it went.
#[test]
fn a_killed_gate_takes_its_tun_device_with_it() {
    in_new_network(|| async {
        let host = Host::joined();
        let site = site();
        let secret = enrol(&site);
        let mut daemon = run_on_a_tun_device(&site);
        let _tunnel = admitted(&host, &site, &code(&secret));
        assert!(host.reaches(INSIDE, 5));
        let flow = Pings::start(&host, 50, 4);
        std::thread::sleep(Duration::from_secs(1));
        daemon.child.kill().unwrap();
        daemon.child.wait().unwrap();
        let killed = now();
        let last = flow.last();
        assert!(last < killed + Duration::from_secs(1), "it goes on");
        assert!(!run("ip", &["link", "show"]).contains("wg0"));
    });
}

#[test]
fn the_kernel_ends_a_lease_on_time_after_the_gate_was_killed() {
    const LEASE: Duration = Duration::from_secs(14);
    in_new_network(|| async {
        let host = Host::joined();
        let site = Site::at(HERE);
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, true);
        site.configure(|text| lasts(text, LEASE));
        let mut daemon = site.run();
        let (mut connect, file) = export(&host, &site);
        let earliest_end = now() + LEASE;
        connect.enter(&code(&secret));
        connect.wait_for("is good for");
        let latest_end = now() + LEASE;
        let _tunnel = WgQuick::up(&host, &file);
        assert!(host.reaches(INSIDE, 8));

        let flow = Pings::past(&host, latest_end);
        daemon.child.kill().unwrap();
        let last = flow.last();
        let early = Duration::from_secs(2);
        assert!(last + early > earliest_end, "cut too early");
        assert!(last < latest_end + LATE, "cut too late");
        assert!(interface.peers().len() > 1);

        let mut daemon = site.run();
        assert_eq!(interface.peers(), "");
        assert!(!host.reaches(INSIDE, 1));
        assert!(run("nft", &["list", "tables"]).contains("mfagate"));
        daemon.interrupt();
        assert_eq!(daemon.status(), Some(0));
        assert!(!run("nft", &["list", "tables"]).contains("mfagate"));
    });
}

/// A configuration whose leases last that long.
pub(crate) fn lasts(text: String, lease: Duration) -> String {
    let lease = format!("lease = \"{}s\"", lease.as_secs());
    text.replace("lease = \"8h\"", &lease)
}

/// Pings from a host to the gate's address inside.
pub(crate) struct Pings(Child);

impl Pings {
    /// One every so many milliseconds, for so many seconds; then it waits for the last reply.
    pub(crate) fn start(host: &Host, every: u32, seconds: u32) -> Self {
        let mut ping = host.command("ping");
        let (count, every) = (seconds * 1000 / every, f64::from(every) / 1000.0);
        let (count, every) = (count.to_string(), every.to_string());
        ping.args(["-D", "-n", "-i", &every, "-c", &count, "-W", "1"]);
        Self(
            ping.arg(INSIDE.to_string())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    /// Many, until some time past the end of a lease.
    pub(crate) fn past(host: &Host, end: Timestamp) -> Self {
        let left = end.saturating_since(now()) + Duration::from_secs(3);
        Self::start(host, 50, u32::try_from(left.as_secs()).unwrap())
    }

    /// What `ping` said in the end.
    pub(crate) fn said(self) -> String {
        String::from_utf8(self.0.wait_with_output().unwrap().stdout).unwrap()
    }

    /// When the last reply came.
    pub(crate) fn last(self) -> Timestamp {
        let said = self.said();
        let last = said.lines().filter_map(replied_at).next_back();
        last.expect("packets passed before")
    }
}

/// When a line of `ping -D` says that a reply came.
fn replied_at(line: &str) -> Option<Timestamp> {
    let (at, rest) = line.strip_prefix('[')?.split_once(']')?;
    let (secs, micros) = at.split_once('.')?;
    let millis = secs.parse::<u64>().ok()? * 1000 + micros.get(..3)?.parse::<u64>().ok()?;
    rest.contains("bytes from")
        .then_some(Timestamp::from_millis(millis))
}

/// An interface that is not the daemon's, and outlives it: Debian's wireguard-go with its key.
pub(crate) struct ForeignInterface {
    pub(crate) name: String,
    program: Child,
}

impl ForeignInterface {
    pub(crate) fn up(site: &Site) -> Self {
        // wireguard-go's sockets are the whole machine's, whatever network it is in: a name that
        // two tests of this program had at once would lead one to the other's interface.
        static NTH: AtomicU32 = AtomicU32::new(0);
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let name = format!("mfk{}x{nth}", std::process::id());
        let program = Command::new("wireguard-go").args(["-f", &name]).spawn();
        let interface = Self {
            name,
            program: program.unwrap(),
        };
        let name = &interface.name;
        let socket = socket_of(name);
        // `wg` takes a socket away that does not listen yet.
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let key = site.path().join("state/gate.key");
        let port = site.wireguard.port().to_string();
        let key = ["private-key", key.to_str().unwrap()];
        run(
            "wg",
            &[&["set", name, "listen-port", &port], key.as_slice()].concat(),
        );
        run("ip", &["address", "add", "10.9.0.1/24", "dev", name]);
        run("ip", &["link", "set", name, "up"]);
        interface
    }

    /// Has the site serve it, with a lease guard or without.
    pub(crate) fn serve(&self, site: &Site, guarded: bool) {
        site.configure(|text| {
            text.replace("backend = \"netstack\"", "backend = \"uapi\"")
                .replace("name = \"wg0\"", &format!("name = \"{}\"", self.name))
                .replace("lease_guard = false", &format!("lease_guard = {guarded}"))
        });
    }

    /// Sends the program behind it a signal.
    pub(crate) fn signal(&self, name: &str) {
        run("kill", &[name, &self.program.id().to_string()]);
    }

    /// The public keys of those on it.
    pub(crate) fn peers(&self) -> String {
        run("wg", &["show", &self.name, "peers"])
    }
}

fn socket_of(name: &str) -> String {
    format!("/var/run/wireguard/{name}.sock")
}

impl Drop for ForeignInterface {
    fn drop(&mut self) {
        _ = self.program.kill(); // it may have ended
        _ = self.program.wait();
        // It goes with a program that ends by itself.
        _ = std::fs::remove_file(socket_of(&self.name));
    }
}

/// Begins to sign in for a file of `wg-quick`.
pub(crate) fn export(host: &Host, site: &Site) -> (Running, PathBuf) {
    // The name is the interface's, and wireguard-go's sockets are the whole machine's.
    static NTH: AtomicU32 = AtomicU32::new(0);
    let nth = NTH.fetch_add(1, Ordering::Relaxed);
    let name = format!("mfgq{}{nth}.conf", std::process::id());
    let file = site.path().join(name);
    let mut connect = host.command(CONNECT);
    let profile = site.path().join("profile.toml");
    let connect = Running::start(connect.arg(profile).arg("--export").arg(&file));
    (connect, file)
}

/// A file of `wg-quick`, of a session that this code was good for.
pub(crate) fn exported(host: &Host, site: &Site, code: &str) -> PathBuf {
    let (mut connect, file) = export(host, site);
    connect.enter(code);
    connect.wait_for("is good for");
    assert_eq!(connect.status(), Some(0));
    file
}

/// Signs in with this code, and brings the tunnel up with the stock tools.
pub(crate) fn admitted<'a>(host: &'a Host, site: &Site, code: &str) -> WgQuick<'a> {
    WgQuick::up(host, &exported(host, site, code))
}

/// Signs in, and is in.
pub(crate) fn let_in<'a>(host: &'a Host, site: &Site, code: &str) -> WgQuick<'a> {
    let tunnel = admitted(host, site, code);
    assert!(host.reaches(INSIDE, 20));
    tunnel
}

/// A tunnel of the stock tools; it goes down with the test.
pub(crate) struct WgQuick<'a> {
    host: &'a Host,
    file: PathBuf,
}

impl<'a> WgQuick<'a> {
    pub(crate) fn up(host: &'a Host, file: &Path) -> Self {
        let status = Self::command(host, "up", file).status().unwrap();
        assert!(status.success());
        let file = file.to_owned();
        Self { host, file }
    }

    /// Bytes that the client's end has sent so far.
    pub(crate) fn sent(&self) -> u64 {
        let name = self.file.file_stem().unwrap().to_str().unwrap();
        let shown = self.host.run("wg", &["show", name, "transfer"]);
        let sent = shown.split_whitespace().next_back();
        sent.unwrap().parse().unwrap()
    }

    fn command(host: &Host, what: &str, file: &Path) -> Command {
        let mut command = host.command("wg-quick");
        command.arg(what).arg(file);
        command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", "wireguard-go");
        command
    }
}

impl Drop for WgQuick<'_> {
    fn drop(&mut self) {
        _ = Self::command(self.host, "down", &self.file).status();
    }
}
