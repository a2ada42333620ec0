//! What breaks while somebody is inside: access ends all the same, and on time.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
pub(crate) struct Writer(Child);

impl Writer {
    pub(crate) fn hold(database: &Path) -> Self {
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
        let last = Pings::start(&host, 50, 13).last();
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
        let last = Pings::start(&host, 50, 13).last();
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

/// Sits in front of a program's configuration socket, and refuses changes once it is told to.
struct Obstinate {
    refuses: Arc<AtomicBool>,
    socket: PathBuf,
    real: PathBuf,
}

impl Obstinate {
    /// The program goes on with its socket under another name; under the old one is this.
    fn before(interface: &ForeignInterface) -> Self {
        let folder = Path::new("/var/run/wireguard");
        let obstinate = Self {
            refuses: Arc::default(),
            socket: folder.join(format!("{}.sock", interface.name)),
            real: folder.join(format!("{}.real", interface.name)),
        };
        std::fs::rename(&obstinate.socket, &obstinate.real).unwrap();
        let listener = UnixListener::bind(&obstinate.socket).unwrap();
        let (refuses, real) = (Arc::clone(&obstinate.refuses), obstinate.real.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (refuses, real) = (Arc::clone(&refuses), real.clone());
                std::thread::spawn(move || answer(client.unwrap(), &refuses, &real));
            }
        });
        obstinate
    }

    fn refuse(&self) {
        self.refuses.store(true, Ordering::SeqCst);
    }
}

impl Drop for Obstinate {
    fn drop(&mut self) {
        for path in [&self.socket, &self.real] {
            _ = std::fs::remove_file(path); // the program may have removed its own
        }
    }
}

/// One request and its response.
fn answer(mut client: UnixStream, refuses: &AtomicBool, real: &Path) {
    let request = message(&mut client);
    if request.starts_with(b"set=1") && refuses.load(Ordering::SeqCst) {
        _ = client.write_all(b"errno=5\n\n"); // EIO; whoever asked may be gone
        return;
    }
    let mut program = UnixStream::connect(real).unwrap();
    program.write_all(&request).unwrap();
    _ = client.write_all(&message(&mut program));
}

/// Up to the empty line that ends it.
fn message(stream: &mut UnixStream) -> Vec<u8> {
    let (mut message, mut chunk) = (Vec::new(), [0; 4096]);
    while !message.ends_with(b"\n\n") {
        match stream.read(&mut chunk) {
            Ok(len @ 1..) => message.extend_from_slice(&chunk[..len]),
            _ => break,
        }
    }
    message
}

/// Closed is better than available: what can't be removed is taken down, and said.
#[test]
fn an_interface_that_refuses_removals_is_taken_down_in_time_and_loudly() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        site.configure(|text| {
            text.replace("lease = \"8h\"", "lease = \"8h\"\nfence_after = \"3s\"")
        });
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        let obstinate = Obstinate::before(&interface);
        let log = site.path().join("log");
        let mut daemon = site.server(&["run"]);
        daemon.stderr(std::fs::File::create(&log).unwrap());
        let mut daemon = crate::site::Running::start(&mut daemon);
        daemon.wait_for("is up");
        let (_tunnel, _) = admitted(&host, &site, &code(&secret, 0));

        obstinate.refuse();
        let revoked_at = now();
        let mut revoke = site.server(&["revoke", "--user", "alice"]);
        _ = revoke.output().unwrap(); // it may well say that it could not
        let is_down = |_| {
            std::thread::sleep(Duration::from_millis(200));
            !run("ip", &["link", "show", "dev", &interface.name]).contains(",UP")
        };
        assert!((0..100).any(is_down), "it stays up");
        println!(
            "down {:?} after the revocation",
            now().saturating_since(revoked_at)
        );
        assert!(!host.reaches(INSIDE, 2));
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(said.contains("ERROR"), "{said}");
    });
}
