//! A client that goes on from another address, under each rule.

use std::process::{Child, Stdio};
use std::time::Duration;

use crate::app::code;
use crate::network::{HERE, Host, THERE, in_new_network};
use crate::report::enrol;
use crate::site::{CONNECT, Running, Site};
use crate::system::{ForeignInterface, INSIDE, WgQuick, export, run_on_a_tun_device};

const ELSEWHERE: &str = "192.0.2.3";
/// A look at the peer, the time in which a move settles, and as much again for a slow machine.
const NOTICED_WITHIN: u32 = 120;

fn site(rule: &str) -> Site {
    let site = Site::at(HERE);
    let line = format!("lease = \"8h\"\nendpoint_change = \"{rule}\"");
    site.configure(|text| text.replace("lease = \"8h\"", &line));
    site
}

/// Traffic, more than handshakes make, until it is dropped.
struct Traffic(Child);

impl Traffic {
    fn start(host: &Host) -> Self {
        let mut ping = host.command("ping");
        ping.args(["-q", "-i", "0.1", "-s", "1300", &INSIDE.to_string()]);
        Self(ping.stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        _ = self.0.kill(); // it ends by nothing else
        _ = self.0.wait();
    }
}

/// The client's host gets another address, as in another network.
fn move_away(host: &Host) {
    let add = format!("{ELSEWHERE}/24");
    let delete = format!("{THERE}/24");
    host.run("ip", &["address", "add", &add, "dev", "cable1"]);
    host.run("ip", &["address", "delete", &delete, "dev", "cable1"]);
    host.run("ip", &["address", "replace", &add, "dev", "cable1"]);
}

fn is_told(site: &Site) -> bool {
    let trail = site.admin(&["audit", "export"]);
    let is_move = |line: &str| line.contains("endpoint_changed") && line.contains(ELSEWHERE);
    trail.lines().any(is_move)
}

fn is_told_in_time(site: &Site) -> bool {
    (0..NOTICED_WITHIN).any(|_| {
        std::thread::sleep(Duration::from_secs(1));
        is_told(site)
    })
}

fn connect(host: &Host, site: &Site, code: &str) -> Running {
    let mut connect = host.command(CONNECT);
    let profile = site.path().join("profile.toml");
    let mut connect = Running::start(connect.arg(profile).args(["--backend", "userspace"]));
    connect.enter(code);
    connect.wait_for("Connected");
    connect
}

/// Long enough for a first look at where the client is.
fn settle_in(host: &Host) -> Traffic {
    assert!(host.reaches(INSIDE, 20));
    let traffic = Traffic::start(host);
    std::thread::sleep(Duration::from_secs(12));
    traffic
}

#[test]
fn a_change_of_address_is_told_where_the_policy_warns() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site("warn"));
        let secret = enrol(&site);
        let _gate = run_on_a_tun_device(&site);
        let _connect = connect(&host, &site, &code(&secret));
        let _traffic = settle_in(&host);
        move_away(&host);
        assert!(is_told_in_time(&site));
        assert!(host.reaches(INSIDE, 20), "it goes on from there");
        assert!(site.admin(&["sessions"]).contains("alice"));
    });
}

#[test]
fn a_change_of_address_ends_the_session_and_says_why() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site("reauthenticate"));
        let secret = enrol(&site);
        let _gate = run_on_a_tun_device(&site);
        let mut connect = connect(&host, &site, &code(&secret));
        let _traffic = settle_in(&host);
        move_away(&host);
        let line = connect.wait_for("The session is over");
        assert!(line.contains("went to another network"), "{line}");
        assert_eq!(connect.status(), Some(5));
        assert!(is_told(&site));
        assert!(!site.admin(&["sessions"]).contains("alice"));
    });
}

/// The same on an interface that believes the first message of a handshake, under a lease guard.
#[test]
fn a_change_of_address_ends_another_client_s_session() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site("reauthenticate"));
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, true);
        let _gate = site.run();
        let (mut connect, file) = export(&host, &site);
        connect.enter(&code(&secret));
        connect.wait_for("is good for");
        let _tunnel = WgQuick::up(&host, &file);
        let _traffic = settle_in(&host);
        move_away(&host);
        assert!(is_told_in_time(&site));
        assert!(!host.reaches(INSIDE, 2));
        assert_eq!(interface.peers(), "");
    });
}

#[test]
fn without_a_rule_a_client_may_roam() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site("off"));
        let secret = enrol(&site);
        let _gate = run_on_a_tun_device(&site);
        let _connect = connect(&host, &site, &code(&secret));
        let _traffic = settle_in(&host);
        move_away(&host);
        std::thread::sleep(Duration::from_secs(70));
        assert!(!is_told(&site));
        assert!(host.reaches(INSIDE, 20));
    });
}
