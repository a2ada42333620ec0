//! A process that has used up its file limit: what ends access needs no descriptor that it hasn't.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mfagate::interface::lease_guard::LeaseGuard;
use mfagate::interface::netstack::Netstack;
use mfagate::interface::uapi::Uapi;
use mfagate::interface::userspace::Userspace;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey};
use rustix::io::Errno;

use crate::harness::{GATE, GATE_ADDRESS};
use crate::network::{in_new_network, run};
use crate::uapi::up;

/// What tells a test that it is the process with a low limit.
const LIMITED: &str = "MFAGATE_TEST_FILES";
/// How many files that process may have.
const LIMIT: &str = "128";
/// More peers than there are descriptors in any reserve.
const PEERS: u8 = 40;

/// Whether this is the process with the low limit; if not, runs the test in one.
fn is_limited() -> bool {
    if std::env::var(LIMITED).is_ok() {
        return true;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let limited = format!("ulimit -n {LIMIT} && exec \"$@\"");
    let child = Command::new("sh")
        .args(["-c", &limited, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(LIMITED, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
    false
}

/// Takes every descriptor that is left.
fn use_up() -> Vec<File> {
    let mut held = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => held.push(file),
            Err(error) => {
                assert_eq!(Errno::from_io_error(&error), Some(Errno::MFILE));
                return held;
            }
        }
    }
}

fn peer(number: u8) -> PeerConfig {
    let key = PrivateKey::from_bytes([number; 32]).public_key();
    let psk = Some(PresharedKey::from_bytes([number; 32]));
    let inside = format!("10.9.0.{}/32", 10 + number).parse().unwrap();
    let mut peer = PeerConfig::new(key, psk, vec![inside]);
    peer.lease = Some(Duration::from_secs(3600));
    peer
}

/// Peers leave the interface, and it goes down, without a descriptor to be had. What it had been
/// asked for before, it answers.
async fn ends_access(interface: &dyn InterfaceBackend) {
    let peers: Vec<_> = (1..=PEERS).map(peer).collect();
    let keys: Vec<_> = peers.iter().map(|peer| peer.key).collect();
    interface.install(peers).await.unwrap();
    let held = use_up();
    let (first, rest) = keys.split_at(usize::from(PEERS / 2));
    for key in first {
        interface.remove(&[*key]).await.unwrap();
    }
    let left = interface.list().await.unwrap();
    assert_eq!(left.len(), rest.len());
    interface.fence().await.unwrap();
    drop(held);
}

#[test]
fn another_programs_interface_ends_access_without_descriptors() {
    if !is_limited() {
        return;
    }
    in_new_network(|| async {
        let program = up().await;
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        ends_access(&interface).await;
        assert_eq!(run("wg", &["show", &program.name, "peers"]), "");
        let shown = run("ip", &["link", "show", "dev", &program.name]);
        assert!(!shown.contains(",UP"), "{shown}");
    });
}

#[test]
fn a_lease_guard_ends_access_without_a_free_descriptor() {
    if !is_limited() {
        return;
    }
    in_new_network(|| async {
        let program = up().await;
        let interface = Uapi::builder(&program.name).build(&GATE).await.unwrap();
        let guard = LeaseGuard::around(Arc::new(interface), &program.name);
        ends_access(&guard.await.unwrap()).await;
        assert_eq!(run("wg", &["show", &program.name, "peers"]), "");
    });
}

#[test]
fn a_tun_device_ends_access_without_a_free_descriptor() {
    if !is_limited() {
        return;
    }
    in_new_network(|| async {
        let interface = Userspace::builder("wg0", GATE)
            .listen(listen())
            .address(GATE_ADDRESS.parse().unwrap())
            .build();
        ends_access(&interface.await.unwrap()).await;
    });
}

#[test]
fn the_in_process_interface_ends_access_without_a_free_descriptor() {
    if !is_limited() {
        return;
    }
    in_new_network(|| async {
        let interface = Netstack::builder(GATE)
            .listen(listen())
            .address(GATE_ADDRESS.parse().unwrap())
            .build();
        ends_access(&interface.await.unwrap()).await;
    });
}

fn listen() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}
