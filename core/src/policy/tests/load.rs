use std::fmt::Write as _;

use proptest::prelude::*;

use super::fixtures::{CARD, KEY, PASSWORD, TOTP, all, any, group, minutes, policies};
use crate::policy::{InvalidPolicy, LoadError, LoadFault, Policy, PolicyFault, Position};

const WHOLE: &str = r#"# The office.
steps = [
    { any_of = ["device-key", "card"] },
    { all_of = ["password", "totp"] },
]
max_age = "12h"
lease = "1h"
inactivity = "30m"
warn_before = "90s"
renewal = "factor"
end_on_wake = true
sessions_per_user = 2
attempt_ttl = "3m"
attempts_per_peer = 2
attempts_in_all = 100
clock_skew = "30s"
fence_after = "5s"

[require]
replay_resistant = true
authentication_age = "10m"

[throttle]
free = 3
disable_at = 20

[[windows]]
days = ["mon", "fri"]
from = "22:00"
to = "06:00"
offset = "-03:30"

[[groups]]
group = "on call"
inactivity = "off"
sessions_per_user = "off"
windows = []
"#;

#[test]
fn a_policy_is_read_as_people_write_it() {
    let policy = Policy::from_toml(WHOLE).unwrap();
    assert_eq!(policy.steps, [any([KEY, CARD]), all([PASSWORD, TOTP])]);
    assert_eq!(policy.max_age, minutes(12 * 60));
    assert_eq!(policy.inactivity, Some(minutes(30)));
    assert_eq!(policy.sessions_per_user, Some(2));
    assert_eq!(policy.require.authentication_age, Some(minutes(10)));
    assert_eq!((policy.throttle.free, policy.throttle.disable_at), (3, 20));
    assert_eq!(policy.windows.len(), 1);
    let on_call = policy.for_groups(&[group("on call")]);
    assert_eq!(
        (on_call.inactivity, on_call.sessions_per_user),
        (None, None)
    );
    assert!(on_call.windows.is_empty());
    let json = serde_json::to_string_pretty(&policy).unwrap();
    assert_eq!(Policy::from_json(&json).unwrap(), policy);
    let embedded: toml::Table = WHOLE.parse().unwrap();
    assert_eq!(embedded.try_into::<Policy>().unwrap(), policy);
}

#[test]
fn what_is_left_out_is_as_in_the_default() {
    assert_eq!(Policy::from_toml("").unwrap(), Policy::default());
    assert_eq!(Policy::from_json("{}").unwrap(), Policy::default());
    assert_eq!(
        Policy::from_toml_table("location = 1\n[policy]\n", "policy").unwrap(),
        Policy::default()
    );
}

#[test]
fn a_toml_policy_that_is_refused_says_where_and_what_to_do() {
    let faults = [
        "max_age = ",
        "max_age = \"12h\nlease = 1",
        "steps = [\n  { any_of = [\"totp\" },\n]",
        "max_agee = \"12h\"",
        "[require]\nphishing_proof = true",
        "[[groups]]\nmax_age = \"1h\"",
        "[[groups]]\ngroup = \" admins\"",
        "[[groups]]\ngroup = \"a\"\nclock_skew = \"1m\"",
        "max_age = \"12h\"\nmax_age = \"13h\"",
        "max_age = 28800",
        "max_age = \"soon\"",
        "inactivity = \"never\"",
        "renewal = \"always\"",
        "sessions_per_user = -1",
        "sessions_per_user = \"many\"",
        "steps = [\"totp\"]",
        "steps = [\n  { some_of = [\"totp\"] },\n]",
        "steps = [\n  { any_of = [\"totp\"], all_of = [\"password\"] },\n]",
        "[[windows]]\nfrom = \"08:00\"\nto = \"18:00\"",
        "[[windows]]\nfrom = \"8:00\"\nto = \"18:00\"\noffset = \"+01:00\"",
        "[[windows]]\nfrom = \"08:00\"\nto = \"18:00\"\noffset = \"Europe/Berlin\"",
        "[[windows]]\ndays = [\"monday\"]\nfrom = \"08:00\"\nto = \"18:00\"\noffset = \"+01:00\"",
        "# empty windows\n[[windows]]\ndays = []\nfrom = \"08:00\"\nto = \"18:00\"\noffset = \"+01:00\"",
        "[[windows]]\nfrom = \"08:00\"\nto = \"08:00\"\noffset = \"+01:00\"",
        "steps = []",
        "lease = \"1h\"\nsteps = [\n  { any_of = [\"totp\"] },\n  { any_of = [] },\n]",
        "steps = [\n  { all_of = [\"totp\", \"password\", \"totp\"] },\n]",
        "steps = [\n  { any_of = [\"totp\",\n    \"TOTP\"] },\n]",
        "steps = [{ any_of = [\"device_key\"] }]",
        "steps = [{ any_of = [\"\"] }]",
        "steps = [\n  { any_of = [\"totp\"] },\n  { any_of = [\"totp\"] },\n]",
        "[[steps]]\nany_of = [\"totp\"]\n[[steps]]\nall_of = [\"totp\", \"password\"]",
        "\n[require]\nreplay_resistant = true\nhardware = true",
        "max_age = \"1h\"\nlease = \"0s\"",
        "sessions_per_user = 0",
        "attempts_in_all = 5000000000",
        "[throttle]\ndisable_at = 0",
        "[throttle]\nfree = 5\ndisable_at = 101",
        "lease = \"8h\"\nattempt_ttl = \"15m 1s\"",
        "clock_skew = \"601s\"",
        "fence_after = \"1h\"",
        "[require]\nauthentication_age = \"0s\"",
        "lease = \"8h\"\nmax_age = \"31days\"",
        "[[groups]]\ngroup = \"a\"\n\n[[groups]]\ngroup = \"a\"",
        "[[groups]]\ngroup = \"a\"\nlease = \"1h\"\n[groups.require]\nhardware = true",
        "[require]\nreplay_resistant = true\n[[groups]]\ngroup = \"a\"\nsteps = [{ any_of = [\"password\"] }]",
    ];
    let mut texts = String::new();
    for text in faults {
        let error = Policy::from_toml(text).expect_err(text);
        _ = writeln!(texts, "{text}\n→ {error}\n");
    }
    insta::assert_snapshot!(texts);
}

