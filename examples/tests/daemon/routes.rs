//! A client's routes, on hosts with networks of several layouts: what is there is never touched, and
//! what is added comes with the grant and is all taken back.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mfagate::client::Profile;

use crate::factors::{PASSWORD, set_password};
use crate::network::{HERE, Host, in_new_network, run};
use crate::site::{CONNECT, Running, Site};
use crate::system::{INSIDE, WgQuick, lasts, run_on_a_tun_device};

/// The gate's, which no host's cable is in.
const GATE: &str = "203.0.113.1";
/// Elsewhere: whatever way it is reached, the same machine answers.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 80));
const ELSEWHERE_6: &str = "2001:db8:1::80";
const EVERYTHING: &str = "networks = [\"0.0.0.0/0\", \"::/0\"]";
const DEVICE: &str = "mfagate0";

/// Gives this machine the addresses of the gate and of elsewhere.
fn public() {
    for address in [GATE, &ELSEWHERE.to_string(), ELSEWHERE_6] {
        run("ip", &["address", "add", address, "dev", "lo"]);
    }
}

/// A location whose networks these are, for a laptop with these addresses, by a password.
fn site(networks: &str, addresses: &str) -> Site {
    let site = Site::at(GATE);
    site.configure(|text| {
        text.replace("networks = [\"10.9.0.0/24\"]", networks)
            .replace("any_of = [\"totp\"]", "any_of = [\"password\"]")
    });
    site.admin(&["user", "add", "alice"]);
    let peer = ["peer", "add", "--user", "alice", "--label", "laptop"];
    site.admin(&[peer.as_slice(), &["--address", "10.9.0.2/32"]].concat());
    set_password(&site);
    let path = site.path().join("profile.toml");
    let profile = std::fs::read_to_string(&path).unwrap();
    let (before, after) = (
        "addresses = [\"10.9.0.2/32\"]",
        format!("addresses = {addresses}"),
    );
    assert!(profile.contains(before), "{profile}");
    std::fs::write(&path, profile.replace(before, &after)).unwrap();
    site
}

/// All of both families that a client could have changed. What the system gives to a cable by itself
/// comes when it likes, and is left out.
fn system(host: &Host) -> Vec<String> {
    let all: &[&[&str]] = &[&["rule"], &["route", "show", "table", "all"], &["address"]];
    let mut said = Vec::new();
    for family in ["-4", "-6"] {
        for what in all {
            let shown = host.run("ip", &[&[family, "-o"], *what].concat());
            let is_own = |line: &&str| ["fe80:", "ff00:"].iter().any(|net| line.contains(net));
            said.extend(
                shown
                    .lines()
                    .filter(|line| !is_own(line))
                    .map(str::to_owned),
            );
        }
    }
    said
}

/// Fails where two readings of the system differ, and says only in what they do.
#[track_caller]
fn same(now: &[String], before: &[String], when: &str) {
    let only_in = |these: &[String], those: &[String]| -> Vec<String> {
        let lines = these.iter().filter(|line| !those.contains(line));
        lines.cloned().collect()
    };
    let (more, less) = (only_in(now, before), only_in(before, now));
    assert!(now == before, "{when}: added {more:#?}, missing {less:#?}");
}

/// Which route leads where, the client's own device left out.
fn ways(host: &Host) -> Vec<String> {
    let mut ways = system(host);
    ways.retain(|line| !line.contains(DEVICE));
    ways
}

/// The device that packets to an address leave by.
fn way_to(host: &Host, address: &str) -> String {
    let said = host.run("ip", &["-o", "route", "get", address]);
    let (_, device) = said.split_once(" dev ").unwrap();
    device.split(' ').next().unwrap().to_owned()
}

fn said_by(site: &Site) -> PathBuf {
    site.path().join("connect.log")
}

