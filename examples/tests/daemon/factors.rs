//! Every kind of factor through both programs, as people use them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mfagate::factor::totp::TotpSecret;

use crate::app::{code, code_before, scanned};
use crate::json_client::{JsonClient, connect_with};
use crate::mail::{MailServer, Security};
use crate::report::enrol;
use crate::site::{CONNECT, PAGE, Running, Site, fetch};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A site with a user and a device's profile, where these factors are asked for.
pub(crate) fn site(steps: &str) -> Site {
    let site = Site::new();
    site.configure(|text| text.replace("[{ any_of = [\"totp\"] }]", steps));
    site.admin(&["user", "add", "alice"]);
    let peer = ["peer", "add", "--user", "alice", "--label", "laptop"];
    site.admin(&[peer.as_slice(), &["--address", "10.9.0.2/32"]].concat());
    site
}

/// A token for a factor of that kind.
pub(crate) fn token(site: &Site, kind: &str) -> String {
    let create = ["token", "create", "--user", "alice", "--kind", kind];
    site.admin(&create).trim().to_owned()
}

/// Sets alice's password, after two that may not be chosen.
pub(crate) fn set_password(site: &Site) {
    let add = ["factor", "add-password", "--user", "alice"];
    let mut adding = Running::start(&mut site.server(&add));
    adding.enter("short");
    adding.enter("my name is alice and I am long");
    adding.enter(PASSWORD);
    adding.wait_for("is active");
    assert_eq!(adding.status(), Some(0));
}

/// Begins to enrol a factor from the client.
pub(crate) fn enrolling(site: &Site, kind: &str, token: &str, more: &[&str]) -> Running {
    let mut command = Command::new(CONNECT);
    command.current_dir(site.path());
    let enrol = ["enrol", "profile.toml", "--kind", kind, "--token", token];
    Running::start(command.args(enrol).args(more))
}

/// Waits until the tunnel is up, and that the page inside is there.
pub(crate) fn reaches_the_page(connect: &mut Running) {
    let line = connect.wait_for("Serving on ");
    let local = line.trim().trim_start_matches("Serving on ");
    let local = local.trim_end_matches('.').parse().unwrap();
    assert!(fetch(local).contains("You are inside."));
}

/// The last id in what `factor list` says of a kind.
pub(crate) fn factor(site: &Site, kind: &str) -> String {
    let list = site.admin(&["factor", "list", "--user", "alice"]);
    let line = list.lines().find(|line| line.contains(kind)).unwrap();
    line.split(' ').next().unwrap().to_owned()
}

/// Says no more than it must: a policy at AAL2 in steps.
const AAL2: &str = "[{ any_of = [\"password\"] }, { any_of = [\"device-key\"] }]";

#[test]
fn a_password_and_a_device_key_are_enough_for_aal2() {
    let site = site(AAL2);
    site.configure(|text| text.replace("# inactivity = \"1h\"", "inactivity = \"1h\""));
    site.admin(&["policy", "check", "--level", "aal2"]);
    set_password(&site);
    let gate = site.run();

    let once = token(&site, "device-key");
    let key = ["--device-key", "key.pem"];
    let mut enrolled = enrolling(&site, "device-key", &once, &key);
    enrolled.wait_for("Enrolled: factor ");
    assert_eq!(enrolled.status(), Some(0));

    let mut connect = connect_with(&site, &key);
    connect.enter("incorrect horse battery staple");
    connect.enter(PASSWORD);
    reaches_the_page(&mut connect);
    let audit = site.admin(&["audit", "export"]);
    assert_eq!(audit.matches("\"denied\"").count(), 1, "{audit}");
    connect.interrupt();
    assert_eq!(connect.status(), Some(0));

    // Without the key, the password alone opens nothing.
    let mut without = connect_with(&site, &[]);
    without.enter(PASSWORD);
    assert_eq!(without.status(), Some(1));
    drop(gate);
}

