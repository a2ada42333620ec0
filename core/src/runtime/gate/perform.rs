//! Carrying out what the machine asks for. Whatever goes wrong here, a failure, a panic or a
//! time-out, comes back to the machine as [`Unavailable`].

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use crate::audit::AuditEvent;
use crate::gate::persistence::{self, NewFactor};
use crate::gate::{Action, Grant, Input, LeaseCheck, Terms, Unavailable};
use crate::id::{AttemptId, Generation, SessionId};
use crate::interface::{Activity, PeerConfig};
use crate::key::{PresharedKey, PublicKey};
use crate::log;
use crate::store::{
    EndReason, FactorFailure, FailureRecorded, OpenOutcome, Renewed, SessionRecord,
};

/// How often the store is asked about a changed lease before it counts as not backed.
pub(super) const CHECK_TRIES: u32 = 5;
/// How long after the store did not answer that it is asked again.
pub(super) const CHECK_AGAIN: Duration = Duration::from_millis(500);

/// How often the store is given a record that belongs to no other intent.
const RECORD_TRIES: u32 = 5;
/// How long after the store failed to take such a record it is given it again.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// Peers that one call puts on the interface.
const INSTALLED_AT_ONCE: usize = 500;

impl Shared {
    /// Carries out one action, in a task of its own where it waits for anything.
    pub(super) fn perform(self: &Arc<Self>, action: Action) {
        match action {
            Action::Reply { attempt, reply } => self.conversations.reply(attempt, reply),
            Action::Forget { attempt } => self.conversations.remove(attempt),
            Action::Revoked { ticket, sessions } => {
                if let Some(done) = self.tickets().remove(&ticket) {
                    _ = done.send(sessions); // the caller may have given up
                }
            }
            Action::Stopped => self.stopped.cancel(),
            waits @ (Action::Find { .. }
            | Action::FindSession { .. }
            | Action::Challenge { .. }
            | Action::Verify { .. }
            | Action::Pass { .. }
            | Action::Authorise { .. }
            | Action::Register { .. }
            | Action::Enrol { .. }
            | Action::AddFactor { .. }
            | Action::RecordFailure { .. }
            | Action::Open { .. }
            | Action::Renew { .. }
            | Action::Install { .. }
            | Action::Remove { .. }
            | Action::Fence
            | Action::Close { .. }
            | Action::Record { .. }
            | Action::Sample { .. }
            | Action::List
            | Action::Restore { .. }
            | Action::Check { .. }) => {
                let shared = Arc::clone(self);
                self.tasks.spawn(async move {
                    if let Some(input) = shared.result_of(waits).await {
                        shared.input(input);
                    }
                });
            }
        }
    }

