//! Both programs, from set-up to revocation.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mfagate::factor::totp::TotpSecret;

use crate::app::{code, code_ahead, code_before, typed_in};
use crate::site::{CONNECT, GATE_SERVER, PAGE, Running, Site, fetch};

pub(crate) const SESSION_ENDED: Option<i32> = Some(5);

#[test]
fn a_code_opens_the_page_inside_and_a_revocation_closes_it() {
    let (site, secret) = office();
    let mut gate = site.run();
    let mut connect = connect(&site);
    connect.enter("000000");
    connect.enter("not a code");
    connect.enter(&code(&secret));
    let line = connect.wait_for("Serving on ");
    let local = line
        .trim()
        .trim_start_matches("Serving on ")
        .trim_end_matches('.');
    let local = local.parse().unwrap();
    assert!(fetch(local).contains("You are inside."));
    assert!(site.admin(&["sessions"]).contains("alice"));

    let revoked = site.admin(&["revoke", "--user", "alice"]);
    assert_eq!(revoked, "Sessions ended: 1\n");
    assert!(!fetch(local).contains("You are inside."));
    assert_eq!(connect.status(), SESSION_ENDED);
    assert!(!site.admin(&["sessions"]).contains("alice"));

    gate.interrupt();
    assert_eq!(gate.status(), Some(0));
    let verified = site.admin(&["audit", "verify"]);
    let head = verified.trim().rsplit(' ').next().unwrap();
    site.admin(&["user", "add", "bob"]);
    site.admin(&["audit", "verify", "--head", head]);
    let forged = format!("1:{}", "0".repeat(64));
    let complaint = site.refused(&["audit", "verify", "--head", &forged]);
    assert!(complaint.contains("never was at the head"), "{complaint}");
    let kinds = ["denied", "admitted", "ended", "user_put"];
    let exported = site.admin(&["audit", "export"]);
    assert!(
        kinds.iter().all(|kind| exported.contains(kind)),
        "{exported}"
    );
}

#[test]
fn ctrl_c_signs_out_during_the_sign_in_and_after_it() {
    let (site, secret) = office();
    let _gate = site.run();
    for (code, status) in [(None, 130), (Some(code(&secret)), 0)] {
        let mut command = crate::json_client::command(&site);
        let mut connect = Running::start(command.stderr(Stdio::piped()));
        let mut prompt = connect.child.stderr.take().unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"The 6 digits") {
            let mut byte = [0];
            prompt.read_exact(&mut byte).unwrap();
            said.push(byte[0]);
        }
        if let Some(code) = code {
            connect.enter(&code);
            connect.wait_for("Connected");
            assert!(site.admin(&["sessions"]).contains("alice"));
        }
        connect.interrupt();
        connect.wait_for("Signing out");
        assert_eq!(connect.status(), Some(status));
        assert!(!site.admin(&["sessions"]).contains("alice"));
    }
}

#[test]
fn disabling_shuts_out_and_a_dead_daemon_s_sessions_are_revoked() {
    let (site, secret) = office();
    let gate = site.run();
    let mut first = connect(&site);
    first.enter(&code(&secret));
    first.wait_for("Connected");
    site.admin(&["user", "disable", "alice"]);
    let mut looks = 0;
    while site.admin(&["sessions"]).contains("alice") {
        looks += 1;
        assert!(looks < 100, "the daemon did not notice");
        std::thread::sleep(Duration::from_millis(50));
    }

    site.admin(&["user", "add", "alice"]);
    let mut second = connect(&site);
    second.enter(&code_ahead(&secret));
    second.wait_for("Connected");
    drop(gate);
    assert_eq!(site.admin(&["revoke", "--all"]), "Sessions ended: 1\n");
    let _gate = site.run();
    assert!(!site.admin(&["sessions"]).contains("alice"));
}

#[test]
fn a_killed_gate_takes_its_tunnels_with_it() {
    let (site, secret) = office();
    let gate = site.run();
    let mut connect = connect(&site);
    connect.enter(&code(&secret));
    let line = connect.wait_for("Serving on ");
    let local = line.trim().trim_start_matches("Serving on ");
    let local = local.trim_end_matches('.').parse().unwrap();
    assert!(fetch(local).contains("You are inside."));
    gate.kill();
    // Its port is anybody's: nothing of it is left that could pass a packet.
    let _port = std::net::UdpSocket::bind(site.wireguard).unwrap();
    assert!(!fetch(local).contains("You are inside."));
}

