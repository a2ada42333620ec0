//! Renewing and ending sessions. Opening one is a [claim](super::claim).

use super::super::rows::{self, one, session_columns};
use super::super::writer::Tx;
use super::{eligible, end, execute, next_generation};
use crate::audit::{AuditEvent, AuditKind};
use crate::id::SessionId;
use crate::seal::Sealed;
use crate::store::attribution::{self, instead};
use crate::store::{EndReason, Renewed, SessionRecord, SessionRenewal, StoreError};

pub(in crate::store::sqlite) fn renew_session(
    tx: &mut Tx<'_>,
    renewal: SessionRenewal,
) -> Result<Renewed, StoreError> {
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
        "UPDATE sessions SET generation = ?, not_after = ?, renewable_until = ?, psk = ?
         WHERE id = ?",
        (
            generation.get().cast_signed(),
            renewal.not_after.as_millis().cast_signed(),
            renewal.renewable_until.as_millis().cast_signed(),
            renewal.psk.as_bytes(),
            renewal.id.as_bytes(),
        ),
    )?;
    tx.append(event)?;
    Ok(Renewed::Renewed(generation))
}

pub(in crate::store::sqlite) fn close_session(
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

pub(in crate::store::sqlite) fn reseal_session(
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

fn session(tx: &Tx<'_>, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
    let sql = concat!("SELECT ", session_columns!(), " FROM sessions WHERE id = ?");
    one(tx.connection, sql, [id.as_bytes()], rows::session)
}
