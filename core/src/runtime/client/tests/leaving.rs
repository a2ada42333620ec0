//! However a client goes, and whatever it is doing then: its task ends, its interface is let go of,
//! the peer is off it, and no attempt stays open at the gate.

use super::interface::Fault;
use super::*;
use crate::runtime::TransportError;

const A_WHILE: Duration = Duration::from_secs(30);

fn a_slow_interface() -> Bench {
    let bench = Bench::new();
    let fault = Fault::RemoveTakesAWhile;
    bench.interface.wires(|wires| wires.fault = fault);
    bench
}

/// The client's task has ended, and with it all that it held.
async fn lets_go(interface: &Arc<MapInterface>) {
    eventually("the interface is let go of", || {
        Arc::strong_count(interface) == 1
    })
    .await;
}

/// Connects, and gives that up when something holds.
async fn connect_until(client: &Client, prompt: &mut impl Prompt, holds: impl Fn() -> bool) {
    tokio::select! {
        _ = client.connect(prompt) => panic!("it was to be given up"),
        () = eventually("the moment", holds) => {}
    }
}

#[tokio::test]
async fn a_client_dropped_as_soon_as_it_is_built_ends_and_lets_go_of_its_interface() {
    for wait in [0, 1, 20, 100] {
        for bench in [Bench::new(), a_slow_interface()] {
            let (client, _, interface) = bench.parts();
            tokio::time::sleep(Duration::from_millis(wait)).await;

            drop(client);

            lets_go(&interface).await;
            assert_eq!(interface.wires(|wires| wires.removals), 1);
        }
    }
}

#[tokio::test]
async fn a_client_dropped_while_the_gate_is_greeted_cancels_and_ends() {
    let (client, gate, interface) = Bench::new().parts();
    // Whatever of the greeting is under way by then.
    let mut no_prompt = NoPrompt;
    let connect = client.connect(&mut no_prompt);
    _ = tokio::time::timeout(Duration::from_millis(1), connect).await;

    drop(client);

    lets_go(&interface).await;
    let said = gate.script(|script| script.said.clone());
    assert!(said.is_empty() || said == ["begin", "cancel"], "{said:?}");
}

#[tokio::test]
async fn a_client_dropped_while_the_user_is_asked_cancels_and_ends() {
    let (client, gate, interface) = Bench::new().parts();
    let waits = || {
        let waits_for_user = true;
        client.status() == Phase::SigningIn { waits_for_user }
    };
    connect_until(&client, &mut NoPrompt, waits).await;

    drop(client);

    lets_go(&interface).await;
    assert!(gate.has_heard("cancel"));
}

#[tokio::test]
async fn a_client_dropped_while_the_tunnel_is_put_up_gives_the_session_back_and_ends() {
    let (client, gate, interface) = Bench::new().parts();
    interface.wires(|wires| wires.fault = Fault::InstallHangs);
    let installs = || interface.wires(|wires| wires.installs) > 0;
    connect_until(&client, &mut Codes::of(&[CODE]), installs).await;

    drop(client);

    lets_go(&interface).await;
    assert!(interface.is_empty() && gate.has_heard("end"));
}

#[tokio::test]
async fn a_client_dropped_while_it_is_connected_signs_out_and_ends() {
    let bench = Bench::new();
    bench.connected().await;
    let (client, gate, interface) = bench.parts();

    drop(client);

    lets_go(&interface).await;
    assert!(interface.is_empty() && gate.has_heard("end"));
}

#[tokio::test]
async fn a_connect_dropped_before_its_tunnel_is_up_gives_the_session_back() {
    let bench = Bench::new();
    let interface = &bench.interface;
    interface.wires(|wires| wires.fault = Fault::InstallHangs);
    let installs = || interface.wires(|wires| wires.installs) > 0;
    connect_until(&bench.client, &mut Codes::of(&[CODE]), installs).await;

    let ended = bench
        .event(|event| matches!(event, Event::Ended { .. }))
        .await;

    assert!(interface.is_empty(), "{ended:?}");
    eventually("the gate is told", || bench.gate.has_heard("end")).await;
}

