//! The hash chain over audit records: linking and verifying.
//!
//! The hash of a record is SHA-256 over these bytes, in this order and with nothing in between:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | the label `mfagate/1 audit` followed by one zero byte |
//! | 32 | the hash of the record before; 32 zero bytes for the first |
//! | 8 | `seq`, big-endian; the first record has 1 |
//! | the rest | the event as compact JSON (RFC 8259), its members in the order of [`AuditEvent`]'s fields, absent ones left out |
//!
//! All but the last part have a fixed length, so no two records have the same encoding.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::{AuditEvent, AuditRecord};

const LABEL: &[u8; 16] = b"mfagate/1 audit\0";

/// The end of a chain: the number and the hash of its last record. Shown as `seq:hash`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    /// The number of the last record; 0 where there is none.
    pub seq: u64,
    /// The hash of the last record; zeros where there is none.
    pub hash: [u8; 32],
}

impl Head {
    /// The head of a chain without records.
    pub const EMPTY: Self = Self {
        seq: 0,
        hash: [0; 32],
    };
}

impl Default for Head {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, HEXLOWER.encode(&self.hash))
    }
}

/// A text that is not a [`Head`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the head of an audit chain: a number, a colon and 64 hexadecimal digits")]
pub struct ParseHeadError;

impl FromStr for Head {
    type Err = ParseHeadError;

    fn from_str(text: &str) -> Result<Self, ParseHeadError> {
        let (seq, hash) = text.split_once(':').ok_or(ParseHeadError)?;
        Ok(Self {
            seq: seq.parse().map_err(|_| ParseHeadError)?,
            hash: parse_hash(hash).ok_or(ParseHeadError)?,
        })
    }
}

impl AuditRecord {
    /// Links an event to the end of a chain: for those who write a store.
    ///
    /// # Errors
    /// [`serde_json::Error`] when the event has no JSON form; none of ours is like that.
    pub fn chain(head: &Head, event: AuditEvent) -> Result<Self, serde_json::Error> {
        let (next, _) = link(head, &event)?;
        Ok(Self {
            seq: next.seq,
            previous: HEXLOWER.encode(&head.hash),
            event,
            hash: HEXLOWER.encode(&next.hash),
        })
    }

    /// The head of a chain that ends with this record, if its hash is written as a hash.
    pub fn head(&self) -> Option<Head> {
        Some(Head {
            seq: self.seq,
            hash: parse_hash(&self.hash)?,
        })
    }
}

/// The head of a chain that goes on with this event, and the event's JSON as it is hashed.
pub(crate) fn link(head: &Head, event: &AuditEvent) -> Result<(Head, String), serde_json::Error> {
    let json = serde_json::to_string(event)?;
    let seq = head.seq.saturating_add(1);
    let hash = hash(&head.hash, seq, json.as_bytes());
    Ok((Head { seq, hash }, json))
}

/// The hash of one record, from the hash before, its number and its event's JSON.
fn hash(previous: &[u8; 32], seq: u64, event: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(LABEL)
        .chain_update(previous)
        .chain_update(seq.to_be_bytes())
        .chain_update(event)
        .finalize()
        .into()
}

/// Checks a whole chain from its first record on. The result is its head: compare it with one
/// that was kept elsewhere, or see [`Verifier::finish`].
///
/// # Errors
/// [`BrokenChain`], for the first record that doesn't fit.
pub fn verify<'a>(records: impl IntoIterator<Item = &'a AuditRecord>) -> Result<Head, BrokenChain> {
    let mut verifier = Verifier::new();
    for record in records {
        verifier.check(record)?;
    }
    Ok(verifier.head())
}

/// Checks a chain record by record, in constant memory.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    head: Head,
}

impl Verifier {
    /// Starts before the first record.
    pub const fn new() -> Self {
        Self { head: Head::EMPTY }
    }

    /// Goes on after a head that is trusted.
    pub const fn after(head: Head) -> Self {
        Self { head }
    }

    /// The head of what was checked so far.
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Checks the next record. After an error the verifier is where it was before.
    ///
    /// # Errors
    /// [`BrokenChain`].
    pub fn check(&mut self, record: &AuditRecord) -> Result<(), BrokenChain> {
        let broken = |seq, reason| Err(BrokenChain { seq, reason });
        let expected = self.head.seq.saturating_add(1);
        if record.seq != expected {
            let found = record.seq;
            return broken(expected, BreakReason::OutOfPlace { found });
        }
        if record.previous != HEXLOWER.encode(&self.head.hash) {
            return broken(expected, BreakReason::Previous);
        }
        let Ok(event) = serde_json::to_vec(&record.event) else {
            return broken(expected, BreakReason::Hash);
        };
        let hash = hash(&self.head.hash, expected, &event);
        if record.hash != HEXLOWER.encode(&hash) {
            return broken(expected, BreakReason::Hash);
        }
        self.head = Head {
            seq: expected,
            hash,
        };
        Ok(())
    }

    /// Ends the check and compares with the head that the chain is known to have had at some
    /// time, which must be at its very end. This is what shows a chain that was cut off.
    ///
    /// # Errors
    /// [`BrokenChain`] when the chain ends elsewhere.
    pub fn finish(self, known: &Head) -> Result<(), BrokenChain> {
        if self.head == *known {
            return Ok(());
        }
        Err(BrokenChain {
            seq: self.head.seq.min(known.seq).saturating_add(1),
            reason: BreakReason::OtherHead,
        })
    }
}