    /// Waits for what an action asks for, and says what became of it.
    async fn result_of(self: &Arc<Self>, action: Action) -> Option<Input> {
        Some(match action {
            Action::Find { attempt, peer } => {
                let result = self.find(peer).await;
                Input::Found {
                    attempt,
                    result: result.map(|found| found.map(Box::new)),
                }
            }
            Action::FindSession { attempt, session } => {
                let result = self.session(session).await;
                Input::FoundSession {
                    attempt,
                    result: result.map(|record| record.map(Box::new)),
                }
            }
            Action::Challenge {
                attempt,
                context,
                expires,
            } => Input::Challenged {
                attempt,
                result: self.challenge(attempt, context, expires).await,
            },
            Action::Verify {
                attempt,
                context,
                answer,
                expires,
            } => Input::Verified {
                attempt,
                result: self.verify(attempt, context, answer, expires).await,
            },
            Action::Pass {
                attempt,
                context,
                proof,
                event,
            } => Input::Passed {
                attempt,
                result: self.pass(&context, &proof, *event).await,
            },
            Action::Authorise { attempt, admission } => Input::Authorised {
                attempt,
                result: self.authorise(admission).await,
            },
            Action::Register {
                attempt,
                kind,
                enrolment,
                expires,
            } => Input::Registering {
                attempt,
                result: self.register(attempt, &kind, enrolment, expires).await,
            },
            Action::Enrol {
                attempt,
                kind,
                enrolment,
                state,
                answer,
                expires,
            } => {
                let applicant = (enrolment, state);
                let result = self.enrol(attempt, &kind, applicant, answer, expires).await;
                Input::Enrolling { attempt, result }
            }
            Action::AddFactor {
                attempt,
                enrolment,
                kind,
                label,
                credential,
                token,
                passed,
                event,
            } => {
                let new = NewFactor {
                    enrolment,
                    kind,
                    label,
                    credential: *credential,
                    token,
                    passed,
                };
                Input::FactorAdded {
                    attempt,
                    result: self.add_factor(new, *event).await,
                }
            }
            Action::RecordFailure { attempt, failure } => Input::FailureRecorded {
                attempt,
                result: self.record_failure(*failure).await,
            },
            Action::Open {
                attempt,
                grant,
                event,
            } => self.open(attempt, grant, *event).await,
            Action::Renew {
                attempt,
                session,
                generation,
                terms,
                event,
            } => {
                let result = self
                    .renew(attempt, session, generation, &terms, *event)
                    .await;
                Input::Renewed {
                    attempt,
                    session,
                    terms,
                    result,
                }
            }
            Action::Install { peers, in_place } => {
                return self.install(peers, in_place).await;
            }
            Action::Remove { peers } => {
                return self.remove(peers).await;
            }
            Action::Fence => Input::Fenced {
                result: self.fence().await,
            },
            Action::Close {
                session,
                reason,
                event,
            } => Input::Closed {
                session,
                result: self.close(session, reason, *event).await,
            },
            Action::Record { event } => {
                self.record(*event).await;
                return None;
            }
            Action::Sample { peers } => Input::Sampled {
                result: self.activity(peers.clone()).await,
                peers,
            },
            // What follows is asked several times, or takes as long as there are peers. A gate that
            // stops does not wait for it: every peer leaves, whatever the answer would have been.
            Action::List => {
                let list = self.list();
                Input::Listed {
                    result: self.stop.run_until_cancelled(list).await?,
                }
            }
            Action::Restore { peer, session } => {
                let restore = self.restore(peer, session);
                Input::Restored {
                    peer,
                    session,
                    result: self.stop.run_until_cancelled(restore).await?,
                }
            }
            Action::Check { peer, session } => {
                let check = self.check(peer, session);
                let result = self.stop.run_until_cancelled(check).await?;
                // A store that has forgotten why a lease is there has nothing to say about it.
                if result.is_err() && self.is_store_replaced.load(Ordering::Relaxed) {
                    return None;
                }
                Input::Checked {
                    peer,
                    session,
                    result,
                }
            }
            Action::Reply { .. }
            | Action::Forget { .. }
            | Action::Revoked { .. }
            | Action::Stopped => return None,
        })
    }

    /// Appends a record that belongs to no other intent. At least once: if the store committed it but
    /// failed to say so, the retry writes it twice.
    async fn record(&self, event: AuditEvent) {
        let append = || {
            let (store, event) = (Arc::clone(&self.store), event.clone());
            self.ask_store(
                "append_audit",
                async move { store.append_audit(event).await },
            )
        };
        let recorded = self
            .again_and_again(RECORD_TRIES, RECORD_AGAIN, append)
            .await;
        if recorded.is_err() {
            let location = self.location.clone();
            log::later(move || {
                tracing::error!(%location, ?event, "the store does not take an audit record: it is lost");
            });
        }
    }

    /// Asks up to `tries` times, with a pause after each failure. A gate that stops asks once more.
    /// Each call is awaited in full, so that no two of them are under way.
    pub(super) async fn again_and_again<T, F: Future<Output = Result<T, Unavailable>>>(
        &self,
        tries: u32,
        pause: Duration,
        ask: impl Fn() -> F,
    ) -> Result<T, Unavailable> {
        for _ in 1..tries {
            if self.stop.is_cancelled() {
                break;
            }
            if let done @ Ok(_) = ask().await {
                return done;
            }
            let pause = tokio::time::sleep(pause);
            _ = self.stop.run_until_cancelled(pause).await;
        }
        ask().await
    }

    pub(super) async fn session(
        &self,
        session: SessionId,
    ) -> Result<Option<SessionRecord>, Unavailable> {
        let store = Arc::clone(&self.store);
        let call = async move { store.session(session).await };
        self.ask_store("session", call).await
    }

    async fn record_failure(&self, failure: FactorFailure) -> Result<FailureRecorded, Unavailable> {
        let store = Arc::clone(&self.store);
        let call = async move { store.record_failure(failure).await };
        self.ask_store("record_failure", call).await
    }

