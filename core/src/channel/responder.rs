//! The gate's end of the channel.

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::error::{ChannelError, Unauthenticated};
use super::frame::{self, HandshakeFrame};
use super::kem;
use super::message::{
    EncapsulationKey, Granted, Hello, Reply, Request, Share, from_json, millis, to_json,
};
use super::noise::{Handshake, Transport};
use super::resolver::Identity;
use super::schedule::{self, Transcript};
use crate::id::SessionId;
use crate::key::{PresharedKey, PrivateKey, PublicKey};

/// Answers handshakes for one location. Holds the location's key and nothing else: share one among
/// all threads.
#[derive(Clone)]
pub struct Responder {
    identity: Identity,
}

impl Responder {
    /// A responder for the location with this key.
    ///
    /// # Errors
    /// [`ChannelError::Cryptography`] when the cryptographic library does not take the key.
    pub fn new(location: &PrivateKey) -> Result<Self, ChannelError> {
        Identity::new(location).map(|identity| Self { identity })
    }

    /// The location's public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(*self.identity.public())
    }

    /// Verifies a first message: after this, the sender has proven that it holds the private key
    /// of `peer`. That the message is fresh, and not a replay, is for the caller to find out.
    ///
    /// # Errors
    /// The [`Unauthenticated`] refusal to answer with.
    pub fn accept(&self, handshake: HandshakeFrame<'_>) -> Result<Accepted, Unauthenticated> {
        self.accept_with(handshake, None)
    }

    pub(super) fn accept_with(
        &self,
        frame: HandshakeFrame<'_>,
        ephemeral: Option<&[u8; 32]>,
    ) -> Result<Accepted, Unauthenticated> {
        let mut handshake = Handshake::respond(&self.identity, ephemeral)?;
        let text = handshake.read(frame.0)?;
        let peer = handshake.remote()?;
        let hello = from_json(&text)?;
        Ok(Accepted {
            peer,
            ephemeral: frame.ephemeral(),
            hello,
            pending: Pending { handshake },
        })
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("public_key", &self.public_key())
            .finish_non_exhaustive()
    }
}

/// A verified first message.
#[derive(Debug)]
pub struct Accepted {
    /// Who sent it: the holder of this key's private half.
    pub peer: PublicKey,
    /// The client's ephemeral public key. The same one again is a replay.
    pub ephemeral: [u8; 32],
    /// What it wants.
    pub hello: Hello,
    /// What answers it.
    pub pending: Pending,
}

/// A handshake that waits for the gate's reply.
pub struct Pending {
    handshake: Handshake,
}

impl Pending {
    /// Makes the second message: the session for the requests that may follow, and the body to
    /// answer with. Where no attempt follows, drop the session.
    ///
    /// # Errors
    /// [`ChannelError::MisplacedGrant`] for a grant: a first message can be replayed, so none may
    /// hang on it alone.
    pub fn reply(self, reply: &Reply) -> Result<(GateSession, Vec<u8>), ChannelError> {
        let Self { mut handshake } = self;
        if matches!(reply, Reply::Granted { .. }) {
            return Err(ChannelError::MisplacedGrant);
        }
        let message = handshake.write(&to_json(reply)?)?;
        let body = frame::handshake(&message)?;
        let (transport, handshake_hash) = handshake.finish()?;
        let session = GateSession {
            transport,
            handshake_hash,
            next: 0,
            last: None,
            awaiting: None,
        };
        Ok((session, body))
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

/// The gate's end of an established channel: opens requests in order, seals one reply to each.
pub struct GateSession {
    transport: Transport,
    pub(super) handshake_hash: [u8; 32],
    next: u64,
    /// The counter and the hash of the last request that was opened.
    last: Option<(u64, [u8; 32])>,
    /// The counter of a request without a reply.
    awaiting: Option<u64>,
}

/// What a request frame turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The next request: answer it, and keep the body until the one after it comes.
    New(Request),
    /// The last request once more, byte for byte: send the same body again, or go on working on
    /// it. It must not be acted on a second time.
    Repeated,
}

impl GateSession {
    /// Opens a request. An error leaves the session as it was.
    ///
    /// # Errors
    /// [`ChannelError::OutOfOrder`] for a counter that is neither next nor last, for other bytes
    /// under the last counter, and for a next request while the last one has no reply yet;
    /// [`ChannelError::Unverified`] and [`ChannelError::Malformed`].
    pub fn open(&mut self, counter: u64, ciphertext: &[u8]) -> Result<Opened, ChannelError> {
        let digest: [u8; 32] = Sha256::digest(ciphertext).into();
        if self.last == Some((counter, digest)) {
            return Ok(Opened::Repeated);
        }
        if counter != self.next || self.awaiting.is_some() {
            return Err(ChannelError::OutOfOrder);
        }
        let next = counter.checked_add(1).ok_or(ChannelError::OutOfOrder)?;
        let request = from_json(&*self.transport.open(counter, ciphertext)?)?;
        self.next = next;
        self.last = Some((counter, digest));
        self.awaiting = Some(counter);
        Ok(Opened::New(request))
    }

