//! The proof tokens: a [`Grant`] binds the fact that MFA has been passed; a [`Lease`] comes only
//! from consuming one.
//!
//! Both origins of a grant are greppable: [`Grant::assertion`], where the ceremony has verified
//! every factor that the policy asks for, and [`Grant::reseal`], where a session of an earlier run
//! opened under the key ring with all its terms.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::policy_change::terms_under;
use crate::assurance::Assurance;
use crate::factor::Proof;
use crate::id::{FactorId, Generation, LocationId, SessionId, UserId};
use crate::key::{PresharedKey, PublicKey};
use crate::policy::{Policy, RenewalRule};
use crate::seal::{AssociatedData, KeyRing, SealError, SealFault, Sealed};
use crate::store::SessionRecord;
use crate::time::{Instant, Now, Timestamp};

/// The right to one lease for one peer, within fixed terms.
///
/// It can't be forged: its fields are private and it has no public constructor.
///
/// ```compile_fail,E0451
/// # fn forge(terms: mfagate::gate::engine::Terms) {
/// let grant = mfagate::gate::engine::Grant { terms, passed: Vec::new(), policy: Default::default() };
/// # }
/// ```
///
/// ```compile_fail,E0624
/// # fn forge(terms: mfagate::gate::engine::Terms) {
/// let grant = mfagate::gate::engine::Grant::assertion(terms, Vec::new(), Default::default());
/// # }
/// ```
///
/// And it is worth one lease, not two:
///
/// ```compile_fail,E0599
/// # fn double(grant: mfagate::gate::engine::Grant) {
/// let second = grant.clone();
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a grant that is dropped admits no one"]
pub struct Grant {
    terms: Terms,
    passed: Vec<PassedFactor>,
    policy: Arc<Policy>,
}

/// A factor that was passed, and the envelope that it was read from.
#[derive(Debug, Clone)]
pub(super) struct PassedFactor {
    pub(super) proof: Proof,
    pub(super) sealed: Sealed,
    /// When its answer came in.
    pub(super) since: Now,
    /// Whether the store has its success already, so that the admission takes nothing more.
    pub(super) is_durable: bool,
}

impl Grant {
    /// Binds the fact that every factor which the policy asks for has been verified.
    pub(super) const fn assertion(
        terms: Terms,
        passed: Vec<PassedFactor>,
        policy: Arc<Policy>,
    ) -> Self {
        Self {
            terms,
            passed,
            policy,
        }
    }

    /// Binds the fact that a stored session opened under the gate's own key ring. The envelope's
    /// associated data holds the terms, so that a store can't lengthen or redirect a session.
    ///
    /// # Errors
    /// [`SealError`] when the envelope does not open for exactly these terms.
    pub(super) fn reseal(
        record: &SessionRecord,
        ring: &KeyRing,
        policy: Arc<Policy>,
        now: Now,
    ) -> Result<Restored, SealError> {
        // The envelope before the terms: it opens only if the record's terms are those that the
        // gate sealed.
        let psk = preshared_key(record, ring)?;
        let terms = Terms::restore(record, &policy, now);
        let grant = Self {
            terms,
            passed: Vec::new(),
            policy,
        };
        Ok(Restored {
            grant,
            session: record.id,
            generation: record.generation,
            psk,
        })
    }

    /// What was granted.
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The proofs that led here; none for a session of an earlier run.
    pub fn proofs(&self) -> impl Iterator<Item = &Proof> {
        self.passed.iter().map(|passed| &passed.proof)
    }

    /// The factors that were passed.
    pub(super) fn passed(&self) -> &[PassedFactor] {
        &self.passed
    }

