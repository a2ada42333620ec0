//! What a killed daemon leaves on an interface that outlives it, with packets: a peer that is on it
//! leaves it when the next daemon can't start, and when it is revoked without one.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use mfagate::client::Profile;
use mfagate::factor::totp::TotpSecret;

use crate::adoption::{STATIC, with_static_peer};
use crate::app::{code, code_ahead};
use crate::network::{HERE, Host, in_new_network, run};
use crate::report::enrol;
use crate::site::{Running, Site};
use crate::system::{ForeignInterface, INSIDE, let_in};

/// A site in front of an interface that is not the daemon's, without a guard and with a peer of its
/// own.
fn site() -> (Site, TotpSecret, ForeignInterface) {
    let site = Site::at(HERE);
    let secret = enrol(&site);
    let interface = ForeignInterface::up(&site);
    interface.serve(&site, false);
    site.configure(with_static_peer);
    run("wg", &["set", &interface.name, "peer", STATIC]);
    (site, secret, interface)
}

impl ForeignInterface {
    /// Whether a peer is on it that is not its own.
    fn has_a_peer(&self) -> bool {
        let peers = self.peers();
        assert!(peers.contains(STATIC), "the settings leave it alone");
        peers.lines().any(|peer| peer != STATIC)
    }

    fn is_up(&self) -> bool {
        run("ip", &["link", "show", "dev", &self.name]).contains(",UP")
    }
}

/// A file in the state directory that something else is in the place of.
struct Replaced {
    path: PathBuf,
    aside: PathBuf,
}

impl Replaced {
    fn with(site: &Site, name: &str, put: impl FnOnce(&Path)) -> Self {
        let path = site.path().join("state").join(name);
        let aside = site.path().join("state").join(format!("{name}.aside"));
        std::fs::rename(&path, &aside).unwrap();
        put(&path);
        Self { path, aside }
    }

    fn repair(self) {
        _ = std::fs::remove_file(&self.path); // there may be none
        std::fs::rename(&self.aside, &self.path).unwrap();
    }
}

#[test]
fn a_failed_start_leaves_no_one_on_an_interface_left_behind() {
    in_new_network(|| async {
        let host = Host::joined();
        let (site, secret, interface) = site();
        let daemon = site.run();
        let _tunnel = let_in(&host, &site, &code(&secret));

        // One that runs keeps its peers, also when another tries to start.
        let complaint = site.refused(&["run"]);
        assert!(
            complaint.contains("another gate-server runs"),
            "{complaint}"
        );
        assert!(interface.has_a_peer());
        daemon.kill();
        assert!(host.reaches(INSIDE, 5), "nothing ends it without a guard");

        // Each for another step of the start; the session stays, and is there again when it can be.
        let refused = |says: &str| {
            assert!(interface.has_a_peer(), "before {says}");
            let complaint = site.refused(&["run"]);
            assert!(complaint.contains(says), "{says}: {complaint}");
            assert!(complaint.contains("taken off"), "{says}: {complaint}");
            assert!(!interface.has_a_peer(), "{says}");
            assert!(interface.is_up(), "{says}");
        };
        let restart = || site.run().kill();

        let garbage = |path: &Path| std::fs::write(path, [b'x'; 9000]).unwrap();
        // SQLite would take its log along.
        let logs = ["gate.db-wal", "gate.db-shm"].map(|log| Replaced::with(&site, log, |_| ()));
        let replaced = Replaced::with(&site, "gate.db", garbage);
        refused("not a store of mfagate");
        assert!(!host.reaches(INSIDE, 2));
        replaced.repair();
        for log in logs {
            log.repair();
        }
        restart();

        let control = TcpListener::bind(site.control).unwrap();
        refused("control_listen");
        drop(control);
        restart();

        let replaced = Replaced::with(&site, "ring.keys", |_| ());
        refused("ring.keys");
        replaced.repair();
        restart();

        let in_its_place = |path: &Path| std::fs::create_dir(path).unwrap();
        let replaced = Replaced::with(&site, "admin.sock", in_its_place);
        refused("directory");
        std::fs::remove_dir(&replaced.path).unwrap();
        replaced.repair();
        restart();

        std::fs::write(site.path().join("state/changes.json"), "{").unwrap();
        refused("changes.json");
        std::fs::remove_file(site.path().join("state/changes.json")).unwrap();
        restart();

        let forwards = "\n[[forwards]]\nat = \"10.9.0.1:80\"\nto = \"127.0.0.1:1\"\n";
        site.configure(|text| text + forwards);
        refused("[[forwards]] are for the backend netstack");
        site.configure(|text| text.replace(forwards, ""));
        restart();

        // A program that hangs is waited for, but not without end: its interface goes down.
        interface.signal("-STOP");
        let complaint = site.refused(&["run"]);
        assert!(complaint.contains("does not answer"), "{complaint}");
        assert!(complaint.contains("was taken down"), "{complaint}");
        interface.signal("-CONT");
        assert!(!interface.is_up());
        assert!(!host.reaches(INSIDE, 2));
        run("ip", &["link", "set", "dev", &interface.name, "up"]);
        restart();

        // Without the key, peers can't be told apart: the interface goes down.
        assert!(interface.has_a_peer());
        let _replaced = Replaced::with(&site, "gate.key", |_| ());
        let complaint = site.refused(&["run"]);
        assert!(complaint.contains("was taken down"), "{complaint}");
        assert!(!interface.is_up());
        assert!(!host.reaches(INSIDE, 2));
    });
}

