//! Rows to records and back. What can't be read is [`StoreError::Corrupt`], never a default.

use data_encoding::HEXLOWER;
use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::engine;
use crate::assurance::FactorKind;
use crate::audit::AuditRecord;
use crate::id::{CredentialId, FactorId, Generation, Label, SessionId, TokenId, UserId};
use crate::key::PublicKey;
use crate::policy::Failures;
use crate::seal::Sealed;
use crate::store::judge::FactorSnapshot;
use crate::store::{
    EnrolmentToken, FactorRecord, FactorState, Peer, SessionRecord, StoreError, User,
};
use crate::time::Timestamp;

/// The columns that each reading function below expects, in its order.
macro_rules! columns {
    ($($name:ident = $columns:literal;)*) => {
        $(
            macro_rules! $name {
                () => { $columns };
            }
            pub(super) use $name;
        )*
    };
}

columns! {
    user_columns = "id, enabled, groups";
    peer_columns = "location, key, user, allowed_ips, label, enabled";
    factor_columns = "id, user, kind, label, sealed, state, last_step, failures, last_failure, credential";
    snapshot_columns = "user, state, last_step, failures, last_failure, sealed";
    token_columns = "id, user, digest, kinds, not_after, replaces";
    session_columns = "id, location, peer, user, allowed_ips, generation, verified_at, not_after, psk, assurance, end_reason, ended_at, factors, renewable_until";
    audit_columns = "seq, previous, event, hash";
}

/// One row, read by column, with the name of what it is for the error.
struct Columns<'r> {
    row: &'r Row<'r>,
    what: &'static str,
}

impl Columns<'_> {
    fn get<T: rusqlite::types::FromSql>(&self, index: usize) -> Result<T, StoreError> {
        self.row.get(index).map_err(|_| self.corrupt())
    }

    const fn corrupt(&self) -> StoreError {
        StoreError::Corrupt { what: self.what }
    }

    fn parse<T: std::str::FromStr>(&self, index: usize) -> Result<T, StoreError> {
        let text: String = self.get(index)?;
        text.parse().map_err(|_| self.corrupt())
    }

    fn json<T: DeserializeOwned>(&self, index: usize) -> Result<T, StoreError> {
        let text: String = self.get(index)?;
        serde_json::from_str(&text).map_err(|_| self.corrupt())
    }

    /// A unit variant of an enum, kept as its bare serde name.
    fn variant<T: DeserializeOwned>(&self, name: String) -> Result<T, StoreError> {
        serde_json::from_value(serde_json::Value::String(name)).map_err(|_| self.corrupt())
    }

    fn bytes<const N: usize>(&self, index: usize) -> Result<[u8; N], StoreError> {
        self.get(index)
    }

    /// A label, which may be older than the rule for labels.
    fn label(&self, index: usize) -> Result<Label, StoreError> {
        let text: String = self.get(index)?;
        Ok(Label::from_stored(&text))
    }

    fn number(&self, index: usize) -> Result<u64, StoreError> {
        Ok(self.get::<i64>(index)?.cast_unsigned())
    }

    fn time(&self, index: usize) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_millis(self.number(index)?))
    }

    fn failures(&self, count: usize, last: usize) -> Result<Failures, StoreError> {
        Ok(Failures {
            count: self.get(count)?,
            last_at: self.time(last)?,
        })
    }
}

pub(super) fn user(row: &Row<'_>) -> Result<User, StoreError> {
    let what = "a user";
    let columns = Columns { row, what };
    Ok(User {
        id: columns.parse(0)?,
        enabled: columns.get(1)?,
        groups: columns.json(2)?,
    })
}

pub(super) fn peer(row: &Row<'_>) -> Result<Peer, StoreError> {
    let what = "a peer";
    let columns = Columns { row, what };
    Ok(Peer {
        location: columns.parse(0)?,
        key: PublicKey::from_bytes(columns.bytes(1)?),
        user: columns.parse(2)?,
        allowed_ips: columns.json(3)?,
        label: columns.label(4)?,
        enabled: columns.get(5)?,
    })
}

pub(super) fn factor(row: &Row<'_>) -> Result<FactorRecord, StoreError> {
    let what = "a factor";
    let columns = Columns { row, what };
    let credential: Option<Vec<u8>> = columns.get(9)?;
    let credential = credential.map(|bytes| CredentialId::new(bytes).ok_or(columns.corrupt()));
    Ok(FactorRecord {
        id: FactorId::from_bytes(columns.bytes(0)?),
        user: columns.parse(1)?,
        kind: FactorKind::from_string(columns.get(2)?),
        label: columns.label(3)?,
        credential: credential.transpose()?,
        sealed: Sealed::from_bytes(columns.get(4)?),
        state: columns.variant(columns.get(5)?)?,
        last_counter: columns.get::<Option<i64>>(6)?.map(i64::cast_unsigned),
        failures: columns.failures(7, 8)?,
    })
}

