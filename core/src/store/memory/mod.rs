//! A store in memory: for tests, for demonstrations, and as the plainest reading of the contract.
//!
//! Nothing outlives the process, failure counts included. A gate that lets people in for real
//! needs a store that does.

mod claim;
mod factors;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use super::attribution::{self, instead};
use super::feed::Feed;
use super::{
    Activated, ChangeSet, ChangeStream, Consume, EndReason, Enrolled, Enrolment, EnrolmentToken,
    FactorChange, FactorPass, FactorRecord, Failure, FailureRecorded, LastFactor, NewFactor,
    NewSession, Opened, Passed, Peer, PeerStore, Renewal, Renewed, SessionRecord, StoreError, User,
    UserChange,
};
use crate::audit::{AuditEvent, AuditKind, AuditRecord, Head};
use crate::id::{FactorId, Generation, LocationId, SessionId, TokenId, UserId};
use crate::key::PublicKey;
use crate::policy::Throttle;
use crate::seal::Sealed;
use crate::time::Timestamp;

/// A store in memory. Clones share their contents, as processes share a database.
///
/// Each method holds one lock from its first check to its last change; none waits for anything
/// else, so none can be dropped half-way.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A panic under the lock may have left half a change behind: nothing is right any more.
    fn lock(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        self.state
            .lock()
            .map_err(|_| StoreError::Backend("the store in memory is in disorder".into()))
    }
}

#[derive(Debug, Default)]
struct State {
    users: BTreeMap<UserId, User>,
    peers: BTreeMap<(LocationId, PublicKey), Peer>,
    generations: BTreeMap<(LocationId, PublicKey), Generation>,
    /// In the order of enrolment.
    factors: Vec<FactorRecord>,
    /// In the order of issue.
    tokens: Vec<EnrolmentToken>,
    sessions: BTreeMap<SessionId, SessionRecord>,
    live: BTreeMap<(LocationId, PublicKey), SessionId>,
    audit: Vec<AuditRecord>,
    head: Head,
    feed: Feed,
}

impl State {
    /// Appends to the chain, all or nothing. The only step that can fail, so it comes before any
    /// change.
    fn append(&mut self, events: Vec<AuditEvent>) -> Result<(), StoreError> {
        let mut head = self.head;
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            let record = AuditRecord::chain(&head, event)
                .map_err(|error| StoreError::Backend(Box::new(error)))?;
            head = record.head().ok_or(StoreError::Corrupt {
                what: "an audit record",
            })?;
            records.push(record);
        }
        self.head = head;
        for record in &records {
            self.feed.publish(&ChangeSet::of(&record.event));
        }
        self.audit.extend(records);
        Ok(())
    }

    /// Whether the peer is enrolled and enabled, and its owner is this user and enabled.
    fn is_eligible(&self, location: &LocationId, peer: PublicKey, user: &UserId) -> bool {
        self.peers
            .get(&(location.clone(), peer))
            .is_some_and(|peer| peer.enabled && peer.user == *user)
            && self.users.get(user).is_some_and(|user| user.enabled)
    }

    /// Whether no other peer of the location has an address of this one's.
    fn free_for(&self, peer: &Peer) -> Result<(), StoreError> {
        let is_other = |other: &&Peer| other.location == peer.location && other.key != peer.key;
        let taken = self.peers.values().filter(is_other).find_map(|other| {
            let address = peer.overlap(other)?;
            let by = other.key;
            Some(StoreError::AddressTaken { address, by })
        });
        taken.map_or(Ok(()), Err)
    }

    fn tokens_of(&self, user: &UserId) -> Vec<EnrolmentToken> {
        let theirs = self.tokens.iter().filter(|token| token.user == *user);
        theirs.cloned().collect()
    }

    fn token(&self, id: TokenId) -> Option<&EnrolmentToken> {
        self.tokens.iter().find(|token| token.id == id)
    }

    fn live_sessions(&self) -> impl Iterator<Item = &SessionRecord> {
        self.live.values().filter_map(|id| self.sessions.get(id))
    }

    /// Ends a live session.
    fn end(&mut self, id: SessionId, reason: EndReason, at: Timestamp) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.ended = Some((reason, at));
            self.live.remove(&(session.location.clone(), session.peer));
        }
    }

    fn next_generation(&mut self, location: &LocationId, peer: PublicKey) -> Generation {
        let generation = self
            .generations
            .entry((location.clone(), peer))
            .or_default();
        *generation = generation.next();
        *generation
    }
}

