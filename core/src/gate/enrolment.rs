//! Enrolling a factor from a client: with a one-time token, or once the policy's factors are
//! passed. It leads to no lease.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Machine;
use super::action::{Action, Outcome};
use super::attempt::{Applicant, Step};
use super::event::Event;
use super::input::{Intent, Unavailable, Wish};
use crate::audit::AuditKind;
use crate::channel::message::{Answer, Denied, DeniedReason, Refusal, millis};
use crate::factor::{Asked, Credential, Registration, VerifyError};
use crate::id::{AttemptId, FactorId};
use crate::store::{Enrolled, Enrolment, EnrolmentToken, FailureReason};
use crate::time::{Now, Timestamp};

/// So many wrong answers end the attempt: there is no factor yet whose failures could be counted.
const MOST_FAILURES: u32 = 5;

impl Machine {
    /// The client brings a token: where it is good, the factors of the policy are not asked for.
    pub(super) fn redeem(&mut self, now: Now, id: AttemptId, enrolment: &Arc<Enrolment>) {
        let wish = self.wish(id);
        let token = wish.and_then(|wish| redeemed(wish, enrolment, now.timestamp));
        match token {
            Some(_) => self.register(id, enrolment),
            None => self.refuse_token(now, id, enrolment),
        }
    }

    fn refuse_token(&mut self, now: Now, id: AttemptId, enrolment: &Enrolment) {
        if let Some(kind) = self.wish(id).map(|wish| wish.kind.clone()) {
            let kind = AuditKind::TokenRefused { kind };
            self.record(now, id, &enrolment.user.id, kind);
        }
        self.finish(id, Outcome::Refused(Refusal::BadToken {}));
    }

    /// What an attempt is to enrol.
    fn wish(&self, id: AttemptId) -> Option<&Wish> {
        match &self.attempts.get(id)?.intent {
            Intent::Enrol(wish) => Some(wish),
            Intent::Begin | Intent::Renew(_) | Intent::Status(_) | Intent::End(_) => None,
        }
    }

    /// Has the verifier say what to ask.
    pub(super) fn register(&mut self, id: AttemptId, enrolment: &Arc<Enrolment>) {
        let Some(kind) = self.wish(id).map(|wish| wish.kind.clone()) else {
            return;
        };
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let expires = attempt.expires_at;
        attempt.step = Step::Registering(Box::new(Applicant {
            enrolment: Arc::clone(enrolment),
            failures: 0,
            state: None,
        }));
        self.actions.push_back(Action::Register {
            attempt: id,
            kind,
            enrolment: Arc::clone(enrolment),
            expires,
        });
    }

    pub(super) fn registering(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<Asked, VerifyError>,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let Step::Registering(applicant) = &attempt.step else {
            return;
        };
        let applicant = applicant.clone();
        match result {
            Ok(question) => self.put_registration(now, id, applicant, question),
            Err(error) => self.finish(id, Outcome::Refused(refusal(&error))),
        }
    }

    fn put_registration(
        &mut self,
        now: Now,
        id: AttemptId,
        mut applicant: Box<Applicant>,
        question: Asked,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        applicant.state = question.state;
        attempt.step = Step::AwaitingRegistration(applicant);
        let expires_in = attempt.expires.saturating_since(now.instant);
        self.reply(
            id,
            Outcome::Challenge {
                factor: None,
                challenge: Box::new(question.challenge),
                others: Vec::new(),
                expires_in,
            },
        );
    }

    /// Asks the verifier about an answer.
    pub(super) fn judge_registration(
        &mut self,
        id: AttemptId,
        applicant: Box<Applicant>,
        answer: Answer,
    ) {
        let Some(kind) = self.wish(id).map(|wish| wish.kind.clone()) else {
            return;
        };
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let expires = attempt.expires_at;
        let enrolment = Arc::clone(&applicant.enrolment);
        let state = applicant.state.clone();
        attempt.step = Step::Enrolling(applicant);
        self.actions.push_back(Action::Enrol {
            attempt: id,
            kind,
            enrolment,
            state,
            answer,
            expires,
        });
    }

