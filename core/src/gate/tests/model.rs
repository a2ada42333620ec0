//! What must hold whatever happens. The model sees what goes into the machine, what comes out, and
//! what the disk and the interface really hold; it knows nothing of how the machine decides.

use std::collections::{BTreeMap, BTreeSet};

use crate::gate::{Input, Machine, Scope};
use crate::id::{AttemptId, FactorId, SessionId, TokenId, UserId};
use crate::key::{PresharedKey, PublicKey};
use crate::policy::Policy;
use crate::store::{EndReason, OpenOutcome, Renewed};
use crate::time::{Instant, Now, Timestamp};
use attempt::Attempt;

mod attempt;
mod disk;
mod rules;
mod says;

#[derive(Default)]
pub(super) struct Model {
    policy: Policy,
    has_authoriser: bool,
    /// Whether what is asked for depends on who asks, which is not for the model to know.
    is_by_group: bool,
    /// Counts what was seen, to tell before from after.
    seen: u64,
    attempts: BTreeMap<AttemptId, Attempt>,
    sessions: BTreeMap<SessionId, Session>,
    /// Whose preshared key it is.
    keys: BTreeMap<[u8; 32], SessionId>,
    /// Each factor's failures since its last success.
    failures: BTreeMap<FactorId, u32>,
    /// Time steps and recovery codes that were accepted.
    consumed: BTreeSet<(FactorId, u64)>,
    /// Factors that clients enrolled, and the tokens that this used up.
    enrolled: BTreeSet<FactorId>,
    tokens: BTreeSet<TokenId>,
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
    /// The attempt whose first message the machine is being handed.
    beginning: Option<AttemptId>,
    now: Instant,
    /// How many attempts a later one has taken the place of.
    pub(super) replaced: usize,
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
    pub(super) fn new(policy: Policy, has_authoriser: bool) -> Self {
        Self {
            policy,
            has_authoriser,
            ..Self::default()
        }
    }

    pub(super) fn knows_no_steps(&mut self) {
        self.is_by_group = true;
    }

    /// The process died: its clients start over.
    pub(super) fn crashed(&mut self) {
        self.attempts.clear();
        self.revocations.clear();
        self.installing.clear();
        self.in_place.clear();
        self.to_remove.clear();
        self.leased.clear();
        self.is_stopping = false;
        self.beginning = None;
    }

    pub(super) fn sees_traffic(&mut self, peer: PublicKey, now: Now) {
        self.active.insert(peer, now.instant);
    }

    /// Attempts that are not over, newest first.
    pub(super) fn open_attempts(&self) -> Vec<AttemptId> {
        let open = self.attempts.iter().filter(|(_, it)| !it.is_over);
        open.map(|(id, _)| *id).rev().collect()
    }

    pub(super) fn peer_of(&self, attempt: AttemptId) -> PublicKey {
        self.attempts[&attempt].peer
    }

    /// The newest session of a peer that its client knows of.
    pub(super) fn known_session(&self, peer: PublicKey) -> Option<SessionId> {
        let known = self.sessions.iter().rev();
        let mut of_peer = known.filter(|(_, it)| it.peer == peer && it.is_acknowledged);
        of_peer.next().map(|(id, _)| *id)
    }
}

/// What the machine hears.
impl Model {
    /// What ends by time alone makes room for no one.
    pub(super) fn sees_time(&mut self, now: Now) {
        self.beginning = None;
        self.now = now.instant;
    }

    pub(super) fn hears(&mut self, input: &Input, now: Now, machine: &Machine) {
        self.sees_time(now);
        match input {
            Input::Start {
                sessions,
                unreadable,
                refused,
                ..
            } => {
                for record in unreadable.iter().chain(refused) {
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
                let expires = now.instant + self.policy.attempt_ttl;
                let begun = Attempt::new(*peer, intent.clone(), expires);
                self.attempts.insert(*attempt, begun);
                self.beginning = Some(*attempt);
            }
            Input::Request { attempt, request } => {
                if let Some(attempt) = self.attempts.get_mut(attempt) {
                    attempt.hears_request(request, now);
                }
            }
            Input::Challenged { attempt, .. }
            | Input::Verified { attempt, .. }
            | Input::Passed { attempt, .. }
            | Input::Authorised { attempt, .. }
            | Input::Registering { attempt, .. }
            | Input::Enrolling { attempt, .. } => {
                if let Some(attempt) = self.attempts.get_mut(attempt) {
                    attempt.hears(input, now);
                }
            }
            Input::Opened {
                attempt,
                session,
                result: Ok((OpenOutcome::Opened { .. }, psk)),
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
            // It asks for no ends.
            Input::Settle { ticket, .. } => {
                let revocation = Revocation {
                    scope: Scope::Session(SessionId::from_bytes([0; 16])),
                    since: self.seen,
                    is_known: false,
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
