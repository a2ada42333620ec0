//! A live session: its end, its renewal, and what a silent tunnel means.

use super::*;
use crate::channel::message::{Ended, Refusal};

/// A tunnel through which nothing comes back since `at`, while something is sent all the time.
fn one_way(at: Timestamp) -> impl FnMut(Now) -> Traffic {
    let mut sent = 1000;
    move |_| {
        sent += 100;
        Traffic {
            last_handshake: Some(at),
            received: 5000,
            sent,
        }
    }
}

fn ended(reason: Option<Ended>) -> Reply {
    Reply::Status {
        status: Status::Ended { reason },
    }
}

fn ended_event(reason: SessionEnd) -> Event {
    let session = SessionId::from_bytes([1; 16]);
    Event::Ended { session, reason }
}

fn remove_ticket(harness: &Harness) -> Ticket {
    harness
        .find(|action| match action {
            Action::RemoveTunnel { ticket } => Some(*ticket),
            _ => None,
        })
        .expect("a removal")
}

/// A client whose tunnel has been silent for long enough that the gate is asked.
fn silent(config: Config) -> (Harness, Ticket) {
    let mut harness = Harness::connected(config);
    let at = harness.now.timestamp;
    harness.pass_with(Duration::from_secs(40), one_way(at));
    let (hello, opening, _) = harness.hello().expect("a question");
    assert_eq!(opening, Opening::Status(SessionId::from_bytes([1; 16])));
    (harness, hello)
}

#[test]
fn a_lease_ends_on_time_without_anyone_else() {
    let mut harness = Harness::connected(Config::default());

    harness.pass(LEASE - Duration::from_millis(1));
    assert_eq!(harness.removes(), 0);
    harness.pass(Duration::from_millis(1));
    assert_eq!(harness.removes(), 1);

    let ticket = remove_ticket(&harness);
    harness.input(Input::TunnelRemoved { ticket });
    let reason = SessionEnd::Expired;
    assert_eq!(harness.events.last(), Some(&ended_event(reason)));
    assert!(harness.machine.is_idle());
}

#[test]
fn a_lease_ends_when_the_wall_clock_says_so_first() {
    let mut harness = Harness::connected(Config::default());

    harness.now.timestamp = harness.now.timestamp + LEASE;
    harness.pass(Duration::from_secs(5));

    assert_eq!(harness.removes(), 1);
}

#[test]
fn a_wall_clock_that_is_set_back_does_not_prolong_a_lease() {
    let mut harness = Harness::connected(Config::default());

    harness.now.timestamp = harness.now.timestamp - LEASE;
    harness.pass(LEASE);

    assert_eq!(harness.removes(), 1);
}

#[test]
fn a_revoked_session_is_told_from_a_network_that_is_down() {
    let (mut revoked, question) = silent(Config::default());
    revoked.reply(question, ended(Some(Ended::Revoked)));
    let ticket = remove_ticket(&revoked);
    revoked.input(Input::TunnelRemoved { ticket });
    let reason = SessionEnd::Revoked;
    assert_eq!(revoked.events.last(), Some(&ended_event(reason)));

    let (mut down, question) = silent(Config::default());
    down.unreachable(question);
    assert!(matches!(
        down.events.last(),
        Some(Event::Unreachable { .. })
    ));
    assert_eq!(down.removes(), 0);
}

#[test]
fn an_unreachable_gate_is_asked_again_less_and_less_often_and_told_of_once() {
    let (mut harness, _) = silent(Config::default());
    let mut asked = Vec::new();
    for _ in 0..6 {
        let question = harness.last_hello();
        asked.push(harness.now.instant);
        harness.unreachable(question);
        while harness.last_hello() == question {
            harness.pass(Duration::from_millis(500));
        }
    }

    let waits: Vec<u64> = asked
        .windows(2)
        .map(|pair| pair[1].saturating_since(pair[0]).as_secs())
        .collect();
    assert_eq!(waits, [2, 4, 8, 16, 32]);
    let is_unreachable = |event: &&Event| matches!(event, Event::Unreachable { .. });
    assert_eq!(harness.events.iter().filter(is_unreachable).count(), 1);
}

