//! System calls on the store's files that fail, one at a time and all of them, under a daemon that
//! runs: no one is admitted by what is not durable, and access ends whatever the disk says.

use std::cell::Cell;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use mfagate::time::Timestamp;

use crate::app::now;
use crate::factors::{PASSWORD, set_password, site};
use crate::report::connect;
use crate::site::{Running, Site, fetch, fetch_within};
use crate::system::lasts;

/// Goes in front of the C library's calls that SQLite writes with. A file says which of them fails
/// on the store's files: its number, the call, the error, how many come before it, how many fail. A
/// short write is half done; the call after it finds the disk full. What failed is logged.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static long current = -1, before, failing;
static int is_rest_full;

static int is_store(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "gate.db") != NULL;
}

/* The error that this call is to end with, -1 for a short write, 0 for none. */
static int planned(const char *call, int fd) {
    int kept = errno, error = 0;
    char plan[256] = "", which[16] = "";
    long number, skip, count;
    int with;
    if (!is_store(fd)) { errno = kept; return 0; }
    pthread_mutex_lock(&turn);
    int file = open(getenv("DISK_PLAN"), O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, plan, sizeof plan - 1) < 0) plan[0] = 0;
        close(file);
    }
    if (sscanf(plan, "%ld %15s %d %ld %ld", &number, which, &with, &skip, &count) == 5) {
        if (number != current) {
            current = number; before = skip; failing = count; is_rest_full = 0;
        }
        if (is_rest_full && !strcmp(call, "write")) {
            is_rest_full = 0;
            error = ENOSPC;
        } else if (!strcmp(call, which)) {
            if (before > 0) before--;
            else if (failing > 0) { failing--; error = with; is_rest_full = with < 0; }
        }
    }
    if (error) {
        char path[512];
        snprintf(path, sizeof path, "%s.log", getenv("DISK_PLAN"));
        int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log >= 0) { dprintf(log, "%ld %s %d\n", number, call, error); close(log); }
    }
    pthread_mutex_unlock(&turn);
    errno = kept;
    return error;
}

#define NEXT(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))
#define WRITES(name, parameters, arguments, half) \
    ssize_t name parameters { \
        int error = planned("write", fd); \
        if (error > 0) { errno = error; return -1; } \
        if (error < 0) return NEXT(name) half; \
        return NEXT(name) arguments; \
    }
#define SYNCS(name) \
    int name(int fd) { \
        int error = planned("sync", fd); \
        if (error) { errno = error; return -1; } \
        return NEXT(name)(fd); \
    }

WRITES(write, (int fd, const void *from, size_t n), (fd, from, n), (fd, from, n / 2))
WRITES(pwrite, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at), (fd, from, n / 2, at))
WRITES(pwrite64, (int fd, const void *from, size_t n, off64_t at), (fd, from, n, at), (fd, from, n / 2, at))
SYNCS(fsync)
SYNCS(fdatasync)
"#;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// Half of it is written, and the disk is full then.
const HALF: i32 = -1;

