//! Running other programs: shown before they run, with no standard input, and failing in words.

use std::fmt;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// Why a task did not succeed, for the person who started it.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The top of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// A program to be run at the top of the workspace, without standard input.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.current_dir(workspace()).stdin(Stdio::null());
    command
}

/// `cargo` with `arguments`, separated by spaces.
///
/// What `cargo run` tells xtask of its own package is kept from it: some build scripts (ring's) run again
/// where that differs, and all that stands on them would be built again between a person's `cargo test`
/// and this one.
pub(crate) fn cargo(arguments: &str) -> Command {
    let mut command = program(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    for (name, _) in std::env::vars_os() {
        let own = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if name
            .to_str()
            .is_some_and(|name| own.iter().any(|own| name.starts_with(own)))
        {
            command.env_remove(&name);
        }
    }
    command.args(arguments.split_whitespace());
    command
}

/// Whether `name --version` can be run: the program is there.
pub(crate) fn exists(name: &str) -> bool {
    program(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Installs a cargo sub-command from source when it is missing: without optimisation, which would
/// take longer than all that is done with it.
pub(crate) fn ensure_cargo_tool(tool: &str) -> Result<(), Failure> {
    let present = cargo(tool.trim_start_matches("cargo-"))
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if present.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let mut install = cargo(&format!("install --locked --debug {tool}"));
    run(install.env("CARGO_PROFILE_DEV_DEBUG", "false"))
}

/// Runs a command to its end; its output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let shown = show(command);
    eprintln!("\n$ {shown}");
    let status = command
        .status()
        .map_err(|error| Failure(format!("`{shown}` can't be started: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure(format!("`{shown}` failed ({status})")))
    }
}

/// Runs a command to its end, which fails where it prints anything: a warning, say.
pub(crate) fn run_in_silence(command: &mut Command) -> Result<(), Failure> {
    let shown = show(command);
    eprintln!("\n$ {shown}");
    let output = command
        .output()
        .map_err(|error| Failure(format!("`{shown}` can't be started: {error}")))?;
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    if output.status.success() && output.stderr.is_empty() {
        Ok(())
    } else {
        Err(Failure(format!("`{shown}` warns or fails")))
    }
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let shown = show(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure(format!("`{shown}` can't be started: {error}")))?;
    if !output.status.success() {
        return Err(Failure(format!("`{shown}` failed ({})", output.status)));
    }
    String::from_utf8(output.stdout).map_err(|_| Failure(format!("`{shown}` printed no text")))
}

/// Runs a command for at most `limit` and returns what it printed and whether it succeeded. When
/// the time is over, the command and all that it started are killed.
pub(crate) fn output_within(
    command: &mut Command,
    limit: Duration,
) -> Result<(String, bool), Failure> {
    let shown = show(command);
    eprintln!("\n$ {shown}");
    let mut child = command
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| Failure(format!("`{shown}` can't be started: {error}")))?;
    let Some(mut stdout) = child.stdout.take() else {
        return Err(Failure(format!("`{shown}` has no output to read")));
    };
    let (done, printed) = mpsc::channel();
    let _reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _read = stdout.read_to_end(&mut bytes);
        let _sent = done.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    let Ok(text) = printed.recv_timeout(limit) else {
        kill_group(child.id())?;
        let _reaped = child.wait();
        return Err(Failure(format!(
            "`{shown}` was still running after {} s and was killed",
            limit.as_secs()
        )));
    };
    let status = child
        .wait()
        .map_err(|error| Failure(format!("`{shown}` can't be waited for: {error}")))?;
    Ok((text, status.success()))
}

/// Runs a command for at most `limit`, and shows what it printed; fails with these words where it
/// does.
pub(crate) fn run_within(
    command: &mut Command,
    limit: Duration,
    otherwise: &str,
) -> Result<(), Failure> {
    let (printed, succeeded) = output_within(command, limit)?;
    print!("{printed}");
    if succeeded {
        Ok(())
    } else {
        Err(Failure(format!("{otherwise}: see what was printed")))
    }
}

/// Where cargo put this target's executable, in the messages that it printed as JSON.
pub(crate) fn executable_in(messages: &str, target: &str) -> Option<PathBuf> {
    artifacts_in(messages, target).find_map(|message| {
        let path = message.get("executable").and_then(Value::as_str)?;
        Some(Path::new(path).to_path_buf())
    })
}

/// What cargo says of this target's artifacts, in the messages that it printed as JSON.
pub(crate) fn artifacts_in<'a>(
    messages: &'a str,
    target: &'a str,
) -> impl Iterator<Item = Value> + 'a {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(move |message| {
            message.pointer("/target/name").and_then(Value::as_str) == Some(target)
        })
}

/// Kills a process group by the shell's own `kill`, since the standard library has none for groups.
fn kill_group(leader: u32) -> Result<(), Failure> {
    let status = program("sh")
        .args(["-c", "kill -s KILL -- \"-$0\"", &leader.to_string()])
        .status();
    if status.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(Failure(format!(
        "the process group {leader} can't be killed"
    )))
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let mut words = vec![name.to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_fails() {
        assert!(run(&mut program("false")).is_err());
        assert!(run(&mut program("no-such-program-is-installed")).is_err());
        assert!(output(&mut program("false")).is_err());
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        // The child holds the other end of this pipe: it closes when the child is gone.
        let (mut alive, held) = std::io::pipe().unwrap();
        let mut hangs = program("sh");
        hangs.args(["-c", "sleep 600 & wait"]).stderr(held);
        let outcome = output_within(&mut hangs, Duration::from_millis(200));
        drop(hangs);
        assert!(outcome.unwrap_err().0.contains("was killed"));
        assert_eq!(alive.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn what_a_command_prints_comes_back_with_its_status() {
        let mut fails = program("sh");
        fails.args(["-c", "echo said; exit 3"]);
        let (text, succeeded) = output_within(&mut fails, Duration::from_secs(60)).unwrap();
        assert_eq!((text.as_str(), succeeded), ("said\n", false));
    }

    #[test]
    fn the_executable_is_the_one_of_its_target() {
        let lines = r#"{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/a"}
            {"reason":"compiler-artifact","target":{"name":"kernel"},"executable":null}
            no JSON
            {"reason":"compiler-artifact","target":{"name":"kernel"},"executable":"/b"}"#;
        assert_eq!(executable_in(lines, "kernel"), Some(PathBuf::from("/b")));
        assert_eq!(executable_in(lines, "none"), None);
    }

    #[test]
    fn a_bounded_command_that_fails_fails_with_these_words() {
        let limit = Duration::from_secs(60);
        assert!(run_within(&mut program("true"), limit, "no").is_ok());
        let failed = run_within(&mut program("false"), limit, "the tests failed");
        assert!(failed.unwrap_err().0.starts_with("the tests failed"));
    }
}
