//! How the world carries out an action, as the real shell does in `runtime/gate/perform.rs`.

use super::cast;
use super::world::{Ruling, World, ready, spread};
use crate::audit::AuditEvent;
use crate::authorise::{AuthoriseError, Permit};
use crate::factor::Proof;
use crate::gate::{Action, Grant, Input, Standing, Subject, Terms, Unavailable};
use crate::id::{AttemptId, FactorId, Generation, SessionId};
use crate::interface::InterfaceBackend;
use crate::key::{PresharedKey, PublicKey};
use crate::policy::Failures;
use crate::seal::Sealed;
use crate::store::{
    Consume, EndReason, FactorPass, FactorRecord, FactorState, Failure, FailureRecorded, NewFactor,
    NewSession, Opened, Passed, PeerStore, Renewal, Renewed, Swap,
};
use crate::time::Timestamp;

/// What a preshared key consists of, but for its number, and nothing else does.
pub(super) const KEY_BYTE: u8 = 0x5E;

/// What a proof takes from its factor.
fn consume(proof: &Proof, from: &Sealed) -> Consume {
    let swap = proof.update.as_ref().map(|secret| Swap {
        from: from.clone(),
        to: Sealed::from_bytes(secret.expose_secret().to_vec()),
    });
    Consume {
        factor: proof.factor,
        step: proof.consume,
        swap,
        credential: proof.credential.clone(),
    }
}

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
            Action::Challenge {
                attempt, subject, ..
            } => Input::Challenged {
                attempt,
                result: self.challenge(attempt, &subject),
            },
            Action::Verify {
                attempt,
                subject,
                answer,
                expires: _,
            } => Input::Verified {
                attempt,
                result: self.verify(attempt, &subject, &answer),
            },
            Action::Pass {
                attempt,
                subject,
                proof,
                event,
            } => Input::Passed {
                attempt,
                result: self.pass_factor(attempt, &subject, &proof, *event),
            },
            Action::Authorise { attempt, .. } => Input::Authorised {
                attempt,
                result: self.authorise(),
            },
            Action::Register { attempt, kind, .. } => Input::Registering {
                attempt,
                result: self.register(attempt, &kind),
            },
            Action::Enrol {
                attempt,
                kind,
                state,
                answer,
                ..
            } => Input::Enrolling {
                attempt,
                result: self.enrol(attempt, &kind, state.as_ref(), &answer),
            },
            enrols @ Action::AddFactor { .. } => self.add_factor(enrols),
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

    fn record_failure(
        &mut self,
        attempt: AttemptId,
        failure: Failure,
    ) -> Result<FailureRecorded, Unavailable> {
        let (factor, at) = (failure.factor, failure.at);
        self.taking(attempt, &[factor], at, |world| {
            known(ready(world.store.record_failure(failure)))
        })
    }

    fn pass_factor(
        &mut self,
        attempt: AttemptId,
        subject: &Subject,
        proof: &Proof,
        event: AuditEvent,
    ) -> Result<Passed, Unavailable> {
        let at = event.at;
        let pass = FactorPass {
            location: subject.location.clone(),
            peer: subject.peer,
            user: subject.user.clone(),
            consume: consume(proof, &subject.factor.sealed),
            throttle: self.policy.throttle,
            event,
        };
        self.taking(attempt, &[proof.factor], at, |world| {
            known(ready(world.store.pass_factor(pass)))
        })
    }

    fn authorise(&self) -> Result<Permit, AuthoriseError> {
        match self.authoriser.expect("an authoriser") {
            Ruling::AsIs => Ok(Permit::as_is()),
            Ruling::ForAtMost(longest) => Ok(Permit::for_at_most(longest)),
            Ruling::Refuses => Err(AuthoriseError::Refused {
                reason: "not today".to_owned(),
            }),
            Ruling::Fails => Err(AuthoriseError::Backend("no word".into())),
        }
    }

    fn add_factor(&mut self, action: Action) -> Input {
        let Action::AddFactor {
            attempt,
            enrolment,
            kind,
            label,
            credential,
            token,
            passed,
            event,
        } = action
        else {
            panic!("another action");
        };
        let (id, at) = (FactorId::from_bytes(spread(self.serial())), event.at);
        let none = |factor| Consume {
            factor,
            step: None,
            swap: None,
            credential: None,
        };
        let new = NewFactor {
            factor: FactorRecord {
                id,
                user: enrolment.user.id.clone(),
                kind,
                label,
                credential: credential.id,
                sealed: Sealed::from_bytes(credential.secret.expose_secret().to_vec()),
                state: FactorState::Active,
                last_step: credential.consume,
                failures: Failures::default(),
            },
            location: cast::location(),
            peer: enrolment.peer.key,
            token,
            consume: passed.iter().copied().map(none).collect(),
            throttle: self.policy.throttle,
            at,
            event: *event,
        };
        let result = self.taking(attempt, &passed, at, |world| {
            known(ready(world.store.enrol_factor(new)))
        });
        if self.factor(id).is_some() {
            self.model.enrols(id, token);
        }
        Input::FactorAdded {
            attempt,
            result: result.map(|enrolled| (id, enrolled)),
        }
    }

    /// Does what may take something from these factors, and has the model see what it took.
    fn taking<T>(
        &mut self,
        attempt: AttemptId,
        factors: &[FactorId],
        at: Timestamp,
        call: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before: Vec<_> = factors.iter().filter_map(|it| self.factor(*it)).collect();
        let result = call(self);
        for before in before {
            if let Some(after) = self.factor(before.id) {
                self.model.takes(attempt, &before, &after, at);
            }
        }
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
        let (terms, at) = (grant.terms().clone(), event.at);
        let psk = self.derive(session);
        let sealed = known(self.ring.seal(&terms.row(&session), psk.expose_secret()))?;
        let passed = grant.passed().iter();
        let new = NewSession {
            id: session,
            location: terms.location,
            peer: terms.peer,
            user: terms.user,
            allowed_ips: terms.allowed_ips.into_vec(),
            verified_at: terms.verified_at,
            not_after: terms.not_after,
            renewable_until: terms.renewable_until,
            psk: sealed,
            assurance: grant.proofs().map(|p| p.assurance.clone()).collect(),
            consume: passed.map(|it| consume(&it.proof, &it.sealed)).collect(),
            throttle: self.policy.throttle,
            most_per_user: grant.rules().sessions_per_user,
            event,
        };
        let factors: Vec<_> = grant.proofs().map(|proof| proof.factor).collect();
        let result = self.taking(attempt, &factors, at, |world| {
            known(ready(world.store.open_session(new)))
        });
        if let Some(record) = self.record(session) {
            self.model.opens(attempt, &record, grant);
            self.model.is_one_of_few(&record, &self.live());
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
            renewable_until: terms.renewable_until,
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
