//! Devices and their addresses, one by one and many at once.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use mfagate::client::{Onboarding, Profile};
use mfagate::key::PrivateKey;
use serde_json::json;

use crate::app::{code, code_ahead, code_before, scanned};
use crate::json_client::JsonClient;
use crate::site::{CONNECT, PAGE, Site, fetch};

fn site() -> Site {
    let site = Site::at("127.0.0.1");
    site.admin(&["user", "add", "alice"]);
    site
}

/// The arguments that add a device, with these for its addresses.
fn add<'a>(out: &'a str, addresses: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["peer", "add", "--user", "alice", "--label", "laptop"];
    arguments.extend(["--out", out]);
    for address in addresses {
        arguments.extend(["--address", address]);
    }
    arguments
}

fn addresses(site: &Site, out: &str) -> Vec<String> {
    let profile = Profile::read(site.path().join(out)).unwrap();
    let addresses = profile.addresses.iter();
    addresses.map(ToString::to_string).collect()
}

#[test]
fn an_address_that_can_t_work_is_refused_with_the_reason() {
    let site = site();
    for (address, why) in [
        ("10.9.0.1", "the gate's own address"),
        ("10.9.0.0", "the network's own or the broadcast address"),
        ("10.9.0.255", "the network's own or the broadcast address"),
        ("10.8.0.2", "--even-outside"),
        ("10.9.0.2/24", "/32"),
        ("224.0.0.1", "no address of a host"),
        ("ten", "neither an address"),
    ] {
        let complaint = site.refused(&add("p.toml", &[address]));
        assert!(complaint.contains(why), "{address}: {complaint}");
        assert!(!site.path().join("p.toml").exists(), "{address}");
    }
    assert_eq!(site.admin(&["peer", "list"]), "");
    let outside = [
        add("p.toml", &["192.0.2.0/24"]).as_slice(),
        &["--even-outside"],
    ]
    .concat();
    site.admin(&outside);
    assert_eq!(addresses(&site, "p.toml"), ["192.0.2.0/24"]);
}

#[test]
fn a_device_gets_the_next_free_addresses_of_both_families() {
    let site = site();
    site.configure(|text| {
        text.replace(
            "address = \"10.9.0.1/24\"",
            "address = [\"10.9.0.1/24\", \"fd09::1/64\"]",
        )
    });
    site.admin(&add("first.toml", &[]));
    assert_eq!(
        addresses(&site, "first.toml"),
        ["10.9.0.2/32", "fd09::2/128"]
    );
    let own = ["10.9.0.4", "fd09::3", "10.9.0.16/28"];
    site.admin(&add("second.toml", &own));
    let told = ["10.9.0.4/32", "fd09::3/128", "10.9.0.16/28"];
    assert_eq!(addresses(&site, "second.toml"), told);
    site.admin(&add("third.toml", &[]));
    assert_eq!(
        addresses(&site, "third.toml"),
        ["10.9.0.3/32", "fd09::4/128"]
    );

    let listed = site.admin(&["peer", "list"]);
    assert!(
        listed.contains(" 10.9.0.4/32,fd09::3/128,10.9.0.16/28 "),
        "{listed}"
    );
    let complaint = site.refused(&add("fourth.toml", &["10.9.0.17"]));
    assert!(complaint.contains("overlaps"), "{complaint}");
}

#[test]
fn devices_that_are_added_at_once_get_addresses_of_their_own() {
    let site = site();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let site = &site;
            scope.spawn(move || site.admin(&add(&format!("{n}.toml"), &[])));
        }
    });
    let all: BTreeSet<_> = (0..4)
        .map(|n| addresses(&site, &format!("{n}.toml")))
        .collect();
    assert_eq!(all.len(), 4, "{all:?}");
}

fn key() -> String {
    PrivateKey::generate().unwrap().public_key().to_string()
}

#[test]
fn users_and_devices_are_imported_in_one_transaction() {
    let site = site();
    let (laptop, phone, robot) = (key(), key(), key());
    let file = format!(
        "user,groups,label,key,addresses,token\n\
         alice,staff;admins,laptop,{laptop},10.9.0.7,totp\n\
         alice,,phone,{phone},,\n\
         bob,staff,,,,any\n\
         robot,,\"build, and deploy\",{robot},10.9.0.32/28;10.9.0.9,\n"
    );
    std::fs::write(site.path().join("users.csv"), file).unwrap();
    let imported = site.admin(&["import", "users.csv", "--json"]);
    let lines: Vec<serde_json::Value> = imported
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4, "{imported}");
    assert_eq!(lines[1]["addresses"][0], "10.9.0.2/32", "the next free one");
    let token = lines[2]["token"].as_str().unwrap();
    assert!(token.starts_with("mfe_"), "{token}");

    let users = site.admin(&["user", "list"]);
    let all =
        "alice: enabled, in staff, admins\nbob: enabled, in staff\nrobot: enabled, in no group\n";
    assert_eq!(users, all);
    let peers = site.admin(&["peer", "list"]);
    assert_eq!(peers.lines().count(), 3, "{peers}");
    let line = format!("{robot} robot enabled 10.9.0.32/28,10.9.0.9/32 build, and deploy");
    assert!(peers.contains(&line), "{peers}");
    for (user, kinds) in [("alice", " totp until "), ("bob", " any until ")] {
        let tokens = site.admin(&["token", "list", "--user", user]);
        assert!(tokens.contains(kinds), "{tokens}");
    }
    site.admin(&["audit", "verify"]);
}

