//! What clients do in the world, and what a test asks about it.

use std::collections::BTreeMap;

use super::fixtures::{self, USERS};
use super::world::{World, ready, spread};
use crate::assurance::FactorKind;
use crate::audit::AuditKind;
use crate::channel::message::{
    Answer, Denied, DeniedReason, EnrolRequest, Posture, Refusal, Request, SecretString,
};
use crate::gate::persistence;
use crate::gate::{Input, Intent, Lease, Outcome, Scope};
use crate::id::{AttemptId, FactorId, SessionId};
use crate::interface::{Activity, PeerConfig};
use crate::key::PublicKey;
use crate::store::{AdminStore, EnrolmentToken, FactorRecord, PeerStore, SessionRecord};
use crate::time::Timestamp;

/// What clients and administrators do.
impl World {
    pub(super) fn hello(&mut self, peer: PublicKey, intent: Intent) -> AttemptId {
        let attempt = AttemptId::from_bytes(spread(self.serial()));
        self.input(Input::Hello {
            attempt,
            peer,
            ephemeral: *attempt.as_bytes(),
            sent_at: self.gate_time(),
            intent,
            posture: Posture::default(),
            source: None,
        });
        attempt
    }

    /// What a client that is told so has its first messages sent at.
    pub(super) fn gate_time(&self) -> Timestamp {
        self.machine.freshness.time(self.now)
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
        let answer = self.right_answer(attempt);
        self.answer(attempt, &answer);
    }

    /// Would rather be asked for the owner's factor of this kind.
    pub(super) fn choose(&mut self, attempt: AttemptId, kind: &FactorKind) {
        let owner = fixtures::owner(self.model.peer_of(attempt));
        let factor = fixtures::factor_of(owner.as_str(), kind);
        self.request(attempt, Request::Choose { factor });
    }

    /// Gives the right answer to one question, and has all of it done.
    pub(super) fn pass_one(&mut self, attempt: AttemptId) {
        self.answer_right(attempt);
        self.settle();
    }

    /// Begins to enrol a factor, with a token or without.
    pub(super) fn enrol_by(
        &mut self,
        peer: PublicKey,
        kind: FactorKind,
        token: Option<&str>,
    ) -> AttemptId {
        let token = token.and_then(|text| SecretString::new(text.to_owned()));
        let label = "new".parse().unwrap();
        self.hello(peer, Intent::Enrol(EnrolRequest { kind, label, token }))
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
    /// Someone puts a peer on the interface, or changes one that is there.
    pub(super) fn meddle(&mut self, peer: PublicKey) {
        // What is put on an interface that is down passes nothing; the next start takes it off.
        if self.interface.is_fenced() {
            return;
        }
        let there = self.installed().remove(&peer);
        let mut there = there.unwrap_or(PeerConfig::new(peer, None, Vec::new()));
        there.allowed_ips = vec!["198.51.100.0/24".parse().unwrap()];
        self.interface.plant(there);
        self.meddled.insert(peer);
    }

    /// Someone takes a peer off the interface.
    pub(super) fn take_off(&mut self, peer: PublicKey) {
        self.interface.take_off(&peer);
        self.meddled.insert(peer);
    }

    /// The interface goes away with all peers, for a while or for good.
    pub(super) fn lose_interface(&mut self, for_good: bool) {
        if for_good {
            self.interface.vanish();
        } else {
            self.interface.go_away();
        }
        self.meddled.extend(super::fixtures::PEERS);
    }

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

/// What a test asks about.
impl World {
    /// How many records of this kind the trail has.
    pub(super) fn records(&self, kind: &AuditKind) -> usize {
        let trail = ready(self.disk.audit(1, usize::MAX)).unwrap();
        let records = trail.iter().filter(|record| record.event.kind == *kind);
        records.count()
    }

    /// The sessions that are live on disk.
    pub(super) fn live(&self) -> Vec<SessionRecord> {
        ready(self.disk.live_sessions(&fixtures::location())).unwrap()
    }

    /// A user's factors on disk.
    pub(super) fn factors(&self, name: &str) -> Vec<FactorRecord> {
        ready(self.disk.factors(&fixtures::user(name))).unwrap()
    }

    /// A user's tokens on disk.
    pub(super) fn disk_tokens(&self, name: &str) -> Vec<EnrolmentToken> {
        ready(self.disk.tokens(&fixtures::user(name))).unwrap()
    }

    /// A factor on disk, of any user.
    pub(super) fn factor(&self, factor: FactorId) -> Option<FactorRecord> {
        let mut all = USERS.into_iter().flat_map(|name| self.factors(name));
        all.find(|record| record.id == factor)
    }

    /// A factor's secret, which only the ring that sealed it opens.
    pub(super) fn secret(&self, factor: &FactorRecord) -> Vec<u8> {
        let secret = persistence::factor_secret(&self.ring, factor);
        secret.expect("it opens").expose_secret().to_vec()
    }

    /// How often the owner's factor of a kind has failed.
    pub(super) fn failures_of(&self, name: &str, kind: &FactorKind) -> u32 {
        let factor = self.factor(fixtures::factor_of(name, kind));
        factor.map_or(0, |factor| factor.failures.count)
    }

    /// The kind of factor that an attempt is asked for, by the last reply to it.
    pub(super) fn asked_for(&self, attempt: AttemptId) -> Option<FactorKind> {
        match self.reply_to(attempt) {
            Some(Outcome::Challenge {
                factor: Some(offer),
                ..
            }) => Some(offer.kind.clone()),
            _ => None,
        }
    }

    /// Why the last answer of an attempt was refused.
    pub(super) fn denied(&self, attempt: AttemptId) -> Option<DeniedReason> {
        match self.reply_to(attempt) {
            Some(Outcome::Denied(Denied { reason, .. })) => Some(*reason),
            _ => None,
        }
    }

    /// Why an attempt came to its end.
    pub(super) fn refused(&self, attempt: AttemptId) -> Option<&Refusal> {
        match self.reply_to(attempt) {
            Some(Outcome::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }

    pub(super) fn is_granted(&self, attempt: AttemptId) -> bool {
        self.reply_to(attempt) == Some(&Outcome::Granted)
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