    /// Seals the reply to the request that was opened last: the body to answer with.
    ///
    /// # Errors
    /// [`ChannelError::OutOfOrder`] when no request waits for a reply;
    /// [`ChannelError::MisplacedGrant`] for a grant, which [`grant`](Self::grant) makes.
    pub fn seal(&mut self, reply: &Reply) -> Result<Vec<u8>, ChannelError> {
        if matches!(reply, Reply::Granted { .. }) {
            return Err(ChannelError::MisplacedGrant);
        }
        self.seal_text(&to_json(reply)?)
    }

    /// Prepares a grant: encapsulates to the client's key, draws the share, writes the reply and
    /// derives the preshared key from all of it. Nothing is sent: seal it with
    /// [`seal_prepared`](Self::seal_prepared) once the store and the interface have done their
    /// part.
    ///
    /// # Errors
    /// [`ChannelError::InvalidEncapsulation`] when the client's key is not a valid one;
    /// [`ChannelError::Cryptography`] when the system has no randomness to give.
    pub fn grant(
        &self,
        terms: GrantTerms,
        key: &EncapsulationKey,
    ) -> Result<(PreparedReply, PresharedKey), ChannelError> {
        let mut randomness = Zeroizing::new([0; 64]);
        getrandom::fill(&mut *randomness).map_err(|_| ChannelError::Cryptography)?;
        let mut share = Share(Box::new([0; 32]));
        getrandom::fill(&mut *share.0).map_err(|_| ChannelError::Cryptography)?;
        self.grant_with(terms, key, &randomness, share)
    }

    pub(super) fn grant_with(
        &self,
        terms: GrantTerms,
        key: &EncapsulationKey,
        randomness: &[u8; 64],
        share: Share,
    ) -> Result<(PreparedReply, PresharedKey), ChannelError> {
        let (ciphertext, kem_secret) = kem::encapsulate(key, randomness)?;
        let grant = Granted {
            session: terms.session,
            lease_ms: millis(terms.lease),
            renewable_ms: millis(terms.renewable),
            addresses: terms.addresses,
            ciphertext,
            share: share.clone(),
        };
        let text = to_json(&Reply::Granted { grant })?;
        let transcript = Transcript::of(&text);
        let psk = schedule::preshared_key(&self.handshake_hash, &transcript, &kem_secret, &share)?;
        let prepared = PreparedReply {
            text,
            handshake_hash: self.handshake_hash,
        };
        Ok((prepared, psk))
    }

    /// Seals a grant, as the reply to the request that was opened last.
    ///
    /// # Errors
    /// [`ChannelError::OutOfOrder`] when no request waits for a reply, or when another session
    /// prepared the grant.
    pub fn seal_prepared(&mut self, prepared: PreparedReply) -> Result<Vec<u8>, ChannelError> {
        if prepared.handshake_hash != self.handshake_hash {
            return Err(ChannelError::OutOfOrder);
        }
        self.seal_text(&prepared.text)
    }

    fn seal_text(&mut self, text: &[u8]) -> Result<Vec<u8>, ChannelError> {
        // Taken first: two texts must never be sealed under one counter.
        let counter = self.awaiting.take().ok_or(ChannelError::OutOfOrder)?;
        let ciphertext = self.transport.seal(counter, text)?;
        frame::reply(counter, &ciphertext)
    }
}

impl fmt::Debug for GateSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateSession")
            .field("next", &self.next)
            .field("awaiting", &self.awaiting)
            .finish_non_exhaustive()
    }
}

/// What a grant tells the client, beside the key material that [`GateSession::grant`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantTerms {
    /// The session.
    pub session: SessionId,
    /// How long the lease lasts from now.
    pub lease: Duration,
    /// How long it can last with renewals and without a factor, from now.
    pub renewable: Duration,
    /// The client's own addresses inside the tunnel.
    pub addresses: Vec<IpNet>,
}

/// The text of a grant, written and not yet sealed. It holds a secret: wiped on drop, never
/// printed.
pub struct PreparedReply {
    pub(super) text: Zeroizing<Vec<u8>>,
    handshake_hash: [u8; 32],
}

impl fmt::Debug for PreparedReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreparedReply([redacted])")
    }
}