#[test]
fn an_unreachable_gate_does_not_keep_a_lease_from_ending() {
    let (mut harness, question) = silent(Config::default());
    harness.unreachable(question);

    harness.pass(LEASE);

    assert_eq!(harness.removes(), 1);
}

#[test]
fn a_tunnel_that_is_blocked_on_the_way_is_told_of_once() {
    let mut harness = Harness::connected(Config::default());
    let at = harness.now.timestamp - Duration::from_secs(300);

    let mut traffic = one_way(at);
    for _ in 0..4 {
        harness.pass_with(Duration::from_secs(40), &mut traffic);
        let question = harness.last_hello();
        harness.reply(question, live(LEASE));
    }

    let is_silent = |event: &&Event| matches!(event, Event::TunnelSilent);
    assert_eq!(harness.events.iter().filter(is_silent).count(), 1);
    assert_eq!(harness.removes(), 0);
}

#[test]
fn a_tunnel_that_is_heard_again_is_live_again() {
    let (mut harness, question) = silent(Config::default());
    harness.unreachable(question);

    let at = harness.now.timestamp;
    harness.pass_with(Duration::from_secs(10), |_| Traffic {
        last_handshake: Some(at),
        received: 9000,
        sent: 9000,
    });

    assert_eq!(harness.events.last(), Some(&Event::Live));
}

/// Seconds after which another address is tried, while nothing comes back from any.
fn moves(harness: &mut Harness, mut traffic: impl FnMut(Now) -> Traffic) -> Vec<u64> {
    let begun = harness.now.instant;
    let mut moves = Vec::new();
    for _ in 0..60 {
        harness.actions.clear();
        harness.pass_with(Duration::from_secs(1), &mut traffic);
        let ticket = harness.find(|action| match action {
            Action::MoveTunnel { ticket } => Some(*ticket),
            _ => None,
        });
        if let Some(ticket) = ticket {
            moves.push(harness.now.instant.saturating_since(begun).as_secs());
            harness.input(Input::TunnelMoved { ticket });
        }
    }
    moves
}

#[test]
fn another_address_is_tried_soon_where_none_has_answered_and_then_less_and_less_often() {
    let mut harness = Harness::connected(Config::default());
    let mut sent = 0;

    let moves = moves(&mut harness, |_| {
        sent += 148;
        Traffic {
            sent,
            ..Traffic::default()
        }
    });

    assert_eq!(moves, [3, 5, 9, 13, 21, 29, 45]);
}

#[test]
fn another_address_is_tried_where_a_live_tunnel_falls_silent() {
    let mut harness = Harness::connected(Config::default());
    let at = harness.now.timestamp;
    let live = Traffic {
        last_handshake: Some(at),
        received: 5000,
        sent: 1000,
    };
    harness.pass_with(Duration::from_secs(5), |_| live);

    let moves = moves(&mut harness, one_way(at));

    assert!(moves[0] >= 15 && moves[0] <= 20, "{moves:?}");
}

#[test]
fn a_tunnel_that_is_heard_stays_at_its_address() {
    let mut harness = Harness::connected(Config::default());
    let mut bytes = 0;

    let moves = moves(&mut harness, |_| {
        bytes += 100;
        Traffic {
            last_handshake: None,
            received: bytes,
            sent: bytes,
        }
    });

    assert!(moves.is_empty(), "{moves:?}");
}

#[test]
fn an_idle_tunnel_is_left_alone() {
    let mut harness = Harness::connected(Config::default());
    harness.pass_with(Duration::from_secs(1800), |_| Traffic::default());
    assert!(harness.hello().is_none(), "{:?}", harness.actions);
    let is_moved = |action: &Action| matches!(action, Action::MoveTunnel { .. });
    assert!(!harness.actions.iter().any(is_moved));
}

