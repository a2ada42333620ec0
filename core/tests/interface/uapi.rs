//! An interface that someone else runs: Debian's wireguard-go, and boringtun.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use mfagate::code::ErrorCode;
use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::uapi::Uapi;
use mfagate::interface::{InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey};
use mfagate::testing::interface::{
    InterfaceClient, InterfaceHarness, conformance, conformance_of_loss,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::harness::{GATE, GATE_ADDRESS, Harness};
use crate::network::{Host, in_new_network, run};

/// A WireGuard program with the gate's key.
pub(crate) struct OtherMake {
    pub(crate) name: String,
    program: Running,
}

impl OtherMake {
    /// Another of its kind in its place, once it has ended.
    pub(crate) async fn start_again(&mut self, key: &PrivateKey, program: Command) {
        _ = self.program.0.kill(); // it may have ended
        _ = self.program.0.wait();
        _ = std::fs::remove_file(socket_of(&self.name));
        self.program = Self::serve(&self.name, program).await;
        set_key(&self.name, key);
    }

    /// Ends it, without a word to anybody.
    pub(crate) fn kill(&mut self) {
        _ = self.program.0.kill(); // it may have ended
        _ = self.program.0.wait();
    }

    pub(crate) async fn start(key: &PrivateKey, program: Command) -> Self {
        // Sockets are the whole machine's, whatever network they are in, and so are their names.
        static NTH: AtomicU32 = AtomicU32::new(0);
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let name = format!("mfg{}x{nth}", std::process::id());
        let program = Self::serve(&name, program).await;
        set_key(&name, key);
        Self { name, program }
    }

    async fn serve(name: &str, mut program: Command) -> Running {
        program.args(["-f", name]).stdout(Stdio::null());
        let program = Running(program.stderr(Stdio::null()).spawn().unwrap());
        let socket = socket_of(name);
        // A socket that is there and does not listen yet is taken away by `wg`, as one that was
        // left.
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        program
    }

    /// Stops the program, which then hangs, or has it go on (`STOP`, `CONT`).
    fn signal(&self, signal: &str) {
        let program = self.program.0.id().to_string();
        run("kill", &["-s", signal, &program]);
    }

    pub(crate) fn peers(&self) -> String {
        run("wg", &["show", &self.name, "peers"])
    }
}

fn set_key(name: &str, key: &PrivateKey) {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), key.expose_base64().as_bytes()).unwrap();
    let path = keys.path().to_str().unwrap();
    run(
        "wg",
        &["set", name, "private-key", path, "listen-port", "51820"],
    );
}

pub(crate) async fn up() -> OtherMake {
    up_by(Command::new("wireguard-go")).await
}

async fn up_by(program: Command) -> OtherMake {
    let program = OtherMake::start(&GATE, program).await;
    run(
        "ip",
        &["address", "add", GATE_ADDRESS, "dev", &program.name],
    );
    run("ip", &["link", "set", &program.name, "up"]);
    program
}

fn endpoint() -> SocketAddr {
    "127.0.0.1:51820".parse().unwrap()
}

fn peer(number: u8) -> PeerConfig {
    let key = PrivateKey::from_bytes([number; 32]).public_key();
    let psk = Some(PresharedKey::from_bytes([number; 32]));
    let inside = format!("10.9.0.{}/32", 10 + number).parse().unwrap();
    PeerConfig::new(key, psk, vec![inside])
}

#[test]
fn wireguard_go_keeps_the_backends_contract() {
    in_new_network(|| async {
        let program = up().await;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("moved.sock");
        let garbles = move_behind_a_link(&program, &socket);
        garbles.store(false, Ordering::SeqCst);
        let builder = || Uapi::builder(&program.name).socket(&socket);
        let interface = builder().renews_in_place().build(&GATE).await.unwrap();
        let mut harness = Harness::new(interface, endpoint()).await;
        harness.by_hand = Some(Box::new(builder().build(&GATE).await.unwrap()));
        harness.garbles = Some(garbles);
        let report = conformance(&harness).await;
        println!("{report:?}");
    });
}

#[test]
fn wireguard_go_keeps_it_behind_a_lease_guard() {
    in_new_network(|| async {
        let program = up().await;
        let interface = Uapi::builder(&program.name).renews_in_place();
        let interface = Arc::new(interface.build(&GATE).await.unwrap());
        let guard = LeaseGuard::around(interface, &program.name).await.unwrap();
        let report = conformance(&Harness::new(guard, endpoint()).await).await;
        println!("{report:?}");
    });
}

