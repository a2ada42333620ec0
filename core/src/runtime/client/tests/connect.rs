//! Signing in.

use super::interface::Fault;
use super::*;
use crate::channel::message::DeniedReason;
use crate::runtime::TransportError;

#[tokio::test]
async fn a_right_code_puts_the_gates_peer_on_the_interface_with_the_key_of_both_ends() {
    let bench = Bench::new();

    let connected = bench.connected().await;

    let peers: Vec<_> = bench
        .interface
        .wires(|wires| wires.peers.values().cloned().collect());
    let [peer] = peers.as_slice() else {
        panic!("{peers:?}");
    };
    let psk = bench.gate.script(|script| script.keys.first().cloned());
    assert!(psk.is_some() && peer.psk == psk);
    assert_eq!(peer.key, bench.gate.public_key());
    assert_eq!(peer.allowed_ips, ["10.0.0.0/24".parse().unwrap()]);
    assert_eq!(peer.endpoint, Some("192.0.2.1:51820".parse().unwrap()));
    assert_eq!(peer.keepalive, Some(Duration::from_secs(25)));
    assert_eq!(connected.addresses, ["10.0.0.2/32".parse().unwrap()]);
    assert!(matches!(bench.client.status(), Phase::Connected { .. }));
}

#[tokio::test]
async fn a_wrong_code_is_asked_for_again() {
    let bench = Bench::new();
    let mut prompt = Codes::of(&["000000", CODE]);

    bench.client.connect(&mut prompt).await.unwrap();

    let reasons: Vec<_> = prompt.denials.iter().map(|denied| denied.reason).collect();
    assert_eq!(reasons, [DeniedReason::Wrong]);
}

#[tokio::test]
async fn a_user_who_gives_up_leaves_no_attempt_behind() {
    let bench = Bench::new();

    let outcome = bench.client.connect(&mut Codes::of(&["000000"])).await;

    assert_eq!(
        outcome,
        Err(ConnectError::Failed(AttemptFailure::Cancelled))
    );
    eventually("the attempt is cancelled", || {
        bench.gate.has_heard("cancel")
    })
    .await;
    assert!(bench.interface.is_empty());
}

#[tokio::test]
async fn an_app_that_fails_is_told_from_a_user_who_gives_up() {
    let bench = Bench::new();
    let mut app: Box<dyn Prompt> = Box::new(BrokenApp);

    let outcome = bench.client.connect(&mut *app).await;

    let failed = PromptFailed::new("no window");
    assert_eq!(outcome, Err(ConnectError::Prompt(failed)));
    eventually("the attempt is cancelled", || {
        bench.gate.has_heard("cancel")
    })
    .await;
    assert!(bench.interface.is_empty());
    bench.connected().await;
}

