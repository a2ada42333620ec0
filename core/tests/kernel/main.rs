//! The kernel's WireGuard under the backend, with real packets. `cargo xtask test` runs this as
//! root in a virtual machine of its own, one test after the other.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests stop at the first surprise")]
#![expect(
    clippy::disallowed_methods,
    reason = "what is measured is measured by the machine's clock"
)]

mod conformance;
mod lifecycle;
mod peers;
mod portable;
mod traffic;

#[path = "../support/fencing.rs"]
mod fencing;
#[path = "../support/flow.rs"]
mod flow;
#[path = "../support/leased.rs"]
mod leased;
#[path = "../support/stubborn.rs"]
mod stubborn;

use std::process::Command;

use mfagate::interface::PeerConfig;
use mfagate::interface::kernel::KernelInterface;
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};

/// The gate's private key.
const GATE: [u8; 32] = [9; 32];

/// An interface `wg0` with the address 10.9.0.1/24.
async fn gate() -> KernelInterface {
    KernelInterface::builder("wg0", PrivateKey::from_bytes(GATE))
        .address("10.9.0.1/24".parse().unwrap())
        .create()
        .await
        .unwrap()
}

/// The public key and the networks of the peer with this number.
fn peer(number: u16, psk: Option<PresharedKey>) -> PeerConfig {
    let [high, low] = number.to_be_bytes();
    let inner = format!("10.9.{high}.{low}/32").parse().unwrap();
    PeerConfig::new(key(number), psk, vec![inner])
}

fn key(number: u16) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    PublicKey::from_bytes(bytes)
}

fn psk(byte: u8) -> Option<PresharedKey> {
    Some(PresharedKey::from_bytes([byte; 32]))
}

/// Runs a line of shell, which must succeed. Not by busybox, which prefers an `ip` of its own.
fn sh(line: &str) -> String {
    let ran = Command::new("bash").args(["-ec", line]).output().unwrap();
    let error = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{line}: {error}");
    String::from_utf8(ran.stdout).unwrap()
}

fn exists(interface: &str) -> bool {
    std::path::Path::new("/sys/class/net")
        .join(interface)
        .exists()
}
