//! Enrolling a factor from a client: with a one-time token, or once the policy's factors are
//! passed. It leads to no lease.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Machine;
use super::action::{Action, Outcome};
use super::attempt::{Applicant, AttemptState};
use super::event::Event;
use super::input::{Intent, Unavailable};
use crate::audit::AuditKind;
use crate::channel::message::{Answer, Denied, DeniedReason, EnrolRequest, Refusal, millis};
use crate::factor::{Credential, IssuedChallenge, Registration, VerifyError};
use crate::id::{AttemptId, FactorId};
use crate::store::{Enrolled, Enrolment, EnrolmentToken, FailureReason};
use crate::time::{Now, Timestamp};

/// So many wrong answers end the attempt: there is no factor yet whose failures could be counted.
const MOST_FAILURES: u32 = 5;

impl Machine {
    /// Takes the token that a client brings: where it is good, the policy's factors are not asked
    /// for.
    pub(super) fn redeem(&mut self, now: Now, id: AttemptId, enrolment: &Arc<Enrolment>) {
        let request = self.enrol_request(id);
        let token = request.and_then(|request| redeemed(request, enrolment, now.timestamp));
        match token {
            Some(_) => self.register(id, enrolment),
            None => self.refuse_token(now, id, enrolment),
        }
    }

    fn refuse_token(&mut self, now: Now, id: AttemptId, enrolment: &Enrolment) {
        if let Some(kind) = self.enrol_request(id).map(|request| request.kind.clone()) {
            let kind = AuditKind::TokenRefused { kind };
            self.record(now, id, &enrolment.user.id, kind);
        }
        self.finish(id, Outcome::Refused(Refusal::BadToken {}));
    }

    /// What an attempt is to enrol.
    fn enrol_request(&self, id: AttemptId) -> Option<&EnrolRequest> {
        match &self.attempts.get(id)?.intent {
            Intent::Enrol(request) => Some(request),
            Intent::Begin | Intent::Renew(_) | Intent::Status(_) | Intent::End(_) => None,
        }
    }

    /// Has the verifier make the first challenge.
    pub(super) fn register(&mut self, id: AttemptId, enrolment: &Arc<Enrolment>) {
        let Some(kind) = self.enrol_request(id).map(|request| request.kind.clone()) else {
            return;
        };
        let state = AttemptState::Registering(Box::new(Applicant {
            enrolment: Arc::clone(enrolment),
            failures: 0,
            state: None,
        }));
        let Some(attempt) = self.attempts.enter(id, state) else {
            return;
        };
        let expires = attempt.expires_at;
        self.actions.push_back(Action::Register {
            attempt: id,
            kind,
            enrolment: Arc::clone(enrolment),
            expires,
        });
    }

    pub(super) fn on_registering(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<IssuedChallenge, VerifyError>,
    ) {
        let Some(applicant) = self.attempts.registering(id) else {
            return;
        };
        let applicant = Box::new(applicant.clone());
        match result {
            Ok(issued) => self.send_registration(now, id, applicant, issued),
            Err(error) => self.finish(id, Outcome::Refused(refusal(&error))),
        }
    }

    fn send_registration(
        &mut self,
        now: Now,
        id: AttemptId,
        mut applicant: Box<Applicant>,
        issued: IssuedChallenge,
    ) {
        applicant.state = issued.state;
        let state = AttemptState::AwaitingRegistration(applicant);
        self.reply_challenge(now, id, state, issued.challenge, None, Vec::new());
    }

    /// Asks the verifier about an answer.
    pub(super) fn judge_registration(
        &mut self,
        id: AttemptId,
        applicant: Box<Applicant>,
        answer: Answer,
    ) {
        let Some(kind) = self.enrol_request(id).map(|request| request.kind.clone()) else {
            return;
        };
        let enrolment = Arc::clone(&applicant.enrolment);
        let state = applicant.state.clone();
        let Some(attempt) = self.attempts.enter(id, AttemptState::Enrolling(applicant)) else {
            return;
        };
        let expires = attempt.expires_at;
        self.actions.push_back(Action::Enrol {
            attempt: id,
            kind,
            enrolment,
            state,
            answer,
            expires,
        });
    }

