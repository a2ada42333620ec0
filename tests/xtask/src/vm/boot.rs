//! Boots the machine, and judges what its console says.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Job, Tests};
use crate::command::{Failure, output_within, program};

/// Begins every line of ours on the console, where the kernel writes as well.
const MARK: &str = "@@xtask";

/// What to boot.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
}

/// How the machine's time goes by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Time {
    /// With the host's, on two processors.
    Host,
    /// By a nanosecond for each instruction, on one processor: what is measured does not depend on
    /// how busy the host is.
    Instructions,
}

impl Time {
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Host => &["-accel", "tcg,thread=multi", "-smp", "2"],
            Self::Instructions => &["-accel", "tcg", "-icount", "shift=0,sleep=off", "-smp", "1"],
        }
    }
}

/// Boots it, waits until it has powered itself off, and returns what was on its console.
#[expect(
    clippy::disallowed_methods,
    reason = "the machine's clock is set from the host's"
)]
pub(super) fn run(machine: &Machine, time: Time, limit: Duration) -> Result<String, Failure> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let line = format!("console=ttyS0 panic=-1 quiet random.trust_cpu=on xtask.now={now}");
    let mut qemu = program("qemu-system-x86_64");
    qemu.args(time.arguments())
        // Emulated, AVX is far slower than what does without it: a password takes twice as long.
        .args(["-cpu", "max,avx=off,avx2=off", "-m", "2048"])
        .args(["-nographic", "-no-reboot", "-nic", "none"])
        .arg("-kernel")
        .arg(&machine.kernel)
        .arg("-initrd")
        .arg(&machine.initramfs)
        .args(["-append", &line]);
    let (console, succeeded) = output_within(&mut qemu, limit)?;
    let console = console.replace('\r', "");
    // Before that the firmware clears the screen.
    let begin = console.find("\n@@").unwrap_or_default();
    println!("{}", console.get(begin..).unwrap_or(&console));
    if succeeded {
        Ok(console)
    } else {
        Err(Failure("qemu failed: see what it printed".to_owned()))
    }
}

/// The first and only process: sets the machine up, runs the tests and powers off.
pub(super) fn init(modules: &[&str], commands: &str) -> String {
    let modules = modules.join(" ");
    format!(
        "#!/bin/busybox sh\n\
         /bin/busybox --install -s 2>/dev/null\n\
         export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sys /sys\n\
         mount -t devtmpfs dev /dev\n\
         ln -s /proc/self/fd /dev/fd\n\
         mount -t tmpfs run /run\n\
         date -s \"@$(sed 's/.*xtask.now=\\([0-9]*\\).*/\\1/' /proc/cmdline)\" >/dev/null\n\
         for module in {modules}; do\n\
         modprobe $module || echo \"{MARK} no module $module\"\n\
         done\n\
         ip link set lo up\n\
         {commands}\
         poweroff -f\n"
    )
}

/// Runs tests of one executable, between two marks.
pub(super) fn command(job: &Job, executable: &str, filter: Option<&str>) -> String {
    let name = job.name;
    let which = match job.tests {
        Tests::Ignored => "--ignored",
        Tests::All => "--include-ignored",
    };
    let filter = filter.map_or_else(String::new, |filter| {
        format!(" '{}'", filter.replace('\'', ""))
    });
    format!(
        "echo; echo '{MARK} begin {name}'\n\
         {executable} {which} --nocapture --test-threads=1{filter} 2>&1\n\
         status=$?; echo; echo \"{MARK} end {name} $status\"\n"
    )
}

/// Runs the benches' rows of the kernel, and prints the report between two marks.
pub(super) fn bench_command(executable: &str, only: Option<&str>) -> String {
    let only = only.map_or_else(String::new, |only| {
        format!(" --only '{}'", only.replace('\'', ""))
    });
    format!(
        "echo; echo '{MARK} benches'\n\
         cd /tmp; {executable} --kernel{only} --report /tmp/report.json 2>&1\n\
         echo; echo '{MARK} report'; cat /tmp/report.json; echo '{MARK} end of report'\n"
    )
}

/// The benches' report, as it is on the console.
pub(super) fn report(console: &str) -> Result<String, Failure> {
    let after = console.split_once(&format!("{MARK} report\n"));
    let report = after.and_then(|(_, after)| after.split_once(&format!("{MARK} end of report")));
    match report {
        Some((report, _)) if !report.trim().is_empty() => Ok(report.to_owned()),
        _ => Err(Failure(
            "the benches gave no report in the machine: see what it printed".to_owned(),
        )),
    }
}

/// Whether this executable ran to its end, and every test of it passed.
pub(super) fn verdict(console: &str, name: &str) -> Result<(), Failure> {
    let begin = format!("{MARK} begin {name}\n");
    let end = format!("{MARK} end {name} ");
    let Some((_, after)) = console.split_once(&begin) else {
        return Err(Failure("the machine did not come so far".to_owned()));
    };
    let Some((printed, after)) = after.split_once(&end) else {
        return Err(Failure("the machine stopped in the middle".to_owned()));
    };
    let status = after.lines().next().unwrap_or_default();
    if status.trim() != "0" {
        return Err(Failure(format!("it ended with status {status}")));
    }
    match passed(printed) {
        0 => Err(Failure("it ran no test".to_owned())),
        _ => Ok(()),
    }
}

/// How many tests passed, by the harness's own line.
fn passed(printed: &str) -> usize {
    printed
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. "))
        .filter_map(|rest| rest.split(' ').next()?.parse::<usize>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(tests: &str, status: u8) -> String {
        format!("boot\n{MARK} begin a\n{tests}\n{MARK} end a {status}\n")
    }

    #[test]
    fn tests_that_ran_and_passed_are_a_success() {
        assert!(verdict(&console("test result: ok. 7 passed; 0 failed", 0), "a").is_ok());
    }

    #[test]
    fn a_report_is_what_is_between_its_marks() {
        let console = format!("boot\n{MARK} report\n[1]\n{MARK} end of report\n");
        assert_eq!(report(&console).unwrap().trim(), "[1]");
        assert!(report(&console.replace("[1]", "")).is_err());
        assert!(report("boot\n").is_err());
    }

    #[test]
    fn anything_else_is_a_failure() {
        for console in [
            console("test result: ok. 7 passed; 0 failed", 101),
            console("test result: ok. 0 passed; 0 failed", 0),
            console("", 0),
            "boot\n".to_owned(),
            format!("{MARK} begin a\ntest result: ok. 7 passed\nKernel panic\n"),
            console("test result: ok. 7 passed", 0).replace(" a", " b"),
        ] {
            assert!(verdict(&console, "a").is_err(), "{console}");
        }
    }
}
