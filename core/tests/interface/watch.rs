//! A gate whose interface others change: a peer that was added by hand, a program that is started again,
//! a device that is deleted.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mfagate::gate::{Closed, Event, Events, Gate};
use mfagate::interface::uapi::Uapi;
use mfagate::interface::userspace::Userspace;
use mfagate::interface::{InterfaceBackend, PeerConfig};
use mfagate::key::PrivateKey;
use mfagate::testing::fake_interface::FakeInterface;

use crate::harness::{GATE, GATE_ADDRESS};
use crate::leased::Leased;
use crate::line::psk;
use crate::network::{in_new_network, run};
use crate::uapi::{OtherMake, up};

const HOUR: Duration = Duration::from_secs(3600);
/// On a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

fn peer(number: u8) -> PeerConfig {
    let key = PrivateKey::from_bytes([number; 32]).public_key();
    let inside = format!("10.9.0.{}/32", 10 + number).parse().unwrap();
    PeerConfig::new(key, Some(psk(number)), vec![inside])
}

/// The first event from here on that is meant.
async fn until(events: &mut Events, is_meant: impl Fn(&Event) -> bool) -> Event {
    let meant = async {
        loop {
            let event = events.next().await.unwrap();
            if is_meant(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(PATIENCE, meant).await.unwrap()
}

/// Waits until that is so.
async fn becomes(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn on_wireguard_go(program: &OtherMake, leased: &Leased) -> Gate {
    let interface = Uapi::builder(&program.name).renews_in_place();
    leased
        .gate(Arc::new(interface.build(&GATE).await.unwrap()))
        .await
}

/// `wg set` for a peer, by hand.
fn set(program: &OtherMake, peer: &PeerConfig, networks: &str) {
    let key = peer.key.to_string();
    let peer = ["set", &program.name, "peer", &key, "allowed-ips", networks];
    run("wg", &peer);
}

#[test]
fn a_stranger_leaves_and_a_changed_peer_is_put_right() {
    in_new_network(|| async {
        let program = up().await;
        let leased = Leased::new(GATE).await;
        let (one, stranger) = (peer(1), peer(2));
        leased.admit(&one, HOUR).await;
        let gate = on_wireguard_go(&program, &leased).await;
        let mut events = gate.events();
        let there = || run("wg", &["show", &program.name, "allowed-ips"]);
        let right = format!("{}\t10.9.0.11/32\n", one.key);
        assert_eq!(there(), right);

        set(&program, &stranger, "10.9.0.99/32");
        let said = Event::UnleasedPeer { peer: stranger.key };
        until(&mut events, |event| *event == said).await;
        becomes(|| there() == right).await;

        set(&program, &one, "0.0.0.0/0");
        until(&mut events, |event| {
            matches!(event, Event::PeerChanged { .. })
        })
        .await;
        becomes(|| there() == right).await;

        run(
            "wg",
            &["set", &program.name, "peer", &one.key.to_string(), "remove"],
        );
        until(&mut events, |event| {
            matches!(event, Event::PeerMissing { .. })
        })
        .await;
        becomes(|| there() == right).await;
        gate.shutdown().await;
        assert_eq!(there(), "");
    });
}

#[test]
fn a_restarted_program_gets_its_peers_back_without_a_fence() {
    in_new_network(|| async {
        let mut program = up().await;
        let leased = Leased::new(GATE).await;
        let (one, two) = (peer(1), peer(2));
        leased.admit(&one, HOUR).await;
        leased.admit(&two, Duration::from_secs(15)).await;
        let gate = on_wireguard_go(&program, &leased).await;
        let mut events = gate.events();
        program.kill();
        until(&mut events, |event| *event == Event::InterfaceAway).await;
        // A removal falls due meanwhile, and is done: its interface went with the program.
        let is_over =
            |event: &Event| matches!(event, Event::Ended { peer, .. } if *peer == two.key);
        until(&mut events, is_over).await;
        assert_eq!(gate.sessions().len(), 1);

        program
            .start_again(&GATE, Command::new("wireguard-go"))
            .await;
        until(&mut events, |event| *event == Event::InterfaceBack).await;
        becomes(|| program.peers() == format!("{}\n", one.key)).await;
        gate.shutdown().await;
    });
}

#[test]
fn a_tun_device_that_is_deleted_closes_the_gate() {
    in_new_network(|| async {
        let interface = Userspace::builder("wg0", GATE)
            .address(GATE_ADDRESS.parse().unwrap())
            .build()
            .await
            .unwrap();
        let leased = Leased::new(GATE).await;
        leased.admit(&peer(1), HOUR).await;
        let gate = leased.gate(Arc::new(interface)).await;
        let mut events = gate.events();
        run("ip", &["link", "delete", "wg0"]);
        until(&mut events, |event| *event == Event::InterfaceGone).await;
        let closed = tokio::time::timeout(PATIENCE, gate.closed()).await;
        assert_eq!(closed.unwrap(), Closed::InterfaceGone);
        gate.shutdown().await;

        // No one's session has ended: the next gate goes on with it.
        let interface = Arc::new(FakeInterface::new());
        let _gate = leased.gate(interface.clone()).await;
        assert_eq!(interface.list().await.unwrap().len(), 1);
    });
}
