//! A session that rests, with a client that keeps its tunnel awake: keepalives are no use of it.

use std::time::Duration;

use crate::app::{code, now};
use crate::network::{HERE, Host, in_new_network};
use crate::report::enrol;
use crate::site::Site;
use crate::system::{ForeignInterface, INSIDE, Pings, admitted};

const LIMIT: Duration = Duration::from_secs(16);

fn site() -> Site {
    let site = Site::at(HERE);
    site.configure(|text| {
        let inactivity = format!("inactivity = \"{}s\"", LIMIT.as_secs());
        text.replace("# inactivity = \"1h\"", &inactivity)
            .replace("# keepalive = 25", "keepalive = 1")
    });
    site
}

/// With as many packets of payload a second as one every so many milliseconds, and then with none.
fn keepalives_alone_do_not_keep_a_session(host: &Host, site: &Site, every: u32) {
    let is_in = || site.admin(&["sessions"]).contains("alice");
    let secret = enrol(site);
    let _daemon = site.run();
    let tunnel = admitted(host, site, &code(&secret));
    assert!(host.reaches(INSIDE, 20));

    // Payload does, for as long as it flows.
    let seconds = u32::try_from(LIMIT.as_secs()).unwrap() * 2;
    let rest = Pings::start(host, every, seconds).last();
    let before = tunnel.sent();
    assert!(is_in(), "it was used all the time");

    let mut awake = before;
    while is_in() {
        awake = tunnel.sent();
        let rested = now().saturating_since(rest);
        assert!(rested < LIMIT * 3, "it rests and goes on");
        std::thread::sleep(Duration::from_millis(500));
    }
    let rested = now().saturating_since(rest);
    assert!(
        rested + Duration::from_secs(2) > LIMIT,
        "ended after {rested:?}"
    );
    // An empty packet of 32 bytes each second.
    let kept = (awake - before) / 32;
    assert!(kept >= LIMIT.as_secs() / 2, "only {kept} keepalives");
    assert!(!host.reaches(INSIDE, 2));
    let trail = site.admin(&["audit", "export"]);
    assert!(trail.contains("inactive"), "{trail}");
}

#[test]
fn keepalives_alone_do_not_keep_a_session_on_a_tun_device() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site());
        site.configure(|text| text.replace("\"netstack\"", "\"userspace\""));
        keepalives_alone_do_not_keep_a_session(&host, &site, 2000);
    });
}

/// Where the kernel counts what it lets pass.
#[test]
fn keepalives_alone_do_not_keep_a_session_under_a_lease_guard() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site());
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, true);
        keepalives_alone_do_not_keep_a_session(&host, &site, 2000);
    });
}

/// Without a guard payload is told from what WireGuard itself sends by how much there is.
#[test]
fn keepalives_alone_keep_no_session_on_uapi() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), site());
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        keepalives_alone_do_not_keep_a_session(&host, &site, 100);
    });
}
