//! Attempts: challenges, answers, refusals and clocks.

use super::*;
use crate::channel::message::Refusal;

#[test]
fn a_right_code_brings_the_tunnel_up() {
    let mut harness = Harness::answered(Config::default());
    let request = harness.last_request();
    harness.reply_with_psk(request, granted(1, LEASE, LEASE));
    harness.install();

    let up =
        matches!(harness.events.last(), Some(Event::TunnelUp { ends_in, .. }) if *ends_in == LEASE);
    assert!(up, "{:?}", harness.events);
    assert_eq!(harness.removes(), 0);
}

#[test]
fn a_wrong_code_is_asked_for_again_with_what_is_left() {
    let mut harness = Harness::answered(Config::default());

    let request = harness.last_request();
    harness.reply(request, denied(DeniedReason::Wrong, 3, None));

    let asked = matches!(harness.events.last(), Some(Event::Challenge { question, .. })
        if question.denied.as_ref().is_some_and(|denied| denied.tries_left == 3));
    assert!(asked, "{:?}", harness.events);
    harness.answer();
    assert_ne!(harness.last_request(), request);
}

#[test]
fn an_attempt_that_is_locked_past_its_end_is_given_up() {
    let mut harness = Harness::answered(Config::default());

    let request = harness.last_request();
    harness.reply(request, denied(DeniedReason::Locked, 0, Some(3_600_000)));

    let wait = Duration::from_secs(3600);
    let until = harness.now.timestamp + wait;
    let failure = AttemptFailure::Locked { wait, until };
    assert_eq!(harness.events.last(), Some(&Event::Failed { failure }));
    assert!(harness.has_cancelled());
}

#[test]
fn a_wait_within_the_attempt_is_shown_and_the_attempt_goes_on() {
    let mut harness = Harness::new(Config::default());
    harness.input(Input::Start);
    let hello = harness.last_hello();

    harness.reply(hello, challenge_locked(Some(30_000)));

    let Some(Event::Challenge { question, .. }) = harness.events.last() else {
        panic!("no challenge: {:?}", harness.events);
    };
    let factor = question.factor.as_ref().expect("a factor");
    assert_eq!(factor.locked_for_ms, Some(30_000));
}

#[test]
fn a_grant_before_any_answer_installs_nothing() {
    let mut harness = Harness::new(Config::default());
    harness.input(Input::Start);

    let hello = harness.last_hello();
    harness.reply_with_psk(hello, granted(1, LEASE, LEASE));

    let failure = AttemptFailure::Unexpected;
    assert_eq!(harness.events, [Event::Failed { failure }]);
    assert_eq!(harness.actions.len(), 1, "{:?}", harness.actions);
}

#[test]
fn a_grant_without_a_derived_key_installs_nothing() {
    let mut harness = Harness::answered(Config::default());

    let request = harness.last_request();
    harness.reply(request, granted(1, LEASE, LEASE));

    let failure = AttemptFailure::Unexpected;
    assert_eq!(harness.events.last(), Some(&Event::Failed { failure }));
    assert_eq!(harness.machine.phase(harness.now), Phase::Idle);
}

#[test]
fn a_clock_that_is_off_is_corrected_once_and_stays_corrected() {
    let mut harness = Harness::new(Config::default());
    harness.input(Input::Start);
    let gate_time = harness.now.timestamp + Duration::from_secs(900);
    let refused = Reply::Refused {
        refusal: Refusal::Clock { gate_time },
    };

    let hello = harness.last_hello();
    harness.reply(hello, refused.clone());
    let (again, opening, sent_at) = harness.hello().unwrap();
    assert_eq!((opening, sent_at), (Opening::Begin, gate_time));
    harness.reply(again, refused);

    let failure = AttemptFailure::Clock;
    assert_eq!(harness.events, [Event::Failed { failure }]);
    harness.input(Input::Start);
    assert_eq!(harness.hello().unwrap().2, gate_time);
}

#[test]
fn a_grant_that_comes_after_the_user_cancelled_is_given_back() {
    let mut harness = Harness::new(Config::default());
    harness.input(Input::Start);
    let hello = harness.last_hello();
    harness.reply(hello, challenge());
    harness.answer();
    let request = harness.last_request();

    harness.input(Input::UserCancelled);
    harness.reply_with_psk(request, granted(5, LEASE, LEASE));

    let session = SessionId::from_bytes([5; 16]);
    assert_eq!(harness.hello().unwrap().1, Opening::End(session));
    let installs = harness.find(|action| match action {
        Action::InstallTunnel { .. } => Some(()),
        _ => None,
    });
    assert!(installs.is_none());
}

#[test]
fn a_cancelled_attempt_is_freed_at_the_gate() {
    let mut harness = Harness::new(Config::default());
    harness.input(Input::Start);
    let hello = harness.last_hello();
    harness.reply(hello, challenge());

    harness.input(Input::UserCancelled);

    assert!(harness.has_cancelled());
    let failure = AttemptFailure::Cancelled;
    assert_eq!(harness.events.last(), Some(&Event::Failed { failure }));
    assert!(harness.machine.is_down());
}

