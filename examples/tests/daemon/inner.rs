//! A location with a host behind it: what the daemon sets on the system for that, with packets, and
//! that nothing of it is left.

use std::net::IpAddr;

use crate::app::{code, code_ahead};
use crate::network::{HERE, Host, in_new_network, run};
use crate::report::enrol;
use crate::site::{Running, Site};
use crate::system::{FORWARDING, WgQuick, exported};

/// The host behind, and this end of the cable to it.
const INNER: &str = "198.51.100.2";
const NEAR: &str = "198.51.100.1";
/// The client's, in the tunnel.
const CLIENT: &str = "10.9.0.2";

/// Puts the tunnel's network behind the gate, or nothing: with masquerade the host behind needs no
/// route to it.
fn inner_host(knows_the_tunnel: bool) -> Host {
    let inner = Host::cabled("inner", NEAR, INNER);
    if knows_the_tunnel {
        inner.run("ip", &["route", "add", "10.9.0.0/24", "via", NEAR]);
    }
    inner
}

/// All that the daemon may have changed. The cables' own addresses of IPv6 come when they like, and
/// are left out.
fn system() -> Vec<String> {
    let routes = run("ip", &["-6", "-o", "route", "show", "table", "all"]);
    let is_own = |line: &&str| ["fe80:", "ff00:"].iter().any(|net| line.contains(net));
    vec![
        run("cat", &[FORWARDING]),
        run("cat", &["/proc/sys/net/ipv6/conf/all/forwarding"]),
        run("nft", &["list", "ruleset"]),
        run("ip", &["-4", "-o", "rule"]),
        run("ip", &["-6", "-o", "rule"]),
        run("ip", &["-4", "-o", "route", "show", "table", "all"]),
        routes.lines().filter(|line| !is_own(line)).collect(),
        run("ip", &["-4", "-o", "address"]),
        run("ip", &["-br", "link"]),
    ]
}

fn site(masquerade: bool) -> Site {
    run("sysctl", &["-qw", "net.ipv4.ip_forward=0"]);
    let site = Site::at(HERE);
    site.configure(|text| {
        text.replace("\"netstack\"", "\"userspace\"")
            .replace("forward = false", "forward = true")
            .replace("masquerade = false", &format!("masquerade = {masquerade}"))
            .replace(
                "networks = [\"10.9.0.0/24\"]",
                "networks = [\"10.9.0.0/24\", \"198.51.100.0/24\"]",
            )
            .replace("# dns = [\"10.9.0.1\"]", "dns = [\"198.51.100.53\"]")
            .replace("# mtu = 1420", "mtu = 1300")
    });
    site
}

/// Sends a packet of that many bytes, which may not be cut; says whether it was answered, and what
/// was said of it.
fn sent(host: &Host, bytes: u32, to: &str) -> (bool, String) {
    let payload = (bytes - 28).to_string();
    let mut ping = host.command("ping");
    ping.args(["-c", "1", "-W", "3", "-M", "do", "-s", &payload, to]);
    let output = ping.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), said)
}

/// What is to go into the tunnel must be no longer than its MTU: the gate says so, by its own.
fn assert_mtu(inner: &Host, host: &Host) {
    assert!(sent(host, 1300, INNER).0 && !sent(host, 1301, INNER).0);
    if inner.run("ip", &["route"]).contains("10.9.0.0/24") {
        assert!(sent(inner, 1300, CLIENT).0);
        let (is_answered, said) = sent(inner, 1301, CLIENT);
        assert!(!is_answered && said.contains("mtu = 1300"), "{said}");
    }
}

fn reaches(host: &Host, seconds: u32) -> bool {
    let inner: IpAddr = INNER.parse().unwrap();
    host.reaches(inner, seconds)
}

/// The source of a connection, as the host behind sees it.
fn seen_by(inner: &Host, host: &Host) -> String {
    let serve = "import socket\n\
        server = socket.create_server(('198.51.100.2', 7000))\n\
        print('listens', flush=True)\n\
        print(server.accept()[1][0], flush=True)";
    let mut server = Running::start(inner.command("python3").args(["-c", serve]));
    server.wait_for("listens");
    let connect = "import socket; socket.create_connection(('198.51.100.2', 7000), 10)";
    host.run("python3", &["-c", connect]);
    server.wait_for(".").trim().to_owned()
}

#[test]
fn a_host_behind_the_gate_answers_those_with_a_session() {
    in_new_network(|| async {
        let host = Host::joined();
        for masquerade in [false, true] {
            let site = site(masquerade);
            let inner = inner_host(!masquerade);
            let secret = enrol(&site);
            let before = system();
            let mut daemon = site.run();
            let file = exported(&host, &site, &code(&secret));
            let text = std::fs::read_to_string(&file).unwrap();
            for line in ["DNS = 198.51.100.53", "MTU = 1300"] {
                assert!(text.contains(line), "{line}");
            }
            // There is no resolver here to tell of it.
            std::fs::write(&file, text.replace("DNS = 198.51.100.53\n", "")).unwrap();

            let tunnel = WgQuick::up(&host, &file);
            assert!(reaches(&host, 20), "masquerade: {masquerade}");
            assert_mtu(&inner, &host);
            let seen = if masquerade { NEAR } else { CLIENT };
            assert_eq!(seen_by(&inner, &host), seen);
            site.admin(&["revoke", "--user", "alice"]);
            assert!(!reaches(&host, 2), "masquerade: {masquerade}");
            drop(tunnel);

            // By a signal, while a peer is in.
            let file = exported(&host, &site, &code_ahead(&secret));
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, text.replace("DNS = 198.51.100.53\n", "")).unwrap();
            let _tunnel = WgQuick::up(&host, &file);
            assert!(reaches(&host, 20), "masquerade: {masquerade}");
            if masquerade {
                daemon.interrupt();
            } else {
                daemon.terminate();
            }
            assert_eq!(daemon.status(), Some(0));
            assert!(!reaches(&host, 2), "masquerade: {masquerade}");
            assert_eq!(system(), before, "masquerade: {masquerade}");
            run("ip", &["link", "delete", "inner0"]);
        }
    });
}
