//! A store in memory: for tests, for demonstrations, and as the plainest reading of the contract.
//!
//! Nothing outlives the process, failure counts included. A gate that lets people in for real
//! needs a store that does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use super::attribution::{self, instead};
use super::feed::Feed;
use super::judge::{Standing, Verdict, judge, names_a_factor_twice};
use super::{
    Activated, ChangeSet, ChangeStream, Consume, EndReason, Enrolment, FactorRecord, FactorState,
    Failure, FailureReason, FailureRecorded, NewSession, Opened, Peer, PeerStore, Renewal, Renewed,
    SessionRecord, StoreError, User,
};
use crate::audit::{AuditEvent, AuditKind, AuditRecord, Head};
use crate::id::{FactorId, Generation, LocationId, SessionId, UserId};
use crate::key::PublicKey;
use crate::policy::{Failures, Throttle};
use crate::seal::Sealed;

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

    fn factor(&self, id: FactorId) -> Option<&FactorRecord> {
        self.factors.iter().find(|factor| factor.id == id)
    }

    fn change_factor(&mut self, id: FactorId, change: impl FnOnce(&mut FactorRecord)) {
        if let Some(factor) = self.factors.iter_mut().find(|factor| factor.id == id) {
            change(factor);
        }
    }

    fn consume(&mut self, consume: Consume) {
        self.change_factor(consume.factor, |factor| {
            factor.last_step = consume.step.or(factor.last_step);
            factor.failures = Failures::default();
        });
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
        let mut state = self.lock()?;
        if !state.users.contains_key(&factor.user) {
            return Err(StoreError::UnknownUser);
        }
        if state.factor(factor.id).is_some() {
            return Err(StoreError::Conflict);
        }
        state.append(vec![attribution::of_factor(event, factor.id, &factor.user)])?;
        state.factors.push(factor);
        Ok(())
    }

    async fn factors(&self, user: &UserId) -> Result<Vec<FactorRecord>, StoreError> {
        let state = self.lock()?;
        let theirs = state.factors.iter().filter(|f| f.user == *user);
        Ok(theirs.cloned().collect())
    }

    async fn activate_factor(
        &self,
        consume: Consume,
        throttle: Throttle,
        mut event: AuditEvent,
    ) -> Result<Activated, StoreError> {
        let mut state = self.lock()?;
        event.factor = Some(consume.factor);
        let Some(factor) = state
            .factor(consume.factor)
            .filter(|factor| factor.state == FactorState::Pending)
            .map(Standing::from)
        else {
            state.append(vec![instead(event, AuditKind::NotEligible)])?;
            return Ok(Activated::NotPending);
        };
        let event = attribution::of_user(event, &factor.user);
        if let Some(lock) = factor.locked(&throttle, event.at) {
            state.append(vec![instead(event, AuditKind::LockedOut)])?;
            return Ok(Activated::Locked(lock));
        }
        if factor.is_spent(consume.step) {
            let at = event.at;
            let reason = FailureReason::Replayed;
            state.append(vec![instead(event, AuditKind::Denied { reason })])?;
            let failures = factor.failures.plus_one(at);
            state.change_factor(consume.factor, |factor| factor.failures = failures);
            return Ok(Activated::Replayed(throttle.lock(failures, at)));
        }
        state.append(vec![event])?;
        state.consume(consume);
        state.change_factor(consume.factor, |f| f.state = FactorState::Active);
        Ok(Activated::Activated)
    }

    async fn remove_factor(&self, id: FactorId, event: AuditEvent) -> Result<bool, StoreError> {
        let mut state = self.lock()?;
        let Some(user) = state.factor(id).map(|factor| factor.user.clone()) else {
            return Ok(false);
        };
        state.append(vec![attribution::of_factor(event, id, &user)])?;
        state.factors.retain(|factor| factor.id != id);
        Ok(true)
    }

    async fn reset_failures(&self, id: FactorId, event: AuditEvent) -> Result<bool, StoreError> {
        let mut state = self.lock()?;
        let Some(user) = state.factor(id).map(|factor| factor.user.clone()) else {
            return Ok(false);
        };
        state.append(vec![attribution::of_factor(event, id, &user)])?;
        state.change_factor(id, |factor| factor.failures = Failures::default());
        Ok(true)
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
        let theirs = state.factors.iter().filter(|f| f.user == user.id);
        let factors = theirs.cloned().collect();
        Ok(Some(Enrolment {
            peer,
            user,
            factors,
        }))
    }

    async fn record_failure(&self, failure: Failure) -> Result<FailureRecorded, StoreError> {
        let mut state = self.lock()?;
        let mut event = failure.event;
        event.factor = Some(failure.factor);
        let Some(factor) = state.factor(failure.factor).map(Standing::from) else {
            state.append(vec![instead(event, AuditKind::NotEligible)])?;
            return Ok(FailureRecorded::FactorGone);
        };
        let event = attribution::of_user(event, &factor.user);
        if let Some(lock) = factor.locked(&failure.throttle, failure.at) {
            state.append(vec![instead(event, AuditKind::LockedOut)])?;
            return Ok(FailureRecorded::Locked(lock));
        }
        state.append(vec![event])?;
        let failures = factor.failures.plus_one(failure.at);
        state.change_factor(failure.factor, |factor| factor.failures = failures);
        let lock = failure.throttle.lock(failures, failure.at);
        Ok(FailureRecorded::Counted(lock))
    }

    async fn open_session(&self, new: NewSession) -> Result<Opened, StoreError> {
        let mut state = self.lock()?;
        if state.sessions.contains_key(&new.id) || names_a_factor_twice(&new.consume) {
            return Err(StoreError::Conflict);
        }
        if !state.is_eligible(&new.location, new.peer, &new.user) {
            let refusal = attribution::refused(&new, AuditKind::NotEligible, None);
            state.append(vec![refusal])?;
            return Ok(Opened::PeerGone);
        }
        let standing = |consume: &Consume| state.factor(consume.factor).map(Standing::from);
        let consume = new.consume.iter();
        let factors: Vec<_> = consume.map(|c| (*c, standing(c))).collect();
        match judge(&new.user, &factors, &new.throttle, new.verified_at) {
            Verdict::Gone(index) => {
                let factor = factors[index].0.factor;
                let kind = AuditKind::NotEligible;
                state.append(vec![attribution::refused(&new, kind, Some(factor))])?;
                Ok(Opened::FactorGone { factor })
            }
            Verdict::Locked(index, lock) => {
                let factor = factors[index].0.factor;
                let kind = AuditKind::LockedOut;
                state.append(vec![attribution::refused(&new, kind, Some(factor))])?;
                Ok(Opened::Locked { factor, lock })
            }
            Verdict::Spent => state.count_replays(&new, &factors),
            Verdict::Admit => state.admit(new),
        }
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
        state.live.remove(&(session.location, session.peer));
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

impl State {
    /// Counts each spent step as a failure of its factor; tells of the first.
    fn count_replays(
        &mut self,
        new: &NewSession,
        factors: &[(Consume, Option<Standing>)],
    ) -> Result<Opened, StoreError> {
        let spent: Vec<(FactorId, Failures)> = factors
            .iter()
            .filter_map(|(consume, standing)| {
                let standing = standing.as_ref()?;
                let failures = standing.failures.plus_one(new.verified_at);
                standing
                    .is_spent(consume.step)
                    .then_some((consume.factor, failures))
            })
            .collect();
        let events = spent.iter().map(|(id, _)| attribution::replayed(new, *id));
        self.append(events.collect())?;
        for (id, failures) in &spent {
            self.change_factor(*id, |factor| factor.failures = *failures);
        }
        let Some((factor, failures)) = spent.first().copied() else {
            return Err(StoreError::Corrupt { what: "a factor" });
        };
        let lock = new.throttle.lock(failures, new.verified_at);
        Ok(Opened::Replayed { factor, lock })
    }

    fn admit(&mut self, new: NewSession) -> Result<Opened, StoreError> {
        let place = (new.location.clone(), new.peer);
        let superseded = self.live.get(&place).copied();
        let mut events = Vec::with_capacity(2);
        if let Some(old) = superseded.and_then(|old| self.sessions.get(&old)) {
            events.push(attribution::superseded(&new, old.id, &old.user));
        }
        events.push(attribution::admitted(&new));
        self.append(events)?;

        for consume in &new.consume {
            self.consume(*consume);
        }
        if let Some(old) = superseded {
            self.end(old, EndReason::Superseded, new.event.at);
        }
        let generation = self.next_generation(&new.location, new.peer);
        self.live.insert(place, new.id);
        self.sessions.insert(new.id, new.into_record(generation));
        Ok(Opened::Opened {
            generation,
            superseded,
        })
    }

    fn end(&mut self, id: SessionId, reason: EndReason, at: crate::time::Timestamp) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.ended = Some((reason, at));
        }
    }
}
