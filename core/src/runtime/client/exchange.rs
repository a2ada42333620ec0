//! A message to the gate and its reply: the channel around it, the transport under it, and the
//! repetitions when a reply is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Profile;
use crate::channel::message::{Hello, Posture, Reply, Request};
use crate::channel::transport::{Transport, TransportError};
use crate::channel::{
    ChannelError, ClientSession, DecapsulationSecret, Initiator, OpenedReply, Unauthenticated,
};
use crate::client::{Input, Opening, Ticket};
use crate::id::AttemptId;
use crate::key::{PresharedKey, PrivateKey, PublicKey};
use crate::time::{Clock, Timestamp};

/// How often a message is sent before it counts as lost.
const TRIES: usize = 3;
/// The wait before the second try; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(300);

/// The way to the location's gates, and the channels that are open.
pub(super) struct GateConnection {
    way: Arc<Way>,
    under_way: JoinSet<Outcome>,
    channels: BTreeMap<Ticket, Channel>,
    /// The transport that served last, which is tried first.
    preferred: usize,
}

struct Way {
    key: PrivateKey,
    location: PublicKey,
    transports: Vec<Arc<dyn Transport>>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    limits: Limits,
    posture: Posture,
}

/// How long an exchange may take, every repetition included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// While someone waits for it. Where there are several gates, each is tried within it.
    pub(super) foreground: Duration,
    /// In all.
    pub(super) exchange: Duration,
}

/// No try of one gate among several is shorter.
const SHORTEST_TRY: Duration = Duration::from_secs(5);

/// An attempt's channel. It stays with the gate that began it.
struct Channel {
    session: ClientSession,
    attempt: AttemptId,
    secret: Option<DecapsulationSecret>,
    transport: usize,
}

/// What came of an exchange: the channel goes back to where it was.
struct Outcome {
    input: Input,
    channel: Option<(Ticket, Channel)>,
    transport: Option<usize>,
}

impl GateConnection {
    pub(super) fn new(
        profile: Profile,
        transports: Vec<Arc<dyn Transport>>,
        clock: Arc<dyn Clock>,
        timeout: Duration,
        limits: Limits,
        posture: Posture,
    ) -> Self {
        let tries = u32::try_from(transports.len()).unwrap_or(u32::MAX).max(1);
        let one_of_several = (limits.foreground / tries).max(SHORTEST_TRY);
        let timeout = if tries > 1 {
            timeout.min(one_of_several)
        } else {
            timeout
        };
        Self {
            way: Arc::new(Way {
                key: profile.private_key,
                location: profile.location_key,
                transports,
                clock,
                timeout,
                limits,
                posture,
            }),
            under_way: JoinSet::new(),
            channels: BTreeMap::new(),
            preferred: 0,
        }
    }

    pub(super) fn hello(&mut self, ticket: Ticket, opening: Opening, sent_at: Timestamp) {
        let way = Arc::clone(&self.way);
        let from = self.preferred;
        self.under_way.spawn(async move {
            let done = way.limited(way.hello(opening, sent_at, from)).await;
            match done {
                Ok((reply, channel, transport)) => Outcome {
                    input: Input::ReplyReceived {
                        ticket,
                        reply,
                        psk: None,
                    },
                    channel: channel.map(|channel| (ticket, channel)),
                    transport: Some(transport),
                },
                Err(error) => Outcome::failed(ticket, error),
            }
        });
    }

    /// Sends a request. Where its channel is not open, nothing is sent and the machine's own
    /// deadline passes; only a shell's fault leads there.
    pub(super) fn request(&mut self, ticket: Ticket, channel: Ticket, request: Request) {
        let Some(mut open) = self.channels.remove(&channel) else {
            return;
        };
        let way = Arc::clone(&self.way);
        self.under_way.spawn(async move {
            let done = way.limited(way.request(&mut open, &request)).await;
            match done {
                Ok((reply, psk)) => Outcome {
                    input: Input::ReplyReceived { ticket, reply, psk },
                    channel: Some((channel, open)),
                    transport: None,
                },
                Err(error) => Outcome::failed(ticket, error),
            }
        });
    }

