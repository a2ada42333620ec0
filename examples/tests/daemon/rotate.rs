//! `gate-server rotate`, around a session that is live before and after.

use std::path::PathBuf;

use crate::app::{code, code_ahead};
use crate::network::{HERE, Host, in_new_network};
use crate::report::enrol;
use crate::site::Site;
use crate::system::{ForeignInterface, INSIDE, Pings, exported, let_in};

fn ring(site: &Site) -> (PathBuf, String) {
    let path = site.path().join("state/ring.keys");
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

#[test]
fn a_new_key_seals_everything_and_live_traffic_does_not_notice() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        let daemon = site.run();
        let _tunnel = let_in(&host, &site, &code(&secret));

        // Who runs goes on with the keys that it knows: nothing may be sealed with another.
        let (path, first) = ring(&site);
        let complaint = site.refused(&["rotate"]);
        assert!(complaint.contains("stop the daemon"), "{complaint}");
        assert_eq!(ring(&site).1, first);

        let flow = Pings::start(&host, 50, 6);
        daemon.kill();
        let said = site.admin(&["rotate"]);
        assert!(said.contains("1 factors, 1 sessions"), "{said}");
        let (_, second) = ring(&site);
        let keys = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!((keys(&first), keys(&second)), (1, 1));
        assert_ne!(first, second);
        let daemon = site.run();
        let said = flow.said();
        assert!(said.contains(" 0% packet loss"), "{said}");
        daemon.kill();

        // Killed before it dropped the old key: the next one goes on from there.
        let key = |text: &str| text.lines().last().unwrap().to_owned();
        std::fs::write(&path, format!("{second}{}\n", key(&first))).unwrap();
        let said = site.admin(&["rotate", "--json"]);
        assert!(said.contains("\"factors\":1,\"sessions\":1"), "{said}");
        assert_eq!(keys(&ring(&site).1), 1);

        let _daemon = site.run();
        site.admin(&["revoke", "--all"]);
        exported(&host, &site, &code_ahead(&secret));
        assert!(site.admin(&["audit", "export"]).contains("ring_rotated"));
        site.admin(&["audit", "verify"]);
    });
}

/// A ring of another gate's, as after a restored backup or a move: nothing ends by the mistake.
#[test]
fn a_start_with_another_ring_is_refused_and_ends_no_session() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        let daemon = site.run();
        let _tunnel = let_in(&host, &site, &code(&secret));
        daemon.kill();

        let (path, right) = ring(&site);
        std::fs::write(&path, ring(&Site::at(HERE)).1).unwrap();
        let complaint = site.refused(&["run"]);
        assert!(
            complaint.contains("opens with this key ring"),
            "{complaint}"
        );
        assert!(complaint.contains("has ended no session"), "{complaint}");
        assert_eq!(interface.peers(), "", "as for any failed start");
        assert!(site.admin(&["sessions"]).contains("alice"));

        std::fs::write(&path, right).unwrap();
        let _daemon = site.run();
        assert!(host.reaches(INSIDE, 20), "the session is live");
    });
}