#[test]
fn a_token_that_is_used_over_or_of_another_kind_enrols_nothing() {
    let site = site(AAL2);
    let _gate = site.run();
    let once = token(&site, "password");
    let mut enrolled = enrolling(&site, "password", &once, &[]);
    enrolled.enter("short");
    enrolled.enter(PASSWORD);
    enrolled.wait_for("Enrolled");

    let refused = |kind: &str, token: &str| {
        let mut refused = enrolling(&site, kind, token, &["--json"]);
        let said = refused.wait_for("\"failed\"");
        assert!(said.contains("this enrolment token is not good"), "{said}");
        refused.status()
    };
    assert_eq!(refused("password", &once), Some(3));
    let other = token(&site, "recovery-codes");
    assert_eq!(refused("password", &other), Some(3));
    let create = ["token", "create", "--user", "alice", "--ttl", "1s"];
    let short = site.admin(&create);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(refused("password", short.trim()), Some(3));
    let listed = site.admin(&["token", "list", "--user", "alice", "--json"]);
    let id = listed.lines().next().unwrap();
    let id: serde_json::Value = serde_json::from_str(id).unwrap();
    let remove = ["token", "remove", "--user", "alice"];
    site.admin(&[remove.as_slice(), &[id["id"].as_str().unwrap()]].concat());
    let again = site.refused(&[remove.as_slice(), &[id["id"].as_str().unwrap()]].concat());
    assert!(again.contains("no such enrolment token"), "{again}");
    assert_eq!(refused("password", "mfe_nonsense"), Some(3));
    let unknown = ["token", "create", "--user", "alice", "--kind", "badge"];
    assert!(site.refused(&unknown).contains("the kinds are totp"));
}

#[test]
fn each_recovery_code_gets_in_once() {
    let site = site("[{ any_of = [\"recovery-codes\"] }]");
    let shown = site.admin(&["factor", "add-recovery-codes", "--user", "alice"]);
    let codes: Vec<&str> = shown.lines().skip(1).collect();
    assert_eq!(codes.len(), 10, "{shown}");
    let _gate = site.run();
    let mut connect = connect_with(&site, &[]);
    connect.enter("not a code");
    connect.enter(codes[4]);
    reaches_the_page(&mut connect);
    connect.interrupt();
    assert_eq!(connect.status(), Some(0));

    let mut again = connect_with(&site, &[]);
    again.enter(codes[4]);
    again.enter(&codes[5].to_lowercase());
    reaches_the_page(&mut again);
    assert!(site.admin(&["audit", "export"]).contains("replayed"));
}

#[test]
fn a_code_by_e_mail_gets_in_once_its_address_is_proven() {
    let mail = MailServer::start(Security::StartTls);
    let certificate = std::fs::read_to_string(mail.certificate()).unwrap();
    let site = site("[{ any_of = [\"email-code\"] }]");
    let refused = site.refused(&["run"]);
    assert!(refused.contains("no verifier serves it"), "{refused}");
    std::fs::write(site.path().join("ca.pem"), certificate).unwrap();
    std::fs::write(site.path().join("state/smtp.password"), "open sesame\n").unwrap();
    let port = mail.at.port();
    site.configure(|text| {
        text + "[factors.email]\nfrom = \"gate@example.com\"\nserver = \"localhost\"\n\
                tls = \"starttls\"\nuser = \"alice\"\npassword_file = \"state/smtp.password\"\n\
                root_certificate = \"ca.pem\"\n"
            + &format!("port = {port}\n")
    });
    let _gate = site.run();

    let once = token(&site, "email-code");
    let mut enrolled = enrolling(&site, "email-code", &once, &[]);
    for typed in [
        "alice at example.com",
        "nobody@example.com",
        "alice@example.com",
    ] {
        enrolled.enter(typed);
    }
    let letter = mail.letter();
    assert!(letter.is_encrypted() && letter.is_from_a_user());
    enrolled.enter("00000000");
    enrolled.enter(&letter.code());
    enrolled.wait_for("Enrolled");

    let mut connect = connect_with(&site, &[]);
    let letter = mail.letter();
    assert_eq!(letter.to(), "alice@example.com");
    connect.enter("/0"); // too early for another
    connect.enter("1234");
    connect.enter(&letter.code());
    reaches_the_page(&mut connect);
    connect.interrupt();
    assert_eq!(connect.status(), Some(0));

    let remove = ["factor", "remove", "--user", "alice"];
    let proven = factor(&site, "email-code");
    let refused = site.refused(&[remove.as_slice(), &[&*proven]].concat());
    assert!(refused.contains("--even-the-last"), "{refused}");
    let add = ["factor", "add-email", "--user", "alice"];
    site.admin(&[add.as_slice(), &["--address", "al@example.com"]].concat());
    site.admin(&[remove.as_slice(), &[&*proven]].concat());
    let mut connect = connect_with(&site, &[]);
    let letter = mail.letter();
    assert_eq!(letter.to(), "al@example.com");
    connect.enter(&letter.code());
    reaches_the_page(&mut connect);
}

