//! No secret in what the programs write to their logs, nor in what they complain of, whatever goes
//! wrong.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mfagate::client::Profile;
use mfagate::testing::SecretWatch;

use crate::app::{code, code_at, now};
use crate::factors::{PASSWORD, factor, set_password, token};
use crate::faults::Writer;
use crate::json_client;
use crate::report::enrol;
use crate::site::{CONNECT, Running, Site, fetch};

const STEPS: &str = "[{ any_of = [\"password\"] }, { any_of = [\"totp\", \"recovery-codes\"] }]";
const WRONG_PASSWORD: &str = "incorrect horse battery staple";

/// A site all of whose programs log all that they can.
struct Watched {
    site: Site,
    watch: SecretWatch,
}

impl Watched {
    fn log(&self) -> PathBuf {
        self.site.path().join("log")
    }

    fn logging<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let log: File = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.log())
            .unwrap();
        command.env("RUST_LOG", "trace").stderr(log)
    }

    fn connect(&self, more: &[&str]) -> Running {
        let mut command = json_client::command(&self.site);
        Running::start(self.logging(command.args(more)))
    }

    /// Runs a program that must fail. What it says is for people, or for programs, to read.
    fn fails(&self, command: &mut Command) {
        let output = command.env("RUST_LOG", "trace").output().unwrap();
        assert!(!output.status.success(), "{command:?}");
        for said in [output.stdout, output.stderr] {
            let said = String::from_utf8(said).unwrap();
            self.watch.read("what a program complained of", said);
        }
    }

    /// A file with a fault in it, while `then` is done.
    fn with(&self, file: &str, edit: impl FnOnce(&str) -> String, then: impl FnOnce()) {
        let path = self.site.path().join(file);
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, edit(&before)).unwrap();
        then();
        std::fs::write(&path, before).unwrap();
    }
}

#[test]
fn no_secret_is_in_what_the_programs_write_whatever_goes_wrong() {
    let site = Site::new();
    site.configure(|text| text.replace("[{ any_of = [\"totp\"] }]", STEPS));
    let app = enrol(&site);
    set_password(&site);
    let watch = SecretWatch::new();
    let watched = Watched { site, watch };
    let (site, watch) = (&watched.site, &watched.watch);
    let mut secrets = vec![
        ("the password", PASSWORD.to_owned()),
        ("a wrong password", WRONG_PASSWORD.to_owned()),
        ("the app's secret", app.expose_base32().to_string()),
        ("a mail password", "hunter2hunter2".to_owned()),
    ];
    let profile = Profile::read(site.path().join("profile.toml")).unwrap();
    let key = profile.private_key.expose_secret();
    watch.secret("the device's private key", key);
    for file in ["gate.key", "ring.keys"] {
        let text = std::fs::read_to_string(site.path().join("state").join(file)).unwrap();
        let key = text.trim().rsplit([' ', '\n']).next().unwrap();
        let key = data_encoding::BASE64.decode(key.as_bytes()).unwrap();
        watch.secret(file, key);
    }

    // A daemon that runs: right answers and wrong ones.
    let mut daemon = site.server(&["run"]);
    let mut daemon = Running::start(watched.logging(&mut daemon));
    daemon.wait_for("is up");
    let add = ["factor", "add-recovery-codes", "--user", "alice", "--json"];
    let added = site.admin(&add);
    let added: serde_json::Value = serde_json::from_str(added.lines().nth(1).unwrap()).unwrap();
    let recovery = added["codes"][0].as_str().unwrap().to_owned();
    let (wrong, right) = (code_at(&app, now() - Duration::from_secs(3600)), code(&app));
    let mut connect = watched.connect(&[]);
    for line in [WRONG_PASSWORD, PASSWORD, "not a code", &wrong, &right] {
        connect.enter(line);
    }
    let line = connect.wait_for("Serving on ");
    let local = line.trim().trim_start_matches("Serving on ");
    let local = local.trim_end_matches('.').parse().unwrap();
    assert!(fetch(local).contains("You are inside."));
    connect.interrupt();
    assert_eq!(connect.status(), Some(0));
    // The same code once more; a password of a user who has none any more.
    let mut connect = watched.connect(&["--json"]);
    let answer = |kind: &str, text: &str| {
        format!("{{\"type\":\"answer\",\"answer\":{{\"type\":\"{kind}\",\"{kind}\":\"{text}\"}}}}")
    };
    for line in [
        answer("password", PASSWORD),
        answer("code", &right),
        answer("secret", WRONG_PASSWORD),
        recovery.clone(),
    ] {
        connect.enter(&line);
    }
    connect.wait_for("replayed");
    connect.wait_for("error");
    drop(connect);

    // A token with a letter too many, and one that is used twice.
    let once = token(site, "recovery-codes");
    let enrol = |token: &str| {
        let mut enrol = Command::new(CONNECT);
        let arguments = ["enrol", "profile.toml", "--kind", "recovery-codes"];
        enrol.current_dir(site.path()).args(arguments);
        enrol.args(["--token", token]);
        enrol
    };
    watched.fails(&mut enrol(&format!("{once}x")));
    watched.fails(&mut enrol(&once[1..]));

    // A store that takes nothing.
    let writer = Writer::hold(&site.path().join("state/gate.db"));
    let mut connect = watched.connect(&[]);
    connect.enter(PASSWORD);
    assert_ne!(connect.status(), Some(0));
    drop(writer);
    daemon.interrupt();
    assert_eq!(daemon.status(), Some(0));

    // No daemon, and files that were edited by hand.
    watched.fails(json_client::command(site).args(["--json"]));
    watched.with(
        "profile.toml",
        |text| text.replacen('"', "'", 1),
        || watched.fails(&mut json_client::command(site)),
    );
    watched.with(
        "profile.toml",
        |text| text.replacen("=\"", "A=\"", 1),
        || watched.fails(&mut json_client::command(site)),
    );
    for file in ["state/gate.key", "state/ring.keys"] {
        let longer = |text: &str| format!("{}A\n", text.trim());
        watched.with(file, longer, || {
            watched.fails(&mut site.server(&["run"]));
        });
    }
    let by_hand = "[factors.email]\nfrom = \"gate@example.com\"\nserver = \"localhost\"\n\
                   password = \"hunter2hunter2\"\n";
    watched.with(
        "gate.toml",
        |text| format!("{text}{by_hand}"),
        || watched.fails(&mut site.server(&["run"])),
    );
    watched.with(
        "gate.toml",
        |text| format!("{text}{by_hand}").replace("2\"\n", "2\n"),
        || watched.fails(&mut site.server(&["run"])),
    );

    // What an administrator looks at.
    for looks in [
        ["audit", "export"].as_slice(),
        &["sessions", "--json"],
        &["token", "list", "--user", "alice", "--json"],
        &["factor", "list", "--user", "alice"],
        &["policy", "explain", "--user", "alice"],
    ] {
        watch.read("what an administrator sees", site.admin(looks));
    }
    assert!(!factor(site, "totp").is_empty());

    let log = std::fs::read_to_string(watched.log()).unwrap();
    watch.read("the log", log);
    for seen in ["Admitted", "Denied", "mfagate::runtime::client"] {
        assert!(watch.has_seen(seen), "the log is not being read: {seen}");
    }
    secrets.push(("an enrolment token", once));
    secrets.push(("a recovery code", recovery));
    secrets.push(("a code", wrong));
    secrets.push(("a code", right));
    for (name, secret) in secrets {
        watch.secret(name, secret);
    }
    watch.assert_clean();
}
