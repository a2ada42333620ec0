//! Users and peers.

use super::super::addresses;
use super::super::rows::{self, one, session_columns, to_json};
use super::super::writer::Tx;
use super::{end_all, execute, known_user, live_of_user, put_token};
use crate::audit::AuditEvent;
use crate::id::UserId;
use crate::store::attribution;
use crate::store::judge::outlasts;
use crate::store::{EndReason, Peer, Put, StoreError, User, UserChange};

pub(in crate::store::sqlite) fn put_user(
    tx: &mut Tx<'_>,
    user: &User,
    event: AuditEvent,
) -> Result<(), StoreError> {
    execute(
        tx,
        "INSERT INTO users (id, enabled, groups) VALUES (?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET enabled = excluded.enabled, groups = excluded.groups",
        (user.id.as_str(), user.enabled, to_json(&user.groups)?),
    )?;
    changed(tx, &user.id, user.enabled, event)
}

pub(in crate::store::sqlite) fn change_user(
    tx: &mut Tx<'_>,
    user: &UserId,
    change: UserChange,
    event: AuditEvent,
) -> Result<(), StoreError> {
    let is_disabled = change == UserChange::Enabled(false);
    match change {
        UserChange::Enabled(true) => execute(
            tx,
            "INSERT INTO users (id, enabled) VALUES (?, 1)
             ON CONFLICT (id) DO UPDATE SET enabled = 1",
            [user.as_str()],
        )?,
        UserChange::Enabled(false) => {
            known_user(tx, user)?;
            let sql = "UPDATE users SET enabled = 0 WHERE id = ?";
            execute(tx, sql, [user.as_str()])?
        }
        UserChange::Groups(groups) => {
            known_user(tx, user)?;
            execute(
                tx,
                "UPDATE users SET groups = ? WHERE id = ?",
                (to_json(&groups)?, user.as_str()),
            )?
        }
    };
    changed(tx, user, !is_disabled, event)
}

/// Records the change of a user, and ends the sessions of one who is disabled.
fn changed(
    tx: &mut Tx<'_>,
    user: &UserId,
    stays: bool,
    event: AuditEvent,
) -> Result<(), StoreError> {
    let event = attribution::of_user(event, user);
    tx.append(event.clone())?;
    let out = if stays {
        Vec::new()
    } else {
        live_of_user(tx, user)?
    };
    end_all(tx, &out, EndReason::Revoked, &event)
}

/// Each in a savepoint of its own, so that what is wrong with one says nothing about the next.
pub(in crate::store::sqlite) fn put_all(
    tx: &mut Tx<'_>,
    all: Vec<(Put, AuditEvent)>,
) -> Result<(), StoreError> {
    let mut faults = Vec::new();
    for (place, (put, event)) in all.into_iter().enumerate() {
        let done = tx.part(|tx| match put {
            Put::User(user) => put_user(tx, &user, event),
            Put::Groups(user, groups) => change_user(tx, &user, UserChange::Groups(groups), event),
            Put::Peer(peer) => put_peer(tx, &peer, event),
            Put::Token(token) => put_token(tx, &token, event),
        });
        match done {
            Ok(()) => {}
            Err(error @ (StoreError::Backend(_) | StoreError::Replaced)) => return Err(error),
            Err(error) => faults.push((place, error)),
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(StoreError::Refused { faults })
}

pub(in crate::store::sqlite) fn put_peer(
    tx: &mut Tx<'_>,
    peer: &Peer,
    event: AuditEvent,
) -> Result<(), StoreError> {
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
            peer.label.as_str(),
            peer.enabled,
        ),
    )?;
    addresses::take(tx, peer)?;
    let event = attribution::of_peer(event, peer);
    tx.append(event.clone())?;
    let live = one(
        tx.connection,
        concat!(
            "SELECT ",
            session_columns!(),
            " FROM sessions WHERE location = ? AND peer = ? AND ended_at IS NULL"
        ),
        (peer.location.as_str(), peer.key.as_bytes()),
        rows::session,
    )?;
    let out: Vec<_> = live
        .into_iter()
        .filter(|session| !outlasts(session, peer))
        .collect();
    end_all(tx, &out, EndReason::Revoked, &event)
}
