//! The adaptor for systems that are not Linux, on Linux, where it can be tested.

use mfagate::code::ErrorCode;
use mfagate::interface::portable::PortableInterface;
use mfagate::interface::{InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::key::PrivateKey;
use mfagate::testing::interface::conformance;

use super::conformance::{Harness, serve_echo};
use super::{GATE, exists, key, peer, psk, sh};

async fn portable() -> PortableInterface {
    // The crate asks for a program that manages names, and needs none of its answers.
    sh(
        "printf '#!/bin/bash\\nexit 0\\n' >/usr/local/bin/resolvconf; chmod +x /usr/local/bin/resolvconf",
    );
    PortableInterface::builder("wg0", PrivateKey::from_bytes(GATE))
        .address("10.9.0.1/24".parse().unwrap())
        .create()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn it_keeps_the_backends_contract() {
    let interface = portable().await;
    serve_echo().await;
    let harness = Harness {
        key: interface.public_key(),
        port: interface.listen_port().await.unwrap(),
        backend: interface,
    };
    let report = conformance(&harness).await;
    println!("{report:?}");
    assert!(!exists("wg0"), "a fence leaves no interface");
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn one_that_could_not_be_removed_again_is_not_made() {
    sh("rm -f /usr/local/bin/resolvconf");
    let made = PortableInterface::builder("wg0", PrivateKey::from_bytes(GATE))
        .create()
        .await;
    assert!(
        matches!(&made, Err(error) if error.code() == "portable-no-resolver"),
        "{made:?}"
    );
    assert!(!exists("wg0"));
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn no_preshared_key_clears_one_and_nothing_is_inherited() {
    let interface = portable().await;
    let rich = peer(1, psk(1)).with_endpoint("192.0.2.1:5".parse().unwrap());
    interface
        .install(vec![rich, peer(2, psk(2))])
        .await
        .unwrap();
    interface.renew(vec![peer(1, None)]).await.unwrap();
    let found = |listed: Vec<PeerConfig>, n| listed.into_iter().find(|peer| peer.key == key(n));
    let listed = interface.list().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(found(listed.clone(), 1).unwrap().psk, None);
    assert_eq!(found(listed, 2).unwrap().psk, psk(2));
    interface.install(vec![peer(1, psk(3))]).await.unwrap();
    let again = found(interface.list().await.unwrap(), 1).unwrap();
    assert_eq!((again.psk, again.endpoint), (psk(3), None));
    interface.remove(&[key(1), key(2), key(9)]).await.unwrap();
    assert!(interface.list().await.unwrap().is_empty());
}

#[tokio::test]
#[ignore = "needs the kernel's WireGuard: cargo xtask test runs it in a VM"]
async fn an_interface_that_is_not_its_own_is_none_and_is_not_taken() {
    let interface = portable().await;
    let again = PortableInterface::builder("wg0", PrivateKey::from_bytes([8; 32]));
    let again = again.create().await;
    assert!(
        matches!(&again, Err(error) if error.code() == "portable-name-in-use"),
        "{again:?}"
    );
    assert!(interface.list().await.is_ok());
    sh("ip link delete wg0; ip link add wg0 type wireguard");
    assert!(interface.list().await.is_err(), "it would read as empty");
    assert!(interface.remove(&[key(1)]).await.is_err());
    sh("ip link delete wg0");
    interface.close().await.unwrap();
    let late = interface.install(vec![peer(1, psk(1))]).await;
    assert!(matches!(late, Err(InterfaceError::Down)));
}
