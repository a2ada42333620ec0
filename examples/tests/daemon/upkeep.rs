//! What the daemon changes on the system, with how many rights, and how it is taken back.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use crate::app::code;
use crate::network::{HERE, Host, in_new_network, run};
use crate::report::enrol;
use crate::site::{GATE_SERVER, Running, Site};
use crate::system::{FORWARDING, INSIDE, WgQuick, export, run_on_a_tun_device};

const UNPRIVILEGED: u32 = 65_534;

/// A site that changes all there is to change, in a network where nothing is.
fn site() -> Site {
    run("sysctl", &["-qw", "net.ipv4.ip_forward=0"]);
    let site = Site::at(HERE);
    site.configure(|text| {
        text.replace("forward = false", "forward = true")
            .replace("masquerade = false", "masquerade = true")
            .replace("lease_guard = false", "lease_guard = true")
    });
    site
}

#[track_caller]
pub(crate) fn nothing_is_left(site: &Site) {
    assert_eq!(run("cat", &[FORWARDING]), "0\n");
    assert_eq!(run("nft", &["list", "tables"]), "");
    assert!(!run("ip", &["link", "show"]).contains("wg0"));
    for file in ["changes.json", "admin.sock"] {
        assert!(!site.path().join("state").join(file).exists(), "{file}");
    }
}

#[test]
fn what_a_killed_daemon_leaves_is_taken_back_by_the_next() {
    in_new_network(|| async {
        let _host = Host::joined();
        let site = site();
        run_on_a_tun_device(&site).kill();
        assert_eq!(run("cat", &[FORWARDING]), "1\n");
        assert!(run("nft", &["list", "tables"]).contains("mfagate-wg0-nat"));

        // At its end, if it goes on with it.
        let mut daemon = run_on_a_tun_device(&site);
        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        nothing_is_left(&site);

        // At its start, if it has no use for it.
        run_on_a_tun_device(&site).kill();
        site.configure(|text| {
            text.replace("forward = true", "forward = false")
                .replace("masquerade = true", "masquerade = false")
                .replace("lease_guard = true", "lease_guard = false")
        });
        let mut daemon = run_on_a_tun_device(&site);
        assert_eq!(run("cat", &[FORWARDING]), "0\n");
        assert_eq!(run("nft", &["list", "tables"]), "");
        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        nothing_is_left(&site);
    });
}

#[test]
fn what_was_on_before_stays_on() {
    in_new_network(|| async {
        let _host = Host::joined();
        let site = site();
        run("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
        run_on_a_tun_device(&site).kill();
        let mut daemon = run_on_a_tun_device(&site);
        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        assert_eq!(run("cat", &[FORWARDING]), "1\n");
    });
}

#[test]
fn the_systemd_unit_is_valid_and_asks_for_one_capability() {
    let unit = include_str!("../../gate-server/gate-server.service");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate-server.service");
    let here = GATE_SERVER;
    std::fs::write(&path, unit.replace("/usr/local/bin/gate-server", here)).unwrap();
    let path = path.to_str().unwrap();
    run("systemd-analyze", &["verify", path]);
    // "OK" begins at 2.5: no service that changes the network gets much lower.
    run(
        "systemd-analyze",
        &["security", "--offline=true", "--threshold=25", path],
    );
    for set in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        assert!(unit.contains(&format!("\n{set}=CAP_NET_ADMIN\n")), "{set}");
    }
}

/// The program as a user with this capability and no other, as the systemd unit runs it.
pub(crate) fn as_nobody(site: &Site, capability: Option<&str>) -> Command {
    let program = site.path().join("gate-server");
    std::fs::copy(GATE_SERVER, &program).unwrap();
    own(site.path());
    let all = capability.map_or("-all".to_owned(), |one| format!("-all,+{one}"));
    let unprivileged = UNPRIVILEGED.to_string();
    let mut command = Command::new("setpriv");
    command.current_dir(site.path());
    command.args([
        "--reuid",
        &unprivileged,
        "--regid",
        &unprivileged,
        "--clear-groups",
    ]);
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        command.args([set, &all]);
    }
    command.arg("--no-new-privs").arg(program);
    command
}

/// Gives a folder to no one, with all that is in it.
fn own(path: &Path) {
    chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path());
        }
    }
}

/// As the systemd unit runs it: no root, one capability, and a TUN device that is open to it. On a
/// machine whose device is root's alone, it gets one of its own, in a mount namespace.
#[test]
fn one_capability_is_enough_to_change_and_take_back() {
    in_new_network(|| async {
        let host = Host::joined();
        let site = site();
        let secret = enrol(&site);
        let unprivileged = as_nobody(&site, Some("net_admin"));
        let mut own_device = Command::new("unshare");
        own_device.current_dir(site.path());
        own_device.args(["--mount", "sh", "-c"]);
        own_device.arg(
            "mount -t tmpfs tmpfs /dev/net && mknod /dev/net/tun c 10 200 && \
             chmod 666 /dev/net/tun && exec \"$0\" \"$@\"",
        );
        own_device
            .arg(unprivileged.get_program())
            .args(unprivileged.get_args());
        let mut daemon = Running::start(own_device.args(["run", "--backend", "userspace"]));
        daemon.wait_for("is up");
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id()));
        let status = status.unwrap();
        assert!(status.contains("Uid:\t65534\t65534"), "{status}");
        assert!(status.contains("CapEff:\t0000000000001000"), "{status}");
        assert_eq!(run("cat", &[FORWARDING]), "1\n");
        let tables = run("nft", &["list", "tables"]);
        assert!(
            tables.contains("mfagate-wg0-nat") && tables.contains("mfagate-wg0\n"),
            "{tables}"
        );

        let (mut connect, file) = export(&host, &site);
        connect.enter(&code(&secret));
        connect.wait_for("is good for");
        let _tunnel = WgQuick::up(&host, &file);
        assert!(host.reaches(INSIDE, 10));
        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        nothing_is_left(&site);
    });
}

#[test]
fn without_the_capability_it_says_so_and_leaves_nothing() {
    in_new_network(|| async {
        let _host = Host::joined();
        let site = site();
        site.listen_everywhere();
        for backend in ["userspace", "kernel"] {
            let mut run_it = as_nobody(&site, None);
            let output = run_it.args(["run", "--backend", backend]).output().unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{complaint}");
            assert!(complaint.contains("CAP_NET_ADMIN"), "{complaint}");
            nothing_is_left(&site);
        }
    });
}
