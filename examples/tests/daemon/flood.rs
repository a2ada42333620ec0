//! An attack on the control port: connections that say nothing, garbage, replays, heads and bodies
//! that come slowly. None of it keeps anybody in for longer.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mfagate::channel::engine::{DecapsulationSecret, Hello, Initiator};
use mfagate::channel::message::Posture;
use mfagate::client::Profile;
use mfagate::factor::totp::TotpSecret;
use mfagate::time::Timestamp;

use crate::app::{code, code_ahead, now};
use crate::faults::RefusingProxy;
use crate::network::{HERE, Host, in_new_network, run};
use crate::report::{connect, enrol, office};
use crate::site::{Running, Site};
use crate::system::{ForeignInterface, INSIDE, Pings, WgQuick, admitted, export, lasts};

/// How much later than without an attack anything may come.
const LATE: Duration = Duration::from_secs(1);
pub(crate) const LEASE: Duration = Duration::from_secs(15);
/// So few files that the attackers could use them up many times over.
pub(crate) const FILES: u32 = 192;
/// Connections that each attacker keeps open.
const OPEN: usize = 400;
/// How many connections each attacker opens in all, and for how long: more than a test needs.
const MOST: u32 = 1_000_000;
const LONGEST: Duration = Duration::from_secs(90);
/// Between connections: as many as the machine has time for.
const AT_ONCE: Duration = Duration::ZERO;
/// In an emulated machine, whose processors are a small part of a real one: two hundred a second.
pub(crate) const EMULATED: Duration = Duration::from_millis(10);
/// How much of the memory that it had the daemon may have more, once the attack is over.
const GROWTH_PERCENT: u64 = 20;

/// Two attackers, until this is dropped or they have reached their bounds.
pub(crate) struct Attack {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicU32>,
    attackers: Vec<JoinHandle<()>>,
}

