//! What a stolen private key is worth without the preshared key of a live session: nothing, on any
//! interface of the system, with stock tools and real packets.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use mfagate::client::Profile;

use crate::app::{code, code_ahead};
use crate::network::{HERE, Host, in_new_network, run};
use crate::report::enrol;
use crate::site::Site;
use crate::system::{ForeignInterface, INSIDE, Pings, WgQuick, exported};

/// Any 32 bytes are a preshared key.
const WRONG: &str = "d3Jvbmd3cm9uZ3dyb25nd3Jvbmd3cm9uZ3dyb25nd3I=";

/// A thief of the device's private key, and what else they know.
struct Thief<'a> {
    host: &'a Host,
    site: &'a Site,
}

impl Thief<'_> {
    /// Tries for a while with this preshared key, or without one.
    #[track_caller]
    fn gets_nothing(&self, psk: Option<&str>, when: &str) {
        let profile = Profile::read(self.site.path().join("profile.toml")).unwrap();
        // wireguard-go's sockets are the whole machine's.
        static NTH: AtomicU32 = AtomicU32::new(0);
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let name = format!("mfgt{}x{nth}", std::process::id());
        let file = self.site.path().join(format!("{name}.conf"));
        let psk = psk.map(|psk| format!("PresharedKey = {psk}\n"));
        let text = format!(
            "[Interface]\nPrivateKey = {}\nAddress = {}\n[Peer]\nPublicKey = {}\n\
             AllowedIPs = {}\nEndpoint = {}\n{}",
            *profile.private_key.expose_base64(),
            profile.addresses[0],
            profile.location_key,
            profile.allowed_ips[0],
            profile.endpoint,
            psk.unwrap_or_default(),
        );
        std::fs::write(&file, text).unwrap();
        let _tunnel = WgQuick::up(self.host, &file);
        assert!(!self.host.reaches(INSIDE, 2), "{when}");
        let show = |what| self.host.run("wg", &["show", &name, what]);
        let handshakes = show("latest-handshakes");
        assert!(handshakes.trim().ends_with("\t0"), "{when}: {handshakes}");
        let transfer = show("transfer");
        let fields: Vec<_> = transfer.trim().split('\t').collect();
        assert_eq!(fields[1], "0", "{when}: received from the gate");
        assert_ne!(fields[2], "0", "{when}: nothing was tried");
    }
}

/// The preshared key in a file of `wg-quick`.
fn psk_of(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("PresharedKey = "));
    line.unwrap().to_owned()
}

/// Counts, where the gate is, what it sends to anybody's WireGuard, and what comes out of its
/// interface.
struct Watch;

impl Watch {
    fn over(site: &Site) -> Self {
        let settings = std::fs::read_to_string(site.path().join("gate.toml")).unwrap();
        let (_, name) = settings.split_once("\nname = \"").unwrap();
        let (name, port) = (name.split('"').next().unwrap(), site.wireguard.port());
        // Before anything that drops packets.
        let rules = format!(
            "add table inet watch;
            add chain inet watch sent {{ type filter hook output priority -500; }};
            add rule inet watch sent udp sport {port} counter;
            add chain inet watch inside {{ type filter hook prerouting priority -500; }};
            add rule inet watch inside iifname {name} counter"
        );
        run("nft", &[rules]);
        Self
    }

    fn count(&self, what: &str) -> u64 {
        let shown = run("nft", &["list", "chain", "inet", "watch", what]);
        let mut words = shown.split_whitespace();
        words.find(|word| *word == "packets").unwrap();
        words.next().unwrap().parse().unwrap()
    }

    /// Nothing that this thief sends comes out.
    #[track_caller]
    fn sees_nothing_of(&self, thief: &Thief<'_>, psk: Option<&str>, when: &str) {
        let before = self.count("inside");
        thief.gets_nothing(psk, when);
        assert_eq!(self.count("inside"), before, "{when}: packets came out");
    }

    /// Nor are they answered at all: not by a single packet.
    #[track_caller]
    fn sees_no_answer_to(&self, thief: &Thief<'_>, psk: Option<&str>, when: &str) {
        let before = self.count("sent");
        self.sees_nothing_of(thief, psk, when);
        assert_eq!(self.count("sent"), before, "{when}: answered");
    }
}

/// In front of a gate that runs on whatever interface.
pub(crate) fn nothing_passes_without_the_session_s_key(host: &Host, site: &Site) {
    let secret = enrol(site);
    let _daemon = site.run();
    let thief = Thief { host, site };
    let watch = Watch::over(site);
    watch.sees_no_answer_to(&thief, None, "before any session, without a key");
    watch.sees_no_answer_to(&thief, Some(WRONG), "before any session, with another key");

    // In a session, a holder of the private key is answered: the preshared key is in what follows.
    let first = exported(host, site, &code(&secret));
    watch.sees_nothing_of(
        &thief,
        None,
        "in a session that was not used, without a key",
    );
    let tunnel = WgQuick::up(host, &first);
    assert!(host.reaches(INSIDE, 20));
    assert!(watch.count("sent") > 0 && watch.count("inside") > 0);
    a_thief_elsewhere_gets_nothing_while_the_owner_is_in(host, site);
    drop(tunnel);
    watch.sees_nothing_of(&thief, None, "in a session, without a key");
    watch.sees_nothing_of(&thief, Some(WRONG), "in a session, with another key");

    let last = psk_of(&first);
    site.admin(&["revoke", "--user", "alice"]);
    watch.sees_no_answer_to(&thief, Some(&last), "after the session, with its key");
    watch.sees_no_answer_to(&thief, None, "after the session, without a key");
    let second = exported(host, site, &code_ahead(&secret));
    let when = "in the next session, with the last one's key";
    watch.sees_nothing_of(&thief, Some(&last), when);
    let _tunnel = WgQuick::up(host, &second);
    assert!(host.reaches(INSIDE, 20), "the owner is in nevertheless");
}

/// From another host, while packets flow; what the gate sends goes there until the owner sends
/// again.
fn a_thief_elsewhere_gets_nothing_while_the_owner_is_in(host: &Host, site: &Site) {
    let elsewhere = Host::cabled("elsewh", "198.51.100.1", "198.51.100.2");
    elsewhere.run("ip", &["route", "add", HERE, "via", "198.51.100.1"]);
    let thief = Thief {
        host: &elsewhere,
        site,
    };
    let flow = Pings::start(host, 50, 10);
    thief.gets_nothing(None, "elsewhere, without a key");
    thief.gets_nothing(Some(WRONG), "elsewhere, with another key");
    let said = flow.said();
    let replies = said.lines().filter(|line| line.contains("bytes from"));
    assert!(replies.count() >= 190, "the owner's packets: {said}");
    assert!(host.reaches(INSIDE, 20), "the owner is in nevertheless");
}

#[test]
fn nothing_passes_a_tun_device_without_the_session_s_key() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        site.configure(|text| text.replace("\"netstack\"", "\"userspace\""));
        nothing_passes_without_the_session_s_key(&host, &site);
    });
}

#[test]
fn nothing_passes_uapi_without_the_session_s_key() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        nothing_passes_without_the_session_s_key(&host, &site);
    });
}