    /// The policy that it was made by.
    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// The preshared key of a stored session. The envelope's associated data holds the terms.
///
/// # Errors
/// [`SealError`] when the envelope does not open for exactly these terms.
pub(super) fn preshared_key(
    record: &SessionRecord,
    ring: &KeyRing,
) -> Result<PresharedKey, SealError> {
    let secret = ring.open(&AssociatedData::from(record), &record.psk)?;
    PresharedKey::from_slice(secret.expose_secret()).ok_or(SealError(SealFault::Altered))
}

/// A session of an earlier run whose envelope opened.
#[derive(Debug)]
pub struct Restored {
    pub(super) grant: Grant,
    pub(super) session: SessionId,
    pub(super) generation: Generation,
    pub(super) psk: PresharedKey,
}

impl Restored {
    /// The same session, held to the rules that it is restored under, by what was proven for it.
    /// `None` where they would not admit its peer any more: the policy changed while no gate ran.
    /// One whose time is over stays what it is, and ends as that.
    pub(super) fn under_its_rules(mut self, proven: &[Assurance], now: Now) -> Option<Self> {
        let Grant { terms, policy, .. } = &self.grant;
        if !terms.are_over(now) {
            self.grant.terms = terms_under(policy, terms, proven, now)?;
        }
        Some(self)
    }
}

/// What a grant is for, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// Where.
    pub location: LocationId,
    /// Who.
    pub peer: PublicKey,
    /// The peer's owner.
    pub user: UserId,
    /// The addresses that the peer gets.
    pub allowed_ips: Box<[IpNet]>,
    /// When the factors were verified.
    pub verified_at: Timestamp,
    /// When the lease ends, by the wall clock.
    pub not_after: Timestamp,
    /// When the lease ends, by the monotonic clock. The earlier of the two wins.
    pub ends: Instant,
    /// Up to when the lease can be renewed without a factor, by the wall clock.
    pub renewable_until: Timestamp,
    /// Up to when the lease can be renewed without a factor, by the monotonic clock.
    pub renewable_ends: Instant,
    /// Whether the client is to end the session when its device wakes or is unlocked.
    pub end_on_wake: bool,
    /// The factors that were passed.
    pub factors: Box<[FactorId]>,
}

impl Terms {
    /// Terms that begin `now`, within the policy.
    pub(super) fn begin(
        location: LocationId,
        peer: &crate::store::Peer,
        factors: Box<[FactorId]>,
        policy: &Policy,
        now: Now,
    ) -> Self {
        let lease = policy.lease.min(policy.max_age);
        let renewable = match policy.renewal {
            RenewalRule::Free => policy.max_age,
            RenewalRule::Factor | RenewalRule::Off => lease,
        };
        Self {
            location,
            peer: peer.key,
            user: peer.user.clone(),
            allowed_ips: peer.allowed_ips.as_slice().into(),
            verified_at: now.timestamp,
            not_after: now.timestamp + lease,
            ends: now.instant + lease,
            renewable_until: now.timestamp + renewable,
            renewable_ends: now.instant + renewable,
            end_on_wake: policy.end_on_wake,
            factors,
        }
    }

    /// Ends the terms, with all renewals, at a time of the wall clock, if that comes first.
    pub(super) fn end_by(&mut self, until: Timestamp, now: Now) {
        let ends = now.instant + until.saturating_since(now.timestamp);
        self.not_after = self.not_after.min(until);
        self.ends = self.ends.min(ends);
        self.renewable_until = self.renewable_until.min(until);
        self.renewable_ends = self.renewable_ends.min(ends);
    }

    /// Lets the lease last for this long from `now`, if that is less.
    pub(super) fn shorten(&mut self, longest: Duration, now: Now) {
        self.not_after = self.not_after.min(now.timestamp + longest);
        self.ends = self.ends.min(now.instant + longest);
    }

    /// The same terms, never longer than the policy has them.
    pub(super) fn within(&self, policy: &Policy, now: Now) -> Self {
        let mut terms = self.clone();
        terms.end_by(self.verified_at + policy.max_age, now);
        terms.shorten(policy.lease, now);
        match policy.renewal {
            RenewalRule::Free => {}
            RenewalRule::Factor | RenewalRule::Off => {
                terms.renewable_until = terms.renewable_until.min(terms.not_after);
                terms.renewable_ends = terms.renewable_ends.min(terms.ends);
            }
        }
        terms.end_on_wake |= policy.end_on_wake;
        terms
    }

