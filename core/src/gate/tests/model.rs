//! What must hold whatever happens. The model sees what goes into the machine, what comes out, and
//! what the disk and the interface really hold; it knows nothing of how the machine decides.

use std::collections::{BTreeMap, BTreeSet};

use crate::gate::{Grant, Input, Intent, Machine, Scope};
use crate::id::{AttemptId, FactorId, SessionId, UserId};
use crate::key::{PresharedKey, PublicKey};
use crate::policy::{Failures, Policy, Throttle};
use crate::store::{EndReason, Opened, Renewed, SessionRecord};
use crate::time::{Instant, Now, Timestamp};

mod rules;
mod says;

#[derive(Default)]
pub(super) struct Model {
    policy: Policy,
    /// Counts what was seen, to tell before from after.
    seen: u64,
    attempts: BTreeMap<AttemptId, Attempt>,
    sessions: BTreeMap<SessionId, Session>,
    /// Whose preshared key it is.
    keys: BTreeMap<[u8; 32], SessionId>,
    /// Each factor's failures since its last success.
    failures: BTreeMap<FactorId, u32>,
    consumed: BTreeSet<(FactorId, u64)>,
    revocations: BTreeMap<u64, Revocation>,
    /// Sessions whose revocation was acknowledged.
    revoked: BTreeSet<SessionId>,
    /// What the interface was asked to install, and what it said is in place.
    installing: BTreeMap<PublicKey, PresharedKey>,
    in_place: BTreeMap<PublicKey, PresharedKey>,
    /// Peers that must leave the interface before they may be installed again.
    to_remove: BTreeSet<PublicKey>,
    leased: BTreeMap<PublicKey, SessionId>,
    /// When a peer was last admitted or had payload.
    active: BTreeMap<PublicKey, Instant>,
    is_stopping: bool,
}

struct Attempt {
    peer: PublicKey,
    intent: Intent,
    /// Whether it is the client's turn.
    waits: bool,
    /// Requests out of turn that will be refused one by one.
    out_of_turn: usize,
    is_over: bool,
    asked: Option<Now>,
    /// When the answer came in that a verifier found right; used up by one admission.
    right: Option<Now>,
    opening_since: u64,
    untold_failures: u32,
    /// What the store said is durable.
    persisted: Option<PresharedKey>,
}

struct Session {
    peer: PublicKey,
    user: UserId,
    verified_at: Timestamp,
    /// The end by the monotonic clock, for a session of this run.
    ends: Option<Instant>,
    opening_since: u64,
    /// The key that the gate was told is durable.
    psk: Option<PresharedKey>,
    is_acknowledged: bool,
    ended: Option<EndReason>,
}

struct Revocation {
    scope: Scope,
    since: u64,
    is_known: bool,
}

impl Model {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// The process died: whoever waited for it starts over.
    pub(super) fn crashed(&mut self) {
        self.attempts.clear();
        self.revocations.clear();
        self.installing.clear();
        self.in_place.clear();
        self.to_remove.clear();
        self.leased.clear();
        self.is_stopping = false;
    }

    pub(super) fn sees_traffic(&mut self, peer: PublicKey, now: Now) {
        self.active.insert(peer, now.instant);
    }

    /// Attempts that are not over, newest first.
    pub(super) fn open_attempts(&self) -> Vec<AttemptId> {
        let open = self.attempts.iter().filter(|(_, it)| !it.is_over);
        open.map(|(id, _)| *id).rev().collect()
    }

    /// The newest session of a peer that its client knows of.
    pub(super) fn known_session(&self, peer: PublicKey) -> Option<SessionId> {
        let known = self.sessions.iter().rev();
        let mut of_peer = known.filter(|(_, it)| it.peer == peer && it.is_acknowledged);
        of_peer.next().map(|(id, _)| *id)
    }
}

/// What has its effect on the disk.
impl Model {
    pub(super) fn derives(&mut self, psk: &PresharedKey, session: SessionId) {
        self.keys.insert(*psk.expose_secret(), session);
    }

    /// An answer was recorded as failed, or was not.
    pub(super) fn counts(
        &mut self,
        attempt: AttemptId,
        factor: FactorId,
        before: Option<Failures>,
        after: Option<Failures>,
    ) {
        let (Some(before), Some(after)) = (before, after) else {
            return;
        };
        let count = self.failures.entry(factor).or_default();
        assert_eq!(*count, before.count, "something else changed the count");
        if after.count == before.count {
            return;
        }
        *count += 1;
        if let Some(attempt) = self.attempts.get_mut(&attempt) {
            attempt.untold_failures += 1;
        }
    }

    /// An administrator reset the count.
    pub(super) fn resets(&mut self, factor: FactorId) {
        self.failures.insert(factor, 0);
    }