    /// Waits until the next exchange is over, and gives its outcome; none for one that panicked,
    /// of which the machine's own deadline tells. It returns after *each* exchange: what waits for
    /// the last one looks again only then. Pending while nothing is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Input> {
        match self.under_way.join_next().await {
            None => std::future::pending().await,
            Some(Err(_)) => None,
            Some(Ok(outcome)) => {
                self.preferred = outcome.transport.unwrap_or(self.preferred);
                self.channels.extend(outcome.channel);
                Some(outcome.input)
            }
        }
    }

    /// Whether all that was asked is done.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(super) fn retain(&mut self, mut is_held: impl FnMut(Ticket) -> bool) {
        self.channels.retain(|channel, _| is_held(*channel));
    }
}

impl Outcome {
    const fn failed(ticket: Ticket, error: TransportError) -> Self {
        Self {
            input: Input::TransportFailed { ticket, error },
            channel: None,
            transport: None,
        }
    }
}

impl Way {
    /// Ends an exchange where the machine has stopped waiting for it.
    async fn limited<T>(
        &self,
        exchange: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        let done = tokio::time::timeout(self.limits.exchange, exchange).await;
        done.unwrap_or_else(|_| {
            let gate = self.transports.first().map(|it| it.gate().to_owned());
            let gate = gate.unwrap_or_else(|| "no transport".to_owned());
            Err(TransportError::TimedOut { gate })
        })
    }

    /// Opens a channel. A gate takes the same first message once, so each try is a new one.
    async fn hello(
        &self,
        opening: Opening,
        sent_at: Timestamp,
        from: usize,
    ) -> Result<(Reply, Option<Channel>, usize), TransportError> {
        let begun = self.clock.now().instant;
        let tries = TRIES.max(self.transports.len());
        let mut last = None;
        for n in 0..tries {
            let index = (from + n) % self.transports.len().max(1);
            let Some(transport) = self.transports.get(index) else {
                break;
            };
            wait_before(n, last.as_ref()).await;
            let sent_at = sent_at + self.clock.now().instant.saturating_since(begun);
            let done = self.greet(&**transport, opening.clone(), sent_at).await;
            let is_last_way = n + 1 >= self.transports.len();
            match done {
                Ok((reply, channel)) => {
                    let channel = channel.map(|(session, attempt, secret)| Channel {
                        session,
                        attempt,
                        secret,
                        transport: index,
                    });
                    return Ok((reply, channel, index));
                }
                Err(error) if is_last_way && !is_worth_repeating(&error) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| no_transport("no transport")))
    }

    async fn greet(
        &self,
        transport: &dyn Transport,
        opening: Opening,
        sent_at: Timestamp,
    ) -> Result<(Reply, Option<Greeted>), TransportError> {
        let failed = |error| channel_failed(transport.gate(), error);
        let (hello, secret) = self.opening(opening, sent_at).map_err(failed)?;
        let (initiator, body) =
            Initiator::begin(&self.key, &self.location, &hello).map_err(failed)?;
        let body = self.carry(transport, body).await?;
        let (session, reply) = initiator.finish(&body).map_err(failed)?;
        let attempt = match &reply {
            Reply::Challenge { attempt, .. } | Reply::Confirm { attempt, .. } => Some(*attempt),
            Reply::Denied { .. }
            | Reply::Enrolled { .. }
            | Reply::Granted { .. }
            | Reply::Status { .. }
            | Reply::Refused { .. }
            | Reply::Done {} => None,
        };
        Ok((reply, attempt.map(|attempt| (session, attempt, secret))))
    }

    fn opening(
        &self,
        opening: Opening,
        sent_at: Timestamp,
    ) -> Result<(Hello, Option<DecapsulationSecret>), ChannelError> {
        let posture = self.posture.clone();
        Ok(match opening {
            Opening::Begin => {
                let (secret, encapsulation_key) = DecapsulationSecret::generate()?;
                let hello = Hello::Begin {
                    sent_at,
                    encapsulation_key,
                    posture,
                };
                (hello, Some(secret))
            }
            Opening::Renew(session) => {
                let (secret, encapsulation_key) = DecapsulationSecret::generate()?;
                let hello = Hello::Renew {
                    sent_at,
                    session,
                    encapsulation_key,
                    posture,
                };
                (hello, Some(secret))
            }
            Opening::Enrol(request) => (Hello::Enrol { sent_at, request }, None),
            Opening::Status(session) => (Hello::Status { sent_at, session }, None),
            Opening::End(session) => (Hello::End { sent_at, session }, None),
        })
    }

