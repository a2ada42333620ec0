//! What breaks while a peer is inside: access still ends, and on time.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mfagate::time::Timestamp;

use crate::app::{code, now};
use crate::network::{HERE, Host, in_new_network, run};
use crate::report::enrol;
use crate::site::Site;
use crate::system::{
    ForeignInterface, INSIDE, LATE, Pings, WgQuick, export, lasts, run_on_a_tun_device,
};

const LEASE: Duration = Duration::from_secs(14);

/// A client with a lease that is about to end, and the latest time for that.
fn admitted<'a>(host: &'a Host, site: &Site, code: &str) -> (WgQuick<'a>, Timestamp) {
    let (mut connect, file) = export(host, site);
    connect.enter(code);
    connect.wait_for("is good for");
    let latest_end = now() + LEASE;
    let tunnel = WgQuick::up(host, &file);
    assert!(host.reaches(INSIDE, 8));
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
        let (_tunnel, latest_end) = admitted(&host, &site, &code(&secret));
        let writer = Writer::hold(&site.path().join("state/gate.db"));
        let last = Pings::past(&host, latest_end).last();
        assert!(last < latest_end + LATE, "cut too late");
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
        let (_tunnel, latest_end) = admitted(&host, &site, &code(&secret));
        disk.fill();
        let last = Pings::past(&host, latest_end).last();
        assert!(last < latest_end + LATE, "cut too late");
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
        let (_tunnel, _) = admitted(&host, &site, &code(&secret));
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

/// Sits in front of a program's configuration socket, in a process of its own, and refuses changes
/// once it is told to.
pub(crate) struct RefusingProxy {
    proxy: Child,
    refuses: PathBuf,
    socket: PathBuf,
    real: PathBuf,
}

const PROXY: &str = r"
import os, socket, sys, threading
path, real, refuses = sys.argv[1:]
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
print('listens', flush=True)

def message(stream):
    said = b''
    while not said.endswith(b'\n\n'):
        more = stream.recv(4096)
        if not more:
            break
        said += more
    return said

def answer(client):
    with client:
        request = message(client)
        if request.startswith(b'set=1') and os.path.exists(refuses):
            client.sendall(b'errno=5\n\n')  # EIO
            return
        with socket.socket(socket.AF_UNIX) as program:
            program.connect(real)
            program.sendall(request)
            client.sendall(message(program))

while True:
    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
";

impl RefusingProxy {
    /// The program goes on with its socket under another name; under the old one is this.
    pub(crate) fn before(interface: &ForeignInterface, site: &Site) -> Self {
        let folder = Path::new("/var/run/wireguard");
        let (socket, real) = (
            folder.join(format!("{}.sock", interface.name)),
            folder.join(format!("{}.real", interface.name)),
        );
        std::fs::rename(&socket, &real).unwrap();
        let refuses = site.path().join("refuses");
        let mut proxy = Command::new("python3");
        proxy.args(["-c", PROXY]).args([&socket, &real, &refuses]);
        let mut proxy = proxy.stdout(Stdio::piped()).spawn().unwrap();
        let said = proxy.stdout.as_mut().unwrap();
        said.read_exact(&mut [0; 7]).unwrap();
        Self {
            proxy,
            refuses,
            socket,
            real,
        }
    }

    pub(crate) fn refuse(&self) {
        std::fs::write(&self.refuses, "").unwrap();
    }
}

impl Drop for RefusingProxy {
    fn drop(&mut self) {
        _ = self.proxy.kill(); // it ends by nothing else
        _ = self.proxy.wait();
        for path in [&self.socket, &self.real] {
            _ = std::fs::remove_file(path); // the program may have removed its own
        }
    }
}

/// Closed is better than available: what can't be removed is taken down, and said.
#[test]
fn an_interface_that_refuses_removals_is_taken_down_in_time() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        site.configure(|text| {
            text.replace("lease = \"8h\"", "lease = \"8h\"\nfence_after = \"3s\"")
        });
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        let obstinate = RefusingProxy::before(&interface, &site);
        let log = site.path().join("log");
        let mut daemon = site.server(&["run"]);
        daemon.stderr(std::fs::File::create(&log).unwrap());
        let mut daemon = crate::site::Running::start(&mut daemon);
        daemon.wait_for("is up");
        let (_tunnel, _) = admitted(&host, &site, &code(&secret));

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
        assert_eq!(daemon.status(), Some(1), "a supervisor starts it again");
    });
}