#[test]
fn nothing_is_half_made_and_whatever_is_wrong_is_named() {
    let (site, _) = office();
    let read = |name: &str| std::fs::read(site.path().join(name)).unwrap();
    let before = (read("gate.toml"), read("state/gate.key"));
    assert!(site.refused(&["init"]).contains("is there already"));
    assert_eq!((read("gate.toml"), read("state/gate.key")), before);
    let peer = [
        "--label",
        "l",
        "--address",
        "10.9.0.3/32",
        "--out",
        "p.toml",
    ];
    let add = |user| [["peer", "add", "--user", user].as_slice(), &peer].concat();
    assert!(site.refused(&add("nobody")).contains("no such user"));
    assert!(!site.path().join("p.toml").exists());
    site.admin(&add("alice"));
    assert!(site.refused(&add("alice")).contains("p.toml"));
    let _gate = site.run();
    assert!(site.refused(&["run"]).contains("another gate-server runs"));
    let lost = Command::new(CONNECT)
        .arg(site.path().join("nothing.toml"))
        .output()
        .unwrap();
    assert_eq!(lost.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&lost.stderr).contains("nothing.toml"));
}

#[test]
fn a_full_disk_leaves_nothing_half_made() {
    let folder = tempfile::tempdir().unwrap();
    let program = GATE_SERVER;
    let init = format!("trap '' XFSZ; ulimit -f LIMIT; exec {program} init");
    // In blocks of 512 bytes: no file can be written, or all but the configuration.
    for limit in ["0", "1"] {
        let output = Command::new("sh")
            .args(["-c", &init.replace("LIMIT", limit)])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains("File too large"), "{complaint}");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

/// A site with a user, a device's profile and an app.
pub(crate) fn office() -> (Site, TotpSecret) {
    let site = Site::new();
    let secret = enrol(&site);
    (site, secret)
}

/// Adds a user, a device's profile and an app.
pub(crate) fn enrol(site: &Site) -> TotpSecret {
    site.admin(&["user", "add", "alice"]);
    let peer = ["peer", "add", "--user", "alice", "--label", "laptop"];
    site.admin(&[peer.as_slice(), &["--address", "10.9.0.2/32"]].concat());
    let mut enrolling =
        Running::start(&mut site.server(&["factor", "add-totp", "--user", "alice"]));
    let line = enrolling.wait_for("key: ");
    let key = line.trim().trim_start_matches("key: ");
    let secret = typed_in(key);
    enrolling.enter(&code_before(&secret));
    assert_eq!(enrolling.status(), Some(0));
    secret
}

pub(crate) fn connect(site: &Site) -> Running {
    let profile = site.path().join("profile.toml");
    let forward = format!("127.0.0.1:0={PAGE}");
    let mut command = Command::new(CONNECT);
    Running::start(
        command
            .arg(Path::new(&profile))
            .args(["--forward", &forward]),
    )
}

#[test]
fn no_name_or_label_steers_the_administrator_s_terminal() {
    let (site, _) = office();
    for label in ["", "a\u{1b}[2Jb", "a\nb", "a\u{202e}b", &"x".repeat(65)] {
        let add = ["peer", "add", "--user", "alice", "--address", "10.9.0.3/32"];
        let more = ["--out", "p.toml", "--label", label];
        let complaint = site.refused(&[add.as_slice(), &more].concat());
        assert!(complaint.contains("1 to 64 printable"), "{complaint:?}");
        assert!(!site.path().join("p.toml").exists());
    }

    // Names may have more in them than labels.
    site.admin(&["user", "groups", "alice", "a\u{202e}b\u{2028}c"]);
    let list = site.admin(&["user", "list"]);
    assert!(list.contains("a\\u{202e}b\\u{2028}c"), "{list:?}");
    let list = site.admin(&["user", "list", "--json"]);
    assert!(list.contains("a\\u202eb\\u2028c"), "{list:?}");
}
