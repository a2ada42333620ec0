//! How the world carries out an action, as the real shell does in `runtime/gate/perform.rs`.

use super::cast;
use super::world::{World, ready, spread};
use crate::audit::AuditEvent;
use crate::channel::message::Challenge;
use crate::factor::{Asked, VerifyError};
use crate::gate::{Action, Grant, Input, Standing, Terms, Unavailable};
use crate::id::{AttemptId, FactorId, Generation, SessionId};
use crate::interface::InterfaceBackend;
use crate::key::{PresharedKey, PublicKey};
use crate::policy::Failures;
use crate::store::{Consume, EndReason, Failure, FailureRecorded, NewSession, Opened, PeerStore};
use crate::store::{Renewal, Renewed};

/// What a preshared key consists of, but for its number, and nothing else does.
pub(super) const KEY_BYTE: u8 = 0x5E;

/// Why something failed is nothing to the machine.
fn known<T, E>(result: Result<T, E>) -> Result<T, Unavailable> {
    result.map_err(|_| Unavailable)
}

impl World {
    /// Carries out an action: from here on it has had its effect, and its answers are to be told.
    pub(super) fn carry_out(&mut self, action: Action) -> Vec<Input> {
        let answer = match action {
            Action::Find { attempt, peer } => {
                let found = ready(self.store.enrolment(&cast::location(), &peer));
                let result = known(found).map(|found| found.map(Box::new));
                Input::Found { attempt, result }
            }
            Action::FindSession { attempt, session } => {
                let result = known(ready(self.store.session(session)));
                let result = result.map(|found| found.map(Box::new));
                Input::FoundSession { attempt, result }
            }
            Action::Challenge { attempt, .. } => Input::Challenged {
                attempt,
                result: self.challenge(),
            },
            Action::Verify {
                attempt,
                subject,
                answer,
                expires: _,
            } => {
                let result = if self.verifier_fails {
                    Err(VerifyError::Backend(Box::new(std::fmt::Error)))
                } else {
                    cast::verify(&subject, &answer, self.now.timestamp)
                };
                Input::Verified { attempt, result }
            }
            // The policy of these tests has one step, no authoriser, and nobody enrols.
            Action::Pass { .. }
            | Action::Authorise { .. }
            | Action::Register { .. }
            | Action::Enrol { .. }
            | Action::AddFactor { .. } => unreachable!("not asked for"),
            Action::RecordFailure { attempt, failure } => Input::FailureRecorded {
                attempt,
                result: self.record_failure(attempt, *failure),
            },
            Action::Open {
                attempt,
                grant,
                event,
            } => self.open(attempt, grant, *event),
            Action::Renew {
                attempt,
                session,
                generation,
                terms,
                event,
            } => Input::Renewed {
                attempt,
                session,
                result: self.renew_session(session, generation, &terms, *event),
                terms,
            },
            Action::Install { peers, in_place } => {
                let keys = peers.iter().map(|peer| peer.key).collect();
                let done = if in_place {
                    ready(self.interface.renew(peers))
                } else {
                    ready(self.interface.install(peers))
                };
                Input::Installed {
                    peers: keys,
                    result: known(done),
                }
            }
            Action::Remove { peers } => return self.remove(peers),
            Action::Fence => Input::Fenced {
                result: known(ready(self.interface.fence())),
            },
            Action::Close {
                session,
                reason,
                event,
            } => Input::Closed {
                session,
                result: self.close(session, reason, *event),
            },
            Action::Record { event } => {
                ready(self.store.append_audit(*event)).ok();
                return Vec::new();
            }
            Action::Sample { peers } => {
                let result = known(ready(self.interface.activity(&peers)));
                Input::Sampled { peers, result }
            }
            Action::Check { peer, session } => Input::Checked {
                peer,
                session,
                result: self.standing(peer, session),
            },
            Action::Reply { .. }
            | Action::Forget { .. }
            | Action::Revoked { .. }
            | Action::Stopped => return Vec::new(),
        };
        vec![answer]
    }

    fn challenge(&self) -> Result<Asked, VerifyError> {
        if self.verifier_fails {
            return Err(VerifyError::backend(std::fmt::Error));
        }
        Ok(Challenge::Code { digits: 10 }.into())
    }

