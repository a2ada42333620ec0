//! What clients, administrators and other gates do in the world, and what a test asks about it.

use std::collections::BTreeMap;

use super::cast::{self, PEERS, USERS};
use super::world::{World, ready, spread};
use crate::audit::{AuditEvent, AuditKind};
use crate::channel::message::{Answer, Posture, Request};
use crate::gate::{Input, Intent, Lease, Outcome, Scope};
use crate::id::{AttemptId, FactorId, SessionId};
use crate::interface::{Activity, PeerConfig};
use crate::key::PublicKey;
use crate::store::{EndReason, LastFactor, PeerStore, SessionRecord};

/// What clients and administrators do.
impl World {
    pub(super) fn hello(&mut self, peer: PublicKey, intent: Intent) -> AttemptId {
        let attempt = AttemptId::from_bytes(spread(self.serial()));
        self.input(Input::Hello {
            attempt,
            peer,
            ephemeral: *attempt.as_bytes(),
            sent_at: self.now.timestamp,
            intent,
            posture: Posture::default(),
            source: None,
        });
        attempt
    }

    pub(super) fn begin(&mut self, peer: PublicKey) -> AttemptId {
        self.hello(peer, Intent::Begin)
    }

    pub(super) fn request(&mut self, attempt: AttemptId, request: Request) {
        self.input(Input::Request { attempt, request });
    }

    pub(super) fn answer(&mut self, attempt: AttemptId, code: &str) {
        let code = code.parse().unwrap();
        let answer = Answer::Code { code };
        self.request(attempt, Request::Answer { answer });
    }

    pub(super) fn answer_right(&mut self, attempt: AttemptId) {
        self.answer(attempt, &cast::code_at(self.now.timestamp));
    }

    /// A peer begins and gives the right code of now.
    pub(super) fn admit(&mut self, peer: PublicKey) -> AttemptId {
        let attempt = self.begin(peer);
        self.settle();
        self.answer_right(attempt);
        self.settle();
        attempt
    }

    /// A peer's lease is renewed without a factor.
    pub(super) fn renew(&mut self, peer: PublicKey) -> AttemptId {
        let attempt = self.hello(peer, Intent::Renew(self.session_of(peer)));
        self.settle();
        self.request(attempt, Request::Confirm {});
        self.settle();
        attempt
    }

    pub(super) fn revoke(&mut self, scope: Scope) -> u64 {
        let ticket = self.serial();
        self.input(Input::Revoke { ticket, scope });
        ticket
    }

    /// A peer goes on from here.
    pub(super) fn is_at(&mut self, peer: PublicKey, endpoint: &str) {
        self.places.insert(peer, endpoint.parse().unwrap());
        self.traffic(peer);
    }

    /// Payload flows to and from a peer, if it is there.
    pub(super) fn traffic(&mut self, peer: PublicKey) {
        self.bytes += 10_000_000;
        let mut activity = Activity::silent(peer);
        activity.received = self.bytes;
        activity.endpoint = self.places.get(&peer).copied();
        activity.is_endpoint_proven = activity.endpoint.is_some();
        if self.interface.installed().contains_key(&peer) {
            self.interface.set_activity(activity);
            self.model.sees_traffic(peer, self.now);
        }
    }
}

/// What happens in the store, by whoever.
impl World {
    pub(super) fn enable_user(&mut self, name: &str, enabled: bool) {
        cast::put_user(&self.disk, name, enabled, self.now.timestamp);
        self.is_unnoticed = true;
    }

    pub(super) fn enable_peer(&mut self, peer: PublicKey, enabled: bool) {
        cast::put_peer(&self.disk, peer, enabled, self.now.timestamp);
        self.is_unnoticed = true;
    }

    /// Another gate, or a tool, ends a peer's session.
    pub(super) fn close_elsewhere(&mut self, peer: PublicKey) {
        if let Some(record) = self.live().iter().find(|record| record.peer == peer) {
            let reason = EndReason::Revoked;
            let event = AuditEvent::new(self.now.timestamp, AuditKind::Ended { reason });
            ready(self.disk.close_session(record.id, reason, event)).unwrap();
            self.is_unnoticed = true;
        }
    }

    /// The user gets another factor for the one that there was.
    pub(super) fn replace_factor(&mut self, name: &str) {
        let id = FactorId::from_bytes(spread(self.serial()));
        if let Some(old) = ready(self.disk.factors(&cast::user(name))).unwrap().pop() {
            let kind = AuditKind::FactorRemoved;
            let event = AuditEvent::new(self.now.timestamp, kind);
            ready(self.disk.remove_factor(old.id, LastFactor::Danger, event)).unwrap();
        }
        cast::add_factor(&self.disk, name, id, self.now.timestamp);
        self.is_unnoticed = true;
    }

    /// An administrator resets a user's failures, which ends the sessions that the factor opened.
    pub(super) fn reset_failures(&mut self, name: &str) {
        for factor in ready(self.disk.factors(&cast::user(name))).unwrap() {
            let event = AuditEvent::new(self.now.timestamp, AuditKind::FailuresReset);
            ready(self.disk.reset_failures(factor.id, event)).unwrap();
            self.model.resets(factor.id);
        }
        self.is_unnoticed = true;
    }

    /// The store tells the gate that anything may have changed.
    pub(super) fn notice(&mut self) {
        self.is_unnoticed = false;
        let live = self.live();
        self.input(Input::Changed {
            sessions: live.iter().map(|record| record.id).collect(),
            peers: PEERS.to_vec(),
            users: USERS.map(cast::user).to_vec(),
        });
    }
}

/// What a test asks about.
impl World {
    /// The sessions that are live on disk.
    pub(super) fn live(&self) -> Vec<SessionRecord> {
        ready(self.disk.live_sessions(&cast::location())).unwrap()
    }

    pub(super) fn record(&self, session: SessionId) -> Option<SessionRecord> {
        ready(self.disk.session(session)).unwrap()
    }

    pub(super) fn installed(&self) -> BTreeMap<PublicKey, PeerConfig> {
        self.interface.installed()
    }

    pub(super) fn is_installed(&self, peer: PublicKey) -> bool {
        self.installed().contains_key(&peer)
    }

    pub(super) fn lease(&self, peer: PublicKey) -> Option<&Lease> {
        self.machine
            .leases()
            .find(|lease| lease.terms().peer == peer)
    }

    pub(super) fn session_of(&self, peer: PublicKey) -> SessionId {
        self.lease(peer).expect("a lease").session()
    }

    /// Whether an interface operation on the peer is under way.
    pub(super) fn is_operating(&self, peer: PublicKey) -> bool {
        self.operating.contains(&peer)
    }

    /// The last reply to an attempt.
    pub(super) fn reply_to(&self, attempt: AttemptId) -> Option<&Outcome> {
        let mut replies = self.replies.iter().rev();
        replies
            .find(|(to, _)| *to == attempt)
            .map(|(_, reply)| reply)
    }
}