#[test]
fn a_json_policy_that_is_refused_says_where_and_what_to_do() {
    let faults = [
        "{\n  \"max_age\": \"12h\",\n}",
        "{\n  \"max_agee\": \"12h\"\n}",
        "{\n  \"max_age\": 28800\n}",
        "{} {}",
        "[]",
        "{\n  \"lease\": \"1h\",\n  \"max_age\": \"31days\"\n}",
        "{\"steps\": [\n  {\"any_of\": [\"totp\"]},\n  {\"any_of\": [\"password\", \"device_key\"]}\n]}",
        "{\n  \"groups\": [\n    {\"group\": \"a\",\n     \"require\": {\"hardware\": true}}\n  ]\n}",
    ];
    let mut texts = String::new();
    for text in faults {
        let error = Policy::from_json(text).expect_err(text);
        _ = writeln!(texts, "{text}\n→ {error}\n");
    }
    insta::assert_snapshot!(texts);
}

#[test]
fn a_policy_in_a_document_is_refused_with_the_documents_line() {
    let text = "location = \"office\"\n\n[policy]\nlease = \"8h\"\nmax_age = \"31days\"\n";
    let error = Policy::from_toml_table(text, "policy").unwrap_err();
    let at = Position {
        line: 5,
        column: 11,
    };
    let fault = PolicyFault::TooLong;
    assert_eq!(
        error,
        LoadError(LoadFault::Invalid {
            at,
            fault: InvalidPolicy(fault)
        })
    );
    let error = Policy::from_toml_table(text, "rules").unwrap_err();
    assert!(
        matches!(error, LoadError(LoadFault::NoTable { .. })),
        "{error}"
    );
    let error = Policy::from_toml_table("policy = 1", "policy").unwrap_err();
    assert!(
        matches!(error, LoadError(LoadFault::Unreadable { .. })),
        "{error}"
    );
}

#[test]
fn embedded_with_serde_a_refused_policy_says_which_field() {
    let error = toml::from_str::<Policy>("[require]\nhardware = true\n").unwrap_err();
    assert!(error.message().starts_with("require.hardware: "), "{error}");
}

#[test]
fn columns_count_characters() {
    let error = Policy::from_toml("steps = [{ any_of = [\"ä\", \"TOTP\"] }]").unwrap_err();
    let LoadError(LoadFault::Invalid { at, .. }) = error else {
        panic!("{error}")
    };
    assert_eq!((at.line, at.column), (1, 27));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_the_same(policy in policies()) {
        match policy.check() {
            Ok(()) => {
                let text = policy.to_toml().unwrap();
                prop_assert_eq!(&Policy::from_toml(&text).unwrap(), &policy);
                let json = serde_json::to_string(&policy).unwrap();
                prop_assert_eq!(Policy::from_json(&json).unwrap(), policy);
            }
            Err(fault) => {
                // What is refused can't be read either, by the same reason.
                prop_assert_eq!(policy.to_toml(), Err(fault.clone()));
                let text = toml::to_string(&policy).unwrap();
                let error = Policy::from_toml(&text).unwrap_err();
                let is_same = matches!(&error, LoadError(LoadFault::Invalid { fault: found, .. }) if *found == fault);
                prop_assert!(is_same, "{error:?}");
            }
        }
    }

    #[test]
    fn what_is_accepted_passes_the_check(place in 0..WHOLE.len(), with in "[\\PC\n]{0,3}") {
        let text: String = WHOLE.chars().take(place).chain(with.chars())
            .chain(WHOLE.chars().skip(place + 1)).collect();
        match Policy::from_toml(&text) {
            Ok(policy) => prop_assert_eq!(policy.check(), Ok(())),
            Err(LoadError(LoadFault::Unreadable { at, .. }) | LoadError(LoadFault::Invalid { at, .. })) => {
                prop_assert!(at.line <= text.lines().count() + 1);
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