#[async_trait]
impl PeerStore for MemoryStore {
    async fn put_user(&self, user: User, event: AuditEvent) -> Result<(), StoreError> {
        let mut state = self.lock()?;
        state.append(vec![attribution::of_user(event, &user.id)])?;
        state.users.insert(user.id.clone(), user);
        Ok(())
    }

    async fn change_user(
        &self,
        user: UserId,
        change: UserChange,
        event: AuditEvent,
    ) -> Result<(), StoreError> {
        let mut state = self.lock()?;
        let known = state.users.get(&user).cloned();
        let changed = match (known, change) {
            (Some(known), UserChange::Enabled(enabled)) => User { enabled, ..known },
            (Some(known), UserChange::Groups(groups)) => User { groups, ..known },
            (None, UserChange::Enabled(enabled)) => User {
                id: user.clone(),
                enabled,
                groups: Vec::new(),
            },
            (None, UserChange::Groups(_)) => return Err(StoreError::UnknownUser),
        };
        state.append(vec![attribution::of_user(event, &user)])?;
        state.users.insert(user, changed);
        Ok(())
    }

    async fn users(&self) -> Result<Vec<User>, StoreError> {
        Ok(self.lock()?.users.values().cloned().collect())
    }

    async fn put_peer(&self, peer: Peer, event: AuditEvent) -> Result<(), StoreError> {
        let mut state = self.lock()?;
        if !state.users.contains_key(&peer.user) {
            return Err(StoreError::UnknownUser);
        }
        state.free_for(&peer)?;
        state.append(vec![attribution::of_peer(event, &peer)])?;
        state.peers.insert((peer.location.clone(), peer.key), peer);
        Ok(())
    }

    async fn peers(&self, location: &LocationId) -> Result<Vec<Peer>, StoreError> {
        let state = self.lock()?;
        let here = state.peers.values().filter(|p| p.location == *location);
        Ok(here.cloned().collect())
    }

    async fn add_factor(&self, factor: FactorRecord, event: AuditEvent) -> Result<(), StoreError> {
        self.lock()?.add_factor(factor, event)
    }

    async fn factors(&self, user: &UserId) -> Result<Vec<FactorRecord>, StoreError> {
        Ok(self.lock()?.factors_of(user))
    }

    async fn activate_factor(
        &self,
        consume: Consume,
        throttle: Throttle,
        event: AuditEvent,
    ) -> Result<Activated, StoreError> {
        self.lock()?.activate_factor(&consume, &throttle, event)
    }

    async fn pass_factor(&self, pass: FactorPass) -> Result<Passed, StoreError> {
        self.lock()?.pass_factor(&pass)
    }

    async fn enrol_factor(&self, new: NewFactor) -> Result<Enrolled, StoreError> {
        self.lock()?.enrol_factor(new)
    }

    async fn change_factor(
        &self,
        factor: FactorId,
        change: FactorChange,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        self.lock()?.change_factor_by(factor, change, event)
    }

    async fn remove_factor(
        &self,
        factor: FactorId,
        last: LastFactor,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        self.lock()?.remove_factor(factor, last, event)
    }

    async fn reset_failures(
        &self,
        factor: FactorId,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        self.lock()?.reset_failures(factor, event)
    }

