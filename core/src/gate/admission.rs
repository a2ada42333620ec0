//! From a verdict to a lease: grant, durable session, lease, interface.

use super::Machine;
use super::attempt::{Attempt, Candidate, Step};
use super::ceremony::{denied, locked};
use super::grant::{Grant, Terms};
use super::input::{Action, Event, Intent, Outcome, Unavailable};
use super::slot::{Install, Waiting};
use crate::audit::AuditKind;
use crate::channel::message::{DeniedReason, Refusal};
use crate::factor::Proof;
use crate::id::{AttemptId, SessionId};
use crate::key::PresharedKey;
use crate::store::{EndReason, Opened};
use crate::time::Now;

impl Machine {
    /// Every factor that the policy asks for has been verified.
    pub(super) fn grant(
        &mut self,
        now: Now,
        id: AttemptId,
        candidate: Box<Candidate>,
        since: Now,
        proof: Proof,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let source = attempt.source;
        let terms = Terms::begin(
            self.location.clone(),
            &candidate.peer,
            Box::new([proof.factor]),
            &self.policy,
            since,
        );
        let kind = AuditKind::Admitted {
            not_after: terms.not_after,
            factors: vec![proof.assurance.kind.clone()],
        };
        attempt.step = Step::Opening(candidate);
        let mut event = self.audit(now, kind);
        event.user = Some(terms.user.clone());
        event.peer = Some(terms.peer);
        event.factor = Some(proof.factor);
        event.source = source;
        let grant = Grant::assertion(terms, vec![proof]);
        self.actions.push_back(Action::Open {
            attempt: id,
            grant,
            event: Box::new(event),
        });
    }

    pub(super) fn opened(
        &mut self,
        now: Now,
        id: AttemptId,
        grant: Grant,
        session: SessionId,
        result: Result<(Opened, PresharedKey), Unavailable>,
    ) {
        let who = (grant.terms().peer, grant.terms().user.clone());
        let attempt = self.attempts.get_mut(id);
        let (candidate, intent, revoked_by) = match attempt {
            Some(Attempt {
                step: Step::Opening(candidate),
                intent,
                revoked_by,
                ..
            }) => (candidate.clone(), *intent, std::mem::take(revoked_by)),
            // Nobody waits for this admission any more.
            Some(_) | None => return self.discard(now, session, who, EndReason::Revoked, vec![]),
        };
        let is_own = candidate.subject.peer == who.0;
        let (true, Ok((opened, psk))) = (is_own, result) else {
            // A grant that is another peer's admits nobody. The store may or may not hold the session, and may have ended the older one for it.
            self.discard(
                now,
                session,
                who.clone(),
                EndReason::InterfaceFailed,
                revoked_by,
            );
            self.check(who.0);
            return self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
        };
        let generation = match opened {
            Opened::Opened { generation, .. } => generation,
            refused @ (Opened::Replayed { .. }
            | Opened::Locked { .. }
            | Opened::FactorGone { .. }
            | Opened::Overtaken { .. }
            | Opened::PeerGone
            | Opened::TooMany) => {
                for ticket in revoked_by {
                    self.count_down(ticket, None);
                }
                return self.not_opened(now, id, candidate, refused);
            }
        };
        if !revoked_by.is_empty() || !self.is_open() {
            self.discard(now, session, who.clone(), EndReason::Revoked, revoked_by);
            self.check(who.0);
            return self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
        }
        if grant.terms().are_over(now) {
            // The store took longer than the lease lasts, or the clock was set.
            self.discard(now, session, who.clone(), EndReason::Expired, Vec::new());
            self.check(who.0);
            return self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
        }
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.step = Step::Installing;
        }
        let waiting = Waiting {
            attempt: id,
            event: admitted(session, &grant),
        };
        let config = Self::config(grant.terms(), psk);
        let in_place = matches!(intent, Intent::Renew(_));
        self.admit(
            now,
            waiting,
            grant,
            session,
            generation,
            Install { config, in_place },
        );
    }

    fn not_opened(&mut self, now: Now, id: AttemptId, candidate: Box<Candidate>, refused: Opened) {
        match refused {
            Opened::Replayed { lock, .. } => {
                self.deny(
                    now,
                    id,
                    candidate,
                    denied(DeniedReason::Replayed, lock, now),
                );
            }
            Opened::Locked { lock, .. } => self.deny(now, id, candidate, locked(lock, now)),
            Opened::FactorGone { .. } => {
                self.finish(id, Outcome::Refused(Refusal::NoFactor {}));
            }
            Opened::PeerGone => self.finish(id, Outcome::Refused(Refusal::NotEnrolled {})),
            Opened::Overtaken { .. } | Opened::TooMany | Opened::Opened { .. } => {
                self.finish(id, Outcome::Refused(Refusal::Unavailable {}));
            }
        }
    }
}

fn admitted(session: SessionId, grant: &Grant) -> Event {
    let terms = grant.terms();
    Event::Admitted {
        session,
        peer: terms.peer,
        user: terms.user.clone(),
        not_after: terms.not_after,
        factors: grant
            .proofs()
            .iter()
            .map(|proof| proof.assurance.kind.clone())
            .collect(),
    }
}