impl Attack {
    /// On a site's control port, by one who has recorded a first message; with this pause before
    /// each connection.
    pub(crate) fn on(site: &Site, recorded: &[u8], pause: Duration) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let opened = Arc::<AtomicU32>::default();
        let attackers = [0, 1].map(|nth| {
            let (stop, opened) = (Arc::clone(&stop), Arc::clone(&opened));
            let (at, recorded) = (site.control, recorded.to_vec());
            std::thread::spawn(move || attack(at, nth, &recorded, pause, &stop, &opened))
        });
        let attackers = attackers.into();
        // Until it has used up what it can.
        std::thread::sleep(Duration::from_secs(2));
        Self {
            stop,
            opened,
            attackers,
        }
    }

    /// Fails where the attackers have reached their bounds: what was measured before this was
    /// measured under attack.
    fn goes_on(&self) {
        let before = self.opened.load(Ordering::SeqCst);
        for _ in 0..100 {
            if self.opened.load(Ordering::SeqCst) > before {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the attack was over after {before} connections");
    }

    /// Ends it; says how many connections there were.
    fn end(mut self) -> u32 {
        self.stop.store(true, Ordering::SeqCst);
        for attacker in std::mem::take(&mut self.attackers) {
            attacker.join().unwrap();
        }
        self.opened.load(Ordering::SeqCst)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn attack(
    at: SocketAddr,
    first: u32,
    recorded: &[u8],
    pause: Duration,
    stop: &AtomicBool,
    opened: &AtomicU32,
) {
    let head = |length: usize| {
        format!("POST /mfagate/v1 HTTP/1.1\r\nhost: gate\r\ncontent-length: {length}\r\n\r\n")
    };
    let begun = now();
    let mut open = VecDeque::new();
    for count in 0..MOST {
        if stop.load(Ordering::SeqCst) || now().saturating_since(begun) > LONGEST {
            break;
        }
        std::thread::sleep(pause);
        let Ok(mut stream) = TcpStream::connect(at) else {
            continue;
        };
        opened.fetch_add(1, Ordering::SeqCst);
        let said: Vec<u8> = match (first + count) % 6 {
            0 => Vec::new(),
            1 => (0..=255).cycle().take(4096).collect(),
            2 => [head(recorded.len()).as_bytes(), recorded].concat(),
            3 => b"POST /mfagate/v1 HTTP/1.1\r\nx: ".to_vec(),
            4 => [head(60_000).as_bytes(), &[1; 30_000]].concat(),
            _ => [head(300).as_bytes(), &[1; 300]].concat(),
        };
        _ = stream.write_all(&said); // it may be closed already
        open.push_back(stream);
        if open.len() > OPEN {
            open.pop_front();
        }
    }
    // All that it has goes on until the end, as the heads that don't come do.
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A first message of the device's, as someone on the way could have recorded it.
fn recorded(site: &Site) -> Vec<u8> {
    let profile = Profile::read(site.path().join("profile.toml")).unwrap();
    let (_, encapsulation_key) = DecapsulationSecret::generate().unwrap();
    let hello = Hello::Begin {
        sent_at: now(),
        encapsulation_key,
        posture: Posture::default(),
    };
    let begun = Initiator::begin(&profile.private_key, &profile.location_key, &hello);
    begun.unwrap().1
}

/// How long a command takes.
fn time_of(site: &Site, arguments: &[&str]) -> Duration {
    let begun = now();
    site.admin(arguments);
    now().saturating_since(begun)
}

/// A lease's end and a revocation, each with a peer inside and an attack on: when packets stop
/// is measured by pings.
pub(crate) fn withstands(
    host: &Host,
    site: &Site,
    secret: &TotpSecret,
    daemon: &Running,
    pause: Duration,
) {
    let at_rest = time_of(site, &["revoke", "--all"]);
    let replay = recorded(site);
    first_attack(site, &replay, pause);
    let (mut connect, file) = export(host, site);
    connect.enter(&code(secret));
    connect.wait_for("is good for");
    let latest_end = now() + LEASE;
    let tunnel = WgQuick::up(host, &file);
    assert!(host.reaches(INSIDE, 8));
    let memory = daemon.memory();

    let attack = Attack::on(site, &replay, pause);
    let last = Pings::past(host, latest_end).last();
    println!(
        "a lease ended {:?} after its end",
        last.saturating_since(latest_end)
    );
    assert!(last < latest_end + LATE, "a lease went on");
    attack.goes_on();
    drop(tunnel);

    let _tunnel = admitted(host, site, &code_ahead(secret));
    assert!(host.reaches(INSIDE, 10), "no one else comes in");
    let flow = Pings::start(host, 50, 5);
    std::thread::sleep(Duration::from_secs(1));
    let revoked = now();
    assert_eq!(
        site.admin(&["revoke", "--user", "alice"]),
        "Sessions ended: 1\n"
    );
    let took = now().saturating_since(revoked);
    println!("a revocation took {took:?}, and {at_rest:?} without an attack");
    assert!(took < at_rest + LATE, "{took:?}");
    assert!(flow.last() < revoked + took, "it passes when it is revoked");
    attack.goes_on();
    println!("connections: {}", attack.end());
    comes_back(daemon, memory);
}

/// A short attack before the one that is measured. It takes the daemon memory that it keeps and
/// takes once: the allocator's arena of each thread that serves, some 1 MiB in all, and as much after
/// 2,000 connections as after 32,000. What the daemon kept of each connection would go on growing in
/// the attack that follows, which has many times as many.
fn first_attack(site: &Site, recorded: &[u8], pause: Duration) {
    let connections = Attack::on(site, recorded, pause).end();
    println!("connections of the first attack: {connections}");
}

/// The daemon has the memory again that it had, or nearly.
fn comes_back(daemon: &Running, before: u64) {
    let most = before + before * GROWTH_PERCENT / 100;
    let mut now = daemon.memory();
    for _ in 0..600 {
        if now <= most {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        now = daemon.memory();
    }
    println!("memory: {before} KiB before, {now} KiB after");
    assert!(now <= most, "{before} KiB before, {now} KiB after");
}

#[test]
fn an_attack_on_the_control_port_keeps_no_one_in_on_userspace() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        site.configure(|text| lasts(text, LEASE));
        let secret = enrol(&site);
        let daemon = site.run_with_files(FILES, &["--backend", "userspace"]);
        withstands(&host, &site, &secret, &daemon, AT_ONCE);
    });
}

#[test]
fn an_attack_on_the_control_port_keeps_no_one_in_on_uapi() {
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        site.configure(|text| lasts(text, LEASE));
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, true);
        let daemon = site.run_with_files(FILES, &[]);
        withstands(&host, &site, &secret, &daemon, AT_ONCE);
        assert_eq!(interface.peers(), "");
    });
}

