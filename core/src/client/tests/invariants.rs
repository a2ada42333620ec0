//! Random inputs, fitting and not, against what must hold whatever happens.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::channel::message::{Ended, Refusal};

/// One thing that happens. `Pick`s choose among the tickets that are out, newest first.
#[derive(Debug, Clone)]
enum Step {
    Start,
    Answer(usize),
    Cancel,
    Renew,
    SignOut,
    Woke,
    Reply(usize, Kind, bool),
    TransportFailed(usize),
    Installed(usize),
    Failed(usize),
    Removed(usize),
    Activity(usize, u64, u64),
    Lost(usize),
    Pass(u64),
    WallBy(i64),
    Timeout,
}

#[derive(Debug, Clone)]
enum Kind {
    Challenge,
    Confirm,
    Denied,
    Granted {
        session: u8,
        lease_s: u64,
        renewable_s: u64,
    },
    Live(u64),
    Ended,
    Refused(u8),
    Done,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Challenge),
        3 => Just(Kind::Confirm),
        2 => Just(Kind::Denied),
        5 => (1..3_u8, 0..4000_u64, 0..9000_u64).prop_map(|(session, lease_s, renewable_s)| {
            Kind::Granted { session, lease_s, renewable_s }
        }),
        2 => (0..4000_u64).prop_map(Kind::Live),
        1 => Just(Kind::Ended),
        2 => (0..8_u8).prop_map(Kind::Refused),
        1 => Just(Kind::Done),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let pick = || prop_oneof![6 => Just(0_usize), 2 => Just(1), 1 => 2..6_usize];
    prop_oneof![
        4 => Just(Step::Start),
        6 => pick().prop_map(Step::Answer),
        1 => Just(Step::Cancel),
        2 => Just(Step::Renew),
        1 => Just(Step::SignOut),
        1 => Just(Step::Woke),
        14 => (pick(), kind(), prop::bool::weighted(0.9)).prop_map(|(at, kind, psk)| Step::Reply(at, kind, psk)),
        3 => pick().prop_map(Step::TransportFailed),
        6 => pick().prop_map(Step::Installed),
        1 => pick().prop_map(Step::Failed),
        3 => pick().prop_map(Step::Removed),
        3 => (pick(), 0..5000_u64, 0..5000_u64).prop_map(|(at, received, sent)| Step::Activity(at, received, sent)),
        1 => pick().prop_map(Step::Lost),
        4 => (0..2_000_000_u64).prop_map(Step::Pass),
        1 => (-4_000_000..4_000_000_i64).prop_map(Step::WallBy),
        4 => Just(Step::Timeout),
    ]
}

/// Steps in a row: mostly one, at times the ones that bring a tunnel up or renew it, so that what
/// comes after meets a live session.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let granted = |session, lease_s| {
        let renewable_s = lease_s * 3;
        let kind = Kind::Granted {
            session,
            lease_s,
            renewable_s,
        };
        Step::Reply(0, kind, true)
    };
    let sign_in = (1..3_u8, 100..4000_u64).prop_map(move |(session, lease_s)| {
        let challenge = Step::Reply(0, Kind::Challenge, true);
        let grant = granted(session, lease_s);
        vec![
            Step::Start,
            challenge,
            Step::Answer(0),
            grant,
            Step::Installed(0),
        ]
    });
    let renewal = (1..3_u8, 100..4000_u64).prop_map(move |(session, lease_s)| {
        let confirm = Step::Reply(0, Kind::Confirm, true);
        let grant = granted(session, lease_s);
        vec![Step::Renew, confirm, grant, Step::Installed(0)]
    });
    let some = prop_oneof![
        12 => step().prop_map(|step| vec![step]),
        2 => sign_in,
        1 => renewal,
    ];
    prop::collection::vec(some, 1..60).prop_map(|groups| groups.concat())
}

fn reply(kind: &Kind, now: Now) -> Reply {
    let refused = |refusal| Reply::Refused { refusal };
    match kind {
        Kind::Challenge => challenge(),
        Kind::Confirm => confirm(),
        Kind::Denied => denied(DeniedReason::Wrong, 2, None),
        Kind::Granted {
            session,
            lease_s,
            renewable_s,
        } => granted(
            *session,
            Duration::from_secs(*lease_s),
            Duration::from_secs(*renewable_s),
        ),
        Kind::Live(left) => live(Duration::from_secs(*left)),
        Kind::Ended => Reply::Status {
            status: Status::Ended {
                reason: Some(Ended::Revoked),
            },
        },
        Kind::Refused(0) => refused(Refusal::NotEnrolled {}),
        Kind::Refused(1) => refused(Refusal::Clock {
            gate_time: now.timestamp + Duration::from_secs(500),
        }),
        Kind::Refused(2) => refused(Refusal::Busy { retry_ms: 1000 }),
        Kind::Refused(3) => refused(Refusal::NotRenewable {}),
        Kind::Refused(4) => refused(Refusal::NoAttempt {}),
        Kind::Refused(5) => refused(Refusal::OutOfOrder {}),
        Kind::Refused(_) => refused(Refusal::Unavailable {}),
        Kind::Done => Reply::Done {},
    }
}

