//! `connect` with a person who types, or with a program that speaks JSON.

use std::process::Command;

use serde_json::{Value, json};

use crate::site::{CONNECT, PAGE, Running, Site};

/// Begins to sign in, with the page inside at a local address.
pub(crate) fn connect_with(site: &Site, more: &[&str]) -> Running {
    Running::start(command(site).args(more))
}

pub(crate) fn command(site: &Site) -> Command {
    let mut command = Command::new(CONNECT);
    command.current_dir(site.path());
    let forward = format!("127.0.0.1:0={PAGE}");
    command.args(["profile.toml", "--forward", &forward]);
    command
}

/// The other end of a program that speaks JSON.
pub(crate) struct JsonClient {
    pub(crate) running: Running,
}

impl JsonClient {
    pub(crate) fn start(command: &mut Command) -> Self {
        let running = Running::start(command);
        Self { running }
    }

    /// Begins to sign in.
    pub(crate) fn connect(site: &Site, more: &[&str]) -> Self {
        Self::start(command(site).arg("--json").args(more))
    }

    /// The next line, which is of this type: programs say nothing else on their output.
    #[track_caller]
    pub(crate) fn heard(&mut self, kind: &str) -> Value {
        let line = self.running.wait_for("");
        let line: Value = serde_json::from_str(&line).expect(&line);
        assert_eq!(line["type"], kind, "{line}");
        line
    }

    pub(crate) fn say(&mut self, line: &Value) {
        self.running.enter(&line.to_string());
    }

    pub(crate) fn answer(&mut self, answer: &Value) {
        self.say(&json!({"type": "answer", "answer": answer}));
    }
}
