//! An interface that others take from under a daemon, and one whose program is somewhere else.

use crate::app::code;
use crate::network::{Host, in_new_network, run};
use crate::report::enrol;
use crate::site::Running;
use crate::system::{ForeignInterface, INSIDE, admitted, run_on_a_tun_device, site};

#[test]
fn a_deleted_interface_ends_the_daemon_and_no_session() {
    in_new_network(|| async {
        let host = Host::joined();
        let site = site();
        let secret = enrol(&site);
        let mut daemon = run_on_a_tun_device(&site);
        let _tunnel = admitted(&host, &site, &code(&secret));
        assert!(host.reaches(INSIDE, 10));
        run("ip", &["link", "delete", "wg0"]);
        assert_eq!(daemon.status(), Some(1), "a supervisor starts it again");

        let _daemon = run_on_a_tun_device(&site);
        assert!(site.admin(&["sessions"]).contains("alice"));
        assert!(host.reaches(INSIDE, 40));
    });
}

#[test]
fn peers_set_by_hand_are_removed_through_a_socket_elsewhere() {
    in_new_network(|| async {
        let _host = Host::joined();
        let site = site();
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        let socket = format!("/var/run/wireguard/{}.sock", interface.name);
        // By a way of its own, beside the configuration: wireguard-go ends when its socket goes.
        let elsewhere = site.path().join("program.sock");
        std::os::unix::fs::symlink(socket, elsewhere).unwrap();
        let setting = "socket = \"program.sock\"\nrenews_in_place = true\n[policy]";
        site.configure(|text| text.replacen("[policy]", setting, 1));
        let mut daemon = Running::start(&mut site.server(&["run"]));
        daemon.wait_for("is up");

        let key = run("sh", &["-c", "wg genkey | wg pubkey"]);
        let stranger = ["peer", key.trim(), "allowed-ips", "10.9.0.99/32"];
        run(
            "wg",
            &[&["set", &interface.name], stranger.as_slice()].concat(),
        );
        while interface.peers() != "" {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        let audit = site.admin(&["audit", "export"]);
        assert!(audit.contains("unleased_peer"), "{audit}");
    });
}

#[test]
fn what_is_for_another_program_is_refused_where_there_is_none() {
    let site = crate::site::Site::new();
    for setting in ["renews_in_place = true", "socket = \"/nowhere\""] {
        let before = std::fs::read_to_string(site.path().join("gate.toml")).unwrap();
        site.configure(|text| text.replacen("[policy]", &format!("{setting}\n[policy]"), 1));
        let complaint = site.refused(&["run"]);
        assert!(complaint.contains("set backend to uapi"), "{complaint}");
        site.configure(|_| before);
    }
}
