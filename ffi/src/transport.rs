//! The app's HTTP stack.

use crate::callback::CallbackError;

/// Posts over HTTP, by the platform's own stack. It follows no redirect and keeps no cookie. Calls
/// may overlap, and may be given up at any moment.
#[uniffi::export(with_foreign)]
#[async_trait::async_trait]
pub trait Transport: Send + Sync {
    /// Posts a body and gives the response, whatever its status. Fails with `NotAvailable` when no
    /// connection can be made, with `Refused` when the certificate is not accepted.
    async fn post(
        &self,
        url: String,
        content_type: String,
        body: Vec<u8>,
    ) -> Result<HttpResponse, CallbackError>;
}

/// A response. All of it is ciphertext.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct HttpResponse {
    /// Its status.
    pub status: u16,
    /// Its content type, where it has one.
    pub content_type: Option<String>,
    /// Its body.
    pub body: Vec<u8>,
}