/// What goes wrong: which call, and with which error.
type Fault = (&'static str, i32);

const FAULTS: &[Fault] = &[
    ("write", EIO),
    ("write", ENOSPC),
    ("write", HALF),
    ("sync", EIO),
];
/// More than any of the tests has time for.
const ALL: u32 = 1_000_000;

/// A daemon's disk.
struct Disk {
    shim: PathBuf,
    plan: PathBuf,
    log: PathBuf,
    plans: Cell<u32>,
}

impl Disk {
    fn of(site: &Site) -> Self {
        Self {
            shim: site.shared_object("disk", SHIM),
            plan: site.path().join("plan"),
            log: site.path().join("daemon.log"),
            plans: Cell::default(),
        }
    }

    /// The daemon on it, once it is up.
    fn run(&self, site: &Site) -> Running {
        let log = File::options().create(true).append(true).open(&self.log);
        let mut daemon = site.server(&["run"]);
        daemon
            .env("LD_PRELOAD", &self.shim)
            .env("DISK_PLAN", &self.plan)
            .env("RUST_LOG", "warn")
            .stderr(log.unwrap());
        let mut daemon = Running::start(&mut daemon);
        daemon.wait_for("is up");
        daemon
    }

    /// From the call after the next `before` on, so many fail.
    fn fail(&self, (call, error): Fault, before: u32, count: u32) {
        self.plans.set(self.plans.get() + 1);
        let plan = format!("{} {call} {error} {before} {count}", self.plans.get());
        let next = self.plan.with_extension("next");
        std::fs::write(&next, plan).unwrap();
        std::fs::rename(next, &self.plan).unwrap();
    }

    fn heal(&self) {
        std::fs::remove_file(&self.plan).unwrap();
    }

    /// How many calls have failed by the last plan.
    fn failed(&self) -> usize {
        let log = format!("{}.log", self.plan.display());
        let log = std::fs::read_to_string(log).unwrap_or_default();
        let number = format!("{} ", self.plans.get());
        log.lines().filter(|line| line.starts_with(&number)).count()
    }

    /// Waits until a call has failed by the last plan.
    fn has_failed(&self, fault: Fault) {
        let failed = |_| {
            std::thread::sleep(Duration::from_millis(50));
            self.failed() > 0
        };
        assert!((0..600).any(failed), "{fault:?}: the disk was not asked");
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

/// An office where alice signs in by a password, as often as she likes.
fn office() -> Site {
    let site = site("[{ any_of = [\"password\"] }]");
    set_password(&site);
    site
}

/// A client that is in, where it serves the page, and the latest end of a lease of this length.
fn admitted(site: &Site, lease: Duration) -> (Running, SocketAddr, Timestamp) {
    let mut client = connect(site);
    client.enter(PASSWORD);
    client.wait_for("Connected");
    let latest_end = now() + lease;
    let line = client.wait_for("Serving on ");
    let local = line.trim().trim_start_matches("Serving on ");
    let local = local.trim_end_matches('.').parse().unwrap();
    (client, local, latest_end)
}

/// Whether alice is in is asked of the daemon, which needs no store for that.
fn has_session(site: &Site) -> bool {
    site.admin(&["sessions"]).contains("alice")
}

fn is_inside(local: SocketAddr) -> bool {
    fetch_within(local, Duration::from_secs(2)).contains("You are inside.")
}

/// So many ends are in the store once the disk is well.
#[track_caller]
fn are_stored(site: &Site, ends: usize) {
    let are_stored = |_| {
        std::thread::sleep(Duration::from_millis(200));
        let trail = site.admin(&["audit", "export"]);
        trail.matches("\"ended\"").count() == ends
    };
    assert!((0..100).any(are_stored), "not {ends} ends are stored");
}

/// The first calls of a sign-in, and each way in which one can fail.
#[test]
fn no_one_is_admitted_by_what_a_failing_disk_did_not_keep() {
    let site = office();
    let disk = Disk::of(&site);
    let mut daemon = disk.run(&site);
    let (mut admitted, mut refused) = (0, 0);
    for fault in FAULTS {
        for before in [0, 2] {
            disk.fail(*fault, before, 1);
            let mut client = connect(&site);
            client.enter(PASSWORD);
            drop(client.child.stdin.take()); // it asks for nothing else
            if client.says("Connected") {
                // What it was told outlives the daemon.
                daemon.kill();
                disk.heal();
                daemon = disk.run(&site);
                assert!(has_session(&site), "{fault:?} {before}: it was not durable");
                site.admin(&["revoke", "--all"]);
                admitted += 1;
            } else {
                assert!(disk.failed() > 0, "{fault:?} {before}: refused for nothing");
                assert!(!has_session(&site), "{fault:?} {before}");
                assert_ne!(client.status(), Some(0));
                disk.heal();
                refused += 1;
            }
        }
    }
    println!("admitted {admitted} times, refused {refused} times");
    assert!(refused >= FAULTS.len(), "no fault was in the way");
    let said = disk.said();
    assert!(said.contains("WARN") || said.contains("ERROR"), "{said}");

    // It needs no restart once the disk is well.
    let mut client = connect(&site);
    client.enter(PASSWORD);
    client.wait_for("Connected");
    site.admin(&["audit", "verify"]);
}

/// A revocation is a removal: the command may wait for the store, and nothing else does.
#[test]
fn a_revoked_peer_leaves_while_the_disk_fails() {
    let site = office();
    let disk = Disk::of(&site);
    let _daemon = disk.run(&site);
    for (nth, fault) in FAULTS.iter().enumerate() {
        let (_client, local, _) = admitted(&site, Duration::ZERO);
        assert!(fetch(local).contains("You are inside."));

        disk.fail(*fault, 0, ALL);
        let mut revoke = site.server(&["revoke", "--user", "alice"]);
        let mut revoke = revoke.stdout(Stdio::null()).spawn().unwrap();
        let is_out = |_| !has_session(&site);
        assert!((0..50).any(is_out), "{fault:?}: it stays in");
        assert!(!is_inside(local), "{fault:?}");
        disk.has_failed(*fault);

        disk.heal();
        are_stored(&site, nth + 1);
        // With a success, or with the word that it took too long.
        revoke.wait().unwrap();
    }
    site.admin(&["audit", "verify"]);
}

#[test]
fn a_lease_ends_on_time_while_the_disk_fails() {
    const LEASE: Duration = Duration::from_secs(10);
    const LATE: Duration = Duration::from_secs(2);
    let site = office();
    site.configure(|text| lasts(text, LEASE).replace("steps = ", "renewal = \"off\"\nsteps = "));
    let disk = Disk::of(&site);
    let _daemon = disk.run(&site);
    for (nth, fault) in [("write", ENOSPC), ("sync", EIO)].into_iter().enumerate() {
        let (_client, local, latest_end) = admitted(&site, LEASE);

        disk.fail(fault, 0, ALL);
        let mut asked = now();
        while has_session(&site) {
            assert!(asked < latest_end + LATE, "{fault:?}: a lease went on");
            asked = now();
        }
        assert!(!is_inside(local), "{fault:?}");
        disk.has_failed(fault);

        disk.heal();
        are_stored(&site, nth + 1);
    }
    site.admin(&["audit", "verify"]);
    assert!(disk.said().contains("WARN"), "{}", disk.said());
}
