//! What shuts out returns when they are out, or says that they are not; a name that was mistyped is
//! an error.

use mfagate::id::SessionId;
use mfagate::key::PrivateKey;

use crate::app::{code, code_ahead};
use crate::report::{SESSION_ENDED, connect, office};
use crate::site::{Running, Site, fetch};

/// A device that is in, and where it reaches the page inside.
fn let_in(site: &Site, code: &str) -> (Running, std::net::SocketAddr) {
    let mut connect = connect(site);
    connect.enter(code);
    let line = connect.wait_for("Serving on ");
    let local = line.trim().trim_start_matches("Serving on ");
    let local = local.trim_end_matches('.').parse().unwrap();
    assert!(fetch(local).contains("You are inside."));
    (connect, local)
}

/// Right after the command, without waiting for anything.
#[track_caller]
fn is_out(site: &Site, (mut connect, local): (Running, std::net::SocketAddr), what: &str) {
    assert!(!site.admin(&["sessions"]).contains("alice"), "{what}");
    assert!(!fetch(local).contains("You are inside."), "{what}");
    assert_eq!(connect.status(), SESSION_ENDED, "{what}");
}

#[test]
fn a_user_who_is_disabled_and_enabled_at_once_is_out() {
    let (site, secret) = office();
    let _gate = site.run();
    let device = let_in(&site, &code(&secret));
    site.admin(&["user", "disable", "alice"]);
    site.admin(&["user", "enable", "alice"]);
    is_out(&site, device, "user disable");
}

#[test]
fn a_device_that_is_disabled_is_out_when_the_command_returns() {
    let (site, secret) = office();
    let _gate = site.run();
    let device = let_in(&site, &code(&secret));
    let listed = site.admin(&["peer", "list"]);
    let peer = listed.split(' ').next().unwrap();
    let said = site.admin(&["peer", "disable", peer]);
    assert_eq!(said, format!("Peer {peer} is disabled.\n"));
    let said = site.admin(&["peer", "enable", peer]);
    assert_eq!(said, format!("Peer {peer} is enabled.\n"));
    is_out(&site, device, "peer disable");
}

#[test]
fn whom_a_changed_factor_let_in_is_out_when_the_command_returns() {
    let (site, secret) = office();
    let _gate = site.run();
    let device = let_in(&site, &code(&secret));
    let listed = site.admin(&["factor", "list", "--user", "alice"]);
    let app = listed.split(' ').next().unwrap();
    let factor = |what| ["factor", what, "--user", "alice", app];
    site.admin(&factor("reset"));
    is_out(&site, device, "factor reset");
    let device = let_in(&site, &code_ahead(&secret));
    let suspend = [factor("suspend").as_slice(), &["--even-the-last"]].concat();
    site.admin(&suspend);
    site.admin(&factor("resume"));
    is_out(&site, device, "factor suspend");
}

#[test]
fn a_name_that_is_not_known_is_an_error() {
    let (site, _) = office();
    let peer = PrivateKey::generate().unwrap().public_key().to_string();
    let session = SessionId::generate().unwrap().to_string();
    let commands = [
        ["user", "disable", "alise"].as_slice(),
        &["user", "enable", "alise"],
        &["user", "groups", "alise", "staff"],
        &["factor", "list", "--user", "alise"],
        &["token", "list", "--user", "alise"],
        &["peer", "disable", &peer],
        &["peer", "enable", &peer],
        &["revoke", "--user", "alise"],
        &["revoke", "--peer", &peer],
        &["revoke", "--session", &session],
    ];
    for gate in [None, Some(site.run())] {
        for command in commands {
            let complaint = site.refused(command);
            let named = [" alise: ", &peer, &session];
            let is_named = named.iter().any(|name| complaint.contains(name));
            assert!(is_named && complaint.contains("no "), "{complaint}");
        }
        assert_eq!(
            site.admin(&["revoke", "--user", "alice"]),
            "Sessions ended: 0\n",
            "a known name without a session is none"
        );
        drop(gate);
    }
    assert_eq!(
        site.admin(&["user", "list"]),
        "alice: enabled, in no group\n"
    );
}

/// Stopped by a signal, it still holds its socket.
#[test]
fn commands_do_not_wait_for_a_daemon_that_does_not_answer() {
    let (site, secret) = office();
    let gate = site.run();
    let device = let_in(&site, &code(&secret));
    gate.signal("-STOP");
    let says = |command: &[&str], known: &str| {
        let complaint = site.refused(command);
        assert!(complaint.contains("does not answer"), "{complaint}");
        assert!(complaint.contains("kill -KILL"), "{complaint}");
        assert!(complaint.contains(known), "{complaint}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| says(&["sessions"], "sessions that the store has"));
        scope.spawn(|| says(&["user", "groups", "alice", "staff"], "the change is made"));
    });
    says(&["revoke", "--user", "alice"], "1 sessions are on record");
    says(&["user", "disable", "alice"], "may not be out yet");
    gate.signal("-CONT");
    let mut looks = 0;
    while site.admin(&["sessions"]).contains("alice") {
        looks += 1;
        assert!(looks < 100, "the daemon did not notice");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    is_out(&site, device, "once it goes on");
}

/// Put back to an older copy between two runs, or deleted under one.
#[test]
fn an_older_store_is_refused_and_a_deleted_one_admits_no_one() {
    let (site, secret) = office();
    let state = |name: &str| site.path().join("state").join(name);
    let mut gate = site.run();
    let (_device, local) = let_in(&site, &code(&secret));
    gate.terminate();
    assert_eq!(gate.status(), Some(0));
    std::fs::copy(state("gate.db"), state("older.db")).unwrap();
    let mut gate = site.run();
    site.admin(&["user", "disable", "alice"]);
    gate.terminate();
    assert_eq!(gate.status(), Some(0));
    assert!(!fetch(local).contains("You are inside."));

    std::fs::copy(state("older.db"), state("gate.db")).unwrap();
    let complaint = site.refused(&["run"]);
    assert!(complaint.contains("older than it was"), "{complaint}");
    assert!(complaint.contains("--accept-older-store"), "{complaint}");
    let mut gate = site.server(&["run", "--accept-older-store"]);
    let log = site.path().join("log");
    gate.stderr(std::fs::File::create(&log).unwrap());
    let mut gate = Running::start(&mut gate);
    gate.wait_for("is up");
    assert!(!site.admin(&["sessions"]).contains("alice"), "it had ended");

    // Her code was used, which the older copy does not know of any more.
    let (_device, local) = let_in(&site, &code_ahead(&secret));
    std::fs::remove_file(state("gate.db")).unwrap();
    let mut looks = 0;
    while !std::fs::read_to_string(&log).unwrap().contains("admits no") {
        looks += 1;
        assert!(looks < 200, "the daemon did not notice");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(fetch(local).contains("You are inside."), "it goes on");
}