#[test]
fn a_key_in_a_token_is_made_and_signs() {
    let site = site("[{ any_of = [\"device-key\"] }]");
    let path = site.path();
    let configuration = path.join("softhsm2.conf");
    std::fs::create_dir(path.join("tokens")).unwrap();
    let lines = format!("directories.tokendir = {}/tokens\n", path.display());
    std::fs::write(&configuration, lines).unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "office token"])
        .args(["--so-pin", "12345678", "--pin", "493817"])
        .env("SOFTHSM2_CONF", &configuration)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let module = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    ];
    let module = module.into_iter().find(|path| Path::new(path).exists());
    let module = module.expect("SoftHSM is not there: install softhsm2");
    let token = ["--pkcs11-token", "office token", "--pkcs11-key", "laptop"];
    let in_token = [["--pkcs11-module", module].as_slice(), &token].concat();
    let _gate = site.run();

    let once = self::token(&site, "device-key");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(CONNECT);
        command
            .current_dir(path)
            .env("SOFTHSM2_CONF", &configuration);
        Running::start(command.args(arguments).args(&in_token))
    };
    let enrol = ["enrol", "profile.toml", "--kind", "device-key", "--token"];
    let mut enrolled = run(&[enrol.as_slice(), &[&*once]].concat());
    enrolled.enter("493817"); // to make the key
    enrolled.enter("493817"); // to sign with it
    enrolled.wait_for("Enrolled");

    let forward = format!("127.0.0.1:0={PAGE}");
    let mut connect = run(&["profile.toml", "--forward", &forward]);
    connect.enter("000000");
    connect.enter(""); // once more
    connect.enter("493817");
    reaches_the_page(&mut connect);
}

#[test]
fn without_a_security_key_another_factor_does_in_the_attempt() {
    let site = site("[{ any_of = [\"webauthn\", \"totp\"] }]");
    site.configure(|text| text + "[factors.webauthn]\nrp_id = \"gate.example.com\"\n");
    let secret = enrol_app(&site);
    let mut key = crate::programs::Passkey::at("https://gate.example.com");
    let gate = site.run();
    key.enrol(&site);
    let mut connect = connect_with(&site, &["--rp-id", "gate.example.com"]);
    connect.enter(""); // once more: there still is none
    connect.enter("/1");
    connect.enter(&code(&secret));
    reaches_the_page(&mut connect);
    drop(gate);
}

/// An app for a user who is there already.
fn enrol_app(site: &Site) -> TotpSecret {
    let add = ["factor", "add-totp", "--user", "alice", "--json"];
    let mut adding = JsonClient::start(&mut site.server(&add));
    let confirm = adding.heard("confirm");
    let secret = scanned(confirm["uri"].as_str().unwrap());
    adding.running.enter("000");
    adding.heard("error");
    adding.running.enter(&code_before(&secret));
    adding.heard("added");
    secret
}