    pub(super) fn on_enrolling(
        &mut self,
        now: Now,
        id: AttemptId,
        result: Result<Registration, VerifyError>,
    ) {
        let Some(applicant) = self.attempts.enrolling(id) else {
            return;
        };
        let mut applicant = Box::new(applicant.clone());
        let failed = |reason: FailureReason| (reason.into(), Some(reason), None);
        let (reason, failure, wait) = match result {
            Ok(Registration::Proven(credential)) => {
                return self.add_factor(now, id, &applicant, credential);
            }
            Ok(Registration::Ask(issued)) => {
                return self.send_registration(now, id, applicant, issued);
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
        // The failure after these ends the attempt.
        let tries_left = MOST_FAILURES.checked_sub(applicant.failures + 1);
        let attempt = self.attempts.get(id);
        let is_over = attempt.is_none_or(|attempt| now.instant >= attempt.expires);
        if let Some(reason) = failure
            && let Some(kind) = self.enrol_request(id).map(|request| request.kind.clone())
        {
            let kind = AuditKind::EnrolmentDenied { kind, reason };
            self.record(now, id, &applicant.enrolment.user.id, kind);
        }
        let Some(tries_left) = tries_left.filter(|_| !self.stopping && !is_over) else {
            return self.finish(id, Outcome::Refused(Refusal::NoAttempt {}));
        };
        let state = AttemptState::AwaitingRegistration(applicant);
        self.attempts.enter(id, state);
        self.reply(
            id,
            Outcome::Denied(Denied {
                reason,
                tries_left,
                locked_for_ms: wait,
            }),
        );
    }

    /// Makes the new factor durable, now that the user has proven to hold it. The token is used up
    /// with that.
    fn add_factor(
        &mut self,
        now: Now,
        id: AttemptId,
        applicant: &Applicant,
        credential: Credential,
    ) {
        let Some(request) = self.enrol_request(id).cloned() else {
            return;
        };
        // The token is judged again, since it may have run out while the user answered. That it is
        // still there is judged by the store, in the transaction that uses it up.
        let enrolment = &applicant.enrolment;
        let token = match &request.token {
            Some(_) => match redeemed(&request, enrolment, now.timestamp) {
                Some(token) => Some(token.id),
                None => return self.refuse_token(now, id, enrolment),
            },
            None => None,
        };
        let Some(attempt) = self.attempts.get_mut(id) else {
            return;
        };
        let passed = std::mem::take(&mut attempt.passed);
        let kind = request.kind.clone();
        let who = (&enrolment.user.id, enrolment.peer.key);
        let event = self.audit_of(now, id, who, AuditKind::FactorAdded { kind });
        self.actions.push_back(Action::AddFactor {
            attempt: id,
            enrolment: Arc::clone(enrolment),
            kind: request.kind,
            label: request.label,
            credential: Box::new(credential),
            token,
            passed: passed.iter().map(|passed| passed.proof.factor).collect(),
            event: Box::new(event),
        });
    }

    pub(super) fn on_factor_added(
        &mut self,
        id: AttemptId,
        result: Result<(FactorId, Enrolled), Unavailable>,
    ) {
        let Some(applicant) = self.attempts.enrolling(id) else {
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

/// The token that a request names, if it is the user's and good for it.
fn redeemed<'a>(
    request: &EnrolRequest,
    enrolment: &'a Enrolment,
    now: Timestamp,
) -> Option<&'a EnrolmentToken> {
    let digest: [u8; 32] = Sha256::digest(request.token.as_ref()?.expose_secret()).into();
    let is_it = |token: &&EnrolmentToken| {
        bool::from(token.digest.ct_eq(&digest))
            && now < token.not_after
            && (token.kinds.is_empty() || token.kinds.contains(&request.kind))
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
