//! `gate-server` in front of the kernel's WireGuard, and in front of every other interface with the
//! kernel's as the client; always with stock tools on another host. `cargo xtask test` runs this in
//! a virtual machine whose kernel has it.

use std::time::Duration;

use crate::adoption::ORPHAN;
use crate::app::{code, code_ahead, now};
use crate::before::nothing_passes_without_the_session_s_key;
use crate::flood;
use crate::network::{HERE, Host, in_new_network, run};
use crate::report::enrol;
use crate::site::{PAGE, Running, Site};
use crate::system::{FORWARDING, ForeignInterface, INSIDE, Pings, admitted, lasts};
use crate::upkeep::{as_nobody, nothing_is_left};

/// A site that changes all there is to change, in a network where nothing is.
fn site() -> Site {
    run("sysctl", &["-w", "net.ipv4.ip_forward=0"]);
    let site = Site::at(HERE);
    site.listen_everywhere();
    site.configure(|text| {
        text.replace("backend = \"netstack\"", "backend = \"kernel\"")
            .replace("forward = false", "forward = true")
            .replace("masquerade = false", "masquerade = true")
            .replace("lease_guard = false", "lease_guard = true")
    });
    site
}

fn peers() -> String {
    run("wg", &["show", "wg0", "peers"])
}

#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn a_code_opens_the_kernel_s_interface_and_revoke_closes_it() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site());
        let secret = enrol(&site);
        let mut daemon = site.run();
        assert_eq!(run("cat", &[FORWARDING]), "1\n");
        assert!(!host.reaches(INSIDE, 1));
        let tunnel = admitted(&host, &site, &code(&secret));
        assert!(host.reaches(INSIDE, 20));
        site.admin(&["revoke", "--user", "alice"]);
        assert_eq!(peers(), "");
        assert!(!host.reaches(INSIDE, 2));
        drop(tunnel);
        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        nothing_is_left(&site);
    });
}

#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn nothing_passes_kernel_without_the_session_s_key() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site());
        nothing_passes_without_the_session_s_key(&host, &site);
    });
}

#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn a_kernel_lease_ends_on_time_after_the_gate_was_killed() {
    const LEASE: Duration = Duration::from_secs(25);
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site());
        site.configure(|text| lasts(text, LEASE));
        let secret = enrol(&site);
        let daemon = site.run();
        let earliest_end = now() + LEASE;
        let _tunnel = admitted(&host, &site, &code(&secret));
        let latest_end = now() + LEASE;
        assert!(host.reaches(INSIDE, 10));
        daemon.kill();
        let last = Pings::start(&host, 50, 30).last();
        println!(
            "the last reply came {:?} before the latest end",
            latest_end.saturating_since(last)
        );
        assert!(
            last + Duration::from_secs(1) > earliest_end,
            "cut too early"
        );
        assert!(last < latest_end + Duration::from_secs(1), "cut too late");
        assert_ne!(peers(), "", "the kernel's WireGuard knows of no lease");

        let mut daemon = site.run();
        assert_eq!(peers(), "");
        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        nothing_is_left(&site);
    });
}

#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn a_restart_adopts_the_kernel_s_interface_unnoticed() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site());
        let secret = enrol(&site);
        let daemon = site.run();
        let _tunnel = admitted(&host, &site, &code(&secret));
        assert!(host.reaches(INSIDE, 20));
        let leased = peers();
        let flow = Pings::start(&host, 50, 12);
        daemon.kill();
        let stranger = ["set", "wg0", "peer", ORPHAN, "allowed-ips", "10.9.0.77/32"];
        run("wg", &stranger);
        let mut daemon = site.run();
        assert_eq!(peers(), leased);
        let said = flow.said();
        assert!(said.contains(" 0% packet loss"), "{said}");
        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        nothing_is_left(&site);
    });
}

#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn the_restart_command_loses_no_packet_on_kernel() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site());
        let secret = enrol(&site);
        let mut daemon = site.run();
        let _tunnel = admitted(&host, &site, &code(&secret));
        assert!(host.reaches(INSIDE, 20));
        let leased = peers();
        let flow = Pings::start(&host, 50, 12);
        let said = site.admin(&["restart"]);
        assert!(said.contains("live peers stay"), "{said}");
        assert_eq!(daemon.status(), Some(75));
        assert_eq!(peers(), leased);
        let mut daemon = site.run();
        assert_eq!(peers(), leased);
        let said = flow.said();
        assert!(said.contains(" 0% packet loss"), "{said}");
        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        nothing_is_left(&site);
    });
}

