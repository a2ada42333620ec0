//! The mapping between the machine and the store: what the store is given of a grant, a proof or a
//! new factor, and what the gate makes of the records that the store hands back.
//!
//! Every function here is pure but for the nonce of a seal: none calls a store, reads a clock or
//! decides who is admitted. The shell in [`crate::runtime`] uses them, and so do the machine's
//! property tests, so that the mapping which is tested is the one that runs.
//!
//! Secrets leave this module only inside an envelope that is bound to its row. What is sealed
//! before it is handed on can't reach a store in the clear, whatever the store is.

#![cfg_attr(
    not(feature = "runtime"),
    expect(dead_code, reason = "the shell's to call")
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::action::FactorContext;
use super::grant::{Grant, Restored, Terms, preshared_key};
use super::input::KnownSession;
use super::policy_cache::PolicyCache;
use crate::assurance::FactorKind;
use crate::audit::AuditEvent;
use crate::factor::{Credential, Proof};
use crate::id::{FactorId, Generation, GroupId, Label, LocationId, SessionId, TokenId, UserId};
use crate::key::{PresharedKey, PublicKey};
use crate::policy::{Failures, Policy, Throttle};
use crate::seal::{AssociatedData, KeyRing, SealError, SealFault, Sealed, SecretBytes};
use crate::store::{
    Enrolment, FactorEnrolment, FactorPass, FactorRecord, FactorState, FactorUse, NewSession,
    SecretReplacement, SessionRecord, SessionRenewal, User,
};
use crate::time::Now;

/// A factor that a client has proven to hold, as [`Action::AddFactor`](super::Action::AddFactor)
/// describes it.
#[derive(Debug)]
pub(crate) struct NewFactor {
    pub(crate) enrolment: Arc<Enrolment>,
    pub(crate) kind: FactorKind,
    pub(crate) label: Label,
    pub(crate) credential: Credential,
    /// The token that the enrolment uses up.
    pub(crate) token: Option<TokenId>,
    /// The factors that were passed before.
    pub(crate) passed: Vec<FactorId>,
}

/// The sessions of earlier runs, by what a start does with them.
#[derive(Debug, Default)]
pub(crate) struct StoredSessions {
    /// The envelope opened, and the policy would still admit the peer.
    pub(crate) restored: Vec<Restored>,
    /// The envelope opened, but the policy would not admit the peer any more.
    pub(crate) refused: Vec<SessionRecord>,
    /// The envelope did not open, with the reason.
    pub(crate) unreadable: Vec<(SessionRecord, SealError)>,
}

impl StoredSessions {
    /// Sorts the records of a location. A user who is unknown counts as one without groups.
    pub(crate) fn of(
        records: Vec<SessionRecord>,
        users: &[User],
        policy: &Policy,
        ring: &KeyRing,
        now: Now,
    ) -> Self {
        let groups = groups(users);
        let mut policies = PolicyCache::new(policy.clone());
        let mut stored = Self::default();
        for record in records {
            let groups = groups.get(&record.user).copied().unwrap_or_default();
            // The envelope first: until it has opened, none of the record's terms is to be
            // believed, and a policy that was judged by them would say nothing.
            match Grant::reseal(&record, ring, policies.of(groups), now) {
                Ok(restored) => match restored.under_its_rules(&record.assurance, now) {
                    Some(restored) => stored.restored.push(restored),
                    None => stored.refused.push(record),
                },
                Err(error) => stored.unreadable.push((record, error)),
            }
        }
        stored
    }

    /// Whether the key ring opened any of them.
    pub(crate) fn any_opened(&self) -> bool {
        !self.restored.is_empty() || !self.refused.is_empty()
    }
}

/// The session that a grant opens. The preshared key is sealed to the grant's terms.
///
/// # Errors
/// [`SealError`] when the preshared key or a factor's new secret can't be sealed.
pub(crate) fn new_session(
    ring: &KeyRing,
    throttle: Throttle,
    session: SessionId,
    grant: &Grant,
    psk: &PresharedKey,
    event: AuditEvent,
) -> Result<NewSession, SealError> {
    let terms = grant.terms();
    let passed = grant.passed().iter();
    let uses = passed.map(|passed| factor_use(ring, &terms.user, &passed.proof, &passed.sealed));
    let proofs = grant.proofs();
    Ok(NewSession {
        id: session,
        location: terms.location.clone(),
        peer: terms.peer,
        user: terms.user.clone(),
        allowed_ips: terms.allowed_ips.to_vec(),
        verified_at: terms.verified_at,
        not_after: terms.not_after,
        renewable_until: terms.renewable_until,
        psk: seal_key(ring, session, terms, psk)?,
        assurance: proofs.map(|proof| proof.assurance.clone()).collect(),
        factor_uses: uses.collect::<Result<_, _>>()?,
        throttle,
        most_per_user: grant.policy().sessions_per_user,
        event: AuditEvent {
            session: Some(session),
            ..event
        },
    })
}

/// The renewal of a session. Its new preshared key is sealed to the new terms.
///
/// # Errors
/// [`SealError`] when the preshared key can't be sealed.
pub(crate) fn session_renewal(
    ring: &KeyRing,
    session: SessionId,
    generation: Generation,
    terms: &Terms,
    psk: &PresharedKey,
    event: AuditEvent,
) -> Result<SessionRenewal, SealError> {
    Ok(SessionRenewal {
        id: session,
        generation,
        not_after: terms.not_after,
        renewable_until: terms.renewable_until,
        psk: seal_key(ring, session, terms, psk)?,
        event,
    })
}

