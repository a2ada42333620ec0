//! What each kind of factor asks for, what a right answer is, and what it takes. All of it is told
//! in codes.
//!
//! | kind | right is | and takes |
//! |---|---|---|
//! | one-time password | the time step | the step |
//! | password | always the same | nothing |
//! | recovery codes | one that is left | the code, by an update |
//! | device key | what was shown, in two rounds | nothing |
//!
//! Enrolling takes what was shown, a device key in two rounds; recovery codes can't be enrolled.

use super::fixtures;
use super::world::World;
use crate::assurance::{Assurance, FactorKind};
use crate::channel::message::{Answer, Challenge};
use crate::factor::{Credential, IssuedChallenge, Proof, Registration, Verdict, VerifyError};
use crate::gate::FactorContext;
use crate::id::AttemptId;
use crate::seal::SecretBytes;
use crate::time::Timestamp;

pub(super) const PASSWORD: u64 = 111_111;
/// What recovery codes consist of at first.
pub(super) const CODES: [u8; 3] = [1, 2, 3];

/// A kind, to match on.
enum Kind {
    OneTime,
    Password,
    Codes,
    Key,
}

impl Kind {
    fn of(kind: &FactorKind) -> Self {
        match fixtures::KINDS.iter().position(|known| known == kind) {
            Some(0) => Self::OneTime,
            Some(1) => Self::Password,
            Some(2) => Self::Codes,
            Some(3) => Self::Key,
            _ => panic!("no user has a {kind}"),
        }
    }
}

/// The time step, as an authenticator app counts them.
pub(super) fn step_at(now: Timestamp) -> u64 {
    now.as_secs() / 30
}

/// A number as a code.
pub(super) fn code(number: u64) -> String {
    format!("{number:010}")
}

/// The right one-time password at that time.
pub(super) fn code_at(now: Timestamp) -> String {
    code(step_at(now))
}

fn number(answer: &Answer) -> Result<u64, VerifyError> {
    match answer {
        Answer::Code { code } => Ok(code.expose_secret().parse().unwrap()),
        _ => Err(VerifyError::Unfit),
    }
}

/// What is remembered of a question that shows a number: the number, and which round it is.
fn remember(shown: u64, round: u8) -> SecretBytes {
    let mut bytes = shown.to_be_bytes().to_vec();
    bytes.push(round);
    SecretBytes::new(bytes)
}

fn remembered(state: Option<&SecretBytes>) -> (u64, u8) {
    let bytes = state.expect("what was remembered").expose_secret();
    let (shown, round) = bytes.split_first_chunk().unwrap();
    (u64::from_be_bytes(*shown), round[0])
}

impl World {
    /// Whether the verifiers are of any use now.
    fn verifiers(&self) -> Result<(), VerifyError> {
        if self.verifier_fails {
            return Err(VerifyError::backend(std::fmt::Error));
        }
        if self.verifier_is_busy {
            let retry = std::time::Duration::from_secs(7);
            return Err(VerifyError::Busy { retry });
        }
        Ok(())
    }

    /// A question that shows a fresh number.
    fn show(&mut self, attempt: AttemptId, round: u8) -> IssuedChallenge {
        let shown = self.serial();
        self.shown.entry(attempt).or_default().push(shown);
        IssuedChallenge {
            state: Some(remember(shown, round)),
            ..Challenge::Code { digits: 10 }.into()
        }
    }

    pub(super) fn challenge(
        &mut self,
        attempt: AttemptId,
        context: &FactorContext,
    ) -> Result<IssuedChallenge, VerifyError> {
        self.verifiers()?;
        Ok(match Kind::of(&context.factor.kind) {
            Kind::Key => self.show(attempt, 1),
            Kind::OneTime | Kind::Password | Kind::Codes => Challenge::Code { digits: 10 }.into(),
        })
    }

