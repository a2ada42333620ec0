//! `Noise_IK_25519_ChaChaPoly_BLAKE2s` by `snow`.
//!
//! Zeroized: private and ephemeral keys, Diffie-Hellman results as our resolver returns them, and
//! every plaintext. Not zeroized: the chaining key, the handshake hash and, without the feature
//! `aws-lc`, the cipher keys, which `snow` holds in plain arrays. They belong to one handshake and
//! are dropped with its attempt; the preshared key also rests on the KEM's secret, which is.

use snow::params::NoiseParams;
use snow::{Builder, HandshakeState, StatelessTransportState};
use zeroize::Zeroizing;

use super::ChannelError;
use super::resolver::{Identity, Provider, Resolver};
use crate::key::PublicKey;

pub(super) const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
pub(super) const PROLOGUE: &[u8] = b"mfagate/1";
const TAG_LEN: usize = 16;

/// The length of a handshake hash: BLAKE2s-256.
pub(super) const HASH_LEN: usize = 32;

/// A handshake to a location. The ephemeral key is fresh; only a test has one of its own.
pub(super) fn initiator<P: Provider>(
    identity: &Identity<P>,
    location: &PublicKey,
    ephemeral: Option<&[u8; 32]>,
) -> Result<HandshakeState, ChannelError> {
    builder(identity, ephemeral)?
        .remote_public_key(location.as_bytes())
        .and_then(Builder::build_initiator)
        .map_err(|_| ChannelError::Crypto)
}

/// A handshake that waits for its first message. The ephemeral key as in [`initiator`].
pub(super) fn responder<P: Provider>(
    identity: &Identity<P>,
    ephemeral: Option<&[u8; 32]>,
) -> Result<HandshakeState, ChannelError> {
    builder(identity, ephemeral)?
        .build_responder()
        .map_err(|_| ChannelError::Crypto)
}

fn builder<'a, P: Provider>(
    identity: &'a Identity<P>,
    ephemeral: Option<&'a [u8; 32]>,
) -> Result<Builder<'a>, ChannelError> {
    let params: NoiseParams = PATTERN.parse().map_err(|_| ChannelError::Crypto)?;
    let builder = Builder::with_resolver(params, Box::new(Resolver::new(identity)))
        .prologue(PROLOGUE)
        .and_then(|builder| builder.local_private_key(identity.expose_secret()))
        .map_err(|_| ChannelError::Crypto)?;
    Ok(match ephemeral {
        Some(key) => builder.fixed_ephemeral_key_for_testing_only(key),
        None => builder,
    })
}

/// Writes the next message of a handshake.
pub(super) fn write(state: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>, ChannelError> {
    // Noise IK adds at most an ephemeral key, a sealed static key and two tags.
    let mut message = vec![0; payload.len() + 128];
    let len = state
        .write_message(payload, &mut message)
        .map_err(|_| ChannelError::TooLong)?;
    message.truncate(len);
    Ok(message)
}

/// Reads the next message of a handshake.
pub(super) fn read(
    state: &mut HandshakeState,
    message: &[u8],
) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
    let mut payload = Zeroizing::new(vec![0; message.len()]);
    let len = state
        .read_message(message, &mut payload)
        .map_err(|_| ChannelError::NotAuthentic)?;
    payload.truncate(len);
    Ok(payload)
}

/// The transport of a finished handshake, with the handshake's hash.
#[derive(Debug)]
pub(super) struct Transport {
    state: StatelessTransportState,
    pub(super) hash: [u8; HASH_LEN],
}

impl Transport {
    pub(super) fn new(state: HandshakeState) -> Result<Self, ChannelError> {
        let hash = state
            .get_handshake_hash()
            .try_into()
            .map_err(|_| ChannelError::Crypto)?;
        let state = state
            .into_stateless_transport_mode()
            .map_err(|_| ChannelError::Crypto)?;
        Ok(Self { state, hash })
    }

    pub(super) fn seal(&self, counter: u64, plaintext: &[u8]) -> Result<Vec<u8>, ChannelError> {
        let mut ciphertext = vec![0; plaintext.len() + TAG_LEN];
        let sealed = self
            .state
            .write_message(counter, plaintext, &mut ciphertext);
        let len = sealed.map_err(|_| ChannelError::TooLong)?;
        ciphertext.truncate(len);
        Ok(ciphertext)
    }

    pub(super) fn open(
        &self,
        counter: u64,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
        let mut plaintext = Zeroizing::new(vec![0; ciphertext.len()]);
        let opened = self.state.read_message(counter, ciphertext, &mut plaintext);
        let len = opened.map_err(|_| ChannelError::NotAuthentic)?;
        plaintext.truncate(len);
        Ok(plaintext)
    }
}
