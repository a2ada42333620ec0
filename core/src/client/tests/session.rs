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

fn ended_event(reason: EndReason) -> Event {
    let session = SessionId::from_bytes([1; 16]);
    Event::Ended { session, reason }
}

fn remove_ticket(desk: &Desk) -> Ticket {
    desk.find(|action| match action {
        Action::RemoveTunnel { ticket } => Some(*ticket),
        _ => None,
    })
    .expect("a removal")
}

/// A client whose tunnel has been silent for long enough that the gate is asked.
fn silent(config: Config) -> (Desk, Ticket) {
    let mut desk = Desk::connected(config);
    let at = desk.now.timestamp;
    desk.pass_with(Duration::from_secs(40), one_way(at));
    let (hello, opening, _) = desk.hello().expect("a question");
    assert_eq!(opening, Opening::Status(SessionId::from_bytes([1; 16])));
    (desk, hello)
}

#[test]
fn a_lease_ends_on_time_without_anyone_else() {
    let mut desk = Desk::connected(Config::default());

    desk.pass(LEASE - Duration::from_millis(1));
    assert_eq!(desk.removes(), 0);
    desk.pass(Duration::from_millis(1));
    assert_eq!(desk.removes(), 1);

    let ticket = remove_ticket(&desk);
    desk.input(Input::TunnelRemoved { ticket });
    let reason = EndReason::Expired;
    assert_eq!(desk.events.last(), Some(&ended_event(reason)));
    assert!(desk.machine.is_idle());
}

#[test]
fn a_lease_ends_when_the_wall_clock_says_so_first() {
    let mut desk = Desk::connected(Config::default());

    desk.now.timestamp = desk.now.timestamp + LEASE;
    desk.pass(Duration::from_secs(5));

    assert_eq!(desk.removes(), 1);
}

#[test]
fn a_wall_clock_that_is_set_back_does_not_prolong_a_lease() {
    let mut desk = Desk::connected(Config::default());

    desk.now.timestamp = desk.now.timestamp - LEASE;
    desk.pass(LEASE);

    assert_eq!(desk.removes(), 1);
}

#[test]
fn a_revoked_session_is_told_from_a_network_that_is_down() {
    let (mut revoked, question) = silent(Config::default());
    revoked.reply(question, ended(Some(Ended::Revoked)));
    let ticket = remove_ticket(&revoked);
    revoked.input(Input::TunnelRemoved { ticket });
    let reason = EndReason::Revoked;
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
    let (mut desk, _) = silent(Config::default());
    let mut asked = Vec::new();
    for _ in 0..6 {
        let question = desk.last_hello();
        asked.push(desk.now.instant);
        desk.unreachable(question);
        while desk.last_hello() == question {
            desk.pass(Duration::from_millis(500));
        }
    }

    let waits: Vec<u64> = asked
        .windows(2)
        .map(|pair| pair[1].saturating_since(pair[0]).as_secs())
        .collect();
    assert_eq!(waits, [2, 4, 8, 16, 32]);
    let is_unreachable = |event: &&Event| matches!(event, Event::Unreachable { .. });
    assert_eq!(desk.events.iter().filter(is_unreachable).count(), 1);
}

#[test]
fn an_unreachable_gate_does_not_keep_a_lease_from_ending() {
    let (mut desk, question) = silent(Config::default());
    desk.unreachable(question);

    desk.pass(LEASE);

    assert_eq!(desk.removes(), 1);
}

#[test]
fn a_tunnel_that_is_blocked_on_the_way_is_told_of_once() {
    let mut desk = Desk::connected(Config::default());
    let at = desk.now.timestamp - Duration::from_secs(300);

    let mut traffic = one_way(at);
    for _ in 0..4 {
        desk.pass_with(Duration::from_secs(40), &mut traffic);
        let question = desk.last_hello();
        desk.reply(question, live(LEASE));
    }

    let is_silent = |event: &&Event| matches!(event, Event::TunnelSilent);
    assert_eq!(desk.events.iter().filter(is_silent).count(), 1);
    assert_eq!(desk.removes(), 0);
}

