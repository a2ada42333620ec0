//! The intents as SQL. Each runs inside of the writer's transaction, in a savepoint.

use rusqlite::Params;

use super::addresses;
use super::error::engine;
use super::rows::{
    self, one, session_columns, standing_columns, state_name, to_json, user_columns, variant_name,
};
use super::writer::Tx;
use crate::audit::{AuditEvent, AuditKind};
use crate::id::{FactorId, Generation, LocationId, SessionId, UserId};
use crate::key::PublicKey;
use crate::policy::{Failures, Throttle};
use crate::seal::Sealed;
use crate::store::attribution::{self, instead};
use crate::store::judge::{Standing, Verdict, judge, names_a_factor_twice};
use crate::store::{
    Activated, Consume, EndReason, FactorRecord, FactorState, Failure, FailureReason,
    FailureRecorded, NewSession, Opened, Peer, Renewal, Renewed, SessionRecord, StoreError, User,
};

pub(super) fn put_user(tx: &mut Tx<'_>, user: &User, event: AuditEvent) -> Result<(), StoreError> {
    execute(
        tx,
        "INSERT INTO users (id, enabled) VALUES (?, ?)
         ON CONFLICT (id) DO UPDATE SET enabled = excluded.enabled",
        (user.id.as_str(), user.enabled),
    )?;
    tx.append(attribution::of_user(event, &user.id))
}

pub(super) fn put_peer(tx: &mut Tx<'_>, peer: &Peer, event: AuditEvent) -> Result<(), StoreError> {
    known_user(tx, &peer.user)?;
    execute(
        tx,
        "INSERT INTO peers (location, key, user, allowed_ips, label, enabled)
         VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (location, key) DO UPDATE SET user = excluded.user,
           allowed_ips = excluded.allowed_ips, label = excluded.label, enabled = excluded.enabled",
        (
            peer.location.as_str(),
            peer.key.as_bytes(),
            peer.user.as_str(),
            to_json(&peer.allowed_ips)?,
            &peer.label,
            peer.enabled,
        ),
    )?;
    addresses::take(tx, peer)?;
    tx.append(attribution::of_peer(event, peer))
}

pub(super) fn add_factor(
    tx: &mut Tx<'_>,
    factor: &FactorRecord,
    event: AuditEvent,
) -> Result<(), StoreError> {
    known_user(tx, &factor.user)?;
    if standing(tx, factor.id)?.is_some() {
        return Err(StoreError::Conflict);
    }
    execute(
        tx,
        "INSERT INTO factors
           (id, user, kind, label, sealed, state, last_step, failures, last_failure)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            factor.id.as_bytes(),
            factor.user.as_str(),
            factor.kind.as_str(),
            &factor.label,
            factor.sealed.as_bytes(),
            state_name(factor.state),
            factor.last_step.map(u64::cast_signed),
            factor.failures.count,
            factor.failures.last_at.as_millis().cast_signed(),
        ),
    )?;
    tx.append(attribution::of_factor(event, factor.id, &factor.user))
}

pub(super) fn activate_factor(
    tx: &mut Tx<'_>,
    consume: Consume,
    throttle: &Throttle,
    mut event: AuditEvent,
) -> Result<Activated, StoreError> {
    event.factor = Some(consume.factor);
    let pending = standing(tx, consume.factor)?.filter(|f| f.state == FactorState::Pending);
    let Some(factor) = pending else {
        tx.append(instead(event, AuditKind::NotEligible))?;
        return Ok(Activated::NotPending);
    };
    let event = attribution::of_user(event, &factor.user);
    if let Some(lock) = factor.locked(throttle, event.at) {
        tx.append(instead(event, AuditKind::LockedOut))?;
        return Ok(Activated::Locked(lock));
    }
    if factor.is_spent(consume.step) {
        let failures = factor.failures.plus_one(event.at);
        set_failures(tx, consume.factor, failures)?;
        let lock = throttle.lock(failures, event.at);
        let reason = FailureReason::Replayed;
        tx.append(instead(event, AuditKind::Denied { reason }))?;
        return Ok(Activated::Replayed(lock));
    }
    take_step(tx, consume)?;
    execute(
        tx,
        "UPDATE factors SET state = 'active' WHERE id = ?",
        [consume.factor.as_bytes()],
    )?;
    tx.append(event)?;
    Ok(Activated::Activated)
}

pub(super) fn remove_factor(
    tx: &mut Tx<'_>,
    id: FactorId,
    event: AuditEvent,
) -> Result<bool, StoreError> {
    let Some(factor) = standing(tx, id)? else {
        return Ok(false);
    };
    execute(tx, "DELETE FROM factors WHERE id = ?", [id.as_bytes()])?;
    tx.append(attribution::of_factor(event, id, &factor.user))?;
    Ok(true)
}

pub(super) fn reset_failures(
    tx: &mut Tx<'_>,
    id: FactorId,
    event: AuditEvent,
) -> Result<bool, StoreError> {
    let Some(factor) = standing(tx, id)? else {
        return Ok(false);
    };
    set_failures(tx, id, Failures::default())?;
    tx.append(attribution::of_factor(event, id, &factor.user))?;
    Ok(true)
}

