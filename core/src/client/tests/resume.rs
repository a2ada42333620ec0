//! Going on with a session that another machine has saved.

use super::*;
use crate::channel::message::{Ended, Refusal};

const PSK: [u8; 32] = [7; 32];

fn saved(harness: &Harness) -> SavedLease {
    let saved = harness.machine.saved_lease(harness.now);
    saved.expect("a lease to save")
}

/// Another machine, some time later.
fn resumed(lease: &SavedLease, now: Now) -> Result<Harness, ResumeRefusal> {
    let mut harness = Harness::new(Config::default());
    harness.now = now;
    let psk = PresharedKey::from_bytes(PSK);
    harness.machine = Machine::resuming(Config::default(), now, lease.clone(), psk)?;
    harness.drain();
    Ok(harness)
}

fn later(now: Now, by_instant: u64, by_wall: u64) -> Now {
    Now {
        instant: now.instant + Duration::from_secs(by_instant),
        timestamp: now.timestamp + Duration::from_secs(by_wall),
    }
}

#[test]
fn a_resumed_machine_asks_the_gate_before_it_touches_the_interface() {
    let first = Harness::connected(Config::default());
    let lease = saved(&first);
    let mut second = resumed(&lease, later(first.now, 60, 60)).unwrap();

    let (ticket, opening, _) = second.hello().unwrap();
    assert_eq!(opening, Opening::Status(lease.session));
    assert_eq!(second.actions.len(), 1, "{:?}", second.actions);
    assert_eq!(second.machine.phase(second.now), Phase::Connecting);

    second.reply(ticket, live(LEASE - Duration::from_secs(60)));
    let psk = second.find(|action| match action {
        Action::ResumeTunnel { psk, ticket } => Some((psk.clone(), *ticket)),
        _ => None,
    });
    let (psk, ticket) = psk.expect("the tunnel is gone on with");
    assert!(psk == PresharedKey::from_bytes(PSK));
    second.input(Input::TunnelInstalled { ticket });

    let up = Event::TunnelUp {
        session: lease.session,
        addresses: lease.addresses,
        ends_in: LEASE - Duration::from_secs(60),
    };
    assert_eq!(second.events, [up]);
}

#[test]
fn a_resumed_lease_warns_and_ends_when_it_would_have() {
    let mut first = Harness::connected(Config::default());
    first.pass(Duration::from_secs(600));
    let lease = saved(&first);
    let mut second = resumed(&lease, later(first.now, 0, 120)).unwrap(); // started again
    second.reply(second.last_hello(), live(LEASE));
    let ticket = second.find(|action| match action {
        Action::ResumeTunnel { ticket, .. } => Some(*ticket),
        _ => None,
    });
    second.input(Input::TunnelInstalled {
        ticket: ticket.unwrap(),
    });
    second.input(Input::Quiet { is_quiet: true });
    second.events.clear();

    second.pass(Duration::from_secs(3600 - 600 - 120 - 301));
    assert_eq!(second.events, []);
    second.pass(Duration::from_secs(2));
    assert!(matches!(second.events.as_slice(), [Event::Ending { .. }]));
    second.pass(Duration::from_secs(300));
    assert_eq!(second.removes(), 1);
}

#[test]
fn what_the_gate_says_is_over_is_taken_down() {
    for (reply, reason) in [
        (
            Reply::Status {
                status: Status::Ended {
                    reason: Some(Ended::Revoked),
                },
            },
            SessionEnd::Revoked,
        ),
        (
            Reply::Refused {
                refusal: Refusal::NotEnrolled {},
            },
            SessionEnd::Revoked,
        ),
        (live(Duration::ZERO), SessionEnd::Expired),
    ] {
        let first = Harness::connected(Config::default());
        let mut second = resumed(&saved(&first), first.now).unwrap();

        second.reply(second.last_hello(), reply);

        let ticket = second.find(|action| match action {
            Action::RemoveTunnel { ticket } => Some(*ticket),
            _ => None,
        });
        second.input(Input::TunnelRemoved {
            ticket: ticket.unwrap(),
        });
        let session = SessionId::from_bytes([1; 16]);
        assert_eq!(second.events, [Event::Ended { session, reason }]);
    }
}

#[test]
fn a_gate_that_can_not_say_is_asked_again_until_the_lease_ends() {
    let first = Harness::connected(Config::default());
    let mut second = resumed(&saved(&first), first.now).unwrap();

    second.unreachable(second.last_hello());
    let unavailable = Reply::Refused {
        refusal: Refusal::Unavailable {},
    };
    second.pass(Duration::from_secs(3));
    second.reply(second.last_hello(), unavailable);

    let unreachable = |event: &&Event| matches!(event, Event::Unreachable { .. });
    assert_eq!(second.events.iter().filter(unreachable).count(), 1);
    assert_eq!(second.removes(), 0);
    second.pass(LEASE);
    assert_eq!(second.removes(), 1);
    let installs = second.find(|action| match action {
        Action::InstallTunnel { .. } | Action::ResumeTunnel { .. } => Some(()),
        _ => None,
    });
    assert!(installs.is_none());
}

#[test]
fn a_lease_that_no_clock_vouches_for_is_not_gone_on_with() {
    let first = Harness::connected(Config::default());
    let lease = saved(&first);
    let refusal = |lease: &SavedLease, now| resumed(lease, now).err();

    let set_back = Now {
        timestamp: first.now.timestamp - Duration::from_millis(1),
        ..first.now
    };
    assert_eq!(refusal(&lease, set_back), Some(ResumeRefusal::ClockSetBack));
    let expired = Some(ResumeRefusal::Ended(SessionEnd::Expired));
    assert_eq!(refusal(&lease, later(first.now, 0, 3600)), expired);
    assert_eq!(refusal(&lease, later(first.now, 3600, 0)), expired);
    assert_eq!(refusal(&lease, later(first.now, 0, 3599)), None);

    let asleep = SavedLease {
        ends_on_wake: true,
        ..lease
    };
    let woke = Some(ResumeRefusal::Ended(SessionEnd::Woke));
    assert_eq!(refusal(&asleep, later(first.now, 21, 21)), woke);
    assert_eq!(refusal(&asleep, later(first.now, 5, 5)), None);
}

#[test]
fn a_session_whose_key_is_being_changed_is_not_saved() {
    let mut harness = Harness::new(Config::default());
    assert!(harness.machine.saved_lease(harness.now).is_none());
    harness.input(Input::Start);
    harness.reply(harness.last_hello(), challenge());
    harness.answer();
    harness.reply_with_psk(harness.last_request(), granted(1, LEASE, LEASE));
    assert!(harness.machine.saved_lease(harness.now).is_none());

    harness.install();
    assert!(harness.machine.saved_lease(harness.now).is_some());
    assert_eq!(harness.machine.grants(), 1);
}
