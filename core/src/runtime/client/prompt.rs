//! Asking the user.

use std::time::Duration;

use async_trait::async_trait;

use crate::channel::message::{Answer, Challenge, Denied};

/// Asks the user for an answer to a challenge: on a terminal, in a window, or from a secret store
/// where no person is.
#[async_trait]
pub trait Prompt: Send {
    /// Asks. `denied` says why the answer before was refused and what is left; `expires_in` how
    /// long there is to answer. `None` gives the attempt up.
    ///
    /// Dropped at an await when the attempt ends without the user: put the question away then.
    async fn answer(
        &mut self,
        challenge: &Challenge,
        denied: Option<&Denied>,
        expires_in: Duration,
    ) -> Option<Answer>;
}