pub(super) fn reseal_factor(
    tx: &mut Tx<'_>,
    id: FactorId,
    from: &Sealed,
    to: &Sealed,
) -> Result<bool, StoreError> {
    let changed = execute(
        tx,
        "UPDATE factors SET sealed = ? WHERE id = ? AND sealed = ?",
        (to.as_bytes(), id.as_bytes(), from.as_bytes()),
    )?;
    Ok(changed == 1)
}

pub(super) fn record_failure(
    tx: &mut Tx<'_>,
    failure: Failure,
) -> Result<FailureRecorded, StoreError> {
    let mut event = failure.event;
    event.factor = Some(failure.factor);
    let Some(factor) = standing(tx, failure.factor)? else {
        tx.append(instead(event, AuditKind::NotEligible))?;
        return Ok(FailureRecorded::FactorGone);
    };
    let event = attribution::of_user(event, &factor.user);
    if let Some(lock) = factor.locked(&failure.throttle, failure.at) {
        tx.append(instead(event, AuditKind::LockedOut))?;
        return Ok(FailureRecorded::Locked(lock));
    }
    let failures = factor.failures.plus_one(failure.at);
    set_failures(tx, failure.factor, failures)?;
    tx.append(event)?;
    let lock = failure.throttle.lock(failures, failure.at);
    Ok(FailureRecorded::Counted(lock))
}

pub(super) fn open_session(tx: &mut Tx<'_>, new: &NewSession) -> Result<Opened, StoreError> {
    let sql = "SELECT 1 FROM sessions WHERE id = ?";
    let known = one(tx.connection, sql, [new.id.as_bytes()], |_| Ok(()))?;
    if known.is_some() || names_a_factor_twice(&new.consume) {
        return Err(StoreError::Conflict);
    }
    let Some(last) = eligible(tx, &new.location, new.peer, &new.user)? else {
        tx.append(attribution::refused(new, AuditKind::NotEligible, None))?;
        return Ok(Opened::PeerGone);
    };
    let mut factors = Vec::with_capacity(new.consume.len());
    for consume in &new.consume {
        factors.push((*consume, standing(tx, consume.factor)?));
    }
    match judge(&new.user, &factors, &new.throttle, new.verified_at) {
        Verdict::Gone(index) => {
            let factor = factors[index].0.factor;
            let kind = AuditKind::NotEligible;
            tx.append(attribution::refused(new, kind, Some(factor)))?;
            Ok(Opened::FactorGone { factor })
        }
        Verdict::Locked(index, lock) => {
            let factor = factors[index].0.factor;
            let kind = AuditKind::LockedOut;
            tx.append(attribution::refused(new, kind, Some(factor)))?;
            Ok(Opened::Locked { factor, lock })
        }
        Verdict::Spent => count_replays(tx, new, &factors),
        Verdict::Admit => admit(tx, new, last),
    }
}

/// Counts each spent step as a failure of its factor; tells of the first.
fn count_replays(
    tx: &mut Tx<'_>,
    new: &NewSession,
    factors: &[(Consume, Option<Standing>)],
) -> Result<Opened, StoreError> {
    let mut first = None;
    for (consume, standing) in factors {
        let Some(standing) = standing.as_ref().filter(|s| s.is_spent(consume.step)) else {
            continue;
        };
        let factor = consume.factor;
        let failures = standing.failures.plus_one(new.verified_at);
        set_failures(tx, factor, failures)?;
        tx.append(attribution::replayed(new, factor))?;
        let lock = new.throttle.lock(failures, new.verified_at);
        first.get_or_insert(Opened::Replayed { factor, lock });
    }
    first.ok_or(StoreError::Corrupt { what: "a factor" })
}

fn admit(tx: &mut Tx<'_>, new: &NewSession, last: Generation) -> Result<Opened, StoreError> {
    for consume in &new.consume {
        take_step(tx, *consume)?;
    }
    let old = one(
        tx.connection,
        "SELECT id, user FROM sessions WHERE location = ? AND peer = ? AND ended_at IS NULL",
        (new.location.as_str(), new.peer.as_bytes()),
        rows::owned_session,
    )?;
    if let Some((old, owner)) = &old {
        end(tx, *old, EndReason::Superseded, &new.event)?;
        tx.append(attribution::superseded(new, *old, owner))?;
    }
    let generation = next_generation(tx, &new.location, new.peer, last)?;
    execute(
        tx,
        "INSERT INTO sessions (id, location, peer, user, allowed_ips, generation, verified_at,
           not_after, psk, assurance)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.id.as_bytes(),
            new.location.as_str(),
            new.peer.as_bytes(),
            new.user.as_str(),
            to_json(&new.allowed_ips)?,
            generation.get().cast_signed(),
            new.verified_at.as_millis().cast_signed(),
            new.not_after.as_millis().cast_signed(),
            new.psk.as_bytes(),
            to_json(&new.assurance)?,
        ),
    )?;
    tx.append(attribution::admitted(new))?;
    Ok(Opened::Opened {
        generation,
        superseded: old.map(|(old, _)| old),
    })
}

