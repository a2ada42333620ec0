//! Asking the user.

use std::fmt;

use async_trait::async_trait;

use crate::client::{AuthChallenge, Response};

/// Asks the user for an answer to a challenge: on a terminal, in a window, or from a secret store
/// where no person is.
#[async_trait]
pub trait Prompt: Send {
    /// Asks. `Ok(None)` means that the user gave up.
    ///
    /// Dropped at an await when the attempt ends without the user: close the question's window
    /// then.
    ///
    /// # Errors
    /// [`PromptFailed`] when the user could not be asked, or the answer could not be made. The
    /// attempt is given up, and its caller gets
    /// [`ConnectError::Prompt`](super::ConnectError::Prompt).
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed>;
}

/// The app's own code failed between a challenge and its answer: no window could be shown, a secret
/// store did not open, code in another language threw.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the app could not ask for an answer: {what}")]
pub struct PromptFailed {
    what: String,
}

impl PromptFailed {
    /// A failure, in words. They appear in errors and logs: no secret may be in them.
    pub fn new(what: impl fmt::Display) -> Self {
        Self {
            what: what.to_string(),
        }
    }
}

/// A [`Prompt`] made of a function that answers: for a test, a script, or an app whose questions are
/// a call away. `None` gives the attempt up.
///
/// ```
/// use mfagate::channel::message::{Answer, Challenge};
/// use mfagate::client::AuthChallenge;
/// use mfagate::prompt_fn;
///
/// async fn ask(label: String) -> Option<String> {
///     # Some("123456".to_owned())
///     // a window, say
/// }
///
/// let prompt = prompt_fn(async |asked: AuthChallenge| match asked.challenge {
///     Challenge::Code { .. } => {
///         let typed = ask(asked.factor?.label.to_string()).await?;
///         Some(Answer::Code { code: typed.parse().ok()? }.into())
///     }
///     _ => None,
/// });
/// # fn takes(_: impl mfagate::Prompt) {}
/// # takes(prompt);
/// ```
pub fn prompt_fn<F, Answering>(answer: F) -> PromptFn<F>
where
    F: FnMut(AuthChallenge) -> Answering + Send,
    Answering: Future<Output = Option<Response>> + Send,
{
    PromptFn(answer)
}

/// What [`prompt_fn`] makes.
pub struct PromptFn<F>(F);

#[async_trait]
impl<F, Answering> Prompt for PromptFn<F>
where
    F: FnMut(AuthChallenge) -> Answering + Send,
    Answering: Future<Output = Option<Response>> + Send,
{
    async fn answer(&mut self, question: &AuthChallenge) -> Result<Option<Response>, PromptFailed> {
        Ok((self.0)(question.clone()).await)
    }
}

impl<F> fmt::Debug for PromptFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptFn").finish_non_exhaustive()
    }
}
