//! What a stolen private key is worth without the preshared key of a live session: nothing, on any
//! interface of the system, with stock tools and real packets.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use mfagate::runtime::Profile;

use crate::network::{HERE, Host, in_new_network};
use crate::site::Site;
use crate::story::{code, code_ahead, enrol};
use crate::system::{ForeignInterface, INSIDE, WgQuick, export};

/// Any 32 bytes are a preshared key.
const WRONG: &str = "d3Jvbmd3cm9uZ3dyb25nd3Jvbmd3cm9uZ3dyb25nd3I=";

/// Whoever has the device's private key, and what else they know.
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

/// In front of a gate that runs on whatever interface.
pub(crate) fn nothing_passes_without_the_session_s_key(host: &Host, site: &Site) {
    let secret = enrol(site);
    let _daemon = site.run();
    let thief = Thief { host, site };
    thief.gets_nothing(None, "before any session, without a key");
    thief.gets_nothing(Some(WRONG), "before any session, with another key");

    let session = |code: &str| {
        let (mut connect, file) = export(host, site);
        connect.enter(code);
        connect.wait_for("is good for");
        assert_eq!(connect.status(), Some(0));
        file
    };
    let first = session(&code(&secret, 0));
    thief.gets_nothing(None, "in a session that was not used, without a key");
    let tunnel = WgQuick::up(host, &first);
    assert!(host.reaches(INSIDE, 20));
    drop(tunnel);
    thief.gets_nothing(None, "in a session, without a key");
    thief.gets_nothing(Some(WRONG), "in a session, with another key");

    let last = psk_of(&first);
    site.admin(&["revoke", "--user", "alice"]);
    thief.gets_nothing(Some(&last), "after the session, with its key");
    thief.gets_nothing(None, "after the session, without a key");
    let second = session(&code_ahead(&secret));
    thief.gets_nothing(Some(&last), "in the next session, with the last one's key");
    let _tunnel = WgQuick::up(host, &second);
    assert!(host.reaches(INSIDE, 20), "the owner is in all the same");
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
fn nothing_passes_another_program_s_interface_without_the_session_s_key() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        nothing_passes_without_the_session_s_key(&host, &site);
    });
}
