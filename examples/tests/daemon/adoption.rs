//! A daemon that starts on an interface with peers on it, with packets.

use std::time::Duration;

use mfagate::client::Profile;

use crate::app::code;
use crate::network::{HERE, Host, in_new_network, run};
use crate::report::enrol;
use crate::site::Site;
use crate::system::{ForeignInterface, INSIDE, Pings, WgQuick, admitted, let_in};

/// Peers that no one enrolled: any 32 bytes are a public key.
pub(crate) const ORPHAN: &str = "b3JwaGFub3JwaGFub3JwaGFub3JwaGFub3JwaGFub3I=";
pub(crate) const STATIC: &str = "c3RhdGljc3RhdGljc3RhdGljc3RhdGljc3RhdGljc3Q=";
const OTHER_PSK: &str = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyb3Q=";

impl ForeignInterface {
    /// Sets a peer by hand.
    fn set(&self, peer: &str, settings: &[&str]) {
        run(
            "wg",
            &[&["set", &self.name, "peer", peer], settings].concat(),
        );
    }

    /// What `wg` says of a peer's configuration: its preshared key, its networks and its keepalive.
    fn shows(&self, peer: &str) -> Option<Vec<String>> {
        let dump = run("wg", &["show", &self.name, "dump"]);
        let line = dump.lines().find(|line| line.starts_with(peer))?;
        let fields: Vec<_> = line.split('\t').map(str::to_owned).collect();
        Some(vec![
            fields[1].clone(),
            fields[3].clone(),
            fields[7].clone(),
        ])
    }
}

/// A file with a preshared key, as `wg` wants it.
fn psk_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), OTHER_PSK).unwrap();
    file
}

pub(crate) fn with_static_peer(text: String) -> String {
    let left_alone = format!("masquerade = false\ndanger_unmanaged_peers = [\"{STATIC}\"]");
    text.replace("masquerade = false", &left_alone)
}

#[test]
fn a_restart_reconciles_and_live_traffic_does_not_notice() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        site.configure(with_static_peer);
        let psk = psk_file();
        let psk = psk.path().to_str().unwrap();
        let by_hand = ["preshared-key", psk, "allowed-ips", "10.9.0.88/32"];
        interface.set(STATIC, &by_hand);
        let static_peer = interface.shows(STATIC);

        let daemon = site.run();
        let _tunnel = let_in(&host, &site, &code(&secret));
        let peers = interface.peers();
        let alice = peers.lines().find(|key| *key != STATIC).unwrap();
        let leased = interface.shows(alice);

        // A crash, strangers on the interface, and a start in the middle of a stream.
        let flow = Pings::start(&host, 10, 8);
        daemon.kill();
        let stranger = ["preshared-key", psk, "allowed-ips", "10.9.0.77/32"];
        interface.set(ORPHAN, &stranger);
        let mut daemon = site.run();
        assert_eq!(interface.shows(ORPHAN), None);
        assert_eq!(interface.shows(STATIC), static_peer);
        assert_eq!(interface.shows(alice), leased);
        let said = flow.said();
        assert!(said.contains(" 0% packet loss"), "{said}");

        // What differs by its preshared key or its networks alone is put right.
        for tampered in [["preshared-key", psk], ["allowed-ips", "10.9.0.99/32"]] {
            daemon.kill();
            interface.set(alice, &tampered);
            assert_ne!(interface.shows(alice), leased);
            daemon = site.run();
            assert_eq!(interface.shows(alice), leased, "after {tampered:?}");
        }
        assert!(host.reaches(INSIDE, 60));

        daemon.interrupt();
        assert_eq!(daemon.status(), Some(0));
        assert_eq!(interface.shows(alice), None);
        assert_eq!(interface.shows(STATIC), static_peer);
    });
}

/// As after an update that turns it on, or where its table was flushed while no gate ran.
#[test]
fn a_new_lease_guard_lets_live_sessions_go_on() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        let daemon = site.run();
        let _tunnel = let_in(&host, &site, &code(&secret));
        let handshake = || run("wg", &["show", &interface.name, "latest-handshakes"]);
        let before = handshake();
        std::thread::sleep(Duration::from_secs(1)); // so that another one has another time

        daemon.kill();
        site.configure(|text| text.replace("lease_guard = false", "lease_guard = true"));
        let _daemon = site.run();
        // A session that was lost would take a client fifteen seconds to notice.
        assert!(host.reaches(INSIDE, 10));
        assert_eq!(handshake(), before);
    });
}

#[test]
fn no_one_passes_a_handmade_interface_before_the_gate_opens() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, true);
        // A client with its key, and no preshared key: as the interface was before there was a
        // gate.
        let client = ManualTunnel::new(&host, &site);
        interface.set(&client.key, &["allowed-ips", "10.9.0.2/32"]);
        assert!(host.reaches(INSIDE, 20));

        site.admin(&["shut"]);
        assert!(!host.reaches(INSIDE, 2), "the interface is up and shut");
        assert_ne!(interface.peers(), "");
        let mut daemon = site.run();
        assert_eq!(interface.peers(), "");
        assert!(!host.reaches(INSIDE, 2));
        drop(client);

        let _tunnel = admitted(&host, &site, &code(&secret));
        assert!(host.reaches(INSIDE, 20), "with a lease");
        daemon.interrupt();
        assert_eq!(daemon.status(), Some(0));
        assert!(!run("nft", &["list", "tables"]).contains("mfagate"));
    });
}

/// A client's interface that stock tools made from its profile, without a gate.
struct ManualTunnel<'a> {
    _tunnel: WgQuick<'a>,
    key: String,
}

impl<'a> ManualTunnel<'a> {
    fn new(host: &'a Host, site: &Site) -> Self {
        let profile = Profile::read(site.path().join("profile.toml")).unwrap();
        let file = site.path().join(format!("mfgh{}.conf", std::process::id()));
        let text = format!(
            "[Interface]\nPrivateKey = {}\nAddress = {}\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = {}\nEndpoint = {}\n",
            *profile.private_key.expose_base64(),
            profile.addresses[0],
            profile.location_key,
            profile.allowed_ips[0],
            site.wireguard
        );
        std::fs::write(&file, text).unwrap();
        Self {
            _tunnel: WgQuick::up(host, &file),
            key: profile.private_key.public_key().to_string(),
        }
    }
}
