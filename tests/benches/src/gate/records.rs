//! Records to measure with: as large as real ones, and made without a store.

use std::net::IpAddr;

use mfagate::assurance::{Assurance, FactorKind};
use mfagate::id::{FactorId, Label, LocationId, SessionId, UserId};
use mfagate::key::PublicKey;
use mfagate::policy::Failures;
use mfagate::seal::Sealed;
use mfagate::store::{Enrolment, FactorRecord, FactorState, Peer, User};
use mfagate::time::Timestamp;

pub(crate) fn enrolment(peer: PublicKey) -> Enrolment {
    // The part of a key from `fill` that counts: an address of the peer's own.
    let [_, _, _, _, _, a, b, c, ..] = *peer.as_bytes();
    let address = IpAddr::from([10, a, b, c]);
    Enrolment {
        peer: Peer {
            location: location(),
            key: peer,
            user: user(),
            allowed_ips: vec![address.into()],
            label: Label::from_stored("a label"),
            enabled: true,
        },
        user: User {
            id: user(),
            enabled: true,
            groups: Vec::new(),
        },
        factors: vec![factor(0)],
        tokens: Vec::new(),
    }
}

pub(crate) fn factor(number: u32) -> FactorRecord {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    FactorRecord {
        id: FactorId::from_bytes(id),
        user: user(),
        kind: FactorKind::TOTP,
        label: Label::from_stored("a label"),
        credential: None,
        sealed: Sealed::from_bytes(vec![7; 80]),
        state: FactorState::Active,
        last_counter: None,
        failures: Failures::default(),
    }
}

pub(crate) fn assurance(at: Timestamp) -> Assurance {
    Assurance {
        kind: FactorKind::TOTP,
        phishing_resistant: false,
        user_verified: false,
        replay_resistant: true,
        verifier_bound: false,
        hardware: false,
        authenticated_at: at,
    }
}

pub(crate) fn location() -> LocationId {
    "bench"
        .parse()
        .unwrap_or_else(|_| unreachable!("a valid name"))
}

pub(crate) fn user() -> UserId {
    "bench"
        .parse()
        .unwrap_or_else(|_| unreachable!("a valid name"))
}

pub(crate) fn session(number: u32) -> SessionId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B1).to_be_bytes());
    id[4..8].copy_from_slice(&number.to_be_bytes());
    SessionId::from_bytes(id)
}

/// Bytes that spread like a key's.
pub(crate) fn fill(number: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B1).to_be_bytes());
    bytes[4..8].copy_from_slice(&number.to_be_bytes());
    bytes
}
