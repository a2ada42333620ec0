//! The gate's end of the channel.

use ipnet::IpNet;
use snow::HandshakeState;
use zeroize::Zeroizing;

use super::ChannelError;
use super::frame::{self, Unauthenticated};
use super::message::{Ciphertext, EncapsulationKey, Granted, Hello, Reply, Request, Share};
use super::noise::{self, Transport};
use super::resolver::Identity;
use super::{json, kem, psk};
use crate::id::SessionId;
use crate::key::{PresharedKey, PrivateKey, PublicKey};

const KEY_LEN: usize = 32;

/// A location's key, ready to accept handshakes.
pub struct Responder {
    /// Absent when the cryptographic library does not take the key: nothing verifies then.
    identity: Option<Identity>,
    public: PublicKey,
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responder")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// A first message that verified: its sender holds the peer's private key and knew the location's
/// public one. Whether it is fresh is the gate's machine to say.
#[derive(Debug)]
pub struct Accepted {
    /// Who sent it.
    pub peer: PublicKey,
    /// The message's ephemeral key: random, so that a replay is known by it.
    pub ephemeral: [u8; KEY_LEN],
    /// What it says.
    pub hello: Hello,
    /// The reply that is owed.
    pub pending: Pending,
}

/// A handshake that waits for the gate's reply.
#[derive(Debug)]
pub struct Pending {
    state: HandshakeState,
}

impl Responder {
    /// A responder with a location's key. Its public key is computed here, once.
    pub fn new(key: PrivateKey) -> Self {
        let public = key.public_key();
        let identity = Identity::new(&key).ok();
        Self { identity, public }
    }

    /// The location's public key.
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Verifies the first message of a handshake.
    ///
    /// # Errors
    /// [`Unauthenticated::Malformed`] for whatever does not verify or is not a [`Hello`].
    pub fn accept(&self, message: &[u8]) -> Result<Accepted, Unauthenticated> {
        let identity = self.identity.as_ref().ok_or(Unauthenticated::Unavailable)?;
        let state = noise::responder(identity, None).map_err(|_| Unauthenticated::Unavailable)?;
        accept_with(state, message).map_err(|_| Unauthenticated::Malformed)
    }
}

pub(super) fn accept_with(
    mut state: HandshakeState,
    message: &[u8],
) -> Result<Accepted, ChannelError> {
    // The message begins with the ephemeral key in the clear (Noise, section 5.3).
    let ephemeral = *message.first_chunk().ok_or(ChannelError::NotAuthentic)?;
    let payload = noise::read(&mut state, message)?;
    let peer = state
        .get_remote_static()
        .and_then(|key| key.try_into().ok());
    let peer = PublicKey::from_bytes(peer.ok_or(ChannelError::Crypto)?);
    let hello = json::from_json(&payload)?;
    Ok(Accepted {
        peer,
        ephemeral,
        hello,
        pending: Pending { state },
    })
}

impl Pending {
    /// Replies: gives the body of the response and the channel for what follows.
    ///
    /// # Errors
    /// [`ChannelError::Crypto`] when there is no randomness; [`ChannelError::TooLong`].
    pub fn reply(self, reply: &Reply) -> Result<(GateSession, Vec<u8>), ChannelError> {
        self.reply_text(&json::to_json(reply)?)
    }

    /// Replies with a text: a test's may be of a version to come.
    pub(crate) fn reply_text(
        mut self,
        text: &[u8],
    ) -> Result<(GateSession, Vec<u8>), ChannelError> {
        let message = noise::write(&mut self.state, text)?;
        let body = frame::handshake(&message)?;
        let transport = Transport::new(self.state)?;
        let session = GateSession {
            transport,
            next: 0,
            owed: None,
        };
        Ok((session, body))
    }
}

/// The gate's end of an attempt's channel.
#[derive(Debug)]
pub struct GateSession {
    pub(super) transport: Transport,
    next: u64,
    /// The counter of the request that waits for its reply.
    owed: Option<u64>,
}

/// What a grant says to the client, apart from its share of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantTerms {
    /// The session.
    pub session: SessionId,
    /// How long the lease lasts from now, in milliseconds.
    pub lease_ms: u64,
    /// How long it can last with renewals and without a factor, in milliseconds from now.
    pub renewable_ms: u64,
    /// The client's own addresses inside the tunnel.
    pub addresses: Vec<IpNet>,
    /// Whether the client is to end the session when its device wakes or is unlocked.
    pub end_on_wake: bool,
}

/// A grant whose preshared key is derived, to be sent once it is in force. Holds a secret share.
pub struct PreparedGrant {
    pub(super) plaintext: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for PreparedGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PreparedGrant([redacted])")
    }
}

impl GateSession {
    /// Opens the next request.
    ///
    /// # Errors
    /// [`ChannelError::NotAuthentic`] unless it is the client's next one; a message that was
    /// opened once does not open again. [`ChannelError::Unknown`], after which the counter stays.
    pub fn open(&mut self, counter: u64, ciphertext: &[u8]) -> Result<Request, ChannelError> {
        if counter != self.next {
            return Err(ChannelError::NotAuthentic);
        }
        let request = json::from_json(&self.transport.open(counter, ciphertext)?)?;
        self.next = counter.checked_add(1).ok_or(ChannelError::TooLong)?;
        self.owed = Some(counter);
        Ok(request)
    }

    /// The body of the response to the request that was opened last: one for each, since two texts
    /// under one counter would give both away.
    ///
    /// # Errors
    /// [`ChannelError::TooLong`]; [`ChannelError::NotAuthentic`] when no request waits for a reply.
    pub fn seal(&mut self, reply: &Reply) -> Result<Vec<u8>, ChannelError> {
        self.seal_json(&json::to_json(reply)?)
    }

    /// Encapsulates to the client's key, draws the share and derives the preshared key of a grant.
    ///
    /// # Errors
    /// [`ChannelError::Crypto`] when the key is no X-Wing key or there is no randomness.
    pub fn grant(
        &self,
        terms: GrantTerms,
        key: &EncapsulationKey,
    ) -> Result<(PreparedGrant, PresharedKey), ChannelError> {
        let mut share = Share(Box::new([0; 32]));
        getrandom::fill(&mut *share.0).map_err(|_| ChannelError::Crypto)?;
        self.grant_with(terms, kem::encapsulate(key)?, share)
    }

    pub(super) fn grant_with(
        &self,
        terms: GrantTerms,
        (ciphertext, secret): (Ciphertext, Zeroizing<[u8; psk::SECRET_LEN]>),
        share: Share,
    ) -> Result<(PreparedGrant, PresharedKey), ChannelError> {
        let GrantTerms {
            session,
            lease_ms,
            renewable_ms,
            addresses,
            end_on_wake,
        } = terms;
        let grant = Granted {
            session,
            lease_ms,
            renewable_ms,
            addresses,
            end_on_wake,
            ciphertext,
            share: share.clone(),
        };
        let plaintext = json::to_json(&Reply::Granted { grant })?;
        let psk = psk::derive(&self.transport.hash, &plaintext, &secret, &share)?;
        Ok((PreparedGrant { plaintext }, psk))
    }

    /// The body of the response that carries a grant.
    ///
    /// # Errors
    /// As of [`GateSession::seal`].
    pub fn seal_grant(&mut self, grant: PreparedGrant) -> Result<Vec<u8>, ChannelError> {
        self.seal_json(&grant.plaintext)
    }

    fn seal_json(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, ChannelError> {
        let counter = self.owed.take().ok_or(ChannelError::NotAuthentic)?;
        frame::response(counter, &self.transport.seal(counter, plaintext)?)
    }
}
