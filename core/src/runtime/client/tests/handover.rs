//! A session that one client saves and another goes on with.

use super::*;
use crate::channel::message::{Ended, Status};
use crate::runtime::TransportError;

fn key() -> HandoverKey {
    HandoverKey::from_bytes([6; 32])
}

fn builder(gate: &Arc<ScriptedGate>, interface: &Arc<MapInterface>) -> ClientBuilder {
    Client::builder(profile(gate))
        .transport(gate.clone())
        .interface(interface.clone())
        .config(quick())
}

/// A session whose client is gone without a word, with what was left of it.
async fn left_behind() -> (SavedSession, Arc<ScriptedGate>, Arc<MapInterface>) {
    let bench = Bench::new();
    bench.connected().await;
    let saved = bench.client.save_session(&key()).await.unwrap();
    let (client, gate, interface) = bench.parts();
    client.detach();
    while client.next_event().await.is_some() {}
    gate.script(|script| script.said.clear());
    (saved, gate, interface)
}

fn counts(interface: &MapInterface) -> (u32, u32, u32) {
    interface.wires(|wires| (wires.installs, wires.renewals, wires.removals))
}

#[tokio::test]
async fn a_saved_session_goes_on_and_its_peer_is_not_touched() {
    let (saved, gate, interface) = left_behind().await;
    let before = counts(&interface);

    let resumed = builder(&gate, &interface).resume(&saved, &key()).await;

    let resumed = resumed.unwrap();
    let connected = resumed.outcome.unwrap();
    assert_eq!(connected.addresses, ["10.0.0.2/32".parse().unwrap()]);
    // Nothing but that, however often on a slow machine.
    let said = gate.script(|script| script.said.clone());
    assert!(
        said.first() == Some(&"status") && said.iter().all(|it| *it == "status"),
        "{said:?}"
    );
    assert_eq!(counts(&interface), before);
    let phase = resumed.client.status();
    assert!(matches!(phase, Phase::Connected { session, .. } if session == connected.session));
    // It is a client like any other from here on.
    resumed.client.renew(&mut NoPrompt).await.unwrap();
    resumed.client.sign_out().await.unwrap();
    assert!(interface.is_empty());
}

#[tokio::test]
async fn a_saved_session_is_put_up_where_the_interface_went_with_its_process() {
    let (saved, gate, _) = left_behind().await;
    let interface = MapInterface::new();

    let resumed = builder(&gate, &interface).resume(&saved, &key()).await;

    assert!(resumed.unwrap().outcome.is_ok());
    let psk = gate.script(|script| script.keys.last().cloned());
    let there = interface.wires(|wires| wires.peers.values().next().cloned());
    let there = there.unwrap();
    assert!(psk.is_some() && there.psk == psk);
    assert_eq!(there.endpoint, Some("192.0.2.1:51820".parse().unwrap()));
}

#[tokio::test]
async fn a_session_that_was_revoked_is_not_gone_on_with() {
    let (saved, gate, interface) = left_behind().await;
    gate.script(|script| {
        script.status = Status::Ended {
            reason: Some(Ended::Revoked),
        };
    });

    let resumed = builder(&gate, &interface).resume(&saved, &key()).await;

    let resumed = resumed.unwrap();
    let ended = ResumeError::Ended(SessionEnd::Revoked);
    assert_eq!(resumed.outcome, Err(ended));
    assert!(interface.is_empty());
    let mut codes = Codes::of(&[CODE]);
    resumed.client.connect(&mut codes).await.unwrap();
}

#[tokio::test]
async fn a_saved_session_that_does_not_open_clears_the_interface() {
    let (saved, gate, _) = left_behind().await;
    let mut altered = saved.as_bytes().to_vec();
    altered[40] ^= 1;
    let mut newer = saved.as_bytes().to_vec();
    newer[0] = 9;
    let other_key = HandoverKey::generate().unwrap();
    for (bytes, key, error) in [
        (altered, key(), ResumeError::NotOpened),
        (newer, key(), ResumeError::Version { version: 9 }),
        (Vec::new(), key(), ResumeError::NotOpened),
        (saved.as_bytes().to_vec(), other_key, ResumeError::NotOpened),
    ] {
        let (_, _, interface) = left_behind().await;
        assert!(!interface.is_empty());
        gate.script(|script| script.said.clear());

        let saved = SavedSession::from_bytes(bytes);
        let resumed = builder(&gate, &interface).resume(&saved, &key).await;

        assert_eq!(resumed.unwrap().outcome, Err(error));
        assert!(interface.is_empty());
        assert!(gate.script(|script| script.said.is_empty()));
    }
}

#[tokio::test]
async fn a_gate_that_is_down_leaves_the_peer_until_it_can_say() {
    let (saved, gate, interface) = left_behind().await;
    gate.script(|script| script.is_down = true);

    let resumed = builder(&gate, &interface).resume(&saved, &key()).await;

    let resumed = resumed.unwrap();
    let unreachable = matches!(
        resumed.outcome,
        Err(ResumeError::Unreachable(TransportError::Unreachable { .. }))
    );
    assert!(unreachable, "{:?}", resumed.outcome);
    assert_eq!(resumed.client.status(), Phase::Connecting);
    assert!(!interface.is_empty());

    let mut events = resumed.client.events();
    gate.script(|script| script.is_down = false);
    while !matches!(events.next().await, Some(Event::TunnelUp { .. })) {}
    assert!(matches!(resumed.client.status(), Phase::Connected { .. }));
}

#[tokio::test]
async fn without_a_tunnel_there_is_nothing_to_save() {
    let bench = Bench::new();
    let outcome = bench.client.save_session(&key()).await;
    assert_eq!(outcome, Err(SaveError::NotConnected));

    bench.connected().await;
    bench.interface.wires(|wires| {
        for peer in wires.peers.values_mut() {
            peer.psk = None;
        }
    });
    let outcome = bench.client.save_session(&key()).await;
    assert_eq!(outcome, Err(SaveError::Interface));
}
