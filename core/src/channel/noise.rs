//! Noise as this protocol uses it: one pattern, one prologue, explicit counters. A thin layer over
//! `snow` that knows nothing of frames or messages.
//!
//! What is wiped: private keys, ephemeral keys and Diffie-Hellman results (our resolver). What is
//! not: the chaining key, the handshake hash and, without the feature `aws-lc`, the cipher keys,
//! which `snow` holds in plain arrays. They are per handshake and never outlive it by design, but a
//! reader of freed memory could find them; the preshared key additionally rests on the KEM's
//! secret, which is wiped.

use snow::{Builder, HandshakeState, StatelessTransportState};
use zeroize::Zeroizing;

use super::error::ChannelError;
use super::frame::BODY_LIMIT;
use super::resolver::{Identity, Resolver};
use crate::key::PublicKey;

/// The name of the protocol, as Noise mixes it into the handshake.
pub(super) const NAME: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
/// The prologue: both ends agree on the version of what is built on top.
pub(super) const PROLOGUE: &[u8] = b"mfagate/1";
const TAG: usize = 16;
/// Two public keys and the tags of the second and of a payload.
const HANDSHAKE_OVERHEAD: usize = 32 + 32 + TAG + TAG;

/// A handshake under way, at either end.
pub(super) struct Handshake(HandshakeState);

impl Handshake {
    pub(super) fn initiate(
        identity: &Identity,
        location: &PublicKey,
        ephemeral: Option<&[u8; 32]>,
    ) -> Result<Self, ChannelError> {
        let state = builder(identity, ephemeral)?
            .remote_public_key(location.as_bytes())
            .and_then(Builder::build_initiator)
            .map_err(|_| ChannelError::Cryptography)?;
        Ok(Self(state))
    }

    pub(super) fn respond(
        identity: &Identity,
        ephemeral: Option<&[u8; 32]>,
    ) -> Result<Self, ChannelError> {
        let state = builder(identity, ephemeral)?
            .build_responder()
            .map_err(|_| ChannelError::Cryptography)?;
        Ok(Self(state))
    }

    pub(super) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, ChannelError> {
        let mut message = vec![0; payload.len() + HANDSHAKE_OVERHEAD];
        if message.len() > BODY_LIMIT {
            return Err(ChannelError::TooLarge);
        }
        let len = self
            .0
            .write_message(payload, &mut message)
            .map_err(|_| ChannelError::Cryptography)?;
        message.truncate(len);
        Ok(message)
    }

    pub(super) fn read(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
        let mut payload = Zeroizing::new(vec![0; message.len()]);
        let len = self
            .0
            .read_message(message, &mut payload)
            .map_err(|_| ChannelError::Unverified)?;
        payload.truncate(len);
        Ok(payload)
    }

    /// The other end's static key, once a message has proven it.
    pub(super) fn remote(&self) -> Result<PublicKey, ChannelError> {
        self.0
            .get_remote_static()
            .and_then(|key| key.first_chunk())
            .map(|key| PublicKey::from_bytes(*key))
            .ok_or(ChannelError::Unverified)
    }

    /// The transport keys and the handshake hash, after both messages.
    pub(super) fn finish(self) -> Result<(Transport, [u8; 32]), ChannelError> {
        let hash = self
            .0
            .get_handshake_hash()
            .try_into()
            .map_err(|_| ChannelError::Cryptography)?;
        let state = self
            .0
            .into_stateless_transport_mode()
            .map_err(|_| ChannelError::Cryptography)?;
        Ok((Transport(state), hash))
    }
}

/// The transport keys of both directions. The caller names the counter, and never seals two
/// different texts under one.
pub(super) struct Transport(StatelessTransportState);

impl Transport {
    pub(super) fn seal(&self, counter: u64, text: &[u8]) -> Result<Vec<u8>, ChannelError> {
        let mut message = vec![0; text.len() + TAG];
        if message.len() > BODY_LIMIT {
            return Err(ChannelError::TooLarge);
        }
        let len = self
            .0
            .write_message(counter, text, &mut message)
            .map_err(|_| ChannelError::Cryptography)?;
        message.truncate(len);
        Ok(message)
    }

    pub(super) fn open(
        &self,
        counter: u64,
        message: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
        let mut text = Zeroizing::new(vec![0; message.len()]);
        let len = self
            .0
            .read_message(counter, message, &mut text)
            .map_err(|_| ChannelError::Unverified)?;
        text.truncate(len);
        Ok(text)
    }
}

fn builder<'a>(
    identity: &'a Identity,
    ephemeral: Option<&'a [u8; 32]>,
) -> Result<Builder<'a>, ChannelError> {
    let params = NAME.parse().map_err(|_| ChannelError::Cryptography)?;
    let mut builder = Builder::with_resolver(params, Box::new(Resolver::new(identity)))
        .prologue(PROLOGUE)
        .and_then(|builder| builder.local_private_key(identity.expose_secret()))
        .map_err(|_| ChannelError::Cryptography)?;
    if let Some(key) = ephemeral {
        builder = builder.fixed_ephemeral_key_for_testing_only(key);
    }
    Ok(builder)
}
