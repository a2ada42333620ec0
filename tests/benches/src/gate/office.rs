//! A gate with its store, and devices that may pass it: each with an owner and an enrolled factor
//! of its own, so that no admission waits for another's.
//!
//! The interface takes every peer and does nothing: what WireGuard costs is WireGuard's.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mfagate::channel::binding::Binding;
use mfagate::channel::engine::{
    ClientSession, DecapsulationSecret, Hello, Initiator, Reply, Request,
};
use mfagate::channel::message::{Answer, Challenge, Posture};
use mfagate::enrol::Registrar;
use mfagate::factor::MfaVerifier;
use mfagate::gate::{Gate, GateConfig, Scope};
use mfagate::id::{AttemptId, Label, UserId};
use mfagate::interface::{Activity, InterfaceBackend, InterfaceError, PeerConfig};
use mfagate::key::{PresharedKey, PrivateKey, PublicKey};
use mfagate::policy::Step;
use mfagate::seal::{KeyRing, RingKey};
use mfagate::store::{AdminStore, Peer};
use mfagate::time::{Clock, Instant, Now, Timestamp};

use crate::factor::Factor;
use crate::factor::totp::Totp;
use crate::floor::Error;

/// The devices' addresses are from here on.
const NETWORK: u32 = 0x0a00_0000;

/// Between two codes of one secret: the longest that a factor must wait.
const STEP: Duration = Duration::from_secs(30);

/// A gate, and those who may pass it.
pub(crate) struct Office<F> {
    pub(crate) gate: Gate,
    pub(crate) devices: Vec<Device<F>>,
    registrar: Registrar,
    clock: SetClock,
}

/// A device whose owner has a factor.
#[derive(Clone)]
pub(crate) struct Device<F> {
    key: PrivateKey,
    factor: F,
    clock: SetClock,
}

impl<F: Factor> Office<F> {
    pub(crate) async fn open(store: Arc<dyn AdminStore>, devices: u32) -> Result<Self, Error> {
        Self::open_beside(store, devices, Vec::new()).await
    }

    /// One whose gate verifies other factors too, which devices of other makes may have.
    pub(crate) async fn open_beside(
        store: Arc<dyn AdminStore>,
        devices: u32,
        others: Vec<Arc<dyn MfaVerifier>>,
    ) -> Result<Self, Error> {
        let clock = SetClock::default();
        let ring = KeyRing::new("bench".parse()?, RingKey::generate()?);
        let registrar = Registrar::new(Arc::clone(&store), ring.clone(), Arc::new(clock.clone()));
        let mut config = GateConfig::new(
            super::records::location(),
            PrivateKey::generate()?,
            ring,
            store,
            Arc::new(Nowhere),
        );
        config.verifiers.push(F::verifier());
        config.verifiers.extend(others);
        let kinds = config.verifiers.iter().map(|verifier| verifier.kind());
        config.policy.steps = vec![Step::AnyOf(kinds.collect())];
        config.clock = Arc::new(clock.clone());
        let gate = Gate::start(config).await?;
        let mut office = Self {
            gate,
            devices: Vec::new(),
            registrar,
            clock,
        };
        for number in 0..devices {
            let device = office
                .hire(number, async |registrar, user, now| {
                    F::enrol(registrar, user, now).await
                })
                .await?;
            office.devices.push(device);
        }
        Ok(office)
    }
}

impl<F> Office<F> {
    /// A device, by a number that no other one has, whose owner enrols a factor.
    pub(crate) async fn hire<G>(
        &self,
        number: u32,
        enrol: impl AsyncFnOnce(&Registrar, &UserId, Timestamp) -> Result<G, Error>,
    ) -> Result<Device<G>, Error> {
        let user: UserId = format!("user{number}").parse()?;
        let key = PrivateKey::generate()?;
        self.registrar.put_user(&user, true).await?;
        let peer = Peer {
            location: self.gate.location().clone(),
            key: key.public_key(),
            user: user.clone(),
            allowed_ips: vec![IpAddr::V4(Ipv4Addr::from_bits(NETWORK + number)).into()],
            label: Label::from_stored("laptop"),
            enabled: true,
        };
        self.registrar.put_peer(peer).await?;
        let factor = enrol(&self.registrar, &user, self.clock.now().timestamp).await?;
        Ok(Device {
            key,
            factor,
            clock: self.clock.clone(),
        })
    }

