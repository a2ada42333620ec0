//! Another policy for a gate that runs.

use std::sync::{Arc, PoisonError};

use super::perform::guarded;
use super::{Gate, Shared};
use crate::assurance::FactorKind;
use crate::gate::{Input, KnownSession, Unavailable, persistence};
use crate::log;
use crate::policy::{InvalidPolicy, Policy, Throttle};
use crate::store::StoreError;

crate::error_code::opaque! {
    /// Why a gate goes on by the policy that it had.
    pub struct PolicyError(ChangeFault);
    from InvalidPolicy;
}

/// What is behind [`PolicyError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeFault {
    /// The policy could admit no one, or without end.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// The policy names a factor that no verifier of this gate serves.
    #[error(
        "the policy names the factor `{kind}`, but no verifier serves it: take the factor out of the policy, or restart the gate with a verifier for it"
    )]
    NoVerifier {
        /// The factor's kind.
        kind: FactorKind,
    },
    /// The gate is stopping, or has taken its interface down: it admits no one by any policy.
    #[error(
        "the gate is stopping or has stopped, and no policy applies to it any more: start it again with the new policy"
    )]
    Closed,
    /// What the live sessions have proven can't be read.
    #[error(
        "the gate can't read its live sessions, which the new policy has to be applied to: fix the store and try again"
    )]
    Store(#[source] StoreError),
    /// The store did not answer in time, or panicked.
    #[error(
        "the store did not say in time which sessions are live, which the new policy has to be applied to: see the log, and try again"
    )]
    Unavailable,
}

impl Gate {
    /// Replaces the policy.
    ///
    /// New attempts go by it, and attempts under way are refused, so that their clients begin
    /// again. Live sessions are held to it as well: one ends
    /// ([`EndReason::PolicyChanged`](crate::store::EndReason::PolicyChanged)) where the factors
    /// that were passed for it would not admit its peer any more, or where the location is closed
    /// now; its lease becomes shorter where the policy gives less time. No lease becomes longer
    /// before it is renewed. `sessions_per_user` counts at the next sign-in.
    ///
    /// Not cancel safe: a call that is dropped may have changed the policy or not.
    ///
    /// # Errors
    /// [`PolicyError`]; the policy is then what it was. `policy-change-gate-closed` where a stop has
    /// begun, or the interface was taken down.
    pub async fn set_policy(&self, policy: Policy) -> Result<(), PolicyError> {
        let shared = &self.shared;
        policy.check()?;
        if let Some(kind) = policy
            .kinds()
            .find(|kind| !shared.verifiers.contains_key(kind))
        {
            return Err(PolicyError(ChangeFault::NoVerifier { kind: kind.clone() }));
        }
        // One change after the other, so that the last one asked for is the one that counts.
        let _turn = shared.policy_turn.lock().await;
        let known = shared.known_sessions().await?;
        *shared
            .throttle
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = policy.throttle;
        let policy = Box::new(policy);
        let mut is_closed = false;
        shared.advance(|machine, now| {
            is_closed = machine.takes_no_policy();
            machine.handle_input(now, Input::Policy { policy, known });
        });
        if is_closed {
            return Err(PolicyError(ChangeFault::Closed));
        }
        let location = shared.location.clone();
        log::later(move || tracing::info!(%location, "the policy was changed"));
        Ok(())
    }
}

impl Shared {
    /// How failures are limited now.
    pub(super) fn throttle(&self) -> Throttle {
        *self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn known_sessions(&self) -> Result<Vec<KnownSession>, ChangeFault> {
        let (store, location) = (Arc::clone(&self.store), self.location.clone());
        let read = async move {
            let records = store.live_sessions(&location).await?;
            Ok((records, store.users().await?))
        };
        let (records, users) = match guarded(self.timeouts.start, read).await {
            Ok(read) => read.map_err(ChangeFault::Store)?,
            Err(Unavailable) => return Err(ChangeFault::Unavailable),
        };
        Ok(persistence::known_sessions(records, &users, &self.ring))
    }
}