pub(super) fn renew_session(tx: &mut Tx<'_>, renewal: Renewal) -> Result<Renewed, StoreError> {
    let found = session(tx, renewal.id)?;
    let mut event = renewal.event;
    event.session = Some(renewal.id);
    if let Some(s) = &found {
        event = attribution::of_session(event, s.id, &s.location, s.peer, &s.user);
    }
    let live = found.filter(|s| s.ended.is_none() && s.generation == renewal.generation);
    let last = match &live {
        Some(live) => eligible(tx, &live.location, live.peer, &live.user)?,
        None => None,
    };
    let (Some(session), Some(last)) = (live, last) else {
        tx.append(instead(event, AuditKind::NotEligible))?;
        return Ok(Renewed::Gone);
    };
    let generation = next_generation(tx, &session.location, session.peer, last)?;
    execute(
        tx,
        "UPDATE sessions SET generation = ?, not_after = ?, psk = ? WHERE id = ?",
        (
            generation.get().cast_signed(),
            renewal.not_after.as_millis().cast_signed(),
            renewal.psk.as_bytes(),
            renewal.id.as_bytes(),
        ),
    )?;
    tx.append(event)?;
    Ok(Renewed::Renewed(generation))
}

pub(super) fn close_session(
    tx: &mut Tx<'_>,
    id: SessionId,
    reason: EndReason,
    event: AuditEvent,
) -> Result<bool, StoreError> {
    let Some(live) = session(tx, id)?.filter(|session| session.ended.is_none()) else {
        return Ok(false);
    };
    end(tx, id, reason, &event)?;
    tx.append(attribution::of_session(
        event,
        id,
        &live.location,
        live.peer,
        &live.user,
    ))?;
    Ok(true)
}

pub(super) fn reseal_session(
    tx: &mut Tx<'_>,
    id: SessionId,
    from: &Sealed,
    to: &Sealed,
) -> Result<bool, StoreError> {
    let changed = execute(
        tx,
        "UPDATE sessions SET psk = ? WHERE id = ? AND psk = ? AND ended_at IS NULL",
        (to.as_bytes(), id.as_bytes(), from.as_bytes()),
    )?;
    Ok(changed == 1)
}

pub(super) fn execute(tx: &Tx<'_>, sql: &str, params: impl Params) -> Result<usize, StoreError> {
    let mut statement = tx.connection.prepare_cached(sql).map_err(engine)?;
    statement.execute(params).map_err(engine)
}

fn known_user(tx: &Tx<'_>, user: &UserId) -> Result<(), StoreError> {
    find_user(tx, user)?
        .map(drop)
        .ok_or(StoreError::UnknownUser)
}

fn find_user(tx: &Tx<'_>, user: &UserId) -> Result<Option<User>, StoreError> {
    let sql = concat!("SELECT ", user_columns!(), " FROM users WHERE id = ?");
    one(tx.connection, sql, [user.as_str()], rows::user)
}

fn standing(tx: &Tx<'_>, factor: FactorId) -> Result<Option<Standing>, StoreError> {
    let sql = concat!("SELECT ", standing_columns!(), " FROM factors WHERE id = ?");
    one(tx.connection, sql, [factor.as_bytes()], rows::standing)
}

fn session(tx: &Tx<'_>, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
    let sql = concat!("SELECT ", session_columns!(), " FROM sessions WHERE id = ?");
    one(tx.connection, sql, [id.as_bytes()], rows::session)
}

/// The last generation of the peer, if it is enrolled and enabled, and its owner is this user and
/// enabled.
fn eligible(
    tx: &Tx<'_>,
    location: &LocationId,
    peer: PublicKey,
    user: &UserId,
) -> Result<Option<Generation>, StoreError> {
    // Two look-ups by key: for a join, SQLite would plan anew for each value that is bound.
    let found = one(
        tx.connection,
        "SELECT user, enabled, generation FROM peers WHERE location = ? AND key = ?",
        (location.as_str(), peer.as_bytes()),
        rows::owned_peer,
    )?;
    let Some((owner, last)) = found else {
        return Ok(None);
    };
    if !owner.enabled || owner.id != *user {
        return Ok(None);
    }
    let user = find_user(tx, user)?;
    Ok(user.filter(|user| user.enabled).map(|_| last))
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

/// Takes the step and clears the count. That the step is greater than the last has been judged in
/// this same transaction, which is the only one that writes.
fn take_step(tx: &Tx<'_>, consume: Consume) -> Result<(), StoreError> {
    let last = Failures::default().last_at.as_millis().cast_signed();
    execute(
        tx,
        "UPDATE factors SET last_step = coalesce(?, last_step), failures = 0, last_failure = ?
         WHERE id = ?",
        (
            consume.step.map(u64::cast_signed),
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
