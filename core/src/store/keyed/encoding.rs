//! Keys and values as bytes.
//!
//! A key is one byte for what it is of, then names and ids; a name is followed by a zero byte, which
//! no name has. A value is one byte for the version of its form, then its fields in their order:
//! numbers with their highest byte first, texts and lists with their length before them. What can't
//! be read is [`StoreError::Corrupt`], never a default; so is a form that this version does not know.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::assurance::{Assurance, FactorKind};
use crate::audit::Head;
use crate::id::{
    CredentialId, FactorId, Generation, GroupId, Label, LocationId, SessionId, TokenId, UserId,
};
use crate::key::PublicKey;
use crate::policy::Failures;
use crate::seal::Sealed;
use crate::store::{
    EndReason, EnrolmentToken, FactorRecord, FactorState, Peer, SessionRecord, StoreError, User,
};
use crate::time::Timestamp;

/// The form of all values.
const FORM: u8 = 1;

/// A user with all that is theirs alone, so that one key answers for one user.
#[derive(Debug, Clone)]
pub(super) struct UserEntry {
    pub(super) user: User,
    /// In the order of enrolment.
    pub(super) factors: Vec<FactorRecord>,
    /// In the order of issue.
    pub(super) tokens: Vec<EnrolmentToken>,
    /// In the order of admission.
    pub(super) live: Vec<LiveSession>,
}

/// Where a user's live session is.
#[derive(Debug, Clone)]
pub(super) struct LiveSession {
    pub(super) session: SessionId,
    pub(super) location: LocationId,
    pub(super) peer: PublicKey,
    pub(super) not_after: Timestamp,
}

/// A peer with the last generation that was given to it, which outlives its sessions.
#[derive(Debug, Clone)]
pub(super) struct PeerEntry {
    pub(super) peer: Peer,
    pub(super) generation: Generation,
}

/// Where a session is: with its peer while it is live.
#[derive(Debug, Clone)]
pub(super) enum SessionEntry {
    Live(LocationId, PublicKey),
    Ended(SessionRecord),
}

/// An audit record. The event's JSON is kept as it was hashed.
#[derive(Debug, Clone)]
pub(super) struct RecordEntry {
    pub(super) previous: [u8; 32],
    pub(super) hash: [u8; 32],
    pub(super) event: String,
}

/// The keys.
pub(super) mod keys {
    use super::*;

    /// The head of the audit chain, which every commit writes.
    pub(in crate::store::keyed) fn head() -> Vec<u8> {
        b"h".to_vec()
    }

    pub(in crate::store::keyed) const USERS: &[u8] = b"u";
    pub(in crate::store::keyed) const RECORDS: &[u8] = b"a";

    pub(in crate::store::keyed) fn record(seq: u64) -> Vec<u8> {
        [RECORDS, &seq.to_be_bytes()].concat()
    }

    pub(in crate::store::keyed) fn user(id: &UserId) -> Vec<u8> {
        [USERS, id.as_str().as_bytes()].concat()
    }

    pub(in crate::store::keyed) fn peers(location: &LocationId) -> Vec<u8> {
        [b"p".as_slice(), location.as_str().as_bytes(), &[0]].concat()
    }

    pub(in crate::store::keyed) fn peer(location: &LocationId, peer: PublicKey) -> Vec<u8> {
        [peers(location), peer.as_bytes().to_vec()].concat()
    }

    pub(in crate::store::keyed) fn lives(location: &LocationId) -> Vec<u8> {
        [b"l".as_slice(), location.as_str().as_bytes(), &[0]].concat()
    }

    /// The live session of a peer.
    pub(in crate::store::keyed) fn live(location: &LocationId, peer: PublicKey) -> Vec<u8> {
        [lives(location), peer.as_bytes().to_vec()].concat()
    }

    pub(in crate::store::keyed) fn session(id: SessionId) -> Vec<u8> {
        [b"s".as_slice(), id.as_bytes().as_slice()].concat()
    }

    /// Whose a factor is.
    pub(in crate::store::keyed) fn factor(id: FactorId) -> Vec<u8> {
        [b"f".as_slice(), id.as_bytes().as_slice()].concat()
    }