#[test]
fn a_tunnel_that_is_heard_again_is_live_again() {
    let (mut desk, question) = silent(Config::default());
    desk.unreachable(question);

    let at = desk.now.timestamp;
    desk.pass_with(Duration::from_secs(10), |_| Traffic {
        last_handshake: Some(at),
        received: 9000,
        sent: 9000,
    });

    assert_eq!(desk.events.last(), Some(&Event::Live));
}

#[test]
fn an_idle_tunnel_is_left_alone() {
    let mut desk = Desk::connected(Config::default());
    desk.pass_with(Duration::from_secs(1800), |_| Traffic::default());
    assert!(desk.hello().is_none(), "{:?}", desk.actions);
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
    let mut desk = Desk::connected_for(Config::default(), LEASE, LEASE * 8);

    desk.pass(LEASE * 66 / 100);
    let (hello, opening, _) = desk.hello().expect("a renewal");
    assert_eq!(opening, Opening::Renew(SessionId::from_bytes([1; 16])));
    desk.reply(hello, confirm());
    let request = desk.last_request();
    desk.reply_with_psk(request, granted(1, LEASE, LEASE * 7));
    desk.install();
    desk.pass(LEASE / 2);

    let in_place = desk.find(|action| match action {
        Action::RenewTunnel { .. } => Some(true),
        Action::InstallTunnel { .. } => Some(false),
        _ => None,
    });
    assert_eq!(in_place, Some(true));
    assert_eq!(desk.removes(), 0);
    assert!(matches!(
        desk.events.as_slice(),
        [Event::Granted { .. }, Event::Renewed { .. }, ..]
    ));
}

#[test]
fn a_renewal_that_gets_lost_is_tried_again_and_the_lease_still_ends_on_time() {
    let mut desk = Desk::connected_for(Config::default(), LEASE, LEASE * 8);
    let end = desk.now.instant + LEASE;
    let mut renewals = 0;

    while desk.removes() == 0 {
        desk.actions
            .retain(|action| !matches!(action, Action::SendHello { .. }));
        desk.pass(Duration::from_secs(1));
        if let Some((ticket, Opening::Renew(_), _)) = desk.hello() {
            renewals += 1;
            desk.unreachable(ticket);
        }
    }

    assert!(renewals > 5);
    assert!(desk.now.instant.saturating_since(end) <= Duration::from_secs(1));
    let is_unreachable = |event: &&Event| matches!(event, Event::Unreachable { .. });
    assert_eq!(desk.events.iter().filter(is_unreachable).count(), 1);
}

#[test]
fn a_renewal_that_needs_a_factor_asks_nobody_unasked() {
    let mut desk = Desk::connected_for(Config::default(), LEASE, LEASE * 8);
    desk.pass(LEASE * 66 / 100);

    let hello = desk.last_hello();
    desk.reply(hello, challenge());
    assert!(desk.events.is_empty(), "{:?}", desk.events);
    assert!(desk.has_cancelled());
    let question = desk.last_hello();
    desk.reply(question, live(LEASE / 3));

    assert!(matches!(
        desk.events.as_slice(),
        [Event::MfaRequired { .. }]
    ));
}

#[test]
fn a_user_who_asks_for_more_time_may_be_asked_for_a_factor_while_the_tunnel_stays() {
    let mut desk = Desk::connected(Config::default());

    desk.input(Input::Renew);
    let hello = desk.last_hello();
    desk.reply(hello, challenge());
    desk.answer();
    let request = desk.last_request();
    desk.reply_with_psk(request, granted(2, LEASE, LEASE));
    desk.install();

    assert_eq!(desk.removes(), 0);
    let session = SessionId::from_bytes([2; 16]);
    assert!(
        matches!(desk.events.last(), Some(Event::Renewed { session: it, .. }) if *it == session)
    );
}

#[test]
fn a_renewal_of_another_session_installs_nothing() {
    let mut desk = Desk::connected_for(Config::default(), LEASE, LEASE * 8);
    desk.pass(LEASE * 66 / 100);
    let hello = desk.last_hello();
    desk.reply(hello, confirm());
    let request = desk.last_request();

    desk.reply_with_psk(request, granted(9, LEASE, LEASE));

    let renews = desk.find(|action| match action {
        Action::RenewTunnel { .. } | Action::InstallTunnel { .. } => Some(()),
        _ => None,
    });
    assert!(renews.is_none());
}

