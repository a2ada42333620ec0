//! Programs in the place of people: every question and answer a line of JSON.

use std::process::Command;

use serde_json::{Value, json};

use crate::app::{code, code_before, scanned};
use crate::factors::{enrolling, site, token};
use crate::json_client::JsonClient;
use crate::passkey::SoftwareKey;
use crate::site::{CONNECT, Site, fetch};

/// A passkey in software, and a program that knows how to use it.
pub(crate) struct Passkey(SoftwareKey);

impl Passkey {
    pub(crate) fn at(origin: &str) -> Self {
        Self(SoftwareKey::at(origin))
    }

    /// Enrols it with a token.
    pub(crate) fn enrol(&mut self, site: &Site) {
        let token = token(site, "webauthn");
        let mut json_client = JsonClient {
            running: enrolling(site, "webauthn", &token, &["--json"]),
        };
        let question = json_client.heard("question");
        assert_eq!(question["challenge"]["type"], "register_web_authn");
        assert_eq!(question["factor"], Value::Null);
        let options = question["challenge"]["options"].as_str().unwrap();
        let created = wait_for(self.0.create(options)).unwrap();
        json_client.answer(&json!({"type": "register_web_authn", "credential": created}));
        json_client.heard("enrolled");
        assert_eq!(json_client.running.status(), Some(0));
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
fn reaches_the_page(json_client: &mut JsonClient) -> Value {
    let connected = json_client.heard("connected");
    assert!(connected["ends_in_ms"].as_u64().unwrap() > 0);
    assert_eq!(connected["addresses"], json!(["10.9.0.2/32"]));
    let serving = json_client.heard("serving");
    let local = serving["at"].as_str().unwrap().parse().unwrap();
    assert!(fetch(local).contains("You are inside."));
    connected["session"].clone()
}

#[test]
fn lines_that_are_not_understood_cost_an_enrolment_nothing() {
    let site = site("[{ any_of = [\"totp\"] }]");
    let _gate = site.run();
    // On its standard input, so that it stands in no list of processes.
    let mut json_client = JsonClient {
        running: enrolling(&site, "totp", "-", &["--json", "--label", "phone"]),
    };
    assert_eq!(json_client.heard("pin")["of"], "the enrolment token");
    json_client.say(&json!({"type": "pin", "pin": token(&site, "totp")}));
    let question = json_client.heard("question");
    let secret = scanned(question["challenge"]["uri"].as_str().unwrap());
    json_client.answer(&json!({"type": "code", "code": "12345678"}));
    assert_eq!(json_client.heard("question")["denied"]["reason"], "unfit");
    json_client.answer(&json!({"type": "code", "code": code_before(&secret)}));
    let factor = json_client.heard("enrolled")["factor"].clone();

    let mut json_client = JsonClient::connect(&site, &[]);
    let question = json_client.heard("question");
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
        json_client.running.enter(nonsense);
        let error = json_client.heard("error")["error"].to_string();
        assert!(
            !error.contains("secret") && !error.contains("1234"),
            "{error}"
        );
    }
    json_client.say(&json!({"type": "retry"}));
    assert!(json_client.heard("question")["error"].is_string());
    json_client.answer(&json!({"type": "password", "password": "hello"}));
    let denied = json_client.heard("question");
    assert_eq!(denied["denied"]["reason"], "unfit");
    assert_eq!(denied["attempt"], question["attempt"], "the same attempt");
    json_client.answer(&json!({"type": "code", "code": code(&secret)}));
    let session = reaches_the_page(&mut json_client);

    let sessions = site.admin(&["sessions", "--json"]);
    assert!(sessions.contains(session.as_str().unwrap()), "{sessions}");
    site.admin(&["revoke", "--user", "alice"]);
    // The tunnel may have come to life, or gone silent, in between.
    let ended = json_client.running.wait_for("\"ended\"");
    assert!(ended.contains("revoked"), "{ended}");
    assert_eq!(json_client.running.status(), Some(5));
}

#[test]
fn a_passkey_or_another_factor_of_choice_signs_in() {
    let site = site("[{ any_of = [\"webauthn\", \"recovery-codes\"] }]");
    site.configure(|text| text + "[factors.webauthn]\nrp_id = \"gate.example.com\"\n");
    let add = ["factor", "add-recovery-codes", "--user", "alice", "--json"];
    let added = site.admin(&add);
    let codes = added.lines().nth(1).unwrap();
    let codes: Value = serde_json::from_str(codes).unwrap();
    let _gate = site.run();
    let mut passkey = Passkey::at("https://gate.example.com");
    passkey.enrol(&site);

    let mut json_client = JsonClient::connect(&site, &[]);
    let question = json_client.heard("question");
    json_client.answer(&passkey.assert(&question));
    reaches_the_page(&mut json_client);
    json_client.running.interrupt();
    json_client.running.wait_for("signing_out");
    assert_eq!(json_client.running.status(), Some(0));

    let mut json_client = JsonClient::connect(&site, &["--rp-id", "gate.example.com"]);
    let question = json_client.heard("question");
    let error = question["error"].as_str().unwrap();
    assert!(error.contains("security key"), "{question}");
    json_client.say(&json!({"type": "retry"}));
    let again = json_client.heard("question");
    assert_eq!(again["attempt"], question["attempt"]);
    let other = again["others"][0].clone();
    assert_eq!(other["kind"], "recovery-codes");
    json_client.say(&json!({"type": "choose", "factor": "00000000000000000000000000000000"}));
    let error = json_client.heard("error")["error"].to_string();
    assert!(error.contains("not on offer"), "{error}");
    json_client.say(&json!({"type": "choose", "factor": other["factor"]}));
    let question = json_client.heard("question");
    assert_eq!(
        question["challenge"],
        json!({"type": "recovery_code", "left": 10})
    );
    json_client.answer(&json!({"type": "recovery_code", "code": codes["codes"][0]}));
    reaches_the_page(&mut json_client);
}

#[test]
fn a_program_that_gives_up_or_goes_away_leaves_nothing() {
    let site = site("[{ any_of = [\"recovery-codes\"] }]");
    site.admin(&["factor", "add-recovery-codes", "--user", "alice"]);
    let _gate = site.run();
    let mut json_client = JsonClient::connect(&site, &[]);
    json_client.heard("question");
    json_client.say(&json!({"type": "cancel"}));
    let failed = json_client.heard("failed");
    assert!(
        failed["error"].as_str().unwrap().contains("cancelled"),
        "{failed}"
    );
    assert_eq!(json_client.running.status(), Some(1));

    let mut json_client = JsonClient::connect(&site, &[]);
    json_client.heard("question");
    drop(json_client.running.child.stdin.take());
    json_client.heard("failed");
    assert_eq!(site.admin(&["sessions", "--json"]), "");
}

#[test]
fn an_unknown_profile_fails_as_json_too() {
    let failed = Command::new(CONNECT)
        .args(["nothing.toml", "--json"])
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(said["type"], "failed");
    assert_eq!(failed.status.code(), Some(1));
}
