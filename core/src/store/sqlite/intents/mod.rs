//! The intents as SQL. Each runs inside of the writer's transaction, in a savepoint.

mod claim;
mod factors;
mod people;
mod sessions;
mod tokens;

use rusqlite::Params;

pub(super) use self::claim::{enrol_factor, open_session, pass_factor};
pub(super) use self::factors::{
    activate_factor, add_factor, change_factor, record_failure, remove_factor, reseal_factor,
    reset_failures,
};
pub(super) use self::people::{change_user, put_peer, put_user};
pub(super) use self::sessions::{close_session, renew_session, reseal_session};
pub(super) use self::tokens::{put_token, remove_token};

use super::error::engine;
use super::rows::{self, one, standing_columns, variant_name};
use super::writer::Tx;
use crate::audit::AuditEvent;
use crate::id::{CredentialId, FactorId, Generation, LocationId, SessionId, UserId};
use crate::key::PublicKey;
use crate::policy::Failures;
use crate::store::judge::Standing;
use crate::store::{Consume, EndReason, StoreError};

pub(super) fn execute(tx: &Tx<'_>, sql: &str, params: impl Params) -> Result<usize, StoreError> {
    let mut statement = tx.connection.prepare_cached(sql).map_err(engine)?;
    statement.execute(params).map_err(engine)
}

/// Whether the query has a row.
fn exists(tx: &Tx<'_>, sql: &str, params: impl Params) -> Result<bool, StoreError> {
    let mut statement = tx.connection.prepare_cached(sql).map_err(engine)?;
    statement.exists(params).map_err(engine)
}

fn known_user(tx: &Tx<'_>, user: &UserId) -> Result<(), StoreError> {
    let known = exists(tx, "SELECT 1 FROM users WHERE id = ?", [user.as_str()])?;
    known.then_some(()).ok_or(StoreError::UnknownUser)
}

fn standing(tx: &Tx<'_>, factor: FactorId) -> Result<Option<Standing>, StoreError> {
    let sql = concat!("SELECT ", standing_columns!(), " FROM factors WHERE id = ?");
    one(tx.connection, sql, [factor.as_bytes()], rows::standing)
}

/// The last generation of the peer, if it is enrolled and enabled, and its owner is this user and
/// enabled.
fn eligible(
    tx: &Tx<'_>,
    location: &LocationId,
    peer: PublicKey,
    user: &UserId,
) -> Result<Option<Generation>, StoreError> {
    let found = one(
        tx.connection,
        "SELECT user, enabled, generation FROM peers WHERE location = ? AND key = ?",
        (location.as_str(), peer.as_bytes()),
        rows::owned_peer,
    )?;
    let Some(peer) = found.filter(|peer| peer.enabled && peer.owner == *user) else {
        return Ok(None);
    };
    let sql = "SELECT 1 FROM users WHERE id = ? AND enabled = 1";
    let enabled = exists(tx, sql, [user.as_str()])?;
    Ok(enabled.then_some(peer.generation))
}

fn set_failures(tx: &Tx<'_>, factor: FactorId, failures: Failures) -> Result<(), StoreError> {
    let last = failures.last_at.as_millis().cast_signed();
    execute(
        tx,
        "UPDATE factors SET failures = ?, last_failure = ? WHERE id = ?",
        (failures.count, last, factor.as_bytes()),
    )
    .map(drop)
}

/// Takes the step, makes the swap, sets the credential and clears the count. That the step is
/// greater than the last and the secret the one that was read has been judged in this same
/// transaction, which is the only one that writes.
fn take(tx: &Tx<'_>, consume: &Consume) -> Result<(), StoreError> {
    let last = Failures::default().last_at.as_millis().cast_signed();
    execute(
        tx,
        "UPDATE factors SET last_step = coalesce(?, last_step), sealed = coalesce(?, sealed),
           credential = coalesce(?, credential), failures = 0, last_failure = ?
         WHERE id = ?",
        (
            consume.step.map(u64::cast_signed),
            consume.swap.as_ref().map(|swap| swap.to.as_bytes()),
            consume.credential.as_ref().map(CredentialId::as_bytes),
            last,
            consume.factor.as_bytes(),
        ),
    )
    .map(drop)
}

/// Takes the peer's next generation. The last one was read in this same transaction.
fn next_generation(
    tx: &Tx<'_>,
    location: &LocationId,
    peer: PublicKey,
    last: Generation,
) -> Result<Generation, StoreError> {
    let next = last.next();
    execute(
        tx,
        "UPDATE peers SET generation = ? WHERE location = ? AND key = ?",
        (next.get().cast_signed(), location.as_str(), peer.as_bytes()),
    )?;
    Ok(next)
}

fn end(
    tx: &Tx<'_>,
    id: SessionId,
    reason: EndReason,
    event: &AuditEvent,
) -> Result<(), StoreError> {
    execute(
        tx,
        "UPDATE sessions SET end_reason = ?, ended_at = ? WHERE id = ?",
        (
            variant_name(&reason)?,
            event.at.as_millis().cast_signed(),
            id.as_bytes(),
        ),
    )
    .map(drop)
}