    /// A factor's failures on disk.
    pub(super) fn failures(&self, factor: FactorId) -> Option<Failures> {
        let users = cast::USERS.map(cast::user);
        let mut factors = users
            .iter()
            .flat_map(|user| ready(self.disk.factors(user)).unwrap());
        let found = factors.find(|record| record.id == factor);
        found.map(|record| record.failures)
    }

    fn record_failure(
        &mut self,
        attempt: AttemptId,
        failure: Failure,
    ) -> Result<FailureRecorded, Unavailable> {
        let factor = failure.factor;
        let before = self.failures(factor);
        let result = known(ready(self.store.record_failure(failure)));
        let after = self.failures(factor);
        self.model.counts(attempt, factor, before, after);
        result
    }

    fn open(&mut self, attempt: AttemptId, grant: Grant, mut event: AuditEvent) -> Input {
        let session = SessionId::from_bytes(spread(self.serial()));
        event.session = Some(session);
        let result = self.open_session(attempt, session, &grant, event);
        Input::Opened {
            attempt,
            grant,
            session,
            result,
        }
    }

    fn open_session(
        &mut self,
        attempt: AttemptId,
        session: SessionId,
        grant: &Grant,
        event: AuditEvent,
    ) -> Result<(Opened, PresharedKey), Unavailable> {
        let terms = grant.terms().clone();
        let psk = self.derive(session);
        let sealed = known(self.ring.seal(&terms.row(&session), psk.expose_secret()))?;
        let proofs: Vec<_> = grant.proofs().collect();
        let consume = proofs.iter().map(|proof| Consume {
            factor: proof.factor,
            step: proof.consume,
            swap: None,
        });
        let new = NewSession {
            id: session,
            location: terms.location,
            peer: terms.peer,
            user: terms.user,
            allowed_ips: terms.allowed_ips,
            verified_at: terms.verified_at,
            not_after: terms.not_after,
            psk: sealed,
            assurance: proofs.iter().map(|p| p.assurance.clone()).collect(),
            consume: consume.collect(),
            throttle: self.policy.throttle,
            most_per_user: None,
            event,
        };
        let factor = proofs[0].factor;
        let before = self.failures(factor);
        let result = known(ready(self.store.open_session(new)));
        let after = self.failures(factor);
        match self.record(session) {
            Some(record) => self.model.opens(attempt, &record, grant, before),
            None => self.model.counts(attempt, factor, before, after),
        }
        Ok((result?, psk))
    }

    fn renew_session(
        &mut self,
        session: SessionId,
        generation: Generation,
        terms: &Terms,
        event: AuditEvent,
    ) -> Result<(Renewed, PresharedKey), Unavailable> {
        let psk = self.derive(session);
        let sealed = known(self.ring.seal(&terms.row(&session), psk.expose_secret()))?;
        let renewal = Renewal {
            id: session,
            generation,
            not_after: terms.not_after,
            psk: sealed,
            event,
        };
        let result = ready(self.store.renew_session(renewal));
        Ok((known(result)?, psk))
    }

    /// A preshared key of its own for each call, that the model knows for this session's.
    fn derive(&mut self, session: SessionId) -> PresharedKey {
        let mut bytes: [u8; 32] = spread(self.serial());
        bytes[8..].fill(KEY_BYTE);
        let psk = PresharedKey::from_bytes(bytes);
        self.model.derives(&psk, session);
        psk
    }

    /// Removes a batch; where that fails, one by one.
    fn remove(&mut self, peers: Vec<PublicKey>) -> Vec<Input> {
        let result = known(ready(self.interface.remove(&peers)));
        if result.is_ok() || peers.len() == 1 {
            return vec![Input::Removed { peers, result }];
        }
        let one_by_one = peers.into_iter().map(|peer| Input::Removed {
            peers: vec![peer],
            result: known(ready(self.interface.remove(&[peer]))),
        });
        one_by_one.collect()
    }

    /// Ends a session in the store, as the gate sees the store.
    fn close(
        &self,
        session: SessionId,
        reason: EndReason,
        event: AuditEvent,
    ) -> Result<(), Unavailable> {
        known(ready(self.store.close_session(session, reason, event))).map(drop)
    }

    fn standing(&self, peer: PublicKey, session: SessionId) -> Result<Standing, Unavailable> {
        let record = known(ready(self.store.session(session)))?;
        let enrolment = known(ready(self.store.enrolment(&cast::location(), &peer)))?;
        Ok(Standing::of(record.as_ref(), enrolment.as_ref()))
    }
}
