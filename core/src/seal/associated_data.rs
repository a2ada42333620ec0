//! What an envelope is bound to: the row that it lies in, as bytes that can mean only that row.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::assurance::FactorKind;
use crate::id::{FactorId, LocationId, SessionId, UserId};
use crate::key::PublicKey;
use crate::time::Timestamp;

/// The row of a store that a secret belongs to, with every field that bears on what the secret
/// gives. A store must hand these fields back as they were written, the order of the addresses
/// included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssociatedData<'a> {
    /// An enrolled factor.
    Factor {
        /// Its id.
        id: &'a FactorId,
        /// Its owner.
        user: &'a UserId,
        /// Its kind.
        kind: &'a FactorKind,
    },
    /// A session, with its preshared key.
    Session {
        /// Its id.
        id: &'a SessionId,
        /// Where.
        location: &'a LocationId,
        /// Who.
        peer: &'a PublicKey,
        /// The peer's owner.
        user: &'a UserId,
        /// The addresses that the peer has.
        allowed_ips: &'a [IpNet],
        /// When the factors were verified.
        verified_at: Timestamp,
        /// When the lease ends at the latest.
        not_after: Timestamp,
        /// When it ends at the latest with all renewals that ask for no factor.
        renewable_until: Timestamp,
        /// The factors that opened it. A session of before they were kept has none.
        factors: &'a [FactorId],
    },
}

impl AssociatedData<'_> {
    /// Appends the row: a tag, then each field with its length before it.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Factor { id, user, kind } => {
                put(bytes, b"factor");
                put(bytes, id.as_bytes());
                put(bytes, user.as_str().as_bytes());
                put(bytes, kind.as_str().as_bytes());
            }
            Self::Session {
                id,
                location,
                peer,
                user,
                allowed_ips,
                verified_at,
                not_after,
                renewable_until,
                factors,
            } => {
                put(bytes, b"session");
                put(bytes, id.as_bytes());
                put(bytes, location.as_str().as_bytes());
                put(bytes, peer.as_bytes());
                put(bytes, user.as_str().as_bytes());
                bytes.extend_from_slice(&length(allowed_ips.len()));
                for net in *allowed_ips {
                    match net.addr() {
                        IpAddr::V4(addr) => put(bytes, &addr.octets()),
                        IpAddr::V6(addr) => put(bytes, &addr.octets()),
                    }
                    bytes.push(net.prefix_len());
                }
                bytes.extend_from_slice(&verified_at.as_millis().to_be_bytes());
                bytes.extend_from_slice(&not_after.as_millis().to_be_bytes());
                // Half as long as what follows, and so told from it. A session of before it was
                // kept has none, and can't be renewed.
                if renewable_until != not_after {
                    bytes.extend_from_slice(&renewable_until.as_millis().to_be_bytes());
                }
                // The last field and of fixed length each: nothing else can follow.
                for factor in *factors {
                    bytes.extend_from_slice(factor.as_bytes());
                }
            }
        }
    }
}

/// Appends a field with its length before it.
pub(super) fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend_from_slice(&length(field.len()));
    bytes.extend_from_slice(field);
}

/// A length as eight bytes, most significant first.
fn length(len: usize) -> [u8; 8] {
    u64::try_from(len).unwrap_or(u64::MAX).to_be_bytes() // no slice is longer than that
}