/// Begins to sign in; its device is there.
fn begin(host: &Host, site: &Site) -> Running {
    let mut connect = host.command(CONNECT);
    let log = std::fs::File::create(said_by(site)).unwrap();
    let profile = site.path().join("profile.toml");
    let connect = Running::start(
        connect
            .arg(profile)
            .args(["--backend", "userspace"])
            .stderr(log),
    );
    wait(|| {
        host.run("ip", &["-o", "link", "show", "up"])
            .contains(DEVICE)
    });
    connect
}

fn has_device(host: &Host) -> bool {
    host.run("ip", &["-o", "link"]).contains(DEVICE)
}

fn connected(host: &Host, site: &Site) -> Running {
    let mut connect = begin(host, site);
    connect.enter(PASSWORD);
    connect.wait_for("Connected");
    connect
}

fn wait(until: impl Fn() -> bool) {
    let mut looks = 0;
    while !until() {
        looks += 1;
        assert!(looks < 600, "it never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// All traffic goes through the tunnel while a session lives, and the gate is reached beside it; what
/// ends it, and be it SIGKILL, leaves nothing.
fn all_traffic_and_back(lay_out: fn(&Host), has_ipv6: bool) {
    in_new_network(move || async move {
        let host = Host::joined();
        public();
        lay_out(&host);
        let site = site(EVERYTHING, "[\"10.9.0.2/32\", \"fd00:9::2/128\"]");
        let _daemon = run_on_a_tun_device(&site);
        let before = system(&host);

        for signal in ["-INT", "-TERM", "-KILL"] {
            let mut connect = begin(&host, &site);
            same(&ways(&host), &before, "before the grant");
            assert_eq!(way_to(&host, GATE), "cable1");
            connect.enter(PASSWORD);
            connect.wait_for("Connected");

            assert_eq!(way_to(&host, &ELSEWHERE.to_string()), DEVICE);
            assert!(host.reaches(ELSEWHERE, 20), "through the tunnel");
            assert!(host.reaches(INSIDE, 20));
            assert_eq!(way_to(&host, GATE), "cable1");
            assert_eq!(way_to(&host, HERE), "cable1", "the host's own network");
            if has_ipv6 {
                assert_eq!(way_to(&host, ELSEWHERE_6), DEVICE);
            }
            let during = system(&host);
            assert!(
                before.iter().all(|line| during.contains(line)),
                "{during:#?}"
            );

            run("kill", &[signal, &connect.child.id().to_string()]);
            _ = connect.status();
            wait(|| !has_device(&host));
            assert_eq!(way_to(&host, &ELSEWHERE.to_string()), "cable1");
            assert!(host.reaches(ELSEWHERE, 20), "by the machine's own way");
            if signal == "-KILL" {
                assert_ne!(system(&host), before, "its rules are left");
                let mut next = begin(&host, &site);
                wait(|| ways(&host) == before);
                next.interrupt();
                _ = next.status();
                wait(|| !has_device(&host));
            }
            same(&system(&host), &before, signal);
        }
    });
}

fn route(arguments: &'static [&'static str]) -> impl Fn(&Host) {
    move |host| {
        let add = ["route", "add", "default"];
        host.run("ip", &[add.as_slice(), arguments].concat());
    }
}

fn switch_ipv6_off(host: &Host) {
    for which in ["all", "default", "cable1"] {
        let off = format!("net.ipv6.conf.{which}.disable_ipv6=1");
        host.run("sysctl", &["-qw", &off]);
    }
}

#[test]
fn a_full_tunnel_leaves_a_default_route_without_metric_alone() {
    all_traffic_and_back(|host| route(&["via", HERE])(host), true);
}

#[test]
fn a_full_tunnel_beside_two_default_routes_goes_and_leaves_them() {
    all_traffic_and_back(
        |host| {
            route(&["via", HERE, "metric", "100", "proto", "dhcp"])(host);
            route(&["via", HERE, "metric", "600", "proto", "dhcp"])(host);
        },
        true,
    );
}

#[test]
fn a_full_tunnel_under_a_strict_filter_has_both_families() {
    all_traffic_and_back(
        |host| {
            let here = ["address", "add", "2001:db8::1/64", "nodad", "dev", "cable0"];
            run("ip", &here);
            let there = ["address", "add", "2001:db8::2/64", "nodad", "dev", "cable1"];
            host.run("ip", &there);
            route(&["via", HERE, "metric", "100"])(host);
            let add = ["-6", "route", "add", "default", "via", "2001:db8::1"];
            host.run("ip", &add);
            for which in ["all", "default", "cable1"] {
                let strict = format!("net.ipv4.conf.{which}.rp_filter=1");
                host.run("sysctl", &["-qw", &strict]);
            }
        },
        true,
    );
}

#[test]
fn a_full_tunnel_of_a_host_without_ipv6_has_ipv4_and_says_so() {
    all_traffic_and_back(
        |host| {
            switch_ipv6_off(host);
            route(&["via", HERE])(host);
        },
        false,
    );
}

#[test]
fn without_ipv6_its_addresses_are_left_out_and_named() {
    in_new_network(|| async {
        let host = Host::joined();
        public();
        switch_ipv6_off(&host);
        route(&["via", HERE])(&host);
        let networks = "networks = [\"10.9.0.0/24\", \"fd00:9::/64\"]";
        let site = site(networks, "[\"10.9.0.2\", \"10.9.0.3/32\", \"fd00:9::2\"]");
        let _daemon = run_on_a_tun_device(&site);
        let mut connect = connected(&host, &site);
        assert!(host.reaches(INSIDE, 20));
        let addresses = host.run("ip", &["-o", "address", "show", "dev", DEVICE]);
        for address in ["10.9.0.2/32", "10.9.0.3/32"] {
            assert!(addresses.contains(address), "{addresses}");
        }
        let said = std::fs::read_to_string(said_by(&site)).unwrap();
        for part in ["goes without fd00:9::2/128", "routes of IPv6"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("root"), "{said}");
        connect.interrupt();
        _ = connect.status();

        let path = site.path().join("profile.toml");
        let profile = std::fs::read_to_string(&path).unwrap();
        let alone = profile.replace("\"10.9.0.2\", \"10.9.0.3/32\", ", "");
        std::fs::write(&path, alone).unwrap();
        let mut connect = host.command(CONNECT);
        let connect = connect.arg(&path).args(["--backend", "userspace"]);
        let output = connect.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            said.contains("IPv6 is switched off on this machine"),
            "{said}"
        );
    });
}

#[test]
fn nothing_leaks_while_the_gate_is_gone() {
    const LEASE: Duration = Duration::from_secs(20);
    in_new_network(|| async {
        let host = Host::joined();
        public();
        route(&["via", HERE])(&host);
        let site = site(EVERYTHING, "[\"10.9.0.2/32\"]");
        let max_age = ("max_age = \"8h\"", "max_age = \"20s\"");
        site.configure(|text| lasts(text, LEASE).replace(max_age.0, max_age.1));
        let daemon = run_on_a_tun_device(&site);
        let before = system(&host);
        let mut connect = begin(&host, &site);
        connect.enter(PASSWORD);
        connect.wait_for("Connected");
        assert_eq!(way_to(&host, &ELSEWHERE.to_string()), DEVICE);
        daemon.kill();
        assert!(!host.reaches(ELSEWHERE, 2), "beside the tunnel");
        assert_eq!(way_to(&host, &ELSEWHERE.to_string()), DEVICE);
        wait(|| ways(&host) == before);
        assert_eq!(way_to(&host, &ELSEWHERE.to_string()), "cable1");
        assert!(host.reaches(ELSEWHERE, 20), "by the machine's own way");
    });
}

#[test]
fn other_programs_routes_stay_and_win_where_they_are_longer() {
    in_new_network(|| async {
        let host = Host::joined();
        public();
        route(&["via", HERE, "metric", "50"])(&host);
        for (device, address) in [("docker0", "172.17.0.1/16"), ("tun7", "10.20.0.1/32")] {
            let far = format!("{device}-far");
            let ends = ["link", "add", device, "type", "veth", "peer", "name", &far];
            host.run("ip", &ends);
            host.run("ip", &["link", "set", &far, "up"]);
            host.run("ip", &["address", "add", address, "dev", device]);
            host.run("ip", &["link", "set", device, "up"]);
        }
        host.run("ip", &["route", "add", "10.20.0.0/16", "dev", "tun7"]);
        let networks = "networks = [\"10.9.0.0/24\", \"172.16.0.0/12\", \"203.0.0.0/8\"]";
        let site = site(networks, "[\"10.9.0.2/32\"]");
        let _daemon = run_on_a_tun_device(&site);
        let before = system(&host);

        let mut connect = connected(&host, &site);
        assert!(host.reaches(INSIDE, 20));
        for (address, device) in [
            ("172.17.0.9", "docker0"),
            ("172.18.0.9", DEVICE),
            ("10.20.0.9", "tun7"),
            ("203.1.1.1", DEVICE),
            (GATE, "cable1"),
            ("198.51.100.80", "cable1"),
        ] {
            assert_eq!(way_to(&host, address), device, "{address}");
        }
        let during = system(&host);
        assert!(
            before.iter().all(|line| during.contains(line)),
            "{during:#?}"
        );
        connect.interrupt();
        _ = connect.status();
        wait(|| !has_device(&host));
        same(&system(&host), &before, "after the end");

        // The very same network is another VPN's: the session gives way, and says to what.
        let theirs = ["route", "add", "172.16.0.0/12", "dev", "tun7"];
        host.run("ip", &theirs);
        let before = system(&host);
        let mut connect = begin(&host, &site);
        connect.enter(PASSWORD);
        assert_eq!(connect.status(), Some(1));
        let said = std::fs::read_to_string(said_by(&site)).unwrap();
        assert!(said.contains("there is a route to 172.16.0.0/12"), "{said}");
        wait(|| !has_device(&host));
        same(&system(&host), &before, "after the end");
    });
}

#[test]
fn what_was_left_is_taken_back_by_hand_as_the_manual_says() {
    in_new_network(|| async {
        let host = Host::joined();
        public();
        route(&["via", HERE])(&host);
        let site = site(EVERYTHING, "[\"10.9.0.2/32\"]");
        let _daemon = run_on_a_tun_device(&site);
        let before = system(&host);
        connected(&host, &site).kill();
        wait(|| !has_device(&host));
        assert_ne!(system(&host), before);
        let chapter = include_str!("../../../core/src/manual/client_routes.md");
        let commands = chapter
            .lines()
            .filter_map(|line| line.strip_prefix("# for f"));
        let commands: Vec<String> = commands.map(|line| format!("for f{line}")).collect();
        assert_eq!(commands.len(), 2);
        for command in &commands {
            let status = host.command("sh").args(["-c", command]).status().unwrap();
            assert!(status.success(), "{command}");
        }
        same(&system(&host), &before, "after the end");
    });
}

/// A WireGuard that another program runs on the host brings its session's routes, too.
#[test]
fn a_full_tunnel_over_uapi_keeps_the_gate_outside() {
    in_new_network(|| async {
        let host = Host::joined();
        public();
        route(&["via", HERE])(&host);
        let site = site(EVERYTHING, "[\"10.9.0.2/32\"]");
        let _daemon = run_on_a_tun_device(&site);
        let name = format!("mfr{}", std::process::id());
        let program = host.command("wireguard-go").args(["-f", &name]).spawn();
        let mut program = program.unwrap();
        let socket = format!("/var/run/wireguard/{name}.sock");
        wait(|| std::os::unix::net::UnixStream::connect(&socket).is_ok());
        let profile = Profile::read(site.path().join("profile.toml")).unwrap();
        let key = site.path().join("peer.key");
        std::fs::write(&key, profile.private_key.expose_base64().as_bytes()).unwrap();
        host.run("wg", &["set", &name, "private-key", key.to_str().unwrap()]);
        host.run("ip", &["address", "add", "10.9.0.2/32", "dev", &name]);
        host.run("ip", &["link", "set", &name, "up"]);
        let before = system(&host);

        let mut connect = host.command(CONNECT);
        connect.arg(site.path().join("profile.toml"));
        connect.args(["--backend", "uapi", "--interface", &name]);
        let mut connect = Running::start(&mut connect);
        connect.enter(PASSWORD);
        connect.wait_for("Connected");
        assert_eq!(way_to(&host, &ELSEWHERE.to_string()), name);
        assert_eq!(way_to(&host, GATE), "cable1");
        assert!(host.reaches(ELSEWHERE, 20));
        connect.interrupt();
        _ = connect.status();
        same(&system(&host), &before, "after the end");
        program.kill().unwrap();
        program.wait().unwrap();
        _ = std::fs::remove_file(socket);
    });
}

/// The interface outlives a client that was killed, with its routes, and the next client of its name
/// takes it over.
#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn a_full_tunnel_over_kernel_goes_with_the_next_start() {
    in_new_network(|| async {
        let host = Host::joined();
        public();
        route(&["via", HERE, "metric", "100"])(&host);
        let site = site(EVERYTHING, "[\"10.9.0.2/32\", \"fd00:9::2/128\"]");
        let _daemon = run_on_a_tun_device(&site);
        let before = system(&host);
        let begin = || {
            let mut connect = host.command(CONNECT);
            connect.arg(site.path().join("profile.toml"));
            Running::start(connect.args(["--backend", "kernel"]))
        };
        let tunnelled = || {
            let mut connect = begin();
            connect.enter(PASSWORD);
            connect.wait_for("Connected");
            assert_eq!(way_to(&host, &ELSEWHERE.to_string()), DEVICE);
            assert_eq!(way_to(&host, ELSEWHERE_6), DEVICE);
            assert_eq!(way_to(&host, GATE), "cable1");
            assert!(host.reaches(ELSEWHERE, 20));
            connect
        };
        let mut connect = tunnelled();
        connect.interrupt();
        _ = connect.status();
        same(&system(&host), &before, "signed out");

        tunnelled().kill();
        assert_eq!(way_to(&host, &ELSEWHERE.to_string()), DEVICE);
        let mut next = begin();
        wait(|| ways(&host) == before);
        next.interrupt();
        _ = next.status();
        let mut again = tunnelled();
        again.interrupt();
        _ = again.status();
        same(&ways(&host), &before, "signed out of what was taken over");
    });
}