    /// As real verifiers, these leave it to the store whether something was used.
    pub(super) fn verify(
        &mut self,
        attempt: AttemptId,
        context: &FactorContext,
        answer: &Answer,
    ) -> Result<Verdict, VerifyError> {
        self.verifiers()?;
        let (given, now) = (number(answer)?, self.now.timestamp);
        let factor = &context.factor;
        let assurance = Assurance {
            replay_resistant: factor.kind != FactorKind::PASSWORD,
            ..Assurance::least(factor.kind.clone(), now)
        };
        let mut proof = Proof::new(factor.id, assurance);
        proof.not_after = self.vouched.map(|span| now + span);
        let is_right = match Kind::of(&factor.kind) {
            Kind::OneTime => {
                proof.counter = Some(given);
                given.abs_diff(step_at(now)) <= 1
            }
            Kind::Password => given == PASSWORD,
            Kind::Codes => {
                let mut left = self.secret(factor);
                let before = left.len();
                left.retain(|code| u64::from(*code) != given);
                let is_there = left.len() < before;
                proof.replace_secret = Some(SecretBytes::new(left));
                is_there
            }
            Kind::Key => {
                let (shown, round) = remembered(context.state.as_ref());
                if given == shown && round == 1 {
                    return Ok(Verdict::Ask(self.show(attempt, 2)));
                }
                given == shown
            }
        };
        is_right.then(|| proof.into()).ok_or(VerifyError::Wrong)
    }

    pub(super) fn register(
        &mut self,
        attempt: AttemptId,
        kind: &FactorKind,
    ) -> Result<IssuedChallenge, VerifyError> {
        self.verifiers()?;
        match Kind::of(kind) {
            Kind::Codes => Err(VerifyError::NotEnrollable),
            Kind::OneTime | Kind::Password | Kind::Key => Ok(self.show(attempt, 1)),
        }
    }

    pub(super) fn enrol(
        &mut self,
        attempt: AttemptId,
        kind: &FactorKind,
        state: Option<&SecretBytes>,
        answer: &Answer,
    ) -> Result<Registration, VerifyError> {
        self.verifiers()?;
        let (shown, round) = remembered(state);
        if number(answer)? != shown {
            return Err(VerifyError::Wrong);
        }
        if *kind == FactorKind::DEVICE_KEY && round == 1 {
            return Ok(Registration::Ask(self.show(attempt, 2)));
        }
        Ok(Registration::Proven(Credential {
            secret: SecretBytes::new(Vec::new()),
            counter: None,
            id: self.credential.clone(),
        }))
    }

    /// What the owner of a device answers to the current challenge.
    pub(super) fn right_answer(&self, attempt: AttemptId) -> String {
        let Some((factor, kind)) = self.model.question(attempt) else {
            return code(self.shown(attempt, 0));
        };
        match Kind::of(&kind) {
            Kind::OneTime => code_at(self.now.timestamp),
            Kind::Password => code(PASSWORD),
            Kind::Codes => {
                let left = self.factor(factor).map(|it| self.secret(&it));
                let first = left.and_then(|left| left.first().copied());
                code(first.unwrap_or_default().into())
            }
            Kind::Key => code(self.shown(attempt, 0)),
        }
    }

    /// What was right before, or would have been for another question.
    pub(super) fn old_answer(&self, attempt: AttemptId) -> String {
        let half_a_minute = std::time::Duration::from_secs(30);
        let question = self.model.question(attempt);
        match question.map(|(_, kind)| Kind::of(&kind)) {
            Some(Kind::OneTime) => code_at(self.now.timestamp - half_a_minute),
            Some(Kind::Codes) => code(CODES[0].into()),
            Some(Kind::Password | Kind::Key) | None => code(self.shown(attempt, 1)),
        }
    }

    /// What was shown last in an attempt, or so many questions before; 0 where nothing was.
    pub(super) fn shown(&self, attempt: AttemptId, before: usize) -> u64 {
        let shown = self.shown.get(&attempt).map_or(&[][..], Vec::as_slice);
        shown.iter().rev().nth(before).copied().unwrap_or_default()
    }
}