#[test]
fn wireguard_go_keeps_it_where_a_renewal_removes_and_adds() {
    in_new_network(|| async {
        let program = up().await;
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        let mut harness = Harness::new(interface, endpoint()).await;
        harness.renews_in_place = false;
        let report = conformance(&harness).await;
        println!("{report:?}");
    });
}

/// It says nothing of its private key, and bears no change of a peer.
#[test]
fn boringtun_keeps_the_backends_contract() {
    in_new_network(|| async {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/boringtun/bin");
        let program = place.join("boringtun-cli");
        assert!(program.exists(), "run `cargo xtask boringtun`");
        let mut program = Command::new(program);
        program.arg("--disable-drop-privileges");
        let program = up_by(program).await;
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        let mut harness = Harness::new(interface, endpoint()).await;
        harness.renews_in_place = false;
        let report = conformance(&harness).await;
        println!("{report:?}");
    });
}

#[test]
fn a_renewal_that_removes_and_adds_lets_the_stream_go_on() {
    in_new_network(|| async {
        let program = up().await;
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        let harness = Harness::new(interface, endpoint()).await;
        let key = PrivateKey::from_bytes([1; 32]);
        let psk = |n| Some(PresharedKey::from_bytes([n; 32]));
        let peer = |n| vec![harness.peer(key.public_key(), psk(n), 1)];
        harness.backend.install(peer(1)).await.unwrap();
        let client = harness.client(key.clone(), psk(1), 1).await;
        let mut stream = client.stream().await.unwrap();
        assert!(stream.echo(Duration::from_secs(10)).await);

        harness.backend.renew(peer(2)).await.unwrap();
        client.renew(psk(2), endpoint()).await;
        assert!(stream.echo(Duration::from_secs(30)).await);
    });
}

#[test]
fn another_key_is_refused_and_a_dead_program_is_no_success() {
    in_new_network(|| async {
        let program = up().await;
        let stranger = PrivateKey::from_bytes([1; 32]);
        let refused = Uapi::builder(&program.name).build(&stranger).await;
        assert!(matches!(&refused, Err(error) if error.code() == "uapi-other-key"));
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        let key = stranger.public_key();
        interface.install(vec![peer(1)]).await.unwrap();
        assert_eq!(interface.list().await.unwrap().len(), 1);

        drop(program);
        let listed = interface.list().await;
        assert!(matches!(listed, Err(InterfaceError::Away)), "{listed:?}");
        // Its interface went with it.
        interface.remove(&[key]).await.unwrap();
    });
}

#[test]
fn a_dead_program_whose_interface_is_elsewhere_is_no_success() {
    in_new_network(|| async {
        let host = Host::joined();
        let program = OtherMake::start(&GATE, host.command("wireguard-go")).await;
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        interface.install(vec![peer(1)]).await.unwrap();
        drop(program);
        assert!(interface.remove(&[peer(1).key]).await.is_err());
    });
}

#[test]
fn wireguard_go_that_ends_says_that_it_is_not_there() {
    in_new_network(|| async {
        let program = up().await;
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        let mut harness = Harness::new(interface, endpoint()).await;
        let pid = program.program.0.id().to_string();
        harness.take_away = Box::new(move || drop(run("kill", &["-KILL", &pid])));
        conformance_of_loss(&harness).await;
    });
}

#[test]
fn an_interface_that_a_fence_took_down_comes_up_without_its_peers() {
    in_new_network(|| async {
        let program = up().await;
        let builder = || Uapi::builder(&program.name).patience(Duration::from_millis(300));
        let interface = builder().build(&GATE).await.unwrap();
        interface.install(vec![peer(1)]).await.unwrap();
        // It hangs, so that its peers stay.
        program.signal("STOP");
        interface.fence().await.unwrap();
        program.signal("CONT");
        let is_up = || run("ip", &["link", "show", "dev", &program.name]).contains(",UP");
        assert!(!is_up());
        let left = builder().stays_down().build(&GATE).await.unwrap();
        assert!(!is_up());
        drop(left);
        let patient = Uapi::builder(&program.name);
        let again = patient.build(&GATE).await.unwrap();
        assert!(is_up());
        assert_eq!(program.peers(), "");
        again.install(vec![peer(2)]).await.unwrap();
    });
}