/// Signs in for a file of `wg-quick`, of this name.
fn exported(host: &Host, site: &Site, name: &str) -> PathBuf {
    let file = site
        .path()
        .join(format!("mfgr{}{name}.conf", std::process::id()));
    let mut connect: Command = host.command(CONNECT);
    let profile = site.path().join("profile.toml");
    let mut connect = Running::start(connect.arg(profile).arg("--export").arg(&file));
    connect.enter(PASSWORD);
    connect.wait_for("is good for");
    assert_eq!(connect.status(), Some(0));
    file
}

#[test]
fn signing_in_again_works_while_an_exported_full_tunnel_is_up() {
    in_new_network(|| async {
        let host = Host::joined();
        public();
        route(&["via", HERE])(&host);
        let site = site(EVERYTHING, "[\"10.9.0.2/32\"]");
        let _daemon = run_on_a_tun_device(&site);
        let before = system(&host);
        let file = exported(&host, &site, "a");
        let tunnel = WgQuick::up(&host, &file);
        assert!(host.reaches(INSIDE, 20));
        assert_ne!(way_to(&host, &ELSEWHERE.to_string()), "cable1");

        // While its session is live, and after that has ended.
        exported(&host, &site, "b");
        assert!(
            !host.reaches(INSIDE, 2),
            "the new session's key is in the new file"
        );
        site.admin(&["revoke", "--user", "alice"]);
        let file = exported(&host, &site, "c");
        drop(tunnel);
        let tunnel = WgQuick::up(&host, &file);
        assert!(host.reaches(INSIDE, 20));
        drop(tunnel);
        same(&system(&host), &before, "after the end");
    });
}