    /// Sends a request, and the very same bytes again while no reply that verifies comes.
    async fn request(
        &self,
        channel: &mut Channel,
        request: &Request,
    ) -> Result<(Reply, Option<PresharedKey>), TransportError> {
        let transport = self.transports.get(channel.transport);
        let transport = &**transport.ok_or_else(|| no_transport("no transport"))?;
        let failed = |error| channel_failed(transport.gate(), error);
        let body = channel
            .session
            .request(&channel.attempt, request)
            .map_err(failed)?;
        let mut last = None;
        for n in 0..TRIES {
            wait_before(n, last.as_ref()).await;
            let opened = match self.carry(transport, body.clone()).await {
                Ok(body) => channel.session.reply(&body).map_err(failed),
                Err(error) => Err(error),
            };
            match opened {
                Ok(opened) => return with_key(channel, opened, transport.gate()),
                Err(error) if !is_worth_repeating(&error) => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| no_transport(transport.gate())))
    }

    async fn carry(
        &self,
        transport: &dyn Transport,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, TransportError> {
        let done = tokio::time::timeout(self.timeout, transport.round_trip(body)).await;
        done.unwrap_or_else(|_| {
            let gate = transport.gate().to_owned();
            Err(TransportError::TimedOut { gate })
        })
    }
}

/// A reply with, for a grant, the key that both ends derive.
fn with_key(
    channel: &Channel,
    opened: OpenedReply,
    gate: &str,
) -> Result<(Reply, Option<PresharedKey>), TransportError> {
    let psk = match (&opened.reply, &channel.secret) {
        (Reply::Granted { .. }, Some(secret)) => {
            let psk = opened.preshared_key(&channel.session, secret);
            Some(psk.map_err(|error| channel_failed(gate, error))?)
        }
        _ => None,
    };
    Ok((opened.reply, psk))
}

type Greeted = (ClientSession, AttemptId, Option<DecapsulationSecret>);

/// Waits before a repetition, longer each time.
async fn wait_before(n: usize, last: Option<&TransportError>) {
    if last.is_some() {
        let doublings = u32::try_from(n.saturating_sub(1)).unwrap_or(8).min(8);
        tokio::time::sleep(FIRST_WAIT * 2_u32.pow(doublings)).await;
    }
}

/// Whether the same message may get through a moment later.
const fn is_worth_repeating(error: &TransportError) -> bool {
    match error {
        TransportError::Unreachable { .. }
        | TransportError::TimedOut { .. }
        | TransportError::BadGateway { .. }
        | TransportError::NotTheGate { .. }
        | TransportError::Other { .. } => true,
        TransportError::Refused { hint, .. } => matches!(hint, Unauthenticated::Unavailable),
        TransportError::Certificate { .. }
        | TransportError::BadUrl { .. }
        | TransportError::TooOld { .. } => false,
    }
}

fn channel_failed(gate: &str, error: ChannelError) -> TransportError {
    let gate = gate.to_owned();
    match error {
        ChannelError::Refused(hint) => TransportError::Refused { gate, hint },
        ChannelError::Crypto => TransportError::Other {
            gate,
            what: "this device's cryptography is not available".to_owned(),
        },
        // It comes from the gate: a newer one, as far as anyone can tell.
        ChannelError::Unknown => TransportError::TooOld { gate },
        ChannelError::Ciphertext | ChannelError::EncapsulationKey => TransportError::Other {
            gate,
            what: "the key encapsulation in the grant is not valid, which is a fault of the gate's"
                .to_owned(),
        },
        ChannelError::TooLong => TransportError::Other {
            gate,
            what: "it is longer than 65,535 bytes".to_owned(),
        },
        ChannelError::NotAuthentic | ChannelError::NotAGrant => TransportError::NotTheGate { gate },
    }
}

fn no_transport(gate: &str) -> TransportError {
    TransportError::Unreachable {
        gate: gate.to_owned(),
    }
}
