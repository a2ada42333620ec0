//! A transport over an HTTP stack that the app brings: the platform's own, say.

use async_trait::async_trait;

use crate::channel::http::{CONTENT_TYPE, ControlUrl};
use crate::channel::transport::{Transport, TransportError};

/// Posts over HTTP, by any stack. It follows no redirect and keeps no cookie; it may be called again
/// while a call is under way, and may be dropped at any await.
#[async_trait]
pub trait HttpPost: Send + Sync + 'static {
    /// Posts a body and gives the response, whatever its status. A response that is longer than
    /// [`MAX_BODY`](crate::channel::MAX_BODY) need not be read to its end: one byte more will do.
    ///
    /// # Errors
    /// [`PostFailed`] when there is no response.
    async fn post(
        &self,
        url: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<HttpResponse, PostFailed>;
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Its status.
    pub status: u16,
    /// Its content type, where it has one.
    pub content_type: Option<String>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostFailed {
    /// No connection could be made, or it broke.
    #[error("the server can't be reached")]
    Unreachable,
    /// There was no response in time.
    #[error("the server did not respond in time")]
    TimedOut,
    /// The server's certificate is not accepted.
    #[error("the server's certificate is not accepted")]
    Certificate,
    /// Something else, in words without a secret.
    #[error("{0}")]
    Other(String),
}

/// The way to one gate over an app's own HTTP stack.
#[derive(Debug)]
pub struct PostTransport<P> {
    url: ControlUrl,
    post: P,
}

impl<P: HttpPost> PostTransport<P> {
    /// A transport to the gate at a control URL, by this stack.
    ///
    /// # Errors
    /// [`TransportError::BadUrl`].
    pub fn new(control_url: &str, post: P) -> Result<Self, TransportError> {
        let url = ControlUrl::parse(control_url)?;
        Ok(Self { url, post })
    }
}

#[async_trait]
impl<P: HttpPost> Transport for PostTransport<P> {
    fn gate(&self) -> &str {
        self.url.as_str()
    }

    async fn round_trip(&self, body: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let posted = self.post.post(self.url.as_str(), CONTENT_TYPE, body).await;
        let gate = || self.gate().to_owned();
        let response = posted.map_err(|failed| match failed {
            PostFailed::Unreachable => TransportError::Unreachable { gate: gate() },
            PostFailed::TimedOut => TransportError::TimedOut { gate: gate() },
            PostFailed::Certificate => TransportError::Certificate { gate: gate() },
            PostFailed::Other(what) => TransportError::Other { gate: gate(), what },
        })?;
        let content_type = response.content_type.as_deref();
        self.url.judge(response.status, content_type, response.body)
    }
}