#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn an_attack_on_the_control_port_keeps_no_one_in_on_kernel() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site());
        site.configure(|text| lasts(text, flood::LEASE));
        let secret = enrol(&site);
        let mut daemon = site.run_with_files(flood::FILES, &[]);
        flood::withstands(&host, &site, &secret, &daemon, flood::EMULATED);
        assert_eq!(peers(), "");
        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        nothing_is_left(&site);
    });
}

#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn settings_of_an_interface_left_behind_are_put_right() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site());
        site.configure(|text| text.replace("# mtu = 1420", "mtu = 1380"));
        let secret = enrol(&site);
        let daemon = site.run();
        let _tunnel = admitted(&host, &site, &code(&secret));
        assert!(host.reaches(INSIDE, 20));
        let shown = || {
            let link = run("ip", &["-o", "link", "show", "dev", "wg0"]);
            let is_up = link.contains(",UP");
            let addresses = run("ip", &["-4", "-br", "address", "show", "dev", "wg0"]);
            let port = run("wg", &["show", "wg0", "listen-port"]);
            (is_up, link.contains("mtu 1380"), addresses, port)
        };
        let (before, leased) = (shown(), peers());

        let differs = || {
            run("ip", &["address", "add", "10.9.7.1/24", "dev", "wg0"]);
            run("ip", &["address", "del", "10.9.0.1/24", "dev", "wg0"]);
            run("ip", &["link", "set", "wg0", "mtu", "1280"]);
            run("wg", &["set", "wg0", "listen-port", "7"]);
        };
        daemon.kill();
        differs();
        let daemon = site.run();
        assert_eq!(shown(), before);
        assert_eq!(peers(), leased);
        assert!(host.reaches(INSIDE, 20), "with the session that was live");

        // A peer on an interface that was taken down may have been shut out.
        daemon.kill();
        run("wg", &["set", "wg0", "peer", ORPHAN]);
        run("ip", &["link", "set", "wg0", "down"]);
        let mut daemon = site.run();
        assert_eq!(shown(), before);
        assert_eq!(peers(), leased);
        assert!(host.reaches(INSIDE, 40), "with a handshake of its own");
        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        nothing_is_left(&site);
    });
}

#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn one_capability_is_enough_for_the_kernel_s_interface() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site());
        let secret = enrol(&site);
        let mut daemon = Running::start(as_nobody(&site, Some("net_admin")).arg("run"));
        daemon.wait_for("is up");
        let _tunnel = admitted(&host, &site, &code(&secret));
        assert!(host.reaches(INSIDE, 20));
        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        nothing_is_left(&site);
    });
}

#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn a_kernel_without_the_module_is_told_so_and_nothing_is_left() {
    in_new_network(|| async {
        let (_host, site) = (Host::joined(), site());
        let helper = "/proc/sys/kernel/modprobe";
        let modprobe = std::fs::read_to_string(helper).unwrap();
        std::fs::write(helper, "/bin/false").unwrap();
        run("rmmod", &["wireguard"]);
        let complaint = site.refused(&["run"]);
        std::fs::write(helper, modprobe.trim()).unwrap();
        run("modprobe", &["wireguard"]);
        assert!(complaint.contains("modprobe wireguard"), "{complaint}");
        nothing_is_left(&site);
    });
}

/// By whatever interface the gate is on: twice, since the second session's key is another.
fn the_kernel_is_let_in_and_out(host: &Host, site: &Site, reaches: impl Fn(u32) -> bool) {
    let secret = enrol(site);
    let _daemon = site.run();
    for code in [code, code_ahead] {
        let tunnel = admitted(host, site, &code(&secret));
        let link = host.run("ip", &["-details", "link", "show", "type", "wireguard"]);
        assert!(link.contains("mfgq"), "it is another make: {link}");
        assert!(reaches(20));
        site.admin(&["revoke", "--user", "alice"]);
        assert!(!reaches(2));
        drop(tunnel);
    }
}

#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn the_kernel_is_a_client_of_a_gate_on_a_tun_device() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        site.configure(|text| text.replace("\"netstack\"", "\"userspace\""));
        the_kernel_is_let_in_and_out(&host, &site, |within| host.reaches(INSIDE, within));
    });
}

#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn the_kernel_is_a_client_of_a_gate_on_uapi() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, true);
        the_kernel_is_let_in_and_out(&host, &site, |within| host.reaches(INSIDE, within));
    });
}

#[test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
fn the_kernel_is_a_client_of_a_gate_in_its_own_process() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        site.have_a_page();
        let page = format!("http://{PAGE}/");
        the_kernel_is_let_in_and_out(&host, &site, |within| {
            let mut fetch = host.command("timeout");
            fetch.args([&within.to_string(), "wget", "-q", "-O", "-", &page]);
            let fetched = fetch.output().unwrap();
            String::from_utf8_lossy(&fetched.stdout).contains("You are inside.")
        });
    });
}
