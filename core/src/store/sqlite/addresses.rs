//! Which addresses of a location are whose. No two peers have one in common.
//!
//! A peer's prefixes are kept as ranges, merged where they touch. Since no two ranges of a location
//! overlap, the one that begins last before a prefix ends is the only one that can overlap with it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::intents::execute;
use super::rows::{self, one};
use super::writer::Tx;
use crate::id::LocationId;
use crate::key::PublicKey;
use crate::store::{Peer, StoreError};

/// Gives a peer, which must be in its table, the addresses it names in place of those it had.
pub(super) fn take(tx: &Tx<'_>, peer: &Peer) -> Result<(), StoreError> {
    let (location, key) = (peer.location.as_str(), peer.key.as_bytes());
    execute(
        tx,
        "DELETE FROM addresses WHERE location = ? AND key = ?",
        (location, key),
    )?;
    for address in peer.allowed_ips.iter().copied() {
        if let Some(by) = holder(tx, &peer.location, address)? {
            return Err(StoreError::AddressTaken { address, by });
        }
    }
    for range in IpNet::aggregate(&peer.allowed_ips) {
        execute(
            tx,
            "INSERT INTO addresses (location, first, last, key) VALUES (?, ?, ?, ?)",
            (location, first(range), last(range), key),
        )?;
    }
    Ok(())
}

/// Who has an address of this prefix.
fn holder(
    tx: &Tx<'_>,
    location: &LocationId,
    prefix: IpNet,
) -> Result<Option<PublicKey>, StoreError> {
    let before = one(
        tx.connection,
        "SELECT key, last FROM addresses WHERE location = ? AND first <= ?
         ORDER BY first DESC LIMIT 1",
        (location.as_str(), last(prefix)),
        rows::held_range,
    )?;
    let overlaps = |(_, end): &(PublicKey, Vec<u8>)| *end >= first(prefix);
    Ok(before.filter(overlaps).map(|(key, _)| key))
}

fn first(prefix: IpNet) -> Vec<u8> {
    ordered(prefix.network())
}

fn last(prefix: IpNet) -> Vec<u8> {
    ordered(prefix.broadcast())
}

/// Bytes in the order of the addresses, those of one family apart from the other's.
fn ordered(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => [&[4], address.octets().as_slice()].concat(),
        IpAddr::V6(address) => [&[6], address.octets().as_slice()].concat(),
    }
}
