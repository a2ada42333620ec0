//! Settings that can't work: each is refused in words that say what to do, and nothing is left.

use std::net::{TcpListener, UdpSocket};

use crate::network::{HERE, Host, in_new_network, run};
use crate::report::enrol;
use crate::site::Site;
use crate::system::{FORWARDING, ForeignInterface};

/// A site whose daemon would change all there is to change.
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

/// What a refused start says; it leaves the system as it was.
#[track_caller]
fn refused(site: &Site, backend: &str, says: &str) {
    let links = run("ip", &["-o", "link", "show"]);
    let complaint = site.refused(&["run", "--backend", backend]);
    assert!(complaint.contains(says), "{backend}: {complaint}");
    assert_eq!(run("cat", &[FORWARDING]), "0\n");
    assert_eq!(run("nft", &["list", "tables"]), "");
    assert_eq!(run("ip", &["-o", "link", "show"]), links);
    for file in ["changes.json", "admin.sock"] {
        assert!(!site.path().join("state").join(file).exists(), "{file}");
    }
}

#[test]
fn a_port_that_is_taken() {
    in_new_network(|| async {
        let _host = Host::joined();
        let site = site();
        let control = TcpListener::bind(site.control).unwrap();
        refused(&site, "userspace", "control_listen");
        drop(control);
        let _wireguard = UdpSocket::bind(site.wireguard).unwrap();
        refused(&site, "userspace", "in use by another program");
        site.configure(|text| {
            text.replace("forward = true", "forward = false")
                .replace("masquerade = true", "masquerade = false")
                .replace("lease_guard = true", "lease_guard = false")
        });
        refused(&site, "netstack", "in use");
    });
}

#[test]
fn an_address_that_the_kernel_can_t_listen_at_alone() {
    in_new_network(|| async {
        let _host = Host::joined();
        let site = site();
        refused(&site, "kernel", "listens at every address");
    });
}

#[test]
fn a_name_that_is_in_use() {
    in_new_network(|| async {
        let _host = Host::joined();
        let site = site();
        run("ip", &["tuntap", "add", "wg0", "mode", "tun"]);
        refused(&site, "userspace", "pick another name");
        site.listen_everywhere();
        refused(&site, "kernel", "pick another name");
        site.configure(|text| text.replace("name = \"wg0\"", "name = \"wg 0\""));
        refused(&site, "userspace", "can't be an interface's name");
        refused(&site, "kernel", "pick another");
    });
}

#[test]
fn a_network_that_another_interface_is_in() {
    in_new_network(|| async {
        let _host = Host::joined();
        let site = site();
        let address =
            |to: &'static str| move |text: String| text.replace("address = \"10.9.0.1/24\"", to);
        site.configure(address("address = \"192.0.2.129/25\""));
        refused(
            &site,
            "userspace",
            "overlaps 192.0.2.1/24 of this machine's interface cable0",
        );
    });
}

#[test]
fn a_program_that_does_not_run_or_has_another_key() {
    in_new_network(|| async {
        let _host = Host::joined();
        let site = site();
        site.configure(|text| text.replace("name = \"wg0\"", "name = \"mfgnone\""));
        refused(&site, "uapi", "start the program that serves it");

        let other = Site::at(HERE);
        enrol(&other);
        let interface = ForeignInterface::up(&other);
        site.configure(|text| text.replace("\"mfgnone\"", &format!("\"{}\"", interface.name)));
        refused(&site, "uapi", "has another private key");
        assert_eq!(interface.peers(), "");
    });
}

#[test]
fn settings_that_do_not_fit_together() {
    let site = Site::new();
    let complaint = |edit: fn(String) -> String, arguments: &[&str]| {
        site.configure(edit);
        site.refused(arguments)
    };
    let forwards = complaint(|text| text, &["run", "--backend", "userspace"]);
    assert!(forwards.contains("[[forwards]] are for the backend netstack"));
    let guard = |text: String| text.replace("lease_guard = false", "lease_guard = true");
    let guarded = complaint(guard, &["run"]);
    assert!(guarded.contains("set them to false"), "{guarded}");
    let no_guard = |text: String| text.replace("lease_guard = true", "lease_guard = false");
    let shut = complaint(no_guard, &["shut"]);
    assert!(shut.contains("lease_guard = true"), "{shut}");
    let odd =
        |text: String| text.replace("lease = \"8h\"", "lease = \"8h\"\nendpoint_change = \"x\"");
    let odd = complaint(odd, &["run"]);
    assert!(odd.contains("reauthenticate"), "{odd}");
}

#[test]
fn peers_that_the_lease_guard_would_cut_off() {
    let site = Site::at("127.0.0.1");
    site.configure(|text| {
        let left_alone =
            "danger_unmanaged_peers = [\"c3RhdGljc3RhdGljc3RhdGljc3RhdGljc3RhdGljc3Q=\"]";
        text.replace("backend = \"netstack\"", "backend = \"uapi\"")
            .replace(
                "lease_guard = false",
                &format!("lease_guard = true\n{left_alone}"),
            )
    });
    for command in ["run", "shut"] {
        let complaint = site.refused(&[command]);
        assert!(
            complaint.contains("cut off danger_unmanaged_peers"),
            "{complaint}"
        );
        assert!(
            complaint.contains("set lease_guard to false"),
            "{complaint}"
        );
    }
}

#[test]
fn an_mtu_that_another_programs_interface_does_not_keep() {
    in_new_network(|| async {
        let _host = Host::joined();
        let site = site();
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        site.configure(|text| text.replace("# mtu = 1420", "mtu = 1300"));
        refused(
            &site,
            "uapi",
            "has an MTU of 1420, and is to have one of 1300",
        );
    });
}