/// The success of a factor, to be recorded before the attempt goes on.
///
/// # Errors
/// [`SealError`] when the factor's new secret can't be sealed.
pub(crate) fn factor_pass(
    ring: &KeyRing,
    throttle: Throttle,
    context: &FactorContext,
    proof: &Proof,
    event: AuditEvent,
) -> Result<FactorPass, SealError> {
    Ok(FactorPass {
        location: context.location.clone(),
        peer: context.peer,
        user: context.user.clone(),
        factor_use: factor_use(ring, &context.user, proof, &context.factor.sealed)?,
        throttle,
        event,
    })
}

/// A new factor, with its secret sealed to its row.
///
/// # Errors
/// [`SealError`] when the secret can't be sealed.
pub(crate) fn factor_enrolment(
    ring: &KeyRing,
    throttle: Throttle,
    location: LocationId,
    id: FactorId,
    new: NewFactor,
    event: AuditEvent,
) -> Result<FactorEnrolment, SealError> {
    let NewFactor {
        enrolment,
        kind,
        label,
        credential,
        token,
        passed,
    } = new;
    let user = enrolment.user.id.clone();
    let row = AssociatedData::Factor {
        id: &id,
        user: &user,
        kind: &kind,
    };
    let sealed = ring.seal(&row, credential.secret.expose_secret())?;
    Ok(FactorEnrolment {
        factor: FactorRecord {
            id,
            user,
            kind,
            label,
            credential: credential.id,
            sealed,
            state: FactorState::Active,
            last_counter: credential.counter,
            failures: Failures::default(),
        },
        location,
        peer: enrolment.peer.key,
        token,
        factor_uses: passed.into_iter().map(nothing_of).collect(),
        throttle,
        at: event.at,
        event,
    })
}

/// What a proof uses up of its factor. `from` is the envelope that the verifier's secret came out
/// of: the store puts the new one in its place only if it still holds that one, so that of two
/// answers which were checked against the same secret one is accepted.
fn factor_use(
    ring: &KeyRing,
    user: &UserId,
    proof: &Proof,
    from: &Sealed,
) -> Result<FactorUse, SealError> {
    let seal = |secret: &SecretBytes| -> Result<SecretReplacement, SealError> {
        let row = AssociatedData::Factor {
            id: &proof.factor,
            user,
            kind: &proof.assurance.kind,
        };
        Ok(SecretReplacement {
            from: from.clone(),
            to: ring.seal(&row, secret.expose_secret())?,
        })
    };
    Ok(FactorUse {
        factor: proof.factor,
        counter: proof.counter,
        replace_secret: proof.replace_secret.as_ref().map(seal).transpose()?,
        credential: proof.credential.clone(),
    })
}

/// A factor that was passed, and whose success the store has already: nothing more is taken from
/// it, but the store judges once more whether it is there and not locked.
const fn nothing_of(factor: FactorId) -> FactorUse {
    FactorUse {
        factor,
        counter: None,
        replace_secret: None,
        credential: None,
    }
}

/// Seals a preshared key to all terms of its session: a store that lengthened or redirected them
/// would hold an envelope that does not open.
fn seal_key(
    ring: &KeyRing,
    session: SessionId,
    terms: &Terms,
    psk: &PresharedKey,
) -> Result<Sealed, SealError> {
    ring.seal(&terms.row(&session), psk.expose_secret())
}

/// A factor's secret, for its verifier.
///
/// # Errors
/// [`SealError`] when the envelope does not open for exactly this row.
pub(crate) fn factor_secret(
    ring: &KeyRing,
    factor: &FactorRecord,
) -> Result<SecretBytes, SealError> {
    ring.open(&AssociatedData::from(factor), &factor.sealed)
}

/// The preshared key of this session of this peer's that is live, and the generation that it is of;
/// `None` for a session that has ended or that the store does not have.
///
/// # Errors
/// [`SealError`] when the envelope does not open for exactly this row, and where the store gave
/// another record than it was asked for: the peer would be let in with another's key.
pub(crate) fn live_key(
    ring: &KeyRing,
    (session, peer): (SessionId, PublicKey),
    record: Option<&SessionRecord>,
) -> Result<Option<(Generation, PresharedKey)>, SealError> {
    if record.is_some_and(|record| (record.id, record.peer) != (session, peer)) {
        return Err(SealFault::Altered.into());
    }
    let live = record.filter(|record| record.ended.is_none());
    let key = live.map(|record| Ok((record.generation, preshared_key(record, ring)?)));
    key.transpose()
}

/// What live sessions are judged by under another policy. One whose user is unknown is left out,
/// and so ends. One whose preshared key does not open is judged without it.
pub(crate) fn known_sessions(
    records: Vec<SessionRecord>,
    users: &[User],
    ring: &KeyRing,
) -> Vec<KnownSession> {
    let groups = groups(users);
    let known = records.into_iter().filter_map(|record| {
        let groups = *groups.get(&record.user)?;
        Some(KnownSession {
            session: record.id,
            peer: record.peer,
            generation: record.generation,
            groups: groups.to_vec(),
            psk: preshared_key(&record, ring).ok(),
            proven: record.assurance,
        })
    });
    known.collect()
}

fn groups(users: &[User]) -> BTreeMap<&UserId, &[GroupId]> {
    let groups = users.iter().map(|user| (&user.id, &*user.groups));
    groups.collect()
}
