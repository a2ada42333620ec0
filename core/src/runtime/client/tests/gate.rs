//! A gate by a script: the real responder, and as little of a gate's mind as the tests need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::CODE;
use crate::assurance::FactorKind;
use crate::channel::message::{
    Answer, Challenge, Denied, DeniedReason, EncapsulationKey, Hello, Offer, Refusal, Reply,
    Request, Status, millis,
};
use crate::channel::{GateSession, GrantTerms, Incoming, Responder, parse};
use crate::id::{AttemptId, FactorId, SessionId};
use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::runtime::{SystemClock, Transport, TransportError};
use crate::time::{Clock, Timestamp};

/// What is to happen, and what has.
pub(super) struct Script {
    /// The gate can't be reached.
    pub(super) is_down: bool,
    /// It takes what is sent, and never answers.
    pub(super) is_silent: bool,
    /// This many replies to requests get lost on the way.
    pub(super) lose_replies: u32,
    /// The gate's clock is ahead by this much.
    pub(super) ahead: Duration,
    pub(super) lease: Duration,
    pub(super) renewable: Duration,
    /// A renewal needs a code.
    pub(super) renews_by_code: bool,
    /// What became of every session that is asked for.
    pub(super) status: Status,
    /// Every reply comes from a gate with another key.
    pub(super) is_impostor: bool,
    /// What the gate replies to every first message, if not what it should.
    pub(super) speaks: Option<&'static str>,
    pub(super) said: Vec<&'static str>,
    pub(super) keys: Vec<PresharedKey>,
    /// First messages that were seen before.
    pub(super) replays: u32,
}

pub(super) struct ScriptedGate {
    responder: Responder,
    other: Responder,
    script: Mutex<Script>,
    attempts: Mutex<BTreeMap<AttemptId, Attempt>>,
    seen: Mutex<Vec<[u8; 32]>>,
}

struct Attempt {
    session: GateSession,
    key: EncapsulationKey,
    lease_of: SessionId,
    last: Option<(Vec<u8>, Vec<u8>)>,
}