    pub(super) fn enrolling(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<Registration, VerifyError>,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let Step::Enrolling(applicant) = &attempt.step else {
            return;
        };
        let mut applicant = applicant.clone();
        let failed = |reason: FailureReason| (reason.into(), Some(reason), None);
        let (reason, failure, wait) = match result {
            Ok(Registration::Proven(credential)) => {
                return self.add_factor(now, id, &applicant, credential);
            }
            Ok(Registration::Ask(question)) => {
                return self.put_registration(now, id, applicant, question);
            }
            Err(VerifyError::Wrong) => failed(FailureReason::Wrong),
            Err(VerifyError::Replayed) => failed(FailureReason::Replayed),
            Err(VerifyError::Expired) => failed(FailureReason::Expired),
            Err(VerifyError::Unfit) => (DeniedReason::Unfit, None, None),
            Err(VerifyError::Busy { retry }) => {
                let wait = millis(retry.max(Self::LEAST_WAIT));
                (DeniedReason::Busy, None, Some(wait))
            }
            Err(error @ (VerifyError::NotEnrollable | VerifyError::Backend(_))) => {
                return self.finish(id, Outcome::Refused(refusal(&error)));
            }
        };
        applicant.failures += u32::from(failure.is_some());
        let tries_left = MOST_FAILURES.saturating_sub(applicant.failures);
        let is_over = tries_left == 0 || self.stopping || now.instant >= attempt.expires;
        if let Some(reason) = failure
            && let Some(kind) = self.wish(id).map(|wish| wish.kind.clone())
        {
            let kind = AuditKind::EnrolmentDenied { kind, reason };
            self.record(now, id, &applicant.enrolment.user.id, kind);
        }
        if is_over {
            return self.finish(id, Outcome::Refused(Refusal::NoAttempt {}));
        }
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        attempt.step = Step::AwaitingRegistration(applicant);
        self.reply(
            id,
            Outcome::Denied(Denied {
                reason,
                tries_left,
                locked_for_ms: wait,
            }),
        );
    }

    /// The user holds the new factor: it becomes durable, and the token is used up with that.
    fn add_factor(
        &mut self,
        now: Now,
        id: AttemptId,
        applicant: &Applicant,
        credential: Credential,
    ) {
        let Some(wish) = self.wish(id).cloned() else {
            return;
        };
        let enrolment = &applicant.enrolment;
        let token = match &wish.token {
            Some(_) => match redeemed(&wish, enrolment, now.timestamp) {
                Some(token) => Some(token.id),
                None => return self.refuse_token(now, id, enrolment),
            },
            None => None,
        };
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let passed = std::mem::take(&mut attempt.passed);
        let kind = wish.kind.clone();
        let who = (&enrolment.user.id, enrolment.peer.key);
        let event = self.audit_of(now, id, who, AuditKind::FactorAdded { kind });
        self.actions.push_back(Action::AddFactor {
            attempt: id,
            enrolment: Arc::clone(enrolment),
            kind: wish.kind,
            label: wish.label,
            credential: Box::new(credential),
            token,
            passed: passed.iter().map(|passed| passed.proof.factor).collect(),
            event: Box::new(event),
        });
    }

    pub(super) fn factor_added(
        &mut self,
        id: AttemptId,
        result: Result<(FactorId, Enrolled), Unavailable>,
    ) {
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let Step::Enrolling(applicant) = &attempt.step else {
            return;
        };
        let user = applicant.enrolment.user.id.clone();
        let outcome = match result {
            Ok((factor, Enrolled::Enrolled)) => {
                self.events
                    .push_back(Event::FactorEnrolled { user, factor });
                Outcome::Enrolled(factor)
            }
            Ok((_, Enrolled::CredentialTaken)) => Outcome::Refused(Refusal::NotEnrollable {}),
            Ok((_, Enrolled::TokenGone)) => Outcome::Refused(Refusal::BadToken {}),
            Ok((_, Enrolled::PeerGone)) => Outcome::Refused(Refusal::NotEnrolled {}),
            Ok((_, Enrolled::FactorGone { .. })) => Outcome::Refused(Refusal::NoFactor {}),
            // The factors that were passed before do not hold any more.
            Ok((
                _,
                Enrolled::Replayed { .. } | Enrolled::Locked { .. } | Enrolled::Overtaken { .. },
            )) => Outcome::Refused(Refusal::NoAttempt {}),
            Err(Unavailable) => Outcome::Refused(Refusal::Unavailable {}),
        };
        self.finish(id, outcome);
    }
}

/// The token that a wish names, if it is the user's and good for it.
fn redeemed<'a>(
    wish: &Wish,
    enrolment: &'a Enrolment,
    now: Timestamp,
) -> Option<&'a EnrolmentToken> {
    let digest: [u8; 32] = Sha256::digest(wish.token.as_ref()?.expose_secret()).into();
    let is_it = |token: &&EnrolmentToken| {
        bool::from(token.digest.ct_eq(&digest))
            && now < token.not_after
            && (token.kinds.is_empty() || token.kinds.contains(&wish.kind))
    };
    enrolment.tokens.iter().find(is_it)
}

fn refusal(error: &VerifyError) -> Refusal {
    match error {
        VerifyError::NotEnrollable => Refusal::NotEnrollable {},
        VerifyError::Busy { retry } => Refusal::Busy {
            retry_ms: millis(*retry),
        },
        VerifyError::Wrong
        | VerifyError::Replayed
        | VerifyError::Expired
        | VerifyError::Unfit
        | VerifyError::Backend(_) => Refusal::Unavailable {},
    }
}
