//! SIGKILL of the daemon at random moments while clients admit and administrators revoke: what was
//! acknowledged stays so.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use data_encoding::BASE64;
use mfagate::enrol::Registrar;
use mfagate::http::HttpTransport;
use mfagate::id::{LocationId, SessionId};
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use mfagate::seal::KeyRing;
use mfagate::store::{PeerStore, SqliteStore};
use mfagate::time::SystemClock;
use tokio::sync::Mutex;

use crate::device::Device;
use crate::network::{in_new_network, run};
use crate::site::{PAGE, Running, Site, serve_page};
use crate::system::ForeignInterface;

const KILLS: usize = 100;
/// Enough for a code whenever one is wanted: each is good once, and there is one every 30 s.
const DEVICES: u16 = 600;
const WORKERS: usize = 8;
/// Every so many kills, packets are sent too.
const PACKETS_EVERY: usize = 10;

/// What is known of a device's session.
#[derive(Debug, Clone)]
enum Known {
    /// Its end was acknowledged, or it never had one.
    Ended(Option<PresharedKey>),
    /// It was acknowledged.
    Live(SessionId, Option<PresharedKey>),
    /// Something was under way when the daemon was killed.
    Unknown,
}

struct Fleet {
    site: Site,
    location: LocationId,
    gate: PublicKey,
    store: Arc<SqliteStore>,
    transport: HttpTransport,
    /// A worker holds a device while it acts for it.
    devices: Vec<Mutex<(Device, Known)>>,
    /// One that outlives the daemon, in the place of the daemon's own.
    interface: Option<ForeignInterface>,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_lost_by_a_hundred_kills() {
    kill_again_and_again(Fleet::enrol(Site::new(), None).await).await;
}

/// What the killed daemon left on the interface is there when the next one starts.
#[test]
fn a_hundred_kills_leave_no_one_on_a_lasting_interface() {
    in_new_network(|| async {
        let site = Site::at("127.0.0.1");
        let interface = ForeignInterface::up(&site);
        interface.serve(&site, false);
        run(
            "ip",
            &["route", "add", "10.9.0.0/16", "dev", &interface.name],
        );
        serve_page(PAGE);
        kill_again_and_again(Fleet::enrol(site, Some(interface)).await).await;
    });
}

async fn kill_again_and_again(fleet: Fleet) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::seed(seed);
    let fleet = Arc::new(fleet);
    let mut daemon = fleet.site.run();
    let mut head = fleet.head("0:0000000000000000000000000000000000000000000000000000000000000000");
    let (mut admitted, mut revoked) = (0, 0);
    for kill in 1.. {
        let done = fleet.load_until_killed(daemon).await;
        admitted += done.0;
        revoked += done.1;
        daemon = fleet.site.run();
        fleet.check().await;
        head = fleet.head(&head);
        if kill % PACKETS_EVERY == 0 {
            fleet.check_by_packets().await;
        }
        // On a slow machine less is done between two kills, so that there are more of them.
        if kill >= KILLS && admitted > KILLS && revoked > KILLS / 4 {
            break;
        }
        assert!(kill < 5 * KILLS, "that was no load");
    }
    println!("{admitted} admissions and {revoked} revocations were acknowledged");
}

impl Fleet {
    async fn enrol(site: Site, interface: Option<ForeignInterface>) -> Self {
        let state = site.path().join("state");
        let key: PrivateKey = std::fs::read_to_string(state.join("gate.key"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let location: LocationId = "office".parse().unwrap();
        let store = Arc::new(SqliteStore::open(state.join("gate.db")).unwrap());
        let ring = KeyRing::read(&state.join("ring.keys")).unwrap();
        let registrar = Registrar::new(store.clone(), ring, Arc::new(SystemClock::new()));
        let mut devices = Vec::new();
        for number in 0..DEVICES {
            let device = Device::enrol(&registrar, &location, number).await;
            devices.push(Mutex::new((device, Known::Ended(None))));
        }
        let transport = HttpTransport::new(&format!("http://{}", site.control)).unwrap();
        Self {
            site,
            location,
            gate: key.public_key(),
            store,
            transport,
            devices,
            interface,
        }
    }

    /// Has clients sign in and administrators revoke, and kills the daemon in the middle of it.
    /// Returns how many of each were acknowledged.
    async fn load_until_killed(self: &Arc<Self>, mut daemon: Running) -> (usize, usize) {
        let stop = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (fleet, stop, seed) = (Arc::clone(self), Arc::clone(&stop), fastrand::u64(..));
                tokio::spawn(async move { fleet.work(&stop, seed).await })
            })
            .collect();
        let moment = Duration::from_micros(fastrand::u64(1_000..150_000));
        tokio::time::sleep(moment).await;
        daemon.child.kill().unwrap();
        stop.store(true, Ordering::Relaxed);
        let mut done = (0, 0);
        for worker in workers {
            let (admitted, revoked) = worker.await.unwrap();
            done = (done.0 + admitted, done.1 + revoked);
        }
        done
    }

