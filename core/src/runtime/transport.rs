//! How a client's messages travel: the trait that an app may implement with a carrier of its own.

use async_trait::async_trait;

pub use crate::channel::transport::TransportError;

/// Carries one request's body to a gate and the response's body back.
///
/// # Contract
/// - Bodies are at most [`MAX_BODY`](crate::channel::MAX_BODY) bytes in either direction; a longer
///   response is an error and is not read to its end.
/// - What came back is not to be judged: a gate's refusal is a body as well.
/// - Calls may overlap. A call that is dropped at an await may or may not have reached the gate.
/// - The client repeats what failed; a transport does not.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// What the gate is called in texts for people: its control URL, without credentials.
    fn gate(&self) -> &str;

    /// Sends a body and gives the one that came back.
    ///
    /// # Errors
    /// [`TransportError`]; nothing of a body's contents is in it.
    async fn round_trip(&self, body: Vec<u8>) -> Result<Vec<u8>, TransportError>;
}
