//! The cryptographic primitives of one admission, each called as often as the protocol asks for it
//! and on as many bytes, with the crates that the channel and the sealing use and nothing in
//! between: no parsing, no copying, no allocation beyond the crates' own.
//!
//! | of the gate | calls |
//! |---|---|
//! | Noise IK, one side | 1 ephemeral key, 4 agreements (X25519); 5 key derivations and 8 hashes of the transcript (BLAKE2s); 3 seals or opens |
//! | the answer and the grant | 2 seals or opens (ChaCha20-Poly1305) |
//! | preshared key | 1 X-Wing encapsulation to a key as it comes in a message (ML-KEM-768, a public key and an agreement of X25519, SHA3-256); SHA-256 of the grant; HKDF-SHA256 |
//! | factor | opened twice (for its challenge, and to verify), XChaCha20-Poly1305; its own, see [`Factor::primitives`] |
//! | session | sealed once, XChaCha20-Poly1305 |
//! | audit | SHA-256 of one record |
//!
//! The client has Noise and the messages as well, the public key of its own static key, an X-Wing
//! key pair and a decapsulation, and the derivation of the preshared key.

use std::hint::black_box;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::digest::{SHA3_256, digest};
use aws_lc_rs::kem::{DecapsulationKey, EncapsulationKey, ML_KEM_768};
use blake2::{Blake2s256, Digest};
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use x_wing::{Decapsulate, Decapsulator, Encapsulate, Generate, Kem, KeyExport, XWingKem};

use crate::factor::Factor;
use crate::floor::Error;

const KEY: [u8; 32] = [7; 32];
const TAG: usize = 16;
/// An envelope's associated data, and an audit record with what is hashed before it: about as
/// long as they are.
const ROW: usize = 200;
const RECORD: usize = 450;

/// The ephemeral keys of the handshake and of X-Wing; the agreements of both.
pub(super) const GATE_PUBLIC_KEYS: u32 = 2;
pub(super) const GATE_AGREEMENTS: u32 = 5;

/// How long an admission's messages are, without what the channel puts around them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Messages {
    pub(super) hello: usize,
    pub(super) challenge: usize,
    pub(super) answer: usize,
    pub(super) grant: usize,
}

impl Messages {
    /// Out of the lengths of the bodies, in the order in which they are sent: less the frames, and
    /// what Noise puts around a message (an ephemeral key, a sealed static one, tags).
    pub(super) const fn in_bodies([hello, challenge, answer, grant]: [usize; 4]) -> Self {
        Self {
            hello: hello - (2 + 32 + 32 + TAG + TAG),
            challenge: challenge - (2 + 32 + TAG),
            answer: answer - (2 + 32 + 8 + TAG),
            grant: grant - (2 + 8 + TAG),
        }
    }
}

/// What the primitives work on.
pub(super) struct Primitives {
    messages: Messages,
    own: PrivateKey,
    peer: UnparsedPublicKey<Vec<u8>>,
    ciphertext: x_wing::Ciphertext,
    ml_kem: Vec<u8>,
    factor: Box<dyn FnMut()>,
    buffer: Vec<u8>,
}

impl Primitives {
    pub(super) fn new<F: Factor>(messages: Messages) -> Result<Self, Error> {
        let other = PrivateKey::generate(&X25519)?.compute_public_key()?;
        let (_, x_wing) = XWingKem::generate_keypair();
        let ml_kem = DecapsulationKey::generate(&ML_KEM_768)?.encapsulation_key()?;
        Ok(Self {
            messages,
            own: PrivateKey::generate(&X25519)?,
            peer: UnparsedPublicKey::new(&X25519, other.as_ref().to_vec()),
            ciphertext: x_wing.encapsulate().0,
            ml_kem: ml_kem.key_bytes()?.as_ref().to_vec(),
            factor: F::primitives()?,
            buffer: vec![0; 4096],
        })
    }

    /// All of the gate's, each by the crate that it uses.
    pub(super) fn gate(&mut self) {
        for _ in 0..GATE_PUBLIC_KEYS {
            self.public_key();
        }
        for _ in 0..GATE_AGREEMENTS {
            self.agreement();
        }
        self.ml_kem();
        self.gate_rest();
    }