#[test]
fn an_attack_on_the_control_port_keeps_no_one_in_on_netstack() {
    let (site, secret) = office();
    let without_renewal = "renewal = \"off\"\nsteps = ";
    site.configure(|text| lasts(text, LEASE).replace("steps = ", without_renewal));
    let daemon = site.run_with_files(FILES, &[]);
    let at_rest = time_of(&site, &["revoke", "--all"]);
    let replay = recorded(&site);
    let mut client = connect(&site);
    client.enter(&code(&secret));
    client.wait_for("Connected");
    // All come from one source here, so that no one else signs in while the attack is on.
    let attack = Attack::on(&site, &replay, AT_ONCE);
    let took = time_of(&site, &["revoke", "--user", "alice"]);
    println!("a revocation took {took:?}, and {at_rest:?} without an attack");
    assert!(took < at_rest + LATE, "{took:?}");
    assert!(!site.admin(&["sessions"]).contains("alice"));
    attack.goes_on();
    attack.end();

    let mut client = connect(&site);
    client.enter(&code_ahead(&secret));
    client.wait_for("Connected");
    let latest_end = now() + LEASE;
    let memory = daemon.memory();
    let attack = Attack::on(&site, &replay, AT_ONCE);

    // How long the command takes to say so is another matter.
    let mut asked = now();
    while site.admin(&["sessions"]).contains("alice") {
        assert!(asked < latest_end + LATE, "a lease went on");
        asked = now();
    }
    println!(
        "a lease was over {:?} after its end, at the latest",
        asked.saturating_since(latest_end)
    );
    attack.goes_on();
    attack.end();
    comes_back(&daemon, memory);
}

/// What can't be removed is fenced as soon as without an attack.
#[test]
fn an_attack_on_the_control_port_holds_up_no_fence() {
    const FENCE_AFTER: Duration = Duration::from_secs(3);
    in_new_network(|| async {
        let (host, site) = (Host::joined(), Site::at(HERE));
        site.configure(|text| {
            text.replace("lease = \"8h\"", "lease = \"8h\"\nfence_after = \"3s\"")
        });
        let secret = enrol(&site);
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        let obstinate = RefusingProxy::before(&interface, &site);
        let _daemon = site.run_with_files(FILES, &[]);
        let at_rest = time_of(&site, &["revoke", "--all"]);
        let replay = recorded(&site);
        let _tunnel = admitted(&host, &site, &code(&secret));
        assert!(host.reaches(INSIDE, 10));
        let attack = Attack::on(&site, &replay, AT_ONCE);

        obstinate.refuse();
        let flow = Pings::start(&host, 50, 8);
        // The gate's process ends with the fence, so that this can't be seen after it.
        attack.goes_on();
        let revoked = now();
        _ = site
            .server(&["revoke", "--user", "alice"])
            .output()
            .unwrap();
        let last: Timestamp = flow.last();
        // Removals are tried every half a second, and the fence is one of those times.
        let latest = revoked + at_rest + FENCE_AFTER + Duration::from_millis(500) + LATE;
        println!(
            "fenced {:?} after the revocation",
            last.saturating_since(revoked)
        );
        assert!(last < latest, "it was fenced too late");
        let shown = run("ip", &["link", "show", "dev", &interface.name]);
        assert!(!shown.contains(",UP"), "{shown}");
    });
}
