//! What an audit event is about: for those who write a store.
//!
//! A store fills in what its intent touched, so that neither the trail nor the changes told from it
//! can point elsewhere. Pure functions, the same for every store.

use crate::audit::{AuditEvent, AuditKind};
use crate::id::{FactorId, LocationId, SessionId, UserId};
use crate::key::PublicKey;

use super::judge::Claim;
use super::{ChangeSet, EndReason, FactorEnrolment, FactorPass, NewSession, Peer, SessionRecord};

/// About a user.
pub fn of_user(mut event: AuditEvent, user: &UserId) -> AuditEvent {
    event.user = Some(user.clone());
    event
}

/// About a peer and its owner.
pub fn of_peer(event: AuditEvent, peer: &Peer) -> AuditEvent {
    AuditEvent {
        location: Some(peer.location.clone()),
        user: Some(peer.user.clone()),
        peer: Some(peer.key),
        ..event
    }
}

/// About a factor and its owner.
pub fn of_factor(event: AuditEvent, factor: FactorId, user: &UserId) -> AuditEvent {
    AuditEvent {
        user: Some(user.clone()),
        factor: Some(factor),
        ..event
    }
}

/// About a session of a peer.
pub fn of_session(
    event: AuditEvent,
    session: SessionId,
    location: &LocationId,
    peer: PublicKey,
    user: &UserId,
) -> AuditEvent {
    AuditEvent {
        location: Some(location.clone()),
        user: Some(user.clone()),
        peer: Some(peer),
        session: Some(session),
        ..event
    }
}

/// The admission itself.
pub fn admitted(new: &NewSession) -> AuditEvent {
    of_session(
        new.event.clone(),
        new.id,
        &new.location,
        new.peer,
        &new.user,
    )
}

/// The end of the session that an admission takes the place of.
pub fn superseded(new: &NewSession, old: SessionId, user: &UserId) -> AuditEvent {
    let reason = EndReason::Superseded;
    let event = of_session(new.event.clone(), old, &new.location, new.peer, user);
    AuditEvent {
        kind: AuditKind::Ended { reason },
        factor: None,
        ..event
    }
}

/// What became of a claim, other than an admission.
pub fn claimed(claim: &Claim<'_>, kind: AuditKind, factor: Option<FactorId>) -> AuditEvent {
    AuditEvent {
        kind,
        location: Some(claim.location.clone()),
        user: Some(claim.user.clone()),
        peer: Some(claim.peer),
        session: None,
        factor: factor.or(claim.event.factor),
        ..claim.event.clone()
    }
}

/// A factor that was passed.
pub fn passed(pass: &FactorPass) -> AuditEvent {
    let kind = pass.event.kind.clone();
    claimed(&Claim::from(pass), kind, Some(pass.factor_use.factor))
}

/// A factor that was enrolled from its owner's client.
pub fn enrolled(new: &FactorEnrolment) -> AuditEvent {
    let kind = AuditKind::FactorEnrolled {
        kind: new.factor.kind.clone(),
        token: new.token,
    };
    claimed(&Claim::from(new), kind, Some(new.factor.id))
}

/// A factor that was removed because that one took its place.
pub fn replaced(new: &FactorEnrolment, old: FactorId) -> AuditEvent {
    claimed(&Claim::from(new), AuditKind::FactorRemoved, Some(old))
}

/// The end of a session because of another change, which has this event.
pub fn ended_by(event: &AuditEvent, session: &SessionRecord, reason: EndReason) -> AuditEvent {
    let kind = AuditKind::Ended { reason };
    of_session(
        instead(event.clone(), kind),
        session.id,
        &session.location,
        session.peer,
        &session.user,
    )
}

/// The same event with another outcome.
pub fn instead(event: AuditEvent, kind: AuditKind) -> AuditEvent {
    AuditEvent { kind, ..event }
}

impl ChangeSet {
    /// What a running gate must look at again because of this event; empty for one that changes
    /// no access. A store can tell its changes from its audit trail with this.
    pub fn of(event: &AuditEvent) -> Self {
        let mut changes = Self::default();
        match event.kind {
            AuditKind::Ended { .. } => changes.sessions.extend(event.session),
            AuditKind::PeerPut { .. } => changes.peers.extend(event.peer),
            AuditKind::UserPut { .. }
            | AuditKind::GroupsPut { .. }
            | AuditKind::FactorAdded { .. }
            | AuditKind::FactorEnrolled { .. }
            | AuditKind::FactorActivated
            | AuditKind::FactorSuspended
            | AuditKind::FactorResumed
            | AuditKind::FactorRemoved
            | AuditKind::FailuresReset => changes.users.extend(event.user.clone()),
            // What takes access away from another session has a record of its own.
            AuditKind::Admitted { .. }
            | AuditKind::Renewed { .. }
            | AuditKind::Denied { .. }
            | AuditKind::LockedOut
            | AuditKind::NotEligible
            | AuditKind::FactorPassed { .. }
            | AuditKind::NotAuthorised { .. }
            | AuditKind::AssuranceTooLow
            | AuditKind::OutsideHours
            | AuditKind::RecoveryCodeUsed
            | AuditKind::TokenRefused { .. }
            | AuditKind::EnrolmentDenied { .. }
            | AuditKind::EndpointChanged { .. }
            | AuditKind::UnleasedPeer
            | AuditKind::PeerChanged
            | AuditKind::InterfaceGone
            | AuditKind::Fenced => {}
            // No gate keeps labels, tokens or envelopes.
            AuditKind::FactorRenamed
            | AuditKind::RingRotated { .. }
            | AuditKind::TokenIssued { .. }
            | AuditKind::TokenRemoved { .. } => {}
        }
        changes
    }

    /// Whether nothing changed.
    pub const fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.peers.is_empty() && self.users.is_empty()
    }
}
