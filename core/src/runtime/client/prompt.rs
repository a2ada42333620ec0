//! Asking the user.

use async_trait::async_trait;

use crate::client::{Question, Response};

/// Asks the user for an answer to a challenge: on a terminal, in a window, or from a secret store
/// where no person is.
#[async_trait]
pub trait Prompt: Send {
    /// Asks. `None` gives the attempt up.
    ///
    /// Dropped at an await when the attempt ends without the user: put the question away then.
    async fn answer(&mut self, question: &Question) -> Option<Response>;
}
