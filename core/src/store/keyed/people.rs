//! Users, peers and tokens, one by one or many at once. Every check comes before the first change.

use super::backend::KeyedBackend;
use super::encoding::{PeerEntry, UserEntry, keys};
use super::tx::Tx;
use crate::audit::AuditEvent;
use crate::id::{TokenId, UserId};
use crate::key::PublicKey;
use crate::store::attribution;
use crate::store::judge::outlasts;
use crate::store::{
    EndReason, EnrolmentToken, Peer, Put, SessionRecord, StoreError, User, UserChange,
};

impl<B: KeyedBackend> Tx<'_, B> {
    pub(super) async fn put_user(
        &mut self,
        user: User,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        let known = self.user(&user.id).await?;
        let mut entry = match known {
            Some(known) => UserEntry { user, ..known },
            None => UserEntry {
                user,
                factors: Vec::new(),
                tokens: Vec::new(),
                live: Vec::new(),
            },
        };
        let out = if entry.user.enabled {
            Vec::new()
        } else {
            self.live_of(&entry).await?
        };
        let event = attribution::of_user(event, &entry.user.id);
        self.append(event.clone())?;
        self.end_all(&mut entry, out, EndReason::Revoked, &event)
            .await?;
        self.put_entry(&entry);
        Ok(())
    }

    pub(super) async fn change_user(
        &mut self,
        id: UserId,
        change: UserChange,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        let known = self.user(&id).await?.map(|entry| entry.user);
        let changed = match (known, change) {
            (Some(known), UserChange::Enabled(enabled)) => User { enabled, ..known },
            (Some(known), UserChange::Groups(groups)) => User { groups, ..known },
            (None, UserChange::Enabled(true)) => User {
                id,
                enabled: true,
                groups: Vec::new(),
            },
            (None, UserChange::Enabled(false) | UserChange::Groups(_)) => {
                return Err(StoreError::UnknownUser);
            }
        };
        self.put_user(changed, event).await
    }

    pub(super) async fn put_peer(
        &mut self,
        peer: Peer,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        let place = keys::peer(&peer.location, peer.key);
        let live = keys::live(&peer.location, peer.key);
        let owner = keys::user(&peer.user);
        self.load(vec![owner, place.clone(), live.clone()]).await?;
        let mut owner = self
            .user(&peer.user)
            .await?
            .ok_or(StoreError::UnknownUser)?;
        self.free_for(&peer).await?;
        let known: Option<PeerEntry> = self.get(place.clone()).await?;
        let live: Option<SessionRecord> = self.get(live).await?;
        let out = live.filter(|session| !outlasts(session, &peer));

        let event = attribution::of_peer(event, &peer);
        self.append(event.clone())?;
        if let Some(session) = out {
            self.end_all(&mut owner, vec![session], EndReason::Revoked, &event)
                .await?;
            self.put_entry(&owner);
        }
        for address in known.iter().flat_map(|known| &known.peer.allowed_ips) {
            self.remove(keys::prefix(&peer.location, *address));
        }
        for address in &peer.allowed_ips {
            self.put(keys::prefix(&peer.location, *address), &peer.key);
        }
        let generation = known.map(|known| known.generation).unwrap_or_default();
        self.put(place, &PeerEntry { peer, generation });
        Ok(())
    }

    /// Whether no other peer of the location has an address of this one's: no prefix that it lies
    /// inside of, and none inside of it.
    async fn free_for(&self, peer: &Peer) -> Result<(), StoreError> {
        for address in &peer.allowed_ips {
            let around = keys::around(&peer.location, *address);
            let mut holders: Vec<PublicKey> = self.peek(around).await?;
            let inside = keys::prefix(&peer.location, *address);
            holders.extend(self.scan::<PublicKey>(inside).await?);
            if let Some(by) = holders.into_iter().find(|holder| *holder != peer.key) {
                let address = *address;
                return Err(StoreError::AddressTaken { address, by });
            }
        }
        Ok(())
    }

    pub(super) async fn put_token(
        &mut self,
        token: EnrolmentToken,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        let key = keys::token(token.id);
        self.load(vec![keys::user(&token.user), key.clone()])
            .await?;
        let known = self.user(&token.user).await?;
        let mut entry = known.ok_or(StoreError::UnknownUser)?;
        if self.get::<UserId>(key.clone()).await?.is_some() {
            return Err(StoreError::Conflict);
        }
        self.append(attribution::of_user(event, &token.user))?;
        self.put(key, &token.user);
        entry.tokens.push(token);
        self.put_entry(&entry);
        Ok(())
    }

    pub(super) async fn remove_token(
        &mut self,
        id: TokenId,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let Some(user) = self.get::<UserId>(keys::token(id)).await? else {
            return Ok(false);
        };
        let entry = self.user(&user).await?;
        let mut entry = entry.ok_or(StoreError::Corrupt {
            what: "an enrolment token",
        })?;
        self.append(attribution::of_user(event, &user))?;
        entry.tokens.retain(|token| token.id != id);
        self.remove(keys::token(id));
        self.put_entry(&entry);
        Ok(true)
    }

    /// Each in its order; where one can't be made, what the others have changed is not committed.
    pub(super) async fn put_all(&mut self, all: Vec<(Put, AuditEvent)>) -> Result<(), StoreError> {
        let mut faults = Vec::new();
        for (place, (put, event)) in all.into_iter().enumerate() {
            let done = match put {
                Put::User(user) => self.put_user(user, event).await,
                Put::Groups(user, groups) => {
                    let groups = UserChange::Groups(groups);
                    self.change_user(user, groups, event).await
                }
                Put::Peer(peer) => self.put_peer(peer, event).await,
                Put::Token(token) => self.put_token(token, event).await,
            };
            match done {
                Ok(()) => {}
                Err(
                    error @ (StoreError::Backend(_)
                    | StoreError::Replaced
                    | StoreError::Corrupt { .. }),
                ) => return Err(error),
                Err(error) => faults.push((place, error)),
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(StoreError::Refused { faults })
    }
}
