//! The client's end of the channel.

use snow::HandshakeState;
use zeroize::Zeroizing;

use super::ChannelError;
use super::frame::{self, Response};
use super::json;
use super::message::{Hello, Reply, Request};
use super::noise::{self, Transport};
use super::psk::{self, DecapsulationSecret};
use super::resolver::Identity;
use crate::id::AttemptId;
use crate::key::{PresharedKey, PrivateKey, PublicKey};

/// A handshake that waits for the gate's message.
#[derive(Debug)]
pub struct Initiator {
    state: HandshakeState,
}

impl Initiator {
    /// Begins: gives the body of the first request.
    ///
    /// # Errors
    /// [`ChannelError::Crypto`] when a key is unusable or there is no randomness.
    pub fn begin(
        key: &PrivateKey,
        location: &PublicKey,
        hello: &Hello,
    ) -> Result<(Self, Vec<u8>), ChannelError> {
        let identity: Identity = Identity::new(key)?;
        Self::begin_with(noise::initiator(&identity, location, None)?, hello)
    }

    pub(super) fn begin_with(
        mut state: HandshakeState,
        hello: &Hello,
    ) -> Result<(Self, Vec<u8>), ChannelError> {
        let message = noise::write(&mut state, &json::to_json(hello)?)?;
        let body = frame::handshake(&message)?;
        Ok((Self { state }, body))
    }

    /// Takes the body of the response in.
    ///
    /// # Errors
    /// [`ChannelError::NotAuthentic`] unless it comes from the holder of the location's key and
    /// answers this very request; [`ChannelError::Refused`] for a refusal that anyone could have
    /// made; [`ChannelError::Unknown`].
    pub fn finish(mut self, body: &[u8]) -> Result<(ClientSession, Reply), ChannelError> {
        let Response::Handshake(message) = frame::parse_response(body)? else {
            return Err(ChannelError::NotAuthentic);
        };
        let payload = noise::read(&mut self.state, message)?;
        let reply = json::from_json(&payload)?;
        let transport = Transport::new(self.state)?;
        Ok((ClientSession { transport, next: 0 }, reply))
    }
}

/// The client's end of an attempt's channel.
#[derive(Debug)]
pub struct ClientSession {
    pub(super) transport: Transport,
    next: u64,
}

impl ClientSession {
    /// The body of the next request. Where its response is lost, send these very bytes again.
    ///
    /// # Errors
    /// [`ChannelError::TooLong`].
    pub fn request(
        &mut self,
        attempt: &AttemptId,
        request: &Request,
    ) -> Result<Vec<u8>, ChannelError> {
        let plaintext = json::to_json(request)?;
        let counter = self.next;
        // Used up before anything is sealed: no two texts are ever sealed under one counter.
        self.next = counter.checked_add(1).ok_or(ChannelError::TooLong)?;
        let ciphertext = self.transport.seal(counter, &plaintext)?;
        frame::request(attempt, counter, &ciphertext)
    }

    /// Takes the body of the response to the last request in.
    ///
    /// # Errors
    /// As of [`Initiator::finish`].
    pub fn reply(&mut self, body: &[u8]) -> Result<OpenedReply, ChannelError> {
        let Response::Transport {
            counter,
            ciphertext,
        } = frame::parse_response(body)?
        else {
            return Err(ChannelError::NotAuthentic);
        };
        if Some(counter) != self.next.checked_sub(1) {
            return Err(ChannelError::NotAuthentic);
        }
        let plaintext = self.transport.open(counter, ciphertext)?;
        let reply = json::from_json(&plaintext)?;
        Ok(OpenedReply { reply, plaintext })
    }
}

/// A reply, with the bytes that it came as: a grant's go into the preshared key.
pub struct OpenedReply {
    /// The reply.
    pub reply: Reply,
    plaintext: Zeroizing<Vec<u8>>,
}

impl OpenedReply {
    /// Derives the preshared key of a grant.
    ///
    /// # Errors
    /// [`ChannelError::NotAGrant`] when the reply is none.
    pub fn preshared_key(
        &self,
        session: &ClientSession,
        secret: &DecapsulationSecret,
    ) -> Result<PresharedKey, ChannelError> {
        let Reply::Granted { grant } = &self.reply else {
            return Err(ChannelError::NotAGrant);
        };
        let kem = secret.decapsulate(&grant.ciphertext)?;
        psk::derive(&session.transport.hash, &self.plaintext, &kem, &grant.share)
    }
}

impl std::fmt::Debug for OpenedReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedReply")
            .field("reply", &self.reply)
            .finish_non_exhaustive()
    }
}
