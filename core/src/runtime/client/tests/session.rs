//! A session from its tunnel to its end.

use super::interface::Fault;
use super::*;
use crate::channel::message::{Ended, Status};

fn is_ended(event: &Event) -> bool {
    matches!(event, Event::Ended { .. })
}

fn reason(event: &Event) -> Option<SessionEnd> {
    match event {
        Event::Ended { reason, .. } => Some(*reason),
        _ => None,
    }
}

#[tokio::test]
async fn a_client_knows_that_it_was_revoked() {
    let bench = Bench::new();
    bench.connected().await;
    bench.gate.script(|script| {
        script.status = Status::Ended {
            reason: Some(Ended::Revoked),
        };
    });

    let ended = bench.event(is_ended).await;

    assert_eq!(reason(&ended), Some(SessionEnd::Revoked));
    assert!(bench.interface.is_empty());
}

#[tokio::test]
async fn a_network_that_is_down_keeps_the_tunnel_until_the_lease_ends() {
    let bench = Bench::new();
    bench
        .gate
        .script(|script| script.lease = Duration::from_secs(4));
    bench.connected().await;
    bench.gate.script(|script| script.is_down = true);

    bench
        .event(|event| matches!(event, Event::Unreachable { .. }))
        .await;
    assert!(!bench.interface.is_empty());
    let ended = bench.event(is_ended).await;

    assert_eq!(reason(&ended), Some(SessionEnd::Expired));
    assert!(bench.interface.is_empty());
}

#[tokio::test]
async fn a_gate_that_is_reached_and_a_tunnel_that_is_not_is_told_of() {
    let bench = Bench::new();
    bench.connected().await;

    bench.event(|event| *event == Event::TunnelSilent).await;
    bench.interface.wires(|wires| wires.received = 1000);
    bench.event(|event| *event == Event::Live).await;

    assert!(!bench.interface.is_empty());
}

#[tokio::test]
async fn a_renewal_gives_the_tunnel_a_new_key_in_place() {
    let bench = Bench::new();
    let before = bench.connected().await;

    let after = bench.client.renew(&mut NoPrompt).await.unwrap();

    assert_eq!(after.session, before.session);
    let keys = bench.gate.script(|script| script.keys.clone());
    let [first, second] = keys.as_slice() else {
        panic!("{} keys", keys.len());
    };
    assert!(first != second);
    let (psk, installs, renewals, removals) = bench.interface.wires(|wires| {
        let psk = wires.peers.values().next().unwrap().psk.clone();
        (psk, wires.installs, wires.renewals, wires.removals)
    });
    assert!(psk.as_ref() == Some(second));
    assert_eq!((installs, renewals, removals), (1, 1, 1)); // the removal is the one at the start
}

#[tokio::test]
async fn a_renewal_that_needs_a_factor_asks_the_user() {
    let bench = Bench::new();
    bench.connected().await;
    bench.gate.script(|script| script.renews_by_code = true);

    bench.client.renew(&mut Codes::of(&[CODE])).await.unwrap();

    assert_eq!(bench.interface.wires(|wires| wires.renewals), 1);
}

#[tokio::test]
async fn a_lease_renews_itself() {
    let bench = Bench::with(|builder| {
        let mut config = quick();
        config.renewal = Renewal::Automatic { percent: 50 };
        builder.config(config)
    });
    bench.gate.script(|script| {
        script.lease = Duration::from_secs(2);
        script.renewable = Duration::from_secs(60);
    });
    bench.interface.wires(|wires| wires.received = 1);
    bench.connected().await;

    bench
        .event(|event| matches!(event, Event::Renewed { .. }))
        .await;

    assert_eq!(bench.interface.wires(|wires| wires.renewals), 1);
}

#[tokio::test]
async fn renewing_nothing_says_so() {
    let bench = Bench::new();
    let outcome = bench.client.renew(&mut NoPrompt).await;
    assert_eq!(
        outcome,
        Err(ConnectError::Failed(AttemptFailure::NotSignedIn))
    );
}

#[tokio::test]
async fn a_user_who_signs_out_is_out_at_both_ends() {
    let bench = Bench::new();
    bench.connected().await;

    assert_eq!(bench.client.sign_out().await, Ok(()));

    assert!(bench.interface.is_empty());
    assert!(bench.gate.has_heard("end"));
    assert_eq!(bench.client.status(), Phase::Idle);
    bench.connected().await;
}

#[tokio::test]
async fn a_sign_out_that_the_gate_does_not_hear_of_takes_the_tunnel_down_all_the_same() {
    let bench = Bench::new();
    bench.connected().await;
    bench.gate.script(|script| script.is_down = true);

    assert_eq!(
        bench.client.sign_out().await,
        Err(SignOutError::Unconfirmed)
    );

    assert!(bench.interface.is_empty());
}

#[tokio::test]
async fn dropping_the_client_takes_the_tunnel_down_and_tells_the_gate() {
    let bench = Bench::new();
    bench.connected().await;

    drop(bench.client);

    let (gate, interface) = (&bench.gate, &bench.interface);
    eventually("the tunnel is down", || interface.is_empty()).await;
    eventually("the gate is told", || gate.has_heard("end")).await;
}

#[tokio::test]
async fn a_tunnel_that_can_not_be_removed_takes_the_interface_down() {
    let bench = Bench::new();
    bench.connected().await;
    bench
        .interface
        .wires(|wires| wires.fault = Fault::RemoveFails);

    assert_eq!(bench.client.sign_out().await, Ok(()));

    assert_eq!(bench.interface.wires(|wires| wires.fences), 1);
    assert!(bench.interface.is_empty());
}

#[tokio::test]
async fn a_tunnel_that_the_interface_lost_is_over() {
    let bench = Bench::new();
    bench.connected().await;

    bench.interface.wires(|wires| wires.peers.clear());
    let ended = bench.event(is_ended).await;

    assert_eq!(reason(&ended), Some(SessionEnd::Interface));
    eventually("the gate is told", || bench.gate.has_heard("end")).await;
}

#[tokio::test]
async fn an_interface_that_refuses_all_is_told_and_no_one_waits_for_it() {
    let bench = Bench::new();
    bench.interface.wires(|wires| wires.fault = Fault::AllFails);

    let failed = bench
        .client
        .connect(&mut Codes::of(&[CODE]))
        .await
        .unwrap_err();

    assert_eq!(failed, ConnectError::StillUp);
    eventually("the gate is told", || bench.gate.has_heard("end")).await;
    // It is tried again as long as it takes.
    bench.interface.wires(|wires| wires.fault = Fault::None);
    let ended = bench.event(is_ended).await;
    assert_eq!(reason(&ended), Some(SessionEnd::Interface));
    assert!(bench.interface.is_empty());
}
