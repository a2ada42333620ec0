//! The core's traits over those that an app implements. Each call has a time-out; what is thrown,
//! late or wrong is a failure, and a failure means *denied* or *down*.

mod interface;
mod post;
mod prompt;
mod signer;

use std::time::Duration;

pub(crate) use interface::TunnelInterface;
pub(crate) use post::Post;
pub(crate) use prompt::Prompter;

use crate::callback::CallbackError;

/// A call of the app's code, for so long and no longer.
async fn bounded<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, CallbackError>>,
) -> Result<T, CallbackError> {
    let done = tokio::time::timeout(limit, call).await;
    done.unwrap_or(Err(CallbackError::TimedOut))
}