pub(super) fn snapshot(row: &Row<'_>) -> Result<FactorSnapshot, StoreError> {
    let what = "a factor";
    let columns = Columns { row, what };
    Ok(FactorSnapshot {
        user: columns.parse(0)?,
        state: columns.variant(columns.get(1)?)?,
        last_counter: columns.get::<Option<i64>>(2)?.map(i64::cast_unsigned),
        failures: columns.failures(3, 4)?,
        sealed: Sealed::from_bytes(columns.get(5)?),
    })
}

pub(super) fn session(row: &Row<'_>) -> Result<SessionRecord, StoreError> {
    let what = "a session";
    let columns = Columns { row, what };
    let ended = match (columns.get::<Option<String>>(10)?, columns.get(11)?) {
        (None, None) => None,
        (Some(reason), Some(at)) => {
            let at = Timestamp::from_millis(i64::cast_unsigned(at));
            Some((columns.variant(reason)?, at))
        }
        _ => return Err(columns.corrupt()),
    };
    Ok(SessionRecord {
        id: SessionId::from_bytes(columns.bytes(0)?),
        location: columns.parse(1)?,
        peer: PublicKey::from_bytes(columns.bytes(2)?),
        user: columns.parse(3)?,
        allowed_ips: columns.json(4)?,
        generation: Generation::new(columns.number(5)?),
        verified_at: columns.time(6)?,
        not_after: columns.time(7)?,
        renewable_until: columns.time(13)?,
        psk: Sealed::from_bytes(columns.get(8)?),
        assurance: columns.json(9)?,
        factors: columns.json(12)?,
        ended,
    })
}

/// What an admission depends on of a peer.
pub(super) struct OwnedPeer {
    pub(super) owner: UserId,
    pub(super) enabled: bool,
    /// The last one that was given.
    pub(super) generation: Generation,
}

pub(super) fn owned_peer(row: &Row<'_>) -> Result<OwnedPeer, StoreError> {
    let what = "a peer";
    let columns = Columns { row, what };
    Ok(OwnedPeer {
        owner: columns.parse(0)?,
        enabled: columns.get(1)?,
        generation: Generation::new(columns.number(2)?),
    })
}

/// Whose a range of addresses is, and where it ends.
pub(super) fn held_range(row: &Row<'_>) -> Result<(PublicKey, Vec<u8>), StoreError> {
    let what = "a peer's addresses";
    let columns = Columns { row, what };
    Ok((PublicKey::from_bytes(columns.bytes(0)?), columns.get(1)?))
}

/// A session's id and whose it is.
pub(super) fn owned_session(row: &Row<'_>) -> Result<(SessionId, UserId), StoreError> {
    let what = "a session";
    let columns = Columns { row, what };
    Ok((SessionId::from_bytes(columns.bytes(0)?), columns.parse(1)?))
}

/// When a session ends at the latest.
pub(super) fn session_end(row: &Row<'_>) -> Result<Timestamp, StoreError> {
    let what = "a session";
    Columns { row, what }.time(0)
}

pub(super) fn token(row: &Row<'_>) -> Result<EnrolmentToken, StoreError> {
    let what = "an enrolment token";
    let columns = Columns { row, what };
    Ok(EnrolmentToken {
        id: TokenId::from_bytes(columns.bytes(0)?),
        user: columns.parse(1)?,
        digest: columns.bytes(2)?,
        kinds: columns.json(3)?,
        not_after: columns.time(4)?,
        replaces: columns.get::<Option<_>>(5)?.map(FactorId::from_bytes),
    })
}

/// Whose a token is.
pub(super) fn token_owner(row: &Row<'_>) -> Result<UserId, StoreError> {
    let what = "an enrolment token";
    Columns { row, what }.parse(0)
}

pub(super) fn audit(row: &Row<'_>) -> Result<AuditRecord, StoreError> {
    let what = "an audit record";
    let columns = Columns { row, what };
    let event = columns.json(2)?;
    // Its hash is over the bytes as written: another spelling of the same event is not the record.
    if to_json(&event)? != columns.get::<String>(2)? {
        return Err(columns.corrupt());
    }
    Ok(AuditRecord {
        seq: columns.number(0)?,
        previous: HEXLOWER.encode(&columns.bytes::<32>(1)?),
        event,
        hash: HEXLOWER.encode(&columns.bytes::<32>(3)?),
    })
}

/// A factor's state as it is kept.
pub(super) const fn state_name(state: FactorState) -> &'static str {
    match state {
        FactorState::Pending => "pending",
        FactorState::Active => "active",
        FactorState::Suspended => "suspended",
    }
}

/// A unit variant as its bare serde name.
pub(super) fn variant_name(value: &impl Serialize) -> Result<String, StoreError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => Ok(name),
        Ok(_) => Err(StoreError::Backend("not a plain name".into())),
        Err(error) => Err(StoreError::Backend(Box::new(error))),
    }
}

pub(super) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Backend(Box::new(error)))
}

/// All rows of a query, each by `read`.
pub(super) fn all<T>(
    connection: &rusqlite::Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(engine)?;
    let mut rows = statement.query(params).map_err(engine)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(engine)? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// The only row of a query, if there is one, by `read`.
pub(super) fn one<T>(
    connection: &rusqlite::Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(engine)?;
    let mut rows = statement.query(params).map_err(engine)?;
    rows.next().map_err(engine)?.map(read).transpose()
}