#[test]
fn an_interface_of_a_larger_mtu_than_is_set_is_refused() {
    in_new_network(|| async {
        let program = up().await;
        let build = async |mtu| Uapi::builder(&program.name).mtu(mtu).build(&GATE).await;
        let refused = build(1300).await.unwrap_err();
        assert_eq!(refused.code(), "uapi-mtu");
        assert!(refused.to_string().contains("1420"), "{refused}");
        build(1420).await.unwrap();
        run("ip", &["link", "set", &program.name, "mtu", "1280"]);
        build(1300).await.unwrap();
    });
}

#[test]
fn another_namespaces_interface_is_down_once_its_peers_are_gone() {
    in_new_network(|| async {
        let host = Host::joined();
        let program = OtherMake::start(&GATE, host.command("wireguard-go")).await;
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        interface.install(vec![peer(1)]).await.unwrap();

        program.signal("STOP");
        assert!(interface.fence().await.is_err(), "nothing was taken down");
        program.signal("CONT");
        // It is not down, so that it says who is there; but no one is let on any more.
        interface.remove(&[peer(1).key]).await.unwrap();
        assert!(interface.install(vec![peer(2)]).await.is_err());
        assert!(interface.renew(vec![peer(1)]).await.is_err());
        assert_eq!(interface.list().await.unwrap(), []);
        interface.fence().await.unwrap();
        assert_eq!(program.peers(), "");
    });
}

/// What hangs may pass packets wherever it was moved to.
#[test]
fn an_interface_that_was_moved_away_is_not_gone() {
    in_new_network(|| async {
        let host = Host::joined();
        let program = up().await;
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        interface.install(vec![peer(1)]).await.unwrap();
        run("ip", &["link", "set", &program.name, "netns", &host.pid()]);
        program.signal("STOP");
        let fenced = interface.fence().await;
        program.signal("CONT");
        assert!(fenced.is_err(), "it is up elsewhere");
        interface.fence().await.unwrap();
        assert_eq!(program.peers(), "");
    });
}

#[test]
fn an_interface_of_the_same_name_here_is_not_taken_down_for_it() {
    in_new_network(|| async {
        let host = Host::joined();
        let program = OtherMake::start(&GATE, host.command("wireguard-go")).await;
        let tun = ["tuntap", "add", "dev", &program.name, "mode", "tun"];
        run("ip", &tun);
        run("ip", &["link", "set", &program.name, "up"]);
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        interface.install(vec![peer(1)]).await.unwrap();
        program.signal("STOP");
        let fenced = interface.fence().await;
        program.signal("CONT");
        assert!(fenced.is_err(), "it is another's");
        let shown = run("ip", &["link", "show", "dev", &program.name]);
        assert!(shown.contains(",UP"), "{shown}");
    });
}

#[test]
fn an_interface_that_was_here_is_down_when_it_is_gone() {
    in_new_network(|| async {
        let program = up().await;
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        interface.install(vec![peer(1)]).await.unwrap();
        drop(program);
        interface.fence().await.unwrap();
        interface.remove(&[peer(1).key]).await.unwrap();
    });
}

#[test]
fn a_program_that_hangs_makes_calls_fail_in_time() {
    in_new_network(|| async {
        let program = up().await;
        let soon = Duration::from_millis(200);
        let builder = || Uapi::builder(&program.name).patience(soon);
        let interface = builder().build(&GATE).await.unwrap();
        program.signal("STOP");
        let calls = async {
            let built = builder().build(&GATE).await;
            assert!(matches!(&built, Err(error) if error.code() == "uapi-unanswered"));
            assert!(interface.list().await.is_err());
            assert!(interface.remove(&[peer(1).key]).await.is_err());
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), calls).await;
        program.signal("CONT");
        in_time.unwrap();
        let calls = async {
            while interface.install(vec![peer(1)]).await.is_err() {}
            interface.remove(&[peer(1).key]).await.unwrap();
        };
        let again = tokio::time::timeout(Duration::from_secs(20), calls).await;
        again.unwrap();
    });
}

