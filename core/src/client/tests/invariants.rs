//! Random inputs, fitting and not, against what must hold whatever happens.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::channel::message::{Ended, Refusal};

/// One thing that happens. `Pick`s choose among the tickets that are out, newest first.
#[derive(Debug, Clone)]
enum TestStep {
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

fn step() -> impl Strategy<Value = TestStep> {
    let pick = || prop_oneof![6 => Just(0_usize), 2 => Just(1), 1 => 2..6_usize];
    prop_oneof![
        4 => Just(TestStep::Start),
        6 => pick().prop_map(TestStep::Answer),
        1 => Just(TestStep::Cancel),
        2 => Just(TestStep::Renew),
        1 => Just(TestStep::SignOut),
        1 => Just(TestStep::Woke),
        14 => (pick(), kind(), prop::bool::weighted(0.9)).prop_map(|(at, kind, psk)| TestStep::Reply(at, kind, psk)),
        3 => pick().prop_map(TestStep::TransportFailed),
        6 => pick().prop_map(TestStep::Installed),
        1 => pick().prop_map(TestStep::Failed),
        3 => pick().prop_map(TestStep::Removed),
        3 => (pick(), 0..5000_u64, 0..5000_u64).prop_map(|(at, received, sent)| TestStep::Activity(at, received, sent)),
        1 => pick().prop_map(TestStep::Lost),
        4 => (0..2_000_000_u64).prop_map(TestStep::Pass),
        1 => (-4_000_000..4_000_000_i64).prop_map(TestStep::WallBy),
        4 => Just(TestStep::Timeout),
    ]
}

/// Steps in a row: mostly one, at times the ones that bring a tunnel up or renew it, so that what
/// comes after meets a live session.
fn steps() -> impl Strategy<Value = Vec<TestStep>> {
    let granted = |session, lease_s| {
        let renewable_s = lease_s * 3;
        let kind = Kind::Granted {
            session,
            lease_s,
            renewable_s,
        };
        TestStep::Reply(0, kind, true)
    };
    let sign_in = (1..3_u8, 100..4000_u64).prop_map(move |(session, lease_s)| {
        let challenge = TestStep::Reply(0, Kind::Challenge, true);
        let grant = granted(session, lease_s);
        vec![
            TestStep::Start,
            challenge,
            TestStep::Answer(0),
            grant,
            TestStep::Installed(0),
        ]
    });
    let renewal = (1..3_u8, 100..4000_u64).prop_map(move |(session, lease_s)| {
        let confirm = TestStep::Reply(0, Kind::Confirm, true);
        let grant = granted(session, lease_s);
        vec![TestStep::Renew, confirm, grant, TestStep::Installed(0)]
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
    /// Hellos and requests that wait for their reply: the channel of each, and when it was sent.
    under_way: BTreeMap<Ticket, (Ticket, Now)>,
    /// Attempts that are open at the gate while nothing of theirs is under way, by their channels,
    /// and when they expire.
    open: BTreeMap<Ticket, Instant>,
    /// When the attempt of a channel expires.
    expires: BTreeMap<Ticket, Instant>,
}

/// How long the gate keeps an attempt, by what [`challenge`] says.
const ATTEMPT: Duration = Duration::from_secs(300);

impl Model {
    /// What the gate makes of what it is sent.
    fn is_asked(&mut self, action: &Action, now: Now) {
        match action {
            Action::SendHello { ticket, .. } => {
                self.under_way.insert(*ticket, (*ticket, now));
            }
            Action::SendRequest {
                ticket, channel, ..
            } => {
                self.open.remove(channel);
                self.under_way.insert(*ticket, (*channel, now));
            }
            _ => {}
        }
    }

    /// A reply to what is under way. After the limit of an exchange no shell waits for one.
    fn is_told(&mut self, input: &Input, machine: &Machine, now: Now) {
        let (Input::ReplyReceived { ticket, .. } | Input::TransportFailed { ticket, .. }) = input
        else {
            return;
        };
        let Some((channel, sent)) = self.under_way.remove(ticket) else {
            return;
        };
        let Input::ReplyReceived { reply, .. } = input else {
            return;
        };
        if matches!(reply, Reply::Challenge { .. } | Reply::Confirm { .. }) {
            self.expires.insert(channel, sent.instant + ATTEMPT);
        }
        let stays_open = matches!(
            reply,
            Reply::Challenge { .. } | Reply::Confirm { .. } | Reply::Denied { .. }
        );
        let is_in_time = now.instant < sent.instant + Config::default().exchange;
        // A question about a session, or its end, opens nothing.
        let is_attempt = machine.holds_channel(channel);
        if let Some(expires) = self.expires.get(&channel)
            && stays_open
            && is_in_time
            && is_attempt
        {
            self.open.insert(channel, *expires);
        }
    }

    fn pick(from: &[Ticket], at: usize) -> Option<Ticket> {
        from.iter().rev().nth(at).copied()
    }
}

fn input(step: &TestStep, model: &Model, now: Now) -> Option<Input> {
    let pick = |at: &usize| Model::pick(&model.tickets, *at);
    Some(match step {
        TestStep::Start => Input::Start,
        TestStep::Answer(at) => Input::UserResponded {
            challenge: Model::pick(&model.challenges, *at)?,
            response: code().into(),
        },
        TestStep::Cancel => Input::UserCancelled,
        TestStep::Renew => Input::Renew,
        TestStep::SignOut => Input::SignOut,
        TestStep::Woke => Input::Woke,
        TestStep::Reply(at, kind, psk) => Input::ReplyReceived {
            ticket: pick(at)?,
            reply: reply(kind, now),
            psk: psk.then(|| PresharedKey::from_bytes([7; 32])),
        },
        TestStep::TransportFailed(at) => Input::TransportFailed {
            ticket: pick(at)?,
            error: TransportError::TimedOut {
                gate: String::new(),
            },
        },
        TestStep::Installed(at) => Input::TunnelInstalled { ticket: pick(at)? },
        TestStep::Failed(at) => Input::TunnelFailed { ticket: pick(at)? },
        TestStep::Removed(at) => Input::TunnelRemoved { ticket: pick(at)? },
        TestStep::Activity(at, received, sent) => Input::TunnelActivity {
            ticket: pick(at)?,
            traffic: Some(Traffic {
                last_handshake: None,
                received: *received,
                sent: *sent,
            }),
        },
        TestStep::Lost(at) => Input::TunnelLost { ticket: pick(at)? },
        TestStep::Pass(_) | TestStep::WallBy(_) | TestStep::Timeout => return None,
    })
}

fn is_over(end: Now, now: Now) -> bool {
    now.instant >= end.instant || now.timestamp >= end.timestamp
}

/// What a grant in this step, if it is one, allows: a tunnel until then.
fn allowance(step: &TestStep, model: &Model) -> Option<(Ticket, Now)> {
    let TestStep::Reply(at, Kind::Granted { lease_s, .. }, true) = step else {
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

fn run(steps: &[TestStep]) -> Result<(), TestCaseError> {
    let mut harness = Harness::new(Config::default());
    let mut model = Model::default();
    for step in steps {
        if pass(step, &mut harness) {
            continue;
        }
        let was_idle = harness.machine.is_idle();
        let stood_until = model.stands_until;
        model.told_of_less |= matches!(step, TestStep::Reply(_, Kind::Live(_), _));
        let allowed = allowance(step, &model);
        match input(step, &model, harness.now) {
            Some(input) => {
                if let Input::ReplyReceived { ticket, .. } | Input::TransportFailed { ticket, .. } =
                    &input
                {
                    model.proofs.remove(ticket);
                }
                model.is_told(&input, &harness.machine, harness.now);
                harness.input(input);
            }
            None => {
                harness.machine.handle_timeout(harness.now);
                harness.drain();
            }
        }
        judge(
            step,
            &mut harness,
            &mut model,
            was_idle,
            stood_until,
            allowed,
        )?;
    }
    leaves_no_attempt_open(&mut harness, &mut model)?;
    // Whatever happened, and with no one answering any more: no tunnel outlives the longest lease.
    harness.pass(Duration::from_secs(2 * 3600));
    let left = std::mem::take(&mut harness.actions);
    let removed = left
        .iter()
        .any(|action| matches!(action, Action::RemoveTunnel { .. }));
    prop_assert!(model.stands_until.is_none() || removed);
    Ok(())
}

/// The user signs out, and what is under way is answered so that the attempt stays open: the gate
/// hears of each that it is given up.
fn leaves_no_attempt_open(harness: &mut Harness, model: &mut Model) -> Result<(), TestCaseError> {
    harness.input(Input::SignOut);
    for _ in 0..3 {
        for action in std::mem::take(&mut harness.actions) {
            model.is_asked(&action, harness.now);
        }
        let hellos: Vec<Ticket> = model
            .under_way
            .iter()
            .filter(|(ticket, (channel, _))| *ticket == channel)
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in hellos {
            let reply = challenge();
            let input = Input::ReplyReceived {
                ticket,
                reply,
                psk: None,
            };
            model.is_told(&input, &harness.machine, harness.now);
            harness.input(input);
        }
    }
    let now = harness.now.instant;
    model.open.retain(|_, expires| *expires > now);
    prop_assert!(
        model.open.is_empty(),
        "attempts stay open: {:?}",
        model.open
    );
    Ok(())
}

/// Time passes, or the wall clock is set: the machine learns of it with whatever comes next.
fn pass(step: &TestStep, harness: &mut Harness) -> bool {
    match step {
        TestStep::Pass(millis) => harness.advance(Duration::from_millis(*millis)),
        TestStep::WallBy(millis) => {
            let span = Duration::from_millis(millis.unsigned_abs());
            let wall = harness.now.timestamp;
            harness.now.timestamp = if *millis < 0 {
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
    step: &TestStep,
    harness: &mut Harness,
    model: &mut Model,
    was_idle: bool,
    stood_until: Option<Now>,
    allowed: Option<(Ticket, Now)>,
) -> Result<(), TestCaseError> {
    let now = harness.now;
    let actions = std::mem::take(&mut harness.actions);
    let events = std::mem::take(&mut harness.events);
    let said = format!("{events:?} {actions:?} {:?}", harness.machine);
    prop_assert!(!said.contains(CODE), "a code shows");
    prop_assert!(!said.contains("7, 7, 7"), "a key shows");
    prop_assert!(
        !was_idle || matches!(step, TestStep::Start) || actions.is_empty(),
        "an idle machine acts: {actions:?}"
    );
    for action in &actions {
        model.is_asked(action, now);
        match action {
            Action::SendHello { ticket, .. }
            | Action::SampleTunnel { ticket }
            | Action::MoveTunnel { ticket } => {
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
            Action::InstallTunnel { ticket, .. }
            | Action::ResumeTunnel { ticket, .. }
            | Action::RenewTunnel { ticket, .. } => {
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
        let (at, _) = harness.machine.poll_timeout().expect("a deadline");
        prop_assert!(at <= end.instant, "the machine sleeps past the lease's end");
    }
    if let (Some(end), TestStep::TransportFailed(_)) = (stood_until, step) {
        let ended_early = model.stands_until.is_none() && !is_over(end, now) && !model.told_of_less;
        prop_assert!(!ended_early, "a transport ended a live session");
    }
    if matches!(step, TestStep::Timeout)
        && let Some((at, why)) = harness.machine.poll_timeout()
    {
        prop_assert!(at > now.instant, "due again at once: {why}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

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
        let mut harness = Harness::new(Config::default());
        let mut model = Model::default();
        for step in &steps {
            if let Some(input) = input(step, &model, harness.now) {
                harness.input(input);
            }
            for action in std::mem::take(&mut harness.actions) {
                installs += usize::from(matches!(action, Action::InstallTunnel { .. }));
                renewals += usize::from(matches!(action, Action::RenewTunnel { .. }));
                model.tickets.push(ticket_of(&action));
            }
            for event in std::mem::take(&mut harness.events) {
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
        | Action::ResumeTunnel { ticket, .. }
        | Action::RenewTunnel { ticket, .. }
        | Action::RemoveTunnel { ticket }
        | Action::SampleTunnel { ticket }
        | Action::MoveTunnel { ticket } => *ticket,
    }
}