impl ScriptedGate {
    pub(super) fn new() -> Arc<Self> {
        let lease = Duration::from_secs(3600);
        Arc::new(Self {
            responder: Responder::new(PrivateKey::from_bytes([3; 32])),
            other: Responder::new(PrivateKey::from_bytes([4; 32])),
            script: Mutex::new(Script {
                is_down: false,
                is_silent: false,
                lose_replies: 0,
                ahead: Duration::ZERO,
                lease,
                renewable: lease * 2,
                renews_by_code: false,
                status: Status::Live {
                    lease_ms: millis(lease),
                },
                is_impostor: false,
                speaks: None,
                said: Vec::new(),
                keys: Vec::new(),
                replays: 0,
            }),
            attempts: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    pub(super) fn public_key(&self) -> PublicKey {
        self.responder.public_key()
    }

    pub(super) fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.script.lock().unwrap())
    }

    pub(super) fn has_heard(&self, what: &str) -> bool {
        self.script(|script| script.said.contains(&what))
    }

    fn say(&self, what: &'static str) {
        self.script(|script| script.said.push(what));
    }

    fn clock_is_off(&self, sent_at: Timestamp) -> Option<Timestamp> {
        let gate = SystemClock::new().now().timestamp + self.script(|script| script.ahead);
        let apart = gate.saturating_since(sent_at) + sent_at.saturating_since(gate);
        (apart > Duration::from_secs(60)).then_some(gate)
    }

    fn greet(&self, message: &[u8]) -> Option<Vec<u8>> {
        let impostor = self.script(|script| script.is_impostor);
        if impostor {
            // All that an impostor can do: it can't read the message, and answers at random.
            let (_, body) = crate::channel::Initiator::begin(
                &PrivateKey::from_bytes([4; 32]),
                &self.other.public_key(),
                &Hello::Status {
                    sent_at: Timestamp::from_millis(0),
                    session: SessionId::from_bytes([0; 16]),
                },
            )
            .ok()?;
            let Incoming::Handshake(message) = parse(&body).ok()? else {
                return None;
            };
            let pending = self.other.accept(message).ok()?.pending;
            return Some(pending.reply(&Reply::Done {}).ok()?.1);
        }
        let accepted = self.responder.accept(message).ok()?;
        let mut seen = self.seen.lock().unwrap();
        if seen.contains(&accepted.ephemeral) {
            self.script(|script| script.replays += 1);
        }
        seen.push(accepted.ephemeral);
        drop(seen);
        if let Some(text) = self.script(|script| script.speaks) {
            return Some(accepted.pending.reply_text(text.as_bytes()).ok()?.1);
        }
        let attempt = AttemptId::generate().ok()?;
        let expires_in_ms = 60_000;
        let challenge = Reply::Challenge {
            attempt,
            factor: Some(Offer {
                factor: FactorId::from_bytes([8; 16]),
                kind: FactorKind::TOTP,
                label: "phone".parse().unwrap(),
                locked_for_ms: None,
            }),
            challenge: Challenge::Code { digits: 6 },
            others: Vec::new(),
            expires_in_ms,
        };
        let (sent_at, reply, opens) = match accepted.hello {
            Hello::Begin {
                sent_at,
                encapsulation_key,
                ..
            } => {
                self.say("begin");
                let session = SessionId::generate().ok()?;
                (sent_at, challenge, Some((encapsulation_key, session)))
            }
            Hello::Renew {
                sent_at,
                session,
                encapsulation_key,
                ..
            } => {
                self.say("renew");
                let confirm = Reply::Confirm {
                    attempt,
                    expires_in_ms,
                };
                let by_code = self.script(|script| script.renews_by_code);
                let reply = if by_code { challenge } else { confirm };
                (sent_at, reply, Some((encapsulation_key, session)))
            }
            Hello::Enrol { sent_at, .. } => {
                self.say("enrol");
                (sent_at, challenge, None)
            }
            Hello::Status { sent_at, .. } => {
                self.say("status");
                let status = self.script(|script| script.status);
                (sent_at, Reply::Status { status }, None)
            }
            Hello::End { sent_at, .. } => {
                self.say("end");
                (sent_at, Reply::Done {}, None)
            }
        };
        let off = self.clock_is_off(sent_at);
        let reply = off.map_or(reply, |gate_time| Reply::Refused {
            refusal: Refusal::Clock { gate_time },
        });
        let (session, body) = accepted.pending.reply(&reply).ok()?;
        if let Some((key, lease_of)) = opens.filter(|_| off.is_none()) {
            let last = None;
            self.attempts.lock().unwrap().insert(
                attempt,
                Attempt {
                    session,
                    key,
                    lease_of,
                    last,
                },
            );
        }
        Some(body)
    }

    fn converse(
        &self,
        attempt: AttemptId,
        counter: u64,
        sealed: &[u8],
        body: &[u8],
    ) -> Option<Vec<u8>> {
        let mut attempts = self.attempts.lock().unwrap();
        let attempt = attempts.get_mut(&attempt)?;
        if let Some((_, reply)) = attempt.last.as_ref().filter(|(asked, _)| asked == body) {
            self.say("again");
            return Some(reply.clone());
        }
        let request = attempt.session.open(counter, sealed).ok()?;
        let grants = match &request {
            Request::Answer {
                answer: Answer::Code { code },
            } => {
                self.say("answer");
                code.expose_secret() == CODE
            }
            Request::Confirm {} => {
                self.say("confirm");
                true
            }
            Request::Cancel {} => {
                self.say("cancel");
                false
            }
            Request::Answer { .. } | Request::Choose { .. } => false,
        };
        let reply = if grants {
            let (lease, renewable) = self.script(|script| (script.lease, script.renewable));
            let terms = GrantTerms {
                session: attempt.lease_of,
                lease_ms: millis(lease),
                renewable_ms: millis(renewable),
                addresses: vec!["10.0.0.2/32".parse().unwrap()],
                end_on_wake: false,
            };
            let (grant, psk) = attempt.session.grant(terms, &attempt.key).ok()?;
            self.script(|script| script.keys.push(psk));
            attempt.session.seal_grant(grant).ok()?
        } else if matches!(request, Request::Cancel {}) {
            attempt.session.seal(&Reply::Done {}).ok()?
        } else {
            let denied = Denied {
                reason: DeniedReason::Wrong,
                tries_left: 4,
                locked_for_ms: None,
            };
            attempt.session.seal(&Reply::Denied { denied }).ok()?
        };
        attempt.last = Some((body.to_vec(), reply.clone()));
        Some(reply)
    }
}

#[async_trait]
impl Transport for ScriptedGate {
    fn gate(&self) -> &str {
        "https://gate.example"
    }

    async fn round_trip(&self, body: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let gate = self.gate().to_owned();
        if self.script(|script| script.is_down) {
            return Err(TransportError::Unreachable { gate });
        }
        if self.script(|script| script.is_silent) {
            std::future::pending::<()>().await;
        }
        let (reply, is_request) = match parse(&body).unwrap() {
            Incoming::Handshake(message) => (self.greet(message), false),
            Incoming::Request {
                attempt,
                counter,
                ciphertext,
            } => (self.converse(attempt, counter, ciphertext, &body), true),
        };
        let is_lost = is_request
            && self.script(|script| {
                let is_lost = script.lose_replies > 0;
                script.lose_replies = script.lose_replies.saturating_sub(1);
                is_lost
            });
        if is_lost {
            return Err(TransportError::TimedOut { gate });
        }
        Ok(reply.unwrap_or_else(|| crate::channel::Unauthenticated::Malformed.to_body()))
    }
}
