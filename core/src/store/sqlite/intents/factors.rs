//! Factors: their life, and their failures.

use super::super::rows::state_name;
use super::super::writer::Tx;
use super::{end_all, execute, exists, known_user, live_of_user, set_failures, snapshot, take};
use crate::audit::{AuditEvent, AuditKind};
use crate::id::FactorId;
use crate::policy::{Failures, Throttle};
use crate::seal::Sealed;
use crate::store::attribution::{self, instead};
use crate::store::judge::FactorSnapshot;
use crate::store::{
    Activated, EndReason, FactorChange, FactorEnrolment, FactorFailure, FactorRecord, FactorState,
    FactorUse, FailureRecorded, LastFactor, StoreError,
};

pub(in crate::store::sqlite) fn add_factor(
    tx: &mut Tx<'_>,
    factor: &FactorRecord,
    event: AuditEvent,
) -> Result<(), StoreError> {
    known_user(tx, &factor.user)?;
    if snapshot(tx, factor.id)?.is_some() {
        return Err(StoreError::Conflict);
    }
    if is_credential_taken(tx, factor)? {
        return Err(StoreError::CredentialTaken);
    }
    insert(tx, factor)?;
    tx.append(attribution::of_factor(event, factor.id, &factor.user))
}

pub(in crate::store::sqlite) fn activate_factor(
    tx: &mut Tx<'_>,
    factor_use: &FactorUse,
    throttle: &Throttle,
    mut event: AuditEvent,
) -> Result<Activated, StoreError> {
    event.factor = Some(factor_use.factor);
    let pending = snapshot(tx, factor_use.factor)?.filter(|f| f.state == FactorState::Pending);
    let Some(factor) = pending else {
        tx.append(instead(event, AuditKind::NotEligible))?;
        return Ok(Activated::NotPending);
    };
    let event = attribution::of_user(event, &factor.user);
    if let Some((outcome, kind, failures)) =
        factor.refuses_activation(factor_use, throttle, event.at)
    {
        if let Some(failures) = failures {
            set_failures(tx, factor_use.factor, failures)?;
        }
        tx.append(instead(event, kind))?;
        return Ok(outcome);
    }
    take(tx, factor_use)?;
    set_state(tx, factor_use.factor, FactorState::Active)?;
    tx.append(event)?;
    Ok(Activated::Activated)
}

pub(in crate::store::sqlite) fn change_factor(
    tx: &mut Tx<'_>,
    id: FactorId,
    change: &FactorChange,
    event: AuditEvent,
) -> Result<bool, StoreError> {
    let Some(factor) = snapshot(tx, id)?.filter(|factor| factor.is_fit_for(change)) else {
        return Ok(false);
    };
    let event = attribution::of_factor(event, id, &factor.user);
    match change {
        FactorChange::Rename(label) => {
            let sql = "UPDATE factors SET label = ? WHERE id = ?";
            execute(tx, sql, (label.as_str(), id.as_bytes()))?;
            tx.append(event)?;
        }
        FactorChange::Suspend(last) => {
            keep_one(tx, id, &factor, *last)?;
            set_state(tx, id, FactorState::Suspended)?;
            tx.append(event.clone())?;
            end_opened_by(tx, id, &factor, &event)?;
        }
        FactorChange::Resume => {
            set_state(tx, id, FactorState::Active)?;
            tx.append(event)?;
        }
    }
    Ok(true)
}

pub(in crate::store::sqlite) fn remove_factor(
    tx: &mut Tx<'_>,
    id: FactorId,
    last: LastFactor,
    event: AuditEvent,
) -> Result<bool, StoreError> {
    let Some(factor) = snapshot(tx, id)? else {
        return Ok(false);
    };
    keep_one(tx, id, &factor, last)?;
    let event = attribution::of_factor(event, id, &factor.user);
    delete(tx, id, &factor, &event)?;
    Ok(true)
}

/// Makes room for a factor that takes the place of another of its user's, if that is still there.
pub(super) fn replace(
    tx: &mut Tx<'_>,
    new: &FactorEnrolment,
    old: FactorId,
) -> Result<(), StoreError> {
    match snapshot(tx, old)? {
        Some(factor) if factor.user == new.factor.user => {
            delete(tx, old, &factor, &attribution::replaced(new, old))
        }
        Some(_) | None => Ok(()),
    }
}

