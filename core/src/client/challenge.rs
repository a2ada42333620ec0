//! What a user is asked, and what the user wants: the two ends of a conversation with a person.

use std::time::Duration;

use crate::channel::message::{Answer, Challenge, Denied, Offer};
use crate::id::{AttemptId, FactorId};

/// A question to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthChallenge {
    /// The run of the ceremony, which a device key's signature covers.
    pub attempt: AttemptId,
    /// The factor that is asked for; `None` while one is being enrolled.
    pub factor: Option<Offer>,
    /// What to answer.
    pub challenge: Challenge,
    /// The factors that would do in its place.
    pub others: Vec<Offer>,
    /// Why the answer before was refused, and what is left.
    pub denied: Option<Denied>,
    /// How long there is to answer.
    pub expires_in: Duration,
}

/// What the user does about a question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// Answers it.
    Answer(Answer),
    /// Would rather be asked for this factor of [`AuthChallenge::others`]; or, with the current factor,
    /// asks for a fresh challenge, such as another code.
    Choose(FactorId),
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}
