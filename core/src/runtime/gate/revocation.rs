//! Who has to be out before a call returns: revocations, and comparisons that are asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::{Gate, Shared};
use crate::gate::{Input, Scope};
use crate::id::SessionId;
use crate::key::PublicKey;

impl Gate {
    /// Ends sessions now, and the attempts in scope with them. Returns their ids once their peers
    /// are off the interface and the ends are durable.
    ///
    /// Cancel safe: a revocation that was begun is carried through.
    ///
    /// # Errors
    /// [`RevokeError`] when that takes longer than
    /// [`Timeouts::revoke`](super::Timeouts::revoke); the gate goes on trying.
    pub async fn revoke(&self, scope: Scope) -> Result<Vec<SessionId>, RevokeError> {
        let limit = self.shared.timeouts.revoke;
        let ended = self.shared.ended(|ticket| Input::Revoke { ticket, scope });
        let in_time = tokio::time::timeout(limit, ended).await;
        in_time.unwrap_or(Err(RevokeError))
    }

    /// Compares the leases in scope with the store, and ends those that it no longer backs, those
    /// that the policy would not admit by the groups that their user is in now, and the attempts in
    /// scope. A lease becomes shorter where the rules for those groups give less time, and never
    /// longer. Returns the ids of the sessions that were ending meanwhile once their peers are off
    /// the interface: after a [`Registrar`](crate::enrol::Registrar) has disabled a user or a peer,
    /// or changed a factor or a user's groups, they are out when this returns. The gate does the
    /// same by itself when it hears of a change, except for groups, which otherwise count from the
    /// user's next sign-in or renewal; this is for those who have to know.
    ///
    /// Other gates that share the store are not waited for. Cancel safe, as
    /// [`revoke`](Self::revoke) is.
    ///
    /// # Errors
    /// [`RevokeError`] when that takes longer than [`Timeouts::revoke`](super::Timeouts::revoke),
    /// and the gate goes on trying; or when the store does not say which groups and proofs the
    /// sessions rest on: call it again.
    pub async fn recheck(&self, scope: Scope) -> Result<Vec<SessionId>, RevokeError> {
        let shared = Arc::clone(&self.shared);
        // A task of its own, so that it is carried through where the caller does not wait for it.
        let rechecked = self.shared.tasks.spawn(async move {
            let rechecked = shared.recheck(scope);
            let rechecked = shared.stopped.run_until_cancelled(rechecked).await;
            rechecked.unwrap_or(Err(RevokeError))
        });
        match tokio::time::timeout(self.shared.timeouts.revoke, rechecked).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) | Err(_) => Err(RevokeError),
        }
    }
}

impl Shared {
    /// Hands the machine a request for ends and waits for them: then no peer in its scope is on the
    /// interface.
    pub(super) async fn ended(
        self: &Arc<Self>,
        request: impl FnOnce(u64) -> Input,
    ) -> Result<Vec<SessionId>, RevokeError> {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (done, wait) = oneshot::channel();
        self.tickets().insert(ticket, done);
        self.input(request(ticket));
        wait.await.map_err(|_| RevokeError)
    }

    /// Goes in this order, so that no session slips through between two steps: first the attempts in
    /// scope end, those included whose session the store is just opening; then each lease that is
    /// left is compared with the store, and held to the policy by the groups that its user is in
    /// now; then the ends that come of that are waited for.
    async fn recheck(self: &Arc<Self>, scope: Scope) -> Result<Vec<SessionId>, RevokeError> {
        let settle = |scope: Scope| self.ended(|ticket| Input::Settle { ticket, scope });
        let mut ended = settle(scope.clone()).await?;
        for (peer, session) in self.leases_in(&scope) {
            let result = self.check(peer, session).await;
            self.input(Input::Checked {
                peer,
                session,
                result,
            });
        }
        self.judge(&scope).await?;
        ended.extend(settle(scope).await?);
        Ok(ended)
    }

    /// Holds the leases in scope to the policy. Where the store does not say what they rest on,
    /// nothing has been judged, and the caller is told.
    async fn judge(self: &Arc<Self>, scope: &Scope) -> Result<(), RevokeError> {
        let leases = self.leases_in(scope);
        let in_scope: Vec<SessionId> = leases.into_iter().map(|(_, session)| session).collect();
        if in_scope.is_empty() {
            return Ok(());
        }
        // Not beside another policy, whose own judgement this could undo.
        let _turn = self.policy_turn.lock().await;
        let mut known = self.known_sessions().await.map_err(|_| RevokeError)?;
        known.retain(|one| in_scope.contains(&one.session));
        self.input(Input::Judge { known });
        Ok(())
    }

    /// The live leases in scope, by peer and session.
    fn leases_in(&self, scope: &Scope) -> Vec<(PublicKey, SessionId)> {
        let machine = self.machine();
        let leases = machine
            .leases()
            .map(|lease| (lease.session(), lease.terms()));
        let meant = leases.filter(|(id, terms)| scope.includes(*id, terms.peer, &terms.user));
        meant.map(|(id, terms)| (terms.peer, id)).collect()
    }
}

/// A revocation that is not done in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the revocation is not done yet: the store or the interface does not answer; the gate goes on trying, and takes the interface down if it must"
)]
pub struct RevokeError;
