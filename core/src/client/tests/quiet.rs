//! While the app reports what happens, the machine does not look by itself.

use super::*;

fn samples(harness: &Harness) -> usize {
    let is_sample = |action: &&Action| matches!(action, Action::SampleTunnel { .. });
    harness.actions.iter().filter(is_sample).count()
}

#[test]
fn a_quiet_client_wakes_for_its_deadlines_only() {
    let mut harness = Harness::connected(Config::default());
    harness.input(Input::Quiet { is_quiet: true });

    let mut wakes = Vec::new();
    while let Some((at, why)) = harness.machine.poll_timeout() {
        wakes.push(why);
        harness.advance(at.saturating_since(harness.now.instant));
        harness.machine.handle_timeout(harness.now);
        harness.drain();
        if harness.machine.lease.is_none() {
            break;
        }
    }

    assert_eq!(wakes, ["the lease ends soon", "the lease ends"]);
    assert_eq!(samples(&harness), 0);
}

#[test]
fn a_client_that_is_quiet_no_more_looks_again() {
    let mut harness = Harness::connected(Config::default());
    harness.input(Input::Quiet { is_quiet: true });
    harness.pass(Duration::from_secs(60));
    assert_eq!(samples(&harness), 0);

    harness.input(Input::Quiet { is_quiet: false });
    harness.pass(Duration::from_secs(60));

    assert!(samples(&harness) > 5);
}

#[test]
fn reported_traffic_says_that_the_tunnel_lives_or_has_the_gate_asked() {
    let mut harness = Harness::connected(Config::default());
    harness.input(Input::Quiet { is_quiet: true });
    let report = |harness: &mut Harness, sent, received| {
        let traffic = Traffic {
            sent,
            received,
            last_handshake: None,
        };
        harness.input(Input::TrafficReported { traffic });
    };

    report(&mut harness, 100, 100);
    assert_eq!(harness.events, [Event::Live]);
    assert!(harness.hello().is_none());

    report(&mut harness, 200, 100);
    harness.pass(Config::default().silence);

    let (_, opening, _) = harness.hello().expect("the gate is asked");
    assert_eq!(opening, Opening::Status(SessionId::from_bytes([1; 16])));
}
