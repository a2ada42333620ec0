//! A system's clock that jumps under a daemon: no lease becomes longer, and no one is kept out.

use std::path::PathBuf;
use std::time::Duration;

use crate::app::now;
use crate::factors::{PASSWORD, set_password, site};
use crate::report::connect;
use crate::site::{Running, Site};
use crate::system::lasts;

/// Goes in front of the C library's clock: a file says by how many seconds the system's is off.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long step(void) {
    char text[32] = "";
    int kept = errno, file = open(getenv("CLOCK_STEP"), O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
        close(file);
    }
    errno = kept;
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int done = ((__typeof__(&clock_gettime)) dlsym(RTLD_NEXT, "clock_gettime"))(clock, time);
    if (!done && clock == CLOCK_REALTIME) time->tv_sec += step();
    return done;
}
"#;

/// How late a lease may be found over on a machine that has other work.
const LATE: Duration = Duration::from_secs(2);

/// A daemon whose clock is set.
struct Clocked {
    site: Site,
    step: PathBuf,
    _daemon: Running,
}

impl Clocked {
    /// The daemon of an office where alice signs in by a password, as often as she likes.
    fn run(configure: impl FnOnce(String) -> String) -> Self {
        let site = site("[{ any_of = [\"password\"] }]");
        set_password(&site);
        site.configure(configure);
        let step = site.path().join("step");
        let mut daemon = site.server(&["run"]);
        daemon
            .env("LD_PRELOAD", site.shared_object("clock", SHIM))
            .env("CLOCK_STEP", &step);
        let mut daemon = Running::start(&mut daemon);
        daemon.wait_for("is up");
        Self {
            site,
            step,
            _daemon: daemon,
        }
    }

    /// Sets the clock to so many seconds after the right time.
    fn set(&self, seconds: i64) {
        let next = self.step.with_extension("next");
        std::fs::write(&next, seconds.to_string()).unwrap();
        std::fs::rename(next, &self.step).unwrap();
    }

    /// Signs in; the client's clock is right.
    fn sign_in(&self) -> Running {
        let mut client = connect(&self.site);
        client.enter(PASSWORD);
        client.wait_for("Connected");
        client
    }

    fn has_session(&self) -> bool {
        self.site.admin(&["sessions"]).contains("alice")
    }
}

#[test]
fn a_clock_that_jumps_keeps_no_one_out() {
    let clocked = Clocked::run(|text| text);
    let _client = clocked.sign_in();
    // Back beyond what a first message may be off by, far ahead, and back again.
    for seconds in [-300, 86_400, 0] {
        clocked.set(seconds);
        let _client = clocked.sign_in();
    }
}

#[test]
fn a_clock_far_ahead_ends_a_lease_early() {
    let clocked = Clocked::run(|text| text);
    let _client = clocked.sign_in();
    assert!(clocked.has_session());

    clocked.set(86_400);

    // The gate looks at its clocks at least every 15 seconds.
    let is_over = |_| {
        std::thread::sleep(Duration::from_millis(200));
        !clocked.has_session()
    };
    assert!((0..200).any(is_over), "it stays in");
}

#[test]
fn a_clock_set_back_makes_no_lease_longer() {
    const LEASE: Duration = Duration::from_secs(10);
    let off = "renewal = \"off\"\nsteps = ";
    let clocked = Clocked::run(|text| lasts(text, LEASE).replace("steps = ", off));
    let _client = clocked.sign_in();
    let latest_end = now() + LEASE;

    clocked.set(-3600);

    let mut asked = now();
    while clocked.has_session() {
        assert!(asked < latest_end + LATE, "a lease went on");
        asked = now();
    }
}
