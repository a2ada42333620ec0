//! The app's HTTP stack as the core's.

use std::sync::Arc;
use std::time::Duration;

use mfagate::client::{HttpPost, HttpResponse, PostFailed};

use super::bounded;
use crate::callback::CallbackError;
use crate::transport::Transport;

/// A transport of the app's.
#[derive(Clone)]
pub(crate) struct Post {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) timeout: Duration,
}

#[async_trait::async_trait]
impl HttpPost for Post {
    async fn post(
        &self,
        url: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<HttpResponse, PostFailed> {
        let call = self
            .transport
            .post(url.to_owned(), content_type.to_owned(), body);
        let response = bounded(self.timeout, call).await.map_err(failed)?;
        Ok(HttpResponse {
            status: response.status,
            content_type: response.content_type,
            body: response.body,
        })
    }
}

fn failed(error: CallbackError) -> PostFailed {
    match error {
        CallbackError::NotAvailable => PostFailed::Unreachable,
        CallbackError::TimedOut => PostFailed::TimedOut,
        CallbackError::Refused => PostFailed::Certificate,
        CallbackError::Cancelled
        | CallbackError::LockedOut
        | CallbackError::Invalidated
        | CallbackError::Failed { .. } => PostFailed::Other(error.to_string()),
    }
}
