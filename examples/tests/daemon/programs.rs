//! Programs in the place of people: every question and answer a line of JSON.

use std::process::Command;

use serde_json::{Value, json};

use crate::app::{code, code_before, scanned};
use crate::desk::Desk;
use crate::factors::{enrolling, site, token};
use crate::passkey::SoftwareKey;
use crate::site::{Site, fetch};

/// A passkey in software, and a program that knows how to use it.
pub(crate) struct Passkey(SoftwareKey);

impl Passkey {
    pub(crate) fn at(origin: &str) -> Self {
        Self(SoftwareKey::at(origin))
    }

    /// Enrols it with a token.
    pub(crate) fn enrol(&mut self, site: &Site) {
        let token = token(site, "webauthn");
        let mut desk = Desk {
            running: enrolling(site, "webauthn", &token, &["--json"]),
        };
        let question = desk.heard("question");
        assert_eq!(question["challenge"]["type"], "register_web_authn");
        assert_eq!(question["factor"], Value::Null);
        let options = question["challenge"]["options"].as_str().unwrap();
        let created = wait_for(self.0.create(options)).unwrap();
        desk.answer(&json!({"type": "register_web_authn", "credential": created}));
        desk.heard("enrolled");
        assert_eq!(desk.running.status(), Some(0));
    }

    fn assert(&self, question: &Value) -> Value {
        let options = question["challenge"]["options"].as_str().unwrap();
        let asserted = wait_for(self.0.get(options)).unwrap();
        json!({"type": "web_authn", "credential": asserted})
    }
}

fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// Waits until the tunnel is up, and that the page inside is there.
fn reaches_the_page(desk: &mut Desk) -> Value {
    let connected = desk.heard("connected");
    assert!(connected["ends_in_ms"].as_u64().unwrap() > 0);
    assert_eq!(connected["addresses"], json!(["10.9.0.2/32"]));
    let serving = desk.heard("serving");
    let local = serving["at"].as_str().unwrap().parse().unwrap();
    assert!(fetch(local).contains("You are inside."));
    connected["session"].clone()
}

#[test]
fn an_app_is_enrolled_with_a_token_and_what_is_not_understood_costs_nothing() {
    let site = site("[{ any_of = [\"totp\"] }]");
    let _gate = site.run();
    // On its standard input, so that it stands in no list of processes.
    let mut desk = Desk {
        running: enrolling(&site, "totp", "-", &["--json", "--label", "phone"]),
    };
    assert_eq!(desk.heard("pin")["of"], "the enrolment token");
    desk.say(&json!({"type": "pin", "pin": token(&site, "totp")}));
    let question = desk.heard("question");
    let secret = scanned(question["challenge"]["uri"].as_str().unwrap());
    desk.answer(&json!({"type": "code", "code": "12345678"}));
    assert_eq!(desk.heard("question")["denied"]["reason"], "unfit");
    desk.answer(&json!({"type": "code", "code": code_before(&secret)}));
    let factor = desk.heard("enrolled")["factor"].clone();

    let mut desk = Desk::connect(&site, &[]);
    let question = desk.heard("question");
    assert_eq!(question["factor"]["factor"], factor);
    assert_eq!(question["factor"]["label"], "phone");
    assert_eq!(question["challenge"], json!({"type": "code", "digits": 6}));
    assert_eq!(question["others"], json!([]));
    for nonsense in [
        "",
        "{",
        "yes",
        "{\"type\":\"answer\"}",
        "{\"type\":\"answer\",\"answer\":{\"type\":\"code\",\"code\":\"12\"}}",
        "{\"type\":\"answer\",\"answer\":{\"type\":\"secret\"}}",
        "{\"type\":\"pin\",\"pin\":\"1234\"}",
        "{\"type\":\"cancel\",\"now\":true}",
    ] {
        desk.running.enter(nonsense);
        let error = desk.heard("error")["error"].to_string();
        assert!(
            !error.contains("secret") && !error.contains("1234"),
            "{error}"
        );
    }
    desk.say(&json!({"type": "retry"}));
    assert!(desk.heard("question")["error"].is_string());
    desk.answer(&json!({"type": "password", "password": "hello"}));
    let denied = desk.heard("question");
    assert_eq!(denied["denied"]["reason"], "unfit");
    assert_eq!(denied["attempt"], question["attempt"], "the same attempt");
    desk.answer(&json!({"type": "code", "code": code(&secret)}));
    let session = reaches_the_page(&mut desk);

    let sessions = site.admin(&["sessions", "--json"]);
    assert!(sessions.contains(session.as_str().unwrap()), "{sessions}");
    site.admin(&["revoke", "--user", "alice"]);
    // The tunnel may have come to life, or gone silent, in between.
    let ended = desk.running.wait_for("\"ended\"");
    assert!(ended.contains("revoked"), "{ended}");
    assert_eq!(desk.running.status(), Some(5));
}