    async fn fence(&self) -> Result<(), Unavailable> {
        self.complain("taking the interface down");
        let interface = Arc::clone(&self.interface);
        let call = async move { interface.fence().await };
        self.ask_interface("fence", call).await
    }

    async fn activity(&self, peers: Vec<PublicKey>) -> Result<Vec<Activity>, Unavailable> {
        let interface = Arc::clone(&self.interface);
        let call = async move { interface.activity(&peers).await };
        self.ask_interface("activity", call).await
    }

    /// A peer that is left alone counts as not enrolled.
    async fn find(&self, peer: PublicKey) -> Result<Option<crate::store::Enrolment>, Unavailable> {
        if self.unmanaged.contains(&peer) {
            return Ok(None);
        }
        let (store, location) = (Arc::clone(&self.store), self.location.clone());
        self.ask_store("enrolment", async move {
            store.enrolment(&location, &peer).await
        })
        .await
    }

    /// Makes an admission durable. The preshared key is derived first and sealed to the session's
    /// terms: the store never sees it in the clear.
    async fn open(&self, attempt: AttemptId, grant: Grant, event: AuditEvent) -> Input {
        let (session, result) = match SessionId::generate() {
            Ok(session) => {
                let result = self.open_session(attempt, session, &grant, event).await;
                (session, result)
            }
            Err(error) => {
                let failed = self.failed("name a session", &error);
                (unstored(attempt), Err(failed))
            }
        };
        Input::Opened {
            attempt,
            grant,
            session,
            result,
        }
    }

    async fn open_session(
        &self,
        attempt: AttemptId,
        session: SessionId,
        grant: &Grant,
        event: AuditEvent,
    ) -> Result<(OpenOutcome, PresharedKey), Unavailable> {
        // The key, then its envelope, then the store: where one of the first two fails, the store
        // has no session that no client could use.
        let psk = self.derive(attempt, session, grant.terms())?;
        let (ring, throttle) = (&self.ring, self.throttle());
        let new = persistence::new_session(ring, throttle, session, grant, &psk, event)
            .map_err(|error| self.failed("seal a session", &error))?;
        let store = Arc::clone(&self.store);
        let call = async move { store.open_session(new).await };
        Ok((self.ask_store("open_session", call).await?, psk))
    }

    async fn renew(
        &self,
        attempt: AttemptId,
        session: SessionId,
        generation: Generation,
        terms: &Terms,
        event: AuditEvent,
    ) -> Result<(Renewed, PresharedKey), Unavailable> {
        let psk = self.derive(attempt, session, terms)?;
        let renewal =
            persistence::session_renewal(&self.ring, session, generation, terms, &psk, event)
                .map_err(|error| self.failed("seal a session", &error))?;
        let store = Arc::clone(&self.store);
        let call = async move { store.renew_session(renewal).await };
        Ok((self.ask_store("renew_session", call).await?, psk))
    }

    /// Derives the preshared key from the attempt's channel. Where that is gone, no client could
    /// derive the same key, and no session is opened.
    fn derive(
        &self,
        attempt: AttemptId,
        session: SessionId,
        terms: &Terms,
    ) -> Result<PresharedKey, Unavailable> {
        let now = self.now();
        let psk = self
            .conversations
            .prepare_grant(attempt, session, terms, now);
        psk.ok_or(Unavailable)
    }

    /// Installs in parts, each of which has the whole time of a call: a restart with ten thousand
    /// peers is no failure. What a part waits for those before it is taken off its leases.
    async fn install(
        self: &Arc<Self>,
        mut peers: Vec<PeerConfig>,
        in_place: bool,
    ) -> Option<Input> {
        let mut told = self.now().instant;
        loop {
            let now = self.now().instant;
            shorten_leases(&mut peers, now.saturating_since(told));
            told = now;
            let rest = peers.split_off(peers.len().min(INSTALLED_AT_ONCE));
            let keys = peers.iter().map(|peer| peer.key).collect();
            let result = self.install_now(peers, in_place).await;
            let installed = Input::Installed {
                peers: keys,
                result,
            };
            if rest.is_empty() {
                return Some(installed);
            }
            self.input(installed);
            peers = rest;
        }
    }

