//! Enrolment tokens. Using one up is a part of [`enrol_factor`](super::enrol_factor).

use super::super::rows::{self, one, to_json};
use super::super::writer::Tx;
use super::{execute, exists, known_user};
use crate::audit::AuditEvent;
use crate::id::{FactorId, TokenId};
use crate::store::attribution;
use crate::store::{EnrolmentToken, StoreError};

pub(in crate::store::sqlite) fn put_token(
    tx: &mut Tx<'_>,
    token: &EnrolmentToken,
    event: AuditEvent,
) -> Result<(), StoreError> {
    known_user(tx, &token.user)?;
    let sql = "SELECT 1 FROM tokens WHERE id = ?";
    if exists(tx, sql, [token.id.as_bytes()])? {
        return Err(StoreError::Conflict);
    }
    execute(
        tx,
        "INSERT INTO tokens (id, user, digest, kinds, not_after, replaces)
         VALUES (?, ?, ?, ?, ?, ?)",
        (
            token.id.as_bytes(),
            token.user.as_str(),
            token.digest,
            to_json(&token.kinds)?,
            token.not_after.as_millis().cast_signed(),
            token.replaces.as_ref().map(FactorId::as_bytes),
        ),
    )?;
    tx.append(attribution::of_user(event, &token.user))
}

pub(in crate::store::sqlite) fn remove_token(
    tx: &mut Tx<'_>,
    id: TokenId,
    event: AuditEvent,
) -> Result<bool, StoreError> {
    let sql = "DELETE FROM tokens WHERE id = ? RETURNING user";
    let Some(user) = one(tx.connection, sql, [id.as_bytes()], rows::token_owner)? else {
        return Ok(false);
    };
    tx.append(attribution::of_user(event, &user))?;
    Ok(true)
}