    /// Terms of a stored session, never longer than stored and never longer than the policy.
    fn restore(record: &SessionRecord, policy: &Policy, now: Now) -> Self {
        let oldest = record.verified_at + policy.max_age;
        let not_after = record.not_after.min(oldest);
        let renewable_until = match policy.renewal {
            RenewalRule::Free => record.renewable_until.min(oldest),
            RenewalRule::Factor | RenewalRule::Off => not_after,
        };
        // A clock that was stepped back since may claim more time than any lease is given.
        let left = |until: Timestamp, most: Duration| {
            now.instant + until.saturating_since(now.timestamp).min(most)
        };
        Self {
            location: record.location.clone(),
            peer: record.peer,
            user: record.user.clone(),
            allowed_ips: record.allowed_ips.as_slice().into(),
            verified_at: record.verified_at,
            not_after,
            ends: left(not_after, policy.lease),
            renewable_until,
            renewable_ends: left(renewable_until, policy.max_age),
            end_on_wake: policy.end_on_wake,
            factors: record.factors.as_slice().into(),
        }
    }

    /// The same terms with one more lease's time, as far as they can be renewed.
    pub(super) fn renew(&self, policy: &Policy, now: Now) -> Self {
        Self {
            not_after: (now.timestamp + policy.lease).min(self.renewable_until),
            ends: (now.instant + policy.lease).min(self.renewable_ends),
            ..self.clone()
        }
    }

    /// The row that a session with these terms seals its preshared key to.
    pub(super) fn row<'a>(&'a self, session: &'a SessionId) -> AssociatedData<'a> {
        AssociatedData::Session {
            id: session,
            location: &self.location,
            peer: &self.peer,
            user: &self.user,
            allowed_ips: &self.allowed_ips,
            verified_at: self.verified_at,
            not_after: self.not_after,
            renewable_until: self.renewable_until,
            factors: &self.factors,
        }
    }

    /// Whether the time is over by either clock.
    pub(super) fn are_over(&self, now: Now) -> bool {
        now.instant >= self.ends || now.timestamp >= self.not_after
    }

    /// How much time is left, by the clock that says less.
    pub fn left(&self, now: Now) -> Duration {
        self.ends
            .saturating_since(now.instant)
            .min(self.not_after.saturating_since(now.timestamp))
    }

    /// How much time is left with renewals, by the clock that says less.
    pub fn renewable_left(&self, now: Now) -> Duration {
        self.renewable_ends
            .saturating_since(now.instant)
            .min(self.renewable_until.saturating_since(now.timestamp))
    }
}

/// What the interface enforces: the peer of a live session may pass traffic until the terms end.
#[derive(Debug)]
pub struct Lease {
    session: SessionId,
    generation: Generation,
    terms: Terms,
    policy: Arc<Policy>,
}

impl Lease {
    /// Consumes the grant.
    pub(super) fn new(grant: Grant, session: SessionId, generation: Generation) -> Self {
        Self {
            session,
            generation,
            terms: grant.terms,
            policy: grant.policy,
        }
    }

    /// Later terms for the same session, once the store has them.
    pub(super) fn extend(&mut self, terms: Terms, generation: Generation) {
        self.terms = terms;
        self.generation = generation;
    }

    /// Other terms and rules for the same session.
    pub(super) fn govern(&mut self, terms: Terms, policy: Arc<Policy>) {
        self.terms = terms;
        self.policy = policy;
    }

    /// The session that the store knows it by.
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// How often the peer has been admitted or renewed.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Its terms.
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The rules that it was granted by.
    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// When a warning of its end is due; one that is past at the beginning is not given.
    pub(super) fn warns(&self) -> Instant {
        self.terms.ends - self.policy.warn_before
    }
}
