//! Renewing and ending sessions. Opening one is a [claim](super::claim).

use super::backend::KeyedBackend;
use super::encoding::{SessionEntry, UserEntry, keys};
use super::tx::Tx;
use crate::audit::{AuditEvent, AuditKind};
use crate::id::SessionId;
use crate::seal::Sealed;
use crate::store::attribution::{self, instead};
use crate::store::{EndReason, Renewed, SessionRecord, SessionRenewal, StoreError};

impl<B: KeyedBackend> Tx<'_, B> {
    pub(super) async fn renew_session(
        &mut self,
        renewal: SessionRenewal,
    ) -> Result<Renewed, StoreError> {
        let found = self.session(renewal.id).await?;
        let mut event = renewal.event;
        event.session = Some(renewal.id);
        if let Some(s) = &found {
            event = attribution::of_session(event, s.id, &s.location, s.peer, &s.user);
        }
        let live = found.filter(|s| s.ended.is_none() && s.generation == renewal.generation);
        let owned = match &live {
            Some(live) => self.eligible(&live.location, live.peer, &live.user).await?,
            None => None,
        };
        let (Some(session), Some((mut peer, mut user))) = (live, owned) else {
            self.append(instead(event, AuditKind::NotEligible))?;
            return Ok(Renewed::Gone);
        };
        self.append(event)?;
        peer.generation = peer.generation.next();
        let generation = peer.generation;
        for live in &mut user.live {
            if live.session == session.id {
                live.not_after = renewal.not_after;
            }
        }
        self.put(keys::peer(&session.location, session.peer), &peer);
        self.put_entry(&user);
        let renewed = SessionRecord {
            generation,
            not_after: renewal.not_after,
            renewable_until: renewal.renewable_until,
            psk: renewal.psk,
            ..session
        };
        self.put(keys::live(&renewed.location, renewed.peer), &renewed);
        Ok(Renewed::Renewed(generation))
    }

    pub(super) async fn close_session(
        &mut self,
        id: SessionId,
        reason: EndReason,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let found = self.session(id).await?;
        let Some(session) = found.filter(|session| session.ended.is_none()) else {
            return Ok(false);
        };
        let at = event.at;
        let (location, peer, user) = (&session.location, session.peer, &session.user);
        self.append(attribution::of_session(event, id, location, peer, user))?;
        let owner = self.user(user).await?;
        let mut owner: UserEntry = owner.ok_or(StoreError::Corrupt { what: "a session" })?;
        self.end(&mut owner, session, reason, at).await?;
        self.put_entry(&owner);
        Ok(true)
    }

    pub(super) async fn reseal_session(
        &mut self,
        id: SessionId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError> {
        let found = self.session(id).await?;
        let Some(session) = found.filter(|s| s.ended.is_none() && s.psk == *from) else {
            return Ok(false);
        };
        let resealed = SessionRecord { psk: to, ..session };
        self.put(keys::live(&resealed.location, resealed.peer), &resealed);
        Ok(true)
    }

    async fn session(&mut self, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        match self.get::<SessionEntry>(keys::session(id)).await? {
            None => Ok(None),
            Some(SessionEntry::Ended(record)) => Ok(Some(record)),
            Some(SessionEntry::Live(location, peer)) => {
                let live: Option<SessionRecord> = self.get(keys::live(&location, peer)).await?;
                let live = live.filter(|live| live.id == id);
                live.map(Some)
                    .ok_or(StoreError::Corrupt { what: "a session" })
            }
        }
    }
}