/// What is between a backend and its program: it holds back every request that adds a peer, until
/// it may go on, and passes all others on at once.
fn hold_peers_back(program: &OtherMake, socket: &Path) -> Arc<Semaphore> {
    let may_go_on = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&may_go_on);
    let listener = UnixListener::bind(socket).unwrap();
    let program = format!("/var/run/wireguard/{}.sock", program.name);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (held, mut far) = (
                Arc::clone(&held),
                UnixStream::connect(&program).await.unwrap(),
            );
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\n\n") {
                    near.read_buf(&mut request).await.unwrap();
                }
                if request.windows(10).any(|part| part == b"allowed_ip") {
                    held.acquire().await.unwrap().forget();
                }
                far.write_all(&request).await.unwrap();
                // The caller may have hung up.
                _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    may_go_on
}

/// What is between a backend and its program: it has the program say of every peer that it is at
/// a link-local address, with its zone, as newer versions of wireguard-go do.
fn move_behind_a_link(program: &OtherMake, socket: &Path) -> Arc<AtomicBool> {
    let is_moved = Arc::new(AtomicBool::new(true));
    let moved = Arc::clone(&is_moved);
    let listener = UnixListener::bind(socket).unwrap();
    let program = format!("/var/run/wireguard/{}.sock", program.name);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (mut request, mut response) = (Vec::new(), Vec::new());
            while !request.ends_with(b"\n\n") && near.read_buf(&mut request).await.unwrap() > 0 {}
            if request.is_empty() {
                continue; // who only looked whether someone is there
            }
            let mut far = UnixStream::connect(&program).await.unwrap();
            far.write_all(&request).await.unwrap();
            while !response.ends_with(b"\n\n") {
                assert!(far.read_buf(&mut response).await.unwrap() > 0);
            }
            let said = String::from_utf8(response).unwrap();
            let at = "endpoint=[fe80::1%eth0]:51820\nlast_handshake_time_sec=-62135596800";
            let said = if moved.load(Ordering::SeqCst) {
                said.replace("protocol_version", &format!("{at}\nprotocol_version"))
            } else {
                said
            };
            near.write_all(said.as_bytes()).await.unwrap();
        }
    });
    is_moved
}

#[test]
fn a_peer_behind_a_zone_is_listed_and_removed_and_so_are_others() {
    in_new_network(|| async {
        let program = up().await;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("moved.sock");
        move_behind_a_link(&program, &socket);
        let interface = Uapi::builder(&program.name).socket(&socket);
        let interface = interface.renews_in_place().build(&GATE).await.unwrap();
        let (one, two) = (peer(1), peer(2));
        interface
            .install(vec![one.clone(), two.clone()])
            .await
            .unwrap();
        interface.renew(vec![one.clone()]).await.unwrap();
        assert_eq!(interface.list().await.unwrap().len(), 2);
        let seen = interface.activity(&[one.key]).await.unwrap();
        let at: SocketAddr = "[fe80::1]:51820".parse().unwrap();
        assert_eq!(seen[0].endpoint, Some(at));

        interface.remove(&[one.key]).await.unwrap();
        assert!(program.peers().contains(&two.key.to_string()));
        interface.remove(&[two.key]).await.unwrap();
        assert_eq!(program.peers(), "");
        interface.install(vec![one]).await.unwrap();
        interface.fence().await.unwrap();
        assert_eq!(program.peers(), "");
    });
}

#[test]
fn a_call_that_was_given_up_is_over_when_the_next_begins() {
    in_new_network(|| async {
        let program = up().await;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("held.sock");
        let may_go_on = hold_peers_back(&program, &socket);
        let interface = Uapi::builder(&program.name).socket(&socket);
        let interface = interface.build(&GATE).await.unwrap();
        let soon = Duration::from_millis(200);
        for number in 1..4 {
            let install = interface.install(vec![peer(number)]);
            let given_up = tokio::time::timeout(soon, install).await;
            assert!(given_up.is_err(), "it was not held back");
            let gone = [peer(number).key];
            let mut removal = interface.remove(&gone);
            let early = tokio::time::timeout(soon, &mut removal).await;
            assert!(early.is_err(), "removed before the peer was added");
            may_go_on.add_permits(1);
            removal.await.unwrap();
            assert_eq!(program.peers(), "", "it came late");
        }
    });
}

fn socket_of(name: &str) -> String {
    format!("/var/run/wireguard/{name}.sock")
}

impl Drop for OtherMake {
    fn drop(&mut self) {
        _ = self.program.0.kill(); // it may have ended
        // It goes with a program that ends by itself.
        _ = std::fs::remove_file(socket_of(&self.name));
    }
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill(); // it may have ended
        _ = self.0.wait();
    }
}
