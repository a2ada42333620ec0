//! A gate that takes an interface with peers on it.

use std::sync::Arc;

use mfagate::factor::totp::TotpVerifier;
use mfagate::interface::PeerConfig;
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use mfagate::runtime::{Gate, GateConfig};
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::MemoryStore;
use mfagate::testing::fake_interface::FakeInterface;

const STATIC: PublicKey = PublicKey::from_bytes([1; 32]);
const ORPHAN: PublicKey = PublicKey::from_bytes([2; 32]);

#[tokio::test]
async fn what_holds_no_lease_goes_and_what_is_to_be_left_alone_stays() {
    let interface = Arc::new(FakeInterface::default());
    let psk = Some(PresharedKey::from_bytes([1; 32]));
    let hand_made = PeerConfig::new(STATIC, None, vec!["10.9.0.8/32".parse().unwrap()]);
    interface.plant(hand_made.clone());
    interface.plant(PeerConfig::new(ORPHAN, psk, Vec::new()));
    let ring = KeyRing::new("test".parse().unwrap(), RingKey::generate().unwrap());
    let mut config = GateConfig::new(
        "office".parse().unwrap(),
        PrivateKey::generate().unwrap(),
        ring,
        Arc::new(MemoryStore::default()),
        interface.clone(),
    );
    config.verifiers.push(Arc::new(TotpVerifier::new()));
    config.danger_unmanaged_peers.insert(STATIC);

    let gate = Gate::start(config).await.unwrap();
    let left: Vec<_> = interface.installed().into_values().collect();
    assert_eq!(left, std::slice::from_ref(&hand_made));

    gate.shutdown().await;
    let left: Vec<_> = interface.installed().into_values().collect();
    assert_eq!(left, [hand_made]);
}