#[test]
fn a_session_that_is_over_when_it_is_to_be_renewed_is_found_out() {
    let mut desk = Desk::connected_for(Config::default(), LEASE, LEASE * 8);
    desk.pass(LEASE * 66 / 100);
    let hello = desk.last_hello();
    desk.reply(
        hello,
        Reply::Refused {
            refusal: Refusal::NotRenewable {},
        },
    );

    let question = desk.last_hello();
    desk.reply(question, ended(Some(Ended::Superseded)));

    assert_eq!(desk.removes(), 1);
    let ticket = remove_ticket(&desk);
    desk.input(Input::TunnelRemoved { ticket });
    let reason = EndReason::Superseded;
    assert_eq!(desk.events, [ended_event(reason)]);
}

#[test]
fn the_end_is_warned_of_once() {
    let mut desk = Desk::connected(Config::default());
    desk.pass(LEASE - Duration::from_secs(1));
    let ends_in = Duration::from_secs(300);
    let renewable = false;
    assert_eq!(desk.events, [Event::Ending { ends_in, renewable }]);
}

#[test]
fn a_user_who_signs_out_is_out_at_once_and_the_gate_is_told() {
    let mut desk = Desk::connected(Config::default());

    desk.input(Input::SignOut);
    assert_eq!(desk.removes(), 1);
    let (hello, opening, _) = desk.hello().unwrap();
    assert_eq!(opening, Opening::End(SessionId::from_bytes([1; 16])));
    let ticket = remove_ticket(&desk);
    desk.input(Input::TunnelRemoved { ticket });
    assert!(!desk.machine.is_idle());
    desk.reply(hello, Reply::Done {});

    let reason = EndReason::SignedOut;
    assert_eq!(desk.events, [ended_event(reason)]);
    assert!(desk.machine.is_idle());
}

#[test]
fn a_sign_out_that_the_gate_does_not_hear_of_says_so() {
    let mut desk = Desk::connected(Config::default());
    desk.input(Input::SignOut);
    let farewell = desk.last_hello();

    desk.unreachable(farewell);

    assert_eq!(desk.events, [Event::SignOutUnconfirmed]);
}

#[test]
fn a_removal_that_fails_is_tried_until_it_succeeds() {
    let mut desk = Desk::connected(Config::default());
    desk.pass(LEASE);
    for _ in 0..3 {
        let ticket = remove_ticket(&desk);
        desk.input(Input::TunnelFailed { ticket });
        desk.pass(Duration::from_secs(60));
    }

    assert!(desk.removes() >= 4);
    let failed = |event: &&Event| matches!(event, Event::RemovalFailed);
    assert_eq!(desk.events.iter().filter(failed).count(), 1);
    assert!(matches!(desk.machine.phase(desk.now), Phase::Closing));
}

#[test]
fn a_tunnel_that_can_not_be_installed_is_removed_and_the_session_given_back() {
    let mut desk = Desk::new(Config::default());
    desk.input(Input::Start);
    let hello = desk.last_hello();
    desk.reply(hello, challenge());
    desk.answer();
    let request = desk.last_request();
    desk.reply_with_psk(request, granted(1, LEASE, LEASE));
    let ticket = desk
        .find(|action| match action {
            Action::InstallTunnel { ticket, .. } => Some(*ticket),
            _ => None,
        })
        .unwrap();

    desk.input(Input::TunnelFailed { ticket });

    assert_eq!(desk.removes(), 1);
    assert_eq!(
        desk.hello().unwrap().1,
        Opening::End(SessionId::from_bytes([1; 16]))
    );
}

#[test]
fn a_machine_that_wakes_asks_the_gate_at_once() {
    let mut desk = Desk::connected(Config::default());
    desk.advance(Duration::from_secs(600));

    desk.input(Input::Woke);

    assert!(matches!(desk.hello(), Some((_, Opening::Status(_), _))));
}

#[test]
fn a_machine_that_slept_past_its_lease_wakes_without_a_tunnel() {
    let mut desk = Desk::connected(Config::default());
    desk.advance(LEASE * 8);

    desk.input(Input::Woke);

    assert_eq!(desk.removes(), 1);
    assert!(desk.hello().is_none());
}