#[test]
fn a_revocation_without_a_daemon_takes_the_peer_off_or_fails() {
    in_new_network(|| async {
        let host = Host::joined();
        let (site, secret, interface) = site();
        let backend = |from: &'static str, to: &'static str| {
            let quoted = |name: &str| format!("backend = \"{name}\"");
            site.configure(|text| text.replace(&quoted(from), &quoted(to)));
        };
        let revoke = ["revoke", "--user", "alice"];
        let daemon = site.run();
        let tunnel = let_in(&host, &site, &code(&secret));
        daemon.kill();

        // While the program hangs nothing can be told, and nothing is acknowledged.
        interface.signal("-STOP");
        let complaint = site.refused(&revoke);
        assert!(complaint.contains("may still pass"), "{complaint}");
        assert!(complaint.contains("ip link delete dev"), "{complaint}");
        assert!(site.admin(&["sessions"]).contains("alice"));
        interface.signal("-CONT");
        assert!(host.reaches(INSIDE, 5), "nothing ends it without a guard");

        // Whatever backend the settings name: `run` may have been told to take another.
        backend("uapi", "netstack");
        assert_eq!(site.admin(&revoke), "Sessions ended: 1\n");
        assert!(!interface.has_a_peer());
        assert!(!host.reaches(INSIDE, 2));
        drop(tunnel);
        backend("netstack", "uapi");

        // A peer that is there without a session is revoked too.
        let profile = Profile::read(site.path().join("profile.toml")).unwrap();
        let orphan = profile.private_key.public_key().to_string();
        for which in [
            ["--peer", &orphan].as_slice(),
            &["--user", "alice"],
            &["--all"],
        ] {
            run("wg", &["set", &interface.name, "peer", &orphan]);
            let ended = site.admin(&[["revoke"].as_slice(), which].concat());
            assert_eq!(ended, "Sessions ended: 0\n");
            assert!(!interface.has_a_peer(), "{which:?}");
        }

        // With the interface gone no peer passes.
        let daemon = site.run();
        let _tunnel = let_in(&host, &site, &code_ahead(&secret));
        daemon.kill();
        drop(interface);
        assert_eq!(site.admin(&revoke), "Sessions ended: 1\n");
        assert!(!host.reaches(INSIDE, 2));
    });
}