#[tokio::test]
async fn a_sign_out_returns_only_when_what_an_earlier_run_left_is_off() {
    let bench = a_slow_interface();

    assert_eq!(bench.client.sign_out().await, Ok(()));

    assert_eq!(bench.interface.wires(|wires| wires.removals), 1);
}

#[tokio::test]
async fn what_an_earlier_run_left_and_can_not_be_taken_off_takes_the_interface_down() {
    let bench = Bench::new();
    let fault = Fault::RemoveFails;
    bench.interface.wires(|wires| wires.fault = fault);

    assert_eq!(bench.client.sign_out().await, Ok(()));

    assert_eq!(bench.interface.wires(|wires| wires.fences), 1);
    let (client, _, interface) = bench.parts();
    drop(client);
    lets_go(&interface).await;
}

#[tokio::test]
async fn a_sign_out_at_the_prompt_returns_when_the_gate_has_heard_of_it() {
    let bench = Bench::new();
    let client = &bench.client;
    let mut no_prompt = NoPrompt;
    let connect = client.connect(&mut no_prompt);
    let out = async {
        eventually("a challenge", || bench.gate.has_heard("begin")).await;
        client.sign_out().await
    };

    let (connected, out) = tokio::join!(connect, out);

    assert_eq!(
        connected,
        Err(ConnectError::Failed(AttemptFailure::Cancelled))
    );
    assert_eq!(out, Ok(()));
    assert!(bench.gate.has_heard("cancel"));
}

#[tokio::test]
async fn a_cancellation_that_the_gate_does_not_hear_of_is_an_error_of_the_sign_out() {
    let bench = Bench::new();
    let waits = || {
        let waits_for_user = true;
        bench.client.status() == Phase::SigningIn { waits_for_user }
    };
    let mut no_prompt = NoPrompt;
    let connect = bench.client.connect(&mut no_prompt);
    let out = async {
        eventually("the prompt", waits).await;
        bench.gate.script(|script| script.is_down = true);
        bench.client.sign_out().await
    };

    let (_, out) = tokio::join!(connect, out);

    assert_eq!(out, Err(SignOutError::AttemptOpen));
}

#[tokio::test]
async fn a_client_that_is_detached_closes_an_attempt_that_was_given_up_before_it_goes() {
    let (client, gate, interface) = Bench::new().parts();
    let waits = || {
        let waits_for_user = true;
        client.status() == Phase::SigningIn { waits_for_user }
    };
    connect_until(&client, &mut NoPrompt, waits).await;

    client.detach();

    lets_go(&interface).await;
    assert!(gate.has_heard("cancel"));
}

#[tokio::test]
async fn a_gate_that_never_answers_is_told_of_long_before_the_exchange_is_over() {
    let bench = Bench::with(|builder| {
        builder
            .config(Config {
                foreground: Duration::from_millis(200),
                exchange: Duration::from_secs(3600),
                ..quick()
            })
            .timeouts(ClientTimeouts {
                round_trip: Duration::from_secs(3600),
                sign_out: Duration::from_millis(200),
                ..ClientTimeouts::default()
            })
    });
    bench.gate.script(|script| script.is_silent = true);
    let mut prompt = Codes::of(&[CODE]);

    let told = tokio::time::timeout(A_WHILE, bench.client.connect(&mut prompt));

    let gate = "https://gate.example".to_owned();
    let timed_out = AttemptFailure::Transport(TransportError::TimedOut { gate });
    assert_eq!(told.await, Ok(Err(ConnectError::Failed(timed_out))));
    let out = tokio::time::timeout(A_WHILE, bench.client.sign_out());
    assert_eq!(out.await, Ok(Err(SignOutError::AttemptOpen)));
}

#[test]
fn nobody_waits_longer_than_twenty_seconds_by_default() {
    let limits = Config::default();
    let timeouts = ClientTimeouts::default();
    let most = Duration::from_secs(20);

    assert!(timeouts.lookup + limits.foreground <= most);
    assert!(timeouts.sign_out <= most);
}