#[tokio::test]
async fn a_connect_that_is_dropped_gives_the_attempt_up_and_the_next_one_is_its_own() {
    let bench = Bench::new();
    let wait = Duration::from_millis(200);

    let dropped = tokio::time::timeout(wait, bench.client.connect(&mut NoPrompt)).await;
    assert!(dropped.is_err());
    bench.connected().await;

    eventually("the first attempt is cancelled", || {
        bench.gate.has_heard("cancel")
    })
    .await;
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_with_the_same_bytes_and_admits_once() {
    let bench = Bench::new();
    bench.gate.script(|script| script.lose_replies = 2);

    bench.connected().await;

    let said = bench.gate.script(|script| script.said.clone());
    assert_eq!(said, ["begin", "answer", "again", "again"]);
    let keys = bench.gate.script(|script| script.keys.clone());
    let psk = bench
        .interface
        .wires(|wires| wires.peers.values().next().unwrap().psk.clone());
    assert_eq!(keys.len(), 1);
    assert!(psk.as_ref() == keys.first());
}

#[tokio::test]
async fn a_clock_that_is_off_is_corrected_without_the_user() {
    let bench = Bench::new();
    bench
        .gate
        .script(|script| script.ahead = Duration::from_secs(3600));

    bench.connected().await;

    let said = bench.gate.script(|script| script.said.clone());
    assert_eq!(said, ["begin", "begin", "answer"]);
}

#[tokio::test]
async fn a_gate_that_is_down_is_tried_again_with_fresh_messages_and_then_told_of() {
    let bench = Bench::new();
    bench.gate.script(|script| script.is_down = true);

    let outcome = bench.client.connect(&mut Codes::of(&[CODE])).await;

    let gate = "https://gate.example".to_owned();
    let failure = AttemptFailure::Transport(TransportError::Unreachable { gate });
    assert_eq!(outcome, Err(ConnectError::Failed(failure)));
    assert!(outcome.unwrap_err().is_retryable());
    bench.gate.script(|script| script.is_down = false);
    bench.connected().await;
    assert_eq!(bench.gate.script(|script| script.replays), 0);
}

#[tokio::test]
async fn a_gate_with_another_key_is_not_the_gate() {
    let bench = Bench::new();
    bench.gate.script(|script| script.is_impostor = true);

    let outcome = bench.client.connect(&mut Codes::of(&[CODE])).await;

    assert!(matches!(
        outcome,
        Err(ConnectError::Failed(AttemptFailure::Transport(
            TransportError::NotTheGate { .. }
        )))
    ));
    assert!(bench.interface.is_empty());
}

#[tokio::test]
async fn what_only_a_newer_client_knows_is_told_as_this_one_being_too_old() {
    let offer = r#"{"factor":"08080808080808080808080808080808","kind":"totp","label":"phone","locked_for_ms":null}"#;
    let challenge = format!(
        r#"{{"type":"challenge","attempt":"{}","factor":{offer},"challenge":{{"type":"iris","eye":"left"}},"others":[],"expires_in_ms":60000}}"#,
        "09".repeat(32)
    );
    for reply in [
        r#"{"type":"queued","place":7}"#,
        r#"{"type":"refused","refusal":{"reason":"full_moon"}}"#,
        r#"{"type":"denied","denied":{"reason":"tired","tries_left":1,"locked_for_ms":null}}"#,
        challenge.leak(),
    ] {
        let bench = Bench::new();
        bench.gate.script(|script| script.speaks = Some(reply));

        let outcome = bench.client.connect(&mut Codes::of(&[CODE])).await;

        let gate = "https://gate.example".to_owned();
        let failure = AttemptFailure::Transport(TransportError::TooOld { gate });
        assert_eq!(outcome, Err(ConnectError::Failed(failure)), "{reply}");
        assert!(!outcome.unwrap_err().is_retryable());
        assert!(bench.interface.is_empty());
    }
}

#[tokio::test]
async fn another_gate_of_the_location_takes_over_where_the_first_is_down() {
    let first = ScriptedGate::new();
    first.script(|script| script.is_down = true);
    let second = ScriptedGate::new();
    let interface = MapInterface::new();
    let client = Client::builder(profile(&second))
        .transport(first.clone())
        .transport(second.clone())
        .interface(interface.clone())
        .build()
        .unwrap();

    client.connect(&mut Codes::of(&[CODE])).await.unwrap();

    assert!(second.has_heard("answer"));
}

#[tokio::test]
async fn one_attempt_at_a_time() {
    let bench = Bench::new();
    let mut no_prompt = NoPrompt;
    let first = bench.client.connect(&mut no_prompt);
    tokio::pin!(first);
    let wait = Duration::from_millis(50);
    assert!(tokio::time::timeout(wait, &mut first).await.is_err());

    let second = bench.client.connect(&mut Codes::of(&[CODE])).await;

    assert_eq!(second, Err(ConnectError::UnderWay));
}

#[tokio::test]
async fn an_interface_that_panics_is_one_that_failed_and_nothing_stays() {
    let bench = Bench::new();
    bench
        .interface
        .wires(|wires| wires.fault = Fault::InstallPanics);

    let outcome = bench.client.connect(&mut Codes::of(&[CODE])).await;

    assert_eq!(outcome, Err(ConnectError::Ended(SessionEnd::Interface)));
    assert!(bench.interface.is_empty());
    eventually("the gate is told", || bench.gate.has_heard("end")).await;
}

#[tokio::test]
async fn an_interface_that_hangs_does_not_hold_up_a_removal() {
    let bench = Bench::with(|builder| {
        builder.timeouts(ClientTimeouts {
            interface: Duration::from_secs(3600),
            sign_out: Duration::from_secs(20),
            ..ClientTimeouts::default()
        })
    });
    bench
        .interface
        .wires(|wires| wires.fault = Fault::InstallHangs);
    let mut prompt = Codes::of(&[CODE]);
    let connect = bench.client.connect(&mut prompt);
    tokio::pin!(connect);
    let wait = async {
        eventually("an install", || {
            bench.interface.wires(|wires| wires.installs > 0)
        })
        .await
    };
    tokio::select! {
        _ = &mut connect => panic!("connected"),
        () = wait => {}
    }

    let (outcome, connect) = tokio::join!(bench.client.sign_out(), connect);

    assert_eq!(outcome, Ok(()));
    assert_eq!(connect, Err(ConnectError::Ended(SessionEnd::SignedOut)));
    assert!(bench.interface.is_empty());
}

#[tokio::test]
async fn what_an_earlier_run_left_is_taken_off() {
    let bench = Bench::with(|builder| builder);
    eventually("the removal", || {
        bench.interface.wires(|wires| wires.removals == 1)
    })
    .await;
}

#[tokio::test]
async fn a_client_without_an_interface_or_a_way_to_its_gate_is_not_made() {
    let gate = ScriptedGate::new();
    let no_interface = Client::builder(profile(&gate)).build();
    assert_eq!(
        no_interface.unwrap_err(),
        BuildError(BuildFault::NoInterface)
    );
    let interface = MapInterface::new();
    let no_transport = Client::builder(profile(&gate)).interface(interface).build();
    assert_eq!(
        no_transport.unwrap_err(),
        BuildError(BuildFault::NoTransport)
    );
}

#[test]
fn what_goes_wrong_with_a_client_is_said_in_words() {
    let endpoint = "vpn.example.org:51820".parse().unwrap();
    let texts = [
        ConnectError::Ended(SessionEnd::Interface).to_string(),
        ConnectError::Endpoint { endpoint }.to_string(),
        ConnectError::Prompt(PromptFailed::new("no window")).to_string(),
        ConnectError::UnderWay.to_string(),
        ConnectError::Stopped.to_string(),
        SignOutError::Unconfirmed.to_string(),
        SignOutError::AttemptOpen.to_string(),
        SignOutError::StillUp.to_string(),
        SignOutError::Stopped.to_string(),
        BuildFault::NoInterface.to_string(),
        BuildFault::NoTransport.to_string(),
        BuildFault::NoRuntime.to_string(),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}