#[test]
fn a_passkey_signs_in_or_another_factor_that_the_program_chooses() {
    let site = site("[{ any_of = [\"webauthn\", \"recovery-codes\"] }]");
    site.configure(|text| text + "[factors.webauthn]\nrp_id = \"gate.example.com\"\n");
    let add = ["factor", "add-recovery-codes", "--user", "alice", "--json"];
    let added = site.admin(&add);
    let codes = added.lines().nth(1).unwrap();
    let codes: Value = serde_json::from_str(codes).unwrap();
    let _gate = site.run();
    let mut passkey = Passkey::at("https://gate.example.com");
    passkey.enrol(&site);

    let mut desk = Desk::connect(&site, &[]);
    let question = desk.heard("question");
    desk.answer(&passkey.assert(&question));
    reaches_the_page(&mut desk);
    desk.running.interrupt();
    desk.running.wait_for("signing_out");
    assert_eq!(desk.running.status(), Some(0));

    let mut desk = Desk::connect(&site, &["--rp-id", "gate.example.com"]);
    let question = desk.heard("question");
    let error = question["error"].as_str().unwrap();
    assert!(error.contains("security key"), "{question}");
    desk.say(&json!({"type": "retry"}));
    let again = desk.heard("question");
    assert_eq!(again["attempt"], question["attempt"]);
    let other = again["others"][0].clone();
    assert_eq!(other["kind"], "recovery-codes");
    desk.say(&json!({"type": "choose", "factor": "00000000000000000000000000000000"}));
    let error = desk.heard("error")["error"].to_string();
    assert!(error.contains("not among the others"), "{error}");
    desk.say(&json!({"type": "choose", "factor": other["factor"]}));
    let question = desk.heard("question");
    assert_eq!(
        question["challenge"],
        json!({"type": "recovery_code", "left": 10})
    );
    desk.answer(&json!({"type": "recovery_code", "code": codes["codes"][0]}));
    reaches_the_page(&mut desk);
}

#[test]
fn a_program_that_gives_up_or_goes_away_leaves_nothing() {
    let site = site("[{ any_of = [\"recovery-codes\"] }]");
    site.admin(&["factor", "add-recovery-codes", "--user", "alice"]);
    let _gate = site.run();
    let mut desk = Desk::connect(&site, &[]);
    desk.heard("question");
    desk.say(&json!({"type": "cancel"}));
    let failed = desk.heard("failed");
    assert!(
        failed["error"].as_str().unwrap().contains("cancelled"),
        "{failed}"
    );
    assert_eq!(desk.running.status(), Some(1));

    let mut desk = Desk::connect(&site, &[]);
    desk.heard("question");
    drop(desk.running.child.stdin.take());
    desk.heard("failed");
    assert_eq!(site.admin(&["sessions", "--json"]), "");
}

#[test]
fn an_unknown_profile_fails_as_json_too() {
    let failed = Command::new(env!("CARGO_BIN_EXE_connect"))
        .args(["nothing.toml", "--json"])
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(said["type"], "failed");
    assert_eq!(failed.status.code(), Some(1));
}