/// The reference model: what was asked, and until when a tunnel may stand.
#[derive(Default)]
struct Model {
    tickets: Vec<Ticket>,
    challenges: Vec<Ticket>,
    /// Requests that may win a grant, by when they were sent; used up by a reply.
    proofs: BTreeMap<Ticket, Now>,
    /// The tunnel stands until then.
    stands_until: Option<Now>,
    /// The gate has said that a lease is shorter than it was granted, so that it may end earlier.
    told_of_less: bool,
}

impl Model {
    fn pick(from: &[Ticket], at: usize) -> Option<Ticket> {
        from.iter().rev().nth(at).copied()
    }
}

fn input(step: &Step, model: &Model, now: Now) -> Option<Input> {
    let pick = |at: &usize| Model::pick(&model.tickets, *at);
    Some(match step {
        Step::Start => Input::Start,
        Step::Answer(at) => Input::UserResponded {
            challenge: Model::pick(&model.challenges, *at)?,
            response: code().into(),
        },
        Step::Cancel => Input::UserCancelled,
        Step::Renew => Input::Renew,
        Step::SignOut => Input::SignOut,
        Step::Woke => Input::Woke,
        Step::Reply(at, kind, psk) => Input::ReplyReceived {
            ticket: pick(at)?,
            reply: reply(kind, now),
            psk: psk.then(|| PresharedKey::from_bytes([7; 32])),
        },
        Step::TransportFailed(at) => Input::TransportFailed {
            ticket: pick(at)?,
            error: TransportError::TimedOut {
                gate: String::new(),
            },
        },
        Step::Installed(at) => Input::TunnelInstalled { ticket: pick(at)? },
        Step::Failed(at) => Input::TunnelFailed { ticket: pick(at)? },
        Step::Removed(at) => Input::TunnelRemoved { ticket: pick(at)? },
        Step::Activity(at, received, sent) => Input::TunnelActivity {
            ticket: pick(at)?,
            traffic: Some(Traffic {
                last_handshake: None,
                received: *received,
                sent: *sent,
            }),
        },
        Step::Lost(at) => Input::TunnelLost { ticket: pick(at)? },
        Step::Pass(_) | Step::WallBy(_) | Step::Timeout => return None,
    })
}

fn is_over(end: Now, now: Now) -> bool {
    now.instant >= end.instant || now.timestamp >= end.timestamp
}

/// What a grant in this step, if it is one, allows: a tunnel until then.
fn allowance(step: &Step, model: &Model) -> Option<(Ticket, Now)> {
    let Step::Reply(at, Kind::Granted { lease_s, .. }, true) = step else {
        return None;
    };
    let ticket = Model::pick(&model.tickets, *at)?;
    let sent = model.proofs.get(&ticket)?;
    let lease = Duration::from_secs(*lease_s);
    let end = Now {
        instant: sent.instant + lease,
        timestamp: sent.timestamp + lease,
    };
    Some((ticket, end))
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut desk = Desk::new(Config::default());
    let mut model = Model::default();
    for step in steps {
        if pass(step, &mut desk) {
            continue;
        }
        let was_idle = desk.machine.is_idle();
        let stood_until = model.stands_until;
        model.told_of_less |= matches!(step, Step::Reply(_, Kind::Live(_), _));
        let allowed = allowance(step, &model);
        match input(step, &model, desk.now) {
            Some(input) => {
                if let Input::ReplyReceived { ticket, .. } | Input::TransportFailed { ticket, .. } =
                    &input
                {
                    model.proofs.remove(ticket);
                }
                desk.input(input);
            }
            None => {
                desk.machine.handle_timeout(desk.now);
                desk.drain();
            }
        }
        judge(step, &mut desk, &mut model, was_idle, stood_until, allowed)?;
    }
    // Whatever happened, and with nobody answering any more: no tunnel outlives the longest lease.
    desk.pass(Duration::from_secs(2 * 3600));
    let left = std::mem::take(&mut desk.actions);
    let removed = left
        .iter()
        .any(|action| matches!(action, Action::RemoveTunnel { .. }));
    prop_assert!(model.stands_until.is_none() || removed);
    Ok(())
}