    /// All of the client's, each by the crate that it uses.
    pub(super) fn client(&mut self) {
        for _ in 0..2 {
            self.public_key();
        }
        for _ in 0..4 {
            self.agreement();
        }
        let secret = x_wing::DecapsulationKey::generate();
        let _ = black_box(secret.encapsulation_key().to_bytes());
        let _ = black_box(secret.decapsulate(black_box(&self.ciphertext)));
        self.channel();
        self.preshared_key();
    }

    /// The gate's, less X25519 and ML-KEM.
    pub(super) fn gate_rest(&mut self) {
        self.channel();
        let _ = black_box(digest(&SHA3_256, black_box(&self.buffer[..134])));
        self.preshared_key();
        for _ in 0..3 {
            self.seal_row();
        }
        (self.factor)();
        let _ = black_box(Sha256::digest(black_box(&self.buffer[..RECORD])));
    }

    /// One public key of a fresh private one.
    pub(super) fn public_key(&mut self) {
        let key = PrivateKey::from_private_key(&X25519, black_box(&KEY));
        let _ = black_box(key.is_ok_and(|key| key.compute_public_key().is_ok()));
    }

    /// One agreement.
    pub(super) fn agreement(&mut self) {
        let secret = agree(&self.own, &self.peer, (), |secret| {
            Ok(secret.first().copied())
        });
        let _ = black_box(secret);
    }

    /// One ML-KEM-768 encapsulation to a key as it comes in a message.
    pub(super) fn ml_kem(&mut self) {
        let key = EncapsulationKey::new(&ML_KEM_768, black_box(&self.ml_kem));
        let _ = black_box(key.is_ok_and(|key| key.encapsulate().is_ok()));
    }

    /// The symmetric part of the handshake and of the two messages that follow.
    fn channel(&mut self) {
        let Messages {
            hello,
            challenge,
            answer,
            grant,
        } = self.messages;
        // The protocol's name, the prologue and the location's key, as the pattern begins.
        self.blake2s(33);
        for mixed in [9, 32, 32, 32 + TAG, hello + TAG, 32, challenge + TAG] {
            self.blake2s(32 + mixed);
        }
        // es, ss, ee, se, and the two keys at the end, which are derived from nothing new.
        for input in [32, 32, 32, 32, 0] {
            self.noise_hkdf(input);
        }
        for sealed in [32, hello, challenge, answer, grant] {
            self.seal(sealed);
        }
    }

    fn blake2s(&self, len: usize) {
        let _ = black_box(Blake2s256::digest(black_box(&self.buffer[..len])));
    }

    /// Two keys (Noise, section 4.3): three HMACs, each of two hashes.
    fn noise_hkdf(&self, input: usize) {
        for text in [input, 1, 33] {
            self.blake2s(64 + text);
            self.blake2s(64 + 32);
        }
    }

    fn seal(&mut self, len: usize) {
        let Ok(key) = UnboundKey::new(&CHACHA20_POLY1305, black_box(&KEY)) else {
            return;
        };
        let nonce = Nonce::assume_unique_for_key([9; 12]);
        let text = &mut self.buffer[..len];
        let tag = LessSafeKey::new(key).seal_in_place_separate_tag(nonce, Aad::from(KEY), text);
        let _ = black_box(tag.is_ok());
    }

    fn preshared_key(&mut self) {
        let grant = &self.buffer[..self.messages.grant];
        let _ = black_box(Sha256::digest(black_box(grant)));
        let mut psk = [0; 32];
        let derived =
            Hkdf::<Sha256>::new(Some(&[7; 64]), black_box(&[9; 64])).expand(&KEY, &mut psk);
        let _ = black_box((derived.is_ok(), psk));
    }

    fn seal_row(&mut self) {
        let cipher = XChaCha20Poly1305::new(black_box(&KEY.into()));
        let (row, rest) = self.buffer.split_at_mut(ROW);
        let tag = cipher.encrypt_in_place_detached(&[9; 24].into(), row, &mut rest[..32]);
        let _ = black_box(tag.is_ok());
    }
}