    async fn work(&self, stop: &AtomicBool, seed: u64) -> (usize, usize) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut done = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut held) = random.choice(&self.devices).unwrap().try_lock() else {
                continue;
            };
            let (device, known) = &mut *held;
            let is_live = matches!(known, Known::Live(..));
            tokio::time::sleep(Duration::from_millis(random.u64(1..50))).await;
            if is_live && random.u8(..3) == 0 {
                done.1 += usize::from(self.revoke(device, known));
            } else if let Some(code) = device.code() {
                *known = Known::Unknown;
                let granted = device.sign_in(&self.gate, &self.transport, code).await;
                if let Some((session, psk)) = granted {
                    *known = Known::Live(session, Some(psk));
                    done.0 += 1;
                }
            }
        }
        done
    }

    /// Revokes a device's session by the command line; whether that was acknowledged.
    fn revoke(&self, device: &Device, known: &mut Known) -> bool {
        let psk = match std::mem::replace(known, Known::Unknown) {
            Known::Live(_, psk) | Known::Ended(psk) => psk,
            Known::Unknown => None,
        };
        let peer = device.key.public_key().to_string();
        let mut command = self.site.server(&["revoke", "--peer", &peer]);
        let output = command.stdin(Stdio::null()).output();
        let output = tokio::task::block_in_place(|| output.unwrap());
        let is_done = output.status.success();
        if is_done {
            *known = Known::Ended(psk);
        }
        is_done
    }

    /// Compares what the daemon and its store say with what is known, and learns the rest.
    async fn check(&self) {
        let listed = self.listed();
        let stored = self.store.live_sessions(&self.location).await.unwrap();
        let stored: BTreeMap<_, _> = stored.iter().map(|one| (one.peer, one.id)).collect();
        assert_eq!(listed, stored, "the gate holds what the store holds");
        let installed = self.interface.as_ref().map(installed);
        if let Some(installed) = &installed {
            let installed: Vec<_> = installed.keys().collect();
            assert_eq!(installed, listed.keys().collect::<Vec<_>>());
        }
        for device in &self.devices {
            let mut held = device.lock().await;
            let (device, known) = &mut *held;
            let key = device.key.public_key();
            let found = listed.get(&key).copied();
            if let (Known::Live(_, Some(psk)), Some(installed)) = (&*known, &installed) {
                let is_its = installed.get(&key) == Some(psk);
                assert!(
                    is_its,
                    "{known:?} has another preshared key on the interface"
                );
            }
            match (&*known, found) {
                (Known::Ended(_), None) => {}
                (Known::Live(session, _), Some(found)) => assert_eq!(*session, found),
                (Known::Unknown, Some(found)) => *known = Known::Live(found, None),
                (Known::Unknown, None) => *known = Known::Ended(None),
                (known, found) => panic!("{known:?} was acknowledged, but there is {found:?}"),
            }
        }
    }

    /// The live sessions, each of which is on the interface, which holds nothing else.
    fn listed(&self) -> BTreeMap<PublicKey, SessionId> {
        let text = self.site.admin(&["sessions", "--json"]);
        let rows = text.lines().map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(row["traffic"].is_object(), "a lease without a peer: {line}");
            let session = row["session"]["id"].as_str();
            let session = session.unwrap_or_else(|| panic!("a peer without a lease: {line}"));
            let peer = row["peer"].as_str().unwrap();
            (peer.parse().unwrap(), session.parse().unwrap())
        });
        rows.collect()
    }

    /// The head of the audit chain, which was at an earlier head before.
    fn head(&self, known: &str) -> String {
        let text = self.site.admin(&["audit", "verify", "--head", known]);
        text.trim().rsplit(' ').next().unwrap().to_owned()
    }

    /// Sends packets: from a device that was admitted, and from one that was revoked. Chance may
    /// have left none of either whose key is known: then one is admitted or revoked first.
    async fn check_by_packets(&self) {
        let is_live = |known: &Known| matches!(known, Known::Live(_, Some(_)));
        let is_ended = |known: &Known| matches!(known, Known::Ended(Some(_)));
        let live = match self.one(is_live).await {
            Some(live) => live,
            None => self.admit_one().await,
        };
        let ended = match self.one(is_ended).await {
            Some(ended) => ended,
            None => {
                let mut held = self.devices[live].lock().await;
                let (device, known) = &mut *held;
                assert!(self.revoke(device, known), "a daemon that runs revokes");
                live
            }
        };
        for (number, is_live) in [(ended, false), (live, true)] {
            if is_live && live == ended {
                continue; // it was the only one, and has been revoked
            }
            let held = self.devices[number].lock().await;
            let (device, known) = &*held;
            let (Known::Live(_, Some(psk)) | Known::Ended(Some(psk))) = known else {
                panic!("its key is known: {known:?}");
            };
            let within = Duration::from_millis(if is_live { 20_000 } else { 500 });
            let reached = device.reaches(self.gate, self.site.wireguard, psk, within);
            assert_eq!(reached.await, is_live, "{known:?}");
        }
    }

    /// The first device of which that is known.
    async fn one(&self, is_it: impl Fn(&Known) -> bool) -> Option<usize> {
        for (number, device) in self.devices.iter().enumerate() {
            if is_it(&device.lock().await.1) {
                return Some(number);
            }
        }
        None
    }

    /// Admits a device that has a code left.
    async fn admit_one(&self) -> usize {
        for (number, device) in self.devices.iter().enumerate() {
            let mut held = device.lock().await;
            let (device, known) = &mut *held;
            let Some(code) = device.code() else { continue };
            let granted = device.sign_in(&self.gate, &self.transport, code).await;
            let (session, psk) = granted.expect("a daemon that runs admits");
            *known = Known::Live(session, Some(psk));
            return number;
        }
        panic!("no device has a code left")
    }
}

/// The peers that `wg` shows on an interface, each with its preshared key.
fn installed(interface: &ForeignInterface) -> BTreeMap<PublicKey, PresharedKey> {
    let dump = run("wg", &["show", &interface.name, "preshared-keys"]);
    let peers = dump.lines().map(|line| {
        let (peer, psk) = line.split_once('\t').unwrap();
        let psk = BASE64.decode(psk.as_bytes()).unwrap();
        let psk = PresharedKey::from_bytes(psk.try_into().unwrap());
        (peer.parse().unwrap(), psk)
    });
    peers.collect()
}
