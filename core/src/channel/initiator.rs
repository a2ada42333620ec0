//! The client's end of the channel.

use std::fmt;

use super::error::ChannelError;
use super::frame::{self, Delivered, parse_delivered};
use super::kem::DecapsulationSecret;
use super::message::{Ciphertext, Hello, Reply, Request, Share, from_json, to_json};
use super::noise::{Handshake, Transport};
use super::resolver::Identity;
use super::schedule::{self, Transcript};
use crate::id::AttemptId;
use crate::key::{PresharedKey, PrivateKey, PublicKey};

/// A handshake whose first message is on its way.
pub struct Initiator {
    handshake: Handshake,
}

impl Initiator {
    /// Makes the first message: the body to send, and what waits for the answer to it.
    ///
    /// A client that got no answer may send the same bytes again.
    ///
    /// # Errors
    /// [`ChannelError::Cryptography`] when the system has no randomness to give or `location` is
    /// no usable key.
    pub fn begin(
        key: &PrivateKey,
        location: &PublicKey,
        hello: &Hello,
    ) -> Result<(Self, Vec<u8>), ChannelError> {
        Self::begin_with(key, location, hello, None)
    }

    pub(super) fn begin_with(
        key: &PrivateKey,
        location: &PublicKey,
        hello: &Hello,
        ephemeral: Option<&[u8; 32]>,
    ) -> Result<(Self, Vec<u8>), ChannelError> {
        let identity = Identity::new(key)?;
        let mut handshake = Handshake::initiate(&identity, location, ephemeral)?;
        let message = handshake.write(&to_json(hello)?)?;
        Ok((Self { handshake }, frame::handshake(&message)?))
    }

    /// Reads the gate's answer to the first message.
    ///
    /// # Errors
    /// [`ChannelError::Refused`] when the answer is an unauthenticated refusal;
    /// [`ChannelError::Unverified`] when it is not from the location; and what else is wrong with
    /// it. The client starts over with a new first message.
    pub fn finish(mut self, body: &[u8]) -> Result<(ClientSession, Reply), ChannelError> {
        let message = match parse_delivered(body)? {
            Delivered::Handshake(message) => message,
            Delivered::Refused(refusal) => return Err(ChannelError::Refused(refusal)),
            Delivered::Reply { .. } => return Err(ChannelError::OutOfOrder),
        };
        let text = self.handshake.read(message)?;
        let reply: Reply = from_json(&text)?;
        // A first message can be replayed: no grant may hang on it alone.
        if matches!(reply, Reply::Granted { .. }) {
            return Err(ChannelError::MisplacedGrant);
        }
        let (transport, handshake_hash) = self.handshake.finish()?;
        let session = ClientSession {
            transport,
            handshake_hash,
            next: 0,
            awaiting: None,
            grant: None,
        };
        Ok((session, reply))
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator").finish_non_exhaustive()
    }
}

/// The client's end of an established channel: one request at a time, each with its reply.
pub struct ClientSession {
    transport: Transport,
    pub(super) handshake_hash: [u8; 32],
    next: u64,
    awaiting: Option<u64>,
    grant: Option<Grant>,
}

/// What the preshared key is derived from, kept from the one reply that granted.
struct Grant {
    transcript: Transcript,
    ciphertext: Ciphertext,
    share: Share,
}

impl ClientSession {
    /// Makes a request: the body to send. A client that got no reply sends the same bytes again.
    ///
    /// # Errors
    /// [`ChannelError::OutOfOrder`] while an earlier request waits for its reply.
    pub fn request(
        &mut self,
        attempt: &AttemptId,
        request: &Request,
    ) -> Result<Vec<u8>, ChannelError> {
        if self.awaiting.is_some() {
            return Err(ChannelError::OutOfOrder);
        }
        let counter = self.next;
        let next = counter.checked_add(1).ok_or(ChannelError::OutOfOrder)?;
        let text = to_json(request)?;
        let ciphertext = self.transport.seal(counter, &text)?;
        // The counter is used up from here on, whether or not a body comes of it.
        self.next = next;
        let body = frame::request(attempt, counter, &ciphertext)?;
        self.awaiting = Some(counter);
        Ok(body)
    }

    /// Reads the reply to the request that waits for one.
    ///
    /// # Errors
    /// [`ChannelError::Refused`] when the answer is an unauthenticated refusal, and what else is
    /// wrong with it. The request goes on waiting, and its bytes may be sent again.
    pub fn reply(&mut self, body: &[u8]) -> Result<Reply, ChannelError> {
        let (counter, ciphertext) = match parse_delivered(body)? {
            Delivered::Reply {
                counter,
                ciphertext,
            } => (counter, ciphertext),
            Delivered::Refused(refusal) => return Err(ChannelError::Refused(refusal)),
            Delivered::Handshake(_) => return Err(ChannelError::OutOfOrder),
        };
        if self.awaiting != Some(counter) {
            return Err(ChannelError::OutOfOrder);
        }
        let text = self.transport.open(counter, ciphertext)?;
        let reply = from_json(&text)?;
        if let Reply::Granted { grant } = &reply {
            self.grant = Some(Grant {
                transcript: Transcript::of(&text),
                ciphertext: grant.ciphertext.clone(),
                share: grant.share.clone(),
            });
        }
        self.awaiting = None;
        Ok(reply)
    }

    /// Derives the preshared key of the grant that [`reply`](Self::reply) returned. The gate
    /// derives the same one; it is never sent.
    ///
    /// # Errors
    /// [`ChannelError::OutOfOrder`] before a grant; [`ChannelError::InvalidEncapsulation`] when
    /// the grant's ciphertext is not a valid one.
    pub fn preshared_key(
        &self,
        decapsulation: DecapsulationSecret,
    ) -> Result<PresharedKey, ChannelError> {
        let grant = self.grant.as_ref().ok_or(ChannelError::OutOfOrder)?;
        let kem_secret = decapsulation.decapsulate(&grant.ciphertext)?;
        schedule::preshared_key(
            &self.handshake_hash,
            &grant.transcript,
            &kem_secret,
            &grant.share,
        )
    }
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession")
            .field("next", &self.next)
            .field("awaiting", &self.awaiting)
            .finish_non_exhaustive()
    }
}
