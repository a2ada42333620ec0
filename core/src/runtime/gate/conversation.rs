//! The channel's state per attempt, the replies that are owed, and the last reply for a client
//! that lost it.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Shared;
use crate::channel::message::{EncapsulationKey, Hello, Posture, Refusal, Reply, millis};
use crate::channel::{
    Accepted, GateSession, GrantTerms, Incoming, PreparedGrant, Unauthenticated, parse,
};
use crate::gate::{Input, Intent, Outcome, Terms};
use crate::id::{AttemptId, SessionId};
use crate::key::PresharedKey;
use crate::time::{Instant, Now, Timestamp};

/// How long the last reply of an attempt is kept for a client that lost it.
const LINGER: Duration = Duration::from_secs(60);

/// All conversations, by the handle of their attempt.
#[derive(Default)]
pub(super) struct Conversations {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    by_attempt: BTreeMap<AttemptId, Arc<Conversation>>,
    over: VecDeque<(Instant, AttemptId)>,
}

/// One attempt as the channel sees it.
pub(super) struct Conversation {
    /// Held for the length of a request: an attempt has one under way at a time.
    line: tokio::sync::Mutex<Line>,
    owed: Mutex<Owed>,
}

/// What only the request under way touches.
#[derive(Default)]
struct Line {
    session: Option<Arc<Mutex<GateSession>>>,
    last: Option<(Vec<u8>, Vec<u8>)>,
}

/// What the machine's actions touch while a request waits.
struct Owed {
    reply: Option<oneshot::Sender<Outcome>>,
    encapsulation_key: Option<EncapsulationKey>,
    session: Option<Arc<Mutex<GateSession>>>,
    grant: Option<PreparedGrant>,
}

/// What a first message says, by what is done with it.
struct Opening {
    intent: Intent,
    sent_at: Timestamp,
    /// There is one where the message may lead to a grant.
    encapsulation_key: Option<EncapsulationKey>,
    posture: Posture,
}

impl From<Hello> for Opening {
    fn from(hello: Hello) -> Self {
        let (intent, sent_at, grant) = match hello {
            Hello::Begin {
                sent_at,
                encapsulation_key,
                posture,
            } => (Intent::Begin, sent_at, Some((encapsulation_key, posture))),
            Hello::Renew {
                sent_at,
                session,
                encapsulation_key,
                posture,
            } => {
                let grant = Some((encapsulation_key, posture));
                (Intent::Renew(session), sent_at, grant)
            }
            Hello::Enrol { sent_at, request } => (Intent::Enrol(request), sent_at, None),
            Hello::Status { sent_at, session } => (Intent::Status(session), sent_at, None),
            Hello::End { sent_at, session } => (Intent::End(session), sent_at, None),
        };
        let (encapsulation_key, posture) = grant.unzip();
        Self {
            intent,
            sent_at,
            encapsulation_key,
            posture: posture.unwrap_or_default(),
        }
    }
}

impl Conversations {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, attempt: &AttemptId) -> Option<Arc<Conversation>> {
        self.lock().by_attempt.get(attempt).cloned()
    }

    fn insert(&self, attempt: AttemptId, conversation: &Arc<Conversation>) {
        let mut open = self.lock();
        open.by_attempt.insert(attempt, Arc::clone(conversation));
    }

    /// Forgets the replies whose time is over; gives when the next one's is.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut open = self.lock();
        while let Some((at, old)) = open.over.front().copied() {
            if at > now {
                return Some(at);
            }
            open.over.pop_front();
            open.by_attempt.remove(&old);
        }
        None
    }

    /// The attempt has had its last reply, which is kept for a while.
    fn over(&self, attempt: AttemptId, now: Instant) {
        self.lock().over.push_back((now + LINGER, attempt));
    }

    pub(super) fn remove(&self, attempt: AttemptId) {
        self.lock().by_attempt.remove(&attempt);
    }

    /// Hands a reply to the request that waits for it.
    pub(super) fn reply(&self, attempt: AttemptId, outcome: Outcome) {
        let Some(conversation) = self.get(&attempt) else {
            return;
        };
        let waiting = conversation.owed().reply.take();
        if let Some(waiting) = waiting {
            _ = waiting.send(outcome); // the request may have timed out
        }
    }

    /// Derives a preshared key for an attempt, and keeps the grant that lets the client do the
    /// same until it is in force. `None` when the attempt is gone.
    pub(super) fn prepare_grant(
        &self,
        attempt: AttemptId,
        session: SessionId,
        terms: &Terms,
        now: Now,
    ) -> Option<PresharedKey> {
        let conversation = self.get(&attempt)?;
        let (channel, key) = {
            let owed = conversation.owed();
            (owed.session.clone()?, owed.encapsulation_key.clone()?)
        };
        let terms = GrantTerms {
            session,
            lease_ms: millis(terms.left(now)),
            renewable_ms: millis(terms.renewable_left(now)),
            addresses: terms.allowed_ips.to_vec(),
            end_on_wake: terms.end_on_wake,
        };
        // Kept here, and sent only with `Outcome::Granted`: a client that had it earlier would bring
        // its tunnel up before the peer is on the interface.
        let prepared = channel.lock().ok()?.grant(terms, &key);
        let (grant, psk) = prepared.ok()?;
        conversation.owed().grant = Some(grant);
        Some(psk)
    }
}

impl Conversation {
    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Promises the next reply of the machine to the caller.
    fn await_reply(&self) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        self.owed().reply = Some(sender);
        receiver
    }
}

