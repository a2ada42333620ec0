//! Runs the quickstart as a stranger would, and checks each claim in its closing line of JSON.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::command::{Failure, cargo, output_within, run as run_command};
use crate::tally::Tally;

/// What the closing line must say, word for word.
const CLAIMS: &[(&str, &str)] = &[
    ("without_mfa", "no handshake"),
    ("wrong_code", "denied"),
    ("replayed_code", "denied"),
    ("with_mfa", "200"),
    ("after_revoke", "no traffic"),
];

/// Spans that the closing line must give, in milliseconds.
const SPANS: &[&str] = &["admit_ms", "revoke_ms"];

/// The run takes seconds; what takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// Builds and runs the example, and takes each claim as a step of its own. The command is that of
/// `README.md`; what it builds is not optimised, which would take longer than all of its run.
pub(crate) fn run(steps: &mut Tally) {
    let built = run_command(unoptimised(&mut cargo(
        "build --release --example quickstart",
    )));
    let is_built = built.is_ok();
    steps.take("quickstart builds", built);
    if !is_built {
        return;
    }
    let mut example = cargo("run --quiet --release --example quickstart -- --auto");
    let (printed, succeeded) = match output_within(unoptimised(&mut example), LIMIT) {
        Ok(ended) => ended,
        Err(failure) => return steps.take("quickstart ends", Err(failure)),
    };
    print!("{printed}");
    steps.take(
        "quickstart exits with status 0",
        ensure(succeeded, || "it does not".to_owned()),
    );
    match closing_line(&printed) {
        Ok(line) => check(&line, steps),
        Err(failure) => steps.take("quickstart closes with a line of JSON", Err(failure)),
    }
}

fn unoptimised(command: &mut Command) -> &mut Command {
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
}

fn closing_line(printed: &str) -> Result<Value, Failure> {
    let last = printed
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    serde_json::from_str::<Value>(last)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| Failure(format!("the last line is {last:?}")))
}

fn check(line: &Value, steps: &mut Tally) {
    for (field, expected) in CLAIMS {
        let found = line.get(field);
        let holds = found.and_then(Value::as_str) == Some(expected);
        let step = format!("quickstart: {field} is \"{expected}\"");
        steps.take(&step, ensure(holds, || format!("it is {}", show(found))));
    }
    for field in SPANS {
        let found = line.get(field);
        let holds = found
            .and_then(Value::as_f64)
            .is_some_and(|span| span >= 0.0);
        let step = format!("quickstart: {field} is a span");
        steps.take(&step, ensure(holds, || format!("it is {}", show(found))));
    }
    let unknown: Vec<&str> = line
        .as_object()
        .into_iter()
        .flat_map(|object| object.keys())
        .map(String::as_str)
        .filter(|key| !SPANS.contains(key) && CLAIMS.iter().all(|(field, _)| field != key))
        .collect();
    let known = ensure(unknown.is_empty(), || {
        format!("unchecked: {}", unknown.join(", "))
    });
    steps.take("quickstart: every claim is checked", known);
}

fn show(value: Option<&Value>) -> String {
    value.map_or_else(|| "absent".to_owned(), Value::to_string)
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(Failure(otherwise()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"without_mfa":"no handshake","wrong_code":"denied","replayed_code":"denied","with_mfa":"200","admit_ms":41.5,"after_revoke":"no traffic","revoke_ms":0}"#;

    fn verdict(printed: &str) -> Result<(), Failure> {
        let mut steps = Tally::default();
        check(&closing_line(printed)?, &mut steps);
        steps.verdict()
    }

    #[test]
    fn a_closing_line_as_it_should_be_passes() {
        assert!(verdict(&format!("step 1\nstep 2\n{GOOD}\n\n")).is_ok());
    }

    #[test]
    fn each_field_that_is_not_as_it_should_be_fails() {
        for (right, wrong) in [
            ("no handshake", "handshake"),
            (r#""wrong_code":"denied""#, r#""wrong_code":"granted""#),
            (r#""replayed_code":"denied""#, r#""replayed_code":"200""#),
            (r#""with_mfa":"200""#, r#""with_mfa":200"#),
            ("41.5", "null"),
            ("no traffic", "traffic"),
            (r#""revoke_ms":0"#, r#""revoke_ms":"0""#),
            (r#","revoke_ms":0"#, ""),
            ("{", r#"{"more":1,"#),
        ] {
            let line = GOOD.replace(right, wrong);
            assert_ne!(line, GOOD);
            assert!(verdict(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn no_closing_line_fails() {
        for printed in ["", "done", "{", "[]", "200"] {
            assert!(verdict(printed).is_err(), "{printed}");
        }
    }
}