    async fn install_now(&self, peers: Vec<PeerConfig>, in_place: bool) -> Result<(), Unavailable> {
        let interface = Arc::clone(&self.interface);
        if in_place {
            self.ask_interface("renew", async move { interface.renew(peers).await })
                .await
        } else {
            self.ask_interface("install", async move { interface.install(peers).await })
                .await
        }
    }

    /// Removes a batch; where that fails, one by one, so that one bad peer holds up no other.
    async fn remove(self: &Arc<Self>, peers: Vec<PublicKey>) -> Option<Input> {
        let result = self.remove_now(peers.clone()).await;
        if result.is_ok() || peers.len() == 1 {
            return Some(Input::Removed { peers, result });
        }
        for peer in peers {
            let result = self.remove_now(vec![peer]).await;
            self.input(Input::Removed {
                peers: vec![peer],
                result,
            });
        }
        None
    }

    async fn remove_now(&self, peers: Vec<PublicKey>) -> Result<(), Unavailable> {
        let interface = Arc::clone(&self.interface);
        self.ask_interface("remove", async move { interface.remove(&peers).await })
            .await
    }

    async fn close(
        &self,
        session: SessionId,
        reason: EndReason,
        event: AuditEvent,
    ) -> Result<(), Unavailable> {
        let store = Arc::clone(&self.store);
        let call = async move { store.close_session(session, reason, event).await };
        self.ask_store("close_session", call).await.map(drop)
    }

    /// Whether the store still backs a lease. It is asked a few times before silence counts as no.
    pub(super) async fn check(
        &self,
        peer: PublicKey,
        session: SessionId,
    ) -> Result<LeaseCheck, Unavailable> {
        // A check that waits too long for its turn counts as no.
        let turn = tokio::time::timeout(self.timeouts.start, self.checks.acquire());
        let _turn = turn.await.map_err(|_| Unavailable)?;
        let standing = || self.standing(peer, session);
        self.again_and_again(CHECK_TRIES, CHECK_AGAIN, standing)
            .await
    }

    async fn standing(
        &self,
        peer: PublicKey,
        session: SessionId,
    ) -> Result<LeaseCheck, Unavailable> {
        let record = self.session(session).await?;
        let enrolment = self.find(peer).await?;
        Ok(LeaseCheck::of(record.as_ref(), enrolment.as_ref()))
    }

    pub(super) async fn ask_store<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, crate::store::StoreError>> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let result = guarded(self.timeouts.store, call).await?;
        // Also where the store says that it failed: it may have committed.
        self.head_moved.notify_one();
        if matches!(result, Err(crate::store::StoreError::Replaced)) {
            self.is_store_replaced.store(true, Ordering::Relaxed);
        }
        result.map_err(|error| self.failed(what, &error))
    }

    pub(super) async fn ask_interface<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, crate::interface::InterfaceError>> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let result = guarded(self.timeouts.interface, call).await?;
        result.map_err(|error| self.failed(what, &error))
    }

    pub(super) fn failed(
        &self,
        what: &'static str,
        error: &(dyn std::error::Error + 'static),
    ) -> Unavailable {
        let (location, error) = (self.location.clone(), log::in_a_line(error));
        log::later(move || tracing::warn!(%location, what, error, "failed"));
        Unavailable
    }
}

/// Runs foreign code: a panic is a failure and ends there, and so does a call that takes too long.
pub(super) async fn guarded<T: Send + 'static>(
    limit: Duration,
    call: impl Future<Output = T> + Send + 'static,
) -> Result<T, Unavailable> {
    let task = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(call));
    match tokio::time::timeout(limit, task).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => {
            log::later(|| tracing::error!("a store, verifier or backend panicked"));
            Err(Unavailable)
        }
        Err(_) => {
            log::later(move || {
                tracing::warn!(
                    ?limit,
                    "a store, verifier or backend did not answer in time"
                );
            });
            Err(Unavailable)
        }
    }
}

/// Takes time that has passed off what is left of these leases.
pub(super) fn shorten_leases(peers: &mut [PeerConfig], passed: Duration) {
    for lease in peers.iter_mut().filter_map(|peer| peer.lease.as_mut()) {
        *lease = lease.saturating_sub(passed);
    }
}

/// An id for a session that could not be named: the store has nothing under it.
fn unstored(attempt: AttemptId) -> SessionId {
    let mut name = [0; 16];
    name.copy_from_slice(&attempt.as_bytes()[..16]);
    SessionId::from_bytes(name)
}