#[test]
fn a_gate_that_knows_of_less_time_is_believed_and_one_that_knows_of_more_is_not() {
    let (mut shorter, question) = silent(Config::default());
    shorter.reply(question, live(Duration::from_secs(5)));
    shorter.pass(Duration::from_secs(5));
    assert_eq!(shorter.removes(), 1);

    let (mut longer, question) = silent(Config::default());
    longer.reply(question, live(LEASE * 10));
    longer.now.timestamp = longer.now.timestamp - LEASE;
    longer.pass(LEASE);
    assert_eq!(longer.removes(), 1, "by the monotonic clock");

    let (mut longer, question) = silent(Config::default());
    longer.reply(question, live(LEASE * 10));
    longer.now.timestamp = longer.now.timestamp + LEASE;
    longer.pass(Duration::from_secs(5));
    assert_eq!(longer.removes(), 1, "by the wall clock");
}

#[test]
fn a_renewal_is_made_before_the_old_lease_breaks() {
    let mut harness = Harness::connected_for(Config::default(), LEASE, LEASE * 8);

    harness.pass(LEASE * 66 / 100);
    let (hello, opening, _) = harness.hello().expect("a renewal");
    assert_eq!(opening, Opening::Renew(SessionId::from_bytes([1; 16])));
    harness.reply(hello, confirm());
    let request = harness.last_request();
    harness.reply_with_psk(request, granted(1, LEASE, LEASE * 7));
    harness.install();
    harness.pass(LEASE / 2);

    let in_place = harness.find(|action| match action {
        Action::RenewTunnel { .. } => Some(true),
        Action::InstallTunnel { .. } => Some(false),
        _ => None,
    });
    assert_eq!(in_place, Some(true));
    assert_eq!(harness.removes(), 0);
    assert!(matches!(
        harness.events.as_slice(),
        [Event::Granted { .. }, Event::Renewed { .. }, ..]
    ));
}

#[test]
fn a_renewal_that_gets_lost_is_tried_again_and_the_lease_still_ends_on_time() {
    let mut harness = Harness::connected_for(Config::default(), LEASE, LEASE * 8);
    let end = harness.now.instant + LEASE;
    let mut renewals = 0;

    while harness.removes() == 0 {
        harness
            .actions
            .retain(|action| !matches!(action, Action::SendHello { .. }));
        harness.pass(Duration::from_secs(1));
        if let Some((ticket, Opening::Renew(_), _)) = harness.hello() {
            renewals += 1;
            harness.unreachable(ticket);
        }
    }

    assert!(renewals > 5);
    assert!(harness.now.instant.saturating_since(end) <= Duration::from_secs(1));
    let is_unreachable = |event: &&Event| matches!(event, Event::Unreachable { .. });
    assert_eq!(harness.events.iter().filter(is_unreachable).count(), 1);
}

#[test]
fn a_renewal_that_needs_a_factor_asks_nobody_unasked() {
    let mut harness = Harness::connected_for(Config::default(), LEASE, LEASE * 8);
    harness.pass(LEASE * 66 / 100);

    let hello = harness.last_hello();
    harness.reply(hello, challenge());
    assert!(harness.events.is_empty(), "{:?}", harness.events);
    assert!(harness.has_cancelled());
    let question = harness.last_hello();
    harness.reply(question, live(LEASE / 3));

    assert!(matches!(
        harness.events.as_slice(),
        [Event::MfaRequired { .. }]
    ));
}