    /// A session became durable.
    pub(super) fn opens(
        &mut self,
        attempt: AttemptId,
        record: &SessionRecord,
        grant: &Grant,
        before: Option<Failures>,
    ) {
        let before = before.expect("a factor");
        let is_locked = is_locked(&self.policy.throttle, before, record.verified_at);
        assert!(!is_locked, "a right code past the limit was accepted");
        for proof in grant.proofs() {
            let step = proof.consume.expect("a time step");
            let is_new = self.consumed.insert((proof.factor, step));
            assert!(is_new, "a code was accepted twice");
            self.failures.insert(proof.factor, 0);
        }
        let asked = self.attempts.get(&attempt).map(|it| it.opening_since);
        self.sessions.insert(
            record.id,
            Session {
                peer: record.peer,
                user: record.user.clone(),
                verified_at: record.verified_at,
                ends: Some(grant.terms().ends.max(grant.terms().renewable_ends)),
                opening_since: asked.unwrap_or_default(),
                psk: None,
                is_acknowledged: false,
                ended: None,
            },
        );
    }
}

/// What the machine hears.
impl Model {
    pub(super) fn hears(&mut self, input: &Input, now: Now, machine: &Machine) {
        match input {
            Input::Start {
                sessions,
                unreadable,
                ..
            } => {
                for record in unreadable {
                    self.sessions.get_mut(&record.id).unwrap().is_acknowledged = false;
                }
                for restored in sessions {
                    let session = self.sessions.get_mut(&restored.session).unwrap();
                    session.ended = None;
                    session.ends = None;
                    session.psk = Some(restored.psk.clone());
                    self.active.insert(session.peer, now.instant);
                }
            }
            Input::Hello {
                attempt,
                peer,
                intent,
                ..
            } => {
                let begun = Attempt::new(*peer, intent.clone());
                self.attempts.insert(*attempt, begun);
            }
            Input::Request { attempt, .. } => {
                if let Some(attempt) = self.attempts.get_mut(attempt) {
                    attempt.hears_request(now);
                }
            }
            Input::Verified { attempt, result } => {
                let attempt = self.attempts.get_mut(attempt).filter(|it| !it.is_over);
                if let (Some(attempt), Ok(_)) = (attempt, result) {
                    attempt.right = attempt.asked.take();
                }
            }
            Input::Opened {
                attempt,
                session,
                result: Ok((Opened::Opened { .. }, psk)),
                ..
            } => {
                self.persists(*attempt, *session, psk);
                let peer = self.sessions[session].peer;
                self.active.insert(peer, now.instant);
            }
            Input::Renewed {
                attempt,
                session,
                result: Ok((Renewed::Renewed(_), psk)),
                ..
            } => self.persists(*attempt, *session, psk),
            Input::Installed { peers, result } => {
                for peer in peers {
                    let psk = self.installing.remove(peer);
                    match psk.filter(|_| result.is_ok()) {
                        Some(psk) => self.in_place.insert(*peer, psk),
                        None => self.in_place.remove(peer),
                    };
                }
            }
            Input::Removed { peers, result } => {
                for peer in peers {
                    self.in_place.remove(peer);
                    if result.is_ok() {
                        self.to_remove.remove(peer);
                    }
                }
            }
            Input::Fenced { result: Ok(()) } => {
                self.in_place.clear();
                self.to_remove.clear();
            }
            Input::Revoke { ticket, scope } => {
                let is_known = match scope {
                    Scope::Session(wanted) => machine.leases().any(|it| it.session() == *wanted),
                    _ => true,
                };
                let revocation = Revocation {
                    scope: scope.clone(),
                    since: self.seen,
                    is_known,
                };
                self.revocations.insert(*ticket, revocation);
            }
            Input::Stop => self.is_stopping = true,
            _ => {}
        }
    }

    fn persists(&mut self, attempt: AttemptId, session: SessionId, psk: &PresharedKey) {
        if let Some(attempt) = self.attempts.get_mut(&attempt) {
            attempt.persisted = Some(psk.clone());
        }
        if let Some(session) = self.sessions.get_mut(&session) {
            session.psk = Some(psk.clone());
        }
    }
}

impl Attempt {
    const fn new(peer: PublicKey, intent: Intent) -> Self {
        Self {
            peer,
            intent,
            waits: false,
            out_of_turn: 0,
            is_over: false,
            asked: None,
            right: None,
            opening_since: 0,
            untold_failures: 0,
            persisted: None,
        }
    }

    fn hears_request(&mut self, now: Now) {
        if self.is_over {
            return;
        }
        if std::mem::replace(&mut self.waits, false) {
            self.asked = Some(now);
        } else {
            self.out_of_turn += 1;
        }
    }
}

/// NIST SP 800-63B-4, section 3.2.2, as the policy puts it: some free tries, then waits that
/// double, then an end.
fn is_locked(throttle: &Throttle, failures: Failures, at: Timestamp) -> bool {
    if failures.count < throttle.free {
        return false;
    }
    let doubled = throttle.first_wait * 2_u32.pow(failures.count - throttle.free);
    failures.count >= throttle.disable_at || at < failures.last_at + doubled
}