/// Where a chain breaks, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the audit chain breaks at record {seq}: {reason}; keep the file as it is, and compare it with an earlier export"
)]
pub struct BrokenChain {
    /// The number that the first bad record has or should have.
    pub seq: u64,
    /// Why.
    pub(crate) reason: BreakReason,
}

/// Why a chain breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BreakReason {
    /// Another number stands in this place: records are missing, doubled or out of order.
    #[error("record {found} is in its place")]
    OutOfPlace {
        /// The number found.
        found: u64,
    },
    /// The record doesn't hold the hash of the one before it.
    #[error("it does not follow on the record before it")]
    Previous,
    /// The record's own hash is not that of its contents.
    #[error("its contents are not what was written")]
    Hash,
    /// The chain ends elsewhere than at the known head.
    #[error("the chain does not end at the known head")]
    OtherHead,
}

/// 32 bytes from lower-case hexadecimal.
pub(crate) fn parse_hash(text: &str) -> Option<[u8; 32]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{AuditKind, EndReason, FailureReason};
    use crate::time::Timestamp;

    /// A chain of records that differ in kind and context.
    fn chain(len: u64) -> Vec<AuditRecord> {
        let mut head = Head::EMPTY;
        (0..len)
            .map(|n| {
                let kind = match n % 3 {
                    0 => AuditKind::Denied {
                        reason: FailureReason::Wrong,
                    },
                    1 => AuditKind::LockedOut,
                    _ => AuditKind::Ended {
                        reason: EndReason::Revoked,
                    },
                };
                let mut event = AuditEvent::new(Timestamp::from_millis(1000 + n), kind);
                event.user = Some(format!("user{n}").parse().expect("a name"));
                let record = AuditRecord::chain(&head, event).expect("has a JSON form");
                head = record.head().expect("a hash");
                record
            })
            .collect()
    }

    #[test]
    fn the_hash_is_over_the_documented_bytes() {
        let event = AuditEvent::new(Timestamp::from_millis(7), AuditKind::Fenced);
        let record = AuditRecord::chain(&Head::EMPTY, event).unwrap();

        let mut bytes = b"mfagate/1 audit\0".to_vec();
        bytes.extend([0; 32]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend(br#"{"at":7,"kind":"fenced"}"#);
        assert_eq!(record.hash, HEXLOWER.encode(&Sha256::digest(&bytes)));
        assert_eq!(record.previous, "0".repeat(64));
    }

    #[test]
    fn a_chain_verifies_whole_and_in_parts() {
        let records = chain(9);
        let whole = verify(&records).unwrap();
        let mut rest = Verifier::after(records[3].head().unwrap());
        for record in &records[4..] {
            rest.check(record).unwrap();
        }
        assert_eq!(whole, rest.head());
        assert_eq!(rest.finish(&whole), Ok(()));
        assert_eq!(verify([]), Ok(Head::EMPTY));
    }

    #[test]
    fn a_break_names_its_place_and_its_reason() {
        let at = |records: &[AuditRecord]| verify(records).map_err(|b| (b.seq, b.reason));

        let mut deleted = chain(5);
        deleted.remove(2);
        let out_of_place = |found| BreakReason::OutOfPlace { found };
        assert_eq!(at(&deleted), Err((3, out_of_place(4))));

        let mut swapped = chain(5);
        swapped.swap(1, 2);
        assert_eq!(at(&swapped), Err((2, out_of_place(3))));

        let mut doubled = chain(5);
        doubled.insert(1, doubled[0].clone());
        assert_eq!(at(&doubled), Err((2, out_of_place(1))));

        let mut changed = chain(5);
        changed[3].event.at = Timestamp::from_millis(0);
        assert_eq!(at(&changed), Err((4, BreakReason::Hash)));

        // Anyone who changes a record and rehashes it is caught at the next one.
        let mut rehashed = chain(5);
        let event = AuditEvent::new(Timestamp::from_millis(0), AuditKind::LockedOut);
        rehashed[1] = AuditRecord::chain(&rehashed[0].head().unwrap(), event).unwrap();
        assert_eq!(at(&rehashed), Err((3, BreakReason::Previous)));
    }

    #[test]
    fn a_chain_cut_off_at_its_end_is_found_by_a_known_head() {
        let records = chain(5);
        let known = verify(&records).unwrap();
        let mut verifier = Verifier::new();
        records[..3].iter().for_each(|r| verifier.check(r).unwrap());
        let broken = verifier.finish(&known).unwrap_err();
        assert_eq!((broken.seq, broken.reason), (4, BreakReason::OtherHead));
    }

    #[test]
    fn a_head_reads_back_as_it_was_written() {
        let head = verify(&chain(3)).unwrap();
        assert_eq!(head.to_string().parse(), Ok(head));
        for bad in ["", "3", "3:", "x:00", &head.to_string()[1..]] {
            assert_eq!(bad.parse::<Head>(), Err(ParseHeadError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn deleting_or_swapping_any_record_is_found(
            len in 2_usize..20, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(),
        ) {
            let records = chain(u64::try_from(len).unwrap());
            let known = verify(&records).unwrap();
            let finds = |records: &[AuditRecord]| {
                let mut verifier = Verifier::new();
                records
                    .iter()
                    .try_for_each(|record| verifier.check(record))
                    .and_then(|()| verifier.finish(&known))
                    .is_err()
            };
            let (a, b) = (a.index(len), b.index(len));

            let mut deleted = records.clone();
            deleted.remove(a);
            prop_assert!(finds(&deleted));

            if a != b {
                let mut swapped = records;
                swapped.swap(a, b);
                prop_assert!(finds(&swapped));
            }
        }
    }
}
