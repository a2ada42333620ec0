//! Both programs on interfaces of the system, on two hosts, with pings for packets.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use crate::network::{HERE, Host, in_new_network, run};
use crate::site::{Running, Site};
use crate::story::{code, enrol};

const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

fn site() -> Site {
    let site = Site::at(HERE);
    site.configure(|text| {
        text.replace("forward = false", "forward = true")
            .replace("masquerade = false", "masquerade = true")
    });
    site
}

fn run_on_a_tun_device(site: &Site) -> Running {
    let mut daemon = Running::start(&mut site.server(&["run", "--backend", "userspace"]));
    daemon.wait_for("is up");
    daemon
}

#[test]
fn a_code_opens_an_interface_of_the_system_and_what_was_changed_is_taken_back() {
    in_new_network(|| async {
        let host = Host::joined();
        let site = site();
        let secret = enrol(&site);
        let before = run("cat", &[FORWARDING]);
        let mut daemon = run_on_a_tun_device(&site);
        assert_eq!(run("cat", &[FORWARDING]), "1\n");
        assert!(run("nft", &["list", "ruleset"]).contains("masquerade"));

        let mut connect = host.command(env!("CARGO_BIN_EXE_connect"));
        let mut connect = Running::start(
            connect
                .arg(site.path().join("profile.toml"))
                .args(["--backend", "userspace"]),
        );
        assert!(!host.reaches(INSIDE, 1));
        connect.enter(&code(&secret, 0));
        connect.wait_for("Connected");
        assert!(host.reaches(INSIDE, 10));
        site.admin(&["revoke", "--user", "alice"]);
        assert!(!host.reaches(INSIDE, 2));

        daemon.interrupt();
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
        // The name is the interface's, and wireguard-go's sockets are the whole machine's.
        let file = site.path().join(format!("mfgq{}.conf", std::process::id()));
        let mut connect = host.command(env!("CARGO_BIN_EXE_connect"));
        let profile = site.path().join("profile.toml");
        let mut connect = Running::start(connect.arg(profile).arg("--export").arg(&file));
        connect.enter(&code(&secret, 0));
        connect.wait_for("is good for");
        assert_eq!(connect.status(), Some(0));

        let file = file.to_str().unwrap();
        let tunnel = WgQuick::up(&host, file);
        assert!(host.reaches(INSIDE, 10));
        site.admin(&["revoke", "--user", "alice"]);
        assert!(!host.reaches(INSIDE, 2));
        drop(tunnel);
    });
}

/// A tunnel of the stock tools; it goes down with the test.
struct WgQuick<'a> {
    host: &'a Host,
    file: &'a str,
}

impl<'a> WgQuick<'a> {
    fn up(host: &'a Host, file: &'a str) -> Self {
        let status = Self::command(host, "up", file).status().unwrap();
        assert!(status.success());
        Self { host, file }
    }

    fn command(host: &Host, what: &str, file: &str) -> Command {
        let mut command = host.command("wg-quick");
        command.args([what, file]);
        command.env("WG_QUICK_USERSPACE_IMPLEMENTATION", "wireguard-go");
        command
    }
}

impl Drop for WgQuick<'_> {
    fn drop(&mut self) {
        _ = Self::command(self.host, "down", self.file).status();
    }
}
