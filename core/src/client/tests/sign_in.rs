//! Attempts: challenges, answers, refusals and clocks.

use super::*;
use crate::channel::message::Refusal;

#[test]
fn a_right_code_brings_the_tunnel_up() {
    let mut desk = Desk::new(Config::default());

    desk.input(Input::Start);
    let hello = desk.last_hello();
    desk.reply(hello, challenge());
    desk.answer();
    let request = desk.last_request();
    desk.reply_with_psk(request, granted(1, LEASE, LEASE));
    desk.install();

    let up =
        matches!(desk.events.last(), Some(Event::TunnelUp { ends_in, .. }) if *ends_in == LEASE);
    assert!(up, "{:?}", desk.events);
    assert_eq!(desk.removes(), 0);
}

#[test]
fn a_wrong_code_is_asked_for_again_with_what_is_left() {
    let mut desk = Desk::new(Config::default());
    desk.input(Input::Start);
    let hello = desk.last_hello();
    desk.reply(hello, challenge());
    desk.answer();

    let request = desk.last_request();
    desk.reply(request, denied(DeniedReason::Wrong, 3, None));

    let asked = matches!(desk.events.last(), Some(Event::Challenge { question, .. })
        if question.denied.as_ref().is_some_and(|denied| denied.tries_left == 3));
    assert!(asked, "{:?}", desk.events);
    desk.answer();
    assert_ne!(desk.last_request(), request);
}

#[test]
fn an_attempt_that_is_locked_past_its_end_is_given_up() {
    let mut desk = Desk::new(Config::default());
    desk.input(Input::Start);
    let hello = desk.last_hello();
    desk.reply(hello, challenge());
    desk.answer();

    let request = desk.last_request();
    desk.reply(request, denied(DeniedReason::Locked, 0, Some(3_600_000)));

    let wait = Duration::from_secs(3600);
    let failure = Failure::Locked { wait };
    assert_eq!(desk.events.last(), Some(&Event::Failed { failure }));
    assert!(desk.has_cancelled());
}

#[test]
fn a_wait_within_the_attempt_is_shown_and_the_attempt_goes_on() {
    let mut desk = Desk::new(Config::default());
    desk.input(Input::Start);
    let hello = desk.last_hello();

    desk.reply(hello, challenge_locked(Some(30_000)));

    let Some(Event::Challenge { question, .. }) = desk.events.last() else {
        panic!("no challenge: {:?}", desk.events);
    };
    let factor = question.factor.as_ref().expect("a factor");
    assert_eq!(factor.locked_for_ms, Some(30_000));
}

#[test]
fn a_grant_before_any_answer_installs_nothing() {
    let mut desk = Desk::new(Config::default());
    desk.input(Input::Start);

    let hello = desk.last_hello();
    desk.reply_with_psk(hello, granted(1, LEASE, LEASE));

    let failure = Failure::Unexpected;
    assert_eq!(desk.events, [Event::Failed { failure }]);
    assert_eq!(desk.actions.len(), 1, "{:?}", desk.actions);
}

#[test]
fn a_grant_without_a_derived_key_installs_nothing() {
    let mut desk = Desk::new(Config::default());
    desk.input(Input::Start);
    let hello = desk.last_hello();
    desk.reply(hello, challenge());
    desk.answer();

    let request = desk.last_request();
    desk.reply(request, granted(1, LEASE, LEASE));

    let failure = Failure::Unexpected;
    assert_eq!(desk.events.last(), Some(&Event::Failed { failure }));
    assert_eq!(desk.machine.phase(desk.now), Phase::Idle);
}

#[test]
fn a_clock_that_is_off_is_corrected_once_and_stays_corrected() {
    let mut desk = Desk::new(Config::default());
    desk.input(Input::Start);
    let gate_time = desk.now.timestamp + Duration::from_secs(900);
    let refused = Reply::Refused {
        refusal: Refusal::Clock { gate_time },
    };

    let hello = desk.last_hello();
    desk.reply(hello, refused.clone());
    let (again, opening, sent_at) = desk.hello().unwrap();
    assert_eq!((opening, sent_at), (Opening::Begin, gate_time));
    desk.reply(again, refused);

    let failure = Failure::Clock;
    assert_eq!(desk.events, [Event::Failed { failure }]);
    desk.input(Input::Start);
    assert_eq!(desk.hello().unwrap().2, gate_time);
}

#[test]
fn a_grant_that_comes_after_the_user_cancelled_is_given_back() {
    let mut desk = Desk::new(Config::default());
    desk.input(Input::Start);
    let hello = desk.last_hello();
    desk.reply(hello, challenge());
    desk.answer();
    let request = desk.last_request();

    desk.input(Input::UserCancelled);
    desk.reply_with_psk(request, granted(5, LEASE, LEASE));

    let session = SessionId::from_bytes([5; 16]);
    assert_eq!(desk.hello().unwrap().1, Opening::End(session));
    let installs = desk.find(|action| match action {
        Action::InstallTunnel { .. } => Some(()),
        _ => None,
    });
    assert!(installs.is_none());
}

#[test]
fn a_cancelled_attempt_is_freed_at_the_gate() {
    let mut desk = Desk::new(Config::default());
    desk.input(Input::Start);
    let hello = desk.last_hello();
    desk.reply(hello, challenge());

    desk.input(Input::UserCancelled);

    assert!(desk.has_cancelled());
    let failure = Failure::Cancelled;
    assert_eq!(desk.events.last(), Some(&Event::Failed { failure }));
    assert!(desk.machine.is_idle());
}

#[test]
fn an_answer_to_an_earlier_challenge_is_not_sent() {
    let mut desk = Desk::new(Config::default());
    desk.input(Input::Start);
    let hello = desk.last_hello();
    desk.reply(hello, challenge());
    let Some(Event::Challenge { ticket: first, .. }) = desk.events.first().cloned() else {
        panic!("no challenge: {:?}", desk.events);
    };
    desk.answer();
    let request = desk.last_request();
    desk.reply(request, denied(DeniedReason::Wrong, 3, None));

    desk.input(Input::UserResponded {
        challenge: first,
        response: code().into(),
    });

    assert_eq!(desk.last_request(), request);
}

#[test]
fn a_lease_counts_from_the_sending_of_the_answer() {
    let mut desk = Desk::new(Config::default());
    desk.input(Input::Start);
    let hello = desk.last_hello();
    desk.reply(hello, challenge());
    desk.answer();
    let request = desk.last_request();

    desk.pass(Duration::from_secs(30));
    desk.reply_with_psk(request, granted(1, LEASE, LEASE));
    desk.install();

    let ends_in = LEASE - Duration::from_secs(30);
    assert!(
        matches!(desk.events.last(), Some(Event::TunnelUp { ends_in: it, .. }) if *it == ends_in)
    );
}

#[test]
fn a_shell_that_never_answers_is_a_gate_that_did_not_reply_in_time() {
    let mut desk = Desk::new(Config::default());
    desk.input(Input::Start);

    desk.pass(Duration::from_secs(60));

    assert!(matches!(
        desk.events.as_slice(),
        [Event::Failed {
            failure: Failure::Transport(TransportError::TimedOut { .. })
        }]
    ));
    assert!(desk.machine.is_idle());
}