#[test]
fn a_user_who_asks_for_more_time_may_be_asked_for_a_factor_while_the_tunnel_stays() {
    let mut harness = Harness::connected(Config::default());

    harness.input(Input::Renew);
    let hello = harness.last_hello();
    harness.reply(hello, challenge());
    harness.answer();
    let request = harness.last_request();
    harness.reply_with_psk(request, granted(2, LEASE, LEASE));
    harness.install();

    assert_eq!(harness.removes(), 0);
    let session = SessionId::from_bytes([2; 16]);
    assert!(
        matches!(harness.events.last(), Some(Event::Renewed { session: it, .. }) if *it == session)
    );
}

#[test]
fn a_renewal_of_another_session_installs_nothing() {
    let mut harness = Harness::connected_for(Config::default(), LEASE, LEASE * 8);
    harness.pass(LEASE * 66 / 100);
    let hello = harness.last_hello();
    harness.reply(hello, confirm());
    let request = harness.last_request();

    harness.reply_with_psk(request, granted(9, LEASE, LEASE));

    let renews = harness.find(|action| match action {
        Action::RenewTunnel { .. } | Action::InstallTunnel { .. } => Some(()),
        _ => None,
    });
    assert!(renews.is_none());
}

#[test]
fn a_session_that_is_over_when_it_is_to_be_renewed_is_found_out() {
    let mut harness = Harness::connected_for(Config::default(), LEASE, LEASE * 8);
    harness.pass(LEASE * 66 / 100);
    let hello = harness.last_hello();
    harness.reply(
        hello,
        Reply::Refused {
            refusal: Refusal::NotRenewable {},
        },
    );

    let question = harness.last_hello();
    harness.reply(question, ended(Some(Ended::Superseded)));

    assert_eq!(harness.removes(), 1);
    let ticket = remove_ticket(&harness);
    harness.input(Input::TunnelRemoved { ticket });
    let reason = SessionEnd::Superseded;
    assert_eq!(harness.events, [ended_event(reason)]);
}

#[test]
fn the_end_is_warned_of_once() {
    let mut harness = Harness::connected(Config::default());
    harness.pass(LEASE - Duration::from_secs(1));
    let ends_in = Duration::from_secs(300);
    let needs = Needs::Factor;
    assert_eq!(harness.events, [Event::Ending { ends_in, needs }]);
}

fn needs_told(harness: &Harness) -> Vec<Needs> {
    let needs = harness.events.iter().filter_map(|event| match event {
        Event::Ending { needs, .. } => Some(*needs),
        _ => None,
    });
    needs.collect()
}

#[test]
fn the_warning_says_what_the_session_needs_to_go_on() {
    let on_request = Config {
        renewal: Renewal::OnRequest,
        ..Config::default()
    };
    for (config, renewable, needs) in [
        (Config::default(), LEASE, Needs::Factor),
        (Config::default(), LEASE * 8, Needs::Nothing),
        (on_request, LEASE * 8, Needs::Request),
    ] {
        let mut harness = Harness::connected_for(config, LEASE, renewable);

        harness.pass(LEASE - Duration::from_secs(1));

        assert_eq!(needs_told(&harness), [needs]);
    }
}

#[test]
fn a_factor_that_shows_to_be_needed_after_the_warning_is_told_of_in_a_second_one() {
    let percent = 95;
    let config = Config {
        renewal: Renewal::Automatic { percent },
        ..Config::default()
    };
    let mut harness = Harness::connected_for(config, LEASE, LEASE * 8);
    harness.pass(LEASE * 95 / 100);
    assert_eq!(needs_told(&harness), [Needs::Nothing]);

    let hello = harness.last_hello();
    harness.reply(hello, challenge());
    let question = harness.last_hello();
    harness.reply(question, live(LEASE / 20));

    assert_eq!(needs_told(&harness), [Needs::Nothing, Needs::Factor]);
    harness.pass(LEASE);
    assert_eq!(needs_told(&harness).len(), 2);
}

