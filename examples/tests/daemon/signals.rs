//! What signals do to a daemon with a peer inside.

use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;

use mfagate::factor::totp::TotpSecret;

use crate::app::code;
use crate::report::{connect, office};
use crate::site::{Running, Site, fetch};

/// A daemon with alice inside, and what it says on the standard error.
struct Inside {
    site: Site,
    daemon: Running,
    connect: Running,
    page: SocketAddr,
}

fn let_in(site: &Site, secret: &TotpSecret) -> (Running, SocketAddr) {
    let mut connect = connect(site);
    connect.enter(&code(secret));
    let line = connect.wait_for("Serving on ");
    let at = line.trim().trim_start_matches("Serving on ");
    (connect, at.trim_end_matches('.').parse().unwrap())
}

impl Inside {
    fn new() -> Self {
        let (site, secret) = office();
        let log = File::create(site.path().join("log")).unwrap();
        let mut daemon = Running::start(site.server(&["run"]).stderr(log));
        daemon.wait_for("is up");
        let (connect, page) = let_in(&site, &secret);
        let inside = Self {
            site,
            daemon,
            connect,
            page,
        };
        assert!(inside.is_inside());
        inside
    }

    fn is_inside(&self) -> bool {
        fetch(self.page).contains("You are inside.")
    }

    /// Waits until the daemon has said this on its standard error.
    #[track_caller]
    fn wait_for(&self, text: &str) {
        let said = || std::fs::read_to_string(self.site.path().join("log")).unwrap();
        for _ in 0..200 {
            if said().contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("it never said “{text}”: {}", said());
    }
}

#[test]
fn a_terminal_that_closes_reloads_the_policy_and_ends_nothing() {
    let mut inside = Inside::new();
    inside.daemon.signal("-HUP");
    inside.wait_for("the policy was read again");
    assert!(inside.is_inside());

    // A wrong one changes nothing, and says why.
    let steps = "steps = [{ any_of = [\"totp\"] }]";
    inside
        .site
        .configure(|text| text.replace(steps, "steps = []"));
    inside.daemon.signal("-HUP");
    inside.wait_for("the policy stays as it was");
    assert!(inside.is_inside());

    // What she has proven is not enough any more.
    let both = "steps = [{ any_of = [\"totp\"] }, { any_of = [\"password\"] }]";
    inside
        .site
        .configure(|text| text.replace("steps = []", both));
    inside.daemon.signal("-HUP");
    for _ in 0..200 {
        if !inside.site.admin(&["sessions"]).contains("alice") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!inside.is_inside());
    assert_eq!(inside.connect.status(), Some(5));
    let trail = inside.site.admin(&["audit", "export"]);
    assert!(trail.contains("policy_changed"), "{trail}");
    inside.daemon.interrupt();
    assert_eq!(inside.daemon.status(), Some(0));
}

#[test]
fn signals_without_a_meaning_end_nothing_and_quit_leaves_none() {
    let mut inside = Inside::new();
    for signal in ["USR1", "USR2", "ALRM", "TSTP", "PIPE"] {
        inside.daemon.signal(&format!("-{signal}"));
        if signal != "PIPE" {
            inside.wait_for(&format!("SIG{signal} means nothing"));
        }
        assert!(inside.is_inside(), "{signal}");
    }
    inside.daemon.signal("-QUIT");
    assert_eq!(inside.daemon.status(), Some(0));
    inside.wait_for("stopped: every peer has left");
    assert!(!inside.is_inside());
}