    /// Ends every session and lets time pass, so that each device has a fresh code and is admitted
    /// as for the first time.
    pub(crate) async fn next_day(&self) -> Result<(), Error> {
        self.gate.revoke(Scope::All).await?;
        self.clock.advance(STEP * 4);
        Ok(())
    }
}

/// A client that waits for the reply to its first message.
pub(crate) struct Begun {
    initiator: Initiator,
    secret: DecapsulationSecret,
    /// The body to send.
    pub(crate) body: Vec<u8>,
}

/// A client that has been asked.
pub(crate) struct ChallengedClient {
    session: ClientSession,
    secret: DecapsulationSecret,
    attempt: AttemptId,
    /// What is asked.
    pub(crate) challenge: Challenge,
}

/// A client that waits for the reply to its answer.
pub(crate) struct Answered {
    session: ClientSession,
    secret: DecapsulationSecret,
    /// The body to send.
    pub(crate) body: Vec<u8>,
}

impl Device<Totp> {
    /// What the user reads off the phone: not the client's work, so not timed with it.
    pub(crate) fn code(&self) -> Result<Answer, Error> {
        self.factor.code(self.clock.now().timestamp)
    }
}

impl<F> Device<F> {
    /// The first message: fresh keys, and a handshake under them.
    pub(crate) fn begin(&self, gate: &PublicKey) -> Result<Begun, Error> {
        let (secret, encapsulation_key) = DecapsulationSecret::generate()?;
        let hello = Hello::Begin {
            sent_at: self.clock.now().timestamp,
            encapsulation_key,
            posture: Posture::default(),
        };
        let (initiator, body) = Initiator::begin(&self.key, gate, &hello)?;
        Ok(Begun {
            initiator,
            secret,
            body,
        })
    }
}

impl<F: Factor> Device<F> {
    /// What the user answers.
    pub(crate) async fn answer(
        &self,
        gate: &PublicKey,
        asked: &ChallengedClient,
    ) -> Result<Answer, Error> {
        let peer = self.key.public_key();
        let binding = Binding {
            location: gate,
            peer: &peer,
            attempt: &asked.attempt,
        };
        let now = self.clock.now().timestamp;
        self.factor.answer(&binding, &asked.challenge, now).await
    }
}

impl Begun {
    /// Takes the challenge in.
    pub(crate) fn asked(self, response: &[u8]) -> Result<ChallengedClient, Error> {
        let (session, reply) = self.initiator.finish(response)?;
        let Reply::Challenge {
            attempt, challenge, ..
        } = reply
        else {
            return Err(format!("instead of a challenge: {reply:?}").into());
        };
        Ok(ChallengedClient {
            session,
            secret: self.secret,
            attempt,
            challenge,
        })
    }
}

impl ChallengedClient {
    /// Answers.
    pub(crate) fn answer(mut self, answer: Answer) -> Result<Answered, Error> {
        let body = self
            .session
            .request(&self.attempt, &Request::Answer { answer })?;
        Ok(Answered {
            session: self.session,
            secret: self.secret,
            body,
        })
    }
}

impl Answered {
    /// Takes the grant in, and derives the preshared key.
    pub(crate) fn admitted(mut self, response: &[u8]) -> Result<PresharedKey, Error> {
        let opened = self.session.reply(response)?;
        Ok(opened.preshared_key(&self.session, &self.secret)?)
    }
}

/// A clock that passes only when it is told to.
#[derive(Clone)]
struct SetClock(Arc<Mutex<Now>>);

impl SetClock {
    fn advance(&self, span: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.instant = now.instant + span;
        now.timestamp = now.timestamp + span;
    }
}

impl Default for SetClock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Now {
            instant: Instant::from_nanos(1_000_000_000),
            timestamp: Timestamp::from_millis(1_800_000_000_000),
        })))
    }
}

impl Clock for SetClock {
    fn now(&self) -> Now {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An interface that takes everything and carries nothing.
struct Nowhere;

#[async_trait]
impl InterfaceBackend for Nowhere {
    async fn install(&self, _: Vec<PeerConfig>) -> Result<(), InterfaceError> {
        Ok(())
    }

    async fn remove(&self, _: &[PublicKey]) -> Result<(), InterfaceError> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<PeerConfig>, InterfaceError> {
        Ok(Vec::new())
    }

    async fn activity(&self, _: &[PublicKey]) -> Result<Vec<Activity>, InterfaceError> {
        Ok(Vec::new())
    }

    async fn fence(&self) -> Result<(), InterfaceError> {
        Ok(())
    }
}
