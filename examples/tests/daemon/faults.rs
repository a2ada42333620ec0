//! What breaks while somebody is inside: access ends all the same, and on time.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mfagate::runtime::SystemClock;
use mfagate::time::{Clock, Timestamp};

use crate::network::{HERE, Host, in_new_network, run};
use crate::site::Site;
use crate::story::{code, enrol};
use crate::system::{ForeignInterface, INSIDE, Pings, WgQuick, export, lasts, run_on_a_tun_device};

const LEASE: Duration = Duration::from_secs(10);

fn now() -> Timestamp {
    SystemClock::new().now().timestamp
}

/// A client with a lease that is about to end, and the latest time for that.
fn admitted<'a>(host: &'a Host, site: &Site, code: &str) -> (WgQuick<'a>, Timestamp) {
    let (mut connect, file) = export(host, site);
    connect.enter(code);
    connect.wait_for("is good for");
    let latest_end = now() + LEASE;
    let tunnel = WgQuick::up(host, &file);
    assert!(host.reaches(INSIDE, 5));
    (tunnel, latest_end)
}

/// Holds the database's one writer up, until it is dropped.
struct Writer(Child);

impl Writer {
    fn hold(database: &Path) -> Self {
        let hold = "import sqlite3, sys\n\
            db = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
            db.execute('BEGIN IMMEDIATE')\n\
            print('held', flush=True)\n\
            sys.stdin.read()";
        let mut python = Command::new("python3");
        python.args(["-c", hold]).arg(database);
        python.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = python.spawn().unwrap();
        let said = python.stdout.as_mut().unwrap();
        said.read_exact(&mut [0; 5]).unwrap();
        Self(python)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        _ = self.0.kill(); // it ends by nothing else
        _ = self.0.wait();
    }
}

/// A small file system over a folder; it goes with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// With what is in the folder.
    fn over(folder: PathBuf) -> Self {
        let path = folder.to_str().unwrap();
        let aside = format!("{path}.aside");
        run("cp", &["-a", path, &aside]);
        run(
            "mount",
            &["-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", path],
        );
        run("cp", &["-a", &format!("{aside}/."), path]);
        Self(folder)
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_lease_ends_on_time_while_the_store_does_not_answer() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        site.configure(|text| lasts(text, LEASE));
        let secret = enrol(&site);
        let _daemon = run_on_a_tun_device(&site);
        let (_tunnel, latest_end) = admitted(&host, &site, &code(&secret, 0));
        let writer = Writer::hold(&site.path().join("state/gate.db"));
        let last = Pings::start(&host, "0.05", 13).last();
        assert!(last < latest_end + Duration::from_secs(1), "cut too late");
        drop(writer);
        ends_in_the_store(&site);
    });
}

#[test]
fn a_lease_ends_on_time_while_the_disk_is_full() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        site.configure(|text| lasts(text, LEASE));
        let secret = enrol(&site);
        let disk = SmallDisk::over(site.path().join("state"));
        let daemon = run_on_a_tun_device(&site);
        let (_tunnel, latest_end) = admitted(&host, &site, &code(&secret, 0));
        disk.fill();
        let last = Pings::start(&host, "0.05", 13).last();
        assert!(last < latest_end + Duration::from_secs(1), "cut too late");
        std::fs::remove_file(disk.0.join("filler")).unwrap();
        ends_in_the_store(&site);
        daemon.kill();
    });
}

/// The end reaches the store once it takes it.
#[track_caller]
fn ends_in_the_store(site: &Site) {
    let is_stored = |_| {
        std::thread::sleep(Duration::from_millis(200));
        site.admin(&["audit", "export"]).contains("\"expired\"")
    };
    assert!((0..100).any(is_stored));
    site.admin(&["audit", "verify"]);
}

/// The program behind the interface hangs, and wakes up later.
#[test]
fn a_program_that_hangs_does_not_keep_the_interface_up() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        let _daemon = site.run();
        let (_tunnel, _) = admitted(&host, &site, &code(&secret, 0));
        interface.signal("-STOP");
        assert_eq!(
            site.admin(&["revoke", "--user", "alice"]),
            "Sessions ended: 1\n"
        );
        interface.signal("-CONT");
        assert!(!host.reaches(INSIDE, 3));
        let shown = run("ip", &["link", "show", "dev", &interface.name]);
        assert!(!shown.contains(",UP"), "{shown}");
    });
}
