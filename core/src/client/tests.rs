//! The client machine under a clock that the test moves.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the variant that it is about"
)]

mod invariants;
mod quiet;
mod resume;
mod session;
mod sign_in;
mod texts;

use std::time::Duration;

use super::*;
use crate::assurance::FactorKind;
use crate::channel::message::{
    Answer, Challenge, Ciphertext, Denied, DeniedReason, Granted, Offer, Reply, Request, Share,
    Status,
};
use crate::channel::transport::TransportError;
use crate::id::{AttemptId, FactorId, SessionId};
use crate::key::PresharedKey;
use crate::time::{Instant, Now, Timestamp};

const LEASE: Duration = Duration::from_secs(3600);
/// So long that no clock in a `Debug` shows it by chance.
const CODE: &str = "2718281828";

/// A machine, the time, and what it has asked and told.
struct Harness {
    machine: Machine,
    now: Now,
    actions: Vec<Action>,
    events: Vec<Event>,
}

impl Harness {
    fn new(config: Config) -> Self {
        Self {
            machine: Machine::new(config),
            now: Now {
                instant: Instant::from_nanos(1_000_000_000),
                timestamp: Timestamp::from_millis(1_767_225_600_000),
            },
            actions: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A client that has sent the answer to its first challenge.
    fn answered(config: Config) -> Self {
        let mut harness = Self::new(config);
        harness.input(Input::Start);
        let hello = harness.last_hello();
        harness.reply(hello, challenge());
        harness.answer();
        harness
    }

    /// A client whose tunnel is up.
    fn connected(config: Config) -> Self {
        Self::connected_for(config, LEASE, LEASE)
    }

    fn connected_for(config: Config, lease: Duration, renewable: Duration) -> Self {
        let mut harness = Self::answered(config);
        let request = harness.last_request();
        harness.reply_with_psk(request, granted(1, lease, renewable));
        harness.install();
        harness.actions.clear();
        harness.events.clear();
        harness
    }

    fn input(&mut self, input: Input) {
        self.machine.handle_input(self.now, input);
        self.drain();
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.input(Input::ReplyReceived {
            ticket,
            reply,
            psk: None,
        });
    }

    fn reply_with_psk(&mut self, ticket: Ticket, reply: Reply) {
        self.input(Input::ReplyReceived {
            ticket,
            reply,
            psk: Some(PresharedKey::from_bytes([7; 32])),
        });
    }

    fn unreachable(&mut self, ticket: Ticket) {
        let gate = "https://gate.example".to_owned();
        let error = TransportError::Unreachable { gate };
        self.input(Input::TransportFailed { ticket, error });
    }

    fn answer(&mut self) {
        let challenge = self
            .events
            .iter()
            .rev()
            .find_map(|event| match event {
                Event::Challenge { ticket, .. } => Some(*ticket),
                _ => None,
            })
            .expect("a challenge");
        self.input(Input::UserResponded {
            challenge,
            response: code().into(),
        });
    }

    /// Carries the last action on the tunnel out.
    fn install(&mut self) {
        let ticket = self
            .find(|action| match action {
                Action::InstallTunnel { ticket, .. } | Action::RenewTunnel { ticket, .. } => {
                    Some(*ticket)
                }
                _ => None,
            })
            .expect("an action on the tunnel");
        self.input(Input::TunnelInstalled { ticket });
    }

    /// Lets time pass, from deadline to deadline.
    fn pass(&mut self, span: Duration) {
        let until = self.now.instant + span;
        while let Some((at, _)) = self.machine.poll_timeout().filter(|(at, _)| *at <= until) {
            self.advance(at.saturating_since(self.now.instant));
            self.machine.handle_timeout(self.now);
            self.drain();
        }
        self.advance(until.saturating_since(self.now.instant));
    }

    fn advance(&mut self, span: Duration) {
        self.now.instant = self.now.instant + span;
        self.now.timestamp = self.now.timestamp + span;
    }

    /// As [`Harness::pass`], with the tunnel's traffic as `traffic` says at every look at it.
    fn pass_with(&mut self, span: Duration, mut traffic: impl FnMut(Now) -> Traffic) {
        let step = Duration::from_secs(1);
        for _ in 0..span.as_secs() {
            self.pass(step);
            let sample = self.find(|action| match action {
                Action::SampleTunnel { ticket } => Some(*ticket),
                _ => None,
            });
            if let Some(ticket) = sample {
                let traffic = Some(traffic(self.now));
                self.input(Input::TunnelActivity { ticket, traffic });
            }
        }
    }

    fn drain(&mut self) {
        self.actions
            .extend(std::iter::from_fn(|| self.machine.poll_action()));
        self.events
            .extend(std::iter::from_fn(|| self.machine.poll_event()));
    }

    fn find<T>(&self, pick: impl FnMut(&Action) -> Option<T>) -> Option<T> {
        self.actions.iter().rev().find_map(pick)
    }

    fn last_hello(&self) -> Ticket {
        self.hello().expect("a hello").0
    }

    fn hello(&self) -> Option<(Ticket, Opening, Timestamp)> {
        self.find(|action| match action {
            Action::SendHello {
                ticket,
                opening,
                sent_at,
            } => Some((*ticket, opening.clone(), *sent_at)),
            _ => None,
        })
    }

    fn last_request(&self) -> Ticket {
        self.find(|action| match action {
            Action::SendRequest { ticket, .. } => Some(*ticket),
            _ => None,
        })
        .expect("a request")
    }

    fn removes(&self) -> usize {
        let is_removal = |action: &&Action| matches!(action, Action::RemoveTunnel { .. });
        self.actions.iter().filter(is_removal).count()
    }

    fn has_cancelled(&self) -> bool {
        self.find(|action| match action {
            Action::SendRequest {
                request: Request::Cancel {},
                ..
            } => Some(()),
            _ => None,
        })
        .is_some()
    }
}

fn challenge() -> Reply {
    challenge_locked(None)
}

fn challenge_locked(locked_for_ms: Option<u64>) -> Reply {
    Reply::Challenge {
        attempt: AttemptId::from_bytes([1; 32]),
        factor: Some(Offer {
            factor: FactorId::from_bytes([8; 16]),
            kind: FactorKind::TOTP,
            label: "phone".parse().unwrap(),
            locked_for_ms,
        }),
        challenge: Challenge::Code { digits: 6 },
        others: Vec::new(),
        expires_in_ms: 300_000,
    }
}

fn denied(reason: DeniedReason, tries_left: u32, locked_for_ms: Option<u64>) -> Reply {
    Reply::Denied {
        denied: Denied {
            reason,
            tries_left,
            locked_for_ms,
        },
    }
}

fn confirm() -> Reply {
    Reply::Confirm {
        attempt: AttemptId::from_bytes([2; 32]),
        expires_in_ms: 300_000,
    }
}

fn granted(session: u8, lease: Duration, renewable: Duration) -> Reply {
    Reply::Granted {
        grant: Granted {
            session: SessionId::from_bytes([session; 16]),
            lease_ms: crate::channel::message::millis(lease),
            renewable_ms: crate::channel::message::millis(renewable),
            addresses: vec!["10.0.0.2/32".parse().expect("a prefix")],
            end_on_wake: false,
            ciphertext: Ciphertext(Box::new([0; 1120])),
            share: Share(Box::new([9; 32])),
        },
    }
}

fn live(lease: Duration) -> Reply {
    Reply::Status {
        status: Status::Live {
            lease_ms: crate::channel::message::millis(lease),
        },
    }
}

fn code() -> Answer {
    Answer::Code {
        code: CODE.parse().expect("a code"),
    }
}
