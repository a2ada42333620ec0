//! A restart that live users don't notice, and where there can be none.

use std::fs::File;
use std::time::Duration;

use crate::app::code;
use crate::network::{HERE, Host, in_new_network, run};
use crate::report::enrol;
use crate::site::{Running, Site};
use crate::system::{ForeignInterface, Pings, let_in};

/// The exit status on which a supervisor starts it again.
const AGAIN: Option<i32> = Some(75);

fn run_logged(site: &Site) -> Running {
    let log = File::create(site.path().join("log")).unwrap();
    let mut daemon = Running::start(site.server(&["run"]).stderr(log));
    daemon.wait_for("is up");
    daemon
}

fn log_of(site: &Site) -> String {
    std::fs::read_to_string(site.path().join("log")).unwrap()
}

#[test]
fn a_restart_behind_a_lease_guard_loses_no_packet() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, true);
        let mut daemon = run_logged(&site);
        let _tunnel = let_in(&host, &site, &code(&secret));
        let leased = interface.peers();

        let flow = Pings::start(&host, 50, 10);
        std::thread::sleep(Duration::from_secs(1));
        let said = site.admin(&["restart"]);
        assert!(said.contains("live peers stay"), "{said}");
        assert_eq!(daemon.status(), AGAIN);
        assert!(log_of(&site).contains("live peers stay until their leases end"));
        assert_eq!(interface.peers(), leased);
        let mut daemon = run_logged(&site);
        assert_eq!(interface.peers(), leased);
        let said = flow.said();
        assert!(said.contains(" 0% packet loss"), "{said}");
        assert!(site.admin(&["sessions"]).contains("alice"));

        // A stop is none.
        daemon.terminate();
        assert_eq!(daemon.status(), Some(0));
        assert!(log_of(&site).contains("stopped: every peer has left"));
        assert_eq!(interface.peers(), "");
        assert!(!run("nft", &["list", "tables"]).contains("mfagate"));
    });
}

#[test]
fn a_restart_without_a_lease_guard_leaves_no_one_and_says_so() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        let mut daemon = run_logged(&site);
        let _tunnel = let_in(&host, &site, &code(&secret));

        let said = site.admin(&["restart"]);

        assert!(said.contains("every peer has left"), "{said}");
        assert_eq!(daemon.status(), AGAIN);
        assert!(log_of(&site).contains("stopped for a restart: every peer has left"));
        assert_eq!(interface.peers(), "");
        let complaint = site.refused(&["restart"]);
        assert!(complaint.contains("no daemon runs"), "{complaint}");
    });
}
