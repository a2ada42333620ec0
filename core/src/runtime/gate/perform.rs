//! Carrying out what the machine asks for. Whatever goes wrong here, a failure, a panic or a
//! time-out, comes back to the machine as [`Unavailable`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::factors::NewCredential;
use crate::audit::AuditEvent;
use crate::gate::{Action, Grant, Input, Standing, Terms, Unavailable};
use crate::id::{AttemptId, Generation, SessionId};
use crate::interface::PeerConfig;
use crate::key::{PresharedKey, PublicKey};
use crate::seal::Sealed;
use crate::store::{EndReason, NewSession, Opened, Renewal, Renewed};

/// How often the store is asked about a changed lease before it counts as not backed.
const CHECK_TRIES: u32 = 5;
/// How long after the store did not answer that it is asked again.
const CHECK_AGAIN: Duration = Duration::from_millis(500);

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
                let store = Arc::clone(&self.store);
                let found = self.ask_store("session", async move { store.session(session).await });
                let result = found.await.map(|record| record.map(Box::new));
                Input::FoundSession { attempt, result }
            }
            Action::Challenge {
                attempt,
                subject,
                expires,
            } => Input::Challenged {
                attempt,
                result: self.challenge(attempt, subject, expires).await,
            },
            Action::Verify {
                attempt,
                subject,
                answer,
                expires,
            } => Input::Verified {
                attempt,
                result: self.verify(attempt, subject, answer, expires).await,
            },
            Action::Pass {
                attempt,
                subject,
                proof,
                event,
            } => Input::Passed {
                attempt,
                result: self.pass(&subject, *proof, *event).await,
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
                let new = NewCredential {
                    kind,
                    label,
                    credential: *credential,
                    token,
                    passed,
                };
                Input::FactorAdded {
                    attempt,
                    result: self.add_factor(&enrolment, new, *event).await,
                }
            }
            Action::RecordFailure { attempt, failure } => {
                let store = Arc::clone(&self.store);
                let call = async move { store.record_failure(*failure).await };
                Input::FailureRecorded {
                    attempt,
                    result: self.ask_store("record_failure", call).await,
                }
            }
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
            Action::Fence => {
                tracing::error!(location = %self.location, "taking the interface down");
                let interface = Arc::clone(&self.interface);
                let result = self.ask_interface("fence", async move { interface.fence().await });
                Input::Fenced {
                    result: result.await,
                }
            }
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
            Action::Sample { peers } => {
                let interface = Arc::clone(&self.interface);
                let asked = peers.clone();
                let call = async move { interface.activity(&asked).await };
                Input::Sampled {
                    peers,
                    result: self.ask_interface("activity", call).await,
                }
            }
            Action::Check { peer, session } => {
                // A gate that stops takes every peer off, whatever the store says.
                let check = self.check(peer, session);
                Input::Checked {
                    peer,
                    session,
                    result: self.stop.run_until_cancelled(check).await?,
                }
            }
            Action::Reply { .. }
            | Action::Forget { .. }
            | Action::Revoked { .. }
            | Action::Stopped => return None,
        })
    }

    /// Appends a record that belongs to no other intent. One that the store took and did not say so
    /// is there twice, rather than not at all.
    async fn record(&self, event: AuditEvent) {
        let append = || {
            let (store, event) = (Arc::clone(&self.store), event.clone());
            self.ask_store(
                "append_audit",
                async move { store.append_audit(event).await },
            )
        };
        let recorded = self.again_and_again(RECORD_TRIES, RECORD_AGAIN, append);
        if recorded.await.is_err() {
            tracing::error!(location = %self.location, ?event, "the store does not take an audit record: it is lost");
        }
    }

    /// Asks so often, with a pause after each failure; a gate that stops asks for the last time.
    async fn again_and_again<T, F: Future<Output = Result<T, Unavailable>>>(
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
    /// terms: the store never sees it.
    async fn open(&self, attempt: AttemptId, grant: Grant, mut event: AuditEvent) -> Input {
        let (session, result) = match SessionId::generate() {
            Ok(session) => {
                event.session = Some(session);
                let opened = self.open_session(attempt, session, &grant, event).await;
                (session, opened)
            }
            Err(error) => {
                let failed = self.failed("name a session", &error);
                (nobodys(attempt), Err(failed))
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
    ) -> Result<(Opened, PresharedKey), Unavailable> {
        let terms = grant.terms();
        let (psk, sealed) = self.derive(attempt, session, terms)?;
        let passed = grant.passed().iter();
        let consume = passed.map(|passed| self.consume(&terms.user, &passed.proof, &passed.sealed));
        let new = NewSession {
            id: session,
            location: terms.location.clone(),
            peer: terms.peer,
            user: terms.user.clone(),
            allowed_ips: terms.allowed_ips.to_vec(),
            verified_at: terms.verified_at,
            not_after: terms.not_after,
            renewable_until: terms.renewable_until,
            psk: sealed,
            assurance: grant
                .proofs()
                .map(|proof| proof.assurance.clone())
                .collect(),
            consume: consume.collect::<Result<_, _>>()?,
            most_per_user: grant.rules().sessions_per_user,
            throttle: self.throttle,
            event,
        };
        let store = Arc::clone(&self.store);
        let opened = self.ask_store("open_session", async move { store.open_session(new).await });
        Ok((opened.await?, psk))
    }

    async fn renew(
        &self,
        attempt: AttemptId,
        session: SessionId,
        generation: Generation,
        terms: &Terms,
        event: AuditEvent,
    ) -> Result<(Renewed, PresharedKey), Unavailable> {
        let (psk, sealed) = self.derive(attempt, session, terms)?;
        let renewal = Renewal {
            id: session,
            generation,
            not_after: terms.not_after,
            renewable_until: terms.renewable_until,
            psk: sealed,
            event,
        };
        let store = Arc::clone(&self.store);
        let call = async move { store.renew_session(renewal).await };
        Ok((self.ask_store("renew_session", call).await?, psk))
    }

    fn derive(
        &self,
        attempt: AttemptId,
        session: SessionId,
        terms: &Terms,
    ) -> Result<(PresharedKey, Sealed), Unavailable> {
        let psk = self
            .conversations
            .prepare_grant(attempt, session, terms, self.now());
        let psk = psk.ok_or(Unavailable)?;
        let sealed = self.ring.seal(&terms.row(&session), psk.expose_secret());
        Ok((
            psk,
            sealed.map_err(|error| self.failed("seal a session", &error))?,
        ))
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

    /// Whether the store still backs a lease; asked again a few times before that counts as no.
    async fn check(&self, peer: PublicKey, session: SessionId) -> Result<Standing, Unavailable> {
        // Those who wait too long for their turn are not believed either.
        let turn = tokio::time::timeout(self.timeouts.start, self.checks.acquire());
        let _turn = turn.await.map_err(|_| Unavailable)?;
        let standing = || self.standing(peer, session);
        self.again_and_again(CHECK_TRIES, CHECK_AGAIN, standing)
            .await
    }

    async fn standing(&self, peer: PublicKey, session: SessionId) -> Result<Standing, Unavailable> {
        let store = Arc::clone(&self.store);
        let record = self
            .ask_store("session", async move { store.session(session).await })
            .await?;
        let enrolment = self.find(peer).await?;
        Ok(Standing::of(record.as_ref(), enrolment.as_ref()))
    }

    pub(super) async fn ask_store<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, crate::store::StoreError>> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let result = guarded(self.timeouts.store, call).await?;
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
        tracing::warn!(location = %self.location, what, error, "failed");
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
            tracing::error!("a store, verifier or backend panicked");
            Err(Unavailable)
        }
        Err(_) => {
            tracing::warn!(
                ?limit,
                "a store, verifier or backend did not answer in time"
            );
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

/// The name of a session that is none, as nothing was stored under it.
fn nobodys(attempt: AttemptId) -> SessionId {
    let mut name = [0; 16];
    name.copy_from_slice(&attempt.as_bytes()[..16]);
    SessionId::from_bytes(name)
}