    /// Whose a token is.
    pub(in crate::store::keyed) fn token(id: TokenId) -> Vec<u8> {
        [b"t".as_slice(), id.as_bytes().as_slice()].concat()
    }

    /// The factor that has a credential. Kinds are an embedder's own texts, so their length is said.
    pub(in crate::store::keyed) fn credential(kind: &FactorKind, id: &CredentialId) -> Vec<u8> {
        let mut key = b"c".to_vec();
        kind.write(&mut key);
        key.extend_from_slice(id.as_bytes());
        key
    }

    /// The peer that has a prefix: a byte for the family and one for each bit, so that a prefix lies
    /// inside another exactly where its key begins with the other's.
    pub(in crate::store::keyed) fn prefix(location: &LocationId, prefix: IpNet) -> Vec<u8> {
        let mut key = [b"i".as_slice(), location.as_str().as_bytes(), &[0]].concat();
        let octets = match prefix.network() {
            IpAddr::V4(address) => {
                key.push(b'4');
                address.octets().to_vec()
            }
            IpAddr::V6(address) => {
                key.push(b'6');
                address.octets().to_vec()
            }
        };
        let bits = octets.iter().flat_map(|octet| {
            (0..8_u8).map(move |n| {
                let mask: u8 = 0x80 >> n;
                if *octet & mask == 0 { b'0' } else { b'1' }
            })
        });
        key.extend(bits.take(usize::from(prefix.prefix_len())));
        key
    }

    /// The keys of all prefixes that this one lies inside of, itself left out.
    pub(in crate::store::keyed) fn around(location: &LocationId, inner: IpNet) -> Vec<Vec<u8>> {
        let key = prefix(location, inner);
        let bits = usize::from(inner.prefix_len());
        let from = key.len() - bits;
        (from..key.len()).map(|len| key[..len].to_vec()).collect()
    }
}

/// A value in a form of bytes.
pub(super) trait Stored: Sized {
    /// What it is, for the error of one that can't be read.
    const WHAT: &'static str = "an index";

    fn write(&self, out: &mut Vec<u8>);

    fn read(from: &mut Reader<'_>) -> Option<Self>;
}

/// A whole value as it is kept.
pub(super) fn encode(value: &impl Stored) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(FORM);
    value.write(&mut out);
    out
}

/// A whole value, and nothing after it.
pub(super) fn decode<T: Stored>(bytes: &[u8]) -> Result<T, StoreError> {
    let corrupt = StoreError::Corrupt { what: T::WHAT };
    let Some((&FORM, rest)) = bytes.split_first() else {
        return Err(corrupt);
    };
    let mut reader = Reader(rest);
    let value = T::read(&mut reader);
    value.filter(|_| reader.0.is_empty()).ok_or(corrupt)
}

/// What is left to be read.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_be_bytes(self.array()?);
        self.take(usize::try_from(len).ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    // A length beyond this is written as one that does not fit its bytes: it is never read as less.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Fields in their order.
macro_rules! fields {
    ($($type:ident ($what:literal) { $($field:ident),* })*) => {
        $(impl Stored for $type {
            const WHAT: &'static str = $what;

            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.write(out);)*
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                Some(Self { $($field: Stored::read(from)?),* })
            }
        })*
    };
}

fields! {
    UserEntry("a user") { user, factors, tokens, live }
    User("a user") { id, enabled, groups }
    LiveSession("a user") { session, location, peer, not_after }
    PeerEntry("a peer") { peer, generation }
    Peer("a peer") { location, key, user, allowed_ips, label, enabled }
    FactorRecord("a factor") {
        id, user, kind, label, credential, sealed, state, last_counter, failures
    }
    Failures("a factor") { count, last_at }
    EnrolmentToken("an enrolment token") { id, user, digest, kinds, not_after, replaces }
    SessionRecord("a session") {
        id, location, peer, user, allowed_ips, generation, verified_at, not_after,
        renewable_until, psk, assurance, factors, ended
    }
    Assurance("a session") {
        kind, phishing_resistant, user_verified, replay_resistant, verifier_bound, hardware,
        authenticated_at
    }
    RecordEntry("an audit record") { previous, hash, event }
    Head("the head of the audit trail") { seq, hash }
}

