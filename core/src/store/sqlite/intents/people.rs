//! Users and peers.

use super::super::addresses;
use super::super::rows::to_json;
use super::super::writer::Tx;
use super::{execute, known_user};
use crate::audit::AuditEvent;
use crate::id::UserId;
use crate::store::attribution;
use crate::store::{Peer, StoreError, User, UserChange};

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
    tx.append(attribution::of_user(event, &user.id))
}

pub(in crate::store::sqlite) fn change_user(
    tx: &mut Tx<'_>,
    user: &UserId,
    change: UserChange,
    event: AuditEvent,
) -> Result<(), StoreError> {
    match change {
        UserChange::Enabled(enabled) => execute(
            tx,
            "INSERT INTO users (id, enabled) VALUES (?, ?)
             ON CONFLICT (id) DO UPDATE SET enabled = excluded.enabled",
            (user.as_str(), enabled),
        )?,
        UserChange::Groups(groups) => {
            known_user(tx, user)?;
            execute(
                tx,
                "UPDATE users SET groups = ? WHERE id = ?",
                (to_json(&groups)?, user.as_str()),
            )?
        }
    };
    tx.append(attribution::of_user(event, user))
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
            &peer.label,
            peer.enabled,
        ),
    )?;
    addresses::take(tx, peer)?;
    tx.append(attribution::of_peer(event, peer))
}
