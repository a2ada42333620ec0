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
pub(super) use self::people::{change_user, put_all, put_peer, put_user};
pub(super) use self::sessions::{close_session, renew_session, reseal_session};
pub(super) use self::tokens::{put_token, remove_token};

use super::error::engine;
use super::rows::{self, all, one, session_columns, snapshot_columns, variant_name};
use super::writer::Tx;
use crate::audit::AuditEvent;
use crate::id::{CredentialId, FactorId, Generation, LocationId, SessionId, UserId};
use crate::key::PublicKey;
use crate::policy::Failures;
use crate::store::attribution;
use crate::store::judge::FactorSnapshot;
use crate::store::{EndReason, FactorUse, SessionRecord, StoreError};

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

fn snapshot(tx: &Tx<'_>, factor: FactorId) -> Result<Option<FactorSnapshot>, StoreError> {
    let sql = concat!("SELECT ", snapshot_columns!(), " FROM factors WHERE id = ?");
    one(tx.connection, sql, [factor.as_bytes()], rows::snapshot)
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

/// Takes the step, makes the replacement, sets the credential and clears the count. That the step is
/// greater than the last and the secret the one that was read has been judged in this same
/// transaction, which is the only one that writes.
fn take(tx: &Tx<'_>, factor_use: &FactorUse) -> Result<(), StoreError> {
    let last = Failures::default().last_at.as_millis().cast_signed();
    execute(
        tx,
        "UPDATE factors SET last_step = coalesce(?, last_step), sealed = coalesce(?, sealed),
           credential = coalesce(?, credential), failures = 0, last_failure = ?
         WHERE id = ?",
        (
            factor_use.counter.map(u64::cast_signed),
            factor_use
                .replace_secret
                .as_ref()
                .map(|replacement| replacement.to.as_bytes()),
            factor_use.credential.as_ref().map(CredentialId::as_bytes),
            last,
            factor_use.factor.as_bytes(),
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

/// The live sessions of a user, at every location.
fn live_of_user(tx: &Tx<'_>, user: &UserId) -> Result<Vec<SessionRecord>, StoreError> {
    let sql = concat!(
        "SELECT ",
        session_columns!(),
        " FROM sessions WHERE user = ? AND ended_at IS NULL ORDER BY ordinal"
    );
    all(tx.connection, sql, [user.as_str()], rows::session)
}

/// Ends live sessions because of a change, which has this event, each with a record of its own.
fn end_all(
    tx: &mut Tx<'_>,
    live: &[SessionRecord],
    reason: EndReason,
    event: &AuditEvent,
) -> Result<(), StoreError> {
    for session in live {
        end(tx, session.id, reason, event)?;
        tx.append(attribution::ended_by(event, session, reason))?;
    }
    Ok(())
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
