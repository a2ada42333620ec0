//! What the administrator is told about the policy.

use crate::report::enrol;
use crate::site::Site;

#[test]
fn a_user_s_way_in_is_explained() {
    let site = Site::at("127.0.0.1");
    enrol(&site);
    site.configure(|text| {
        text + "[[policy.groups]]\ngroup = \"admins\"\nsteps = [{ all_of = [\"password\", \"totp\"] }]\n"
    });
    let explain = ["policy", "explain", "--user", "alice"];
    let explained = site.admin(&explain);
    assert!(explained.contains("1. `totp`"), "{explained}");
    assert!(explained.contains("They can pass."), "{explained}");
    let explained = site.admin(&[explain.as_slice(), &["--group", "admins"]].concat());
    assert!(explained.contains("group `admins` applies"), "{explained}");
    assert!(
        explained.contains("not `password`: they have none"),
        "{explained}"
    );
    assert!(explained.contains("They can't pass"), "{explained}");

    site.admin(&["user", "groups", "alice", "admins", "staff"]);
    let users = site.admin(&["user", "list"]);
    assert_eq!(users, "alice: enabled, in admins, staff\n");
    assert_eq!(
        site.admin(&explain),
        explained,
        "by the groups that are kept"
    );
    site.admin(&["user", "groups", "alice"]);
    assert!(site.admin(&explain).contains("They can pass."));
    let complaint = site.refused(&["policy", "explain", "--user", "nobody"]);
    assert!(complaint.contains("no such user"), "{complaint}");
}

#[test]
fn a_policy_is_checked_in_the_configuration_and_in_a_file() {
    let site = Site::at("127.0.0.1");
    assert!(site.admin(&["policy", "check"]).contains("in order"));
    let complaint = site.refused(&["policy", "check", "--level", "aal2"]);
    assert!(complaint.contains("does not support AAL2"), "{complaint}");

    site.configure(|text| text.replace("max_age = \"8h\"", "max_age = \"31days\""));
    let text = std::fs::read_to_string(site.path().join("gate.toml")).unwrap();
    let line = text.lines().position(|line| line.starts_with("max_age"));
    let line = format!("gate.toml: line {}, column 11: ", line.unwrap() + 1);
    for command in [["policy", "check"].as_slice(), &["run"]] {
        let complaint = site.refused(command);
        assert!(complaint.contains(&line), "{complaint}");
        assert!(complaint.contains("over 30 days"), "{complaint}");
    }

    let path = site.path().join("own.json");
    std::fs::write(&path, "{\"steps\": [{\"any_of\": [\"badge\"]}]}").unwrap();
    let checked = site.admin(&["--config", "none.toml", "policy", "check", "own.json"]);
    assert!(
        checked.contains("`badge` is none of mfagate's kinds"),
        "{checked}"
    );
    std::fs::write(&path, "{\n\"steps\": []}").unwrap();
    let complaint = site.refused(&["policy", "check", "own.json"]);
    assert!(
        complaint.contains("own.json: line 2, column 10: "),
        "{complaint}"
    );
}