#[test]
fn an_administrator_renames_suspends_resumes_resets_and_removes() {
    let site = Site::new();
    enrol(&site);
    let both = "[{ all_of = [\"totp\", \"password\"] }]";
    let one = "[{ any_of = [\"totp\", \"password\"] }]";
    site.configure(|text| text.replace("[{ any_of = [\"totp\"] }]", both));
    set_password(&site);
    let listed = |kind: &str| -> serde_json::Value {
        let list = site.admin(&["factor", "list", "--user", "alice", "--json"]);
        let mut factors = list
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        factors.find(|factor| factor["kind"] == kind).unwrap()
    };
    let app = listed("totp")["factor"].as_str().unwrap().to_owned();
    let change = |what: &str, more: &[&str]| {
        let command = ["factor", what, "--user", "alice", &*app];
        site.admin(&[command.as_slice(), more].concat());
        listed("totp")
    };
    for what in ["suspend", "remove"] {
        let refused = site.refused(&["factor", what, "--user", "alice", &app]);
        assert!(refused.contains("what the policy asks for"), "{refused}");
    }
    site.configure(|text| text.replace(both, one));

    assert_eq!(change("rename", &["my phone"])["label"], "my phone");
    assert_eq!(change("suspend", &[])["state"], "suspended");
    assert_eq!(change("resume", &[])["state"], "active");
    assert_eq!(change("reset", &[])["failures"], 0);

    let password = listed("password")["factor"].as_str().unwrap().to_owned();
    site.admin(&["factor", "suspend", "--user", "alice", &password]);
    for what in ["suspend", "remove"] {
        let refused = site.refused(&["factor", what, "--user", "alice", &app]);
        assert!(refused.contains("--even-the-last"), "{refused}");
    }
    let last = ["factor", "remove", "--user", "alice", &app];
    site.admin(&[last.as_slice(), &["--even-the-last"]].concat());
    let refused = site.refused(&last);
    assert!(refused.contains("no such factor"), "{refused}");
    let others = site.refused(&["factor", "resume", "--user", "bob", &password]);
    assert!(others.contains("no such factor"), "{others}");
}

#[test]
fn a_replaced_device_key_goes_and_its_session_with_it() {
    let site = site("[{ any_of = [\"device-key\"] }]");
    let _gate = site.run();
    let enrol = |token: &str, key: &str| {
        let mut enrolled = enrolling(&site, "device-key", token, &["--device-key", key]);
        enrolled.wait_for("Enrolled: factor ");
        assert_eq!(enrolled.status(), Some(0));
    };
    enrol(&token(&site, "device-key"), "lost.pem");
    let lost = factor(&site, "device-key");
    let mut connect = connect_with(&site, &["--device-key", "lost.pem"]);
    reaches_the_page(&mut connect);

    let create = ["token", "create", "--user", "alice", "--replaces"];
    let stranger = "00000000000000000000000000000000";
    let complaint = site.refused(&[create.as_slice(), &[stranger]].concat());
    assert!(complaint.contains("no such factor"), "{complaint}");
    let once = site.admin(&[create.as_slice(), &[&lost]].concat());
    let listed = site.admin(&["token", "list", "--user", "alice"]);
    assert!(listed.contains(&lost), "{listed}");
    assert!(site.admin(&["sessions"]).contains("alice"), "not yet");
    enrol(once.trim(), "new.pem");
    assert_eq!(connect.status(), Some(5), "its session ended");
    let list = site.admin(&["factor", "list", "--user", "alice"]);
    assert!(!list.contains(&lost) && list.lines().count() == 1, "{list}");

    let mut without = connect_with(&site, &["--device-key", "lost.pem"]);
    assert_eq!(without.status(), Some(1));
    let mut with = connect_with(&site, &["--device-key", "new.pem"]);
    reaches_the_page(&mut with);
}