/// Through bytes of a fixed length.
macro_rules! fixed {
    ($($type:ty: $to:expr, $from:expr;)*) => {
        $(impl Stored for $type {
            fn write(&self, out: &mut Vec<u8>) {
                let to: fn(&$type) -> _ = $to;
                out.extend_from_slice(&to(self));
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                from.array().map($from)
            }
        })*
    };
}

fixed! {
    u32: |n| n.to_be_bytes(), u32::from_be_bytes;
    u64: |n| n.to_be_bytes(), u64::from_be_bytes;
    Timestamp: |t| t.as_millis().to_be_bytes(), |b| Self::from_millis(u64::from_be_bytes(b));
    Generation: |g| g.get().to_be_bytes(), |b| Self::new(u64::from_be_bytes(b));
    FactorId: |id| *id.as_bytes(), Self::from_bytes;
    SessionId: |id| *id.as_bytes(), Self::from_bytes;
    TokenId: |id| *id.as_bytes(), Self::from_bytes;
    PublicKey: |key| *key.as_bytes(), Self::from_bytes;
}

/// Through text.
macro_rules! text {
    ($($type:ty: $to:expr, $from:expr;)*) => {
        $(impl Stored for $type {
            fn write(&self, out: &mut Vec<u8>) {
                let to: fn(&$type) -> &str = $to;
                write_bytes(to(self).as_bytes(), out);
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                from.text().and_then($from)
            }
        })*
    };
}

text! {
    String: |text| text, |text: &str| Some(text.to_owned());
    UserId: |id| id.as_str(), |text: &str| text.parse().ok();
    LocationId: |id| id.as_str(), |text: &str| text.parse().ok();
    GroupId: |id| id.as_str(), |text: &str| text.parse().ok();
    Label: |label| label.as_str(), |text: &str| Some(Self::from_stored(text));
    FactorKind: |kind| kind.as_str(), |text: &str| Some(Self::from_string(text.to_owned()));
}

/// Through the form that they have in JSON, for what is an enumeration of names.
macro_rules! named {
    ($($type:ty),*) => {
        $(impl Stored for $type {
            fn write(&self, out: &mut Vec<u8>) {
                write_bytes(&name(self), out);
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                parse_name(from.bytes()?)
            }
        })*
    };
}

named!(FactorState, EndReason);

fn name(value: &impl Serialize) -> Vec<u8> {
    // A name without a form is written as none, which is not read as any.
    serde_json::to_vec(value).unwrap_or_default()
}

fn parse_name<T: DeserializeOwned>(name: &[u8]) -> Option<T> {
    serde_json::from_slice(name).ok()
}

impl Stored for [u8; 32] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.array()
    }
}

impl Stored for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match from.array()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl Stored for Sealed {
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(self.as_bytes(), out);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self::from_bytes(from.bytes()?.to_vec()))
    }
}

impl Stored for CredentialId {
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(self.as_bytes(), out);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Self::new(from.bytes()?.to_vec())
    }
}

impl Stored for IpNet {
    fn write(&self, out: &mut Vec<u8>) {
        match self.addr() {
            IpAddr::V4(address) => write_bytes(&address.octets(), out),
            IpAddr::V6(address) => write_bytes(&address.octets(), out),
        }
        out.push(self.prefix_len());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let octets = from.bytes()?;
        let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
        let address = v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
        let [len] = from.array()?;
        Self::new(address.ok()?, len).ok()
    }
}

impl<T: Stored> Stored for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        if bool::read(from)? {
            T::read(from).map(Some)
        } else {
            Some(None)
        }
    }
}

impl<T: Stored> Stored for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).write(out);
        self.iter().for_each(|item| item.write(out));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let len = u32::read(from)?;
        (0..len).map(|_| T::read(from)).collect()
    }
}

impl<A: Stored, B: Stored> Stored for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some((A::read(from)?, B::read(from)?))
    }
}

impl Stored for SessionEntry {
    const WHAT: &'static str = "a session";

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Live(location, peer) => {
                out.push(0);
                location.write(out);
                peer.write(out);
            }
            Self::Ended(record) => {
                out.push(1);
                record.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match from.array()? {
            [0] => Some(Self::Live(Stored::read(from)?, Stored::read(from)?)),
            [1] => Stored::read(from).map(Self::Ended),
            _ => None,
        }
    }
}