impl Shared {
    /// Takes one body to its response.
    pub(super) async fn respond(
        self: &Arc<Self>,
        body: &[u8],
        source: Option<IpAddr>,
    ) -> Result<Vec<u8>, Unauthenticated> {
        match parse(body)? {
            Incoming::Handshake(message) => {
                self.greet(self.responder.accept(message)?, source).await
            }
            Incoming::Request {
                attempt,
                counter,
                ciphertext,
            } => self.converse(attempt, counter, ciphertext, body).await,
        }
    }

    async fn greet(
        self: &Arc<Self>,
        accepted: Accepted,
        source: Option<IpAddr>,
    ) -> Result<Vec<u8>, Unauthenticated> {
        let Accepted {
            peer,
            ephemeral,
            hello,
            pending,
        } = accepted;
        let attempt = AttemptId::generate().map_err(|_| Unauthenticated::Unavailable)?;
        let Opening {
            intent,
            sent_at,
            encapsulation_key,
            posture,
        } = Opening::from(hello);
        let (sender, receiver) = oneshot::channel();
        let conversation = Arc::new(Conversation {
            line: tokio::sync::Mutex::default(),
            owed: Mutex::new(Owed {
                reply: Some(sender),
                encapsulation_key,
                session: None,
                grant: None,
            }),
        });
        // Held from before anyone can name the attempt: the first request waits for the greeting. And
        // the conversation is there before the machine hears of the attempt, whose reply may come
        // at once.
        let mut line = conversation.line.lock().await;
        self.conversations.insert(attempt, &conversation);
        self.input(Input::Hello {
            attempt,
            peer,
            ephemeral,
            sent_at,
            intent,
            posture,
            source,
        });
        let outcome = self.outcome(receiver).await;
        // Only an attempt that goes on keeps a channel: a peer that is not enrolled costs no memory
        // once it has its reply.
        let is_open = matches!(outcome, Outcome::Challenge { .. } | Outcome::Confirm { .. });
        let reply = to_reply(attempt, outcome);
        let (session, body) = pending
            .reply(&reply)
            .map_err(|_| Unauthenticated::Unavailable)?;
        if is_open {
            let session = Arc::new(Mutex::new(session));
            conversation.owed().session = Some(Arc::clone(&session));
            line.session = Some(session);
        } else {
            self.conversations.remove(attempt);
        }
        Ok(body)
    }

    async fn converse(
        self: &Arc<Self>,
        attempt: AttemptId,
        counter: u64,
        ciphertext: &[u8],
        body: &[u8],
    ) -> Result<Vec<u8>, Unauthenticated> {
        let conversation = self
            .conversations
            .get(&attempt)
            .ok_or(Unauthenticated::NoAttempt)?;
        let mut line = conversation.line.lock().await;
        if let Some((_, reply)) = line.last.as_ref().filter(|(asked, _)| asked == body) {
            return Ok(reply.clone());
        }
        let session = line.session.clone().ok_or(Unauthenticated::NoAttempt)?;
        let opened = session
            .lock()
            .map_err(|_| Unauthenticated::Unavailable)?
            .open(counter, ciphertext);
        let request = opened.map_err(|_| Unauthenticated::Malformed)?;
        let receiver = conversation.await_reply();
        self.input(Input::Request { attempt, request });
        let outcome = self.outcome(receiver).await;
        let is_last = !matches!(outcome, Outcome::Denied(_) | Outcome::Challenge { .. });
        let granted = matches!(outcome, Outcome::Granted);
        let prepared = conversation.owed().grant.take();
        let mut session = session.lock().map_err(|_| Unauthenticated::Unavailable)?;
        let sealed = match prepared.filter(|_| granted) {
            Some(grant) => session.seal_grant(grant),
            None => session.seal(&to_reply(attempt, outcome)),
        };
        drop(session);
        let reply = sealed.map_err(|_| Unauthenticated::Unavailable)?;
        line.last = Some((body.to_vec(), reply.clone()));
        if is_last {
            line.session = None;
            conversation.owed().session = None;
            self.conversations.over(attempt, self.now().instant);
            // The driver is to forget it in time, though nothing else may happen until then.
            self.wake.notify_one();
        }
        Ok(reply)
    }

    /// Waits for the machine's word; none in time is a refusal.
    async fn outcome(&self, receiver: oneshot::Receiver<Outcome>) -> Outcome {
        match tokio::time::timeout(self.timeouts.request, receiver).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Outcome::Refused(Refusal::Unavailable {}),
        }
    }
}

/// An outcome as a message. A grant is a message of its own, made when its key was derived; to
/// have none ready is a fault, and refuses.
fn to_reply(attempt: AttemptId, outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Challenge {
            factor,
            challenge,
            others,
            expires_in,
        } => Reply::Challenge {
            attempt,
            factor,
            challenge: *challenge,
            others,
            expires_in_ms: millis(expires_in),
        },
        Outcome::Confirm { expires_in } => Reply::Confirm {
            attempt,
            expires_in_ms: millis(expires_in),
        },
        Outcome::Denied(denied) => Reply::Denied { denied },
        Outcome::Granted => Reply::Refused {
            refusal: Refusal::Unavailable {},
        },
        Outcome::Enrolled(factor) => Reply::Enrolled { factor },
        Outcome::Status(status) => Reply::Status { status },
        Outcome::Refused(refusal) => Reply::Refused { refusal },
        Outcome::Done => Reply::Done {},
    }
}