    async fn reseal_factor(
        &self,
        id: FactorId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError> {
        let mut state = self.lock()?;
        let same = state.factor(id).is_some_and(|f| f.sealed == *from);
        if same {
            state.change_factor(id, |factor| factor.sealed = to);
        }
        Ok(same)
    }

    async fn put_token(&self, token: EnrolmentToken, event: AuditEvent) -> Result<(), StoreError> {
        let mut state = self.lock()?;
        if !state.users.contains_key(&token.user) {
            return Err(StoreError::UnknownUser);
        }
        if state.token(token.id).is_some() {
            return Err(StoreError::Conflict);
        }
        state.append(vec![attribution::of_user(event, &token.user)])?;
        state.tokens.push(token);
        Ok(())
    }

    async fn tokens(&self, user: &UserId) -> Result<Vec<EnrolmentToken>, StoreError> {
        Ok(self.lock()?.tokens_of(user))
    }

    async fn remove_token(&self, id: TokenId, event: AuditEvent) -> Result<bool, StoreError> {
        let mut state = self.lock()?;
        let Some(user) = state.token(id).map(|token| token.user.clone()) else {
            return Ok(false);
        };
        state.append(vec![attribution::of_user(event, &user)])?;
        state.tokens.retain(|token| token.id != id);
        Ok(true)
    }

    async fn enrolment(
        &self,
        location: &LocationId,
        peer: &PublicKey,
    ) -> Result<Option<Enrolment>, StoreError> {
        let state = self.lock()?;
        let Some(peer) = state.peers.get(&(location.clone(), *peer)).cloned() else {
            return Ok(None);
        };
        let Some(user) = state.users.get(&peer.user).cloned() else {
            return Err(StoreError::Corrupt { what: "a peer" });
        };
        let factors = state.factors_of(&user.id);
        let tokens = state.tokens_of(&user.id);
        Ok(Some(Enrolment {
            peer,
            user,
            factors,
            tokens,
        }))
    }

    async fn record_failure(&self, failure: Failure) -> Result<FailureRecorded, StoreError> {
        self.lock()?.record_failure(failure)
    }

    async fn open_session(&self, new: NewSession) -> Result<Opened, StoreError> {
        self.lock()?.open_session(new)
    }

    async fn renew_session(&self, renewal: Renewal) -> Result<Renewed, StoreError> {
        let mut state = self.lock()?;
        let found = state.sessions.get(&renewal.id).cloned();
        let mut event = renewal.event;
        event.session = Some(renewal.id);
        if let Some(s) = &found {
            event = attribution::of_session(event, s.id, &s.location, s.peer, &s.user);
        }
        let Some(session) = found.filter(|session| {
            session.ended.is_none()
                && session.generation == renewal.generation
                && state.is_eligible(&session.location, session.peer, &session.user)
        }) else {
            state.append(vec![instead(event, AuditKind::NotEligible)])?;
            return Ok(Renewed::Gone);
        };
        state.append(vec![event])?;
        let generation = state.next_generation(&session.location, session.peer);
        let renewed = SessionRecord {
            generation,
            not_after: renewal.not_after,
            renewable_until: renewal.renewable_until,
            psk: renewal.psk,
            ..session
        };
        state.sessions.insert(renewed.id, renewed);
        Ok(Renewed::Renewed(generation))
    }

    async fn close_session(
        &self,
        id: SessionId,
        reason: EndReason,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let mut state = self.lock()?;
        let live = state.sessions.get(&id).filter(|s| s.ended.is_none());
        let Some(session) = live.cloned() else {
            return Ok(false);
        };
        let at = event.at;
        let event =
            attribution::of_session(event, id, &session.location, session.peer, &session.user);
        state.append(vec![event])?;
        state.end(id, reason, at);
        Ok(true)
    }

    async fn reseal_session(
        &self,
        id: SessionId,
        from: &Sealed,
        to: Sealed,
    ) -> Result<bool, StoreError> {
        let mut state = self.lock()?;
        let live = state.sessions.get_mut(&id).filter(|s| s.ended.is_none());
        let Some(session) = live.filter(|session| session.psk == *from) else {
            return Ok(false);
        };
        session.psk = to;
        Ok(true)
    }

    async fn session(&self, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        Ok(self.lock()?.sessions.get(&id).cloned())
    }

    async fn live_sessions(&self, location: &LocationId) -> Result<Vec<SessionRecord>, StoreError> {
        let state = self.lock()?;
        let here = state.live.iter().filter(|((l, _), _)| l == location);
        here.map(|(_, id)| {
            let session = state.sessions.get(id).cloned();
            session.ok_or(StoreError::Corrupt { what: "a session" })
        })
        .collect()
    }

    async fn append_audit(&self, event: AuditEvent) -> Result<(), StoreError> {
        self.lock()?.append(vec![event])
    }

    async fn audit(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let state = self.lock()?;
        let before = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
        Ok(state
            .audit
            .iter()
            .skip(before)
            .take(limit)
            .cloned()
            .collect())
    }

    fn watch(&self) -> ChangeStream {
        match self.lock() {
            Ok(mut state) => state.feed.watch(),
            Err(error) => {
                let mut feed = Feed::default();
                let stream = feed.watch();
                let error = std::cell::Cell::new(Some(error));
                feed.fail(|| {
                    error
                        .take()
                        .unwrap_or(StoreError::Corrupt { what: "the store" })
                });
                stream
            }
        }
    }
}
