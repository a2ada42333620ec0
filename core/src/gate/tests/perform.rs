//! How the world carries out an action, as the real shell does in `runtime/gate/perform.rs`. What
//! goes to the store and comes from it is mapped by [`persistence`], here as there.

use super::fixtures;
use super::world::{Ruling, World, ready, spread};
use crate::audit::AuditEvent;
use crate::authorise::{AuthoriseError, Permit};
use crate::factor::Proof;
use crate::gate::persistence::{self, NewFactor};
use crate::gate::{
    Action, FactorContext, Fingerprint, Grant, Input, LeaseCheck, Terms, Unavailable, Unlisted,
};
use crate::id::{AttemptId, FactorId, Generation, SessionId};
use crate::interface::InterfaceBackend;
use crate::key::{PresharedKey, PublicKey};
use crate::store::{
    EndReason, FactorFailure, FailureRecorded, OpenOutcome, PassOutcome, PeerStore, Renewed,
};
use crate::time::Timestamp;

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
                let found = ready(self.store.enrolment(&fixtures::location(), &peer));
                let result = known(found).map(|found| found.map(Box::new));
                Input::Found { attempt, result }
            }
            Action::FindSession { attempt, session } => {
                let result = known(ready(self.store.session(session)));
                let result = result.map(|found| found.map(Box::new));
                Input::FoundSession { attempt, result }
            }
            Action::Challenge {
                attempt, context, ..
            } => Input::Challenged {
                attempt,
                result: self.challenge(attempt, &context),
            },
            Action::Verify {
                attempt,
                context,
                answer,
                expires: _,
            } => Input::Verified {
                attempt,
                result: self.verify(attempt, &context, &answer),
            },
            Action::Pass {
                attempt,
                context,
                proof,
                event,
            } => Input::Passed {
                attempt,
                result: self.pass_factor(attempt, &context, &proof, *event),
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
                let keys: Vec<_> = peers.iter().map(|peer| peer.key).collect();
                self.meddled.retain(|peer| !keys.contains(peer));
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
            Action::List => Input::Listed {
                result: match ready(self.interface.list()) {
                    Ok(peers) => Ok(Fingerprint::by_peer(peers)),
                    Err(error) => Err(Unlisted::from(&error)),
                },
            },
            Action::Restore { peer, session } => Input::Restored {
                peer,
                session,
                result: self.restore(peer, session),
            },
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

    fn restore(
        &self,
        peer: PublicKey,
        session: SessionId,
    ) -> Result<(Generation, PresharedKey), Unavailable> {
        let record = known(ready(self.store.session(session)))?;
        known(persistence::live_key(
            &self.ring,
            (session, peer),
            record.as_ref(),
        ))?
        .ok_or(Unavailable)
    }

    fn record_failure(
        &mut self,
        attempt: AttemptId,
        failure: FactorFailure,
    ) -> Result<FailureRecorded, Unavailable> {
        let (factor, at) = (failure.factor, failure.at);
        self.taking(attempt, &[factor], at, |world| {
            known(ready(world.store.record_failure(failure)))
        })
    }

    fn pass_factor(
        &mut self,
        attempt: AttemptId,
        context: &FactorContext,
        proof: &Proof,
        event: AuditEvent,
    ) -> Result<PassOutcome, Unavailable> {
        let at = event.at;
        let throttle = self.policy.throttle;
        let pass = known(persistence::factor_pass(
            &self.ring, throttle, context, proof, event,
        ))?;
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
        let new = NewFactor {
            enrolment,
            kind,
            label,
            credential: *credential,
            token,
            passed: passed.clone(),
        };
        let (ring, throttle) = (&self.ring, self.policy.throttle);
        let new =
            persistence::factor_enrolment(ring, throttle, fixtures::location(), id, new, *event)
                .unwrap();
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
        let codes: Vec<_> = before.iter().map(|it| self.secret(it)).collect();
        let result = call(self);
        for (before, codes) in before.iter().zip(codes) {
            if let Some(after) = self.factor(before.id) {
                let left = self.secret(&after);
                let (before, after) = ((before, &*codes), (&after, &*left));
                self.model.takes(attempt, before, after, at);
            }
        }
        result
    }

    fn open(&mut self, attempt: AttemptId, grant: Grant, event: AuditEvent) -> Input {
        let session = SessionId::from_bytes(spread(self.serial()));
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
    ) -> Result<(OpenOutcome, PresharedKey), Unavailable> {
        let at = event.at;
        let psk = self.derive(session);
        let (ring, throttle) = (&self.ring, self.policy.throttle);
        let new = persistence::new_session(ring, throttle, session, grant, &psk, event);
        let new = known(new)?;
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
        let renewal =
            persistence::session_renewal(&self.ring, session, generation, terms, &psk, event);
        let renewal = known(renewal)?;
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

    fn standing(&self, peer: PublicKey, session: SessionId) -> Result<LeaseCheck, Unavailable> {
        let record = known(ready(self.store.session(session)))?;
        let enrolment = known(ready(self.store.enrolment(&fixtures::location(), &peer)))?;
        Ok(LeaseCheck::of(record.as_ref(), enrolment.as_ref()))
    }
}