/// Time passes, or the wall clock is set: the machine learns of it with whatever comes next.
fn pass(step: &Step, desk: &mut Desk) -> bool {
    match step {
        Step::Pass(millis) => desk.advance(Duration::from_millis(*millis)),
        Step::WallBy(millis) => {
            let span = Duration::from_millis(millis.unsigned_abs());
            let wall = desk.now.timestamp;
            desk.now.timestamp = if *millis < 0 {
                wall - span
            } else {
                wall + span
            };
        }
        _ => return false,
    }
    true
}

fn judge(
    step: &Step,
    desk: &mut Desk,
    model: &mut Model,
    was_idle: bool,
    stood_until: Option<Now>,
    allowed: Option<(Ticket, Now)>,
) -> Result<(), TestCaseError> {
    let now = desk.now;
    let actions = std::mem::take(&mut desk.actions);
    let events = std::mem::take(&mut desk.events);
    let said = format!("{events:?} {actions:?} {:?}", desk.machine);
    prop_assert!(!said.contains(CODE), "a code shows");
    prop_assert!(!said.contains("7, 7, 7"), "a key shows");
    prop_assert!(
        !was_idle || matches!(step, Step::Start) || actions.is_empty(),
        "an idle machine acts: {actions:?}"
    );
    for action in &actions {
        match action {
            Action::SendHello { ticket, .. } | Action::SampleTunnel { ticket } => {
                model.tickets.push(*ticket);
            }
            Action::SendRequest {
                ticket, request, ..
            } => {
                model.tickets.push(*ticket);
                if !matches!(request, Request::Cancel {}) {
                    model.proofs.insert(*ticket, now);
                }
            }
            Action::InstallTunnel { ticket, .. } | Action::RenewTunnel { ticket, .. } => {
                model.tickets.push(*ticket);
                let end = allowed.map(|(_, end)| end);
                prop_assert!(
                    end.is_some(),
                    "installed without a grant that was asked for"
                );
                model.stands_until = end;
            }
            Action::RemoveTunnel { ticket } => {
                model.tickets.push(*ticket);
                model.stands_until = None;
            }
        }
    }
    for event in &events {
        if let Event::Challenge { ticket, .. } = event {
            model.challenges.push(*ticket);
        }
    }
    if let Some(end) = model.stands_until {
        prop_assert!(!is_over(end, now), "the tunnel outlives its lease");
        let (at, _) = desk.machine.poll_timeout().expect("a deadline");
        prop_assert!(at <= end.instant, "the machine sleeps past the lease's end");
    }
    if let (Some(end), Step::TransportFailed(_)) = (stood_until, step) {
        let ended_early = model.stands_until.is_none() && !is_over(end, now) && !model.told_of_less;
        prop_assert!(!ended_early, "a transport ended a live session");
    }
    if matches!(step, Step::Timeout)
        && let Some((at, why)) = desk.machine.poll_timeout()
    {
        prop_assert!(at > now.instant, "due again at once: {why}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_tunnel_stands_only_between_a_grant_and_its_end(
        steps in steps()
    ) {
        run(&steps)?;
    }
}

/// Random steps prove little if they never get anywhere.
#[test]
fn the_random_steps_reach_live_tunnels_and_renew_them() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut installs, mut renewals) = (0, 0);
    for _ in 0..200 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let mut desk = Desk::new(Config::default());
        let mut model = Model::default();
        for step in &steps {
            if let Some(input) = input(step, &model, desk.now) {
                desk.input(input);
            }
            for action in std::mem::take(&mut desk.actions) {
                installs += usize::from(matches!(action, Action::InstallTunnel { .. }));
                renewals += usize::from(matches!(action, Action::RenewTunnel { .. }));
                model.tickets.push(ticket_of(&action));
            }
            for event in std::mem::take(&mut desk.events) {
                if let Event::Challenge { ticket, .. } = event {
                    model.challenges.push(ticket);
                }
            }
        }
    }
    assert!(installs > 100 && renewals > 50, "{installs} {renewals}");
}

fn ticket_of(action: &Action) -> Ticket {
    match action {
        Action::SendHello { ticket, .. }
        | Action::SendRequest { ticket, .. }
        | Action::InstallTunnel { ticket, .. }
        | Action::RenewTunnel { ticket, .. }
        | Action::RemoveTunnel { ticket }
        | Action::SampleTunnel { ticket } => *ticket,
    }
}