#[test]
fn an_import_with_faults_names_each_line_and_imports_nothing() {
    let site = site();
    let known = key();
    let device = |address: &str| format!("alice,,laptop,{},{address},\n", key());
    let file = [
        "user,groups,label,key,addresses,token\n".to_owned(),
        format!("bob,,laptop,{known},10.9.0.7,\n"),
        device("10.9.0.1"),
        "carol,,,,,badge\n".to_owned(),
        device("10.9.0.7"),
        "dave,,laptop,not a key,,\n".to_owned(),
        format!("bob,,again,{known},,\n"),
        "erin,,laptop,,10.9.0.8,\n".to_owned(),
    ]
    .concat();
    let mut import = site.server(&["import", "-"]);
    let mut import = import
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    import
        .stdin
        .take()
        .unwrap()
        .write_all(file.as_bytes())
        .unwrap();
    let output = import.wait_with_output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    for (line, why) in [
        (3, "the gate's own address"),
        (4, "token: the kinds are "),
        (5, "overlaps"),
        (6, "key: "),
        (7, "enrolled already"),
        (8, "a device without a key"),
    ] {
        let is_told = |text: &str| text.contains(&format!("-:{line}: ")) && text.contains(why);
        assert!(said.lines().any(is_told), "{line}: {said}");
    }
    assert!(
        said.contains("nothing was imported: correct these 6 lines"),
        "{said}"
    );
    assert_eq!(
        site.admin(&["user", "list"]),
        "alice: enabled, in no group\n"
    );
    assert_eq!(site.admin(&["peer", "list"]), "");
    let unknown = "user,mail\nbob,b@example.com\n";
    std::fs::write(site.path().join("users.csv"), unknown).unwrap();
    let said = site.refused(&["import", "users.csv"]);
    assert!(said.contains("unknown field `mail`"), "{said}");
}

/// One command of the administrator's and one of the user's.
#[test]
fn one_file_enrols_and_connects_and_is_a_profile_then() {
    let site = Site::new();
    let onboard = ["onboard", "alice", "--device", "laptop"];
    let told = site.admin(&[onboard.as_slice(), &["--out", "alice.toml"]].concat());
    assert!(told.contains("(totp)"), "{told}");
    let start = Onboarding::read(site.path().join("alice.toml")).unwrap();
    assert!(start.enrol.is_some());
    let mode = std::fs::metadata(site.path().join("alice.toml")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let _gate = site.run();

    let forward = format!("127.0.0.1:0={PAGE}");
    let connect = ["alice.toml", "--json", "--forward", &forward];
    let mut first = JsonClient::start(program(&site).args(connect));
    let question = first.heard("question");
    assert_eq!(question["challenge"]["type"], "register_totp");
    let app = scanned(question["challenge"]["uri"].as_str().unwrap());
    first.answer(&json!({"type": "code", "code": code_before(&app)}));
    assert_eq!(first.heard("question")["challenge"]["type"], "code");
    first.answer(&json!({"type": "code", "code": code(&app)}));
    first.heard("onboarded");
    first.heard("connected");
    let serving = first.heard("serving");
    let local = serving["at"].as_str().unwrap().parse().unwrap();
    assert!(fetch(local).contains("You are inside."));
    first.running.interrupt();
    assert_eq!(first.running.status(), Some(0));

    let profile = Profile::read(site.path().join("alice.toml")).unwrap();
    assert_eq!(profile, start.profile);
    let mut second = JsonClient::start(program(&site).args(connect));
    assert_eq!(second.heard("question")["challenge"]["type"], "code");
    second.answer(&json!({"type": "code", "code": code_ahead(&app)}));
    second.heard("connected");
}

fn program(site: &Site) -> Command {
    let mut command = Command::new(CONNECT);
    command.current_dir(site.path());
    command
}

#[test]
fn an_onboarding_that_fails_leaves_no_file_and_no_device() {
    let site = Site::at("127.0.0.1");
    let onboard = ["onboard", "alice", "--device", "laptop"];
    let outside = [onboard.as_slice(), &["--address", "192.0.2.7"]].concat();
    assert!(site.refused(&outside).contains("192.0.2.7"));
    assert!(!site.path().join("onboarding.toml").exists());

    std::fs::write(site.path().join("onboarding.toml"), "kept").unwrap();
    assert!(site.refused(&onboard).contains("exists"));
    let kept = std::fs::read_to_string(site.path().join("onboarding.toml"));
    assert_eq!(kept.unwrap(), "kept");

    site.admin(&["user", "add", "bob"]);
    site.admin(&["user", "disable", "bob"]);
    let complaint = site.refused(&["onboard", "bob", "--device", "phone"]);
    assert!(complaint.contains("user enable bob"), "{complaint}");
    assert_eq!(site.admin(&["peer", "list"]), "");
}