fn delete(
    tx: &mut Tx<'_>,
    id: FactorId,
    factor: &FactorSnapshot,
    event: &AuditEvent,
) -> Result<(), StoreError> {
    execute(tx, "DELETE FROM factors WHERE id = ?", [id.as_bytes()])?;
    tx.append(event.clone())?;
    end_opened_by(tx, id, factor, event)
}

pub(in crate::store::sqlite) fn reset_failures(
    tx: &mut Tx<'_>,
    id: FactorId,
    event: AuditEvent,
) -> Result<bool, StoreError> {
    let Some(factor) = snapshot(tx, id)? else {
        return Ok(false);
    };
    set_failures(tx, id, Failures::default())?;
    let event = attribution::of_factor(event, id, &factor.user);
    tx.append(event.clone())?;
    end_opened_by(tx, id, &factor, &event)?;
    Ok(true)
}

pub(in crate::store::sqlite) fn reseal_factor(
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

pub(in crate::store::sqlite) fn record_failure(
    tx: &mut Tx<'_>,
    failure: FactorFailure,
) -> Result<FailureRecorded, StoreError> {
    let mut event = failure.event;
    event.factor = Some(failure.factor);
    let Some(factor) = snapshot(tx, failure.factor)? else {
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

/// Inserts a factor whose id and credential are known to be free.
pub(super) fn insert(tx: &Tx<'_>, factor: &FactorRecord) -> Result<(), StoreError> {
    execute(
        tx,
        "INSERT INTO factors
           (id, user, kind, label, credential, sealed, state, last_step, failures, last_failure)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            factor.id.as_bytes(),
            factor.user.as_str(),
            factor.kind.as_str(),
            factor.label.as_str(),
            factor.credential.as_ref().map(|id| id.as_bytes()),
            factor.sealed.as_bytes(),
            state_name(factor.state),
            factor.last_counter.map(u64::cast_signed),
            factor.failures.count,
            factor.failures.last_at.as_millis().cast_signed(),
        ),
    )
    .map(drop)
}

pub(super) fn is_credential_taken(tx: &Tx<'_>, factor: &FactorRecord) -> Result<bool, StoreError> {
    let Some(credential) = &factor.credential else {
        return Ok(false);
    };
    exists(
        tx,
        "SELECT 1 FROM factors WHERE kind = ? AND credential = ?",
        (factor.kind.as_str(), credential.as_bytes()),
    )
}

/// Whether another factor has the credential that an answer gives its own.
pub(super) fn takes_anothers(tx: &Tx<'_>, factor_use: &FactorUse) -> Result<bool, StoreError> {
    let Some(credential) = &factor_use.credential else {
        return Ok(false);
    };
    exists(
        tx,
        "SELECT 1 FROM factors AS own JOIN factors AS other USING (kind)
         WHERE own.id = ? AND other.id <> own.id AND other.credential = ?",
        (factor_use.factor.as_bytes(), credential.as_bytes()),
    )
}

fn set_state(tx: &Tx<'_>, id: FactorId, state: FactorState) -> Result<(), StoreError> {
    let sql = "UPDATE factors SET state = ? WHERE id = ?";
    execute(tx, sql, (state_name(state), id.as_bytes())).map(drop)
}

/// Refuses to let a user's last active factor go, unless that is what is wanted.
fn keep_one(
    tx: &Tx<'_>,
    id: FactorId,
    factor: &FactorSnapshot,
    last: LastFactor,
) -> Result<(), StoreError> {
    if last == LastFactor::Danger || factor.state != FactorState::Active {
        return Ok(());
    }
    let another = exists(
        tx,
        "SELECT 1 FROM factors WHERE user = ? AND state = 'active' AND id <> ?",
        (factor.user.as_str(), id.as_bytes()),
    )?;
    another.then_some(()).ok_or(StoreError::LastFactor)
}

/// Ends the live sessions that the factor opened, each with a record of its own.
fn end_opened_by(
    tx: &mut Tx<'_>,
    id: FactorId,
    factor: &FactorSnapshot,
    event: &AuditEvent,
) -> Result<(), StoreError> {
    let mut live = live_of_user(tx, &factor.user)?;
    live.retain(|session| session.is_opened_by(id));
    end_all(tx, &live, EndReason::FactorChanged, event)
}
