//! What administrators and other gates do in the store, behind the gate's back.

use std::time::Duration;

use super::fixtures::{self, PEERS, USERS};
use super::world::{World, ready, spread};
use crate::assurance::FactorKind;
use crate::audit::{AuditEvent, AuditKind};
use crate::gate::Input;
use crate::id::{FactorId, TokenId};
use crate::key::PublicKey;
use crate::store::{
    AdminStore, EndReason, EnrolmentToken, FactorChange, FactorFailure, FailureReason,
    FailureRecorded, LastFactor, PeerStore,
};

impl World {
    pub(super) fn enable_user(&mut self, name: &str, enabled: bool) {
        fixtures::put_user(&self.disk, name, enabled, self.now.timestamp);
        self.is_unnoticed = true;
    }

    pub(super) fn enable_peer(&mut self, peer: PublicKey, enabled: bool) {
        fixtures::put_peer(&self.disk, peer, enabled, self.now.timestamp);
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

    /// The user gets another authenticator app for the one that there was.
    pub(super) fn replace_factor(&mut self, name: &str) {
        let id = FactorId::from_bytes(spread(self.serial()));
        let kind = FactorKind::TOTP;
        if let Some(old) = self.factors(name).iter().find(|it| it.kind == kind) {
            self.remove_factor(old.id);
        }
        fixtures::add_factor(&self.disk, &self.ring, name, id, kind, self.now.timestamp);
        self.is_unnoticed = true;
    }

    pub(super) fn remove_factor(&mut self, factor: FactorId) {
        let event = AuditEvent::new(self.now.timestamp, AuditKind::FactorRemoved);
        let removed = self.disk.remove_factor(factor, LastFactor::Danger, event);
        ready(removed).unwrap();
        self.is_unnoticed = true;
    }

    /// A factor is not to be used until it is resumed.
    pub(super) fn suspend_factor(&mut self, factor: FactorId) {
        let event = AuditEvent::new(self.now.timestamp, AuditKind::FactorSuspended);
        let change = FactorChange::Suspend(LastFactor::Danger);
        ready(self.disk.change_factor(factor, change, event)).unwrap();
        self.is_unnoticed = true;
    }

    /// Someone elsewhere answers wrong for this factor.
    pub(super) fn fail_elsewhere(&mut self, factor: FactorId) {
        let reason = FailureReason::Wrong;
        let failure = FactorFailure {
            factor,
            at: self.now.timestamp,
            throttle: self.policy.throttle,
            event: AuditEvent::new(self.now.timestamp, AuditKind::Denied { reason }),
        };
        let recorded = ready(self.disk.record_failure(failure)).unwrap();
        if matches!(recorded, FailureRecorded::Counted(_)) {
            self.model.fails_elsewhere(factor);
        }
    }

    /// An administrator issues a token for a user's factors, good for a minute.
    pub(super) fn issue_token(&mut self, name: &str, kinds: &[FactorKind]) -> String {
        let serial = self.serial();
        let text = format!("mfe_{serial}");
        let id = TokenId::from_bytes(spread(serial));
        let not_after = self.now.timestamp + Duration::from_secs(60);
        let token = EnrolmentToken {
            id,
            user: fixtures::user(name),
            digest: EnrolmentToken::digest_of(&text),
            kinds: kinds.to_vec(),
            not_after,
            replaces: None,
        };
        let kind = AuditKind::TokenIssued {
            token: id,
            kinds: kinds.to_vec(),
            not_after,
        };
        let event = AuditEvent::new(self.now.timestamp, kind);
        ready(self.disk.put_token(token, event)).unwrap();
        text
    }

    /// An administrator puts a user into these groups and no others.
    pub(super) fn put_into(&mut self, name: &str, groups: &[&str]) {
        fixtures::put_into(&self.disk, name, groups, self.now.timestamp);
        self.is_unnoticed = true;
    }

    /// An administrator resets a user's failures, which ends the sessions that the factor opened.
    pub(super) fn reset_failures(&mut self, name: &str) {
        for factor in self.factors(name) {
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
            users: USERS.map(fixtures::user).to_vec(),
        });
    }
}