#[test]
fn a_session_that_is_never_renewed_gives_way_to_a_new_one_while_the_tunnel_stays() {
    let mut harness = Harness::connected(Config::default());
    harness.input(Input::Renew);
    let hello = harness.last_hello();
    let refusal = Refusal::NotRenewable {};
    harness.reply(hello, Reply::Refused { refusal });

    let (hello, opening, _) = harness.hello().expect("a hello");
    assert_eq!(opening, Opening::Begin);
    harness.reply(hello, challenge());
    harness.answer();
    let request = harness.last_request();
    harness.reply_with_psk(request, granted(2, LEASE, LEASE));
    // The gate begins from nothing: keys that it has given up would keep the tunnel silent.
    let action = harness.actions.last();
    assert!(matches!(action, Some(Action::InstallTunnel { .. })));
    harness.install();

    assert_eq!(harness.removes(), 0);
    assert!(matches!(harness.events.last(), Some(Event::Renewed { .. })));
}

#[test]
fn a_user_who_signs_out_is_out_at_once_and_the_gate_is_told() {
    let mut harness = Harness::connected(Config::default());

    harness.input(Input::SignOut);
    assert_eq!(harness.removes(), 1);
    let (hello, opening, _) = harness.hello().unwrap();
    assert_eq!(opening, Opening::End(SessionId::from_bytes([1; 16])));
    let ticket = remove_ticket(&harness);
    harness.input(Input::TunnelRemoved { ticket });
    assert!(!harness.machine.is_idle());
    harness.reply(hello, Reply::Done {});

    let reason = SessionEnd::SignedOut;
    assert_eq!(harness.events, [ended_event(reason)]);
    assert!(harness.machine.is_idle());
}

#[test]
fn a_sign_out_that_the_gate_does_not_hear_of_says_so() {
    let mut harness = Harness::connected(Config::default());
    harness.input(Input::SignOut);
    let farewell = harness.last_hello();

    harness.unreachable(farewell);

    assert_eq!(harness.events, [Event::SignOutUnconfirmed]);
}

#[test]
fn a_removal_that_fails_is_tried_until_it_succeeds() {
    let mut harness = Harness::connected(Config::default());
    harness.pass(LEASE);
    for _ in 0..3 {
        let ticket = remove_ticket(&harness);
        harness.input(Input::TunnelFailed { ticket });
        harness.pass(Duration::from_secs(60));
    }

    assert!(harness.removes() >= 4);
    let failed = |event: &&Event| matches!(event, Event::RemovalFailed);
    assert_eq!(harness.events.iter().filter(failed).count(), 1);
    assert!(matches!(harness.machine.phase(harness.now), Phase::Closing));
}

#[test]
fn a_tunnel_that_can_not_be_installed_is_removed_and_the_session_given_back() {
    let mut harness = Harness::new(Config::default());
    harness.input(Input::Start);
    let hello = harness.last_hello();
    harness.reply(hello, challenge());
    harness.answer();
    let request = harness.last_request();
    harness.reply_with_psk(request, granted(1, LEASE, LEASE));
    let ticket = harness
        .find(|action| match action {
            Action::InstallTunnel { ticket, .. } => Some(*ticket),
            _ => None,
        })
        .unwrap();

    harness.input(Input::TunnelFailed { ticket });

    assert_eq!(harness.removes(), 1);
    assert_eq!(
        harness.hello().unwrap().1,
        Opening::End(SessionId::from_bytes([1; 16]))
    );
}

#[test]
fn a_machine_that_wakes_asks_the_gate_at_once() {
    let mut harness = Harness::connected(Config::default());
    harness.advance(Duration::from_secs(600));

    harness.input(Input::Woke);

    assert!(matches!(harness.hello(), Some((_, Opening::Status(_), _))));
}

#[test]
fn a_machine_that_slept_past_its_lease_wakes_without_a_tunnel() {
    let mut harness = Harness::connected(Config::default());
    harness.advance(LEASE * 8);

    harness.input(Input::Woke);

    assert_eq!(harness.removes(), 1);
    assert!(harness.hello().is_none());
}