/// Whatever ends sessions leaves no peer on an interface that outlived its daemon.
#[test]
fn a_change_without_a_daemon_takes_those_off_whom_it_shuts_out() {
    in_new_network(|| async {
        let _host = Host::joined();
        let (site, _, interface) = site();
        let profile = Profile::read(site.path().join("profile.toml")).unwrap();
        let peer = profile.private_key.public_key().to_string();
        let list = site.admin(&["factor", "list", "--user", "alice"]);
        let app = list.split(' ').next().unwrap();
        let factor = |what| ["factor", what, "--user", "alice", app, "--even-the-last"];
        for change in [
            ["user", "groups", "alice", "staff"].as_slice(),
            &["peer", "disable", &peer],
            &["peer", "enable", &peer],
            &["factor", "reset", "--user", "alice", app],
            &factor("suspend"),
            &factor("remove"),
            &["user", "disable", "alice"],
        ] {
            run("wg", &["set", &interface.name, "peer", &peer]);
            site.admin(change);
            let shuts_out = change[1] != "enable";
            assert_eq!(interface.has_a_peer(), !shuts_out, "{change:?}");
        }

        run("wg", &["set", &interface.name, "peer", &peer]);
        interface.signal("-STOP");
        let complaint = site.refused(&["user", "disable", "alice"]);
        interface.signal("-CONT");
        assert!(complaint.contains("may still pass"), "{complaint}");
        assert!(complaint.contains("repeat this command"), "{complaint}");
    });
}

#[test]
fn a_daemon_on_another_backend_clears_the_last_one_s() {
    in_new_network(|| async {
        let host = Host::joined();
        let (site, secret, interface) = site();
        let daemon = site.run();
        let _tunnel = let_in(&host, &site, &code(&secret));
        daemon.kill();
        assert!(host.reaches(INSIDE, 5), "nothing ends it without a guard");

        // The interface's program has the port.
        site.configure(|text| {
            let listen = |at: &str| format!("wireguard_listen = \"{at}\"");
            text.replace(&listen(&site.wireguard.to_string()), &listen("127.0.0.1:1"))
        });
        let mut daemon = Running::start(&mut site.server(&["run", "--backend", "netstack"]));
        daemon.wait_for("is up");
        assert!(!interface.has_a_peer());
    });
}

#[test]
fn an_interface_that_settings_no_longer_name_is_cleared() {
    in_new_network(|| async {
        let host = Host::joined();
        let (site, secret, interface) = site();
        let name = |name: &str| format!("name = \"{name}\"");
        let (own, another) = (name(&interface.name), name("mfother"));
        let daemon = site.run();
        let _tunnel = let_in(&host, &site, &code(&secret));
        daemon.kill();

        // By a start that fails, since there is no such interface.
        site.configure(|text| text.replace(&own, &another));
        site.refused(&["run"]);
        assert!(!interface.has_a_peer());

        // By one that goes on with another.
        site.configure(|text| text.replace(&another, &own));
        let daemon = site.run();
        assert!(host.reaches(INSIDE, 20), "the session is live");
        daemon.kill();
        let settings = site.path().join("gate.toml");
        let before = std::fs::read_to_string(&settings).unwrap();
        site.configure(|text| {
            let listen = |at: &str| format!("wireguard_listen = \"{at}\"");
            text.replace(&own, &another)
                .replace(&listen(&site.wireguard.to_string()), &listen("127.0.0.1:1"))
        });
        let mut daemon = Running::start(&mut site.server(&["run", "--backend", "netstack"]));
        daemon.wait_for("is up");
        assert!(!interface.has_a_peer());
        daemon.kill();
        std::fs::write(&settings, before).unwrap();

        // Without a daemon, by the command that revokes.
        let daemon = site.run();
        assert!(host.reaches(INSIDE, 20), "the session is live");
        daemon.kill();
        site.configure(|text| text.replace(&own, &another));
        let revoked = site.admin(&["revoke", "--user", "alice"]);
        assert_eq!(revoked, "Sessions ended: 1\n");
        assert!(!interface.has_a_peer());
    });
}

#[test]
fn a_guard_left_behind_goes_with_the_next_start_that_succeeds() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, true);
        let daemon = site.run();
        let _tunnel = let_in(&host, &site, &code(&secret));
        daemon.kill();

        let control = TcpListener::bind(site.control).unwrap();
        let complaint = site.refused(&["run"]);
        assert!(complaint.contains("control_listen"), "{complaint}");
        assert_eq!(interface.peers(), "");
        assert!(run("nft", &["list", "tables"]).contains("mfagate"));
        drop(control);

        let mut daemon = site.run();
        assert_ne!(interface.peers(), "", "the session is still good");
        daemon.interrupt();
        assert_eq!(daemon.status(), Some(0));
        assert!(!run("nft", &["list", "tables"]).contains("mfagate"));
    });
}