#[test]
fn an_answer_to_an_earlier_challenge_is_not_sent() {
    let mut harness = Harness::new(Config::default());
    harness.input(Input::Start);
    let hello = harness.last_hello();
    harness.reply(hello, challenge());
    let Some(Event::Challenge { ticket: first, .. }) = harness.events.first().cloned() else {
        panic!("no challenge: {:?}", harness.events);
    };
    harness.answer();
    let request = harness.last_request();
    harness.reply(request, denied(DeniedReason::Wrong, 3, None));

    harness.input(Input::UserResponded {
        challenge: first,
        response: code().into(),
    });

    assert_eq!(harness.last_request(), request);
}

#[test]
fn a_lease_counts_from_the_sending_of_the_answer() {
    let mut harness = Harness::answered(Config::default());
    let request = harness.last_request();

    harness.pass(Duration::from_secs(10));
    harness.reply_with_psk(request, granted(1, LEASE, LEASE));
    harness.install();

    let ends_in = LEASE - Duration::from_secs(10);
    assert!(
        matches!(harness.events.last(), Some(Event::TunnelUp { ends_in: it, .. }) if *it == ends_in)
    );
}

#[test]
fn a_shell_that_never_answers_is_a_gate_that_did_not_reply_in_time() {
    let mut harness = Harness::new(Config::default());
    harness.input(Input::Start);

    harness.pass(Duration::from_secs(60));

    assert!(matches!(
        harness.events.as_slice(),
        [
            Event::Failed {
                failure: AttemptFailure::Transport(TransportError::TimedOut { .. })
            },
            Event::CancelUnconfirmed
        ]
    ));
    assert!(harness.machine.is_idle());
}

fn cancel_ticket(harness: &Harness) -> Option<Ticket> {
    harness.find(|action| match action {
        Action::SendRequest {
            ticket,
            request: Request::Cancel {},
            ..
        } => Some(*ticket),
        _ => None,
    })
}

fn failed_by_timeout(harness: &Harness) -> bool {
    let is_it = |event: &Event| {
        matches!(
            event,
            Event::Failed {
                failure: AttemptFailure::Transport(TransportError::TimedOut { .. })
            }
        )
    };
    harness.events.iter().any(is_it)
}

#[test]
fn a_client_is_idle_only_once_the_gate_has_heard_of_the_cancellation() {
    let mut harness = Harness::new(Config::default());
    harness.input(Input::Start);
    let hello = harness.last_hello();
    harness.reply(hello, challenge());

    harness.input(Input::SignOut);
    let cancel = cancel_ticket(&harness).expect("a cancellation");
    assert!(harness.machine.is_down() && !harness.machine.is_idle());
    harness.reply(cancel, Reply::Done {});

    assert!(harness.machine.is_idle());
    assert!(!harness.events.contains(&Event::CancelUnconfirmed));
}

#[test]
fn a_cancellation_that_the_gate_does_not_hear_of_says_so_and_is_given_up() {
    let mut lost = Harness::new(Config::default());
    lost.input(Input::Start);
    let hello = lost.last_hello();
    lost.reply(hello, challenge());
    lost.input(Input::UserCancelled);

    lost.pass(Config::default().exchange);

    assert_eq!(lost.events.last(), Some(&Event::CancelUnconfirmed));
    assert!(lost.machine.is_idle());
}

#[test]
fn a_gate_that_says_nothing_is_told_of_in_time_and_its_late_challenge_is_cancelled() {
    let mut harness = Harness::new(Config::default());
    harness.input(Input::Start);
    let hello = harness.last_hello();

    harness.pass(Duration::from_secs(20));
    assert!(failed_by_timeout(&harness));
    assert!(!harness.machine.is_idle(), "the exchange goes on");
    harness.reply(hello, challenge());

    assert!(cancel_ticket(&harness).is_some());
    assert!(
        !harness
            .events
            .iter()
            .any(|event| matches!(event, Event::Challenge { .. }))
    );
}

#[test]
fn an_answer_whose_grant_comes_too_late_gives_the_session_back() {
    let mut harness = Harness::new(Config::default());
    harness.input(Input::Start);
    let hello = harness.last_hello();
    harness.reply(hello, challenge());
    harness.answer();
    let request = harness.last_request();

    harness.pass(Duration::from_secs(20));
    assert!(failed_by_timeout(&harness));
    harness.reply_with_psk(request, granted(1, LEASE, LEASE));

    let session = SessionId::from_bytes([1; 16]);
    assert_eq!(harness.hello().expect("a hello").1, Opening::End(session));
    assert!(harness.machine.is_down());
}

#[test]
fn a_sign_in_given_up_before_its_tunnel_is_up_is_given_back() {
    let mut harness = Harness::new(Config::default());
    harness.input(Input::Start);
    let hello = harness.last_hello();
    harness.reply(hello, challenge());
    harness.answer();
    let request = harness.last_request();
    harness.reply_with_psk(request, granted(1, LEASE, LEASE));

    harness.input(Input::UserCancelled);

    assert_eq!(harness.removes(), 1);
    let session = SessionId::from_bytes([1; 16]);
    assert_eq!(harness.hello().expect("a hello").1, Opening::End(session));
}
